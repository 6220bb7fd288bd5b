"""The whole walk of a client, each thing it gets judged by openssl."""

import base64
import hashlib
import os
import re
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.x509.ocsp import OCSPCertStatus, load_der_ocsp_response

from served import ADMINISTRATION, JOHN_DOE, Partner, Served, decoded, run

DIGEST = hashlib.sha256(b"a contract").hexdigest()


def new_identity(partner: Partner, request: object = JOHN_DOE) -> dict[str, str]:
    answer = partner.post("/identity", request)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json;charset=utf-8"
    found: dict[str, str] = answer.json()
    assert set(found) == {"id", "signing_cert", "ocsp_response"}
    return found


def chain_files(partner: Partner, folder: Path) -> tuple[Path, Path]:
    """Write the issuing CA and the root as the API hands them out."""
    chain = partner.get("/trustchain").json()["trustchain"]
    issuing, root = folder / "issuing.pem", folder / "root.pem"
    issuing.write_text(chain[0])
    root.write_text(chain[-1])
    assert partner.get("/certificate_path").json()["path"] == chain[0]
    return issuing, root


def test_login_hands_out_the_same_token_twice_over_and_never_the_same_again(individual: Partner) -> None:
    answer = individual.client.post("/login", json=individual.secret)
    assert answer.headers["authorization"] == f"Bearer {answer.json()['access_token']}"
    assert individual.client.post("/login", json=individual.secret).json() != answer.json()


@pytest.mark.parametrize("spelling", [str.upper, str.lower])
def test_signature_verifies_with_openssl(individual: Partner, tmp_path: Path, spelling: type) -> None:
    identity = new_identity(individual)
    signature = individual.get(f"/identity/{identity['id']}/sign/{spelling(DIGEST)}").json()["signature"]
    assert re.fullmatch("[0-9A-F]{512}", signature)
    (tmp_path / "signer.pem").write_text(identity["signing_cert"])
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature))
    (tmp_path / "digest").write_bytes(bytes.fromhex(DIGEST))
    options = ("-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pkcs1")
    inputs = ("-in", tmp_path / "digest", "-sigfile", tmp_path / "signature")
    run("openssl", "pkeyutl", "-verify", "-certin", "-inkey", tmp_path / "signer.pem", *inputs, *options)
    # the control: another digest does not verify
    (tmp_path / "digest").write_bytes(bytes(32))
    refused = run(
        "openssl", "pkeyutl", "-verify", "-certin", "-inkey", tmp_path / "signer.pem", *inputs, *options, check=False
    )
    assert refused.returncode != 0


def test_certificate_chains_to_the_root_and_lives_600_seconds(
    individual: Partner, served: Served, tmp_path: Path
) -> None:
    identity = new_identity(individual)
    (tmp_path / "signer.pem").write_text(identity["signing_cert"])
    issuing, root = chain_files(individual, tmp_path)
    assert root.read_bytes() == (served.home / "pki/root.crt").read_bytes()
    run("openssl", "verify", "-x509_strict", "-CAfile", root, "-untrusted", issuing, tmp_path / "signer.pem")
    certificate = x509.load_pem_x509_certificate(identity["signing_cert"].encode())
    # both ends are inclusive
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() == 599


def test_organization_account_issues_from_the_test_hierarchy(organization: Partner, served: Served) -> None:
    identity = new_identity(organization, ADMINISTRATION)
    certificate = x509.load_pem_x509_certificate(identity["signing_cert"].encode())
    assert "TEST" in certificate.issuer.rfc4514_string()
    assert certificate.subject.rfc4514_string() == (
        "CN=Müller & Söhne GmbH,OU=Administration,O=Müller & Söhne GmbH,C=DE"
    )
    assert organization.get("/trustchain").json()["trustchain"][-1] == (served.home / "pki/test-root.crt").read_text()


def test_timestamp_verifies_with_openssl(individual: Partner, tmp_path: Path) -> None:
    token = decoded(individual.get(f"/timestamp/{DIGEST}").json()["token"])
    (tmp_path / "token").write_bytes(token)
    _, root = chain_files(individual, tmp_path)
    verify = ("openssl", "ts", "-verify", "-token_in", "-in", tmp_path / "token", "-CAfile", root)
    run(*verify, "-digest", DIGEST)
    other = hashlib.sha256(b"another contract").hexdigest()
    assert run(*verify, "-digest", other, check=False).returncode != 0


@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
def test_rfc3161_over_http(served: Served, tmp_path: Path, hash_name: str) -> None:
    document = tmp_path / "document"
    document.write_bytes(b"a contract")
    run("openssl", "ts", "-query", "-data", document, f"-{hash_name}", "-cert", "-out", tmp_path / "query")
    answer = httpx.post(
        f"{served.public}/tsa",
        content=(tmp_path / "query").read_bytes(),
        headers={"content-type": "application/timestamp-query"},
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/timestamp-reply")
    (tmp_path / "reply").write_bytes(answer.content)
    inputs = ("-queryfile", tmp_path / "query", "-in", tmp_path / "reply")
    run("openssl", "ts", "-verify", *inputs, "-CAfile", served.home / "pki/root.crt")


@pytest.mark.parametrize("digest", [(), ("-sha256",)])
def test_ocsp_by_post_and_get_for_every_certificate(served: Served, tmp_path: Path, digest: tuple[str, ...]) -> None:
    pairs = {
        "issuing": "root",
        "tsa": "root",
        "test-issuing": "test-root",
        "root": "root",
        "client": "client",
        "server": "server",
    }
    places = {"client": "tls/client-ca.crt", "server": "tls/server-ca.crt"}
    for subject, issuer in pairs.items():
        certificate, authority = (served.home / places.get(name, f"pki/{name}.crt") for name in (subject, issuer))
        query: tuple[str | Path, ...] = (*digest, "-issuer", authority, "-cert", certificate)
        done = run("openssl", "ocsp", *query, "-url", f"{served.public}/ocsp", "-CAfile", authority)
        assert b": good" in done.stdout, done
        assert b"Response verify OK" in done.stderr
        run("openssl", "ocsp", *query, "-no_nonce", "-reqout", tmp_path / "request")
        encoded = quote(base64.b64encode((tmp_path / "request").read_bytes()).decode(), safe="")
        answer = httpx.get(f"{served.public}/ocsp/{encoded}")
        assert answer.headers["content-type"] == "application/ocsp-response"
        head = httpx.head(f"{served.public}/ocsp/{encoded}")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == answer.headers["content-length"]
        assert head.headers["etag"] == answer.headers["etag"]
        assert "max-age" in answer.headers["cache-control"]
        (tmp_path / "response").write_bytes(answer.content)
        inputs = ("-respin", tmp_path / "response", *query, "-CAfile", authority)
        assert b": good" in run("openssl", "ocsp", *inputs).stdout


def test_identity_comes_with_its_status(individual: Partner, tmp_path: Path) -> None:
    identity = new_identity(individual)
    (tmp_path / "signer.pem").write_text(identity["signing_cert"])
    (tmp_path / "response").write_bytes(decoded(identity["ocsp_response"]))
    issuing, root = chain_files(individual, tmp_path)
    done = run(
        "openssl", "ocsp", "-respin", tmp_path / "response", "-issuer", issuing, "-cert", tmp_path / "signer.pem",
        "-CAfile", root, "-verify_other", issuing,
    )  # fmt: skip
    assert b": good" in done.stdout
    assert b"Response verify OK" in done.stderr


def test_the_status_of_a_new_certificate_is_the_one_that_came_with_it(individual: Partner, tmp_path: Path) -> None:
    identity = new_identity(individual)
    (tmp_path / "signer.pem").write_text(identity["signing_cert"])
    issuing, _ = chain_files(individual, tmp_path)

    def told(*options: str) -> httpx.Response:
        query = ("-issuer", issuing, "-cert", tmp_path / "signer.pem", "-reqout", tmp_path / "request")
        run("openssl", "ocsp", *options, *query)
        encoded = base64.urlsafe_b64encode((tmp_path / "request").read_bytes()).decode()
        encoded = encoded.replace("-", "%2B").replace("_", "%2F")
        return httpx.get(f"{individual.served.public}/ocsp/{encoded}")

    made = decoded(identity["ocsp_response"])
    # What is made within the same second would be the same.
    time.sleep(1.1)
    first, again = told("-no_nonce"), told("-no_nonce")
    assert first.content == again.content == made
    assert first.headers["etag"] == again.headers["etag"]
    # It is kept by caches no longer than the certificate lives.
    assert 0 < int(first.headers["cache-control"].split("max-age=")[1].split(",")[0]) <= 600
    # Who asks otherwise gets what they asked for.
    assert told().content != made
    for digest in "-sha256", "-sha384", "-sha512":
        answer = told(digest, "-no_nonce")
        found = load_der_ocsp_response(answer.content)
        assert (found.certificate_status, f"-{found.hash_algorithm.name}") == (OCSPCertStatus.GOOD, digest)
        # As RFC 5019 §6.2 has it: what caches are told is what the response says.
        assert parsedate_to_datetime(answer.headers["last-modified"]) == found.this_update_utc
        assert parsedate_to_datetime(answer.headers["expires"]) == found.next_update_utc
        assert "public" in answer.headers["cache-control"]


def test_unknown_serial_is_unknown_and_another_issuer_unauthorized(served: Served, individual: Partner) -> None:
    root = served.home / "pki/root.crt"
    done = run(
        "openssl", "ocsp", "-issuer", root, "-serial", "0x1234", "-url", f"{served.public}/ocsp", "-CAfile", root
    )
    assert b": unknown" in done.stdout
    other = individual.folder / "client.crt"
    foreign = run("openssl", "ocsp", "-issuer", other, "-serial", "1", "-url", f"{served.public}/ocsp", check=False)
    assert b"unauthorized" in foreign.stdout + foreign.stderr


def test_revoked_certificate_is_revoked_in_ocsp_and_crl(served: Served, individual: Partner, tmp_path: Path) -> None:
    identity = new_identity(individual)
    certificate = x509.load_pem_x509_certificate(identity["signing_cert"].encode())
    (tmp_path / "signer.pem").write_text(identity["signing_cert"])
    issuing, root = chain_files(individual, tmp_path)
    ask = (
        "openssl", "ocsp", "-no_nonce", "-issuer", issuing, "-cert", tmp_path / "signer.pem",
        "-url", f"{served.public}/ocsp", "-CAfile", root, "-verify_other", issuing,
    )  # fmt: skip
    assert b": good" in run(*ask).stdout  # remembered from here on
    number = f"{certificate.serial_number:x}"
    served.intaglio("certificate", "revoke", number, "--issuer", "issuing", "--reason", "keyCompromise")
    time.sleep(1)
    assert b": revoked" in run(*ask).stdout
    crl = tmp_path / "crl"
    for _ in range(20):  # the next round of housekeeping publishes it
        crl.write_bytes(httpx.get(f"{served.public}/crl/issuing.crl").content)
        text = run("openssl", "crl", "-inform", "DER", "-in", crl, "-text", "-noout", "-CAfile", issuing)
        if number.upper().encode() in text.stdout:
            break
        time.sleep(0.5)
    assert number.upper().encode() in text.stdout
    assert b"verify OK" in text.stderr
    # and it signs nothing more
    assert individual.get(f"/identity/{identity['id']}/sign/{DIGEST}").status_code == 404


def test_issuer_certificates_are_where_aia_says(served: Served) -> None:
    answer = httpx.get(f"{served.public}/ca/issuing.crt")
    assert answer.headers["content-type"] == "application/pkix-cert"
    assert x509.load_der_x509_certificate(answer.content).subject.rfc4514_string().startswith("CN=Intaglio Document")


def test_counters_count_and_quotas_shrink(individual: Partner) -> None:
    def value(path: str) -> int:
        return int(individual.get(path).json()["value"])

    before = [value(path) for path in ("/counters/signatures", "/quotas/signatures", "/counters/identities")]
    identity = new_identity(individual)
    for _ in range(3):
        assert individual.get(f"/identity/{identity['id']}/sign/{DIGEST}").status_code == 200
    after = [value(path) for path in ("/counters/signatures", "/quotas/signatures", "/counters/identities")]
    assert [new - old for old, new in zip(before, after, strict=True)] == [3, -3, 1]


def test_documents_of_the_api_are_served(individual: Partner, served: Served) -> None:
    for base in (served.url, f"{served.public}/v2"):
        client = individual.client if base == served.url else httpx
        document = client.get(f"{base}/openapi.json").json()
        assert document["openapi"].startswith("3.1")
        assert "/identity/{id}/sign/{digest}" in document["paths"]
        assert "Intaglio API v2" in client.get(f"{base}/docs").text


def test_the_head_alone_can_be_asked_for(served: Served) -> None:
    for path in ("/crl/issuing.crl", "/ca/issuing.crt", "/healthz"):
        answer = httpx.head(f"{served.public}{path}")
        assert (answer.status_code, answer.content) == (200, b"")


def test_health_and_readiness(served: Served) -> None:
    assert httpx.get(f"{served.public}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{served.public}/readyz").json() == {"status": "ready", "troubles": {}}


def test_every_thread_of_the_service_waits_its_turn(served: Served) -> None:
    """A tenth of what an identity costs (ADR 0011); what makes keys stands back further."""
    assert served.process is not None
    threads = [int(task.name) for task in Path(f"/proc/{served.process.pid}/task").iterdir()]
    policies = {os.sched_getscheduler(thread) for thread in threads}
    assert policies == {os.SCHED_BATCH}


def test_ledger_holds_and_tells_the_story(individual: Partner, served: Served) -> None:
    identity = new_identity(individual)
    individual.get(f"/identity/{identity['id']}/sign/{DIGEST}")
    individual.get(f"/identity/{identity['id']}/sign/nonsense")
    entries = served.intaglio("ledger", "show", "--account", individual.account_id, "--most", "3")
    assert [entry["kind"] for entry in entries] == ["identity.created", "signature.made", "request.refused"]
    assert entries[1]["details"]["digest"] == DIGEST
    assert served.intaglio("ledger", "verify")["entries"] > 10
