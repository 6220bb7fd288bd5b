"""Sessions with a token: one for each thread at work, from a pool that outlives the threads.

A session is taken for one operation and given back; the path of a signature takes no lock. Objects that are not stored
on the token die with the session that made them, so sessions are not closed while the token is present.

What belongs to one time of being logged in is a `Presence`. When a session, the login or the token is lost, the
presence is given up as a whole: the operation under way fails, and the next one connects again. Handles are worth
nothing beyond their presence, as a module may use a number again.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_char
from pathlib import Path

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout
from intaglio.keys.mechanisms import probe
from intaglio.keys.module import CallFailed, Module, load
from intaglio.keys.pin import Refusals, log_in
from intaglio.keys.presence import MOST_OUTPUT, Presence, Session, TokenPlace

# After these the whole presence is over; after others, only if the token does not answer as it should.
_OVER = frozenset(
    {
        c.CKR_SLOT_ID_INVALID,
        c.CKR_DEVICE_REMOVED,
        c.CKR_SESSION_CLOSED,
        c.CKR_SESSION_HANDLE_INVALID,
        c.CKR_TOKEN_NOT_PRESENT,
        c.CKR_TOKEN_NOT_RECOGNIZED,
        c.CKR_USER_NOT_LOGGED_IN,
        c.CKR_CRYPTOKI_NOT_INITIALIZED,
    }
)
_GONE = frozenset({c.CKR_OK, c.CKR_OBJECT_HANDLE_INVALID, c.CKR_KEY_HANDLE_INVALID})
# So many dead objects are destroyed on the way of one operation: a burst of them must not hold it up.
_BURIED_AT_ONCE = 4
# How long sessions of a presence that is over may take to come back before others are opened.
_RETURN_SECONDS = 1.0
_POLL_SECONDS = 0.005


class Sessions:
    """The sessions of this process with one token; `seconds` is how long to wait for another thread's C function."""

    def __init__(self, place: TokenPlace, pin: Callable[[], str], refused: Path, seconds: float) -> None:
        self.place = place
        self.present: Presence | None = None
        self._pin = pin
        self._refusals = Refusals(refused)
        self._seconds = seconds
        self._module: Module | None = None
        self._closed = False
        self._anew = False
        self._over: list[Presence] = []
        # Held for a few instructions, never in a C function.
        self._turn = threading.Lock()
        _everyone.add(self)

    @property
    def module(self) -> Module:
        """The module, loaded when first asked for; raises `KeyUnavailable`."""
        if self._module is None:
            module = load(self.place.module)
            self._sign_init = module.functions["C_SignInit"]
            self._sign = module.functions["C_Sign"]
            self._module = module
        return self._module

    def borrow(self) -> Session:
        """Take a session of the present presence, connecting if there is none; raises `KeyUnavailable`."""
        presence = self.present
        if presence is not None:
            try:
                session = presence.free.pop()
            except IndexError:
                pass
            else:
                if presence.doomed:
                    self.bury(session, _BURIED_AT_ONCE)
                return session
        return self._another()

    def give_back(self, session: Session) -> None:
        """Return a session after its operation."""
        # To its own presence, which may be over: then nobody takes it from there.
        presence = session.presence
        (presence.spoiled if session.spoiled else presence.free).append(session)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Have a session for the block."""
        session = self.borrow()
        try:
            yield session
        finally:
            self.give_back(session)

    def sign(self, session: Session, mechanism: int, key: int, content: bytes) -> bytes:
        """Return the signature of a key over `content`; `mechanism` is the address of a CK_MECHANISM."""
        code = self._sign_init(session.handle, mechanism, key)
        if code != c.CKR_OK:
            raise self.failed(session, "C_SignInit", code)
        session.length.value = MOST_OUTPUT
        code = self._sign(session.handle, content, len(content), session.output_address, session.length_address)
        if code != c.CKR_OK:
            raise self.failed(session, "C_Sign", code)
        # If the presence ended meanwhile, the handles may have meant another session or key: nobody may have this.
        if session.presence is not self.present:
            raise KeyUnavailable("the token was lost while it signed; the next operation connects again")
        return session.output.raw[: session.length.value]

    def call(self, session: Session, function: str, *arguments: object) -> None:
        """Call a function in a session; raises `CallFailed`, after giving up the presence if it is over."""
        code = self.module.functions[function](session.handle, *arguments)
        if code != c.CKR_OK:
            raise self.failed(session, function, code)

    def failed(self, session: Session, function: str, code: int) -> CallFailed:
        """Return what to raise for a function that failed, after giving up the presence if it is over."""
        session.spoiled = code in {c.CKR_OPERATION_ACTIVE, c.CKR_BUFFER_TOO_SMALL}
        # Other codes may come from what was asked for (a wrapped key that was changed, say), or from a dead token.
        if code in _OVER or self._state(session) != c.CKR_OK:
            self.give_up(session.presence)
        return CallFailed(function, code)

    def check(self) -> None:
        """Raise `KeyUnavailable` unless the token answers and the user is logged in."""
        with self.session() as session:
            code = self._state(session)
            if code != c.CKR_OK:
                raise self.failed(session, "asking after the token", code)

    def bury(self, session: Session, most: int) -> None:
        """Destroy session objects that nothing refers to any more, at most so many."""
        presence = session.presence
        destroy = self.module.functions["C_DestroyObject"]
        for _ in range(most):
            try:
                handle = presence.doomed.popleft()
            except IndexError:
                return
            if destroy(session.handle, handle) not in _GONE:
                presence.doomed.append(handle)
                return

    def give_up(self, presence: Presence, *, anew: bool = False) -> None:
        """Use nothing of `presence` any more; with `anew` the module is started anew, too, if nothing else uses it."""
        with self._turn:
            if self.present is presence:
                self.present = None
                self._over.append(presence)
                self._anew = anew

    def close(self) -> None:
        """Close every session, for good."""
        self._closed = True
        presence = self.present
        if presence is not None:
            self.give_up(presence)
        if self._module is not None and not self._module.forked:
            with self._module.gate.held(self._seconds):
                self._clear(self._module)

    def _state(self, session: Session) -> int:
        """Return CKR_OK if the session is there, logged in, and the token answers, else what is the matter."""
        functions = self.module.functions
        found = layout.CK_SESSION_INFO()
        code = functions["C_GetSessionInfo"](session.handle, byref(found))
        if code == c.CKR_OK and session.presence.login and found.state not in c.LOGGED_IN:
            code = c.CKR_USER_NOT_LOGGED_IN
        # A session's state may be what the module believes; these two come from the token itself.
        if code == c.CKR_OK:
            code = functions["C_GetTokenInfo"](session.presence.slot, byref(layout.CK_TOKEN_INFO()))
        if code == c.CKR_OK:
            octets = (c_char * 16)()
            code = functions["C_GenerateRandom"](session.handle, octets, len(octets))
        return code

    def _another(self) -> Session:
        presence = self.present or self._connect()
        try:
            handle = self.module.open_session(presence.slot, writing=presence.writing)
        except CallFailed as error:
            if error.code in _OVER:
                self.give_up(presence)
            raise
        session = Session(presence, handle)
        presence.every.append(session)
        return session

    def _connect(self) -> Presence:
        module = self.module
        with module.gate.held(self._seconds):
            if self._closed:
                raise KeyUnavailable("the token was closed")
            if self.present is not None:
                return self.present
            self._clear(module)
            slot, token, handle, writing = self._log_in(module)
            try:
                presence = Presence(
                    slot,
                    module.beginnings,
                    probe(module, slot),
                    login=bool(token.flags & c.CKF_LOGIN_REQUIRED),
                    writing=writing,
                )
            except BaseException:
                module.functions["C_CloseSession"](handle)
                raise
            first = Session(presence, handle)
            presence.every.append(first)
            presence.free.append(first)
            module.connected.add(presence)
            self.present = presence
            return presence

    def _log_in(self, module: Module) -> tuple[int, layout.CK_TOKEN_INFO, int, bool]:
        """Return slot, token, a session in which the user is logged in, and whether it can write."""
        with self._refusals.alone(self._seconds):
            module.initialise()
            if self._anew and module.look_again():
                self._anew = False
            slot, token = self._find(module)
            writing = not token.flags & c.CKF_WRITE_PROTECTED
            handle = module.open_session(slot, writing=writing)
            try:
                log_in(module, slot, handle, self._pin, self._refusals)
            except BaseException:
                module.functions["C_CloseSession"](handle)
                raise
            return slot, token, handle, writing

    def _clear(self, module: Module) -> None:
        """Close the sessions of presences that are over, once the threads that have them gave them back."""
        until = time.monotonic() + _RETURN_SECONDS
        for presence in list(self._over):
            while len(presence.every) > len(presence.free) + len(presence.spoiled) and time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
            while back := presence.free or presence.spoiled:
                session = back.pop()
                presence.every.remove(session)
                # After a new beginning of the module, this number may be a session of somebody else.
                if presence.beginning == module.beginnings:
                    module.functions["C_CloseSession"](session.handle)
            if not presence.every:
                self._over.remove(presence)
                module.connected.discard(presence)

    def _find(self, module: Module) -> tuple[int, layout.CK_TOKEN_INFO]:
        """Return slot and token by label and serial; raises `KeyUnavailable` with a list of what is there."""
        wanted = self.place
        if wanted.label is None and wanted.serial is None:
            raise KeyUnavailable("neither label nor serial says which token to use")
        there = module.tokens()
        if not any(_matches(wanted, token) for _, token in there) and module.look_again():
            there = module.tokens()
        found = [(slot, token) for slot, token in there if _matches(wanted, token)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(
            f"{c.text(token.label)!r} (serial {c.text(token.serialNumber)})"
            for _, token in there
            if token.flags & c.CKF_TOKEN_INITIALIZED
        )
        if found:
            raise KeyUnavailable(f"several tokens have {wanted}: say which by its serial; there are: {names}")
        raise KeyUnavailable(f"there is no token with {wanted} in {module.path}; there are: {names or 'none'}")

    def disown(self) -> None:
        """Let go, in a forked child, of what belongs to the parent, without a word to the module."""
        self.present = None
        self._over = []
        self._turn = threading.Lock()


def _matches(wanted: TokenPlace, token: layout.CK_TOKEN_INFO) -> bool:
    return wanted.label in {None, c.text(token.label)} and wanted.serial in {None, c.text(token.serialNumber)}


_everyone: "weakref.WeakSet[Sessions]" = weakref.WeakSet()


def _after_fork() -> None:
    for sessions in list(_everyone):
        sessions.disown()


os.register_at_fork(after_in_child=_after_fork)
