"""A 2-of-3 root ceremony by the command line; who is missing, wrong, there twice, or asked at a terminal."""

import json
import os
import pty
import time
from pathlib import Path

import pytest

from ceremony.conftest import Held
from custodians import PASSPHRASE, Custodian, ceremony, options, root_script
from intaglio.ceremony.examples import example
from served import BIN, run

Officers = dict[str, Custodian]


def test_a_root_made_by_two_of_three_is_verified_by_its_transcript_and_by_openssl(held: Held) -> None:
    code, out, _ = ceremony("verify", held.transcript, "--script", held.script, "--outputs", held.folder, "--json")
    verdict = json.loads(out)
    assert (code, verdict["script_compared"], verdict["outputs_compared"]) == (0, True, True)
    assert (verdict["quorum"], sorted(verdict["officers"])) == (2, ["alice", "carol"])
    assert verdict["steps"] == ["home", "root", "crl"]
    assert verdict["keys"][0]["attestation"]["custody"] == "software"
    root = held.folder / "offline-root.crt"
    run("openssl", "verify", "-CAfile", root, "-x509_strict", root)
    run("openssl", "crl", "-inform", "DER", "-in", held.folder / "offline-root.crl", "-noout", "-CAfile", root)
    text = run("openssl", "x509", "-in", root, "-noout", "-text").stdout
    assert b"O = Example Ltd, CN = Example Ltd Offline Root CA" in text
    assert b"CA:TRUE, pathlen:1" in text


def test_the_home_knows_of_the_ceremony_and_its_head(held: Held) -> None:
    head = json.loads(ceremony("verify", held.transcript, "--json")[1])["head"]
    shown = run(BIN / "intaglio", "ledger", "show", "--kind", "ceremony", "--home", held.home, "--json").stdout
    kinds = [(entry["kind"], entry["details"]["head"] == head) for entry in json.loads(shown)]
    assert kinds == [
        ("ceremony.begun", False),
        ("ceremony.step", False),
        ("ceremony.step", False),
        ("ceremony.completed", True),
    ]
    assert b"entries hold" in run(BIN / "intaglio", "ledger", "verify", "--home", held.home).stdout


def test_no_secret_is_in_what_a_ceremony_leaves_behind(held: Held) -> None:
    for path in (held.transcript, held.home / "intaglio.db", held.home / "intaglio.db-wal"):
        assert not path.exists() or PASSPHRASE.encode() not in path.read_bytes()


@pytest.fixture
def script(officers: Officers, tmp_path: Path) -> Path:
    path = tmp_path / "root.toml"
    path.write_text(root_script(list(officers.values())))
    return path


def attempt(script: Path, *more: str | Path) -> tuple[int, str, str]:
    transcript, home = script.with_suffix(".jsonl"), script.with_name("home")
    return ceremony("run", script, "--transcript", transcript, "--home", home, *more, ok=False)


def test_without_a_quorum_nothing_is_done_and_it_goes_on_later(officers: Officers, script: Path) -> None:
    code, _, errors = attempt(script, *officers["alice"].options)
    assert (code, "1 of 2 officers" in errors) == (1, True)
    assert not script.with_name("home").exists()
    code, _, errors = ceremony("verify", script.with_suffix(".jsonl"), ok=False)
    assert (code, "step home is not done" in errors) == (1, True)
    code, _, errors = attempt(script, *options([officers["bob"], officers["carol"]]))
    assert (code, "Going on after entry" in errors) == (0, True)
    verdict = json.loads(ceremony("verify", script.with_suffix(".jsonl"), "--json")[1])
    assert sorted(verdict["officers"]) == ["bob", "carol"]


def test_one_officer_with_two_names_is_no_quorum(officers: Officers, tmp_path: Path) -> None:
    alice = officers["alice"]
    twin = Custodian("alice-2", alice.path, alice.key)
    script = tmp_path / "root.toml"
    text = root_script([alice, officers["bob"]])
    script.write_text(text.replace(officers["bob"].table, twin.table))
    code, _, errors = ceremony("plan", script, ok=False)
    assert (code, "officers[1].public_key: is the key of alice too" in errors) == (1, True)


def test_a_wrong_secret_or_another_officers_key_counts_as_absent(officers: Officers, script: Path) -> None:
    wrong = script.with_name("wrong.secret")
    wrong.write_text("not the passphrase")
    code, _, errors = attempt(
        script, *officers["alice"].options, "--key", f"bob={officers['bob'].path}", "--secret", f"bob=file:{wrong}",
        *(option.replace("alice=", "carol=") for option in officers["alice"].options),
    )  # fmt: skip
    assert code == 1
    assert "bob: absent (wrong secret)" in errors
    assert "carol: absent (the key could not be used)" in errors
    assert "not the passphrase" not in errors
    assert not script.with_name("home").exists()


def test_at_a_terminal_three_wrong_secrets_are_asked_for_and_no_more(officers: Officers, script: Path) -> None:
    keys = [f"--key={name}={officers[name].path}" for name in officers]
    # alice is wrong once; bob three times; carol confirms. Then alice and carol confirm each step and the end.
    answers = ["nonsense", PASSPHRASE, "nonsense", "nonsense", "nonsense", *[PASSPHRASE] * 20]
    command = ["ceremony", "run", str(script), "--transcript", str(script.with_suffix(".jsonl")), "--home",
               str(script.with_name("home")), *keys]  # fmt: skip
    child, terminal = pty.fork()
    if child == 0:
        os.execv(BIN / "intaglio", ["intaglio", *command])  # noqa: S606
    said = b""
    try:
        while True:
            said += os.read(terminal, 4096)
            # A prompt is answered once it is complete.
            if said.rstrip(b" ").endswith(b"[Enter: not here]:") and answers:
                said += b"\n"
                time.sleep(0.05)  # until echo is off
                os.write(terminal, answers.pop(0).encode() + b"\n")
    except OSError:  # the terminal of a child that has ended
        pass
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    text = said.decode()
    assert os.waitstatus_to_exitcode(status) == 0, text
    assert text.count("bob (Key custodian), passphrase to confirm ceremony") == 3
    assert "bob: absent (wrong secret)" in text
    assert "passphrase to confirm root" in text
    assert PASSPHRASE not in text
    assert ceremony("verify", script.with_suffix(".jsonl"), "--script", script)[0] == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('organization = "Example Ltd"', 'organization = "Other Ltd"'), "home.organization"),
        (("http://pki.example.com", "http://other.example.com"), "home.public_url"),
        (("quorum = 2", 'quorum = 2\nsoftware = "9.9"'), "software"),
    ],
)
def test_what_is_not_as_the_script_expects_it_stops_before_anything_begins(
    held: Held, officers: Officers, tmp_path: Path, change: tuple[str, str], named: str
) -> None:
    script = tmp_path / "again.toml"
    text = example("request", [one.table for one in officers.values()])
    assert change[0] in text
    script.write_text(text.replace(*change))
    code, _, errors = ceremony(
        "run", script, "--transcript", tmp_path / "t.jsonl", "--home", held.home, *options(list(officers.values())),
        ok=False,
    )  # fmt: skip
    assert (code, named in errors) == (1, True), errors
    assert not (tmp_path / "t.jsonl").exists()


def test_a_file_that_cannot_be_written_is_written_when_the_ceremony_goes_on(officers: Officers, script: Path) -> None:
    # The folder for the CRL is a file: it is signed and recorded, and cannot be written.
    text = script.read_text().replace('crl = "offline-root.crl"', 'crl = "published/offline-root.crl"')
    script.write_text(text)
    blocked = script.with_name("published")
    blocked.write_text("in the way")
    chosen = options([officers["alice"], officers["bob"]])
    code, _, errors = attempt(script, *chosen)
    assert (code, "cannot be written" in errors) == (1, True), errors
    assert ceremony("verify", script.with_suffix(".jsonl"), ok=False)[0] == 1
    blocked.unlink()
    assert attempt(script, *chosen)[0] == 0
    verdict = ceremony("verify", script.with_suffix(".jsonl"), "--script", script, "--outputs", script.parent)
    assert verdict[0] == 0


def test_an_older_copy_of_a_transcript_is_not_gone_on_with(officers: Officers, script: Path) -> None:
    chosen = options([officers["alice"], officers["bob"]])
    assert attempt(script, *chosen)[0] == 0
    transcript = script.with_suffix(".jsonl")
    lines = transcript.read_bytes().splitlines(keepends=True)
    # Up to where alice and bob have confirmed the root: whoever has the home would have them confirm it again.
    place = next(number for number, line in enumerate(lines) if b'"kind":"step.begun"' in line and b'"root"' in line)
    transcript.write_bytes(b"".join(lines[:place]))
    (script.parent / "offline-root.crt").unlink()
    code, _, errors = attempt(script, *chosen)
    assert (code, "old copy" in errors) == (1, True), errors


def test_transcripts_of_another_script_or_home_are_not_gone_on_with(officers: Officers, script: Path) -> None:
    assert attempt(script, *officers["alice"].options)[0] == 1
    script.write_text(script.read_text().replace("twenty years", "ten years"))
    code, _, errors = attempt(script, *options([officers["alice"], officers["bob"]]))
    assert (code, "another script" in errors) == (1, True)


def test_options_that_name_nobody_or_hold_no_reference_are_refused(officers: Officers, script: Path) -> None:
    for given in (("--secret", "mallory=env:HOME"), ("--secret", "alice=hunter22"), ("--key", "alice")):
        code, _, errors = attempt(script, *officers["alice"].options[:2], *given)
        assert code == 1, given
        assert "hunter22" not in errors
        assert "Traceback" not in errors
    assert not script.with_name("home").exists()


def test_a_file_that_is_no_transcript_is_not_written_over(officers: Officers, script: Path) -> None:
    mine = script.with_suffix(".jsonl")
    for content in (b"not a transcript", b"not\na transcript\n", b"{}"):
        mine.write_bytes(content)
        code, _, errors = attempt(script, *options([officers["alice"], officers["bob"]]))
        assert (code, "does not hold at entry 1" in errors) == (1, True)
        assert mine.read_bytes() == content
