"""A PostgreSQL server for what is about databases; started with what would lose signatures, which a service refuses."""

from collections.abc import Iterator

import pytest

from postgres import Server


@pytest.fixture(scope="session")
def store() -> Iterator[Server]:
    server = Server("fsync=off")
    yield server
    server.end()
