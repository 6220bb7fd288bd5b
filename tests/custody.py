"""What the tests' services keep their keys and their state in, software and SQLite unless something else is asked for.

`INTAGLIO_TEST_CUSTODY=softhsm`: one token for the whole run. `INTAGLIO_TEST_DATABASE=postgresql`: one server for the
whole run, and a database in it for each service.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from intaglio.service.initialisation import Beginning
from intaglio.settings import HsmSettings
from postgres import Server
from softhsm import MODULE, PIN, make_token

_LABEL = "tests"
_PIN_NAME = "INTAGLIO_HSM_PIN"
ON_TOKEN = os.environ.get("INTAGLIO_TEST_CUSTODY", "software") == "softhsm"
ON_POSTGRESQL = os.environ.get("INTAGLIO_TEST_DATABASE", "sqlite") == "postgresql"
_servers: list[Server] = []


# The folder of this run's token, and of others that tests make: a process finds its tokens once.
TOKENS = Path(tempfile.mkdtemp(prefix="intaglio-tokens-")) if ON_TOKEN else None


def begin() -> None:
    """Make the token before anything in this process has asked for one."""
    if TOKENS is not None:
        made = make_token(TOKENS, _LABEL)
        os.environ["SOFTHSM2_CONF"] = str(made.configuration)
        os.environ[_PIN_NAME] = PIN


def end() -> None:
    """Remove the tokens, and the database server."""
    while _servers:
        _servers.pop().end()
    if TOKENS is not None:
        shutil.rmtree(TOKENS, ignore_errors=True)


def init_options() -> tuple[str, ...]:
    """Return what `intaglio init` needs to keep its keys and its state in what this run is about."""
    database = new_database()
    return (*hsm_options(), *(() if database is None else ("--database", database)))


def hsm_options() -> tuple[str, ...]:
    """Return what it needs to keep its keys there."""
    return token_options(_LABEL, f"env:{_PIN_NAME}") if ON_TOKEN else ()


def new_database() -> str | None:
    """Return the URL of an empty database, or None for a file in the home."""
    if not ON_POSTGRESQL:
        return None
    if not _servers:
        _servers.append(Server())
    return _servers[0].new_database()


def token_options(label: str, pin: str) -> tuple[str, ...]:
    """Return what `intaglio init` needs to make its keys on a token, whatever this run's custody."""
    return ("--hsm-module", str(MODULE), "--hsm-token", label, "--hsm-pin", pin)


def beginning(identities: Literal["wrapped", "resident"] = "wrapped", **decided: str) -> Beginning:
    """Return the same for `initialise`."""
    hsm = (
        HsmSettings(module=str(MODULE), pin=f"env:{_PIN_NAME}", token_label=_LABEL, identities=identities)
        if ON_TOKEN
        else None
    )
    return Beginning(hsm=hsm, database=new_database(), **decided)  # type: ignore[arg-type]
