"""A transcript that anyone changed is refused, and the first entry that does not hold is named.

The attacker of these tests owns the terminal and the file, chains everything anew, and may be one of the officers.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremony.conftest import Held
from custodians import Custodian, ceremony, root_script
from forger import entries, index, written
from intaglio.ceremony.entry import (
    Absent,
    Begun,
    Closed,
    Closing,
    Confirmed,
    Entry,
    Resumed,
    StepBegun,
    StepCompleted,
    StepFailed,
)
from intaglio.ceremony.reading import read as read_script
from intaglio.ceremony.transcript import read
from intaglio.ceremony.verification import verify
from intaglio.errors import Conflict, Malformed

Officers = dict[str, Custodian]
Edit = Callable[[list[Entry]], object]


@pytest.fixture(scope="module")
def raw(held: Held) -> bytes:
    return held.transcript.read_bytes()


def test_untouched_it_holds_and_the_forger_writes_as_the_run_does(raw: bytes) -> None:
    assert verify(raw).entries == len(raw.splitlines())
    assert written(entries(raw)) == raw


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_changed_byte_is_found(raw: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(raw) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda one: one != raw[place]))
    with pytest.raises((Conflict, Malformed)):
        verify(raw[:place] + bytes((value,)) + raw[place + 1 :])


def test_every_bit_of_the_last_two_entries_counts(raw: bytes) -> None:
    # Nothing follows them that their hash would stand in.
    begin = len(raw) - sum(len(line) for line in raw.splitlines(keepends=True)[-2:])
    for place in range(begin, len(raw)):
        for bit in (1, 0x20):
            with pytest.raises(Conflict):
                verify(raw[:place] + bytes((raw[place] ^ bit,)) + raw[place + 1 :])


def test_any_cut_is_found(raw: bytes) -> None:
    lines = raw.splitlines(keepends=True)
    for count in range(len(lines)):
        with pytest.raises(Conflict, match=f"entry {max(count, 1)}"):
            verify(b"".join(lines[:count]))
    with pytest.raises(Conflict, match="not whole"):
        verify(raw[:-1])
    with pytest.raises(Conflict, match="entry 1:"):
        verify(b"".join(lines[1:]))


def test_any_entry_left_out_doubled_or_swapped_is_found_even_when_chained_anew(raw: bytes) -> None:
    found = entries(raw)
    for place in range(len(found)):
        with pytest.raises(Conflict):
            verify(written([*found[:place], *found[place + 1 :]]))
        with pytest.raises(Conflict):
            verify(written([*found[:place], found[place], *found[place:]]))
        if place:
            swapped = [*found[: place - 1], found[place], found[place - 1], *found[place + 1 :]]
            with pytest.raises(Conflict):
                verify(written(swapped))


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_any_value_changed_is_found_even_when_chained_anew(raw: bytes, data: st.DataObject) -> None:
    """Every value of every entry is covered by an officer's signature, also those of the last entries."""
    found = entries(raw)
    place = data.draw(st.integers(0, len(found) - 1))
    entry = found[place]
    field = data.draw(st.sampled_from([one for one in entry.__struct_fields__ if one != "sequence"]))
    changed = _changed(getattr(entry, field))
    found[place] = msgspec.structs.replace(entry, **{field: changed})
    with pytest.raises((Conflict, Malformed)):
        verify(written(found))


def _changed(value: object) -> object:  # noqa: PLR0911
    match value:
        case str():
            return value + "x"
        case bytes():
            return bytes((value[0] ^ 1, *value[1:])) if value else b"x"
        case dict():
            return {**value, "x": ""}
        case list():
            return value[:-1]
        case int():
            return value + 1
        case None:
            return {"genesis": "", "organization": "", "public_url": "", "policy_arc": ""}
        case timedelta():
            return value
        case msgspec.Struct():
            return msgspec.structs.replace(value, recovered=True)
        case _:
            return value + timedelta(microseconds=1)  # type: ignore[operator]


def test_the_other_form_of_an_ecdsa_signature_is_not_taken(raw: bytes) -> None:
    found = entries(raw)
    last = found[-1]
    assert isinstance(last, Closed)
    assert last.officer == "carol"
    r, s = decode_dss_signature(last.signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    found[-1] = msgspec.structs.replace(last, signature=encode_dss_signature(r, order - s))
    with pytest.raises(Conflict, match="signature of carol"):
        verify(written(found))


def _drop(kind: type[Entry], officer: str | None = None) -> Edit:
    def edit(found: list[Entry]) -> None:
        found[:] = [
            one for one in found if not (isinstance(one, kind) and officer in {None, getattr(one, "officer", None)})
        ]

    return edit


def _instead_of_carol(found: list[Entry]) -> None:
    """Let alice confirm in carol's place, too."""
    for place, one in enumerate(found):
        if isinstance(one, Confirmed | Closed) and one.officer == "carol":
            found[place] = msgspec.structs.replace(one, officer="alice")


def _alone(found: list[Entry]) -> None:
    """Let it look as if carol never came: alice signs everything else anew."""
    _drop(Confirmed, "carol")(found)
    _drop(Closed, "carol")(found)
    place = index(found, lambda one: isinstance(one, Closing))
    found[place] = msgspec.structs.replace(found[place], present=["alice"])


def _carol_left(found: list[Entry]) -> None:
    """Let carol be absent from the end."""
    place = index(found, lambda one: isinstance(one, Closing))
    closing, first = found[place], found[place + 1]
    assert isinstance(closing, Closing)
    absent = Absent(sequence=0, at=closing.at, officer="carol", covers="closing", reason="did not confirm")
    found[place:] = [absent, msgspec.structs.replace(closing, present=["alice"]), first]


def _step_twice(found: list[Entry]) -> None:
    place = index(found, lambda one: isinstance(one, StepCompleted) and one.step == "root")
    at = found[place].at
    found[place + 1 : place + 1] = [msgspec.structs.replace(one, at=at) for one in found[place - 1 : place + 1]]


def _crl_skipped(found: list[Entry]) -> None:
    found[:] = [one for one in found if "crl" not in {getattr(one, "step", None), getattr(one, "covers", None)}]


def _failure_hidden_as_resumption(found: list[Entry]) -> None:
    place = index(found, lambda one: isinstance(one, StepBegun) and one.step == "root")
    at = found[place].at
    found[place:place] = [
        StepFailed(sequence=0, at=at, step="root", error="x"),
        Resumed(sequence=0, at=at, discarded=0),
    ]


def _quorum_lowered(found: list[Entry]) -> None:
    begun = found[0]
    assert isinstance(begun, Begun)
    found[0] = msgspec.structs.replace(begun, script=begun.script.replace("quorum = 2", "quorum = 1"))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (_drop(Confirmed, "carol"), "only 1 of 2 officers have confirmed ceremony"),
        (_drop(Absent), "signature of carol"),
        (_drop(Closed, "carol"), "closing signatures are missing"),
        (_instead_of_carol, "nobody counts twice"),
        (_alone, "only 1 of 2 officers"),
        (_carol_left, "too few"),
        (_step_twice, "out of order"),
        (_crl_skipped, "step crl is not done"),
        (_failure_hidden_as_resumption, "was not begun"),
        (_quorum_lowered, "quorum"),
        (lambda found: found.append(Resumed(sequence=0, at=found[-1].at, discarded=0)), "closed before it"),
    ],
)
def test_one_officer_with_the_terminal_cannot_stand_for_two(
    raw: bytes, officers: Officers, edit: Edit, named: str
) -> None:
    found = entries(raw)
    edit(found)
    with pytest.raises(Conflict, match=named):
        verify(written(found, {"alice": officers["alice"]}))


def test_time_does_not_go_back(raw: bytes, officers: Officers) -> None:
    found = entries(raw)
    found[5] = msgspec.structs.replace(found[5], at=found[0].at - timedelta(seconds=1))
    with pytest.raises(Conflict, match="entry 6: its time is before"):
        verify(written(found, officers))


def test_a_ceremony_of_other_officers_holds_by_itself_and_is_not_the_agreed_script(
    raw: bytes, officers: Officers, held: Held
) -> None:
    """Why an auditor brings the script's hash: a transcript cannot say whose keys are in its script."""
    found = entries(raw)
    begun = found[0]
    assert isinstance(begun, Begun)
    mallory = {name: officers[other] for name, other in (("alice", "bob"), ("carol", "carol"), ("bob", "alice"))}
    tables = [Custodian(name, one.path, one.key) for name, one in mallory.items()]
    found[0] = msgspec.structs.replace(begun, script=root_script(sorted(tables, key=lambda one: one.name)))
    # The proof of possession is bound to the transcript's head and cannot be carried over.
    with pytest.raises(Conflict, match="proof of possession"):
        verify(written(found, mallory))
    expected = read_script(root_script(tables).encode()).sha256
    with pytest.raises(Conflict, match="another script"):
        verify(raw, script_sha256=expected)
    code, _, errors = ceremony("verify", held.transcript, "--sha256", "00" * 32, ok=False)
    assert (code, "another script" in errors) == (1, True)


def test_what_a_transcript_says_does_not_reach_the_auditors_terminal_as_it_is(
    raw: bytes, tmp_path: Path, officers: Officers
) -> None:
    found = entries(raw)
    place = index(found, lambda one: isinstance(one, Confirmed))
    path = tmp_path / "t.jsonl"
    for covers in ("\x1b[2JThe transcript holds", "\u202e", "a\nThe transcript holds"):
        found[place] = msgspec.structs.replace(found[place], covers=covers)
        path.write_bytes(written(found, officers))
        code, out, errors = ceremony("verify", path, ok=False)
        assert (code, out) == (1, "")
        assert not any(one in errors for one in ("\x1b", "\u202e", "\nThe"))


def test_a_changed_or_missing_output_is_named(held: Held, tmp_path: Path) -> None:
    (tmp_path / "offline-root.crt").write_bytes((held.folder / "offline-root.crt").read_bytes().replace(b"M", b"N", 1))
    code, _, errors = ceremony("verify", held.transcript, "--outputs", tmp_path, ok=False)
    assert code == 1
    assert "offline-root.crt: is not what the ceremony wrote" in errors
    assert "offline-root.crl: No such file" in errors


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"\xff\n", b"[" * 100_000 + b"\n", b'{"body":{},"hash":""}\n']
)
def test_what_is_no_transcript_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises((Conflict, Malformed)):
        read(content)
    path = tmp_path / "x"
    path.write_bytes(content)
    code, _, errors = ceremony("verify", path, ok=False)
    assert (code, "Traceback" in errors, "entry 1" in errors) == (1, False, True)
