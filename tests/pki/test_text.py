import sys

from intaglio.pki import text


def test_every_character_there_is_gets_an_answer_and_none_stays_for_good() -> None:
    letters = 0
    for code in range(sys.maxunicode + 1):
        value = f"a{chr(code)}"
        if text.fault_of_text(value, 64) is None:
            letters += text.fault_of_mixture(value) is None
    # Latin letters, and what goes with every script: symbols, digits, marks.
    assert letters > 5_000
    assert len(text._SCRIPTS) <= 8192
