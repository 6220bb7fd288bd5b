"""How a key on a token is held: the handle that means it, for as long as it does."""

import weakref
from collections.abc import Callable
from typing import Protocol

from intaglio.errors import KeyUnavailable
from intaglio.keys.presence import Presence, Session


class KeyLost(KeyUnavailable):
    """An unwrapped key is gone with the presence that it was unwrapped in: unwrap it again."""


class Held(Protocol):
    """What knows the handle of a key."""

    # The presence in which a signature was verified: what the token means by the handle is this key.
    proven: Presence | None

    def handle(self, session: Session) -> int:
        """Return the handle that means the key in the session's presence; raises `KeyUnavailable`."""
        ...

    def gone(self) -> None:
        """Trust the handle no more."""
        ...

    def lost(self, present: Presence | None) -> bool:
        """Return whether the key can never be used again."""
        ...


class Stored:
    """A key stored on the token: found again in each presence."""

    def __init__(self, find: Callable[[Session], int], found: tuple[Presence | None, int] = (None, 0)) -> None:
        self.proven: Presence | None = None
        self._find = find
        self._found = found

    def handle(self, session: Session) -> int:
        """Return its handle; raises `KeyUnavailable` when the token has no such key any more."""
        presence, handle = self._found
        if presence is not session.presence:
            handle = self._find(session)
            self._found = (session.presence, handle)
        return handle

    def gone(self) -> None:
        """Look for it again at the next signature."""
        self._found = (None, 0)
        self.proven = None

    def lost(self, present: Presence | None) -> bool:  # noqa: ARG002 - it can always be looked for again
        """Return False."""
        return False


class Unwrapped:
    """A key that is a session object: destroyed in the token once nothing refers to this any more."""

    def __init__(self, presence: Presence, handle: int) -> None:
        self.proven: Presence | None = None
        self._presence = presence
        self._handle = handle
        self._gone = False
        # Only noted here, and destroyed by whoever uses a session next: this may run in any thread, at any time.
        weakref.finalize(self, presence.doomed.append, handle).atexit = False

    def handle(self, session: Session) -> int:
        """Return its handle; raises `KeyLost` in any presence but its own."""
        if session.presence is not self._presence or self._gone:
            raise KeyLost("the unwrapped key went with the session that it was unwrapped in: unwrap it again")
        return self._handle

    def gone(self) -> None:
        """Be lost for good."""
        self._gone = True

    def lost(self, present: Presence | None) -> bool:
        """Return whether another presence has begun, or none is left."""
        return self._gone or present is not self._presence
