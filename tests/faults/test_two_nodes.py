"""Two nodes behind a proxy under load, one killed, one rolled: with one retry no request fails, and nothing is lost."""

import hashlib
import logging
import os
import shutil
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from custody import hsm_options
from fronts import FRONT, Proxy, haproxy, nginx, pair, rendered
from postgres import Server
from served import JOHN_DOE, Served, free_port, make_partner, tls

_log = logging.getLogger(__name__)

CLIENTS = 4
# nginx or haproxy
BY = os.environ.get("INTAGLIO_TEST_FRONT", "nginx")
# nginx leaves a node that failed out for five seconds: the next one is only rolled when the first is back.
OUT_SECONDS = 5.5


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Served]]:
    folder, store = tmp_path_factory.mktemp("nodes"), Server()
    made = [Served(folder / name, free_port(), free_port()) for name in ("one", "two")]
    ports = ("--api-port", str(made[0].api_port), "--pki-port", str(made[0].pki_port), "--algorithm", "p-256")
    made[0].intaglio("init", *ports, "--database", store.new_database(), *hsm_options())
    # One home for both, as compose and the chart have it; only their addresses differ here.
    (made[0].home / "heads").mkdir(exist_ok=True)
    made[1].home.mkdir(mode=0o700)
    for part in made[0].home.iterdir():
        (made[1].home / part.name).symlink_to(part)
    (made[1].home / "intaglio.toml").unlink()
    shutil.copy(made[0].home / "intaglio.toml", made[1].home)
    pair(folder, "front")
    pair(folder, "site", "localhost")
    for node in made:
        settings = node.home / "intaglio.toml"
        text = settings.read_text().replace(f"port = {made[0].api_port}", f"port = {node.api_port}")
        text = text.replace(f"port = {made[0].pki_port}", f"port = {node.pki_port}")
        front = f"[front]\nport = {free_port()}\nca_file = '{folder / 'front.crt'}'\npeers = ['{FRONT}']\n"
        settings.write_text(f"{text}[health]\nport = {free_port()}\n{front}")
        node.start()
    yield made
    for node in made:
        node.stop()
    store.end()


@pytest.fixture(scope="module")
def proxy(nodes: list[Served], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, int]]:
    folder, port, public = nodes[0].home.parent, free_port(), free_port()
    changes = {
        "/etc/intaglio-front/sign.example.com": f"{folder}/site",
        "/etc/intaglio-front/client-ca.crt": f"{nodes[0].home}/tls/client-ca.crt",
        "/etc/intaglio-front/server-ca.crt": f"{nodes[0].home}/tls/server-ca.crt",
        "/etc/intaglio-front/front": f"{folder}/front",
        "sign.example.com": "localhost",
    }
    if BY == "nginx":
        changes["listen 443 ssl"] = f"listen 127.0.0.1:{port} ssl"
        changes["listen 80;"] = f"listen 127.0.0.1:{public};"
        changes["pki.example.com"] = "localhost"
    else:
        changes["bind :443"] = f"bind 127.0.0.1:{port}"
        changes["bind :80"] = f"bind 127.0.0.1:{public}"
        changes["check port 8081 "] = ""
    for place, node in enumerate(nodes):
        text = (node.home / "intaglio.toml").read_text()
        fronts, healths = (text.partition(f"[{one}]\nport = ")[2].partition("\n")[0] for one in ("front", "health"))
        # HAProxy takes the address that it comes from, and where it asks for health, with each server.
        more = "" if BY == "nginx" else f" source {FRONT} check port {healths}"
        changes[f"192.0.2.1{place + 1}:8444"] = f"127.0.0.1:{fronts}{more}"
        changes[f"192.0.2.1{place + 1}:8080"] = f"127.0.0.1:{node.pki_port}{more}"
    begin = {"nginx": nginx, "haproxy": haproxy}[BY]
    shipped = {"nginx": "nginx/terminating.conf", "haproxy": "haproxy/terminating.cfg"}[BY]
    made = begin(tmp_path_factory.mktemp("proxy"), rendered(shipped, changes), port)
    yield made, port
    made.end()


class Load:
    """Clients that sign one digest after the other, each with one retry."""

    def __init__(self, url: str, context: ssl.SSLContext, token: str, identity: str) -> None:
        self.signed: dict[bytes, bytes] = {}
        self.again: list[str] = []
        self.failed: list[str] = []
        self._ended = threading.Event()
        self._target = (url, context, token, identity)
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, place: int) -> None:
        url, context, token, identity = self._target
        count = 0
        with httpx.Client(base_url=url, verify=context, timeout=20) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            while not self._ended.is_set():
                count += 1
                digest = hashlib.sha256(f"{place}/{count}".encode()).digest()
                told = self._sign(client, identity, digest)
                if told:
                    self.again.append(told)
                    time.sleep(1)
                    told = self._sign(client, identity, digest)
                    if told:
                        self.failed.append(told)
                time.sleep(0.01)

    def _sign(self, client: httpx.Client, identity: str, digest: bytes) -> str:
        try:
            answer = client.get(f"/identity/{identity}/sign/{digest.hex()}")
        except httpx.HTTPError as error:
            return repr(error)
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text}"
        self.signed[digest] = bytes.fromhex(answer.json()["signature"])
        return ""

    def wait(self, seconds: float, more: int) -> None:
        """Let so much time pass, and until so many more were signed."""
        until, wanted = time.monotonic() + seconds, len(self.signed) + more
        while time.monotonic() < until or (len(self.signed) < wanted and time.monotonic() < until + 30):
            time.sleep(0.05)
        assert len(self.signed) >= wanted

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def test_one_is_killed_and_one_is_rolled_and_no_request_fails(
    nodes: list[Served], proxy: tuple[Proxy, int], tmp_path: Path
) -> None:
    partner = make_partner(nodes[0], tmp_path / "p", "--kind", "individual", "--test")
    context = tls(nodes[0], partner.folder)
    context.load_verify_locations(nodes[0].home.parent / "site.crt")
    made = partner.post("/identity", JOHN_DOE).json()
    load = Load(f"https://localhost:{proxy[1]}/v2", context, partner.token, made["id"])
    try:
        load.wait(0.5, 50)
        assert nodes[0].stop(signal.SIGKILL) == -signal.SIGKILL
        load.wait(0.5, 50)
        nodes[0].start()
        load.wait(OUT_SECONDS, 50)
        assert nodes[1].stop() == 0
        load.wait(0.5, 50)
        nodes[1].start()
        load.wait(0.5, 50)
    finally:
        load.end()
        with suppress(OSError):
            partner.client.close()
    assert load.failed == []
    # One of them was noticed: otherwise nothing was tried.
    assert load.again or "/+1 " in proxy[0].log.read_text()
    key = x509.load_pem_x509_certificate(made["signing_cert"].encode()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    for digest, signature in load.signed.items():
        key.verify(signature, digest, padding.PKCS1v15(), Prehashed(SHA256()))
    nodes[1].intaglio("ledger", "verify")
    wanted = ("--account", partner.account_id, "--kind", "signature.made", "--most", "99999")
    told = [entry["details"]["digest"] for entry in nodes[0].intaglio("ledger", "show", *wanted)]
    assert {digest.hex() for digest in load.signed} <= set(told)
    # What a node did and could not say any more is there, too, and nothing else.
    assert len(load.signed) <= len(told) <= len(load.signed) + len(load.again)
    _log.info("%d signed, %d entries, again: %s", len(load.signed), len(told), [one[:3] for one in load.again])
