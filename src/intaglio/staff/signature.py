"""What people sign with, and how it is checked: Ed25519, ECDSA on P-256 in one form alone, RSA of smart cards."""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PersonKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
SecretKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

# Order of the group of P-256, SP 800-186 §3.2.1.3
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


# y of the points of small order, RFC 7748 §6 and §7 on the curve of Ed25519: with one of them as a key, one signature
# holds for every text.
_ED25519_PRIME = (1 << 255) - 19
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _ED25519_PRIME - 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    }
)


def is_sound(key: ed25519.Ed25519PublicKey) -> bool:
    """Return whether a key is a point of large order, written as RFC 8032 §5.1.3 has it decoded."""
    y = int.from_bytes(key.public_bytes_raw(), "little") & ((1 << 255) - 1)
    return y < _ED25519_PRIME and y not in _SMALL_ORDER


def encoded(key: PersonKey) -> bytes:
    """Return the SubjectPublicKeyInfo in DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: PersonKey) -> str:
    """Return SHA-256 over the SubjectPublicKeyInfo, in hex: what people compare."""
    return hashlib.sha256(encoded(key)).hexdigest()


def low(signature: bytes) -> bytes:
    """Return an ECDSA signature on P-256 with its `s` in the lower half.

    With (r, s), (r, n-s) is valid too: only one of the two is taken, so that nobody can change a signature unseen.
    """
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


def check(key: PersonKey, signature: bytes, content: bytes) -> None:
    """Check a signature over `content`; raises `InvalidSignature`. Of every signature, one form alone is taken."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, content)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        if low(signature) != signature:
            raise InvalidSignature
    else:
        key.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())


def sign(key: SecretKey, content: bytes) -> bytes:
    """Return a signature over `content`, in the form that `check` takes."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(content)
    return low(key.sign(content, ec.ECDSA(hashes.SHA256())))
