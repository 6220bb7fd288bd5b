"""A PKCS#11 module: the vendor's shared library, loaded and initialised once in a process.

C functions let go of the interpreter while they run. What they return is made a sentence that says what to do.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ctypes import byref, c_ulong
from pathlib import Path

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout

ADVICE: Mapping[int, str] = {
    c.CKR_DEVICE_MEMORY: "the token is full: remove objects that nothing needs, or get more space for the partition",
    c.CKR_HOST_MEMORY: "the module ran out of memory, or cannot reach its store",
    c.CKR_GENERAL_ERROR: "the module does not say why: look at its log, its store and the space left there",
    c.CKR_FUNCTION_FAILED: "the module does not say why: look at its log, its store and the space left there",
    c.CKR_DEVICE_ERROR: "the token reports a fault of its own: look at the vendor's log",
    c.CKR_DEVICE_REMOVED: "the token was removed or cannot be reached",
    c.CKR_TOKEN_NOT_PRESENT: "the token was removed or cannot be reached",
    c.CKR_TOKEN_NOT_RECOGNIZED: "the module does not recognise the token",
    c.CKR_TOKEN_WRITE_PROTECTED: "the token is read-only: keys on it can be used, but none made or destroyed",
    c.CKR_SESSION_READ_ONLY: "the token is read-only: keys on it can be used, but none made or destroyed",
    c.CKR_SESSION_COUNT: "the token has no more sessions: set keys.signing_threads lower, or its limit higher",
    c.CKR_MECHANISM_INVALID: "the token lacks the mechanism: 'intaglio hsm check' shows what it has",
    c.CKR_SESSION_CLOSED: "the session was lost; the next operation opens another",
    c.CKR_SESSION_HANDLE_INVALID: "the session was lost; the next operation opens another",
    c.CKR_USER_NOT_LOGGED_IN: "the login was lost; the next operation logs in again",
    c.CKR_CRYPTOKI_NOT_INITIALIZED: "the module was shut down; the next operation starts it again",
    c.CKR_KEY_HANDLE_INVALID: "the key is not there any more",
    c.CKR_OBJECT_HANDLE_INVALID: "the object is not there any more",
    c.CKR_UNWRAPPING_KEY_HANDLE_INVALID: "the sealing key is not there any more",
    c.CKR_WRAPPING_KEY_HANDLE_INVALID: "the sealing key is not there any more",
    c.CKR_USER_PIN_NOT_INITIALIZED: "the token has no user PIN yet: set it with the vendor's tool",
    c.CKR_PIN_EXPIRED: "the PIN has expired: change it with the vendor's tool",
    c.CKR_PIN_LOCKED: "the PIN is locked: have the token's security officer unlock it",
}


class CallFailed(KeyUnavailable):
    """A function of the module returned something else than CKR_OK: `code`."""

    def __init__(self, function: str, code: int) -> None:
        advice = ADVICE.get(code)
        super().__init__(f"{function}: {c.name_of(code)}" + (f": {advice}" if advice else ""))
        self.code = code


class Gate:
    """A lock whose holder may hang in a C function: nobody waits longer than `seconds` for any one holder."""

    def __init__(self, doing: str) -> None:
        self._lock = threading.Lock()
        self._doing = doing
        # When the present holder took it; None while nobody has.
        self._since: float | None = None

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Hold the lock for the block; raises `KeyUnavailable` when another thread does not let go of it."""
        while True:
            since = self._since
            left = seconds if since is None else since + seconds - time.monotonic()
            if self._lock.acquire(timeout=max(left, 0)):
                break
            if self._since == since:
                raise KeyUnavailable(f"another thread has been {self._doing} for too long: the token may hang")
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None
            self._lock.release()


class Module:
    """The functions of one module, safe to call from any thread once initialised."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Slots and initialisation are the module's: one thread at a time connects to its tokens.
        self.gate = Gate("connecting to the token")
        # What is connected to a token of this module at this moment.
        self.connected: set[object] = set()
        # Raised by each initialisation: handles of an earlier one may mean something else now.
        self.beginnings = 0
        self.forked = False
        self._ours = False
        self.functions = _functions(path)

    def call(self, function: str, *arguments: object) -> None:
        """Call a function by its name in the standard; raises `CallFailed`."""
        code = self.functions[function](*arguments)
        if code != c.CKR_OK:
            raise CallFailed(function, code)

    def initialise(self) -> None:
        """Initialise the module for several threads, if it is not; raises `KeyUnavailable`."""
        if self.forked:
            raise KeyUnavailable(
                f"this process was forked from one that had loaded {self.path}: what it holds belongs to that process"
            )
        # Some modules answer C_GetInfo even before they are initialised.
        begun = self.functions["C_GetSlotList"](0, None, byref(c_ulong())) != c.CKR_CRYPTOKI_NOT_INITIALIZED
        if self._ours and begun:
            return
        # Without this flag a module may rely on never being called by two threads at once (PKCS#11 §5.4).
        arguments = layout.CK_C_INITIALIZE_ARGS(flags=c.CKF_OS_LOCKING_OK)
        code = self.functions["C_Initialize"](byref(arguments))
        if code == c.CKR_CRYPTOKI_ALREADY_INITIALIZED:
            raise KeyUnavailable(
                f"{self.path} was initialised by something else in this process, perhaps without locking"
            )
        if code == c.CKR_CANT_LOCK:
            raise KeyUnavailable(f"{self.path} cannot be used by several threads, so it cannot be used here")
        if code != c.CKR_OK:
            raise KeyUnavailable(f"{self.path} does not start ({c.name_of(code)}): look at its settings and log")
        self._ours = True
        self.beginnings += 1

    def look_again(self) -> bool:
        """Initialise anew so that tokens added since are seen; only while nothing is connected, else return False."""
        if self.connected:
            return False
        self.call("C_Finalize", None)
        self.initialise()
        return True

    def information(self) -> layout.CK_INFO:
        """Return what the module says of itself."""
        found = layout.CK_INFO()
        self.call("C_GetInfo", byref(found))
        return found

    def tokens(self) -> list[tuple[int, layout.CK_TOKEN_INFO]]:
        """Return slot and token of every slot that has one that answers."""
        found = []
        for slot in self._numbers("C_GetSlotList", 1):
            token = layout.CK_TOKEN_INFO()
            if self.functions["C_GetTokenInfo"](slot, byref(token)) == c.CKR_OK:
                found.append((slot, token))
        return found

    def token(self, slot: int) -> layout.CK_TOKEN_INFO:
        """Return what the token in a slot says of itself."""
        found = layout.CK_TOKEN_INFO()
        self.call("C_GetTokenInfo", slot, byref(found))
        return found

    def mechanisms(self, slot: int) -> dict[int, layout.CK_MECHANISM_INFO]:
        """Return every mechanism of a token."""
        found = {}
        for number in self._numbers("C_GetMechanismList", slot):
            about = layout.CK_MECHANISM_INFO()
            if self.functions["C_GetMechanismInfo"](slot, number, byref(about)) == c.CKR_OK:
                found[number] = about
        return found

    def open_session(self, slot: int, *, writing: bool) -> int:
        """Return the handle of a new session."""
        handle = c_ulong()
        flags = c.CKF_SERIAL_SESSION | (c.CKF_RW_SESSION if writing else 0)
        self.call("C_OpenSession", slot, flags, None, None, byref(handle))
        return handle.value

    def logged_in(self, session: int) -> bool:
        """Return whether the user is logged in; raises `CallFailed` when the session is not there any more."""
        found = layout.CK_SESSION_INFO()
        self.call("C_GetSessionInfo", session, byref(found))
        return found.state in c.LOGGED_IN

    def _numbers(self, function: str, first: int) -> list[int]:
        """Return what a function that fills an array of numbers has to say, however it grows meanwhile."""
        count = c_ulong()
        while True:
            self.call(function, first, None, byref(count))
            array = (c_ulong * count.value)()
            code = self.functions[function](first, array, byref(count))
            if code == c.CKR_OK:
                return list(array[: count.value])
            if code != c.CKR_BUFFER_TOO_SMALL:
                raise CallFailed(function, code)


def _functions(path: Path) -> dict[str, Callable[..., int]]:
    if not path.is_file():
        raise KeyUnavailable(f"there is no PKCS#11 module at {path}")
    try:
        library = ctypes.CDLL(str(path.resolve()))
    except OSError as error:
        raise KeyUnavailable(f"{path} cannot be loaded as a PKCS#11 module: {error}") from error
    try:
        ask = library.C_GetFunctionList
    except AttributeError as error:
        raise KeyUnavailable(f"{path} is a library, but not a PKCS#11 module: it has no C_GetFunctionList") from error
    ask.restype = c_ulong
    found = ctypes.POINTER(layout.CK_FUNCTION_LIST)()
    code = ask(byref(found))
    if code != c.CKR_OK or not found:
        raise CallFailed("C_GetFunctionList", code)
    made: dict[str, Callable[..., int]] = {}
    for name, arguments in layout.FUNCTIONS.items():
        address = getattr(found.contents, name)
        if arguments is None:
            continue
        if not address:
            raise KeyUnavailable(f"{path} has no {name}")
        made[name] = ctypes.CFUNCTYPE(c_ulong, *arguments)(address)
    return made


_modules: dict[Path, Module] = {}
_loading = threading.Lock()


def load(path: Path) -> Module:
    """Return the module at `path`, the same one for the whole process; raises `KeyUnavailable`."""
    with _loading:
        place = path.resolve()
        if place not in _modules:
            _modules[place] = Module(path)
        return _modules[place]


def _after_fork() -> None:
    """Disown in a child what belongs to its parent; locks may have been held by threads that are not here."""
    global _loading  # noqa: PLW0603 - the one of the parent may be locked for ever
    _loading = threading.Lock()
    for module in _modules.values():
        module.forked = True
        module.gate = Gate("connecting to the token")
        module.connected = set()


os.register_at_fork(after_in_child=_after_fork)
