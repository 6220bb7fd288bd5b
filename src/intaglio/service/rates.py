"""How fast accounts may be: by the settings, and by an act that gives one a rate of its own."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import own_rates, register
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import Rate, rate
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.act import Act, Seen, says
from intaglio.service.home import Home
from intaglio.settings import RateSettings, RatesSettings


class SetRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast an account may have something; None: as fast as the settings say."""

    account: str
    resource: Resource
    rate: RateSettings | None = None


def rate_of(found: RateSettings) -> Rate:
    """Return a rate as it is in the settings."""
    return rate(found.per_second, found.burst)


def usual_rates(found: RatesSettings) -> dict[Resource, Rate]:
    """Return how fast accounts may be that have no rates of their own."""
    return {resource: rate_of(getattr(found, resource)) for resource in Resource}


def rates_told(home: Home, connection: Connection, account_id: str) -> dict[str, dict[str, Any]]:
    """Return an account's rates as commands tell of them."""
    own, told = own_rates.own(connection, account_id), {}
    for resource in Resource:
        usual: RateSettings = getattr(home.settings.rates, resource)
        per_second, burst = own.get(resource, (usual.per_second, usual.burst))
        of = "account" if resource in own else "settings"
        told[str(resource)] = {"per_second": per_second, "burst": burst, "of": of}
    return told


def _look_at_rate(home: Home, connection: Connection, asked: SetRate, _now: datetime) -> Seen:
    account = register.find(connection, asked.account)
    about = {"account": account.id, "name": account.name, "resource": asked.resource}
    before = {**about, "rate": rates_told(home, connection, account.id)[asked.resource]}
    after = {**about, "rate": "as in the settings" if asked.rate is None else msgspec.to_builtins(asked.rate)}
    return Seen(before, after, account.id, guarded=account.hierarchy == Hierarchy.PRODUCTION)


def _set_rate(home: Home, connection: Connection, asked: SetRate, now: datetime) -> Any:
    wanted = None if asked.rate is None else (asked.rate.per_second, asked.rate.burst)
    own_rates.set_rate(connection, home.chain, asked.account, asked.resource, wanted, now)
    told = rates_told(home, connection, asked.account)[asked.resource]
    return {"account_id": asked.account, "resource": asked.resource, **told}


RATE_ACTS: Mapping[str, Act] = {
    "account.rate": Act(SetRate, _look_at_rate, says("resource", "rate"), inside=_set_rate),
}
