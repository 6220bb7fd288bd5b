"""A wrong PIN is tried once, by one process, and never again."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout
from intaglio.keys.pin import Refusals, check_flags
from intaglio.keys.token import Token
from intaglio.settings import hsm_pin
from softhsm import PIN, MadeToken

WRONG = "planted-wrong-pin"


@pytest.fixture
def tries(token: Token) -> list[int]:
    """How often the module was asked to log in, and what it answered."""
    functions = token.sessions.module.functions
    asked: list[int] = []
    real = functions["C_Login"]

    def login(*arguments: object) -> int:
        asked.append(real(*arguments))
        return asked[-1]

    functions["C_Login"] = login
    return asked


@pytest.fixture
def opened(made: MadeToken, token: Token, tmp_path: Path) -> Callable[[str], Token]:
    """Another token object for the same token, as a process that starts again would make."""
    del token  # its teardown comes last

    def make(pin: str) -> Token:
        return Token(made.place, lambda: pin, tmp_path / "refused-pins", seconds=2)

    return make


@pytest.fixture(autouse=True)
def untouched(token: Token) -> object:
    before = dict(token.sessions.module.functions)
    yield
    token.sessions.module.functions.update(before)


def test_a_wrong_pin_is_tried_once_and_a_corrected_one_is_tried(
    opened: Callable[[str], Token], tries: list[int], tmp_path: Path
) -> None:
    marker = tmp_path / "refused-pins"
    for attempt in range(3):
        with pytest.raises(KeyUnavailable, match="is wrong" if attempt == 0 else "not tried again") as caught:
            opened(WRONG).check()
        assert WRONG not in str(caught.value)
    assert tries == [c.CKR_PIN_INCORRECT]
    assert marker.stat().st_mode & 0o777 == 0o600
    assert WRONG not in marker.read_text()
    with pytest.raises(KeyUnavailable, match="is wrong"):
        opened(WRONG + "2").check()
    with pytest.raises(KeyUnavailable, match="not tried again"):
        opened(WRONG).check()  # the first is still remembered
    right = opened(PIN)
    right.check()
    right.close()
    assert not marker.exists()
    assert tries == [c.CKR_PIN_INCORRECT, c.CKR_PIN_INCORRECT, c.CKR_OK]


def test_a_login_of_something_else_proves_no_pin_and_forgets_no_refusal(
    opened: Callable[[str], Token], token: Token, tries: list[int], tmp_path: Path
) -> None:
    with pytest.raises(KeyUnavailable, match="is wrong"):
        opened(WRONG).check()
    marker = (tmp_path / "refused-pins").read_text()
    token.sessions._refusals = Refusals(tmp_path / "elsewhere")
    token.check()
    other = opened(WRONG)
    other.check()  # the process is logged in: there is nothing to try
    other.close()
    assert (tmp_path / "refused-pins").read_text() == marker
    assert tries == [c.CKR_PIN_INCORRECT, c.CKR_OK]


def test_processes_that_start_together_try_a_wrong_pin_once(made: MadeToken, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from intaglio.errors import KeyUnavailable\n"
        "from intaglio.keys.token import Token, TokenPlace\n"
        "module, serial, pin, refused = sys.argv[1:]\n"
        "try: Token(TokenPlace(Path(module), serial=serial), lambda: pin, Path(refused)).check()\n"
        "except KeyUnavailable as error: print(error)"
    )
    place = (str(made.place.module), made.serial, WRONG, str(tmp_path / "refused-pins"))
    command = [sys.executable, "-c", code, *place]
    started = [subprocess.Popen(command, env=made.environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert sum("is wrong" in one for one in said) == 1, said
    assert sum("refused this PIN before" in one for one in said) == 3, said


@pytest.mark.parametrize(
    ("flag", "said"), [(c.CKF_USER_PIN_LOCKED, "security officer"), (c.CKF_USER_PIN_FINAL_TRY, "one more wrong PIN")]
)
def test_a_pin_that_is_nearly_or_wholly_locked_is_not_tried(
    opened: Callable[[str], Token], token: Token, tries: list[int], flag: int, said: str
) -> None:
    functions = token.sessions.module.functions
    real = functions["C_GetTokenInfo"]

    def answer(slot: int, found: object) -> int:
        code = real(slot, found)
        found._obj.flags |= flag  # type: ignore[attr-defined]
        return code

    functions["C_GetTokenInfo"] = answer
    with pytest.raises(KeyUnavailable, match=said):
        opened(PIN).check()
    assert tries == []
    check_flags(layout.CK_TOKEN_INFO(flags=c.CKF_USER_PIN_COUNT_LOW))  # that alone is no reason


def test_no_pin_is_tried_where_a_refusal_could_not_be_remembered(
    made: MadeToken, token: Token, tries: list[int], tmp_path: Path
) -> None:
    del token
    (tmp_path / "file").touch()
    for refused in (tmp_path / "file/refused-pins", Path("/proc/refused-pins")):
        with pytest.raises(KeyUnavailable, match="no PIN is tried"):
            Token(made.place, lambda: PIN, refused).check()
    damaged = tmp_path / "damaged"
    damaged.write_text("what is this\n")
    with pytest.raises(KeyUnavailable, match="damaged"):
        Token(made.place, lambda: PIN, damaged).check()
    assert tries == []


def test_a_login_that_hangs_holds_up_others_for_a_bounded_time(token: Token) -> None:
    functions = token.sessions.module.functions
    entered, release = threading.Event(), threading.Event()
    real = functions["C_Login"]

    def hang(*arguments: object) -> int:
        entered.set()
        release.wait(20)
        return real(*arguments)

    functions["C_Login"] = hang
    first = threading.Thread(target=token.check)
    first.start()
    assert entered.wait(5)
    began = time.monotonic()
    with pytest.raises(KeyUnavailable, match="too long"):
        token.check()
    assert time.monotonic() - began < 10  # the other hangs for twenty
    began = time.monotonic()
    with pytest.raises(KeyUnavailable, match="too long"):
        token.check()  # whoever comes later does not wait anew for the same thread
    assert time.monotonic() - began < 1.5  # less than the two seconds of one wait
    release.set()
    first.join()
    token.check()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [("", 0o600, "one line"), ("12\n34\n", 0o600, "one line"), ("1234\n", 0o644, "chmod 600"), (None, 0, "read")],
)
def test_a_pin_file_that_cannot_be_used_is_said(tmp_path: Path, content: str | None, mode: int, said: str) -> None:
    file = tmp_path / "pin"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(KeyUnavailable, match=said):
        hsm_pin("file:pin", tmp_path)


def test_a_pin_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pin"
    file.write_text(" user:pässword \n")
    file.chmod(0o600)
    assert hsm_pin("file:pin", tmp_path) == " user:pässword "
    monkeypatch.setitem(os.environ, "PLANTED_PIN", "1234")
    assert hsm_pin("env:PLANTED_PIN", tmp_path) == "1234"
    with pytest.raises(KeyUnavailable):
        hsm_pin("env:NO_SUCH_PIN", tmp_path)
