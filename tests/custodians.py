"""Officers for tests: real key files, in the standard's form, stretched little so that tests do not wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from commands import BIN, run
from intaglio.ceremony.examples import example
from intaglio.ceremony.officer import block
from intaglio.staff.signature import low

PASSPHRASE = "correct horse battery staple"
NAMES = ("alice", "bob", "carol")


@dataclass(frozen=True)
class Custodian:
    """An officer with the key file, and the key itself for those who forge."""

    name: str
    path: Path
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    @property
    def table(self) -> str:
        return block(self.name, "Key custodian", self.key.public_key())

    @property
    def options(self) -> tuple[str, ...]:
        secret = self.path.with_suffix(".secret")
        return ("--key", f"{self.name}={self.path}", "--secret", f"{self.name}=file:{secret}")

    def sign(self, content: bytes) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(content)
        return low(self.key.sign(content, ec.ECDSA(hashes.SHA256())))


def make_officer(folder: Path, name: str) -> Custodian:
    """Make a key file with openssl; carol's is P-256, the others' Ed25519."""
    plain, path, secret = folder / f"{name}.plain", folder / f"{name}.key", folder / f"{name}.secret"
    secret.write_text(PASSPHRASE + "\n")
    kind = ("EC", "-pkeyopt", "ec_paramgen_curve:P-256") if name == "carol" else ("ED25519",)
    run("openssl", "genpkey", "-algorithm", *kind, "-out", plain)
    run("openssl", "pkcs8", "-topk8", "-in", plain, "-out", path, "-scrypt", "-scrypt_N", "1024", "-passout",
        f"file:{secret}")  # fmt: skip
    key = load_pem_private_key(plain.read_bytes(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey)
    return Custodian(name, path, key)


def ceremony(*arguments: str | Path, ok: bool = True) -> tuple[int, str, str]:
    """Run `intaglio ceremony …`; return its exit code, output and messages."""
    done = run(BIN / "intaglio", "ceremony", *arguments, check=ok)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def root_script(officers: Sequence[Custodian], **changes: str) -> str:
    """Return the script of a small ceremony: an empty home, a root, its first CRL."""
    text = example("root", [one.table for one in officers]).replace("rsa-4096", "p-256")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def options(officers: Sequence[Custodian]) -> tuple[str, ...]:
    """Return the options by which these officers confirm, and no others."""
    return tuple(option for one in officers for option in one.options)
