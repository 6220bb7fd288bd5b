"""What our own rules cost on each issuance, against the two signatures and the encoding of an identity, in process."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from measurement import Row

from intaglio.pki import lint
from intaglio.pki.hierarchy import subject
from intaglio.pki.issuer import Issuer
from intaglio.pki.lint import Accreditation
from intaglio.pki.publication import Publication
from intaglio.pki.subject import Subject, name
from intaglio.revocation import ocsp

_ROUNDS = 5_000
_PERSON = Subject(
    {
        "country": "DE",
        "common_name": "Erika Mustermann",
        "given_name": "Erika",
        "surname": "Mustermann",
        "serial_number": "PNODE-1234567890",
    }
)


def linting() -> Row:
    """Measure the costliest profile, with a name to look into and an accreditation, and the one that most have."""
    now = datetime.now(UTC)
    key = rsa.generate_private_key(65537, 2048)
    places = Publication("http://pki.example.com", disclosures={"en": "https://example.com/pds"})
    who = subject("Example Ltd", "Document Signing CA", "DE")
    root = Issuer("issuing", None, key, places, subject=who)
    certificate = root.issue(root.prepare("issuing", subject=who, public_key=key.public_key(), now=now))
    issuer = Issuer("issuing", certificate, key, places)
    answering = issuer.issue(issuer.prepare("ocsp", subject=who, public_key=key.public_key(), now=now))
    responder = ocsp.Responder(certificate, answering, key, timedelta(days=1))
    signer = ec.generate_private_key(ec.SECP256R1()).public_key()
    share = 0.0
    for profile in ("aatl-a-person", "qualified-person"):

        def issue(profile: str = profile) -> None:
            prepared = issuer.prepare(
                profile,
                subject=name(_PERSON),
                public_key=signer,
                now=now,
                accredited=Accreditation.QUALIFIED_DEVICE,
            )
            issuer.sign(prepared)
            answer = ocsp.Answer(responder.cert_id(prepared.serial), prepared.not_after)
            responder.sign([answer], prepared.not_before)

        whole, rules = _cpu(issue, _ROUNDS // 10), _rules(issue)
        share = max(share, 100 * rules / whole)
        print(f"{profile}: our own rules {rules * 1e6:.1f} us of CPU, certificate and response {whole * 1e6:.0f} us")
    return Row("lint_share", share, "% of the CPU of certificate and OCSP response", None, 5.0, True)


def _rules(issue: Callable[[], None]) -> float:
    """Return the CPU seconds of the checks that one issuance makes, each repeated by itself."""
    made: list[Callable[[], Any]] = []
    kept = {check: getattr(lint, check) for check in ("check", "check_response")}
    for check, function in kept.items():
        setattr(lint, check, lambda _function=function, **given: made.append(lambda: _function(**given)))
    try:
        issue()
    finally:
        for check, function in kept.items():
            setattr(lint, check, function)
    return sum(_cpu(one, _ROUNDS) for one in made)


def _cpu(work: Callable[[], Any], rounds: int) -> float:
    work()
    begun = time.process_time()
    for _ in range(rounds):
        work()
    return (time.process_time() - begun) / rounds
