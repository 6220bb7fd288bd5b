"""How the service's own keys sign: one hash for each key, PKCS#1 v1.5 for RSA (RFC 8017 §8.2), ECDSA else."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from intaglio.keys.algorithm import PrivateKey, PublicKey


def signature_hash(key: PrivateKey | PublicKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash that `key` signs certificates, CRLs, OCSP responses and time-stamps with."""
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def sign(key: PrivateKey, content: bytes) -> bytes:
    """Return the signature of `key` over `content`."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, padding.PKCS1v15(), signature_hash(key))
    return key.sign(content, ec.ECDSA(signature_hash(key)))


def verify(key: PublicKey, signature: bytes, content: bytes) -> None:
    """Check what `sign` made; raises `cryptography.exceptions.InvalidSignature`."""
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, content, padding.PKCS1v15(), signature_hash(key))
    else:
        key.verify(signature, content, ec.ECDSA(signature_hash(key)))
