"""Use case: see what a policy would have certified for a request, before anybody is certified by it."""

from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from intaglio.accounts.certified import apply
from intaglio.accounts.policy import Policy
from intaglio.pki.issuer import Issuer
from intaglio.pki.lint import Accreditation
from intaglio.pki.publication import Publication
from intaglio.pki.subject import name

# XX is nobody's country (ISO 3166-1, user-assigned).
_ISSUER = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Preview: nobody issued this"),
    ]
)


def preview(
    policy: Policy,
    request: Any,
    places: Publication,
    now: datetime,
    signs_with: tuple[str, str] | None,
    *,
    test: bool,
    accredited: Accreditation = Accreditation.NONE,
) -> x509.Certificate:
    """Return the certificate that a request would get, but for its key, and signed by a key that is thrown away.

    Everything goes the way of `create_identity`, our own rules included; `signs_with` is how the issuing CA signs, None
    while there is none. Raises what refuses the request: `Malformed`,
    `ContentRefused` or `IssuanceRefused`.
    """
    certified = apply(policy, request, today=now.date())
    if signs_with is not None:
        certified.check_signature(signs_with)
    nobody = Issuer("preview", None, ec.generate_private_key(ec.SECP256R1()), places, subject=_ISSUER, test=test)
    prepared = nobody.prepare(
        policy.profile,
        subject=name(certified.subject),
        public_key=ec.generate_private_key(ec.SECP256R1()).public_key(),
        now=now,
        extensions=certified.extensions(),
        lifetime=policy.lifetime,
        accredited=accredited,
    )
    return nobody.issue(prepared)
