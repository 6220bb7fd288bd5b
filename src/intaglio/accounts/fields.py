"""The fields of an identity request, and what may ever stand in each, whatever a policy allows."""

from functools import partial

from intaglio.accounts.rules import Fault
from intaglio.accounts.typed import STRING_TYPES, TypedRule, ValueType, fault_of_length
from intaglio.pki import text
from intaglio.pki.subject import ATTRIBUTES, COUNTRY_ATTRIBUTES

DN_STRINGS = frozenset(ATTRIBUTES) - {"organizational_unit"}
SAN_LISTS: dict[str, Fault] = {
    "emails": text.fault_of_mailbox,
    "dns_names": text.fault_of_dns_name,
    "uris": text.fault_of_uri,
    "ip_addresses": text.fault_of_ip_address,
}
SDA_LISTS = ("country_of_citizenship", "country_of_residence")
# Every field of the three branches.
DN_FIELDS = frozenset({*ATTRIBUTES, "extra_attributes"})
SDA_FIELDS = frozenset({"gender", "place_of_birth", *SDA_LISTS, "date_of_birth", "extra_attributes"})
SAN_FIELDS = frozenset({*SAN_LISTS, "other_names"})


def fault_of(field: str) -> Fault:
    """Return the check of a subject attribute's text, policy aside."""
    if field in COUNTRY_ATTRIBUTES:
        return text.fault_of_country
    if field == "email":
        return text.fault_of_email
    if field == "serial_number":
        return _fault_of_printable
    return partial(_fault_of_text, most=ATTRIBUTES[field][1] if field in ATTRIBUTES else 128)


def _fault_of_text(value: str, most: int) -> str | None:
    return text.fault_of_text(value, most)


def _fault_of_printable(value: str) -> str | None:
    reason = text.fault_of_text(value, 64)
    return reason or (None if text.is_printable_string(value) else "has characters that a PrintableString cannot hold")


def _fault_of_gender(value: str) -> str | None:
    return None if value in {"M", "F", "m", "f"} else "must be M, F, m or f"


FAULTS: dict[str, Fault] = {field: fault_of(field) for field in ATTRIBUTES}
SDA_STRINGS: dict[str, Fault] = {"gender": _fault_of_gender, "place_of_birth": partial(_fault_of_text, most=128)}

# Attributes that have a field of their own, or an extension's: a typed map would go around their rules.
_OWN_ATTRIBUTES = {oid.dotted_string: f"subject_dn.{field}" for field, (oid, _) in ATTRIBUTES.items()}
_OWN_DIRECTORY_ATTRIBUTES = {
    "1.3.6.1.5.5.7.9.1": "subject_da.date_of_birth",
    "1.3.6.1.5.5.7.9.2": "subject_da.place_of_birth",
    "1.3.6.1.5.5.7.9.3": "subject_da.gender",
    "1.3.6.1.5.5.7.9.4": "subject_da.country_of_citizenship",
    "1.3.6.1.5.5.7.9.5": "subject_da.country_of_residence",
}
# RFC 5280 Appendix A.1 and X.520: dnQualifier and telephoneNumber are PrintableStrings, domainComponent an IA5String.
_PRESCRIBED = {
    "2.5.4.20": ValueType.PRINTABLESTRING,
    "2.5.4.46": ValueType.PRINTABLESTRING,
    "0.9.2342.19200300.100.1.25": ValueType.IA5STRING,
}
# No attribute of X.520 is an IA5String.
_X520 = "2.5.4."


def fault_of_extra_attribute(oid: str, rule: TypedRule) -> str | None:
    """Return what keeps the rule of an attribute type out of `subject_dn.extra_attributes`."""
    value_type = rule.value_type
    if oid in _OWN_ATTRIBUTES:
        return f"has a rule of its own, {_OWN_ATTRIBUTES[oid]}"
    if value_type not in STRING_TYPES:
        return "a name holds strings only"
    prescribed = _PRESCRIBED.get(oid, value_type)
    if value_type != prescribed:
        return f"is of type {prescribed} (RFC 5280)"
    if value_type == ValueType.IA5STRING and oid.startswith(_X520):
        return f"is of type {ValueType.UTF8STRING} or {ValueType.PRINTABLESTRING} (X.520)"
    return fault_of_length(oid, rule.value_format) if rule.static else None


def fault_of_directory_attribute(oid: str) -> str | None:
    """Return what keeps an attribute type out of `subject_da.extra_attributes`."""
    own = _OWN_DIRECTORY_ATTRIBUTES.get(oid)
    return None if own is None else f"has a rule of its own, {own}"
