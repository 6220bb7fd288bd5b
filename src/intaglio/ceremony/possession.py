"""What is shown of a key that a ceremony made: what its custody attests, and that it signs.

An attestation is what the custody reads of the key itself, in these words (those of PKCS #11 v3.1 §4.9):
`custody` (software or pkcs11), `local` (made there, not brought in), `sensitive`, `always_sensitive`, `extractable`,
`never_extractable`, and for a token `token_label`, `token_serial`, `token_manufacturer`, `token_model`, `firmware`,
`key_id`. The new key signs it together with the transcript's head: so it belongs to this key and this moment. It is the
word of the machine that read it, not of the token's maker.
"""

import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from intaglio.ceremony.entry import KeyMade
from intaglio.errors import ContentRefused
from intaglio.keys.algorithm import CURVES, RSA_BITS, PrivateKey, PublicKey, public_key_der
from intaglio.keys.attestation import Attestation
from intaglio.pki.signature import signing, verify

# What `hsm = true` in a script demands.
_DEMANDED: Attestation = {
    "custody": "pkcs11",
    "local": True,
    "sensitive": True,
    "always_sensitive": True,
    "extractable": False,
    "never_extractable": True,
}

_encoder = msgspec.json.Encoder(order="sorted")
_PURPOSE = "intaglio ceremony key"


def algorithm_of(key: PublicKey) -> str:
    """Return the name of a public key's kind, as scripts write it; raises `ContentRefused`."""
    if isinstance(key, rsa.RSAPublicKey):
        found = next((name for name, bits in RSA_BITS.items() if bits == key.key_size), None)
    else:
        found = next((name for name, curve in CURVES.items() if isinstance(key.curve, curve)), None)
    if found is None:
        raise ContentRefused("The key is of no kind that is made here.", {"algorithm": "unknown"})
    return str(found)


def statement(head: bytes, name: str, public_key: bytes, attested: Attestation) -> bytes:
    """Return what a key signs to show that it is there: JSON, which no certificate, CRL or response can be."""
    return _encoder.encode(
        {
            "purpose": _PURPOSE,
            "head": head.hex(),
            "name": name,
            "public_key": hashlib.sha256(public_key).hexdigest(),
            "attestation": attested,
        }
    )


def shown(head: bytes, name: str, key: PrivateKey, attested: Attestation) -> KeyMade:
    """Return a key's record with its proof, bound to the transcript's `head`."""
    public = public_key_der(key.public_key())
    return KeyMade(
        name=name,
        algorithm=algorithm_of(key.public_key()),
        public_key=public,
        attestation=dict(attested),
        proof=signing(key)(statement(head, name, public, attested)),
    )


def check(made: KeyMade, key: PublicKey, head: bytes, *, hsm: bool) -> None:
    """Check the record of `key`; raises `ContentRefused` with the reason."""
    if made.public_key != public_key_der(key):
        raise _refused("the key shown is not the one that was certified or requested")
    if made.algorithm != algorithm_of(key):
        raise _refused("the key is of another algorithm than said")
    content = statement(head, made.name, made.public_key, made.attestation)
    try:
        verify(key, made.proof, content)
    except InvalidSignature as error:
        raise _refused("the proof of possession is not the key's signature over this transcript") from error
    if hsm:
        check_attestation(made.attestation)


def check_attestation(attested: Attestation) -> None:
    """Raise `ContentRefused` unless a key was made in an HSM and can never leave it."""
    lacking = [name for name, value in _DEMANDED.items() if attested.get(name) != value]
    if not attested.get("token_serial"):
        lacking.append("token_serial")
    if lacking:
        raise _refused(f"the script demands one in an HSM, but {', '.join(lacking)} of its attestation is not so")


def _refused(reason: str) -> ContentRefused:
    return ContentRefused(f"The key does not hold: {reason}.", {"key": reason})
