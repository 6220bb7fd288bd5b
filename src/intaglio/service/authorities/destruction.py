"""The end of a CA's private key."""

from datetime import datetime, timedelta

import msgspec

from intaglio.database.engine import bump_revision, transaction
from intaglio.errors import Conflict, KeyUnavailable
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import KeyPlace
from intaglio.revocation import crl, register
from intaglio.service.authorities.standing import revoked
from intaglio.service.home import Home
from intaglio.service.roster import changing, write

_SECOND = timedelta(seconds=1)


def destroy_key(home: Home, name: str, now: datetime) -> None:
    """Destroy the private key of a CA or TSA that serves nothing; its responder goes on answering.

    1. that nobody is served by it is looked at; 2. a CA signs its last CRL, current until its own end, and the entry is
    durable with it; 3. the hierarchy knows that the key is gone; 4. it is destroyed. Called again, it goes on.
    Raises `Conflict` when it serves or its key was never here, `NotFound`, `KeyUnavailable`.
    """
    with changing(home.path) as roster:
        # 1
        member = roster.member(name)
        if member.key == KeyPlace.ELSEWHERE:
            raise Conflict(f"The key of {name} is elsewhere.", {"name": "destroy it there"})
        if member.profile not in {"root", "issuing", "tsa"}:
            raise Conflict(f"{name} is in use.", {"name": f"its kind is {member.profile}"})
        serving = {one for family in roster.families.values() for one in (family.issuing, family.tsa)}
        if name in serving and name not in revoked(home, roster):
            raise Conflict(f"{name} serves a hierarchy: activate another first.", {"name": "in use"})
        if member.key == KeyPlace.HERE:
            # 2
            event = Event(now, "key.destroyed", reference=name, details={"member": name})
            with transaction(home.engine) as connection:
                if member.is_ca and member.certified:
                    issuer = home.issuer(name)
                    before = register.latest_list(connection, name)
                    number = crl.next_number(before, now)
                    end = home.certificate(name).not_valid_after_utc
                    last = crl.build(
                        issuer,
                        register.revoked(connection, name),
                        number=number,
                        now=now,
                        currency=max(_SECOND, end - now.replace(microsecond=0)),
                    )
                    register.publish_list(connection, last)
                home.chain.append(connection, [event])
                bump_revision(connection)
            # 3
            write(home.path, roster.with_member(msgspec.structs.replace(member, key=KeyPlace.DESTROYED)))
        # 4
        try:
            home.keyring.destroy_key(name)
        except KeyUnavailable:
            if member.key == KeyPlace.HERE:
                raise
