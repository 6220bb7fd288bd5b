"""What PostgreSQL has to be for a service, and what is said when it is not."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands import BIN, run
from custody import hsm_options
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
