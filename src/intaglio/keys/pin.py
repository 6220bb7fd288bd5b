"""Logging in to a token, such that a wrong PIN is never tried twice: tokens lock after a few.

PINs that a token refused are remembered in a file, each as `<serial> <salt> <digest>`: neither this process nor the
next tries them again. The digest is slow and salted, since a PIN is short.
"""

import fcntl
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout
from intaglio.keys.module import CallFailed, Module

# Codes that say that this PIN is not the one; whether each counts as a try differs between tokens.
_WRONG = {c.CKR_PIN_INCORRECT, c.CKR_PIN_INVALID, c.CKR_PIN_LEN_RANGE}
_WAIT_SECONDS = 0.05


def refused_pins(home: Path) -> Path:
    """Return where a home folder remembers PINs that a token refused."""
    return home / "keys" / "refused-pins"


class Refusals:
    """The PINs that tokens refused, in `file`; shared by every process that logs in with this file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """Let one process at a time connect to a token; raises `KeyUnavailable`.

        So two do not spend a try of a PIN each, and none reads a token's state while a try changes it: SoftHSM then
        says that there is no such token.
        """
        lock = self.file.with_name(f"{self.file.name}.lock")
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyUnavailable(
                f"{lock} cannot be written, so no PIN is tried and no token used: {error.strerror}"
            ) from error
        try:
            until = time.monotonic() + seconds
            while not _locked(descriptor):
                if time.monotonic() > until:
                    raise KeyUnavailable("another process is connecting to the token and does not finish")
                time.sleep(_WAIT_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def check(self, serial: str, pin: bytes) -> None:
        """Raise `KeyUnavailable` if the token refused this PIN before."""
        for name, salt, digest in self._lines():
            if name == _name(serial) and hmac.compare_digest(_digest(pin, salt), digest):
                raise KeyUnavailable(
                    f"the token {serial} refused this PIN before, so it is not tried again: correct the PIN "
                    f"(or, if the token's PIN was changed to it, remove {self.file})"
                )

    def add(self, serial: str, pin: bytes) -> None:
        """Remember, durably, that the token refused this PIN."""
        salt = os.urandom(16)
        self._write([*self._lines(), (_name(serial), salt, _digest(pin, salt))])

    def forget(self, serial: str) -> None:
        """Forget what the token refused: it has accepted a PIN since."""
        lines = self._lines()
        kept = [line for line in lines if line[0] != _name(serial)]
        if len(kept) < len(lines):
            self._write(kept)

    def _lines(self) -> list[tuple[str, bytes, bytes]]:
        try:
            text = self.file.read_text(encoding="ascii")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise KeyUnavailable(f"{self.file} cannot be read, so no PIN is tried") from error
        try:
            parts = [line.split() for line in text.splitlines()]
            return [(name, bytes.fromhex(salt), bytes.fromhex(digest)) for name, salt, digest in parts]
        except ValueError as error:
            raise KeyUnavailable(
                f"{self.file} is damaged, so no PIN is tried: remove it if the PIN is right"
            ) from error

    def _write(self, lines: list[tuple[str, bytes, bytes]]) -> None:
        draft = self.file.with_name(f"{self.file.name}.new")
        try:
            if not lines:
                self.file.unlink(missing_ok=True)
                return
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.writelines(f"{name} {salt.hex()} {digest.hex()}\n" for name, salt, digest in lines)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self.file)
        except OSError as error:
            raise KeyUnavailable(f"{self.file} cannot be written: {error.strerror}") from error


def log_in(module: Module, slot: int, session: int, pin: Callable[[], str], refusals: Refusals) -> None:
    """Log the user in to a token for this process, trying the PIN at most once; raises `KeyUnavailable`.

    To be called `refusals.alone`. Login is the process's, not the session's: where something else has logged in, there
    is nothing to try, and the PIN stays unproven (the module would answer the same to a wrong one).
    """
    if not module.token(slot).flags & c.CKF_LOGIN_REQUIRED or module.logged_in(session):
        return
    secret = pin().encode()
    token = module.token(slot)
    check_flags(token)
    serial = c.text(token.serialNumber)
    refusals.check(serial, secret)
    code = module.functions["C_Login"](session, c.CKU_USER, secret, len(secret))
    if code == c.CKR_OK:
        refusals.forget(serial)
    elif code in _WRONG:
        refusals.add(serial, secret)
        raise KeyUnavailable(
            f"the PIN of the token {c.text(token.label)} (serial {serial}) is wrong ({c.name_of(code)}): "
            "correct it; it is not tried again as it is"
        )
    elif code != c.CKR_USER_ALREADY_LOGGED_IN:
        raise CallFailed("C_Login", code)


def check_flags(token: layout.CK_TOKEN_INFO) -> None:
    """Raise `KeyUnavailable` if a wrong PIN now would cost more than one try."""
    name = f"{c.text(token.label)} (serial {c.text(token.serialNumber)})"
    if token.flags & c.CKF_USER_PIN_LOCKED:
        raise KeyUnavailable(f"the PIN of the token {name} is locked: have its security officer unlock it")
    if token.flags & c.CKF_USER_PIN_FINAL_TRY:
        raise KeyUnavailable(
            f"one more wrong PIN locks the token {name}, so none is tried: log in once with the vendor's tool"
        )


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _name(serial: str) -> str:
    """Return a serial number as one word."""
    return serial.encode().hex() or "-"


def _digest(pin: bytes, salt: bytes) -> bytes:
    # 32 MB and some 80 ms for each guess (RFC 7914 §2).
    return hashlib.scrypt(pin, salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
