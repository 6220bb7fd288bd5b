"""How ETSI wants subjects to be named: which attributes must be there, and what identifiers look like."""

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum

from intaglio.pki.text import COUNTRIES


class Naming(StrEnum):
    """The standard that a subject's name follows."""

    NATURAL_PERSON = "en-319-412-2"
    LEGAL_PERSON = "en-319-412-3"


# Semantics of identifiers, EN 319 412-1 §5.1.
NATURAL_SEMANTICS = "0.4.0.194121.1.1"
LEGAL_SEMANTICS = "0.4.0.194121.1.2"

# EN 319 412-2 §4.2.4 and EN 319 412-3 §4.2.1: what is there in any case.
REQUIRED: Mapping[Naming, tuple[str, ...]] = {
    Naming.NATURAL_PERSON: ("country", "common_name"),
    Naming.LEGAL_PERSON: ("country", "common_name", "organization", "organization_identifier"),
}
# A natural person has a name or a pseudonym, never both.
NAMES = ("given_name", "surname")
PSEUDONYM = "pseudonym"

# EN 319 412-1 §5.1.3 and §5.1.4: three letters that say what it is, the country, a hyphen, the identifier. A national
# scheme, two letters and a colon, needs nameRegistrationAuthorities beside it (§5.1.3-05), which no profile states.
_IDENTIFIER = re.compile(r"\A(?P<scheme>[A-Z]{3})(?P<country>[A-Z]{2})-(?P<reference>.+)\Z")
_LEI = re.compile(r"\A[A-Z0-9]{18}[0-9]{2}\Z")
_SCHEMES = {
    NATURAL_SEMANTICS: frozenset({"PAS", "IDC", "PNO", "TIN"}),
    LEGAL_SEMANTICS: frozenset({"VAT", "NTR", "PSD", "LEI"}),
}
# Greece and Northern Ireland have their own codes for value added tax; XG is for identifiers of the whole world.
_COUNTRIES_OF = {"VAT": COUNTRIES | {"EL", "XI"}, "LEI": frozenset({"XG"})}
_IDENTIFIED_BY = {NATURAL_SEMANTICS: "serial_number", LEGAL_SEMANTICS: "organization_identifier"}


def required(naming: Naming, semantics: str | None) -> tuple[str, ...]:
    """Return the attributes that are there in any case; what `semantics` speaks of is one of them."""
    identified = _IDENTIFIED_BY.get(semantics or "")
    found = REQUIRED[naming]
    return found if identified is None or identified in found else (*found, identified)


def missing(naming: Naming, semantics: str | None, present: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each attribute that keeps a name from following `naming`, and why."""
    for attribute in required(naming, semantics):
        if attribute not in present:
            yield attribute, f"is required ({_where(naming)})"
    if naming == Naming.NATURAL_PERSON:
        named = [one for one in NAMES if one in present]
        if PSEUDONYM in present and named:
            yield PSEUDONYM, f"cannot stand beside {' and '.join(named)} ({_where(naming)})"
        elif PSEUDONYM not in present and not named:
            yield NAMES[0], f"a name or a pseudonym is required ({_where(naming)})"


def faults(naming: Naming, semantics: str | None, attributes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each attribute of a name, by field, that keeps it from following `naming`, and why."""
    yield from missing(naming, semantics, attributes)
    identified = _IDENTIFIED_BY.get(semantics or "")
    if identified is not None and identified in attributes:
        reason = fault_of_identifier(semantics or "", attributes[identified])
        if reason is not None:
            yield identified, reason
    organization = attributes.get("organization")
    if naming == Naming.LEGAL_PERSON and organization and organization == attributes.get("organization_identifier"):
        yield "organization_identifier", "must not be the name of the organization"


def fault_of_identifier(semantics: str, value: str) -> str | None:
    """Return what is wrong with an identifier that is said to have these semantics."""
    schemes = _SCHEMES[semantics]
    example = "PNODE-1234567" if semantics == NATURAL_SEMANTICS else "VATDE-123456789"
    found = _IDENTIFIER.match(value)
    if found is None or found["scheme"] not in schemes:
        return f"must be as in {example}: {', '.join(sorted(schemes))} (EN 319 412-1 §5.1)"
    if found["country"] not in _COUNTRIES_OF.get(found["scheme"], COUNTRIES):
        return f"{found['country']} is no country for {found['scheme']}"
    if found["scheme"] == "LEI" and not _is_lei(found["reference"]):
        return "is no LEI (ISO 17442)"
    return None


def _is_lei(value: str) -> bool:
    """Return whether 20 characters end with their check digits (ISO 17442, by ISO/IEC 7064 MOD 97-10)."""
    return _LEI.match(value) is not None and int("".join(str(int(one, 36)) for one in value)) % 97 == 1


def _where(naming: Naming) -> str:
    return "EN 319 412-2 §4.2.4" if naming == Naming.NATURAL_PERSON else "EN 319 412-3 §4.2.1"
