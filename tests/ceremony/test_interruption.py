"""Killed at any place (SIGKILL), a ceremony goes on where it was: no key is made twice, nothing is signed twice."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from custodians import Custodian, ceremony, options, root_script
from intaglio.ceremony.examples import example
from served import BIN, run

INTERRUPTED = Path(__file__).with_name("interrupted.py")
KILLED = -9


class Ceremony:
    """A root ceremony that is run again and again."""

    def __init__(self, folder: Path, officers: dict[str, Custodian]) -> None:
        self.folder = folder
        self.script = folder / "root.toml"
        self.script.write_text(root_script(list(officers.values())))
        self.transcript = folder / "t.jsonl"
        self.chosen = options([officers["alice"], officers["bob"]])

    def begin_signing(self, officers: dict[str, Custodian]) -> None:
        """Go on to a second script, by which the root signs a request."""
        key, request = self.folder / "k.pem", self.folder / "issuing-2.csr"
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", request, "-subj", "/O=Example Ltd/CN=Example Ltd Document Signing CA 2")  # fmt: skip
        root = run("openssl", "x509", "-in", self.folder / "offline-root.crt", "-outform", "DER").stdout
        text = example("issuing", [one.table for one in officers.values()])
        text = text.replace("0" * 64, hashlib.sha256(root).hexdigest(), 1)
        text = text.replace("0" * 64, hashlib.sha256(request.read_bytes()).hexdigest(), 1)
        head, first, *_ = text.split("[[steps]]")
        self.script = self.folder / "signing.toml"
        self.script.write_text(f"{head}[[steps]]{first}")
        self.transcript = self.folder / "signing.jsonl"

    @property
    def command(self) -> list[str | Path]:
        return ["run", self.script, "--transcript", self.transcript, "--home", self.folder / "home", *self.chosen]

    def killed(self, *place: str) -> int:
        command = [sys.executable, INTERRUPTED, *place, "--", "ceremony", *self.command]
        return subprocess.run(list(map(str, command)), capture_output=True, timeout=60, check=False).returncode

    def finish(self) -> None:
        ceremony(*self.command)

    def verdict(self) -> dict[str, object]:
        out = ceremony("verify", self.transcript, "--script", self.script, "--outputs", self.folder, "--json")
        found: dict[str, object] = json.loads(out[1])
        return found

    def issued(self) -> list[str]:
        """Return whom certificates were issued to."""
        shown = run(BIN / "intaglio", "ledger", "show", "--kind", "certificate.issued", "--home", self.folder / "home",
                    "--json")  # fmt: skip
        entries = json.loads(shown.stdout)
        return [entry["details"].get("subject", entry["details"].get("member")) for entry in entries]


def test_killed_again_and_again_it_ends_with_one_key(officers: dict[str, Custodian], tmp_path: Path) -> None:
    held = Ceremony(tmp_path, officers)
    number, kills = 1, 0
    # Each run gets a little further than the one before: before an entry is on disk, and after.
    while (code := held.killed("append", str(number), "before" if kills % 2 else "after")) != 0:
        assert code == KILLED
        kills += 1
        number += 1
    assert kills > 8
    verdict = held.verdict()
    assert verdict["steps"] == ["home", "root", "crl"]
    assert held.issued() == ["offline-root", "offline-root-ocsp"]
    assert len(list((tmp_path / "home/keys").glob("offline-root*"))) == 2


def test_killed_between_key_and_certificate_it_certifies_that_key(
    officers: dict[str, Custodian], tmp_path: Path
) -> None:
    held = Ceremony(tmp_path, officers)
    assert held.killed("key") == KILLED
    sealed = (tmp_path / "home/keys/offline-root.sealed").read_bytes()
    held.finish()
    assert (tmp_path / "home/keys/offline-root.sealed").read_bytes() == sealed
    held.verdict()
    assert held.issued() == ["offline-root", "offline-root-ocsp"]
    x509.load_pem_x509_certificate((tmp_path / "offline-root.crt").read_bytes())


@pytest.mark.parametrize(("mode", "signed"), [("goes on", 1), ("forgetful", 2)])
def test_killed_between_a_signature_and_its_record_nothing_is_signed_twice(
    officers: dict[str, Custodian], tmp_path: Path, mode: str, signed: int
) -> None:
    """The control, which does not look for what was done, signs twice."""
    held = Ceremony(tmp_path, officers)
    held.finish()
    held.begin_signing(officers)
    # begun, alice, bob, carol's absence, alice, bob, step.begun: the eighth entry says that the step is done.
    assert held.killed("append", "8", "before") == KILLED
    if mode == "forgetful":
        assert held.killed("forgetful") == 0
    else:
        held.finish()
    held.verdict()
    assert len([one for one in held.issued() if "Document Signing CA 2" in one]) == signed


def test_a_lost_transcript_is_not_begun_anew_over_the_same_home(officers: dict[str, Custodian], tmp_path: Path) -> None:
    held = Ceremony(tmp_path, officers)
    assert held.killed("key") == KILLED
    (tmp_path / "t.jsonl").unlink()
    code, _, errors = ceremony(*held.command, ok=False)
    assert (code, "no home yet" in errors) == (1, True)
