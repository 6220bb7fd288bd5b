"""What the database's owner can do to the ledger is found; the last three by heads kept outside alone."""

import asyncio
import base64
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from commands import BIN, run
from intaglio.clock import SystemClock
from intaglio.database.commits import Commits
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, KeyUnavailable, StoreUnavailable
from intaglio.keys.lanes import Lanes
from intaglio.ledger import tree
from intaglio.ledger.entry import GENESIS, Event, entry_hash
from intaglio.ledger.examination import Examined, examine
from intaglio.ledger.outside import kept
from intaglio.ledger.writer import Chain, at_place, latest
from intaglio.service.composition import compose
from intaglio.service.heads import Heads, ensure_key, sign_heads, verifying_key
from intaglio.service.home import Home, open_home
from intaglio.service.receipts import prove
from onboarded import small_home
from rfc9162 import definition

FORGET = ("DELETE FROM ledger_leaves", "DELETE FROM ledger_tiles", "DELETE FROM ledger_heads")


def sign(home: Home) -> None:
    """Sign heads over everything, as the service does."""

    async def signing() -> None:
        commits, lanes = Commits(home.engine), Lanes("test", 1)
        commits.start()
        heads = Heads(home, commits, lanes)
        while await heads.sign(datetime.now(UTC)):
            pass
        await commits.stop()
        lanes.shutdown()

    asyncio.run(signing())


def write(home: Home, number: int, *, chain: str = "main") -> None:
    with transaction(home.engine) as connection:
        events = [Event(datetime.now(UTC), "signature.made", reference=str(one)) for one in range(number)]
        Chain("service", chain).append(connection, events)


def examined(path: Path, heads: Path | None = None) -> Examined:
    home = open_home(path)
    try:
        with reading(home.engine) as connection:
            return examine(connection, verifying_key(home), None if heads is None else kept(heads))
    finally:
        home.close()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two chains, 700 entries and some heads; `yesterday` beside it is its database of before."""
    path = tmp_path_factory.mktemp("pristine") / "home"
    home = small_home(path)
    for number in (300, 20):
        write(home, number)
        write(home, 10, chain="other")
        sign(home)
    home.close()
    shutil.copy(path / "intaglio.db", path.parent / "yesterday.db")
    home = open_home(path)
    write(home, 350)
    sign(home)
    write(home, 5)
    home.close()
    return path


@pytest.fixture
def path(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "home"))


def sql(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path / "intaglio.db")
    for one in statements:
        database.execute(one)
    database.commit()
    database.close()


def test_what_nobody_touched_holds_with_and_without_heads(path: Path) -> None:
    found = examined(path, path / "heads")
    entries = sqlite3.connect(path / "intaglio.db").execute("SELECT count(*) FROM ledger").fetchone()[0]
    assert (found.entries, found.leaves) == (entries, entries - 5)
    assert found.outside == found.signed_heads == 3
    assert examined(path).outside is None


def test_a_head_is_what_others_compute(path: Path, tmp_path: Path) -> None:
    """Judged from outside: the root by the definition over the rows, the signature by openssl."""
    database = sqlite3.connect(path / "intaglio.db")
    leaves: list[bytes] = []
    for chain, first, last in database.execute("SELECT chain, first, last FROM ledger_leaves ORDER BY leaf"):
        rows = "SELECT hash FROM ledger WHERE chain = ? AND sequence BETWEEN ? AND ? ORDER BY sequence"
        leaves += [row[0] for row in database.execute(rows, (chain, first, last))]
    note = msgspec.json.decode((path / "heads").glob("*.jsonl").__next__().read_bytes().splitlines()[-1])["head"]
    text, signature = note.split("\n\n")
    assert text.split("\n")[1:3] == [str(len(leaves)), base64.b64encode(definition(leaves)).decode()]
    key = (path / "pki/ledger.vkey").read_text().split("+", 2)[2]
    (tmp_path / "key").write_bytes(base64.b64decode(key)[1:])
    (tmp_path / "signature").write_bytes(base64.b64decode(signature.split(" ")[2])[4:])
    command = ("openssl", "dgst", "-sha256", "-verify", tmp_path / "key", "-signature", tmp_path / "signature")
    assert b"OK" in run(*command, stdin=f"{text}\n".encode()).stdout
    assert run(*command, stdin=f"{text}x\n".encode(), check=False).returncode != 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE ledger SET body = CAST(replace(body, '44', '45') AS BLOB) WHERE reference = '44'", "main/"),
        ("DELETE FROM ledger WHERE chain = 'main' AND sequence = 100", "entry main/100 is missing"),
        ("DELETE FROM ledger WHERE chain = 'other' AND sequence = 20", "entry other/20 is missing"),
        ("DELETE FROM ledger WHERE chain = 'other'", "entry other/1 is missing"),
        (
            (
                "UPDATE ledger SET body = (SELECT body FROM ledger AS other WHERE other.chain = 'main' AND "
                "other.sequence = 141 - ledger.sequence) WHERE chain = 'main' AND sequence IN (70, 71)"
            ),
            "main/70",
        ),
        ("UPDATE ledger SET sequence = 100000 - sequence WHERE sequence IN (40, 41)", "entry main/40 is missing"),
        ("UPDATE ledger_heads SET note = replace(note, 'Z', 'Z ') WHERE size > 400", "the head of size"),
        ("UPDATE ledger_heads SET at = at + 1000 WHERE size > 400", "another size or time"),
        ("DELETE FROM ledger_heads WHERE size > 400", "the head over the first"),
        ("DELETE FROM ledger_leaves WHERE leaf > 350", "there is a head of size"),
        ("DELETE FROM ledger_leaves WHERE leaf = 0", "leaves from 0 on"),
        ("UPDATE ledger_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 1", "the tile 1/0"),
        (
            "UPDATE ledger_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND number = 1",
            "not what was taken",
        ),
        ("DELETE FROM ledger_tiles WHERE level = 0 AND number = 1", "tile 0/1"),
    ],
)
def test_a_change_is_found_without_any_head_from_outside(path: Path, change: str, named: str) -> None:
    sql(path, change)
    with pytest.raises(Conflict, match=named):
        examined(path)


def recomputed(path: Path) -> None:
    """Change an entry and recompute its chain behind it: every hash fits again."""
    database = sqlite3.connect(path / "intaglio.db")
    previous = GENESIS
    for sequence, body in database.execute(
        "SELECT sequence, body FROM ledger WHERE chain = 'main' ORDER BY 1"
    ).fetchall():
        told = body.replace(b'"reference":"250"', b'"reference":"999"') if sequence < 400 else body
        reference = msgspec.json.decode(told)["reference"]
        found = entry_hash(previous, told)
        database.execute(
            "UPDATE ledger SET body = ?, reference = ?, previous = ?, hash = ? WHERE chain = 'main' AND sequence = ?",
            (told, reference, previous, found, sequence),
        )
        previous = found
    database.commit()
    database.close()


def test_a_chain_that_was_recomputed_is_not_what_is_in_the_tree(path: Path) -> None:
    recomputed(path)
    changed = sqlite3.connect(path / "intaglio.db").execute("SELECT sequence FROM ledger WHERE reference = '999'")
    with pytest.raises(Conflict, match=f"entry main/{changed.fetchone()[0]} is not what was taken"):
        examined(path)


def signed_again(path: Path) -> None:
    """Forget the tree: the service, which has the key, builds and signs another without knowing better."""
    shutil.move(path / "heads", path.parent / "outside")
    sql(path, *FORGET)
    home = open_home(path)
    sign(home)
    home.close()


def cut(path: Path) -> None:
    """Cut the tail of every table, so that all of them fit."""
    shutil.move(path / "heads", path.parent / "outside")
    size = 300
    found = sqlite3.connect(path / "intaglio.db").execute("SELECT min(size) FROM ledger_heads").fetchone()[0]
    assert found > size
    sql(
        path,
        *FORGET,
        "DELETE FROM ledger WHERE chain = 'main' AND sequence > 200",
    )
    home = open_home(path)
    sign(home)
    home.close()


def restored(path: Path) -> None:
    shutil.move(path / "heads", path.parent / "outside")
    shutil.copy(path.parent / "yesterday.db", path / "intaglio.db")
    for log in path.glob("intaglio.db-*"):
        log.unlink()


def restored_and_gone_on(path: Path) -> None:
    restored(path)
    home = open_home(path)
    write(home, 400)
    sign(home)
    home.close()


def recomputed_and_signed(path: Path) -> None:
    recomputed(path)
    signed_again(path)


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        (cut, "entries are missing: a head kept outside"),
        (restored, "350 entries are missing"),
        (restored_and_gone_on, "one of the 349 behind it in the tree was changed"),
        (recomputed_and_signed, "was changed, and everything recomputed"),
    ],
)
def test_what_fits_together_is_found_by_heads_kept_outside(
    pristine: Path, path: Path, attack: Callable[[Path], None], named: str
) -> None:
    shutil.copy(pristine.parent / "yesterday.db", path.parent / "yesterday.db")
    attack(path)
    # The control: by itself it holds.
    assert examined(path).outside is None
    with pytest.raises(Conflict, match=named):
        examined(path, path.parent / "outside")
    # What was signed afterwards is another matter.
    if (path / "heads").exists():
        assert examined(path, path / "heads").outside


def test_a_service_that_begins_on_a_database_from_before_notices(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def begun(home: Home) -> bool:
        commits, lanes = Commits(home.engine), Lanes("test", 1)
        commits.start()
        fits = await Heads(home, commits, lanes).compare(home.chain, datetime.now(UTC))
        await commits.stop()
        lanes.shutdown()
        return fits

    # The control: what nobody touched.
    home = open_home(path)
    assert asyncio.run(begun(home))
    home.close()
    sql(path, *FORGET, "DELETE FROM ledger WHERE chain = 'main' AND sequence > 200")
    home = open_home(path)
    assert not asyncio.run(begun(home))
    assert "not the one that the head" in caplog.text
    with reading(home.engine) as connection:
        assert latest(connection, most=1)[0].kind == "ledger.diverged"
    home.close()


def test_the_comparison_is_made_again_until_it_is_made(path: Path) -> None:
    """A database that does not answer just then must not be what hides that it was restored from before."""

    async def rounds(home: Home) -> None:
        engine = compose(home, SystemClock()).engine
        work = sign_heads(home, engine)
        # Before the commits have begun, nothing can be read.
        with pytest.raises(StoreUnavailable):
            await work()
        engine.commits.start()
        await work()
        await engine.commits.stop()
        engine.lanes.shutdown()
        engine.pool.close()

    sql(path, *FORGET, "DELETE FROM ledger WHERE chain = 'main' AND sequence > 200")
    home = open_home(path)
    asyncio.run(rounds(home))
    with reading(home.engine) as connection:
        assert latest(connection, most=1)[0].kind == "ledger.diverged"
    home.close()


def test_a_missing_entry_stops_its_own_chain_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = open_home(path)
    write(home, 10, chain="another")
    write(home, 10, chain="other")
    sign(home)
    # The control: everything is under a head.
    with reading(home.engine) as connection:
        assert tree.waiting_since(connection) is None
    write(home, 10, chain="another")
    write(home, 10, chain="other")
    sql(path, "DELETE FROM ledger WHERE chain = 'another' AND sequence = 14")
    sign(home)
    with reading(home.engine) as connection:
        assert (tree.covered(connection, "another"), tree.covered(connection, "other")) == (13, 40)
        behind = at_place(connection, "another", 15)
        assert behind is not None
        assert tree.waiting_since(connection) == behind.at
    home.close()
    # Said once, however often it is tried.
    assert caplog.text.count("entry another/14 of the ledger is missing") == 1
    with pytest.raises(Conflict, match="another/"):
        examined(path)


def test_a_node_with_another_key_signs_nothing_over_what_others_signed(path: Path, tmp_path: Path) -> None:
    """The key was made while the database was empty, or another's; a receipt makes none at all."""
    node = Path(shutil.copytree(path, tmp_path / "node"))
    (node / "keys/ledger.sealed").unlink()
    (node / "pki/ledger.vkey").unlink()
    home = open_home(node)
    with pytest.raises(KeyUnavailable, match="there is no key of the ledger"):
        prove(home, "main/1")
    assert not (node / "keys/ledger.sealed").exists()
    sql(node, *FORGET)
    ensure_key(home)
    home.close()
    shutil.copy(path / "intaglio.db", node / "intaglio.db")
    home = open_home(node)
    write(home, 3)
    for refused in (sign, lambda home: prove(home, "main/1")):
        with pytest.raises(KeyUnavailable, match=r"copy keys/ledger\.sealed"):
            refused(home)
    # The control: the key of the node that signed.
    for name in ("keys/ledger.sealed", "pki/ledger.vkey"):
        shutil.copy(path / name, node / name)
    sign(home)
    home.close()
    assert examined(node, path / "heads").outside == 3


def test_heads_of_another_key_prove_nothing(path: Path, tmp_path: Path) -> None:
    shutil.move(path / "heads", path.parent / "outside")
    (path / "keys/ledger.sealed").unlink()
    (path / "pki/ledger.vkey").unlink()
    sql(path, *FORGET)
    home = open_home(path)
    sign(home)
    home.close()
    assert examined(path, path / "heads").outside
    with pytest.raises(Conflict, match="not signed by this ledger's key"):
        examined(path, tmp_path / "outside")


def test_a_second_writer_fails_harmlessly(path: Path) -> None:
    async def both(home: Home) -> list[bool]:
        commits, lanes = Commits(home.engine), Lanes("test", 2)
        commits.start()
        heads = [Heads(home, commits, lanes) for _ in range(4)]
        await asyncio.gather(*(one.sign(datetime.now(UTC)) for one in heads))
        await commits.stop()
        lanes.shutdown()
        return []

    home = open_home(path)
    asyncio.run(both(home))
    home.close()
    found = examined(path, path / "heads")
    assert (found.signed_heads, found.outside) == (4, 4)
    assert found.leaves == found.entries


def test_the_command_says_what_it_looked_at(path: Path) -> None:
    def verify(*options: str | Path) -> subprocess.CompletedProcess[bytes]:
        return run(BIN / "intaglio", "ledger", "verify", "--home", path, *options, check=False)

    assert b"No heads from outside were given" in verify().stdout
    assert b"3 heads from outside fit" in verify("--heads", path / "heads").stdout
    sql(path, "DELETE FROM ledger WHERE chain = 'main' AND sequence = 7")
    done = verify("--json")
    assert done.returncode == 1
    assert "main/7" in msgspec.json.decode(done.stderr)["errors"]
