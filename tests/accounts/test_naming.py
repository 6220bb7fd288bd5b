"""Names as ETSI wants them: a request under such a profile is refused field by field, before a rule is broken."""

from datetime import date
from typing import Any

import pytest

from intaglio.accounts import policy
from intaglio.accounts.certified import apply
from intaglio.errors import ContentRefused
from intaglio.pki.naming import LEGAL_SEMANTICS, NATURAL_SEMANTICS, fault_of_identifier
from intaglio.pki.profiles import PROFILES

FIELDS = (
    "country", "common_name", "given_name", "surname", "pseudonym", "serial_number", "organization",
    "organization_identifier",
)  # fmt: skip
ANYTHING = {"subject_dn": {field: {"presence": "OPTIONAL", "format": ""} for field in FIELDS}}
PERSON = {"country": "FR", "common_name": "Zoé Martin", "surname": "Martin", "serial_number": "IDCFR-12 34"}
SEAL = {
    "country": "AT", "common_name": "Muster", "organization": "Muster GmbH", "organization_identifier": "NTRAT-12345f",
}  # fmt: skip


def refused(profile: str, subject_dn: dict[str, Any]) -> set[str]:
    loaded = policy.load(ANYTHING, PROFILES[profile])
    try:
        apply(loaded, {"subject_dn": subject_dn}, today=date(2026, 11, 24))
    except ContentRefused as error:
        return set(error.fields)
    return set()


@pytest.mark.parametrize(
    ("profile", "sent", "fields"),
    [
        ("etsi-advanced-person", PERSON, set()),
        ("etsi-advanced-person", {**PERSON, "surname": None, "pseudonym": "Zed"}, set()),
        ("etsi-advanced-person", {**PERSON, "pseudonym": "Zed"}, {"pseudonym"}),
        ("etsi-advanced-person", {}, {"country", "common_name", "serial_number", "given_name"}),
        ("etsi-advanced-person", {**PERSON, "serial_number": "12345"}, {"serial_number"}),
        ("qualified-person", {**PERSON, "serial_number": "VATFR-12345"}, {"serial_number"}),
        ("etsi-advanced-seal", SEAL, set()),
        ("etsi-advanced-seal", {}, {"country", "common_name", "organization", "organization_identifier"}),
        ("qualified-seal", {**SEAL, "organization_identifier": "Muster GmbH"}, {"organization_identifier"}),
        ("aatl-a-person", {"common_name": "Zoé Martin"}, set()),
    ],
)
def test_what_a_profile_asks_for_is_refused_by_field(profile: str, sent: dict[str, Any], fields: set[str]) -> None:
    sent = {field: value for field, value in sent.items() if value is not None}
    assert refused(profile, sent) == {f"subject_dn.{field}" for field in fields}


@pytest.mark.parametrize(
    ("semantics", "value", "right"),
    [
        (NATURAL_SEMANTICS, "PASSK-P3000180", True),
        (NATURAL_SEMANTICS, "AB:DE-1", False),
        (NATURAL_SEMANTICS, "PASZZ-P3000180", False),
        (NATURAL_SEMANTICS, "PNODE-", False),
        (NATURAL_SEMANTICS, "LEIXG-1", False),
        (LEGAL_SEMANTICS, "VATEL-123456789", True),
        (LEGAL_SEMANTICS, "NTREL-123456789", False),
        (LEGAL_SEMANTICS, "LEIXG-529900T8BM49AURSDO55", True),
        (LEGAL_SEMANTICS, "LEIXG-529900T8BM49AURSDO56", False),
        (LEGAL_SEMANTICS, "LEIXG-1", False),
        (LEGAL_SEMANTICS, "LEIDE-529900T8BM49AURSDO55", False),
        (LEGAL_SEMANTICS, "123456789", False),
    ],
)
def test_identifiers(semantics: str, value: str, right: bool) -> None:
    assert (fault_of_identifier(semantics, value) is None) == right


def test_statements_of_a_profile_are_not_a_policys() -> None:
    said = {
        **ANYTHING,
        "qualified_statements": {"etsi_qc_retention_period": {"presence": "OPTIONAL", "min": 1, "max": 9}},
    }
    assert policy.load(said, PROFILES["aatl-a-seal"]).statements is not None
    with pytest.raises(ContentRefused) as error:
        policy.load(said, PROFILES["etsi-advanced-seal"])
    assert set(error.value.fields) == {"qualified_statements"}
