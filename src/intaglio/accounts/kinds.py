"""The four ways to sign, and the policy that an account of each kind begins with."""

from enum import StrEnum
from typing import Any

from intaglio.errors import ContentRefused
from intaglio.pki import naming, text
from intaglio.pki.profiles import Profile


class Kind(StrEnum):
    """Who signs: a partner or an organization by its seal, an organization's employee, or an individual."""

    PARTNER = "partner"
    ORGANIZATION = "organization"
    EMPLOYEE = "employee"
    INDIVIDUAL = "individual"


# The profile of what each is certified by, if no other is chosen.
PROFILE_OF = {
    Kind.PARTNER: "aatl-a-seal",
    Kind.ORGANIZATION: "aatl-a-seal",
    Kind.EMPLOYEE: "aatl-a-person",
    Kind.INDIVIDUAL: "aatl-a-person",
}

_UNITS = {"static": False, "list": [], "mincount": 0, "maxcount": 4}
_ENDS: dict[str, dict[str, Any]] = {
    "validity": {
        "secondsmin": 600,
        "secondsmax": 600,
        "not_before_negative_skew": 0,
        "not_before_positive_skew": 0,
    },
    "public_key": {"key_type": "RSA", "allowed_lengths": [2048]},
}


def _static(value: str) -> dict[str, str]:
    return {"presence": "STATIC", "format": value}


def _may() -> dict[str, str]:
    return {"presence": "OPTIONAL", "format": ""}


def _must() -> dict[str, str]:
    return {"presence": "REQUIRED", "format": ""}


def _never() -> dict[str, str]:
    return {"presence": "FORBIDDEN", "format": ""}


def starting_policy(
    kind: Kind, organization: str | None, country: str | None, profile: Profile | None = None
) -> dict[str, Any]:
    """Return the policy document of a new account, which asks for what names under its profile need.

    Raises `ContentRefused` when the organization or country that the kind certifies is missing or cannot stand in
    a certificate.
    """
    document = _of_kind(kind, organization, country)
    if profile is not None and profile.naming is not None:
        semantics = None if profile.statements is None else profile.statements.semantics
        subject_dn = document["subject_dn"]
        for field in naming.required(profile.naming, semantics):
            if subject_dn.get(field, {}).get("presence") != "STATIC":
                subject_dn[field] = _must()
        if profile.naming == naming.Naming.NATURAL_PERSON:
            for field in (*naming.NAMES, naming.PSEUDONYM):
                subject_dn.setdefault(field, _may())
    return document


def _of_kind(kind: Kind, organization: str | None, country: str | None) -> dict[str, Any]:
    if kind == Kind.INDIVIDUAL:
        return _individual()
    faults: dict[str, str] = {}
    reason = text.fault_of_text(organization, 64) if organization else f"is required for the kind {kind}"
    if reason:
        faults["organization"] = reason
    reason = text.fault_of_country(country) if country else f"is required for the kind {kind}"
    if reason:
        faults["country"] = reason
    if faults or organization is None or country is None:
        raise ContentRefused("The account cannot be opened.", faults)
    if kind == Kind.EMPLOYEE:
        return _employee(organization, country)
    return _seal(organization, country)


def _seal(organization: str, country: str) -> dict[str, Any]:
    subject_dn = {
        "common_name": _static(organization),
        "organization": _static(organization),
        "country": _static(country),
        "street_address": _never(),
        "organizational_unit": dict(_UNITS),
    }
    return {"subject_dn": subject_dn, "subject_da": _no_directory(), **_ends()}


def _employee(organization: str, country: str) -> dict[str, Any]:
    subject_dn = {
        "common_name": _must(),
        "given_name": _may(),
        "surname": _may(),
        "email": _may(),
        "organization": _static(organization),
        "country": _static(country),
        "street_address": _never(),
        "organizational_unit": dict(_UNITS),
    }
    return {"subject_dn": subject_dn, "subject_da": _no_directory(), **_ends()}


def _individual() -> dict[str, Any]:
    subject_dn = {
        "common_name": _must(),
        "given_name": _may(),
        "surname": _may(),
        "pseudonym": _may(),
        "email": _may(),
        "serial_number": _may(),
        "country": _must(),
        "locality": _may(),
        "organizational_unit": dict(_UNITS),
    }
    countries = {"static": False, "list": [], "mincount": 0, "maxcount": 4}
    subject_da = {
        "gender": _may(),
        "date_of_birth": "OPTIONAL",
        "place_of_birth": _may(),
        "country_of_citizenship": dict(countries),
        "country_of_residence": dict(countries),
    }
    return {"subject_dn": subject_dn, "subject_da": subject_da, **_ends()}


def _no_directory() -> dict[str, Any]:
    return {"gender": _never(), "date_of_birth": "FORBIDDEN", "place_of_birth": _never()}


def _ends() -> dict[str, Any]:
    return {name: dict(value) for name, value in _ENDS.items()}
