"""Custody in software: keys live in this process's memory and rest sealed under the master key."""

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from intaglio.errors import KeyUnavailable
from intaglio.keys.algorithm import CURVES, RSA_BITS, KeyAlgorithm, PrivateKey
from intaglio.keys.sealing import SealingKey


class SoftwareCustody:
    """Keys made by the operating system's randomness and sealed with AES-256-GCM."""

    def __init__(self, sealing: SealingKey) -> None:
        self._sealing = sealing

    def generate(self, algorithm: KeyAlgorithm) -> PrivateKey:
        """Return a new private key."""
        if algorithm in RSA_BITS:
            return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS[algorithm])
        return ec.generate_private_key(CURVES[algorithm]())

    def seal(self, key: PrivateKey, context: str) -> bytes:
        """Return the PKCS#8 form of `key`, sealed for `context`."""
        plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return self._sealing.seal(plain, context)

    def unseal(self, sealed: bytes, context: str) -> PrivateKey:
        """Return the key sealed for `context`; raises `KeyUnavailable`."""
        plain = self._sealing.unseal(sealed, context)
        # The sealed text is authenticated: what opens is what we made and need not be proven prime again,
        # which would cost 50 ms instead of 5 µs.
        key = load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            return key
        raise KeyUnavailable(f"the sealed key of {context} is of an unknown kind")
