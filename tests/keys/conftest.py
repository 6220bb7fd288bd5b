"""One folder of SoftHSM tokens for the whole run: a process finds its tokens when it loads the module, once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import custody
from intaglio.keys.token import Token
from softhsm import MODULE, PIN, MadeToken, configure, make_token


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if custody.TOKENS is not None:
        yield custody.TOKENS
        return
    folder = tmp_path_factory.mktemp("softhsm")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configure(folder))
    yield folder
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture(scope="session")
def made(softhsm: Path) -> MadeToken:
    return make_token(softhsm, "main")


@pytest.fixture
def token(made: MadeToken, tmp_path: Path) -> Iterator[Token]:
    """A token that this process is connected to alone, so that the module may be started anew for it."""
    opened = Token(made.place, lambda: PIN, tmp_path / "refused-pins", seconds=2)
    assert not opened.sessions.module.connected, "a test of before did not close its home"
    yield opened
    opened.close()
    assert MODULE.exists()
