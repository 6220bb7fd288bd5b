"""Custody on a PKCS#11 token: private keys are made, used and destroyed there and never seen here."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from ctypes import addressof, byref, c_char, c_ulong
from pathlib import Path
from typing import TypeVar

from intaglio.errors import Conflict, KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout, objects
from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey, PublicKey
from intaglio.keys.attestation import Attestation, on_token
from intaglio.keys.capabilities import Capabilities, describe
from intaglio.keys.held import KeyLost, Stored, Unwrapped
from intaglio.keys.layout import Template
from intaglio.keys.module import ADVICE, CallFailed, Gate
from intaglio.keys.presence import Presence, Session, TokenPlace
from intaglio.keys.sessions import Sessions
from intaglio.keys.token_keys import lost, private_key

__all__ = ["KeyLost", "Token", "TokenPlace", "lost"]

# How long one key may take to be made, before those that wait for it give up: RSA-4096 takes long.
_MAKING_SECONDS = 60.0
# A wrapped RSA-4096 key has some 2,400 octets.
_MOST_WRAPPED = 8192
_UNKNOWN_TEMPLATE = frozenset(
    {c.CKR_ATTRIBUTE_TYPE_INVALID, c.CKR_ATTRIBUTE_VALUE_INVALID, c.CKR_TEMPLATE_INCONSISTENT}
)
_UNSPECIFIC = frozenset({c.CKR_GENERAL_ERROR, c.CKR_FUNCTION_FAILED, c.CKR_DEVICE_ERROR})
# What SoftHSM says of an object that changed under its hands. A template that is wrong stays so when tried again: then
# it means what `_UNKNOWN_TEMPLATE` says.
_OF_A_MOMENT = _UNSPECIFIC | objects.HANDLE_INVALID | {c.CKR_TEMPLATE_INCONSISTENT}
_SEALING_GONE = frozenset(
    {
        c.CKR_KEY_HANDLE_INVALID,
        c.CKR_OBJECT_HANDLE_INVALID,
        c.CKR_UNWRAPPING_KEY_HANDLE_INVALID,
        c.CKR_WRAPPING_KEY_HANDLE_INVALID,
    }
)

R = TypeVar("R")


class Token:
    """A token, for every thread of this process; connects when first used, and again after it was lost.

    Everything raises `KeyUnavailable` with a sentence when the token does not do it. `pin` is asked for each login;
    `refused` is the file that remembers PINs that tokens refused (`keys.pin`); `seconds` is how long a thread waits for
    another one that is connecting.
    """

    def __init__(self, place: TokenPlace, pin: Callable[[], str], refused: Path, *, seconds: float = 10.0) -> None:
        self.sessions = Sessions(place, pin, refused, seconds)
        # One key pair at a time: several would only be slower for those who sign meanwhile.
        self._making = Gate("making a key")

    def generate(self, algorithm: KeyAlgorithm, key_id: bytes, label: str) -> PrivateKey:
        """Make a key pair that stays on the token; raises `Conflict` if there is one with this id."""
        with self._making.held(_MAKING_SECONDS), self.sessions.session() as session:
            # The standard lets several objects have one id; here, one id is one key.
            self._unused(session, c.CKO_PRIVATE_KEY, key_id, label)
            public = objects.public_template(algorithm, stored=True, key_id=key_id, label=label)
            private = objects.private_template(stored=True, key_id=key_id, label=label)

            def make() -> tuple[PublicKey, int]:
                pair = self._pair(session, algorithm, public, private)
                return self._public_key(session, pair), pair[1]

            public_key, handle = self._store(session, (c.CKO_PRIVATE_KEY, c.CKO_PUBLIC_KEY), key_id, make)
            return self._stored(key_id, public_key, (session.presence, handle))

    def find(self, key_id: bytes) -> PrivateKey:
        """Return a key that is stored on the token."""
        with self.sessions.session() as session:
            private = objects.find_one(self.sessions, session, c.CKO_PRIVATE_KEY, key_id)
            publics = objects.find(self.sessions, session, c.CKO_PUBLIC_KEY, key_id)
            public_key = self._public_key(session, (*publics[:1], private))
        return self._stored(key_id, public_key)

    def key_ids(self) -> list[bytes]:
        """Return the ids of the private keys that are stored on the token."""
        return self._ids(c.CKO_PRIVATE_KEY)

    def destroy(self, key_id: bytes) -> None:
        """Destroy a stored key and its public half; having been destroyed before is no error."""
        with self.sessions.session() as session:
            for kind in (c.CKO_PRIVATE_KEY, c.CKO_PUBLIC_KEY):
                objects.destroy_stored(self.sessions, session, kind, key_id)

    def make_sealing_key(self, key_id: bytes, label: str) -> None:
        """Make a sealing key that stays on the token; raises `Conflict` if there is one with this id."""
        with self._making.held(_MAKING_SECONDS), self.sessions.session() as session:
            generation, _ = session.presence.mechanisms.sealing()
            self._unused(session, c.CKO_SECRET_KEY, key_id, label)
            mechanism = layout.mechanism(generation.number)

            def make(*, bound: bool) -> None:
                template = objects.sealing_template(key_id, label, bound=bound)
                arguments = (addressof(mechanism), template.address, template.count, byref(c_ulong()))
                self.sessions.call(session, "C_GenerateKey", *arguments)

            try:
                self._store(session, (c.CKO_SECRET_KEY,), key_id, lambda: make(bound=True))
            except CallFailed as error:
                # Not every token knows CKA_UNWRAP_TEMPLATE.
                if error.code not in _UNKNOWN_TEMPLATE:
                    raise
                self._store(session, (c.CKO_SECRET_KEY,), key_id, lambda: make(bound=False))

    def sealing_key_ids(self) -> list[bytes]:
        """Return the ids of the secret keys that are stored on the token."""
        return self._ids(c.CKO_SECRET_KEY)

    def destroy_sealing_key(self, key_id: bytes) -> None:
        """Destroy a sealing key, so that nothing wrapped by it ever opens again; raises unless it is gone."""
        with self.sessions.session() as session:
            session.presence.sealing.pop(key_id, None)
            objects.destroy_stored(self.sessions, session, c.CKO_SECRET_KEY, key_id)

    def make_wrapped(self, algorithm: KeyAlgorithm, sealing_id: bytes) -> tuple[bytes, PublicKey]:
        """Make a key pair and return its private half, wrapped, and its public half; none of it stays on the token."""
        with self.sessions.session() as session:
            _, wrapping = session.presence.mechanisms.sealing()
            public = objects.public_template(algorithm, stored=False)
            # It can be taken out until it is wrapped, and only wrapped: it is sensitive.
            private = objects.private_template(stored=False, extractable=True)
            with self._making.held(_MAKING_SECONDS):
                pair = self._pair(session, algorithm, public, private)
            try:
                public_key = self._public_key(session, pair)
                mechanism = layout.mechanism(wrapping.number)
                wrapped, length = (c_char * _MOST_WRAPPED)(), c_ulong(_MOST_WRAPPED)

                def wrap(sealing: int) -> None:
                    arguments = (addressof(mechanism), sealing, pair[1], wrapped, byref(length))
                    self.sessions.call(session, "C_WrapKey", *arguments)

                self._with_sealing(session, sealing_id, wrap)
            finally:
                # What cannot be destroyed now stays doomed, and is tried again with every operation.
                session.presence.doomed.extend(pair)
                self.sessions.bury(session, len(session.presence.doomed))
        return wrapped.raw[: length.value], public_key

    def unwrap(self, wrapped: bytes, public_key: PublicKey, sealing_id: bytes) -> PrivateKey:
        """Return a wrapped key, live in the token until nothing refers to it any more.

        That it is the key of `public_key` shows when it first signs. It raises `KeyLost` once its session is lost.
        """
        with self.sessions.session() as session:
            _, wrapping = session.presence.mechanisms.sealing()
            mechanism, made = layout.mechanism(wrapping.number), c_ulong()
            template = objects.unwrapped_template(public_key)

            def unwrap(sealing: int) -> None:
                arguments = (sealing, wrapped, len(wrapped), template.address, template.count, byref(made))
                self.sessions.call(session, "C_UnwrapKey", addressof(mechanism), *arguments)

            try:
                self._with_sealing(session, sealing_id, unwrap)
            except CallFailed as error:
                # What a token says of a key that it cannot unwrap differs: CKR_GENERAL_ERROR, CKR_DEVICE_ERROR …
                if error.code in ADVICE.keys() - _UNSPECIFIC or session.presence is not self.sessions.present:
                    raise
                raise KeyUnavailable(
                    "the wrapped key does not open: it was changed, or wrapped by another sealing key"
                    f" ({c.name_of(error.code)})"
                ) from error
            held = Unwrapped(session.presence, made.value)
        return private_key(self.sessions, held, public_key)

    def capabilities(self) -> Capabilities:
        """Return what the token can do, for people."""
        return describe(self.sessions)

    def attest(self, key_id: bytes) -> Attestation:
        """Return what the token says of how it keeps a stored key."""
        return on_token(self.sessions, key_id)

    def check(self) -> None:
        """Raise `KeyUnavailable` unless the token answers and the user is logged in."""
        self.sessions.check()

    def sweep(self) -> int:
        """Destroy in the token every unwrapped key that nothing refers to any more; return how many."""
        presence = self.sessions.present
        if presence is None or not presence.doomed:
            return 0
        waiting = len(presence.doomed)
        with self.sessions.session() as session:
            self.sessions.bury(session, waiting)
        return max(waiting - len(presence.doomed), 0)

    def close(self) -> None:
        """Close every session, for good, as far as the module lets it; unwrapped keys go with them."""
        with suppress(KeyUnavailable):
            self.sessions.close()

    def _pair(self, session: Session, algorithm: KeyAlgorithm, public: Template, private: Template) -> tuple[int, int]:
        mechanism = layout.mechanism(session.presence.mechanisms.generation(algorithm).number)
        templates = (public.address, public.count, private.address, private.count)
        made = c_ulong(), c_ulong()
        self.sessions.call(session, "C_GenerateKeyPair", addressof(mechanism), *templates, *map(byref, made))
        return made[0].value, made[1].value

    def _public_key(self, session: Session, handles: tuple[int, ...]) -> PublicKey:
        for handle in handles:
            found = objects.public_key(self.sessions, session, handle)
            if found is not None:
                return found
        raise KeyUnavailable("the token does not tell the public half of the key")

    def _stored(
        self, key_id: bytes, public_key: PublicKey, found: tuple[Presence | None, int] = (None, 0)
    ) -> PrivateKey:
        sessions = self.sessions
        held = Stored(lambda session: objects.find_one(sessions, session, c.CKO_PRIVATE_KEY, key_id), found)
        return private_key(sessions, held, public_key)

    def _unused(self, session: Session, kind: int, key_id: bytes, label: str) -> None:
        if objects.find(self.sessions, session, kind, key_id):
            raise Conflict(f"there is a key with id {key_id.hex()}: a key is never overwritten", {label: "exists"})

    def _store(self, session: Session, kinds: tuple[int, ...], key_id: bytes, make: Callable[[], R]) -> R:
        """Make something that stays on the token, all of it or nothing.

        SoftHSM fails now and then, for no reason of ours, when two processes change one token at the same moment
        (its issue 573): then it is tried again.
        """
        for last in (False, False, True):
            try:
                return make()
            except KeyUnavailable as error:
                if session.presence is not self.sessions.present:
                    raise
                for kind in kinds:
                    objects.destroy_stored(self.sessions, session, kind, key_id)
                again = isinstance(error, CallFailed) and error.code in _OF_A_MOMENT
                if last or not again:
                    raise
        raise AssertionError

    def _with_sealing(self, session: Session, key_id: bytes, work: Callable[[int], None]) -> None:
        """Do something with the handle of a sealing key; if that is not the key's any more, look for it once again."""
        known = session.presence.sealing
        found = known.get(key_id)
        if found is not None:
            try:
                work(found)
            except CallFailed as error:
                if error.code not in _SEALING_GONE or session.presence is not self.sessions.present:
                    raise
                known.pop(key_id, None)
            else:
                return
        with objects.doubting(self.sessions, session) if found is not None else nullcontext():
            known[key_id] = found = objects.find_one(self.sessions, session, c.CKO_SECRET_KEY, key_id)
            work(found)

    def _ids(self, kind: int) -> list[bytes]:
        with self.sessions.session() as session:
            found = objects.find(self.sessions, session, kind)
            return [objects.attribute(self.sessions, session, handle, c.CKA_ID) or b"" for handle in found]
