"""What a client must not have sent where it did: planted everywhere, and found nowhere."""

import json
import secrets

import httpx

from served import Partner, Served


def test_a_secret_that_comes_by_any_way_is_kept_nowhere(organization: Partner, served: Served) -> None:
    api_secret = secrets.token_hex(20)
    jwt = f"eyJhbGciOiJIUzI1NiJ9.eyJ{secrets.token_hex(12)}.{secrets.token_urlsafe(24)}"
    marker = f"marker{secrets.token_hex(6)}"
    client = organization.client
    for planted in (api_secret, api_secret.upper(), jwt):
        header = {**organization.authorization, "Content-Type": "application/json;charset=utf-8"}
        client.post("/login", json={"api_key": "0" * 16, "api_secret": planted})
        client.post("/login", json={"api_key": planted, "api_secret": planted})
        client.post("/login", content=f'{{"api_secret": "{planted}"'.encode(), headers=header)
        client.get("/trustchain", headers={"Authorization": f"Bearer {planted}"})
        client.get("/trustchain", headers={"Authorization": planted})
        client.get(f"/timestamp/{planted}", headers=header)
        client.get(f"/nowhere/{planted}?token={planted}", headers=header)
        client.post("/identity", json={planted: planted, "subject_dn": {planted: planted}}, headers=header)
        client.post("/identity", json={"subject_dn": {"common_name": planted}}, headers=header)
        client.post("/identity", json={}, headers={**header, "Identity-Token": planted})
        httpx.get(f"{served.public}/crl/{planted}?{planted}")
    client.get(f"/nowhere/{marker}", headers=organization.authorization)
    ledger = json.dumps(served.intaglio("ledger", "show", "--most", "10000"))
    figures = httpx.get(f"http://127.0.0.1:{served.metrics_port}/metrics", timeout=20).text
    log = served.log.read_text()
    # The control: this is where such things would be.
    assert marker in log
    assert marker in ledger
    for place, text in {"log": log, "ledger": ledger, "metrics": figures}.items():
        for planted in (api_secret, jwt, jwt.rpartition(".")[0]):
            assert planted.lower() not in text.lower(), place
