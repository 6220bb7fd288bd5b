"""The files for Prometheus and Grafana, tried by Prometheus itself on a service that runs."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from served import BIN, Partner, Served, free_port, run

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yaml"
_PATH = os.pathsep.join((str(BIN), os.environ["PATH"]))


# Told only where the clock is checked.
OF_CHECKED_CLOCKS = {f"intaglio_clock_{name}" for name in ("error_seconds", "accuracy_seconds", "servers")}


def tool(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found is not None, f"{name} is missing: scripts/packages test brings it"
    return found


def dashboard_queries() -> list[str]:
    board = json.loads((DEPLOY / "grafana/intaglio.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    variables = [one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    assert len(found) > 30
    return [*found, *variables]


def metrics_of(text: str) -> set[str]:
    return set(re.findall(r"\b(?:intaglio|process)_\w+", re.sub(r'"[^"]*"', "", text)))


@pytest.fixture(scope="module")
def scraped(served: Served, individual: Partner) -> str:
    individual.get("/trustchain")
    return httpx.get(f"http://127.0.0.1:{served.metrics_port}/metrics", timeout=20).text


def offered(scraped: str) -> set[str]:
    """Return every name that a scrape may have, from what it says of types: some series are there only in need."""
    found: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", scraped, re.MULTILINE):
        found |= {name} if kind in {"gauge", "counter"} else {f"{name}_{end}" for end in ("bucket", "sum", "count")}
    return found


def test_what_is_scraped_is_well_formed(scraped: str) -> None:
    run(tool("promtool"), "check", "metrics", stdin=scraped.encode())


def test_dashboard_and_alerts_ask_for_what_there_is(scraped: str) -> None:
    known = offered(scraped) | OF_CHECKED_CLOCKS
    for text in (*dashboard_queries(), re.sub(r"summary:.*|#.*", "", ALERTS.read_text())):
        assert metrics_of(text), text
        assert metrics_of(text) <= known, metrics_of(text) - known
    assert metrics_of("rate(intaglio_no_such_total[5m])") - known


def test_the_documentation_names_every_metric_and_no_other(scraped: str) -> None:
    told = set(re.findall(r"`(intaglio_\w+)`", (DEPLOY.parent / "docs/operate/watching.md").read_text()))
    found = {re.sub(r"_(bucket|sum|count)$", "", name) for name in offered(scraped) if name.startswith("intaglio_")}
    assert told == found | OF_CHECKED_CLOCKS


def test_queries_are_promql(tmp_path: Path) -> None:
    values = {"$__rate_interval": "5m", "$job": "intaglio", "$operation": ".*"}
    rules: list[dict[str, str]] = []
    for number, query in enumerate(one for one in dashboard_queries() if not one.startswith("label_values")):
        for name, value in values.items():
            query = query.replace(name, value)  # noqa: PLW2901
        rules.append({"record": f"panel:{number}", "expr": query})
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(tool("promtool"), "check", "rules", path)
    rules[0]["expr"] += ")"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert run(tool("promtool"), "check", "rules", path, check=False).returncode


# What makes each alert fire, beside what is normal: series and values, a minute apart.
FIRING: dict[str, dict[str, str]] = {
    "IntaglioDown": {'up{job="intaglio"}': "0x30"},
    "IntaglioNotReady": {"intaglio_ready": "0x30"},
    "IntaglioErrors": {
        'intaglio_requests_total{operation="sign",status="2xx"}': "0+600x30",
        'intaglio_requests_total{operation="sign",status="5xx"}': "0+60x30",
    },
    "IntaglioSlow": {
        'intaglio_request_duration_seconds_bucket{operation="sign",le="0.5"}': "0+60x30",
        'intaglio_request_duration_seconds_bucket{operation="sign",le="1.0"}': "0+66x30",
        'intaglio_request_duration_seconds_bucket{operation="sign",le="+Inf"}': "0+66x30",
    },
    "IntaglioCommitsSlow": {
        'intaglio_commit_duration_seconds_bucket{le="0.1"}': "0+60x30",
        'intaglio_commit_duration_seconds_bucket{le="0.25"}': "0+66x30",
        'intaglio_commit_duration_seconds_bucket{le="+Inf"}': "0+66x30",
    },
    "IntaglioWritesWaiting": {"intaglio_waiting_writes": "1001x30"},
    "IntaglioOverloaded": {'intaglio_refusals_total{reason="Overloaded"}': "0+1x30"},
    "IntaglioPoolLow": {
        'intaglio_pool_ready_keys{algorithm="rsa-2048"}': "15x30",
        'intaglio_pool_low_keys{algorithm="rsa-2048"}': "32x30",
    },
    "IntaglioPoolMisses": {'intaglio_pool_misses_total{algorithm="rsa-2048"}': "0+1x30"},
    "IntaglioProfileStopped": {"intaglio_stopped_profiles": "1x30"},
    "IntaglioKeyCallsHang": {"intaglio_hung_key_calls": "1x30"},
    "IntaglioCertificateEnds": {'intaglio_certificate_not_after_timestamp_seconds{member="tls"}': "2500000x30"},
    "IntaglioCertificateEndsSoon": {'intaglio_certificate_not_after_timestamp_seconds{member="tls"}': "600000x30"},
    "IntaglioListOverdue": {
        'intaglio_crl_this_update_timestamp_seconds{issuer="issuing"}': "-84000x30",
        'intaglio_crl_next_update_timestamp_seconds{issuer="issuing"}': "2400x30",
    },
    "IntaglioQuotaNearlySpent": {'intaglio_quota_used_ratio{account="a",resource="signatures"}': "0.8x30"},
    "IntaglioQuotaSpent": {'intaglio_quota_used_ratio{account="a",resource="signatures"}': "0.95x30"},
    "IntaglioClockDrifts": {"intaglio_clock_error_seconds": "0.6x30", "intaglio_clock_accuracy_seconds": "1x30"},
    "IntaglioClockUntrusted": {'intaglio_trouble{part="clock"}': "1x30"},
    "IntaglioLedgerUnsigned": {"intaglio_ledger_unsigned_timestamp_seconds": "0x30"},
    "IntaglioStrangers": {'intaglio_refusals_total{reason="Unauthenticated"}': "0+600x30"},
}


def test_each_alert_fires_on_what_it_is_about_and_else_on_nothing(tmp_path: Path) -> None:
    shutil.copy2(ALERTS, tmp_path / "alerts.yaml")
    names = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    assert names == FIRING.keys()
    quiet = Path(__file__).with_name("alerts_test.yaml")
    shutil.copy2(quiet, tmp_path / "quiet.yaml")
    assert set(re.findall(r"alertname: (\w+)", quiet.read_text())) == names
    run(tool("promtool"), "test", "rules", tmp_path / "quiet.yaml")
    for name, series in FIRING.items():
        given = [{"series": one, "values": values} for one, values in series.items()]
        # It must fire: to expect that it does not has to fail, and by that alert alone.
        test = {
            "interval": "1m",
            "input_series": given,
            "alert_rule_test": [{"eval_time": "25m", "alertname": name, "exp_alerts": []}],
        }
        document = {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": [test]}
        (tmp_path / "fires.yaml").write_text(json.dumps(document))
        done = run(tool("promtool"), "test", "rules", tmp_path / "fires.yaml", check=False)
        assert done.returncode, f"{name} does not fire"
        assert f'alertname="{name}"'.encode() in done.stdout + done.stderr, done.stdout + done.stderr


def test_prometheus_scrapes_a_service_and_its_rules_hold(served: Served, tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "etc")
    place = tmp_path / "etc/prometheus.yaml"
    text = place.read_text()
    assert "127.0.0.1:9464" in text
    place.write_text(text.replace("127.0.0.1:9464", f"127.0.0.1:{served.metrics_port}").replace("15s", "1s"))
    url = f"http://127.0.0.1:{free_port()}"
    command = [tool("prometheus"), "--config.file", str(place), "--storage.tsdb.path", str(tmp_path / "data")]
    command += ["--web.listen-address", url.removeprefix("http://"), "--log.level=error"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _settle(url, process, tmp_path / "log")
        finally:
            process.terminate()


def _settle(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def asked(path: str, **query: str) -> Any:
        try:
            return httpx.get(f"{url}/api/v1/{path}", params=query, timeout=5).json()["data"]
        except (httpx.TransportError, ValueError):
            return None

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        found = asked("query", query='intaglio_ready{job="intaglio"}')
        rules = [rule for group in (asked("rules") or {"groups": []})["groups"] for rule in group["rules"]]
        if found and found["result"] and rules and all(rule["health"] == "ok" for rule in rules):
            assert found["result"][0]["value"][1] == "1"
            assert len(rules) == len(FIRING)
            firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
            # Accounts of other tests may have spent their quota.
            assert firing <= {"IntaglioQuotaNearlySpent", "IntaglioQuotaSpent"}
            return
        time.sleep(0.2)
    raise AssertionError((log.read_text(), asked("targets"), asked("rules")))
