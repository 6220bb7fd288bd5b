"""One time of being logged in to a token: where it is, its sessions, and what was found and made in them."""

import ctypes
from collections import deque
from ctypes import c_char, c_ulong
from pathlib import Path

import msgspec

from intaglio.keys.mechanisms import Mechanisms

# A signature of RSA-8192 has 1024 octets.
MOST_OUTPUT = 1024


class TokenPlace(msgspec.Struct, frozen=True):
    """Where a token is: the module's file, and the token's label or serial number (or both)."""

    module: Path
    label: str | None = None
    serial: str | None = None

    def __str__(self) -> str:
        names = [f"label {self.label!r}"] if self.label is not None else []
        names += [f"serial {self.serial!r}"] if self.serial is not None else []
        return " and ".join(names) or "no label and no serial"


class Session:
    """An open session; one thread at a time has it. The rest is where a signature comes out."""

    __slots__ = ("handle", "length", "length_address", "output", "output_address", "presence", "spoiled")

    def __init__(self, presence: "Presence", handle: int) -> None:
        self.presence = presence
        self.handle = handle
        # Whether an operation may have been left unfinished in it.
        self.spoiled = False
        self.output = (c_char * MOST_OUTPUT)()
        self.output_address = ctypes.addressof(self.output)
        self.length = c_ulong()
        self.length_address = ctypes.addressof(self.length)


class Presence:
    """One time of being logged in: its sessions, and what was found and made in them."""

    __slots__ = (
        "__weakref__",
        "beginning",
        "doomed",
        "every",
        "free",
        "login",
        "mechanisms",
        "sealing",
        "slot",
        "spoiled",
        "writing",
    )

    def __init__(self, slot: int, beginning: int, mechanisms: Mechanisms, *, login: bool, writing: bool) -> None:
        self.slot = slot
        self.beginning = beginning
        self.mechanisms = mechanisms
        # Whether the token asks for a login, and whether it can be written to.
        self.login = login
        self.writing = writing
        self.every: list[Session] = []
        self.free: deque[Session] = deque()
        # Sessions in which an operation may have been left unfinished; objects made in them live as long as they.
        self.spoiled: deque[Session] = deque()
        # Handles of session objects that nothing refers to any more.
        self.doomed: deque[int] = deque()
        # Handles of sealing keys, by id.
        self.sealing: dict[bytes, int] = {}
