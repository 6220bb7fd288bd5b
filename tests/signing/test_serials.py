"""A serial number is on record, and nobody else's, before anything is signed with it."""

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus, OCSPRequestBuilder, load_der_ocsp_response

from intaglio.database.engine import reading
from intaglio.errors import KeyUnavailable, StoreUnavailable
from intaglio.pki.issuer import drawn_from
from intaglio.revocation.register import State, find, serial_text
from intaglio.service.composition import running
from intaglio.service.home import Home
from intaglio.signing import identity, issuance
from intaglio.signing.identity import create_identity
from onboarded import caller, small_home
from served import JOHN_DOE

SERIAL = drawn_from(datetime.now(UTC)) | 4711


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = small_home(tmp_path / "home")
    yield made
    made.close()


def test_two_who_draw_the_same_number_do_not_both_sign(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuance, "new_serials", lambda _now, number: [SERIAL] * number)
    who = caller(home)

    async def walk() -> None:
        # Two nodes on one database: each has its own shares.
        async with running(home) as one, running(home) as other:
            made = await create_identity(one.engine, who, JOHN_DOE, "r1")
            assert x509.load_der_x509_certificate(made.certificate).serial_number == SERIAL
            with pytest.raises(StoreUnavailable, match="drawn before"):
                await create_identity(other.engine, who, JOHN_DOE, "r2")

    asyncio.run(walk())


def test_what_was_planned_and_not_issued_is_answered_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuance, "new_serials", lambda _now, number: [SERIAL] * number)
    who = caller(home)

    def failing(*_: object, **__: object) -> None:
        raise KeyUnavailable("the token is gone")

    monkeypatch.setattr(identity, "_issue", failing)

    async def walk() -> bytes:
        async with running(home) as service:
            engine = service.engine
            with pytest.raises(KeyUnavailable, match="gone"):
                await create_identity(engine, who, JOHN_DOE, "r1")
            issuer = engine.responders[engine.issuing(who.account.hierarchy)].issuer
            name = hashlib.sha1(issuer.subject.public_bytes(), usedforsecurity=False).digest()
            key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
            sha1 = hashes.SHA1()  # noqa: S303 - what most clients ask with
            request = OCSPRequestBuilder().add_certificate_by_hash(name, key, SERIAL, sha1)
            der = request.build().public_bytes(Encoding.DER)
            return (await engine.answers.ocsp(der, datetime.now(UTC))).der

    assert load_der_ocsp_response(asyncio.run(walk())).certificate_status == OCSPCertStatus.UNKNOWN
    with reading(home.engine) as connection:
        standing = find(connection, "test-issuing", serial_text(SERIAL))
    assert standing is not None
    assert standing.state == State.PLANNED
