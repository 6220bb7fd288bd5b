"""Who acts: a person shows a key, has the right or not, and what is done says who did it.

That the machine, or its administrator, is trusted is no right to anything. Before there is any staff, and for what is
only for tests, nobody has to be known.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from intaglio.accounts import register as accounts
from intaglio.database.engine import reading, transaction
from intaglio.errors import NotAllowed, RequestRefused, Unauthenticated
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.home import Home
from intaglio.staff import register
from intaglio.staff.approvals import Approval
from intaglio.staff.register import Known
from intaglio.staff.rights import OF_AN_ACCOUNT, RIGHTS, Role
from intaglio.staff.signature import SecretKey
from intaglio.staff.statement import Deed, Statement, content_hash, signed

# Opens the key of who acts, once it is needed: what needs nobody asks nobody for a passphrase.
Opens = Callable[[], SecretKey]


def alone(
    home: Home,
    key: Opens | None,
    act: str,
    about: Any,
    now: datetime,
    *,
    account_id: str | None = None,
    guarded: bool = True,
) -> Home:
    """Return `home` for a person to act in who may do `act` alone; what is done there says who did it.

    Before there is any staff, and for what is only for tests, nobody has to be known. `about` is what it is done to.
    Raises `Unauthenticated`, `NotAllowed`.
    """
    if not guarded:
        return home
    with reading(home.engine) as connection:
        if not register.founded(connection):
            return home
    known, opened = known_for(home, key, act, now)
    with recorded_denial(home, known, act, now):
        check_right(known, RIGHTS[act].asks, act, account_id)
    statement = Statement(
        deed=Deed.DO,
        act=act,
        content=content_hash(about),
        person=known.person.id,
        certificate=known.certificate,
        at=now,
        account=account_id,
    )
    acting = acting_for(home, known.person.id)
    details = {**signed(opened, statement), "about": about}
    with transaction(home.engine) as connection:
        acting.chain.append(connection, [Event(now, "staff.acted", account_id, known.person.id, None, details)])
    return acting


def for_account(
    home: Home, key: Opens | None, act: str, account_id: str, now: datetime, about: Mapping[str, str] | None = None
) -> Home:
    """Return `home` as `alone` does, for an act upon an account, or `about` what is its own; raises `NotFound`, too."""
    with reading(home.engine) as connection:
        account = accounts.find(connection, account_id)
    guarded = account.hierarchy == Hierarchy.PRODUCTION
    return alone(home, key, act, {"account": account.id, **(about or {})}, now, account_id=account.id, guarded=guarded)


def known(home: Home, key: Opens | None, now: datetime) -> tuple[Known, SecretKey]:
    """Return who shows a key, and the key; raises `Unauthenticated`."""
    if key is None:
        raise Unauthenticated("Who asks is not known.", {"as": "say who you are: --as KEYFILE"})
    opened = key()
    with reading(home.engine) as connection:
        return register.identify(connection, opened.public_key(), now), opened


def known_for(home: Home, key: Opens | None, act: str, now: datetime) -> tuple[Known, SecretKey]:
    """Return what `known` does; that nobody is known by the key is on record."""
    try:
        return known(home, key, now)
    except Unauthenticated as error:
        with transaction(home.engine) as connection:
            details = {"act": act, "reason": str(error), **error.fields}
            home.chain.append(connection, [Event(now, "approval.denied", details=details)])
        raise


def check_right(known: Known, roles: frozenset[Role], act: str, account_id: str | None) -> None:
    """Raise `NotAllowed` unless somebody has one of the roles, those of an account in `account_id` only."""
    person = known.person
    having = roles.intersection(person.roles)
    if not having:
        raise NotAllowed(
            f"{person.name} ({', '.join(person.roles)}) may not: {act}.", {"role": f"one of {', '.join(sorted(roles))}"}
        )
    if having <= OF_AN_ACCOUNT and (account_id is None or person.account_id != account_id):
        raise NotAllowed(f"{person.name} may not: {act}.", {"account": "is not the person's own"})


def acting_for(home: Home, person_id: str, approval_id: str | None = None) -> Home:
    """Return `home` with its ledger written for a person, under an approval if there is one."""
    return dataclasses.replace(home, chain=home.chain.acting(f"staff:{person_id}", approval_id))


@contextmanager
def recorded_denial(
    home: Home, who: Known, act: str, now: datetime, approval: Approval | None = None
) -> Iterator[None]:
    """Have it on record when what is done here is refused, once nothing of it is left."""
    try:
        yield
    except RequestRefused as error:
        details = {"act": act, "person": who.person.id, "reason": str(error), **error.fields}
        account, reference = (None, None) if approval is None else (approval.account_id, approval.id)
        with transaction(home.engine) as connection:
            event = Event(now, "approval.denied", account, reference, None, details)
            acting_for(home, who.person.id).chain.append(connection, [event])
        raise
