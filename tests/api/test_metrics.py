"""What Prometheus scrapes is what was done."""

import hashlib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from intaglio.api import gate, metrics, public, sandbox, v2
from served import ADMINISTRATION, Partner, Served, make_partner

Figures = Counter[tuple[str, tuple[tuple[str, str], ...]]]


def _figures(served: Served) -> Figures:
    found: Figures = Counter()
    for sample in served.measured():
        found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value  # type: ignore[assignment]
    return found


def _of(found: Figures, name: str, **labels: str) -> float:
    return found[f"intaglio_{name}", tuple(sorted(labels.items()))]


@pytest.fixture(scope="module")
def small(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    """An account that has ten signatures."""
    folder = tmp_path_factory.mktemp("small") / "partner"
    options = ("--kind", "organization", "--organization", "Small", "--country", "DE", "--test")
    partner = make_partner(served, folder, *options, "--quota-signatures", "10")
    yield partner
    partner.client.close()


def test_requests_are_counted_by_what_they_asked_for_and_how_they_ended(served: Served, small: Partner) -> None:
    before, began = _figures(served), time.perf_counter()
    identity = small.post("/identity", ADMINISTRATION).json()["id"]
    digest = hashlib.sha256(b"x").hexdigest()
    for _ in range(9):
        assert small.get(f"/identity/{identity}/sign/{digest}").status_code == 200
    assert small.get(f"/timestamp/{digest}").status_code == 200
    assert small.get(f"/identity/{'0' * 32}/sign/{digest}").status_code == 404
    assert small.get(f"/identity/{identity}/sign/nonsense").status_code == 422
    assert small.client.get("/trustchain").status_code == 401
    assert small.get("/no/such/address").status_code == 404
    assert small.client.post("/login", content=b"{}").status_code == 415
    assert httpx.post(f"{served.public}/ocsp", content=b"nonsense").status_code == 200
    took, after = time.perf_counter() - began, _figures(served)
    done = after - before
    requests = {
        (labels["operation"], labels["status"]): int(count)
        for (name, found), count in done.items()
        if name == "intaglio_requests_total" and (labels := dict(found)) and count
    }
    assert requests == {
        ("identity", "2xx"): 1,
        ("sign", "2xx"): 9,
        ("sign", "4xx"): 2,
        ("timestamp", "2xx"): 1,
        ("trustchain", "4xx"): 1,
        ("login", "4xx"): 1,
        ("other", "4xx"): 1,
        ("ocsp", "2xx"): 1,
        ("metrics", "2xx"): 1,
    }
    refusals = {
        dict(found)["reason"]: count for (name, found), count in done.items() if name.endswith("refusals_total")
    }
    assert {reason: count for reason, count in refusals.items() if count} == {
        "NotFound": 1,
        "Malformed": 1,
        "ContentRefused": 1,
        "TokenMissing": 1,
        "Not found": 1,
        "Unsupported media type": 1,
    }
    assert _of(done, "request_duration_seconds_count", operation="sign") == 11
    assert _of(done, "request_duration_seconds_bucket", operation="sign", le="+Inf") == 11
    assert 0 < _of(done, "request_duration_seconds_sum", operation="sign") < took
    # Nine signatures, one after the other, are nine durable commits at least.
    assert _of(done, "commit_duration_seconds_count") >= 9
    assert _of(done, "commit_writes_sum") >= _of(done, "commit_writes_count") >= 9
    assert _of(after, "requests_in_flight") == 1  # the scrape itself
    assert _of(after, "connections", listener="API") >= 1


def test_connections_that_come_to_nothing_are_counted(served: Served) -> None:
    before = _figures(served)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{served.api_port}/")  # no TLS at all
    with socket.create_connection(("127.0.0.1", served.pki_port), timeout=20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    done = _figures(served) - before
    assert _of(done, "failed_handshakes_total", listener="API") == 1
    assert _of(done, "refusals_total", reason="Malformed request") == 1


def test_an_account_is_told_of_once_most_of_its_quota_is_spent(served: Served, small: Partner) -> None:
    found = {
        (sample.labels["account"], sample.labels["resource"]): sample.value
        for sample in served.measured()
        if sample.name == "intaglio_quota_used_ratio"
    }
    assert found[small.account_id, "signatures"] == pytest.approx(0.9)
    assert (small.account_id, "timestamps") not in found


def test_what_ends_is_told_in_time(served: Served) -> None:
    found = _figures(served)
    listed = {one["name"]: one for one in served.intaglio("certificate", "list")["members"]}
    for name, one in listed.items():
        if one["not_after"] is not None:
            ends = datetime.fromisoformat(one["not_after"]).timestamp()
            assert _of(found, "certificate_not_after_timestamp_seconds", member=name) == ends
    crl = x509.load_der_x509_crl(httpx.get(f"{served.public}/crl/issuing.crl").content)
    assert crl.next_update_utc is not None
    found = _figures(served)
    assert _of(found, "crl_next_update_timestamp_seconds", issuer="issuing") == crl.next_update_utc.timestamp()
    assert _of(found, "crl_this_update_timestamp_seconds", issuer="issuing") == crl.last_update_utc.timestamp()


def test_every_address_has_a_word_of_its_own() -> None:
    routes = [
        route for module in (v2, sandbox, public, metrics) for handler in module.HANDLERS for route in handler.paths
    ]
    assert len(routes) > 15
    words = {path: gate.operation(path) for path in routes} | {
        path: gate.operation(f"/v2{path}") for path in routes if "/v2" not in path
    }
    assert "other" not in words.values(), words
    assert gate.operation("/v2/identity/x/sign/y") == "sign"
    assert {gate.operation(path) for path in ("*", "/", "//", "/v2", "/v2/", "/v2/x", "/xv2/login")} == {"other"}


def test_the_process_tells_of_itself(served: Served) -> None:
    found = {sample.name: sample for sample in served.measured()}
    assert found["intaglio_ready"].value == 1
    assert "intaglio_trouble" not in found
    assert found["process_resident_memory_bytes"].value > 1e7
    assert found["process_start_time_seconds"].value <= datetime.now(UTC).timestamp()
    version = Path("src/intaglio/__init__.py").read_text().split('__version__ = "')[1].split('"')[0]
    assert found["intaglio_build_info"].labels["version"] == version
