"""Whole ceremonies between homes, with the examples as they are delivered: offline root, rollover, emergency."""

import hashlib
import re
from pathlib import Path

import pytest

from custodians import Custodian, ceremony, options
from intaglio.ceremony.examples import example
from served import BIN, run

ZEROS = "0" * 64


class Ground:
    """A vault with an offline root's home, a data centre with the service's, and what is carried between them."""

    def __init__(self, folder: Path, officers: dict[str, Custodian]) -> None:
        self.folder = folder
        self.officers = list(officers.values())
        self.vault, self.service = folder / "vault", folder / "service"

    def init(self) -> None:
        run(BIN / "intaglio", "init", "--home", self.service, "--name", "Example Ltd", "--public-url",
            "http://pki.example.com", "--algorithm", "p-256")  # fmt: skip

    def script(self, name: str, **changes: str) -> Path:
        """Write an example with keys of P-256, and every SHA-256 as it is."""
        text = example(name, [one.table for one in self.officers]).replace("rsa-4096", "p-256")
        text = text.replace("rsa-2048", "p-256")
        for old, new in changes.items():
            text = text.replace(old, new)

        def digest(found: re.Match[str]) -> str:
            return found[0].replace(ZEROS, hashlib.sha256((self.folder / found[1]).read_bytes()).hexdigest())

        text = re.sub(rf'path = "([^"]+)", sha256 = "{ZEROS}"', digest, text)
        for authority in ("offline-root", "root"):
            place = self.folder / f"{authority}.crt"
            if place.exists():
                der = run("openssl", "x509", "-in", place, "-outform", "DER").stdout
                text = text.replace(f'{authority} = "{ZEROS}"', f'{authority} = "{hashlib.sha256(der).hexdigest()}"')
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        return path

    def hold(self, name: str, home: Path, *, ok: bool = True, **changes: str) -> str:
        """Hold the ceremony of an example with alice and bob, and verify its transcript; return what was said."""
        script = self.script(name, **changes)
        transcript = self.folder / f"{name}.jsonl"
        code, _, errors = ceremony(
            "run", script, "--transcript", transcript, "--home", home, *options(self.officers[:2]), ok=ok
        )
        if ok:
            ceremony("verify", transcript, "--script", script, "--outputs", self.folder)
        assert (code == 0) == ok
        return errors


@pytest.fixture
def ground(tmp_path: Path, officers: dict[str, Custodian]) -> Ground:
    return Ground(tmp_path, officers)


def openssl(*command: str | Path) -> str:
    return run("openssl", *command).stdout.decode()


def test_an_offline_root_certifies_an_issuing_ca_that_the_service_then_issues_from(ground: Ground) -> None:
    ground.init()
    ground.hold("root", ground.vault)
    ground.hold("request", ground.service)
    ground.hold("issuing", ground.vault)
    ground.hold("install", ground.service)
    at = ground.folder
    openssl("verify", "-x509_strict", "-crl_check", "-CRLfile", _pem(at / "offline-root-2.crl"), "-CAfile",
            at / "offline-root.crt", at / "issuing-2.crt")  # fmt: skip
    assert "http://pki.example.com/crl/offline-root.crl" in openssl(
        "x509", "-in", at / "issuing-2.crt", "-noout", "-text"
    )
    # The vault's keys never left it.
    assert (ground.vault / "keys/offline-root.sealed").exists()
    assert not (ground.service / "keys/offline-root.sealed").exists()
    assert not (ground.vault / "keys/issuing-2.sealed").exists()


def _pem(crl: Path) -> Path:
    path = crl.with_suffix(".crl.pem")
    openssl("crl", "-inform", "DER", "-in", crl, "-out", path)
    return path


def test_another_request_than_was_agreed_on_is_not_signed(ground: Ground) -> None:
    ground.init()
    ground.hold("root", ground.vault)
    ground.hold("request", ground.service)
    script = ground.script("issuing")
    request = ground.folder / "issuing-2.csr"
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", ground.folder / "evil.key", "-out", request,
            "-subj", "/O=Example Ltd/CN=Example Ltd Document Signing CA 2")  # fmt: skip
    code, _, errors = ceremony("run", script, "--transcript", ground.folder / "issuing.jsonl", "--home", ground.vault,
                               *options(ground.officers[:2]), ok=False)  # fmt: skip
    assert (code, "issuing-2.csr: has the SHA-256" in errors) == (1, True)
    assert not (ground.folder / "issuing-2.crt").exists()


def test_rollover_within_one_home_and_then_the_old_ca_is_revoked(ground: Ground) -> None:
    ground.init()
    for name in ("root", "issuing"):
        (ground.folder / f"{name}.crt").write_bytes((ground.service / f"pki/{name}.crt").read_bytes())
    ground.hold("rollover", ground.service)
    openssl("verify", "-CAfile", ground.folder / "root.crt", ground.folder / "issuing-2.crt")
    ground.hold("revocation", ground.service)
    text = openssl("crl", "-inform", "DER", "-in", ground.folder / "root.crl", "-noout", "-text")
    serial = openssl("x509", "-in", ground.folder / "issuing.crt", "-noout", "-serial").strip().removeprefix("serial=")
    assert (serial in text, "Key Compromise" in text) == (True, True)
    # What is revoked is revoked: a second ceremony fails at its step, says so, and does nothing.
    (ground.folder / "root.crl").rename(ground.folder / "first.crl")
    (ground.folder / "revocation.jsonl").unlink()
    errors = ground.hold("revocation", ground.service, ok=False)
    assert "revoked already" in errors
    code, _, errors = ceremony("verify", ground.folder / "revocation.jsonl", ok=False)
    assert (code, "step revoke is not done" in errors) == (1, True)
    assert not (ground.folder / "root.crl").exists()


def test_a_key_that_was_there_before_is_not_taken_for_one_of_the_ceremony(ground: Ground) -> None:
    ground.init()
    (ground.folder / "root.crt").write_bytes((ground.service / "pki/root.crt").read_bytes())
    ground.hold("rollover", ground.service)
    for name in ("issuing-2.csr", "issuing-2.crt", "rollover.jsonl"):
        (ground.folder / name).unlink()
    errors = ground.hold("rollover", ground.service, ok=False)
    assert "was not made in this ceremony" in errors


def test_a_script_that_demands_an_hsm_makes_no_software_key(ground: Ground) -> None:
    errors = ground.hold("root", ground.vault, ok=False, **{"hsm = false": "hsm = true"})
    assert "keeps its keys in software" in errors
    assert list((ground.vault / "keys").glob("offline-root*")) == []
