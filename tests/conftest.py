"""Fixtures: one service for the whole run, with an account of two kinds."""

import os
from collections.abc import Iterator

import pytest

from custody import begin, end, init_options
from served import Partner, Served, free_port, make_partner

os.environ.pop("INTAGLIO_HOME", None)
# Hundreds of commands are run: what they load is compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Before any test asks: a module reads its configuration once in a process.
begin()


def pytest_unconfigure() -> None:
    end()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("service") / "home"
    service = Served(home, free_port(), free_port(), metrics_port=free_port())
    service.intaglio("init", "--api-port", str(service.api_port), "--pki-port", str(service.pki_port), *init_options())
    with (home / "intaglio.toml").open("a") as settings:
        settings.write(f"\n[metrics]\nport = {service.metrics_port}\n")
    service.start()
    yield service
    assert service.stop() == 0


@pytest.fixture(scope="session")
def individual(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    folder = tmp_path_factory.mktemp("partners") / "individual"
    partner = make_partner(served, folder, "--kind", "individual")
    yield partner
    partner.client.close()


@pytest.fixture(scope="session")
def organization(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    folder = tmp_path_factory.mktemp("partners") / "organization"
    options = ("--kind", "organization", "--organization", "Müller & Söhne GmbH", "--country", "DE", "--test")
    partner = make_partner(served, folder, *options)
    yield partner
    partner.client.close()
