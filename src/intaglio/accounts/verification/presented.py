"""What a request shows of how its subject was verified, and which of the account's mechanisms that is."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from intaglio.accounts.verification.register import Depth, Mechanism
from intaglio.errors import NotVerified

_FIELD = "identity_verification"


class Presented(msgspec.Struct, frozen=True):
    """What came with a request.

    A mechanism's id, the account's own reference to how it verified the subject, and a token of the provider with the
    SHA-256 of the request's body, to which it may be bound.
    """

    mechanism: str | None = None
    reference: str | None = None
    token: str | None = None
    body_sha256: bytes = b""


NOTHING = Presented()


def look(mechanisms: Sequence[Mechanism], presented: Presented, now: datetime, *, needed: bool) -> Mechanism | None:
    """Return by which of the account's mechanisms the subject was verified, or None where it is not said nor needed.

    Raises `NotVerified`. Where none is named, the only one is meant that takes what was shown: a token, or nothing.
    """
    if presented == NOTHING and not needed:
        return None
    usable = [one for one in mechanisms if one.usable(now)]
    if presented.mechanism is not None:
        # Unknown, another account's, not approved, over: one wording.
        usable = [one for one in usable if one.id == presented.mechanism]
        if not usable:
            raise not_usable()
    if not usable:
        raise _refused("the account has no mechanism that is approved and not over: ask the operator")
    depth = Depth.ASSERTED if presented.token is None else Depth.PROVEN
    fitting = [one for one in usable if one.depth == depth]
    if not fitting:
        if presented.token is None:
            raise _refused("needs an identity token", "identity_token")
        raise _refused("the mechanism takes no token", "identity_token")
    if len(fitting) > 1:
        raise _refused("is needed: the account has several mechanisms")
    return fitting[0]


def not_usable() -> NotVerified:
    """Return the refusal of a mechanism that is unknown, another account's, not approved, or over."""
    return _refused("is none of the account's mechanisms that are approved and not over")


def _refused(reason: str, field: str = _FIELD) -> NotVerified:
    return NotVerified("The subject is not verified by an approved mechanism.", {field: reason})
