"""Receipts: entries of the ledger with their proofs, for somebody who has neither the service nor the ledger.

A receipt is a JSON document, read and verified by `intaglio_client.receipt`.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection

from intaglio.database.engine import reading
from intaglio.errors import Conflict, NotFound
from intaglio.ledger import merkle, stamps, tree, writer
from intaglio.ledger.writer import Recorded
from intaglio.pki.signature import signing
from intaglio.revocation.register import certificate_of
from intaglio.service.heads import check_key, opened_key
from intaglio.service.home import Home

FORMAT = "intaglio-receipt/1"
# Of one identity; a signature's own receipt is by its request.
_MOST_ENTRIES = 1000
# What takes back that something was made, or that somebody has it: written later, by the process that made it.
_TAKES_BACK = ("signature.failed", "timestamp.failed", "response.undelivered")
# More digits than the number of an entry has.
_TOO_LONG = 19


class Proven(msgspec.Struct, frozen=True):
    """An entry: the bytes that are hashed, the hash before (hex), its leaf, and the inclusion proof (hex)."""

    body: str
    previous: str
    leaf: int
    proof: list[str]


class Stamped(msgspec.Struct, frozen=True):
    """A time-stamp token, DER, on the head."""

    authority: str
    token: bytes


class Receipt(msgspec.Struct, frozen=True):
    """Entries about something, the head that they are proven under, its stamps, and certificates (DER, signer first).

    `seal` is the ledger's signature over everything else.
    """

    format: str
    about: str
    entries: list[Proven]
    head: str
    stamps: list[Stamped]
    key: str
    certificates: list[bytes]
    seal: bytes = b""


def prove(home: Home, about: str) -> bytes:
    """Return the receipt for an identity, a request, a time-stamp's serial number or an entry's `chain/sequence`.

    Raises `NotFound`, `Conflict` while an entry is not in the tree.
    """
    public, key = opened_key(home)
    with reading(home.engine, patient=True) as connection:
        check_key(connection, public)
        found = _found(connection, about)
        places = [(one, _leaf(connection, one)) for one in found]
        places.sort(key=lambda place: place[1])
        size = 1 + max(leaf for _, leaf in places)
        size = stamps.covering(connection, size) or tree.size(connection)
        head = tree.signed(connection, size)
        if head is None:
            raise Conflict("There is no head over the entry.", {"ledger": "verify it: intaglio ledger verify"})
        tile = partial(tree.tile, connection)
        receipt = Receipt(
            format=FORMAT,
            about=about,
            entries=[
                Proven(
                    body=one.body.decode(),
                    previous=one.previous.hex(),
                    leaf=leaf,
                    proof=[node.hex() for node in merkle.path(tile, leaf, size)],
                )
                for one, leaf in places
            ],
            head=head.note,
            stamps=[Stamped(one.authority, one.token) for one in stamps.on(connection, size)],
            key=public.text,
            certificates=list(_certificates(home, connection, found)),
        )
    seal = signing(key)(f"{FORMAT}\n".encode() + msgspec.json.encode(receipt))
    return written(msgspec.structs.replace(receipt, seal=seal))


def written(receipt: Receipt) -> bytes:
    """Return a receipt as a file holds it: there is one way to write each."""
    return msgspec.json.format(msgspec.json.encode(receipt), indent=2) + b"\n"


def _found(connection: Connection, about: str) -> list[Recorded]:
    """Return the entries about something, and those that tell what became of the key that signed."""
    chain, _, sequence = about.rpartition("/")
    if chain and sequence.isdecimal() and len(sequence) < _TOO_LONG:
        one = writer.at_place(connection, chain, int(sequence))
        found = [] if one is None else [one]
    else:
        found = writer.referring(connection, about, _MOST_ENTRIES + 1) or writer.of_request(connection, about)
    if len(found) > _MOST_ENTRIES:
        raise Conflict(
            f"More than {_MOST_ENTRIES} entries are about it.",
            {"id": "is about too many: ask by request or CHAIN/NUMBER"},
        )
    if not found:
        raise NotFound("There is no entry about it.", {"id": "not found: an identity, request, time-stamp or entry"})
    found += _taken_back(connection, found)
    identities = {one.reference for one in found if one.kind.startswith(("signature.", "identity.")) and one.reference}
    for identity in sorted(identities):
        created = writer.entries(connection, identity, "identity.created")
        destroyed = writer.entries(connection, identity, "key.destroyed")
        epochs = {str(_details(one)["epoch"]) for one in created}
        ended = [one for epoch in epochs for one in writer.entries(connection, epoch, "epoch.destroyed")]
        found += [*created, *destroyed, *ended]
    if any(not one.body for one in found):
        raise Conflict("What it said was removed from the ledger.", {"id": "is in a file that was exported before"})
    return list({(one.chain, one.sequence): one for one in found}.values())


def _taken_back(connection: Connection, found: Iterable[Recorded]) -> Iterable[Recorded]:
    """Yield what tells that one of these failed after all, or that its answer reached nobody."""
    requests: dict[str, set[str]] = {}
    begin: dict[str, int] = {}
    for one in found:
        if one.kind in {"signature.made", "timestamp.made"} and one.request_id is not None:
            requests.setdefault(one.chain, set()).add(one.request_id)
            begin[one.chain] = min(one.sequence, begin.get(one.chain, one.sequence))
    for chain, ids in requests.items():
        yield from writer.following(connection, chain, begin[chain], ids, _TAKES_BACK)


def _details(entry: Recorded) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(entry.body)["details"]
    return found


def _leaf(connection: Connection, entry: Recorded) -> int:
    leaf = tree.leaf_of(connection, entry.chain, entry.sequence)
    if leaf is None:
        raise Conflict(
            f"The entry {entry.chain}/{entry.sequence} is not in the tree yet.",
            {"ledger": "a service that runs takes it in within a second or two: try again"},
        )
    return leaf


def _certificates(home: Home, connection: Connection, found: Iterable[Recorded]) -> Iterable[bytes]:
    """Yield the certificate that an identity signed by, or that of the TSA, and what stands above it."""
    roster = home.roster()
    above: str | None = None
    for one in found:
        details = _details(one)
        if one.kind == "identity.created":
            above = str(details["issuer"])
            der = certificate_of(connection, above, str(details["serial"]))
            if der is None:
                # It is archived: what stands above it would be about nothing.
                return
            yield der
            break
        if one.kind in {"timestamp.made", stamps.STAMPED}:
            above = str(details["tsa"])
            break
    while above is not None:
        yield home.certificate(above).public_bytes(Encoding.DER)
        member = roster.find(above)
        above = None if member is None else member.issuer
