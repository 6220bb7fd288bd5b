import json
from datetime import date
from typing import Any

import pytest

from intaglio.accounts import policy
from intaglio.accounts.certified import Certified, apply
from intaglio.accounts.kinds import PROFILE_OF, Kind, starting_policy
from intaglio.errors import ContentRefused
from intaglio.pki.profiles import PROFILES
from intaglio.pki.subject import name

_TODAY = date(2026, 11, 24)
_PERSON: dict[str, Any] = {
    "subject_dn": {"common_name": "John Doe", "country": "GB", "organizational_unit": ["Administration"]},
    "subject_da": {"gender": "m", "date_of_birth": "1979-01-31", "place_of_birth": "London"},
}
_SEAL: dict[str, Any] = {"subject_dn": {"organizational_unit": ["Administration"]}}


def _apply(kind: Kind, request: Any) -> Certified:
    # As it comes back from where policies are kept.
    document = json.loads(json.dumps(starting_policy(kind, "Example Ltd", "GB")))
    return apply(policy.load(document, PROFILES[PROFILE_OF[kind]]), request, today=_TODAY)


def test_an_account_is_not_opened_under_a_name_that_no_policy_may_set() -> None:
    document = starting_policy(Kind.PARTNER, "Аcme", "DE")
    with pytest.raises(ContentRefused) as refused:
        policy.propose(document, PROFILES["aatl-a-seal"])
    assert refused.value.fields.keys() == {"subject_dn.common_name.format", "subject_dn.organization.format"}


def test_the_example_of_an_individual_is_accepted_as_printed() -> None:
    certified = _apply(Kind.INDIVIDUAL, _PERSON)
    assert name(certified.subject).text == "CN=John Doe,OU=Administration,C=GB"
    assert certified.directory is not None
    assert certified.directory.gender == "m"
    assert certified.directory.date_of_birth == date(1979, 1, 31)
    assert certified.directory.place_of_birth == "London"
    assert certified.alternatives is None


@pytest.mark.parametrize("kind", [Kind.ORGANIZATION, Kind.PARTNER])
def test_the_example_of_an_organization_is_accepted_as_printed(kind: Kind) -> None:
    certified = _apply(kind, _SEAL)
    assert name(certified.subject).text == "CN=Example Ltd,OU=Administration,O=Example Ltd,C=GB"
    assert certified.directory is None


@pytest.mark.parametrize("kind", [Kind.ORGANIZATION, Kind.PARTNER])
@pytest.mark.parametrize("request_", [None, {}, {"subject_dn": {}}, {"subject_dn": None, "san": {}}])
def test_a_seal_needs_nothing_from_the_request(kind: Kind, request_: Any) -> None:
    assert name(_apply(kind, request_).subject).text == "CN=Example Ltd,O=Example Ltd,C=GB"


@pytest.mark.parametrize("kind", [Kind.ORGANIZATION, Kind.PARTNER, Kind.EMPLOYEE])
def test_what_an_organization_may_not_have_certified_is_named_at_once(kind: Kind) -> None:
    with pytest.raises(ContentRefused) as refused:
        _apply(
            kind,
            {
                "subject_dn": {"common_name": "X", "organization": "Y", "country": "FR", "street_address": "Z"},
                "subject_da": {**_PERSON["subject_da"], "country_of_citizenship": ["GB"]},
            },
        )
    own = {"subject_dn.common_name"} if kind != Kind.EMPLOYEE else set()
    assert refused.value.fields.keys() == own | {
        "subject_dn.organization",
        "subject_dn.country",
        "subject_dn.street_address",
        "subject_da.gender",
        "subject_da.date_of_birth",
        "subject_da.place_of_birth",
        "subject_da.country_of_citizenship",
    }


def test_an_employee_signs_in_their_own_name_and_their_employers() -> None:
    request = {
        "subject_dn": {"common_name": "Ann Lee", "given_name": "Ann", "surname": "Lee", "email": "a@example.com"}
    }
    written = name(_apply(Kind.EMPLOYEE, request).subject).text
    assert written == "1.2.840.113549.1.9.1=a@example.com,CN=Ann Lee,2.5.4.42=Ann,2.5.4.4=Lee,O=Example Ltd,C=GB"
    with pytest.raises(ContentRefused) as refused:
        _apply(Kind.EMPLOYEE, {})
    assert refused.value.fields.keys() == {"subject_dn.common_name"}


def test_an_individual_names_themselves_and_no_organization() -> None:
    with pytest.raises(ContentRefused) as refused:
        _apply(Kind.INDIVIDUAL, {"subject_dn": {"organization": "Example Ltd"}})
    assert refused.value.fields.keys() == {
        "subject_dn.common_name",
        "subject_dn.country",
        "subject_dn.organization",
    }


@pytest.mark.parametrize("kind", [Kind.ORGANIZATION, Kind.PARTNER, Kind.EMPLOYEE])
@pytest.mark.parametrize(
    ("organization", "country", "named"),
    [
        (None, None, {"organization", "country"}),
        ("", "", {"organization", "country"}),
        ("Example", None, {"country"}),
        ("Example", "ZZ", {"country"}),
        ("Example", "gb", {"country"}),
        (" Example", "GB", {"organization"}),
        ("x" * 65, "GB", {"organization"}),
        ("Exa\u202emple", "GB", {"organization"}),
    ],
)
def test_an_organization_and_its_country_are_needed(
    kind: Kind, organization: str | None, country: str | None, named: set[str]
) -> None:
    with pytest.raises(ContentRefused) as refused:
        starting_policy(kind, organization, country)
    assert refused.value.fields.keys() == named


@pytest.mark.parametrize("kind", list(Kind))
def test_documents_are_not_shared_between_accounts(kind: Kind) -> None:
    first = starting_policy(kind, "Example Ltd", "GB")
    first["public_key"]["key_type"] = "ECDSA"
    first["subject_dn"]["organizational_unit"]["maxcount"] = 0
    second = starting_policy(kind, "Example Ltd", "GB")
    assert second["public_key"]["key_type"] == "RSA"
    assert second["subject_dn"]["organizational_unit"]["maxcount"] > 0
    assert policy.load(second, PROFILES["aatl-a-seal"]).document == second
