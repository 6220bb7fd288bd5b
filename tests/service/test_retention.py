"""Old entries lose their bodies once they are exported and stamped, by two people; everything else holds as before."""

import asyncio
import dataclasses
import hashlib
import json
import shutil
import sqlite3
import time
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commands import BIN, run
from composed import composed
from custody import ON_TOKEN, beginning
from intaglio.clock import ManualClock
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict
from intaglio.ledger import retention, tree
from intaglio.ledger.entry import Event
from intaglio.ledger.examination import Examined, examine
from intaglio.ledger.outside import kept
from intaglio.service.acts import ACTS
from intaglio.service.audit import audit
from intaglio.service.heads import verifying_key
from intaglio.service.home import Home, open_home
from intaglio.service.initialisation import initialise
from intaglio.service.receipts import prove
from intaglio.service.retention import Prune
from intaglio.service.stamping import judge, stamp
from intaglio.signing.destruction import destroy_expired
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from intaglio_client.errors import Unusable
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


async def stamped(home: Home, *, again: bool = True) -> None:
    async with composed(home) as (service, heads):
        await heads.sign(datetime.now(UTC))
        head = await service.engine.commits.read(tree.newest)
        assert head is not None
        await stamp(home, service.engine, head, datetime.now(UTC))
        if again:
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

    def copied(self, path: Path) -> "Pruned":
        """Return the same in another folder."""
        made = copy(self)
        made.path = Path(shutil.copytree(self.path, path))
        made.staff = dataclasses.replace(self.staff, home=made.path)
        return made

    def prepare(self, home: Home, name: str) -> None:
        """Have another day of business, all of which may be removed."""
        asyncio.run(business(home))
        time.sleep(1)
        self.moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        self.staff.intaglio("ledger", "export", "--out", self.path / name)
        asyncio.run(stamped(home))

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
    vkey, root = (pruned.path / f"pki/{name}" for name in ("ledger.vkey", "root.crt"))
    command = (BIN / "intaglio-client", "receipt", "verify-export", pruned.export, "--key", vkey)
    done = json.loads(run(*command, "--trust", root, "--json").stdout)
    assert (done["verdict"], done["reason"], done["sha256"]) == ("VALID", None, pruned.exported["sha256"])
    assert pruned.exported["sha256"].encode() in run(*command).stdout


def test_an_export_says_nothing_that_is_not_proven(pruned: Pruned, tmp_path: Path) -> None:
    # Another, under a head that is stamped.
    made = pruned.copied(tmp_path / "home")
    home = open_home(made.path)
    asyncio.run(stamped(home, again=False))
    home.close()
    made.staff.intaglio("ledger", "export", "--out", tmp_path / "export")
    first, *rest = (tmp_path / "export").read_bytes().splitlines(keepends=True)
    roots = [(pruned.path / f"pki/{name}.crt").read_bytes() for name in ("root", "test-root")]

    def judged(*lines: bytes, roots: list[bytes] = roots[:1]) -> tuple[Verdict, str]:
        report = verify_export(lines, key(pruned), roots)
        return report.verdict, str(report.reason)

    def header(**changes: Any) -> bytes:
        return msgspec.json.encode({**msgspec.json.decode(first), **changes}) + b"\n"

    assert judged(first, *rest) == (Verdict.VALID, "None")
    assert verify_export([first, *rest], key(pruned)).time_stamps[0].trusted is False
    assert judged(first, *rest, roots=roots[1:])[0] == Verdict.INDETERMINATE
    assert "time-stamp of x" in judged(header(stamps=[{"authority": "x", "token": "AAAA"}]), *rest)[1]
    with pytest.raises(Unusable, match="until"):
        judged(header(until="everything"), *rest)
    assert "another ledger" in judged(header(key="x"), *rest)[1]
    assert "not written" in judged(first.replace(b"{", b"{ ", 1), *rest)[1]
    for lines, reason in (
        ([rest[4], rest[4]], "line 3: main/5 is there twice"),
        ([rest[5], rest[4]], "line 3: main/5 is there twice, or behind"),
        ([b'{"body":"{}",' + rest[4][1:]], "line 2: is not written"),
        ([rest[4][:-1]], "line 2: is not written"),
        ([], "no entry"),
    ):
        verdict, told = judged(first, *lines)
        assert (verdict, reason in told) == (Verdict.INVALID, True), told


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE ledger SET body = '' WHERE kind = 'account.created'", "has lost its body"),
        (
            "UPDATE ledger SET body = '', kind = 'login.made' WHERE kind = 'account.created'",
            "_id is there|reference is",
        ),
        (
            (
                "UPDATE ledger SET body = '', kind = 'login.made', account_id = NULL, reference = NULL, "
                "request_id = NULL WHERE kind = 'account.created'"
            ),
            "not those on record",
        ),
        ("UPDATE ledger SET body = x'ff' WHERE kind = 'ledger.pruned'", "says nothing of what lost its body"),
        # What is left of those that were removed.
        ("UPDATE ledger SET kind = 'timestamp.made' WHERE kind = 'signature.made'", "not those on record"),
        ("UPDATE ledger SET at = at - 1 WHERE kind = 'signature.made'", "not those on record"),
        ("UPDATE ledger SET account_id = 'x' WHERE kind = 'signature.made'", "its account_id is there"),
        ("UPDATE ledger SET reference = 'x' WHERE kind = 'signature.made'", "its reference is there"),
        ("UPDATE ledger SET request_id = 'x' WHERE kind = 'signature.made'", "its request_id is there"),
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


class CutOffError(BaseException):
    """The process ends here."""


def left(pruned: Pruned) -> int:
    """How many entries have what they said, of those that lose it."""
    told = pruned.rows("SELECT kind FROM ledger WHERE length(body) > 0")
    return sum(kind in {"signature.made", "identity.created"} for (kind,) in told)


@pytest.mark.skipif(ON_TOKEN, reason="the commands run in processes of their own, which nothing here can cut off")
def test_a_removal_that_was_cut_off_is_finished(
    pruned: Pruned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pruned.copied(tmp_path / "home")
    home = open_home(made.path)
    made.prepare(home, "second")

    def cut_off(*_: object) -> int:
        raise CutOffError

    def begin() -> None:
        asked = made.ask()
        with monkeypatch.context() as patched:
            patched.setattr(retention, "remove", cut_off)
            made.staff.agree(asked, "bob")

    with pytest.raises(CutOffError):
        begin()
    assert (len(made.rows("SELECT 1 FROM ledger WHERE kind = 'ledger.pruned'")), left(made)) == (2, 4)
    # Asked for again, it is done without another entry; and so it is with what is removed later.
    for one in (*made.staff.intaglio("approvals", "list"), made.ask()):
        made.staff.intaglio("approvals", "refuse", one.get("id") or one["approval"], "--reason", "later", who="otto")
    assert [state for (state,) in made.rows("SELECT state FROM approvals ORDER BY asked_at")[-2:]] == ["withdrawn"] * 2
    made.prepare(home, "third")
    later = made.ask()
    made.staff.agree(later, "bob")
    assert left(made) == 0
    made.prepare(home, "fourth")
    with pytest.raises(CutOffError):
        begin()
    assert left(made) == 4
    made.staff.agree(made.ask(), "bob")
    assert left(made) == 0
    assert len(made.rows("SELECT 1 FROM ledger WHERE kind = 'ledger.pruned'")) == 4
    asyncio.run(stamped(home))
    assert examined(made.path).removed > pruned.result["removed"]
    assert audit(home).findings == []
    home.close()


@pytest.mark.skipif(ON_TOKEN, reason="the commands run in processes of their own, where nothing can be put in place")
def test_more_than_was_agreed_to_is_found(pruned: Pruned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever owns the machine: `ledger verify` takes the entry for it, `approvals verify` does not."""
    made = pruned.copied(tmp_path / "home")
    home = open_home(made.path)
    made.prepare(home, "second")

    def wider(acting: Home, asked: Any, now: datetime) -> None:
        with transaction(acting.engine) as connection:
            told = retention.pruned(connection)
            chain, one = next((chain, one) for chain, one in told.items() if chain != "main")
            chains = msgspec.to_builtins({**told, chain: retention.tally(connection, chain, one.through + 1)})
            event = Event(now, "ledger.pruned", reference="ledger", details={"before": asked.before, "chains": chains})
            acting.chain.append(connection, [event])

    assert audit(home).findings == []
    asked = made.ask()
    act = ACTS["ledger.prune"]
    with monkeypatch.context() as patched:
        patched.setitem(ACTS, "ledger.prune", msgspec.structs.replace(act, outside=wider))
        made.staff.agree(asked, "bob")
    assert [one.reason for one in audit(home).findings] == ["what was done is not what was agreed to"]
    wider(home, Prune(datetime.now(UTC)), datetime.now(UTC))
    assert [one.kind for one in audit(home).findings] == ["ledger.pruned", "ledger.pruned"]
    assert examined(made.path).removed == pruned.result["removed"]
    home.close()
