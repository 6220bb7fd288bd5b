"""An officer's key file: made by the command line, opened by openssl, worthless without its passphrase."""

import tomllib
from pathlib import Path

import pytest

from custodians import ceremony
from intaglio.errors import Malformed, Unauthenticated
from intaglio.staff import key_file
from served import run

PASSPHRASE = "a passphrase, for once"


@pytest.mark.parametrize("algorithm", key_file.ALGORITHMS)
def test_a_key_file_is_made_once_and_is_a_standard_one(tmp_path: Path, algorithm: str) -> None:
    secret, out = tmp_path / "secret", tmp_path / "alice.key"
    secret.write_text(PASSPHRASE + "\n")
    made = ("officer", "alice", "--out", out, "--secret", f"file:{secret}", "--algorithm", algorithm)
    _, table, errors = ceremony(*made, "--role", "Key custodian")
    officer = tomllib.loads(table)["officers"][0]
    assert (officer["name"], officer["role"], officer["confirms"]) == ("alice", "Key custodian", "secret")
    assert (out.stat().st_mode & 0o777, PASSPHRASE in errors + table) == (0o600, False)
    public = run("openssl", "pkey", "-in", out, "-passin", f"file:{secret}", "-pubout").stdout.decode()
    assert officer["public_key"] in public.replace("\n", "")
    shape = run("openssl", "asn1parse", "-in", out).stdout.decode()
    assert ":PBES2" in shape
    assert ":1.3.6.1.4.1.11591.4.11" in shape or ":id-scrypt" in shape or ":scrypt" in shape
    code, _, errors = ceremony(*made, ok=False)
    assert (code, "File exists" in errors) == (1, True)


def test_it_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    key, pem = key_file.make("ed25519", PASSPHRASE)
    path = tmp_path / "x.key"
    key_file.write(path, pem)
    assert key_file.unlock(path, PASSPHRASE).public_key() == key.public_key()
    with pytest.raises(Unauthenticated):
        key_file.unlock(path, PASSPHRASE + " ")
    path.write_bytes(pem.replace(b"ENCRYPTED ", b""))
    with pytest.raises(Malformed):
        key_file.unlock(path, PASSPHRASE)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("alice", "--secret", "env:SHORT"), "at least 12"),
        (("alice", "--secret", "env:NOT_SET_ANYWHERE"), "secret"),
        (("alice", "--secret", PASSPHRASE), "secret"),
        (("alice", "--secret", "env:HOME", "--algorithm", "rsa"), "algorithm"),
        (("Alice A", "--secret", "env:HOME"), "name"),
        (("alice",), "terminal"),
    ],
)
def test_what_cannot_be_an_officer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], named: str
) -> None:
    monkeypatch.setenv("SHORT", "hunter2")
    code, _, errors = ceremony("officer", *options, "--out", tmp_path / "x.key", ok=False)
    assert (code, named in errors, PASSPHRASE in errors) == (1, True, False), errors
    assert list(tmp_path.iterdir()) == []
