"""What others take for the same: cfssl for issuance, OpenSSL's own responder and time-stamping for OCSP and RFC 3161.

They do less: none writes a record, checks a policy or a quota, or knows its caller. Each has a key of RSA-2048, as the
service has; CPU is theirs alone.
"""

import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPRequestBuilder
from load import Load, Plan
from measurement import CONNECTIONS, Counts, Row
from raw import rsa_signatures_per_cpu_second

_TICK = os.sysconf("SC_CLK_TCK")
_TSA = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3
digests = sha256
accuracy = secs:1
"""


def peers(counts: Counts) -> list[Row]:
    """Measure those that are installed; who is missing is said."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="intaglio-peers-") as name:
        folder = Path(name)
        _certificates(folder)
        for program, look in (("cfssl", _cfssl), ("openssl", _ocsp), ("openssl", _stamps)):
            if shutil.which(program) is None:
                print(f"peers: {program} is not installed")
                continue
            before = rsa_signatures_per_cpu_second(1.0)
            row, rate, unit = look(folder, counts)
            raw = (before + rsa_signatures_per_cpu_second(1.0)) / 2
            rows.append(Row(row, rate, unit, raw))
    return rows


def _certificates(folder: Path) -> None:
    """Make a CA, and certificates of a responder, a TSA and somebody else, by openssl."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=CA")
    purposes = {"ocsp": "OCSPSigning", "tsa": "critical,timeStamping", "one": "emailProtection"}
    for name, purpose in purposes.items():
        (folder / f"{name}.ext").write_text(f"extendedKeyUsage={purpose}\nkeyUsage=critical,digitalSignature\n")
        csr = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("req", "-new", *csr)
        issuer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", "30", *issuer)


def _cfssl(folder: Path, counts: Counts) -> tuple[str, float, str]:
    """Have cfssl sign certificates by its HTTP interface, over connections that are kept."""
    usage = {"signing": {"default": {"expiry": "1h", "usages": ["digital signature"]}}}
    (folder / "cfssl.json").write_text(json.dumps(usage))
    port = _free_port()
    ca = ("-ca", "ca.pem", "-ca-key", "ca.key", "-config", "cfssl.json")
    body = json.dumps({"certificate_request": (folder / "one.csr").read_text()}).encode()
    headers = {"Content-Type": "application/json"}
    plan = Plan(port, "POST", ["/api/v1/cfssl/sign"], headers, body, CONNECTIONS)
    command = ("cfssl", "serve", "-address", "127.0.0.1", "-port", str(port), *ca)
    with _child(folder, port, *command) as cpu_seconds, Load(plan) as load:
        load.run(200)
        before = cpu_seconds()
        made = load.run(counts.identities).requests
        return "peer_cfssl_certificates_per_cpu_s", made / (cpu_seconds() - before), "certificates/CPU s, cfssl serve"


def _ocsp(folder: Path, counts: Counts) -> tuple[str, float, str]:
    """Ask openssl's responder, which takes one request of each connection."""
    certificate, issuer = (x509.load_pem_x509_certificate((folder / f"{n}.pem").read_bytes()) for n in ("one", "ca"))
    (folder / "index.txt").write_text(f"V\t400101000000Z\t\t{certificate.serial_number:X}\tunknown\t/CN=one\n")
    request = OCSPRequestBuilder().add_certificate(certificate, issuer, SHA256()).build().public_bytes(Encoding.DER)
    head = b"POST / HTTP/1.0\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n" % len(request)
    port = _free_port()
    signer = ("-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ocsp.pem", "-rkey", "ocsp.key")
    with _child(folder, port, "openssl", "ocsp", "-port", str(port), *signer) as cpu_seconds:
        before = cpu_seconds()
        number = counts.identities
        for _ in range(number):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(head + request)
                answer = connection.recv(65536)
            if b"200 OK" not in answer:
                raise RuntimeError(f"openssl ocsp: {answer[:80]!r}")
        return "peer_openssl_ocsp_per_cpu_s", number / (cpu_seconds() - before), "answers/CPU s, openssl ocsp"


def _stamps(folder: Path, counts: Counts) -> tuple[str, float, str]:
    """Have openssl stamp, a process for each as it is made to be used."""
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(_TSA.format(folder=folder))
    query = ("openssl", "ts", "-query", "-data", "ca.pem", "-sha256", "-cert", "-out", "query.tsq")
    subprocess.run(query, cwd=folder, check=True, capture_output=True, timeout=60)
    signer = ("-config", "tsa.cnf", "-signer", "tsa.pem", "-inkey", "tsa.key")
    reply = ("openssl", "ts", "-reply", "-queryfile", "query.tsq", *signer, "-out", "reply.tsr")
    number = counts.identities // 8
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(number):
        subprocess.run(reply, cwd=folder, check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return "peer_openssl_ts_per_cpu_s", number / spent, "time-stamps/CPU s, openssl ts"


@contextmanager
def _child(folder: Path, port: int, *command: str) -> Iterator[Callable[[], float]]:
    """Run a server until the block ends; yield what tells its CPU time so far."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        # Asked of the kernel: a connection that says nothing keeps openssl's responder busy.
        while f":{port:04X} " not in Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not begin")
            time.sleep(0.05)

        def cpu_seconds() -> float:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / _TICK

        yield cpu_seconds
    finally:
        process.kill()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
