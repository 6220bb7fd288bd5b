"""What a collector gets: read as OTLP, by the protocol's own definition."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from intaglio.api.traced import Traced
from intaglio.service.tracing import Tracing
from intaglio.settings import TracingSettings
from served import ADMINISTRATION, Partner, Served, free_port, make_partner, tls

DIGEST = hashlib.sha256(b"x").hexdigest()
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes spans as a collector does, and keeps them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.raw = b""
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest.FromString(content)
        self.server.raw += content
        for resource in request.resource_spans:
            self.server.resources.append({one.key: one.value.string_value for one in resource.resource.attributes})
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracing")


@pytest.fixture(scope="module")
def service(folder: Path) -> Served:
    made = Served(folder / "home", free_port(), free_port())
    ports = ("--api-port", str(made.api_port), "--pki-port", str(made.pki_port))
    made.intaglio("init", "--algorithm", "p-256", *ports)
    return made


@contextmanager
def tracing(service: Served, endpoint: str, **settings: str | float) -> Iterator[None]:
    place = service.home / "intaglio.toml"
    before = place.read_text()
    lines = [f"{name} = {value!r}" for name, value in {"endpoint": endpoint, **settings}.items()]
    place.write_text(before + "\n[tracing]\n" + "\n".join(lines) + "\n")
    service.start()
    try:
        yield
    finally:
        assert service.stop() == 0
        place.write_text(before)


def signed_once(service: Served, folder: Path, partner: Partner | None = None) -> Partner:
    """Make an identity and a signature; then ask for what there is not."""
    options = ("--kind", "organization", "--organization", "Example", "--country", "DE", "--test")
    found = partner or make_partner(service, folder, *options)
    found.client.close()
    found.client = httpx.Client(base_url=service.url, verify=tls(service, found.folder), timeout=20)
    with found.client:
        found.login()
        headers = {**found.authorization, "traceparent": f"00-{TRACE}-{PARENT}-00"}
        identity = found.client.post("/identity", json=ADMINISTRATION, headers=headers).json()["id"]
        for digest, status in ((DIGEST, 200), ("no digest", 422)):
            answer = found.client.get(f"/identity/{identity}/sign/{digest}", headers=headers)
            assert answer.status_code == status
        found.credential_id = identity
    return found


def attributes(span: Span) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_request_is_shown_with_its_commit_and_its_signature(service: Served, folder: Path) -> None:
    with collecting() as collector:
        with tracing(service, collector.url, sample_ratio=1.0):
            partner = signed_once(service, folder / "partner")
        spans = collector.spans
        roots = [span for span in spans if span.name == "sign" and span.kind == Span.SPAN_KIND_SERVER]
        good, bad = sorted(roots, key=lambda span: span.start_time_unix_nano)
        below = [span for span in spans if span.parent_span_id == good.span_id]
        assert sorted(span.name for span in below) == ["commit", "sign"]
        for span in below:
            assert span.trace_id == good.trace_id
            assert good.start_time_unix_nano <= span.start_time_unix_nano
            assert span.start_time_unix_nano < span.end_time_unix_nano <= good.end_time_unix_nano
        assert attributes(good).keys() == {
            "http.request.method", "http.response.status_code", "intaglio.operation", "intaglio.request_id",
        }  # fmt: skip
        assert attributes(good)["http.response.status_code"] == 200
        assert attributes(bad)["error.type"] == "ContentRefused"
        assert bad.status.code == Status.STATUS_CODE_UNSET  # a refusal is no fault of the service
        (made,) = [span for span in spans if span.name == "identity"]
        assert {"commit", "sign"} <= {span.name for span in spans if span.trace_id == made.trace_id}
        assert {"login", "identity", "sign"} <= {span.name for span in spans if span.kind == Span.SPAN_KIND_SERVER}
        # By default nobody outside has a say in them.
        assert all(span.trace_id.hex() != TRACE and not span.links for span in spans)
        assert {resource["service.name"] for resource in collector.resources} == {"intaglio"}
        # Whose they are, and what was signed, is in the ledger alone. The control: the request id is here.
        assert str(attributes(good)["intaglio.request_id"]).encode() in collector.raw
        secrets = [*partner.secret.values(), partner.token, partner.account_id, partner.credential_id]
        for told in (*secrets, DIGEST, DIGEST.upper(), "Administration", "127.0.0.1"):
            assert told.encode() not in collector.raw

        collector.spans.clear()
        with tracing(service, collector.url, sample_ratio=1.0, traceparent="parent"):
            signed_once(service, folder, partner)
        # The caller said that it is not sampled, which is not the caller's to say.
        assert {span.name for span in collector.spans if span.trace_id.hex() == TRACE} == {"identity", "sign", "commit"}
        (made,) = [span for span in collector.spans if span.name == "identity"]
        assert made.parent_span_id.hex() == PARENT


def test_of_requests_only_the_share_that_was_asked_for_is_recorded() -> None:
    async def answered(scope: Any, _receive: object, _send: object) -> None:
        scope["state"] = {"request_id": "x"}

    async def ask(spans: Tracing, ratio: float) -> None:
        asked = Traced(answered, spans, ratio)
        for _ in range(1000):
            await asked({"type": "http", "method": "GET", "path": "/", "headers": []}, None, None)
        await spans.close()

    def recorded(ratio: float) -> int:
        with collecting() as collector:
            asyncio.run(ask(Tracing(TracingSettings(endpoint=collector.url)), ratio))
            return len(collector.spans)

    assert recorded(0.0) == 0
    assert recorded(1.0) == 1000
    # Six standard deviations from either side.
    assert 400 < recorded(0.5) < 600


def test_a_collector_that_is_away_keeps_nobody(service: Served, folder: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}/v1/traces"
    with tracing(service, away, sample_ratio=1.0, traceparent="link"):
        signed_once(service, folder / "other")
    assert b"Traceback" not in service.log.read_bytes()
