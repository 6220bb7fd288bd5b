"""Private keys on a token, as pyca private keys: builders of certificates, CRLs and the rest sign with them unchanged.

Nothing but signing is possible; what would take the key out of the token raises `NotImplementedError`.
"""

import ctypes
import hashlib
from collections.abc import Callable
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout, objects
from intaglio.keys.algorithm import PrivateKey, PublicKey
from intaglio.keys.held import Held
from intaglio.keys.mechanisms import ECDSA, PKCS1, PSS, WAYS, Form, lacking
from intaglio.keys.module import CallFailed
from intaglio.keys.objects import HANDLE_INVALID
from intaglio.keys.presence import Presence, Session
from intaglio.keys.sessions import Sessions

_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
# DigestInfo up to the digest itself (RFC 8017 §9.2 note 1).
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_PSS_HASHES = {
    "sha256": (c.CKM_SHA256, c.CKG_MGF1_SHA256),
    "sha384": (c.CKM_SHA384, c.CKG_MGF1_SHA384),
    "sha512": (c.CKM_SHA512, c.CKG_MGF1_SHA512),
}
_PLAIN = {way.mechanism.number: layout.mechanism(way.mechanism.number) for ways in WAYS.values() for way in ways}
_PLAIN_ADDRESSES = {number: ctypes.addressof(mechanism) for number, mechanism in _PLAIN.items()}
# Members of an enumeration are slow to look up, for a signature.
_MESSAGE, _DIGEST, _WITH_INFO = Form.MESSAGE, Form.DIGEST, Form.DIGEST_INFO

Parameter = Callable[[int], layout.CK_MECHANISM]


class Signer:
    """What signs with one key on a token; `size` is that of its modulus or of its curve's order, in octets."""

    __slots__ = ("held", "sessions", "size")

    def __init__(self, sessions: Sessions, held: Held, size: int) -> None:
        self.sessions = sessions
        self.held = held
        self.size = size

    def sign(self, scheme: str, algorithm: Any, data: bytes, parameter: Parameter | None = None) -> bytes:
        """Return the token's signature over `data`, or over the digest that it is.

        Raises `KeyUnavailable`, pyca's `UnsupportedAlgorithm`, or `ValueError` for a digest of another length.
        """
        hashed = algorithm.__class__ is Prehashed
        # pyca has no public way to ask which hash it was.
        name = algorithm._algorithm.name if hashed else getattr(algorithm, "name", "")  # noqa: SLF001
        sessions = self.sessions
        session = sessions.borrow()
        try:
            way = session.presence.mechanisms.signing.get((scheme, name))
            if way is None:
                raise _no_way(scheme, name)
            content = self._content(way.form, name, bytes(data), hashed=hashed)
            number = way.mechanism.number
            if parameter is None:
                return self._sign(session, _PLAIN_ADDRESSES[number], content)
            mechanism = parameter(number)
            return self._sign(session, ctypes.addressof(mechanism), content)
        finally:
            sessions.give_back(session)

    def _sign(self, session: Session, mechanism: int, content: bytes) -> bytes:
        held, sessions = self.held, self.sessions
        try:
            return sessions.sign(session, mechanism, held.handle(session), content)
        except CallFailed as error:
            if error.code not in HANDLE_INVALID or session.presence is not sessions.present:
                raise
            # Gone, or there under another handle: SoftHSM changes them when another process changes the token.
            held.gone()
            with objects.doubting(sessions, session):
                return sessions.sign(session, mechanism, held.handle(session), content)

    def prove(self, presence: Presence | None, verify: Callable[[], None]) -> None:
        """Verify the first signature in a presence, so that no other key can be taken for this one.

        Raises `KeyUnavailable` if it was made by another key.
        """
        try:
            verify()
        except InvalidSignature as error:
            self.held.gone()
            raise KeyUnavailable(
                "the token signs with another key than the one that belongs to this public key"
            ) from error
        self.held.proven = presence

    def _content(self, form: Form, name: str, data: bytes, *, hashed: bool) -> bytes:
        if form is _MESSAGE:
            if hashed:
                raise lacking("signing a digest that was made elsewhere")
            return data
        digest = data if hashed else _HASHES[name](data).digest()
        prefix = _DIGEST_INFO[name]
        # The last octet of the prefix is the digest's length.
        if len(digest) != prefix[-1]:
            raise ValueError(f"a digest of {name} has {prefix[-1]} octets, not {len(digest)}")
        if form is _DIGEST:
            # ECDSA takes as many leading octets as the order has (FIPS 186-5 §6.4.1).
            return digest[: self.size]
        if form is _WITH_INFO:
            return prefix + digest
        # EMSA-PKCS1-v1_5 (RFC 8017 §9.2)
        padded = b"\xff" * (self.size - 3 - len(prefix) - len(digest))
        return b"\x00\x01" + padded + b"\x00" + prefix + digest


def _no_way(scheme: str, name: str) -> Exception:
    if name in _HASHES:
        return lacking(f"{scheme} with {name}")
    return UnsupportedAlgorithm(f"keys on a token sign with SHA-256, SHA-384 and SHA-512, not {name or 'this'}")


def _refuse(self: object, *_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("a key on a token signs, and does nothing else")


class TokenRSAPrivateKey(rsa.RSAPrivateKey):
    """An RSA key on a token."""

    def __init__(self, sessions: Sessions, held: Held, public_key: rsa.RSAPublicKey) -> None:
        self._signer = Signer(sessions, held, (public_key.key_size + 7) // 8)
        self._public_key = public_key

    @property
    def lost(self) -> bool:
        """Whether this key can never sign again and has to be unwrapped anew; asks nothing of the token."""
        return self._signer.held.lost(self._signer.sessions.present)

    @property
    def key_size(self) -> int:
        """The length of the modulus in bits."""
        return self._public_key.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public key."""
        return self._public_key

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        """Return a signature, PKCS#1 v1.5 or PSS; `data` is a message or, with `Prehashed`, its digest."""
        signer = self._signer
        presence = signer.sessions.present
        if padding.__class__ is _PKCS1v15:
            made = signer.sign(PKCS1, algorithm, data)
        elif isinstance(padding, _PSS):
            made = signer.sign(PSS, algorithm, data, self._pss(padding, algorithm))
        else:
            raise UnsupportedAlgorithm(f"{padding!r} is no padding that keys on a token sign with")
        if presence is None or signer.held.proven is not presence:
            signer.prove(presence, lambda: self._public_key.verify(made, data, padding, algorithm))
        return made

    def _pss(self, chosen: padding.PSS, algorithm: Any) -> Parameter:
        """Return what makes the mechanism with its parameters (PKCS#11 v3.1 §6.1.9)."""
        hashing = algorithm._algorithm if isinstance(algorithm, Prehashed) else algorithm  # noqa: SLF001
        mask = chosen.mgf._algorithm.name  # noqa: SLF001
        if hashing.name not in _PSS_HASHES or mask not in _PSS_HASHES:
            raise UnsupportedAlgorithm("keys on a token do PSS with SHA-256, SHA-384 and SHA-512 only")
        salt = chosen._salt_length  # noqa: SLF001
        if salt is _PSS.DIGEST_LENGTH:
            length = hashing.digest_size
        elif salt is _PSS.MAX_LENGTH:
            length = padding.calculate_max_pss_salt_length(self._public_key, hashing)
        elif isinstance(salt, int):
            length = salt
        else:
            raise ValueError("a salt length AUTO means something to a verifier only")
        parameter = layout.CK_RSA_PKCS_PSS_PARAMS(_PSS_HASHES[hashing.name][0], _PSS_HASHES[mask][1], length)
        return lambda number: layout.mechanism(number, parameter)

    decrypt = private_numbers = private_bytes = _refuse

    def __copy__(self) -> "TokenRSAPrivateKey":
        return self

    def __deepcopy__(self, memo: Any) -> "TokenRSAPrivateKey":
        return self


class TokenECPrivateKey(ec.EllipticCurvePrivateKey):
    """A key on P-256 or P-384 on a token."""

    def __init__(self, sessions: Sessions, held: Held, public_key: ec.EllipticCurvePublicKey) -> None:
        self._signer = Signer(sessions, held, (public_key.key_size + 7) // 8)
        self._public_key = public_key

    @property
    def lost(self) -> bool:
        """Whether this key can never sign again and has to be unwrapped anew; asks nothing of the token."""
        return self._signer.held.lost(self._signer.sessions.present)

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """The length of the curve's order in bits."""
        return self._public_key.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public key."""
        return self._public_key

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Return an ECDSA signature, DER; `data` is a message or, with `Prehashed`, its digest."""
        if not isinstance(signature_algorithm, ec.ECDSA):
            raise UnsupportedAlgorithm("EC keys on a token sign with ECDSA only")
        signer = self._signer
        presence = signer.sessions.present
        pair = signer.sign(ECDSA, signature_algorithm.algorithm, data)
        half = len(pair) // 2
        # r and s, one after the other (PKCS#11 v3.1 §6.3.1)
        made = encode_dss_signature(int.from_bytes(pair[:half], "big"), int.from_bytes(pair[half:], "big"))
        if presence is None or signer.held.proven is not presence:
            signer.prove(presence, lambda: self._public_key.verify(made, data, signature_algorithm))
        return made

    exchange = private_numbers = private_bytes = _refuse

    def __copy__(self) -> "TokenECPrivateKey":
        return self

    def __deepcopy__(self, memo: Any) -> "TokenECPrivateKey":
        return self


# The names that parameters of pyca's methods hide.
_PKCS1v15 = padding.PKCS1v15
_PSS = padding.PSS


def private_key(sessions: Sessions, held: Held, public_key: PublicKey) -> PrivateKey:
    """Return the pyca private key for a key on a token."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return TokenRSAPrivateKey(sessions, held, public_key)
    return TokenECPrivateKey(sessions, held, public_key)


def lost(key: PrivateKey) -> bool:
    """Return whether a key, wherever it is, can never sign again and has to be unwrapped anew."""
    return isinstance(key, TokenRSAPrivateKey | TokenECPrivateKey) and key.lost
