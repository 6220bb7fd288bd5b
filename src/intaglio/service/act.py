"""What an act is: something that is asked for as JSON, so that it can wait, be looked at and be signed."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.errors import Malformed
from intaglio.service.home import Home
from intaglio.staff.replayed import Done


class Seen(msgspec.Struct, frozen=True):
    """What an act would change: `guarded` False if it needs nobody, as for accounts that are only for tests."""

    before: Any
    after: Any
    account_id: str | None = None
    guarded: bool = True


Look = Callable[[Home, Connection, Any, datetime], Seen]


class Act(msgspec.Struct, frozen=True):
    """One kind of act: `inside` works in the transaction in which it is agreed on, `outside` in ones of its own.

    `did` says whether an entry that it left tells of these parameters; `shown` are the fields of its details that must
    be as in what was shown to be there afterwards.
    """

    parameters: type[msgspec.Struct]
    look: Look
    did: Callable[[Any, Done], bool]
    inside: Callable[[Home, Connection, Any, datetime], Any] | None = None
    outside: Callable[[Home, Any, datetime], Any] | None = None
    shown: tuple[str, ...] = ()

    def fits(self, parameters: Any, after: Any, done: Done) -> bool:
        """Return whether an entry tells of these parameters, and of what was shown."""
        return self.did(self.read(parameters), done) and all(done.details.get(one) == after[one] for one in self.shown)

    def read(self, parameters: Any) -> Any:
        """Return parameters that were kept as JSON; raises `Malformed`."""
        try:
            return msgspec.convert(parameters, self.parameters)
        except msgspec.ValidationError as error:
            raise Malformed("The act cannot be read.", {"parameters": str(error)}) from error


def says(*fields: str) -> Callable[[Any, Done], bool]:
    """Return a check that the details of an entry have what the parameters have in these fields."""

    def did(asked: Any, done: Done) -> bool:
        plain = msgspec.to_builtins(asked)
        return all(done.details.get(field) == plain[field] for field in fields)

    return did


def to(field: str) -> Callable[[Any, Done], bool]:
    """Return a check that an entry is about what the parameters have in this field."""
    return lambda asked, done: bool(done.reference == getattr(asked, field))
