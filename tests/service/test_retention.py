"""Old entries lose their bodies once they are exported and stamped, by two people; everything else holds as before."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commands import BIN, run
from composed import composed
from custody import beginning
from intaglio.clock import ManualClock
from intaglio.database.engine import reading
from intaglio.errors import Conflict
from intaglio.ledger import tree
from intaglio.ledger.examination import Examined, examine
from intaglio.ledger.outside import kept
from intaglio.service.audit import audit
from intaglio.service.heads import verifying_key
from intaglio.service.home import Home, open_home
from intaglio.service.initialisation import initialise
from intaglio.service.receipts import prove
from intaglio.service.stamping import judge, stamp
from intaglio.signing.destruction import destroy_expired
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from intaglio_client.export import verify_export
from intaglio_client.receipt import verify_receipt
from intaglio_client.report import Verdict
from onboarded import DIGEST, caller
from people import Staff, found
from served import JOHN_DOE


async def business(home: Home) -> str:
    """A day's: an identity, its signatures, the end of its key, and a head over it all."""
    clock = ManualClock(datetime.now(UTC) - timedelta(hours=5))
    async with composed(home, clock) as (service, heads):
        made = await create_identity(service.engine, who := caller(home), JOHN_DOE, "r1")
        for number in range(3):
            await sign_digest(service.engine, who, made.id, DIGEST, f"signature{number}")
        clock.advance(timedelta(hours=3))
        await destroy_expired(service.engine)
        await heads.sign(datetime.now(UTC))
        return made.id


async def stamped(home: Home) -> None:
    async with composed(home) as (service, heads):
        await heads.sign(datetime.now(UTC))
        head = await service.engine.commits.read(tree.newest)
        assert head is not None
        await stamp(home, service.engine, head, datetime.now(UTC))
        await heads.sign(datetime.now(UTC))


def examined(path: Path) -> Examined:
    home = open_home(path)
    try:
        with reading(home.engine) as connection:
            return examine(connection, verifying_key(home), kept(path / "heads"), judge=judge(home))
    finally:
        home.close()


class Pruned:
    """A home whose business of yesterday was removed, and what was taken from it before."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"
        decided = beginning(algorithm="p-256")
        home = initialise(self.path, decided, datetime.now(UTC) - timedelta(hours=6), lambda _: None)
        self.staff: Staff = found(self.path, folder / "staff")
        self.identity = asyncio.run(business(home))
        time.sleep(1)
        self.moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        self.too_early = self.ask(ok=False)
        self.export = folder / "export.jsonl"
        self.exported = self.staff.intaglio("ledger", "export", "--out", self.export)
        self.not_stamped = self.ask(ok=False)
        asyncio.run(stamped(home))
        self.receipt = prove(home, self.identity)
        self.before = examined(self.path)
        asked = self.ask()
        self.result = self.staff.agree(asked, "bob")
        self.again = self.ask(ok=False)
        asyncio.run(stamped(home))
        home.close()

    def ask(self, *, ok: bool = True) -> Any:
        return self.staff.intaglio("ledger", "prune", "--before", self.moment, who="otto", ok=ok)

    def rows(self, query: str) -> list[Any]:
        database = sqlite3.connect(self.path / "intaglio.db")
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    return Pruned(tmp_path_factory.mktemp("retention"))


def key(pruned: Pruned) -> str:
    return (pruned.path / "pki/ledger.vkey").read_text()


def test_nothing_is_removed_before_it_is_exported_and_stamped(pruned: Pruned) -> None:
    assert "was not exported" in next(iter(pruned.too_early.values()))
    assert "no time-stamped head" in next(iter(pruned.not_stamped.values()))
    assert "everything before that is removed" in pruned.again["before"]


def test_what_they_said_is_gone_and_everything_holds(pruned: Pruned) -> None:
    told = pruned.rows("SELECT kind FROM ledger WHERE length(body) = 0 AND account_id IS NULL AND reference IS NULL")
    kinds = sorted(kind for (kind,) in told)
    assert [kind for kind in kinds if kind != "epoch.destroyed"] == ["identity.created", "key.destroyed"] + [
        "signature.made"
    ] * 3
    assert pruned.result["removed"] == len(kinds)
    files = b"".join(path.read_bytes() for path in pruned.path.glob("intaglio.db*"))
    # Identities and certificates have registers of their own; what was signed stood in the ledger alone.
    assert DIGEST.value.hex().encode() not in files
    found = examined(pruned.path)
    assert (found.removed, pruned.before.removed) == (len(kinds), 0)
    assert found.leaves == found.entries
    assert found.outside is not None
    home = open_home(pruned.path)
    assert audit(home).findings == []
    place = pruned.rows("SELECT chain, sequence FROM ledger WHERE kind = 'signature.made'")[0]
    with pytest.raises(Conflict, match="was removed"):
        prove(home, f"{place[0]}/{place[1]}")
    home.close()


def test_proofs_from_before_hold(pruned: Pruned) -> None:
    roots = [(pruned.path / f"pki/{name}.crt").read_bytes() for name in ("root", "test-root")]
    report = verify_receipt(pruned.receipt, key=key(pruned), roots=roots)
    assert (report.verdict, len(report.signed)) == (Verdict.VALID, 3)
    lines = pruned.export.read_bytes().splitlines(keepends=True)
    assert verify_export(lines, key(pruned)).entries == pruned.exported["entries"] == len(lines) - 1
    assert hashlib.sha256(pruned.export.read_bytes()).hexdigest() == pruned.exported["sha256"]
    # Each line stands alone; the control: none that was changed, or put in another's place, does.
    assert verify_export([lines[0], lines[-3]], key(pruned)).entries == 1
    changed = lines[5].replace(b'\\"main\\"', b'\\"nain\\"')
    assert changed != lines[5]
    assert "line 2" in str(verify_export([lines[0], changed], key(pruned)).reason)
    one, other = (msgspec.json.decode(line) for line in (lines[5], lines[6]))
    swapped = msgspec.json.encode({**one, "leaf": other["leaf"], "proof": other["proof"]})
    assert "line 2" in str(verify_export([lines[0], swapped], key(pruned)).reason)
    vkey = pruned.path / "pki/ledger.vkey"
    done = run(BIN / "intaglio-client", "receipt", "verify-export", pruned.export, "--key", vkey, "--json")
    assert json.loads(done.stdout)["reason"] is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE ledger SET body = '' WHERE kind = 'account.created'", "has lost its body"),
        ("UPDATE ledger SET body = '', kind = 'login.made' WHERE kind = 'account.created'", "not those on record"),
        ("UPDATE ledger SET kind = 'account.created' WHERE kind = 'signature.made'", "has lost its body"),
        ("UPDATE ledger SET body = '', kind = 'login.made' WHERE kind = 'ledger.exported'", "has lost its body"),
        ("DELETE FROM ledger WHERE kind = 'signature.made'", "is missing"),
        ("UPDATE ledger SET hash = zeroblob(32) WHERE kind = 'signature.made'", "does not follow|not what was taken"),
        ("DELETE FROM ledger WHERE kind = 'ledger.pruned'", "has lost its body"),
        ("UPDATE ledger SET reference = 'x' WHERE kind = 'ledger.pruned'", "has lost its body"),
    ],
)
def test_nobody_else_removes_anything(pruned: Pruned, tmp_path: Path, change: str, named: str) -> None:
    path = Path(shutil.copytree(pruned.path, tmp_path / "home"))
    database = sqlite3.connect(path / "intaglio.db")
    database.execute(change.replace("''", "x''"))
    database.commit()
    database.close()
    with pytest.raises(Conflict, match=named):
        examined(path)
