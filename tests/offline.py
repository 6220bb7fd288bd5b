"""A home of an offline root, and what is carried between it and the home of the service."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.database.engine import transaction
from intaglio.revocation import crl, register
from intaglio.service import authorities
from intaglio.service.home import Home
from intaglio.service.initialisation import Beginning, initialise


def now() -> datetime:
    return datetime.now(UTC)


def empty_home(path: Path, url: str) -> Home:
    """Make a home without any authority, for certificates that say they are published at `url`."""
    return initialise(path, Beginning(public_url=url), now(), lambda _: None, authorities=False)


def publish(home: Home, name: str, currency: timedelta = timedelta(days=100)) -> bytes:
    """Sign the next CRL of a CA, as a ceremony does."""
    with transaction(home.engine) as connection:
        before = register.latest_list(connection, name)
        number = 1 if before is None else before.number + 1
        revoked = register.revoked(connection, name)
        fresh = crl.build(home.issuer(name), revoked, number=number, now=now(), currency=currency)
        register.publish_list(connection, fresh)
    return fresh.der


def carried(home: Home, root: Home, issuer: str, name: str, profile: str, title: str, algorithm: str) -> None:
    """Request at `home`, sign at `root`, install at `home`: through files, as PEM."""
    test = "TEST" in title
    asked = authorities.request_authority(
        home, name, profile=profile, title=title, algorithm=algorithm, test=test, now=now()
    )
    request = x509.load_pem_x509_csr(asked.public_bytes(Encoding.PEM))
    signed = authorities.sign_request(root, issuer, request, profile=profile, title=title, now=now())
    certificate = x509.load_pem_x509_certificate(signed.public_bytes(Encoding.PEM))
    authorities.install_authority(home, name, issuer, certificate, now())


def rolled_over(home: Home, number: int = 2, *, algorithm: str = "p-384") -> str:
    """Make a further issuing CA of the test hierarchy, all in one home; return its name."""
    name = f"test-issuing-{number}"
    carried(home, home, "test-root", name, "issuing", f"TEST Document Signing CA {number}", algorithm)
    return name


def install_offline_root(home: Home, root: Home, name: str, title: str, *, test: bool = False) -> None:
    """Have `home` answer for a root whose key is at `root`."""
    made = authorities.create_root(root, name, title=title, algorithm="p-384", test=test, now=now())
    authorities.install_root(home, name, made, now(), test=test)
    carried(home, root, name, f"{name}-ocsp", "ocsp", f"{title} OCSP Responder", "p-256")
    authorities.import_list(home, name, publish(root, name), now())
