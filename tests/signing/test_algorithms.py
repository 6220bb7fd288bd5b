"""Identities of every algorithm that a policy can say: certified, signing, and judged by openssl."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.service.composition import running
from intaglio.service.home import Home, certificate_path
from intaglio.signing.biography import biography
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from onboarded import DIGEST, caller, small_home
from served import JOHN_DOE, run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = small_home(tmp_path_factory.mktemp("algorithms") / "home")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("key_type", "length", "algorithm"),
    [
        ("RSA", 2048, KeyAlgorithm.RSA_2048),
        ("RSA", 3072, KeyAlgorithm.RSA_3072),
        ("RSA", 4096, KeyAlgorithm.RSA_4096),
        ("ECDSA", 256, KeyAlgorithm.P_256),
        ("ECDSA", 384, KeyAlgorithm.P_384),
    ],
)
def test_an_identity_gets_the_key_that_its_policy_says(
    home: Home, tmp_path: Path, key_type: str, length: int, algorithm: KeyAlgorithm
) -> None:
    who = caller(home, public_key={"key_type": key_type, "allowed_lengths": [length]})

    async def walk() -> bytes:
        async with running(home) as service:
            made = await create_identity(service.engine, who, JOHN_DOE, "r1")
            certificate = x509.load_der_x509_certificate(made.certificate)
            (tmp_path / "signer.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
            public_key = certificate.public_key()
            pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            (tmp_path / "key.pem").write_bytes(pem)
            life = await service.engine.commits.read(lambda c: biography(c, made.id))
            assert (life.algorithm, life.form) == (algorithm, home.identities)
            return await sign_digest(service.engine, who, made.id, DIGEST, "r2")

    (tmp_path / "signature").write_bytes(asyncio.run(walk()))
    (tmp_path / "digest").write_bytes(DIGEST.value)
    run(
        *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "key.pem", "-pkeyopt", "digest:sha256"),
        *("-in", tmp_path / "digest", "-sigfile", tmp_path / "signature"),
    )
    root, issuing = certificate_path(home.path, "test-root"), certificate_path(home.path, "test-issuing")
    run("openssl", "verify", "-CAfile", root, "-untrusted", issuing, tmp_path / "signer.crt")
