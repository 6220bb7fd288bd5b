"""`GET /metrics`: how the service is doing, in the text format of Prometheus."""

from collections.abc import Iterator
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from intaglio.accounts.profiles.register import every_stop
from intaglio.keys.register import depths
from intaglio.service.composition import Service


class _Found(Collector):
    """What was looked up before it is written: looking takes the database, writing takes nothing."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self._families


@get("/metrics")
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the figures of this process, and of the pool that all share."""
    service: Service = request.app.state.service
    registry = CollectorRegistry()
    registry.register(_Found(await _families(service)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST, headers={"cache-control": "no-store"})


async def _families(service: Service) -> list[Metric]:
    engine = service.engine
    pool = engine.pool
    now = engine.clock.now()

    found = await engine.commits.read(lambda c: depths(c, pool.custody.form, pool.rules.marks, now))
    ready = GaugeMetricFamily("intaglio_pool_ready_keys", "Keys ready for identities.", labels=["algorithm"])
    low = GaugeMetricFamily("intaglio_pool_low_keys", "The low water mark.", labels=["algorithm"])
    high = GaugeMetricFamily("intaglio_pool_high_keys", "The high water mark.", labels=["algorithm"])
    refill = GaugeMetricFamily("intaglio_pool_made_last_minute", "Keys made in the last minute.", labels=["algorithm"])
    taken = CounterMetricFamily("intaglio_pool_taken_keys", "Keys that identities asked for.", labels=["algorithm"])
    missed = CounterMetricFamily("intaglio_pool_misses", "Keys asked for when none was ready.", labels=["algorithm"])
    for one in found:
        ready.add_metric([one.algorithm], one.ready)
        low.add_metric([one.algorithm], one.low)
        high.add_metric([one.algorithm], one.high)
        refill.add_metric([one.algorithm], one.made_last_minute)
        taken.add_metric([one.algorithm], pool.taken[one.algorithm])
        missed.add_metric([one.algorithm], pool.misses[one.algorithm])
    live = GaugeMetricFamily("intaglio_live_keys", "Identities' keys open in this process.", value=len(engine.live))
    lost = GaugeMetricFamily(
        "intaglio_hung_key_calls", "Calls of the keys' store that have not come back in time.", value=engine.lanes.lost
    )
    stopped = GaugeMetricFamily(
        "intaglio_stopped_profiles",
        "Certificate profiles that issue nothing until they are resumed.",
        value=len(await engine.commits.read(every_stop)),
    )
    return [stopped, ready, low, high, refill, taken, missed, live, lost]


HANDLERS: list[HTTPRouteHandler] = [metrics]
