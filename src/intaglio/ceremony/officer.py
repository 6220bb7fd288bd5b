"""Officers of a ceremony: who they are, and with which keys they confirm."""

import base64
import binascii
import json

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from intaglio.errors import Malformed
from intaglio.staff.signature import PersonKey, encoded, is_sound

_LEAST_RSA_BITS = 2048


class SecretOfficer(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="confirms", tag="secret"
):
    """Confirms with a key file that a passphrase opens; `public_key` is base64 of a SubjectPublicKeyInfo, or PEM."""

    name: str
    role: str
    public_key: str


class CardOfficer(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="confirms", tag="pkcs11"
):
    """Confirms with a key on a smart card or token (PKCS#11): `key` is its label, `key_id` its CKA_ID in hex.

    The public key stands in the script by itself or in a certificate (PEM); the module is a path on the machine of
    the ceremony; `serial` tells apart tokens that came from their maker with one label.
    """

    name: str
    role: str
    module: str
    token: str
    serial: str | None = None
    key: str | None = None
    key_id: str | None = None
    public_key: str | None = None
    certificate: str | None = None


Officer = SecretOfficer | CardOfficer


def officer_key(officer: Officer) -> PersonKey:
    """Return the public key that the script gives an officer; raises `Malformed` with the reason."""
    found: object
    try:
        if isinstance(officer, CardOfficer) and officer.certificate is not None:
            found = x509.load_pem_x509_certificate(officer.certificate.encode()).public_key()
        else:
            found = _public_key(officer.public_key or "")
    except (ValueError, binascii.Error) as error:
        raise Malformed("Not a public key.", {"public_key": "must be a public key, base64 or PEM"}) from error
    return _allowed(found, card=isinstance(officer, CardOfficer))


def _public_key(text: str) -> object:
    if text.lstrip().startswith("-----BEGIN"):
        return load_pem_public_key(text.encode())
    return load_der_public_key(base64.b64decode(text.strip(), validate=True))


def _allowed(key: object, *, card: bool) -> PersonKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if not card and isinstance(key, ed25519.Ed25519PublicKey) and is_sound(key):
        return key
    # Smart cards of offices are often RSA-2048 still.
    if card and isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return key
    kinds = f"P-256, or RSA of {_LEAST_RSA_BITS} bits or more" if card else "Ed25519 or P-256"
    raise Malformed("Not a key for an officer.", {"public_key": f"must be {kinds}"})


def block(name: str, role: str, key: PersonKey) -> str:
    """Return the table of an officer who confirms with a key file, as it stands in a script."""
    public = base64.b64encode(encoded(key)).decode()
    strings = {"name": name, "role": role, "confirms": "secret", "public_key": public}
    # Strings of JSON are strings of TOML, too.
    lines = [f"{field} = {json.dumps(value, ensure_ascii=False)}" for field, value in strings.items()]
    return "\n".join(["[[officers]]", *lines]) + "\n"
