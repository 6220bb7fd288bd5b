"""Trying a token: temporary keys are really made, used, wrapped, unwrapped and destroyed."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import addressof, byref, c_ulong

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout, objects
from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey, PublicKey
from intaglio.keys.mechanisms import PSS, Mechanisms
from intaglio.keys.module import CallFailed
from intaglio.keys.token import Token

_ALGORITHMS = (KeyAlgorithm.RSA_2048, KeyAlgorithm.P_256, KeyAlgorithm.P_384)
_LABEL = "intaglio trial"
_LEAVES = "it can, by one with the PIN and a copy of the database, for as long as the sealing key exists"
_PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)


class Step(msgspec.Struct, frozen=True):
    """One thing that was tried; `error` says what went wrong, `note` what the operator should know."""

    name: str
    milliseconds: float
    error: str | None = None
    note: str | None = None


class _Ended(Exception):
    """A step failed."""


def run(token: Token) -> list[Step]:
    """Return what was tried, in order; whatever was made is destroyed, also after a failure."""
    steps: list[Step] = []
    with token.sessions.session() as session:
        mechanisms = session.presence.mechanisms
    for algorithm in _ALGORITHMS:
        with suppress(_Ended):
            _stored(steps, token, mechanisms, algorithm)
    if mechanisms.wraps:
        with suppress(_Ended):
            _wrapped(steps, token, mechanisms)
    return steps


def _stored(steps: list[Step], token: Token, mechanisms: Mechanisms, algorithm: KeyAlgorithm) -> None:
    key_id = secrets.token_bytes(16)
    try:
        with _step(steps, f"{algorithm}: make it on the token"):
            token.generate(algorithm, key_id, _LABEL)
        with _step(steps, f"{algorithm}: find it"):
            key = token.find(key_id)
        _sign(steps, mechanisms, str(algorithm), key)
    finally:
        with _step(steps, f"{algorithm}: destroy it"):
            token.destroy(key_id)


def _wrapped(steps: list[Step], token: Token, mechanisms: Mechanisms) -> None:
    sealing_id = secrets.token_bytes(16)
    try:
        with _step(steps, "sealing key: make it on the token"):
            token.make_sealing_key(sealing_id, _LABEL)
        for algorithm in _ALGORITHMS:
            name = f"{algorithm}, wrapped"
            with _step(steps, f"{name}: make it"):
                wrapped, public_key = token.make_wrapped(algorithm, sealing_id)
            with _step(steps, f"{name}: unwrap it"):
                key = token.unwrap(wrapped, public_key, sealing_id)
            _sign(steps, mechanisms, name, key)
        with _step(steps, "a wrapped key with a flipped bit is refused"):
            _refused(token, wrapped[:-1] + bytes((wrapped[-1] ^ 1,)), public_key, sealing_id)
        with _step(steps, "a wrapped key cannot be unwrapped to leave the token"):
            stays = _stays(token, wrapped, public_key, sealing_id)
        if not stays:
            steps[-1] = msgspec.structs.replace(steps[-1], note=_LEAVES)
    finally:
        with _step(steps, "sealing key: destroy it"):
            token.destroy_sealing_key(sealing_id)
    with _step(steps, "without its sealing key, a wrapped key is refused"):
        _refused(token, wrapped, public_key, sealing_id)


def _sign(steps: list[Step], mechanisms: Mechanisms, name: str, key: PrivateKey) -> None:
    digest, hashed = secrets.token_bytes(32), Prehashed(SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        with _step(steps, f"{name}: sign, ECDSA"):
            key.public_key().verify(key.sign(digest, ec.ECDSA(hashed)), digest, ec.ECDSA(hashed))
        return
    for scheme in (padding.PKCS1v15(), _PSS) if (PSS, "sha256") in mechanisms.signing else (padding.PKCS1v15(),):
        with _step(steps, f"{name}: sign, {scheme.name}"):
            key.public_key().verify(key.sign(digest, scheme, hashed), digest, scheme, hashed)


def _refused(token: Token, wrapped: bytes, public_key: PublicKey, sealing_id: bytes) -> None:
    try:
        token.unwrap(wrapped, public_key, sealing_id)
    except KeyUnavailable:
        return
    raise KeyUnavailable("it opens: this token is not fit for wrapped keys")


def _stays(token: Token, wrapped: bytes, public_key: PublicKey, sealing_id: bytes) -> bool:
    """Return whether the token refuses to unwrap a key such that it could be taken out again."""
    sessions = token.sessions
    with sessions.session() as session:
        _, wrapping = session.presence.mechanisms.sealing()
        sealing = objects.find_one(sessions, session, c.CKO_SECRET_KEY, sealing_id)
        mechanism, made = layout.mechanism(wrapping.number), c_ulong()
        template = objects.unwrapped_template(public_key, extractable=True)
        arguments = (sealing, wrapped, len(wrapped), template.address, template.count, byref(made))
        try:
            sessions.call(session, "C_UnwrapKey", addressof(mechanism), *arguments)
        except CallFailed:
            return True
        sessions.call(session, "C_DestroyObject", made.value)
        return False


@contextmanager
def _step(steps: list[Step], name: str) -> Iterator[None]:
    began = time.perf_counter()
    error = None
    try:
        yield
    except KeyUnavailable as found:
        error = str(found)
        raise _Ended from found
    except InvalidSignature as found:
        error = "the signature does not verify"
        raise _Ended from found
    finally:
        steps.append(Step(name, round((time.perf_counter() - began) * 1000, 1), error))
