"""What PostgreSQL has to be for a service, and what is said when it is not."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection

from commands import BIN, run
from custody import hsm_options
from intaglio.database.commits import Commits
from intaglio.database.engine import check_durable, open_engine, reading
from intaglio.errors import Conflict, StoreUnavailable
from intaglio.service.initialisation import Beginning, initialise
from postgres import Server


def test_a_server_that_would_lose_what_it_committed_is_refused(store: Server) -> None:
    with (
        reading(open_engine(store.new_database())) as connection,
        pytest.raises(StoreUnavailable, match="fsync off"),
    ):
        check_durable(connection)


def test_a_service_that_cannot_be_made_leaves_nothing_in_its_database(store: Server, tmp_path: Path) -> None:
    url = store.new_database()
    beginning = Beginning(algorithm="p-256", database=url)
    with pytest.raises(StoreUnavailable):
        initialise(tmp_path / "home", beginning, datetime.now(UTC), lambda _: None)
    with reading(open_engine(url)) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relname = 'ledger'").scalar_one() == 0
    assert not (tmp_path / "home").exists()


def test_a_database_that_has_something_in_it_is_not_taken(store: Server, tmp_path: Path) -> None:
    url = store.new_database()
    with open_engine(url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE another_service (id integer)")
    with pytest.raises(Conflict, match="not empty"):
        initialise(tmp_path / "home", Beginning(algorithm="p-256", database=url), datetime.now(UTC), lambda _: None)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://intaglio:geheim7@db.example.com/intaglio", "password"),
        ("postgresql://db.example.com/intaglio?password=geheim7", "password"),
        ("mysql://db.example.com/intaglio", "must be"),
        ("file:relative", "ABSOLUTE"),
        ("file:/no/such/file", "cannot be read"),
        ("env:NO_SUCH_URL", "NO_SUCH_URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_named_and_a_password_never_repeated(tmp_path: Path, url: str, says: str) -> None:
    command: tuple[str | Path, ...] = (
        BIN / "intaglio",
        "init",
        "--home",
        tmp_path / "home",
        "--database",
        url,
        "--json",
        *hsm_options(),
    )
    done = run(*command, check=False)
    assert done.returncode != 0
    assert says in json.dumps(json.loads(done.stderr))
    assert b"geheim7" not in done.stdout + done.stderr
    assert not (tmp_path / "home").exists()


def test_a_server_that_is_away_is_named_without_its_secrets(tmp_path: Path) -> None:
    place = tmp_path / "url"
    place.write_text("postgresql://intaglio:geheim7@127.0.0.1:9/intaglio\n")
    place.chmod(0o600)
    command: tuple[str | Path, ...] = (
        BIN / "intaglio",
        "init",
        "--home",
        tmp_path / "home",
        "--database",
        f"file:{place}",
        *hsm_options(),
    )
    done = run(*command, check=False)
    assert done.returncode != 0
    assert b"the database failed" in done.stderr
    assert b"geheim7" not in done.stdout + done.stderr


@pytest.mark.parametrize("beside", [True, False])
def test_commits_that_bear_it_go_on_beside_those_of_another_process(store: Server, beside: bool) -> None:
    """Each waits, in its transaction, for the other to be in one: with writers in turn that never happens."""
    url = store.new_database()
    meeting = threading.Barrier(2)

    def meet(_connection: Connection, wanted: Sequence[float]) -> list[bool]:
        try:
            meeting.wait(1)
        except threading.BrokenBarrierError:
            return [False for _ in wanted]
        return [True for _ in wanted]

    async def walk() -> list[bool]:
        commits = [Commits(open_engine(url)) for _ in range(2)]
        for place, one in enumerate(commits):
            one.start()
            if beside:
                one.beside(f"chain {place}", (meet,))
        try:
            return await asyncio.gather(*(one.together(meet, 1.0) for one in commits))
        finally:
            for one in commits:
                await one.stop()

    assert asyncio.run(walk()) == [beside, beside]


def test_who_appends_to_the_same_chain_waits(store: Server) -> None:
    url = store.new_database()
    inside = threading.Semaphore(1)

    def alone(_connection: Connection, wanted: Sequence[int]) -> list[bool]:
        had = inside.acquire(blocking=False)
        time.sleep(0.1)
        if had:
            inside.release()
        return [had for _ in wanted]

    async def walk() -> list[bool]:
        commits = [Commits(open_engine(url)) for _ in range(3)]
        for one, chain in zip(commits, ("a", "a", None), strict=True):
            one.start()
            if chain is not None:
                one.beside(chain, (alone,))
        try:
            return await asyncio.gather(*(one.together(alone, turn) for one in commits for turn in range(3)))
        finally:
            for one in commits:
                await one.stop()

    assert all(asyncio.run(walk()))


def test_who_cannot_go_on_beside_others_waits_for_a_commit_of_its_own(store: Server) -> None:
    """It came while one that can was waiting for its turn."""
    url = store.new_database()
    locks = (
        "SELECT string_agg(mode, ' ' ORDER BY mode) FROM pg_locks"
        " WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    )

    def bearing(connection: Connection, wanted: Sequence[int]) -> list[str]:
        return [connection.exec_driver_sql(locks).scalar_one() for _ in wanted]

    def alone(connection: Connection) -> str:
        return bearing(connection, [0])[0]

    async def walk() -> list[str]:
        commits = Commits(open_engine(url))
        commits.start()
        commits.beside("a", (bearing,))
        try:
            with open_engine(url).begin():  # another's turn
                asked = [asyncio.create_task(commits.together(bearing, 0))]
                await asyncio.sleep(0.2)
                asked += [asyncio.create_task(commits.write(alone)), asyncio.create_task(commits.together(bearing, 1))]
                await asyncio.sleep(0.2)
            return await asyncio.gather(*asked)
        finally:
            await commits.stop()

    first, second, _ = asyncio.run(walk())
    assert (first, second) == ("ExclusiveLock ShareLock", "ExclusiveLock")
