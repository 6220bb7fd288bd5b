"""Whatever kind of keys the authorities have, openssl and pkilint judge what they sign good, and hashes fit keys."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca_ocsp

from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.software import generate
from intaglio.pki.founding import SIZES, Algorithms, Made, build
from intaglio.pki.hierarchy import ROSTER, subject
from intaglio.pki.issuer import Issuer
from intaglio.pki.publication import Publication
from intaglio.revocation import crl, ocsp
from intaglio.timestamping.authority import Authority
from intaglio.timestamping.tsp import sha256_imprint
from served import BIN, run

PLACES = Publication("http://pki.example.com")
MIXED = Algorithms(KeyAlgorithm.P_384, KeyAlgorithm.RSA_3072, KeyAlgorithm.P_256, KeyAlgorithm.P_384)
MESSAGE = b"what is stamped"


def hash_of(key: object) -> type[hashes.HashAlgorithm]:
    wide = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size == 384
    return hashes.SHA384 if wide else hashes.SHA256


@pytest.fixture(scope="module", params=[*SIZES.values(), MIXED], ids=[*SIZES, "mixed"])
def pki(request: pytest.FixtureRequest) -> dict[str, Made]:
    made = build(
        "Example",
        sizes=request.param,
        hosts=[],
        places=PLACES,
        now=datetime.now(UTC),
        generate=lambda algorithm, _: generate(algorithm),
        progress=lambda _: None,
        members=[one for one in ROSTER.members if one.name in {"root", "root-ocsp", "issuing", "issuing-ocsp", "tsa"}],
    )
    assert made[0].member.algorithm == request.param.root
    return {one.member.name: one for one in made}


def test_everything_that_is_signed_is_judged_good(pki: dict[str, Made], tmp_path: Path) -> None:
    now = datetime.now(UTC)
    root, issuing = pki["root"], pki["issuing"]
    issuer = Issuer("issuing", issuing.certificate, issuing.key, PLACES)
    signer = generate(KeyAlgorithm.P_256).public_key()
    person = issuer.issue(
        issuer.prepare("aatl-a-person", subject=subject("Example", "Person"), public_key=signer, now=now)
    )

    # certificates
    files = {}
    for name, certificate in {"person": person, **{name: one.certificate for name, one in pki.items()}}.items():
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_bytes(certificate.public_bytes(Encoding.PEM))
        found = run(BIN / "lint_pkix_cert", "lint", "-s", "WARNING", files[name])
        assert found.stdout.strip() == b"", (name, found.stdout.decode())
    assert isinstance(person.signature_hash_algorithm, hash_of(issuing.key))
    assert isinstance(issuing.certificate.signature_hash_algorithm, hash_of(root.key))
    chain = ("-CAfile", files["root"], "-untrusted", files["issuing"])
    for name in ("person", "issuing", "tsa", "root-ocsp", "issuing-ocsp"):
        run("openssl", "verify", "-x509_strict", *chain, files[name])

    # the revocation list
    listed = tmp_path / "crl.der"
    listed.write_bytes(crl.build(issuer, [], number=1, now=now, currency=timedelta(days=1)).der)
    judged = run("openssl", "crl", "-inform", "DER", "-in", listed, "-CAfile", files["issuing"], "-noout")
    assert b"verify OK" in judged.stderr + judged.stdout
    assert isinstance(x509.load_der_x509_crl(listed.read_bytes()).signature_hash_algorithm, hash_of(issuing.key))
    assert run(BIN / "lint_crl", "lint", "-s", "WARNING", "-t", "CRL", "-p", "PKIX", listed).stdout.strip() == b""

    # an OCSP response
    key = pki["issuing-ocsp"].key
    responder = ocsp.Responder(issuing.certificate, pki["issuing-ocsp"].certificate, key, timedelta(days=1))
    response = tmp_path / "response.der"
    wanted = responder.cert_id(person.serial_number)
    response.write_bytes(responder.sign([ocsp.Answer(wanted, person.not_valid_after_utc)], now))
    judged = run(
        "openssl", "ocsp", "-respin", response, "-issuer", files["issuing"], "-cert", files["person"],
        "-CAfile", files["root"], "-verify_other", files["issuing"],
    )  # fmt: skip
    assert b"good" in judged.stdout
    assert b"Response verify OK" in judged.stderr
    parsed = pyca_ocsp.load_der_ocsp_response(response.read_bytes())
    assert isinstance(parsed.signature_hash_algorithm, hash_of(key))
    assert run(BIN / "lint_ocsp_response", "lint", "-s", "WARNING", response).stdout.strip() == b""


def test_time_stamps_have_the_digests_that_fit_the_key(pki: dict[str, Made], tmp_path: Path) -> None:
    tsa, root = pki["tsa"], tmp_path / "root.pem"
    root.write_bytes(pki["root"].certificate.public_bytes(Encoding.PEM))
    authority = Authority(
        tsa.certificate, [pki["root"].certificate], tsa.key, f"{PLACES.policy_arc}.1.2", timedelta(seconds=1)
    )
    digest = hashlib.sha256(MESSAGE).digest()
    token = tmp_path / "token"
    token.write_bytes(authority.stamp(sha256_imprint(digest), 1 << 158, datetime.now(UTC)))
    (tmp_path / "message").write_bytes(MESSAGE)
    run("openssl", "ts", "-verify", "-data", tmp_path / "message", "-in", token, "-token_in", "-CAfile", root)
    signed = cms.ContentInfo.load(token.read_bytes(), strict=True)["content"]
    signer = signed["signer_infos"][0]
    name = hash_of(tsa.key)().name
    assert [one["algorithm"].native for one in signed["digest_algorithms"]] == [name]
    assert signer["digest_algorithm"]["algorithm"].native == name
    attributes = {one["type"].native: one["values"][0].native for one in signer["signed_attrs"]}
    content = signed["encap_content_info"]["content"].contents
    assert attributes["message_digest"] == hashlib.new(name, content).digest()
    # RSA names its hash in digestAlgorithm alone, ECDSA in both (RFC 5754 §3)
    assert signer["signature_algorithm"]["algorithm"].native in {"rsassa_pkcs1v15", f"{name}_ecdsa"}
