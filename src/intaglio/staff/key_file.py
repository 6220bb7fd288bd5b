"""The key file of a person: PKCS#8, encrypted under a passphrase by scrypt and AES-256 (RFC 8018, RFC 7914).

Written here because pyca's own encryption stretches the passphrase with 2048 rounds of PBKDF2 only, which is far too
little for a file that travels. `openssl pkey` opens it too.
"""

import base64
import os
import textwrap
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from intaglio.errors import Conflict, ContentRefused, Malformed, Unauthenticated
from intaglio.pki.der import element, integer, object_identifier
from intaglio.staff.signature import SecretKey

ALGORITHMS = ("ed25519", "p-256")
LEAST_PASSPHRASE = 12

# 16 MiB and ten passes. Less memory and more passes than usual: openssl's command takes no more than 32 MiB.
_COST, _BLOCK, _PASSES = 1 << 14, 8, 10

_PBES2 = "1.2.840.113549.1.5.13"
_SCRYPT = "1.3.6.1.4.1.11591.4.11"
_AES_256_CBC = "2.16.840.1.101.3.4.1.42"
_SEQUENCE, _OCTET_STRING = 0x30, 0x04


def make(algorithm: str, passphrase: str) -> tuple[SecretKey, bytes]:
    """Return a new key and its file in PEM; raises `ContentRefused` for a short passphrase or an unknown algorithm."""
    if algorithm not in ALGORITHMS:
        raise ContentRefused("No key was made.", {"algorithm": f"must be one of {', '.join(ALGORITHMS)}"})
    if len(passphrase) < LEAST_PASSPHRASE:
        raise ContentRefused("No key was made.", {"passphrase": f"must have at least {LEAST_PASSPHRASE} characters"})
    key: SecretKey = ed25519.Ed25519PrivateKey.generate()
    if algorithm == "p-256":
        key = ec.generate_private_key(ec.SECP256R1())
    return key, _encrypted(key, passphrase.encode())


def _encrypted(key: SecretKey, passphrase: bytes) -> bytes:
    """Return EncryptedPrivateKeyInfo (RFC 5958 §3) with PBES2 (RFC 8018 §6.2) over scrypt (RFC 7914 §7)."""
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    salt, vector = os.urandom(16), os.urandom(16)
    derived = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_PASSES).derive(passphrase)
    padder = PKCS7(algorithms.AES.block_size).padder()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    text = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    stretching = element(
        _SEQUENCE,
        object_identifier(_SCRYPT),
        element(_SEQUENCE, element(_OCTET_STRING, salt), integer(_COST), integer(_BLOCK), integer(_PASSES)),
    )
    scheme = element(_SEQUENCE, object_identifier(_AES_256_CBC), element(_OCTET_STRING, vector))
    algorithm = element(_SEQUENCE, object_identifier(_PBES2), element(_SEQUENCE, stretching, scheme))
    return _pem(element(_SEQUENCE, algorithm, element(_OCTET_STRING, text)))


def _pem(der: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    label = "ENCRYPTED PRIVATE KEY"
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def write(path: Path, pem: bytes) -> None:
    """Write a key file, 0600, durably, never over another; raises `Conflict`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Conflict(f"{path} cannot be written.", {"out": str(error.strerror)}) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def unlock(path: Path, passphrase: str) -> SecretKey:
    """Return the key in `path`; raises `Malformed` when it is no key file, `Unauthenticated` for a wrong passphrase."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise Malformed(f"{path} cannot be read.", {"key": str(error.strerror)}) from error
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" not in pem:
        raise Malformed(f"{path} is not a person's key file.", {"key": "must be an encrypted PKCS#8 key"})
    try:
        key = load_pem_private_key(pem, passphrase.encode())
    except (ValueError, TypeError) as error:
        raise Unauthenticated("The passphrase does not open the key file.", {"secret": "wrong"}) from error
    if isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise Malformed(f"{path} is not a person's key file.", {"key": "must be Ed25519 or P-256"})
