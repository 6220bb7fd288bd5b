"""`GET /metrics`: how the service is doing, in the text format of Prometheus."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from intaglio import __version__
from intaglio.errors import IntaglioError
from intaglio.histogram import Histogram
from intaglio.ledger.tree import Signed
from intaglio.pki.hierarchy import State
from intaglio.service.composition import Service
from intaglio.service.figures import Listening
from intaglio.service.stored import MOST_QUOTAS, QUOTA_SHARE, stored

# What the database has to say is left out when it takes longer: it is then that the rest is wanted.
_DATABASE_SECONDS = 2.0


class _Found(Collector):
    """What was looked up before it is written: looking takes the database, writing takes nothing."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self._families


@get("/metrics")
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the figures of this process, and of what is in the database that all share."""
    service: Service = request.app.state.service
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Found([*_process(service), *_requests(service), *await _state(service), *await _store(service)]))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST, headers={"cache-control": "no-store"})


def _process(service: Service) -> list[Metric]:
    engine, pool = service.engine, service.engine.pool
    build = GaugeMetricFamily("intaglio_build_info", "Always 1.", labels=["version", "database", "identity_keys"])
    build.add_metric([__version__, service.home.engine.dialect.name, service.home.identities], 1)
    return [
        build,
        _gauge("intaglio_requests_in_flight", "Requests being answered.", service.figures.in_flight),
        *_listeners(service.figures.listeners),
        _gauge("intaglio_waiting_writes", "Writes that wait for the database.", engine.commits.waiting),
        _histogram("intaglio_commit_writes", "Writes in one commit.", engine.commits.sizes),
        _histogram("intaglio_commit_duration_seconds", "How long commits took.", engine.commits.durations),
        _gauge("intaglio_live_keys", "Identities' keys open in this process.", len(engine.live)),
        _gauge("intaglio_waiting_key_calls", "Calls that wait for a thread to sign in.", engine.lanes.waiting),
        _gauge(
            "intaglio_hung_key_calls",
            "Calls of the keys' store that have not come back in time.",
            engine.lanes.lost + pool.hung,
        ),
        _labelled(
            CounterMetricFamily("intaglio_pool_taken_keys", "Keys that identities asked for.", labels=["algorithm"]),
            pool.taken,
        ),
        _labelled(
            CounterMetricFamily("intaglio_pool_misses", "Keys asked for when none was ready.", labels=["algorithm"]),
            pool.misses,
        ),
    ]


def _listeners(found: Sequence[Listening]) -> Iterator[Metric]:
    by = ["listener"]
    opened = GaugeMetricFamily("intaglio_connections", "Open connections.", labels=by)
    yield _labelled(opened, {one.name: one.busy() for one in found})
    failed = CounterMetricFamily("intaglio_failed_handshakes", "Connections that did not get past TLS.", labels=by)
    yield _labelled(failed, {one.name: one.failed_handshakes for one in found})
    away = CounterMetricFamily("intaglio_turned_away_connections", "Connections beyond limits.connections.", labels=by)
    yield _labelled(away, {one.name: one.turned_away for one in found})


def _requests(service: Service) -> list[Metric]:
    figures = service.figures
    ended = CounterMetricFamily("intaglio_requests", "Requests answered.", labels=["operation", "status"])
    took = HistogramMetricFamily(
        "intaglio_request_duration_seconds", "From the head of a request to its answer.", labels=["operation"]
    )
    for name, operation in figures.operations.items():
        for digit, count in enumerate(operation.ended):
            if count:
                ended.add_metric([name, f"{digit}xx" if digit else "none"], count)
        took.add_metric([name], operation.took.cumulated(), operation.took.total)
    refused = CounterMetricFamily(
        "intaglio_refusals", "Requests refused, and those that failed, by the kind of error.", labels=["reason"]
    )
    return [ended, took, _labelled(refused, figures.refusals)]


async def _state(service: Service) -> list[Metric]:
    troubles = await service.ready()
    trouble = GaugeMetricFamily("intaglio_trouble", "A part that keeps the service from working.", labels=["part"])
    ends = GaugeMetricFamily(
        "intaglio_certificate_not_after_timestamp_seconds",
        "When the certificate of a member of the hierarchy ends.",
        labels=["member"],
    )
    return [
        _gauge("intaglio_ready", "Whether requests should be sent here.", not troubles),
        _labelled(trouble, dict.fromkeys(troubles, 1)),
        _labelled(ends, await asyncio.to_thread(_ends, service)),
        *_clock(service),
    ]


def _ends(service: Service) -> dict[str, float]:
    roster = service.serving.roster
    members = () if roster is None else roster.members
    return {
        one.name: service.home.certificate(one.name).not_valid_after_utc.timestamp()
        for one in members
        if one.state == State.ACTIVE
    }


async def _store(service: Service) -> list[Metric]:
    """Return what the database says, which every process of it says alike; nothing while it does not answer."""
    engine = service.engine
    now = engine.clock.now()
    try:
        reading = engine.commits.read(lambda connection: stored(connection, engine.pool, now))
        found = await asyncio.wait_for(reading, _DATABASE_SECONDS)
    except (IntaglioError, TimeoutError):
        return []
    used = GaugeMetricFamily(
        "intaglio_quota_used_ratio",
        f"The spent share of a quota, of the {MOST_QUOTAS} that are nearest to their end and spent to {QUOTA_SHARE}.",
        labels=["account", "resource"],
    )
    for one in found.quotas:
        used.add_metric([one.account_id, one.resource], one.share)
    pools = {name: _pool(name, text) for name, text in _POOL.items()}
    for depth in found.pool:
        for name, family in pools.items():
            family.add_metric([depth.algorithm], getattr(depth, name))
    return [
        _gauge(
            "intaglio_stopped_profiles",
            "Certificate profiles that issue nothing until they are resumed.",
            found.stopped_profiles,
        ),
        *pools.values(),
        used,
        *_lists(found.lists),
        *_head(found.head, found.unsigned_since),
    ]


_POOL: Mapping[str, str] = {
    "ready": "Keys ready for identities.",
    "low": "The low water mark.",
    "high": "The high water mark.",
    "made_last_minute": "Keys made in the last minute.",
}


def _pool(name: str, text: str) -> GaugeMetricFamily:
    end = "" if name == "made_last_minute" else "_keys"
    return GaugeMetricFamily(f"intaglio_pool_{name}{end}", text, labels=["algorithm"])


def _lists(found: Iterable[tuple[str, datetime, datetime]]) -> Iterator[Metric]:
    begin = GaugeMetricFamily(
        "intaglio_crl_this_update_timestamp_seconds", "When a CA's last CRL was made.", labels=["issuer"]
    )
    end = GaugeMetricFamily(
        "intaglio_crl_next_update_timestamp_seconds", "When a CA's last CRL is no longer current.", labels=["issuer"]
    )
    for issuer, this_update, next_update in found:
        begin.add_metric([issuer], this_update.timestamp())
        end.add_metric([issuer], next_update.timestamp())
    yield begin
    yield end


def _head(found: Signed | None, unsigned: datetime | None) -> Iterator[Metric]:
    since = None if unsigned is None else unsigned.timestamp()
    name = "intaglio_ledger_unsigned_timestamp_seconds"
    yield _gauge(name, "When the oldest entry of the ledger that is under no head was written.", since)
    if found is not None:
        name = "intaglio_ledger_head_timestamp_seconds"
        yield _gauge(name, "When the newest head of the ledger was signed.", found.at.timestamp())
        yield _gauge("intaglio_ledger_head_entries", "Entries under the newest head of the ledger.", found.size)


def _clock(service: Service) -> Iterator[Metric]:
    trust = service.engine.trust
    if not trust.checked:
        return
    error = trust.error(service.engine.clock.now())
    yield _gauge("intaglio_clock_error_seconds", "How far the clock may be off; +Inf if that is not known.", error)
    accuracy = service.home.settings.timestamp.accuracy_ms / 1000
    yield _gauge("intaglio_clock_accuracy_seconds", "How far it may be off before nothing is stamped.", accuracy)
    servers = GaugeMetricFamily("intaglio_clock_servers", "Time servers that are of no use.", labels=["state"])
    said = trust.said
    yield _labelled(servers, {} if said is None else {"wrong": len(said.wrong), "silent": len(said.silent)})


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(family: Metric, values: Mapping[Any, float]) -> Metric:
    """Return a family of one label with a value for each of its values."""
    for name, value in values.items():
        family.add_metric([str(name)], value)  # type: ignore[attr-defined]
    return family


def _histogram(name: str, text: str, found: Histogram) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, buckets=found.cumulated(), sum_value=found.total)


HANDLERS: list[HTTPRouteHandler] = [metrics]
