"""Proxies in front, with the shipped files: the service knows its clients as if they had come to it themselves."""

import base64
import resource
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from commands import run
from fronts import CLIENT, FRONT, Proxy, haproxy, nginx, pair, rendered
from served import JOHN_DOE, Partner, Served, free_port

DIGEST = "AB" * 32
Through = Callable[..., httpx.Client]


def changes(served: Served, front_port: int, site: int, public: int) -> dict[str, str]:
    folder = served.home.parent
    return {
        "server 192.0.2.11:8444": f"server 127.0.0.1:{front_port}",
        "    server 192.0.2.12:8444 max_fails=1 fail_timeout=5s;\n": "",
        "server 192.0.2.11:8080": f"server 127.0.0.1:{served.pki_port}",
        "    server 192.0.2.12:8080 max_fails=1 fail_timeout=5s;\n": "",
        "listen 443 ssl": f"listen 127.0.0.1:{site} ssl",
        "listen 80;": f"listen 127.0.0.1:{public};",
        "pki.example.com": "localhost",
        "/etc/intaglio-front/sign.example.com": f"{folder}/site",
        "/etc/intaglio-front/client-ca.crt": f"{served.home}/tls/client-ca.crt",
        "/etc/intaglio-front/server-ca.crt": f"{served.home}/tls/server-ca.crt",
        "/etc/intaglio-front/front": f"{folder}/front",
        "sign.example.com": "localhost",
    }


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def proxy(
    fronted: Served, front_port: int, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    text = rendered("nginx/terminating.conf", changes(fronted, front_port, *ports))
    made = nginx(tmp_path_factory.mktemp("nginx"), text, *ports)
    yield made
    made.end()


def stranger(served: Served, folder: Path) -> Partner:
    """Return somebody with a certificate that stands for itself."""
    pair(folder, "client")
    return Partner(served, folder, "", "", {}, httpx.Client())


def refused(served: Served, number: int = 1) -> list[dict[str, object]]:
    """Return the newest refusals of the ledger."""
    shown = served.intaglio("ledger", "show", "--kind", "request.refused", "--most", "1000")
    return [entry["details"] for entry in shown[-number:]]


@pytest.mark.usefixtures("proxy")
def test_a_client_of_nginx_is_who_its_certificate_says(
    fronted: Served, partners: list[Partner], ports: tuple[int, int], through: Through
) -> None:
    one = through(partners[0], ports[0])
    walk(one, partners[0])
    stamped = one.get(f"/timestamp/{DIGEST}")
    assert (stamped.status_code, stamped.headers["content-type"]) == (200, "application/json;charset=utf-8")
    # What was fetched directly is good here, too: it is the same certificate.
    assert one.get("/trustchain", headers=partners[0].authorization).status_code == 200
    # Another's token is not, and a Client-Cert of one's own is nobody's.
    assert one.get("/trustchain", headers=partners[1].authorization).status_code == 401
    theirs = (partners[1].folder / "client.crt").read_text().replace("\n", "%0A")
    forged = {**partners[1].authorization, "Client-Cert": theirs, "X-Forwarded-For": "192.0.2.99"}
    assert one.get("/trustchain", headers=forged).status_code == 401
    for told in refused(fronted, 2):
        assert told["peer"] == CLIENT
        assert told["errors"] == {"authorization": "it was issued to another client certificate"}


def walk(client: httpx.Client, partner: Partner) -> None:
    token = client.post("/login", json=partner.secret).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    identity = client.post("/identity", json=JOHN_DOE).json()["id"]
    signed = client.get(f"/identity/{identity}/sign/{DIGEST}")
    assert (signed.status_code, len(signed.json()["signature"])) == (200, 512)


def test_a_client_of_haproxy_is_who_its_certificate_says(
    fronted: Served, partners: list[Partner], front_port: int, health_port: int, through: Through, tmp_path: Path
) -> None:
    site, public, nobody = free_port(), free_port(), free_port()
    folder = fronted.home.parent
    text = rendered(
        "haproxy/terminating.cfg",
        {
            "server one 192.0.2.11:8444": f"server one 127.0.0.1:{front_port} source {FRONT}",
            # This node is away, and nobody noticed yet: it is asked for its health elsewhere.
            "192.0.2.12:8444": f"127.0.0.1:{nobody}",
            "server one 192.0.2.11:8080": f"server one 127.0.0.1:{fronted.pki_port} source {FRONT}",
            "    server two 192.0.2.12:8080\n": "",
            "check port 8081": f"check port {health_port}",
            "bind :443": f"bind 127.0.0.1:{site}",
            "bind :80": f"bind 127.0.0.1:{public}",
            "/etc/intaglio-front/sign.example.com": f"{folder}/site",
            "/etc/intaglio-front/client-ca.crt": f"{fronted.home}/tls/client-ca.crt",
            "/etc/intaglio-front/server-ca.crt": f"{fronted.home}/tls/server-ca.crt",
            "/etc/intaglio-front/front": f"{folder}/front",
            "sign.example.com": "localhost",
        },
    )
    made = haproxy(tmp_path / "haproxy", text, site, public)
    try:
        one = through(partners[0], site)
        walk(one, partners[0])
        theirs = {**partners[1].authorization, "Client-Cert": sequence(shown(partners[1]))}
        assert one.get("/trustchain", headers=theirs).status_code == 401
        assert refused(fronted)[0]["peer"] == CLIENT
        for who in None, stranger(fronted, tmp_path):
            with pytest.raises(httpx.HTTPError):
                through(who, site).get("/trustchain")
        assert httpx.get(f"http://127.0.0.1:{public}/readyz").json()["status"] == "ready"
        # Some went to the node that is away, and from there to the other (%rc of HAProxy's log).
        assert "/+1 " in made.log.read_text()
    finally:
        made.end()


@pytest.mark.parametrize("by", ["nginx", "haproxy"])
def test_tls_passed_through_is_the_service_s_own_and_the_address_the_client_s(
    fronted: Served, partners: list[Partner], health_port: int, through: Through, tmp_path: Path, by: str
) -> None:
    # One of two nodes is away.
    site, node, nobody = free_port(), f"127.0.0.1:{fronted.api_port}", f"127.0.0.1:{free_port()}"
    if by == "nginx":
        changed = {"192.0.2.12:8443": nobody, "192.0.2.11:8443": node}
        text = rendered("nginx/passthrough.conf", {**changed, "listen 443": f"listen 127.0.0.1:{site}"})
        made = nginx(tmp_path / by, text, site, stream=True)
    else:
        changed = {"192.0.2.12:8443": nobody, "192.0.2.11:8443": f"{node} source {FRONT}"}
        changed |= {"bind :443": f"bind 127.0.0.1:{site}", "check port 8081": f"check port {health_port}"}
        made = haproxy(tmp_path / by, rendered("haproxy/passthrough.cfg", changed), site)
    try:
        trusted = fronted.home / "tls/server-ca.crt"
        one = through(partners[0], site, trusted=trusted)
        walk(one, partners[0])
        again = through(partners[0], site, trusted=trusted)
        assert again.get("/trustchain", headers=partners[0].authorization).status_code == 200
        # What fields say is not heard there.
        theirs = {**partners[1].authorization, "Client-Cert": sequence(shown(partners[1])), "X-Forwarded-For": "::1"}
        assert one.get("/trustchain", headers=theirs).status_code == 401
        assert refused(fronted)[0]["peer"] == CLIENT
    finally:
        made.end()


def test_on_one_machine_a_front_may_come_by_a_unix_socket(
    fronted: Served, partners: list[Partner], front_port: int, through: Through, tmp_path: Path
) -> None:
    # A copy of the home, and so of its partners, at other addresses.
    copied = Served(tmp_path / "home", free_port(), free_port())
    shutil.copytree(fronted.home, copied.home)
    settings = copied.home / "intaglio.toml"
    text = settings.read_text().partition("[health]")[0] + "[front]\nsocket = 'front.sock'\n"
    text = text.replace(f"port = {fronted.api_port}", f"port = {copied.api_port}")
    settings.write_text(text.replace(f"port = {fronted.pki_port}", f"port = {copied.pki_port}"))
    # Whoever runs it, systemd for one, is told when it serves and when it ends.
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    supervisor.bind(str(tmp_path / "notify"))
    supervisor.settimeout(1)
    copied.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    copied.start("--workers", "2")
    try:
        assert supervisor.recv(100) == b"READY=1"
        transport = httpx.HTTPTransport(uds=str(copied.home / "front.sock"))
        fields = {**partners[0].authorization, "X-Forwarded-For": "192.0.2.7"}
        with httpx.Client(base_url="http://localhost/v2", transport=transport, timeout=20) as client:
            own = {**fields, "Client-Cert": sequence(shown(partners[0]))}
            assert client.get("/trustchain", headers=own).status_code == 200
            assert client.get("/trustchain", headers=fields).status_code == 401
        assert refused(copied)[0]["peer"] == "192.0.2.7"
        site, public = free_port(), free_port()
        text = rendered("nginx/terminating.conf", changes(fronted, front_port, site, public))
        text = text.replace(f"server 127.0.0.1:{front_port}", f"server unix:{copied.home}/front.sock")
        # The tests' own address is none for such a socket.
        text = text.replace("location / {", "location / {\nproxy_bind off;")
        proxy = nginx(tmp_path / "nginx", text.replace("https://intaglio_api", "http://intaglio_api"), site)
        answer = through(partners[0], site).get("/trustchain", headers=partners[0].authorization)
        proxy.end()
        assert answer.status_code == 200
    finally:
        assert copied.stop() == 0
    with supervisor:
        assert supervisor.recv(100) == b"STOPPING=1"


@pytest.mark.usefixtures("proxy")
def test_a_client_without_a_certificate_of_the_client_ca_does_not_pass_nginx(
    fronted: Served, ports: tuple[int, int], through: Through, tmp_path: Path
) -> None:
    # nginx lets the handshake pass and refuses the request.
    for who in None, stranger(fronted, tmp_path):
        answer = through(who, ports[0]).get("/trustchain")
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json;charset=utf-8")
        assert answer.json()["errors"] == {"client_certificate": "is missing, or not accepted"}


def test_an_nginx_that_asks_for_certificates_and_checks_none_lets_nobody_in(
    fronted: Served, partners: list[Partner], front_port: int, through: Through, tmp_path: Path
) -> None:
    site, public = free_port(), free_port()
    loose = {"ssl_verify_client on": "ssl_verify_client optional_no_ca"}
    text = rendered("nginx/terminating.conf", {**changes(fronted, front_port, site, public), **loose})
    made = nginx(tmp_path / "nginx", text, site)
    try:
        bare = through(None, site).get("/trustchain", headers=partners[0].authorization)
        assert bare.status_code == 401
        assert bare.json()["errors"] == {"client_certificate": "is missing"}
        # A certificate with the same name, of a key of one's own.
        foreign = through(stranger(fronted, tmp_path), site).get("/trustchain", headers=partners[0].authorization)
        assert foreign.status_code == 401
        assert foreign.json()["errors"] == {"client_certificate": "it was not issued to an account of this service"}
    finally:
        made.end()


@pytest.mark.usefixtures("proxy")
def test_what_the_public_may_ask_is_asked_through_nginx(ports: tuple[int, int]) -> None:
    answer = httpx.get(f"http://127.0.0.1:{ports[1]}/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")


class _Full(BaseHTTPRequestHandler):
    """A node that has no place for whoever asks for `/full`."""

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/full" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_who_asks_for_too_much_takes_the_node_from_nobody_else(
    fronted: Served, front_port: int, tmp_path: Path
) -> None:
    nodes = [ThreadingHTTPServer(("127.0.0.1", 0), _Full) for _ in range(2)]
    for node in nodes:
        threading.Thread(target=node.serve_forever, daemon=True).start()
    site, public = free_port(), free_port()
    both = "".join(f"    server 127.0.0.1:{node.server_port} max_fails=1 fail_timeout=5s;\n" for node in nodes)
    changed = changes(fronted, front_port, site, public)
    del changed["server 192.0.2.11:8080"]
    changed["    server 192.0.2.11:8080 max_fails=1 fail_timeout=5s;\n"] = both
    made = nginx(tmp_path / "nginx", rendered("nginx/terminating.conf", changed), site, public)
    try:
        found = [httpx.get(f"http://127.0.0.1:{public}/{path}").status_code for path in ("full", "full", "else")]
    finally:
        made.end()
        for node in nodes:
            node.shutdown()
            node.server_close()
    assert found == [503, 503, 200]


def test_a_node_is_asked_for_its_health_however_full_the_public_listener_is(fronted: Served, health_port: int) -> None:
    for path, status in (("healthz", 200), ("readyz", 200), ("metrics", 404), ("crl/issuing.crl", 404)):
        assert httpx.get(f"http://127.0.0.1:{health_port}/{path}").status_code == status
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    request = b"GET /ca/root.crt HTTP/1.1\r\nHost: x\r\n\r\n"
    held = []
    for _ in range(600):
        held.append(socket.create_connection(("127.0.0.1", fronted.pki_port), 5, ("127.0.0.7", 0)))
        with suppress(OSError):
            held[-1].sendall(request)
    try:
        with suppress(OSError), socket.create_connection(("127.0.0.1", fronted.pki_port), 5, ("127.0.0.7", 0)) as more:
            more.sendall(request)
            assert more.recv(1) == b"", "one address has more than a quarter"
        # Nobody else notices.
        for port in (health_port, fronted.pki_port):
            assert httpx.get(f"http://127.0.0.1:{port}/readyz").json()["status"] == "ready"
    finally:
        for one in held:
            one.close()


def test_a_front_has_as_many_connections_as_there_are(fronted: Served, front_port: int) -> None:
    """One address that is no front's has 512, at this listener, too."""
    del fronted
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for address, ended in ((FRONT, False), ("127.0.0.7", True)):
        held = [socket.create_connection(("127.0.0.1", front_port), 5, (address, 0)) for _ in range(520)]
        held[-1].settimeout(0.5)
        found = False
        try:
            found = held[-1].recv(1) == b""
        except ConnectionResetError:
            found = True
        except TimeoutError:
            pass
        finally:
            for one in held:
                one.close()
        assert found == ended, address


def test_a_node_that_is_away_is_told_apart_from_one_that_does_not_answer(
    fronted: Served, partners: list[Partner], through: Through, tmp_path: Path
) -> None:
    site, public, nobody = free_port(), free_port(), free_port()
    text = rendered("nginx/terminating.conf", changes(fronted, nobody, site, public))
    made = nginx(tmp_path / "nginx", text, site)
    try:
        answer = through(partners[0], site).get("/trustchain")
    finally:
        made.end()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json;charset=utf-8"
    assert answer.json()["description"] == "No node could be reached; nothing was done."


# What a front says, said here by the tests in its place, at its own listener.


@pytest.fixture
def front(fronted: Served, front_port: int) -> Iterator[Callable[..., httpx.Client]]:
    clients: list[httpx.Client] = []

    def be(address: str = FRONT, pem: Path | None = None) -> httpx.Client:
        context = ssl.create_default_context(cafile=fronted.home / "tls/server-ca.crt")
        chosen = pem or fronted.home.parent / "front.crt"
        context.load_cert_chain(chosen, chosen.with_suffix(".key"))
        transport = httpx.HTTPTransport(verify=context, local_address=address)
        made = httpx.Client(base_url=f"https://localhost:{front_port}/v2", transport=transport, timeout=20)
        clients.append(made)
        return made

    yield be
    for client in clients:
        client.close()


def shown(partner: Partner) -> bytes:
    return run("openssl", "x509", "-in", partner.folder / "client.crt", "-outform", "DER").stdout


def sequence(der: bytes) -> str:
    return f":{base64.b64encode(der).decode()}:"


NEITHER = "the front's Client-Cert is neither a byte sequence (RFC 9440) nor PEM"


AMISS: list[tuple[list[str], str]] = [
    ([], "is missing"),
    ([""], NEITHER),
    ([":"], NEITHER),
    (["::"], NEITHER),
    ([":MII*:"], NEITHER),
    (["MIIB"], NEITHER),
    (["-----BEGIN%20CERTIFICATE-----%0A!%0A-----END%20CERTIFICATE-----%0A"], NEITHER),
    ([":AAAA:"], "it was not issued to an account of this service"),
    (["{own}", "{own}"], "the front sent more than one Client-Cert"),
    (["{own}, {own}"], NEITHER),
]


def test_what_a_front_says_amiss_is_refused_and_recorded(
    fronted: Served, partners: list[Partner], front: Callable[..., httpx.Client]
) -> None:
    own = sequence(shown(partners[0]))
    for values, wrong in AMISS:
        fields = [("Client-Cert", value.replace("{own}", own)) for value in values]
        answer = front().get("/trustchain", headers=[*fields, *partners[0].authorization.items()])
        assert (answer.status_code, answer.json()["errors"]) == (401, {"client_certificate": wrong})
    told = refused(fronted, len(AMISS))
    assert [one["errors"] for one in told] == [{"client_certificate": wrong} for _, wrong in AMISS]
    assert {one["peer"] for one in told} == {FRONT}


def test_what_a_front_says_is_believed_of_the_front_alone(
    partners: list[Partner], front: Callable[..., httpx.Client]
) -> None:
    fields = {**partners[0].authorization, "Client-Cert": sequence(shown(partners[0]))}
    assert front().get("/trustchain", headers=fields).status_code == 200
    elsewhere = front("127.0.0.3").get("/trustchain", headers=fields)
    assert elsewhere.status_code == 401
    assert elsewhere.json()["errors"] == {"client_certificate": "this is not the front's address"}
    # Without the front's certificate there is no connection: a partner's is none.
    with pytest.raises(httpx.HTTPError):
        front(FRONT, partners[1].folder / "client.crt").get("/trustchain", headers=fields)
    # At the API's own listener the field says nothing, and the front's certificate opens nothing.
    assert partners[1].client.get("/trustchain", headers=fields).status_code == 401
    assert partners[1].client.get("/trustchain", headers={**fields, **partners[1].authorization}).status_code == 200
    too_long = front().get("/trustchain", headers={**fields, "Client-Cert": f":{'A' * 20000}:"})
    assert too_long.status_code == 431


# The last one: it takes a partner away.
@pytest.mark.usefixtures("proxy")
def test_a_certificate_revoked_is_refused_within_a_second_on_a_connection_that_is_open(
    fronted: Served, partners: list[Partner], ports: tuple[int, int], through: Through
) -> None:
    partner = partners[1]
    client = through(partner, ports[0])
    assert client.get("/trustchain", headers=partner.authorization).status_code == 200
    fronted.intaglio("credential", "revoke", partner.credential_id)
    time.sleep(1.0)
    assert client.get("/trustchain", headers=partner.authorization).status_code == 401
