"""A hierarchy made once, to issue what tests look at."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from intaglio.keys.sealing import SealingKey
from intaglio.keys.software import SoftwareCustody
from intaglio.pki.founding import SIZES, Made, build
from intaglio.pki.hierarchy import subject
from intaglio.pki.issuer import Issuer
from intaglio.pki.lint import Accreditation
from intaglio.pki.profiles import PROFILES, Holder, Profile
from intaglio.pki.publication import Publication
from intaglio.pki.subject import Subject, name

NOW = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)
ARC = "1.3.6.1.4.1.32473"
PUBLICATION = Publication(
    "http://pki.example.com", ARC, "https://example.com/cps", {"en": "https://example.com/pds-en.pdf"}
)
# What a signer is certified as under a profile for each: all that ETSI asks for.
SUBJECTS = {
    Holder.PERSON: Subject(
        {
            "country": "DE",
            "common_name": "Erika Mustermann",
            "given_name": "Erika",
            "surname": "Mustermann",
            "serial_number": "PNODE-1234567890",
        }
    ),
    Holder.SEAL: Subject(
        {
            "country": "DE",
            "common_name": "Example Ltd",
            "organization": "Example Ltd",
            "organization_identifier": "VATDE-123456789",
        }
    ),
}


class Pki:
    """A hierarchy made once, and certificates issued below it."""

    def __init__(self, country: str | None = "DE", places: Publication = PUBLICATION) -> None:
        self.places = places
        custody = SoftwareCustody(SealingKey(bytes(32), "test"))
        made = build(
            "Example Trust",
            country=country,
            sizes=SIZES["p-256"],
            hosts=["sign.example.com"],
            places=places,
            now=NOW,
            generate=custody.generate,
            progress=lambda _: None,
        )
        self.made: dict[str, Made] = {one.member.name: one for one in made}

    def __getitem__(self, name: str) -> x509.Certificate:
        return self.made[name].certificate

    def issuer(self, name: str) -> Issuer:
        one = self.made[name]
        return Issuer(name, one.certificate, one.key, self.places, test=one.member.test)

    def leaf(self, profile: Profile | str, issuer: str = "issuing", *, accredited: bool = False) -> x509.Certificate:
        authority = self.issuer(issuer)
        found = PROFILES[profile] if isinstance(profile, str) else profile
        who = subject("Example Ltd", "Client") if found.holder is None else name(SUBJECTS[found.holder])
        allowed = Accreditation.QUALIFIED_DEVICE if accredited else Accreditation.NONE
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        return authority.issue(authority.prepare(found, subject=who, public_key=key, now=NOW, accredited=allowed))
