"""How the service's own keys sign: one hash for each key, PKCS#1 v1.5 for RSA (RFC 8017 §8.2), ECDSA else."""

from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from intaglio.keys.algorithm import PrivateKey, PublicKey

_ALGORITHM_IDENTIFIERS = {
    ("rsa", "sha256"): bytes.fromhex("300d06092a864886f70d01010b0500"),
    ("ec", "sha256"): bytes.fromhex("300a06082a8648ce3d040302"),
    ("ec", "sha384"): bytes.fromhex("300a06082a8648ce3d040303"),
}


def signature_hash(key: PrivateKey | PublicKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash that `key` signs certificates, CRLs, OCSP responses and time-stamps with."""
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def names(key: PrivateKey | PublicKey) -> tuple[str, str]:
    """Return algorithm and hash of what `signing` makes with `key`, as clients write them: RSA, SHA-256."""
    algorithm = "RSA" if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey) else "ECDSA"
    return algorithm, f"SHA-{signature_hash(key).digest_size * 8}"


def algorithm_identifier(key: PrivateKey) -> bytes:
    """Return the AlgorithmIdentifier of what `sign` makes with `key`, DER (RFC 4055 §5, RFC 5758 §3.2)."""
    kind = "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ec"
    return _ALGORITHM_IDENTIFIERS[kind, signature_hash(key).name]


def signing(key: PrivateKey) -> Callable[[bytes], bytes]:
    """Return what gives the signature of `key` over a content: what depends on the key alone is decided here."""
    chosen = signature_hash(key)
    if isinstance(key, rsa.RSAPrivateKey):
        sign, scheme = key.sign, padding.PKCS1v15()
        return lambda content: sign(content, scheme, chosen)
    sign_by_curve, way = key.sign, ec.ECDSA(chosen)
    return lambda content: sign_by_curve(content, way)


def verify(key: PublicKey, signature: bytes, content: bytes) -> None:
    """Check what `sign` made; raises `cryptography.exceptions.InvalidSignature`."""
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, content, padding.PKCS1v15(), signature_hash(key))
    else:
        key.verify(signature, content, ec.ECDSA(signature_hash(key)))
