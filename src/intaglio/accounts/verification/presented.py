"""What a request shows of how its subject was verified, and which of the account's mechanisms that is."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from intaglio.accounts.verification.register import Mechanism
from intaglio.errors import NotVerified

_FIELD = "identity_verification"


class Presented(msgspec.Struct, frozen=True):
    """What came with a request: a mechanism's id, and the account's own reference to how it verified the subject."""

    mechanism: str | None = None
    reference: str | None = None


NOTHING = Presented()


class Verification(msgspec.Struct, frozen=True):
    """By what a subject was verified; `details` is what the ledger keeps of it."""

    mechanism: Mechanism
    reference: str | None

    def details(self) -> dict[str, object]:
        """Return what the ledger keeps of it."""
        found = self.mechanism
        return {
            "mechanism": found.id,
            "version": found.version,
            "type": found.type,
            "depth": found.depth,
            "reference": self.reference,
        }


def look(mechanisms: Sequence[Mechanism], presented: Presented, now: datetime, *, needed: bool) -> Verification | None:
    """Return by which of the account's mechanisms the subject was verified, or None where it is not said nor needed.

    Raises `NotVerified`. Where nothing is said, the only mechanism that needs no more is meant.
    """
    if presented.mechanism is None and presented.reference is None and not needed:
        return None
    usable = [one for one in mechanisms if one.usable(now)]
    if presented.mechanism is not None:
        # Unknown, another account's, not approved, over: one wording.
        usable = [one for one in usable if one.id == presented.mechanism]
        if not usable:
            raise _refused("is none of the account's mechanisms that are approved and not over")
    if not usable:
        raise _refused("the account has no mechanism that is approved and not over: ask the operator")
    if len(usable) > 1:
        raise _refused("is needed: the account has several mechanisms")
    return Verification(usable[0], presented.reference)


def _refused(reason: str) -> NotVerified:
    return NotVerified("The subject is not verified by an approved mechanism.", {_FIELD: reason})
