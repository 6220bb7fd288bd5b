"""A whole PKI with its keys on a token, as openssl judges it: nothing that signs knows where its key is."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca_ocsp

from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.token import Token
from intaglio.pki.founding import Algorithms, Made, build
from intaglio.pki.hierarchy import subject
from intaglio.pki.issuer import Issuer
from intaglio.pki.publication import Publication
from intaglio.pki.signature import signature_hash
from intaglio.revocation import crl
from intaglio.revocation.ocsp import Answer, Responder
from intaglio.timestamping.authority import Authority
from intaglio.timestamping.tsp import sha256_imprint
from served import run

PLACES = Publication("http://pki.example.com")
MESSAGE = b"what is stamped"


@pytest.fixture(
    params=[
        Algorithms(KeyAlgorithm.RSA_2048, KeyAlgorithm.P_256, KeyAlgorithm.P_256, KeyAlgorithm.P_256),
        Algorithms(KeyAlgorithm.P_384, KeyAlgorithm.RSA_2048, KeyAlgorithm.RSA_2048, KeyAlgorithm.RSA_2048),
    ],
    ids=["rsa-root", "p-384-root"],
)
def pki(request: pytest.FixtureRequest, token: Token) -> dict[str, Made]:
    made = build(
        "Example",
        sizes=request.param,
        hosts=["localhost"],
        places=PLACES,
        now=datetime.now(UTC),
        generate=lambda algorithm, name: token.generate(algorithm, secrets.token_bytes(16), name),
        progress=lambda _: None,
    )
    return {one.member.name: one for one in made}


def test_everything_that_keys_on_a_token_sign_is_judged_good(pki: dict[str, Made], tmp_path: Path) -> None:
    now = datetime.now(UTC)
    files = {}
    for name, made in pki.items():
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_bytes(made.certificate.public_bytes(Encoding.PEM))
    root, issuing = pki["root"], pki["issuing"]
    for name in ("issuing", "tsa", "root-ocsp"):
        run("openssl", "verify", "-x509_strict", "-CAfile", files["root"], files[name])
    chain = ("-CAfile", files["root"], "-untrusted", files["issuing"])
    run("openssl", "verify", "-x509_strict", *chain, files["issuing-ocsp"])

    # a request for a certificate
    request = x509.CertificateSigningRequestBuilder().subject_name(subject("Example", "Issuing CA"))
    (tmp_path / "csr").write_bytes(request.sign(issuing.key, signature_hash(issuing.key)).public_bytes(Encoding.PEM))
    assert b"verify OK" in run("openssl", "req", "-verify", "-noout", "-in", tmp_path / "csr").stderr

    # a revocation list
    issuer = Issuer("root", root.certificate, root.key, PLACES)
    listed = crl.build(issuer, [], number=1, now=now, currency=timedelta(days=1))
    (tmp_path / "crl").write_bytes(listed.der)
    command = ("openssl", "crl", "-inform", "DER", "-in", tmp_path / "crl", "-noout", "-CAfile", files["root"])
    assert b"verify OK" in run(*command).stderr

    # responses about a certificate: ours, and one by pyca's builder
    responder = Responder(root.certificate, pki["root-ocsp"].certificate, pki["root-ocsp"].key, timedelta(days=1))
    ours = responder.sign([Answer(responder.cert_id(issuing.certificate.serial_number))], now)
    builder = pyca_ocsp.OCSPResponseBuilder().add_response(
        issuing.certificate,
        root.certificate,
        hashes.SHA1(),  # noqa: S303 - what most clients ask with
        pyca_ocsp.OCSPCertStatus.GOOD,
        now.replace(tzinfo=None),
        None,
        None,
        None,
    )
    delegate = pki["root-ocsp"]
    builder = builder.responder_id(pyca_ocsp.OCSPResponderEncoding.HASH, delegate.certificate).certificates(
        [delegate.certificate]
    )
    theirs = builder.sign(delegate.key, signature_hash(delegate.key)).public_bytes(Encoding.DER)
    for response in (ours, theirs):
        (tmp_path / "response").write_bytes(response)
        asked = ("-issuer", files["root"], "-cert", files["issuing"], "-CAfile", files["root"])
        done = run("openssl", "ocsp", "-respin", tmp_path / "response", *asked)
        assert b": good" in done.stdout
        assert b"Response verify OK" in done.stderr

    # a time-stamp
    tsa = pki["tsa"]
    authority = Authority(tsa.certificate, [root.certificate], tsa.key, "1.3.6.1.4.1.32473.1", timedelta(seconds=1))
    digest = hashlib.sha256(MESSAGE)
    (tmp_path / "stamp").write_bytes(authority.stamp(sha256_imprint(digest.digest()), 7, datetime.now(UTC)))
    verify = ("openssl", "ts", "-verify", "-token_in", "-in", tmp_path / "stamp", "-CAfile", files["root"])
    run(*verify, "-digest", digest.hexdigest())
    assert run(*verify, "-digest", hashlib.sha256(b"else").hexdigest(), check=False).returncode != 0
