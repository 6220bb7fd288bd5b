"""A token that hangs, goes away and comes back, beneath a running service."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from custody import token_options
from served import JOHN_DOE, Partner, Served, free_port, make_partner
from softhsm import make_token

DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("token")


@pytest.fixture(scope="module")
def on_token(token: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = make_token(token, "faults")
    home = tmp_path_factory.mktemp("faults") / "home"
    service = Served(home, free_port(), free_port(), environment={"SOFTHSM2_CONF": str(made.configuration)})
    ports = ("--api-port", str(service.api_port), "--pki-port", str(service.pki_port), "--algorithm", "p-256")
    service.intaglio("init", *ports, *token_options("faults", f"file:{made.pin_file}"))
    settings = home / "intaglio.toml"
    settings.write_text(settings.read_text() + "timeout_seconds = 2\n\n[pool]\nmakers = 0\n")
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def partner(on_token: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    made = make_partner(on_token, tmp_path_factory.mktemp("partners") / "faults", "--kind", "individual", "--test")
    yield made
    made.client.close()


@contextmanager
def hanging(token: Path) -> Iterator[None]:
    """Hold the locks that SoftHSM waits for, without end, before it looks at anything."""
    files = [path for path in token.rglob("*") if path.is_file() and path.parent.parent.name == "tokens"]
    descriptors = [os.open(path, os.O_RDWR) for path in files]
    try:
        for descriptor in descriptors:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def sign(partner: Partner, identity: str) -> httpx.Response:
    return partner.get(f"/identity/{identity}/sign/{DIGEST}")


def ready(served: Served) -> httpx.Response:
    return httpx.get(f"{served.public}/readyz", timeout=10)


def test_a_token_that_hangs_is_given_up_and_what_needs_none_goes_on(
    on_token: Served, partner: Partner, token: Path
) -> None:
    identity = wait_until(lambda: partner.post("/identity", JOHN_DOE), 200).json()["id"]
    assert sign(partner, identity).status_code == 200
    assert ready(on_token).status_code == 200
    with hanging(token):
        begun = time.monotonic()
        answer = partner.post("/identity", JOHN_DOE)
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert time.monotonic() - begun < 12
        assert ready(on_token).json()["troubles"] == {"keys": "the token does not answer"}
        assert partner.login()
        assert partner.get("/validationpolicy").status_code == 200
    wait_until(lambda: ready(on_token), 200)
    wait_until(lambda: partner.post("/identity", JOHN_DOE), 200)
    assert sign(partner, identity).status_code == 200


def test_a_token_that_goes_away_and_comes_back_needs_no_restart(
    on_token: Served, partner: Partner, token: Path
) -> None:
    identity = wait_until(lambda: partner.post("/identity", JOHN_DOE), 200).json()["id"]
    assert sign(partner, identity).status_code == 200
    away = token / "away"
    (token / "tokens").rename(away)
    try:
        assert partner.post("/identity", JOHN_DOE).status_code == 503
    finally:
        away.rename(token / "tokens")
    wait_until(lambda: sign(partner, identity), 200)
    wait_until(lambda: partner.post("/identity", JOHN_DOE), 200)
    assert ready(on_token).status_code == 200


def wait_until(ask: Callable[[], httpx.Response], status: int) -> httpx.Response:
    for _ in range(40):
        answer = ask()
        if answer.status_code == status:
            return answer
        assert answer.status_code in {200, 503}, answer.text
        time.sleep(0.25)
    raise AssertionError(answer.text)
