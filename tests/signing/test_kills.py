"""kill -9 while identities are made: no key is ever certified twice, and what clients got is on record."""

import json
import secrets
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from served import JOHN_DOE, Served, make_partner, small_service, tls

KILLS = 5
CLIENTS = 8
RATES = "[rates]\nidentities = { per_second = 10000, burst = 10000 }\n"


def test_no_key_serves_two_identities_whenever_the_service_dies(tmp_path: Path) -> None:
    service = small_service(tmp_path / "home", "[pool.marks.p-256]\nlow = 60\nhigh = 120\n" + RATES)
    service.start()
    try:
        received = driven(service, tmp_path)
    finally:
        assert service.stop() == 0
    check(service, received)


def driven(service: Served, tmp_path: Path) -> list[dict[str, Any]]:
    """Have clients ask for identities while the service is killed and started again; return what they received."""
    partner = make_partner(service, tmp_path / "partner", "--kind", "individual", "--test")
    policy = partner.get("/validationpolicy").json() | {"public_key": {"key_type": "ECDSA", "allowed_lengths": [256]}}
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    service.intaglio("policy", "set", partner.account_id, "--file", tmp_path / "policy.json")
    received: list[dict[str, Any]] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=service.url, verify=tls(service, partner.folder), timeout=5) as client:
            while not ended.is_set():
                try:
                    answer = client.post("/identity", json=JOHN_DOE, headers=partner.authorization)
                except httpx.HTTPError:
                    time.sleep(0.05)
                    continue
                if answer.status_code == 200:
                    received.append(answer.json())
                else:
                    assert answer.status_code == 503, answer.text

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            time.sleep(0.4 + secrets.randbelow(500) / 1000)
            assert service.stop(signal.SIGKILL) == -signal.SIGKILL
            service.start()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    partner.client.close()
    return received


def check(service: Served, received: list[dict[str, Any]]) -> None:
    assert len(received) > 5 * KILLS
    with sqlite3.connect(service.home / "intaglio.db") as connection:
        ders = [der for (der,) in connection.execute("SELECT der FROM certificates WHERE profile LIKE 'signing-%'")]
        identities = {one for (one,) in connection.execute("SELECT id FROM identities")}
        claimed = "SELECT count(*) FROM identity_keys WHERE claimed_by IS NOT NULL AND certified_at IS NULL"
        (wasted,) = connection.execute(claimed).fetchone()
    issued = [x509.load_der_x509_certificate(der) for der in ders if der is not None]
    keys = [one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in issued]
    assert len(set(keys)) == len(keys)
    # Every identity that a client has is on record, and none has more than one certificate.
    assert {one["id"] for one in received} <= identities
    assert len({one["signing_cert"] for one in received}) == len(received)
    assert service.intaglio("ledger", "verify")["entries"] > len(received)
    # What dies with a process is bounded: what it had claimed ahead.
    assert wasted <= KILLS * 2 * 32
