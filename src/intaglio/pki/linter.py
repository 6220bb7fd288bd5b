"""What pkilint finds in certificates, revocation lists and OCSP responses (docs/decisions/0016-linting.md).

The library is slow to load and to work: it is imported where it is used, which is never in the process that serves.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """A rule that pkilint finds broken, how severe it holds that, and where."""

    rule: str
    severity: str
    place: str

    @property
    def told(self) -> str:
        """The finding in a line."""
        return f"{self.rule} ({self.severity}) at {self.place}"


# What is found, known and so on purpose.
EXPLAINED: Mapping[str, str] = {
    "pkix.certificate_policies_policy_has_qualifier": (
        "RFC 5280 §4.2.1.4 would rather have the policy alone; EN 319 412-2 §4.3.3 and readers want to find the CPS"
    ),
}
# What is found in addresses as http://localhost:8080, which services have that are there to be tried.
_LOCAL = frozenset({"pkix.invalid_uri_syntax", "etsi.internal_domain_name", "etsi.internal_ip_address"})
_SEVERE = ("FATAL", "ERROR", "WARNING")


def certificate(der: bytes, *, etsi: bool) -> list[Finding]:
    """Return what breaks RFC 5280, and, if it claims to follow EN 319 412, that; least severe are notices."""
    from pkilint import finding_filter, loader  # noqa: PLC0415 - slow to load

    document = loader.load_der_certificate(der, "certificate")
    found = _findings(_pkix().validate(document.root))
    if etsi:
        from pkilint import etsi as rules  # noqa: PLC0415 - slow to load

        kind = rules.determine_certificate_type(document)
        again = loader.load_der_certificate(der, "certificate")
        results, _ = finding_filter.filter_results(
            rules.create_etsi_finding_filters(kind), _etsi(kind).validate(again.root)
        )
        found += _findings(results)
    return list(dict.fromkeys(found))


def revocation_list(der: bytes) -> list[Finding]:
    """Return what breaks RFC 5280 §5."""
    from pkilint import loader  # noqa: PLC0415 - slow to load

    return _findings(_crl().validate(loader.load_der_crl(der, "crl").root))


def ocsp_response(der: bytes) -> list[Finding]:
    """Return what breaks RFC 6960."""
    from pkilint import loader  # noqa: PLC0415 - slow to load

    return _findings(_ocsp().validate(loader.load_der_ocsp_response(der, "ocsp").root))


def unexplained(findings: Iterable[Finding], *, local: bool) -> list[Finding]:
    """Return those that keep a certificate from being issued: not notices, and not what is so on purpose.

    `local` says that the service's addresses are for this machine alone, and known to be.
    """
    explained = EXPLAINED.keys() | (_LOCAL if local else frozenset())
    return [one for one in findings if one.severity in _SEVERE and one.rule not in explained]


def _findings(results: Any) -> list[Finding]:
    return [
        Finding(str(one.finding.code), str(one.finding.severity.name), str(result.node.path))
        for result in results
        for one in result.finding_descriptions
        if one.finding.severity.name in {*_SEVERE, "NOTICE"}
    ]


@lru_cache
def _pkix() -> Any:
    from pkilint.pkix import certificate as rules  # noqa: PLC0415 - slow to load
    from pkilint.pkix import extension, name  # noqa: PLC0415

    return rules.create_pkix_certificate_validator_container(
        rules.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            rules.create_issuer_validator_container([]),
            rules.create_validity_validator_container(),
            rules.create_subject_validator_container([]),
            rules.create_extensions_validator_container([]),
            rules.create_spki_validator_container([]),
        ],
    )


@lru_cache
def _etsi(kind: Any) -> Any:
    from pkilint import etsi as rules  # noqa: PLC0415 - slow to load
    from pkilint.pkix import certificate as pkix  # noqa: PLC0415

    return pkix.create_pkix_certificate_validator_container(
        rules.create_decoding_validators(kind), rules.create_validators(kind)
    )


@lru_cache
def _crl() -> Any:
    from pkilint import pkix  # noqa: PLC0415 - slow to load
    from pkilint.pkix import crl, extension, name  # noqa: PLC0415

    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


@lru_cache
def _ocsp() -> Any:
    from pkilint import pkix  # noqa: PLC0415 - slow to load
    from pkilint.pkix import extension, name, ocsp  # noqa: PLC0415

    return ocsp.create_pkix_ocsp_response_validator_container(
        [
            ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )
