"""Signing heads of the ledger: once a second, while there is something new, and kept outside of the database, too."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection

from intaglio.database.commits import Commits
from intaglio.database.engine import reading
from intaglio.errors import Conflict, KeyUnavailable, Malformed
from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey
from intaglio.keys.lanes import Lanes
from intaglio.ledger import outside, tree
from intaglio.ledger.entry import Event
from intaglio.ledger.head import Head, VerifyingKey, key_of, opened, read_key, signed
from intaglio.ledger.merkle import Place
from intaglio.ledger.retention import LEDGER
from intaglio.ledger.tree import Signed, Taken
from intaglio.ledger.writer import Chain
from intaglio.pki.signature import signing
from intaglio.service.home import Home
from intaglio.service.roster import replace
from intaglio.signing.engine import Engine

_log = logging.getLogger("intaglio.ledger")

KEY = "ledger"
KEY_FILE = "pki/ledger.vkey"
# Entries that are taken in at a time: what others wait for meanwhile is a few milliseconds.
_MOST = 2000
_PAUSE_SECONDS = 0.05
HEAD_SECONDS = 1.0


class Round(msgspec.Struct, frozen=True):
    """What is about to be taken in: the tree as it was, the entries, and what they make of it."""

    before: int
    taken: list[Taken]
    tiles: dict[Place, bytes]
    root: bytes


def make_key(home: Home) -> None:
    """Make the key that signs heads, and publish what they are verified with; raises `Conflict` if there is one."""
    key = home.custody.generate(KeyAlgorithm.P_256, KEY)
    home.keyring.store_key(KEY, key)
    _publish(home, key)


def _publish(home: Home, key: PrivateKey) -> None:
    public = key.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise KeyUnavailable("the key of the ledger is none of P-256")
    # No space and no plus may be in the name of a key (C2SP signed-note).
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", home.settings.name).strip("-") or "intaglio"
    found = key_of(f"{home.settings.hosts[0]}/{name}/ledger", public)
    replace(home.path / KEY_FILE, f"{found.text}\n".encode())


def verifying_key(home: Home) -> VerifyingKey | None:
    """Return the key that heads are verified with, None for a home that has none yet; raises `Malformed`."""
    try:
        return read_key((home.path / KEY_FILE).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnavailable(f"{home.path / KEY_FILE} cannot be read") from error


def ensure_key(home: Home) -> None:
    """Make the key in a home that comes from a version without; raises `KeyUnavailable` if others have signed."""
    if not (home.path / "keys" / f"{KEY}.sealed").exists():
        with reading(home.engine) as connection:
            begun = tree.newest(connection) is not None
        if begun:
            raise KeyUnavailable(
                f"heads are signed by another node: copy keys/{KEY}.sealed and {KEY_FILE} from its home to {home.path}"
            )
        make_key(home)


def opened_key(home: Home) -> tuple[VerifyingKey, PrivateKey]:
    """Return the keys of heads; raises `KeyUnavailable`, also in a home that has none."""
    if not (home.path / "keys" / f"{KEY}.sealed").exists():
        raise KeyUnavailable(
            f"there is no key of the ledger in {home.path}: a service that runs there makes one, or, where another "
            f"node signs heads, copy keys/{KEY}.sealed and {KEY_FILE} from its home"
        )
    key = home.keyring.key(KEY)
    if verifying_key(home) is None:
        _publish(home, key)
    public = verifying_key(home)
    if public is None or key_of(public.name, key.public_key()) != public:  # type: ignore[arg-type]
        raise KeyUnavailable(f"{KEY_FILE} is not of the key that signs")
    return public, key


def check_key(connection: Connection, key: VerifyingKey) -> None:
    """Raise `KeyUnavailable` unless the newest head in the database is signed by `key`, or there is none."""
    head = tree.newest(connection)
    if head is None:
        return
    try:
        opened(head.note, key)
    except Malformed as error:
        raise KeyUnavailable(
            f"the newest head in the database is not signed by the key here ({error.fields['head']}): copy "
            f"keys/{KEY}.sealed and {KEY_FILE} from the home of the node that signed it; if that is this one, the head "
            "was changed: intaglio ledger verify"
        ) from error


class Heads:
    """Takes new entries of all chains into the tree and signs what comes of it; one process at a time succeeds."""

    def __init__(self, home: Home, commits: Commits, lanes: Lanes) -> None:
        self._commits = commits
        self._lanes = lanes
        ensure_key(home)
        self._public, key = opened_key(home)
        self._sign = signing(key)
        self._folder: Path = home.path / home.settings.ledger.heads
        # How large the tree is, and how far each chain is covered, as long as nobody else takes anything in.
        self._size = -1
        self._covered: dict[str, int] = {}
        self._missing: list[str] = []

    async def compare(self, chain: Chain, now: datetime) -> bool:
        """Return whether the database has what the newest head in the folder is over; that it has not is recorded.

        It was restored from before, cut, or recomputed: what is signed from here on is another history.
        """
        newest = await asyncio.to_thread(outside.newest, self._folder)
        if newest is None:
            return True
        try:
            head = opened(newest.note, self._public)
            fits = await self._commits.read(lambda connection: tree.has(connection, head.size, head.root))
        except (Malformed, Conflict) as error:
            fits, told = False, str(error)
        else:
            told = f"of {head.size} entries, signed {head.at}"
        if not fits:
            _log.error("the ledger is not the one that the head in %s is over (%s)", newest.place, told)
            event = Event(
                now, "ledger.diverged", reference=LEDGER, details={"place": newest.place, "head": newest.note}
            )
            await self._commits.write(lambda connection: chain.append(connection, [event]))
        return fits

    async def sign(self, now: datetime) -> bool:
        """Sign a head over what is new; return whether there may be more.

        Of a chain that misses an entry nothing behind it is taken in, which is logged; the others go on.
        Raises `Conflict` for a tree that was changed, `KeyUnavailable`, also for one that another key signs,
        `StoreUnavailable`.
        """
        found = await self._commits.read(self._look)
        if found is None:
            return False
        size = found.before + sum(len(part.hashes) for part in found.taken)
        # As it is in the note, so that both say the same.
        at = now.replace(microsecond=now.microsecond // 1000 * 1000)
        note = await self._lanes.run(signed, Head(size, found.root, at), self._public, self._sign)
        head = Signed(size, at, note)
        written = await self._commits.write(lambda c: tree.add(c, found.before, found.taken, found.tiles, head))
        if not written:
            return False
        self._size = size
        self._covered |= {part.chain: part.last for part in found.taken}
        await outside.keep(self._folder, head)
        return size - found.before >= _MOST

    def _look(self, connection: Connection) -> Round | None:
        before = tree.size(connection)
        if before != self._size:
            # Somebody else signed: with one key, or these would be two ledgers in one tree.
            check_key(connection, self._public)
            self._size, self._covered = before, {}
        taken, missing = tree.behind(connection, self._covered, _MOST)
        if missing != self._missing:
            self._missing = missing
            for place in missing:
                _log.error("entry %s of the ledger is missing: nothing of its chain behind it is signed", place)
        if not taken:
            return None
        tiles, root = tree.grow(connection, before, taken)
        return Round(before, taken, tiles, root)


def sign_heads(home: Home, engine: Engine) -> Callable[[], Awaitable[None]]:
    """Return what signs heads over everything that is new, each time it is called."""
    heads: Heads | None = None
    told = ""

    async def work() -> None:
        nonlocal heads, told
        try:
            if heads is None:
                begun = await asyncio.to_thread(Heads, home, engine.commits, engine.lanes)
                # Until it has been compared, nothing is signed.
                await begun.compare(engine.chain, engine.clock.now())
                heads = begun
            more = True
            while more:
                more = await heads.sign(engine.clock.now())
                await asyncio.sleep(_PAUSE_SECONDS)
        except (Conflict, KeyUnavailable) as error:
            # It lasts, and to say it once a second would be a flood.
            if str(error) != told:
                told = str(error)
                _log.error("no head of the ledger is signed: %s", error)
        else:
            told = ""

    return work
