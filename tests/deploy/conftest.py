"""A service with everything of `[front]`, and two partners who reach it from an address of their own."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from custody import init_options
from fronts import CLIENT, FRONT, pair
from served import Partner, Served, free_port, make_partner


@pytest.fixture(scope="session")
def front_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def health_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def fronted(tmp_path_factory: pytest.TempPathFactory, front_port: int, health_port: int) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("fronted")
    service = Served(folder / "home", free_port(), free_port())
    ports = ("--api-port", str(service.api_port), "--pki-port", str(service.pki_port))
    service.intaglio("init", *ports, "--algorithm", "p-256", *init_options())
    pair(folder, "front")
    pair(folder, "site", "localhost")
    with (service.home / "intaglio.toml").open("a") as settings:
        settings.write(
            f"[health]\nport = {health_port}\n[front]\nport = {front_port}\nca_file = '{folder / 'front.crt'}'\n"
            f"peers = ['{FRONT}']\nproxy_protocol = ['{FRONT}']\n"
        )
    service.start()
    yield service
    assert service.stop() == 0


@pytest.fixture(scope="session")
def partners(fronted: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Partner]]:
    folder = tmp_path_factory.mktemp("fronted-partners")
    made = [make_partner(fronted, folder / name, "--kind", "individual", "--test") for name in ("one", "two")]
    yield made
    for partner in made:
        partner.client.close()


@pytest.fixture
def through(fronted: Served) -> Iterator[Callable[..., httpx.Client]]:
    """Return a partner's client at a proxy's port, whose certificate is the site's unless another is trusted."""
    clients: list[httpx.Client] = []

    def reach(partner: Partner | None, port: int, *, trusted: Path | None = None) -> httpx.Client:
        context = ssl.create_default_context(cafile=trusted or fronted.home.parent / "site.crt")
        if partner is not None:
            context.load_cert_chain(partner.folder / "client.crt", partner.folder / "client.key")
        transport = httpx.HTTPTransport(verify=context, local_address=CLIENT)
        made = httpx.Client(base_url=f"https://localhost:{port}/v2", transport=transport, timeout=20)
        clients.append(made)
        return made

    yield reach
    for client in clients:
        client.close()
