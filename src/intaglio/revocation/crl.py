"""Certificate revocation lists (RFC 5280 §5)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.errors import IssuanceRefused
from intaglio.pki import lint
from intaglio.pki.issuer import Issuer
from intaglio.pki.signature import signature_hash
from intaglio.revocation.register import RevocationList, Standing


def next_number(before: RevocationList | None, now: datetime) -> int:
    """Return the number of the next CRL: the time in seconds since 1970, or one more than the number before.

    So no number is given twice when a backup is put in the place of what had gone on since (RFC 5280 §5.2.3).
    """
    return max(int(now.timestamp()), 0 if before is None else before.number + 1)


def build(
    issuer: Issuer, revoked: Sequence[Standing], *, number: int, now: datetime, currency: timedelta
) -> RevocationList:
    """Return the CRL of `issuer`, current from `now` for `currency`; raises `RuleBroken` before it would sign."""
    if issuer.certificate is None:
        raise IssuanceRefused(f"{issuer.name} has no certificate yet")
    this_update = now.replace(microsecond=0)
    next_update = this_update + currency
    lint.check_list(
        issuer=issuer.certificate,
        number=number,
        this_update=this_update,
        next_update=next_update,
        entries=[(int(one.serial, 16), one.revoked_at or this_update, one.reason) for one in revoked],
    )
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(this_update)
        .next_update(next_update)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for standing in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(int(standing.serial, 16))
            .revocation_date(standing.revoked_at or this_update)
        )
        # The reason unspecified is left out rather than said (RFC 5280 §5.3.1).
        if standing.reason and standing.reason != "unspecified":
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(standing.reason)), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    crl = builder.sign(issuer.key, signature_hash(issuer.key))
    return RevocationList(issuer.name, number, this_update, next_update, crl.public_bytes(Encoding.DER))
