"""What a policy can say beside names: usages, purposes, statements, templates, extensions, and how it is signed."""

from datetime import date, timedelta
from typing import Any

import pytest

from intaglio.accounts import policy
from intaglio.accounts.certified import Certified, apply
from intaglio.errors import ContentRefused, Malformed
from intaglio.pki.extensions import Custom, Purposes, Statements, Template
from intaglio.pki.profiles import PROFILES

DOCUMENT, ADOBE, MICROSOFT = "1.3.6.1.5.5.7.3.36", "1.2.840.113583.1.1.5", "1.3.6.1.4.1.311.10.3.12"
MAIL, SERVER = "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.1"
ESIGN, ESEAL = "0.4.0.1862.1.6.1", "0.4.0.1862.1.6.2"
NAMED = {"common_name": {"presence": "STATIC", "format": "Somebody"}}


def load(document: dict[str, Any], profile: str = "aatl-a-person") -> policy.Policy:
    return policy.load({"subject_dn": NAMED, **document}, PROFILES[profile])


def take(document: dict[str, Any], request: Any) -> Certified:
    return apply(load(document), request, today=date(2026, 11, 25))


def refused(document: dict[str, Any], request: Any) -> set[str]:
    with pytest.raises(ContentRefused) as found:
        take(document, request)
    return set(found.value.fields)


def malformed(document: dict[str, Any], request: Any) -> set[str]:
    with pytest.raises(Malformed) as found:
        take(document, request)
    return set(found.value.fields)


def unusable(document: dict[str, Any], profile: str = "aatl-a-person") -> set[str]:
    with pytest.raises(ContentRefused) as found:
        load(document, profile)
    return set(found.value.fields)


# Rule: what comes of nothing, of the usage sent as true, and as false (None: refused); the other usage is always there.
_BOOLEANS: dict[str, tuple[bool | None, bool | None, bool | None]] = {
    "OPTIONAL": (True, True, False),  # where nothing is sent, as the profile has it
    "STATIC_TRUE": (True, True, None),
    "STATIC_FALSE": (False, None, False),
    "no rule": (False, None, False),
}


@pytest.mark.parametrize("rule", _BOOLEANS)
@pytest.mark.parametrize(
    ("usage", "other"),
    [("digital_signature", "content_commitment"), ("content_commitment", "digital_signature")],
)
@pytest.mark.parametrize(("place", "sent"), [(0, None), (1, True), (2, False)])
def test_key_usages(rule: str, usage: str, other: str, place: int, sent: bool | None) -> None:
    rules = {other: "STATIC_TRUE"} | ({} if rule == "no rule" else {usage: rule})
    document: dict[str, Any] = {"key_usages": rules}
    request: dict[str, Any] = {} if sent is None else {"key_usages": {usage: sent}}
    outcome = _BOOLEANS[rule][place]
    if outcome is None:
        assert refused(document, request) == {f"key_usages.{usage}"}
    else:
        assert take(document, request).usages == frozenset({usage, other} if outcome else {other})
    assert malformed(document, {"key_usages": {usage: 1}}) == {f"key_usages.{usage}"}


def test_a_usage_that_is_denied_is_never_the_profiles() -> None:
    document = {"key_usages": {"digital_signature": "OPTIONAL", "content_commitment": "STATIC_FALSE"}}
    assert take(document, {}).usages == frozenset({"digital_signature"})
    both = {"key_usages": {"digital_signature": "OPTIONAL", "content_commitment": "OPTIONAL"}}
    assert take(both, {"key_usages": {"content_commitment": True}}).usages == frozenset({"content_commitment"})
    # None at all: no certificate without a usage, and none with the profile's instead.
    denied = {"digital_signature": False, "content_commitment": False}
    assert refused(both, {"key_usages": denied}) == {"key_usages"}
    assert unusable({"key_usages": dict.fromkeys(denied, "STATIC_FALSE")}) == {"key_usages"}
    assert unusable({"key_usages": {}}) == {"key_usages"}


@pytest.mark.parametrize(
    "usage",
    ["key_encipherment", "data_encipherment", "key_agreement", "key_certificate_sign", "crl_sign", "encipher_only"],
)
def test_usages_that_no_signer_has(usage: str) -> None:
    for rule in ("OPTIONAL", "STATIC_TRUE"):
        assert unusable({"key_usages": {usage: rule, "digital_signature": "STATIC_TRUE"}}) == {f"key_usages.{usage}"}
    document = {"key_usages": {usage: "STATIC_FALSE", "digital_signature": "STATIC_TRUE"}}
    assert take(document, {"key_usages": {usage: False}}).usages == frozenset({"digital_signature"})
    assert refused(document, {"key_usages": {usage: True}}) == {f"key_usages.{usage}"}


def test_usages_of_the_wrong_shape() -> None:
    right = {"content_commitment": "STATIC_TRUE"}
    assert unusable({"key_usages": {"x": "OPTIONAL", **right}}) == {"key_usages.x"}
    assert unusable({"key_usages": {"digital_signature": "REQUIRED", **right}}) == {"key_usages.digital_signature"}
    assert unusable({"key_usages": 5}) == {"key_usages"}
    document = {"key_usages": {"digital_signature": "STATIC_TRUE"}}
    assert malformed(document, {"key_usages": []}) == {"key_usages"}
    assert refused(document, {"key_usages": {"x": True}}) == {"key_usages.x"}


def test_purposes() -> None:
    rule = {"ekus": {"list": [f"{DOCUMENT}|{MAIL}|{SERVER}"], "mincount": 0, "maxcount": 2}, "critical": True}
    document = {"extended_key_usages": rule}
    assert take(document, {}).purposes is None
    sent = {"extended_key_usages": [MAIL, DOCUMENT]}
    # in the order in which they were sent
    assert take(document, sent).purposes == Purposes((MAIL, DOCUMENT), critical=True)
    for wrong in ([ADOBE], [SERVER], ["1.2.3"], ["x"], [DOCUMENT, DOCUMENT]):
        assert {one.partition("[")[0] for one in refused(document, {"extended_key_usages": wrong})} == {
            "extended_key_usages"
        }
    # for mail alone it is no signing certificate
    assert refused(document, {"extended_key_usages": [MAIL]}) == {"extended_key_usages"}
    assert refused(document, {"extended_key_usages": [DOCUMENT, MAIL, ADOBE]}) >= {"extended_key_usages"}
    assert malformed(document, {"extended_key_usages": DOCUMENT}) == {"extended_key_usages"}
    assert malformed(document, {"extended_key_usages": [5]}) == {"extended_key_usages[0]"}
    assert malformed(document, {"extended_key_usages": {}}) == {"extended_key_usages"}
    assert refused({}, {"extended_key_usages": {}}) == {"extended_key_usages"}
    assert refused({}, {"key_usages": []}) == {"key_usages"}


def test_static_purposes() -> None:
    document = {"extended_key_usages": {"ekus": {"static": True, "list": [ADOBE, MICROSOFT]}}}
    for request in ({}, {"extended_key_usages": [ADOBE, MICROSOFT]}):
        assert take(document, request).purposes == Purposes((ADOBE, MICROSOFT), critical=False)
    assert refused(document, {"extended_key_usages": [ADOBE]}) == {"extended_key_usages"}
    path = "extended_key_usages.ekus.list"
    assert unusable({"extended_key_usages": {"ekus": {"static": True, "list": [SERVER]}}}) == {f"{path}[0]", path}
    assert unusable({"extended_key_usages": {"ekus": {"static": True, "list": [MAIL]}}}) == {path}
    assert unusable({"extended_key_usages": [DOCUMENT]}) == {"extended_key_usages"}


_STATEMENTS: dict[str, Any] = {
    "semantics": {
        "identifier": {"presence": "OPTIONAL", "format": "0[.]4[.]0[.]194121[.]1[.][1-4]"},
        "name_authorities": {"list": [], "maxcount": 2},
    },
    "etsi_qc_compliance": "STATIC_FALSE",
    "etsi_qc_type": {"presence": "OPTIONAL", "format": "^0.4.0.1862.1.6.[1-3]$"},
    "etsi_qc_retention_period": {"presence": "OPTIONAL", "min": 1, "max": 30},
    "etsi_qc_pds": {"presence": "OPTIONAL"},
}


def test_statements() -> None:
    document = {"qualified_statements": _STATEMENTS}
    assert take(document, {}).statements is None
    sent = {
        "semantics": {"identifier": "0.4.0.194121.1.1", "name_authorities": ["ra@example.com", "https://ra.example/"]},
        "etsi_qc_compliance": False,
        "etsi_qc_type": ESIGN,
        "etsi_qc_retention_period": 10,
        "etsi_qc_pds": {"en": "https://example.com/pds", "DE": "https://example.com/pds-de"},
    }
    assert take(document, {"qualified_statements": sent}).statements == Statements(
        semantics="0.4.0.194121.1.1",
        name_authorities=("ra@example.com", "https://ra.example/"),
        type=ESIGN,
        retention_years=10,
        disclosures=(("en", "https://example.com/pds"), ("DE", "https://example.com/pds-de")),
    )


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"semantics": {"identifier": "1.2.3"}}, "semantics.identifier"),
        ({"semantics": {"identifier": "x"}}, "semantics.identifier"),
        ({"semantics": {"name_authorities": ["a b"]}}, "semantics.name_authorities[0]"),
        ({"semantics": {"x": 1}}, "semantics.x"),
        ({"etsi_qc_compliance": True}, "etsi_qc_compliance"),
        ({"etsi_qc_sscd_compliance": True}, "etsi_qc_sscd_compliance"),
        # the type of a seal, in a person's certificate, whatever the expression allows
        ({"etsi_qc_type": ESEAL}, "etsi_qc_type"),
        ({"etsi_qc_type": "0.4.0.1862.1.6.3"}, "etsi_qc_type"),
        ({"etsi_qc_retention_period": 0}, "etsi_qc_retention_period"),
        ({"etsi_qc_retention_period": 31}, "etsi_qc_retention_period"),
        ({"etsi_qc_pds": {"english": "https://example.com/"}}, "etsi_qc_pds.english"),
        ({"etsi_qc_pds": {"en": "http://example.com/"}}, "etsi_qc_pds.en"),
        ({"etsi_qc_pds": {"en": "https://example.com/a b"}}, "etsi_qc_pds.en"),
        ({"etsi_qc_pds": {"en": "https://example.com/a", "EN": "https://example.com/b"}}, "etsi_qc_pds.EN"),
        ({"x": 1}, "x"),
    ],
)
def test_statements_that_are_refused(sent: dict[str, Any], path: str) -> None:
    document = {"qualified_statements": _STATEMENTS}
    assert refused(document, {"qualified_statements": sent}) == {f"qualified_statements.{path}"}


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"semantics": 5}, "semantics"),
        ({"etsi_qc_compliance": "true"}, "etsi_qc_compliance"),
        ({"etsi_qc_type": 5}, "etsi_qc_type"),
        ({"etsi_qc_retention_period": "10"}, "etsi_qc_retention_period"),
        ({"etsi_qc_retention_period": True}, "etsi_qc_retention_period"),
        ({"etsi_qc_pds": []}, "etsi_qc_pds"),
        ({"etsi_qc_pds": {"en": 5}}, "etsi_qc_pds.en"),
    ],
)
def test_statements_of_the_wrong_type(sent: dict[str, Any], path: str) -> None:
    document = {"qualified_statements": _STATEMENTS}
    assert malformed(document, {"qualified_statements": sent}) == {f"qualified_statements.{path}"}


def test_rules_of_statements_that_cannot_be_stored() -> None:
    rules = {
        "etsi_qc_compliance": "STATIC_TRUE",
        "etsi_qc_sscd_compliance": "OPTIONAL",
        "etsi_qc_type": {"presence": "STATIC", "format": ESEAL},
        "etsi_qc_retention_period": {"presence": "STATIC", "min": 1, "max": 2},
        "etsi_qc_pds": {"presence": "STATIC"},
        "semantics": {"identifier": {"presence": "STATIC", "format": "x"}},
    }
    assert unusable({"qualified_statements": rules}) == {
        "qualified_statements.etsi_qc_compliance",
        "qualified_statements.etsi_qc_sscd_compliance",
        "qualified_statements.etsi_qc_type.format",
        "qualified_statements.etsi_qc_retention_period",
        "qualified_statements.etsi_qc_pds.policies",
        "qualified_statements.semantics.identifier.format",
    }
    seal = {"qualified_statements": {"etsi_qc_type": {"presence": "STATIC", "format": ESEAL}}}
    assert load(seal, "aatl-a-seal").statements is not None


# Integers: presence and bounds, what is sent, what comes of it (None: refused)
@pytest.mark.parametrize(
    ("rule", "sent", "outcome"),
    [
        ({"presence": "REQUIRED", "min": 2, "max": 4}, 2, 2),
        ({"presence": "REQUIRED", "min": 2, "max": 4}, 4, 4),
        ({"presence": "REQUIRED", "min": 2, "max": 4}, 1, "refused"),
        ({"presence": "REQUIRED", "min": 2, "max": 4}, 5, "refused"),
        ({"presence": "REQUIRED", "min": 2, "max": 4}, None, "refused"),
        ({"presence": "OPTIONAL", "min": 0, "max": 4}, None, None),
        ({"presence": "OPTIONAL", "min": 0, "max": 4}, 0, 0),
        ({"presence": "STATIC", "min": 7, "max": 7}, None, 7),
        ({"presence": "STATIC", "min": 7, "max": 7}, 7, 7),
        ({"presence": "STATIC", "min": 7, "max": 7}, 8, "refused"),
        ({"presence": "FORBIDDEN"}, 1, "refused"),
        ({"presence": "FORBIDDEN"}, None, None),
    ],
)
def test_integers(rule: dict[str, Any], sent: int | None, outcome: Any) -> None:
    document = {
        "ms_extension_template": {"template_id": {"presence": "STATIC", "format": "1.2.3"}, "major_version": rule}
    }
    request = {"ms_extension_template": {"major_version": sent}}
    if outcome == "refused":
        assert refused(document, request) == {"ms_extension_template.major_version"}
    else:
        assert take(document, request).template == Template("1.2.3", outcome, None, critical=False)


def test_a_template() -> None:
    rule = {
        "critical": True,
        "template_id": {"presence": "OPTIONAL", "format": "^1.2.3.[1-3]$"},
        "major_version": {"presence": "OPTIONAL", "min": 1, "max": 10},
        "minor_version": {"presence": "OPTIONAL", "min": 0, "max": 10},
    }
    document = {"ms_extension_template": rule}
    assert take(document, {}).template is None
    sent = {"id": "1.2.3.1", "major_version": 3, "minor_version": 7}
    assert take(document, {"ms_extension_template": sent}).template == Template("1.2.3.1", 3, 7, critical=True)
    assert refused(document, {"ms_extension_template": {"id": "1.2.3.4"}}) == {"ms_extension_template.id"}
    assert refused(document, {"ms_extension_template": {"major_version": 1}}) == {"ms_extension_template.id"}
    assert refused(document, {"ms_extension_template": {"id": "1.2.3.1", "minor_version": 1}}) == {
        "ms_extension_template.major_version"
    }
    assert refused(document, {"ms_extension_template": {**sent, "template_id": "1.2.3.1"}}) == {
        "ms_extension_template.template_id"
    }
    assert malformed(document, {"ms_extension_template": "1.2.3.1"}) == {"ms_extension_template"}
    assert unusable({"ms_extension_template": {**rule, "major_version": {"presence": "OPTIONAL", "max": 1 << 32}}}) == {
        "ms_extension_template.major_version"
    }
    assert unusable({"ms_extension_template": {}}) == {"ms_extension_template"}
    assert take(document, {"ms_extension_template": {"id": None, "major_version": None}}).template is None
    never = {**rule, "major_version": {"presence": "FORBIDDEN"}, "minor_version": {"presence": "STATIC"}}
    assert unusable({"ms_extension_template": never}) == {"ms_extension_template.major_version"}


# value_type: an expression, a right value and its DER, another right one, a wrong one, one of the wrong JSON type
_VALUES: dict[str, tuple[str, Any, str, Any, Any, Any]] = {
    "UTF8STRING": (".r.", "ürü", "0c05c3bc72c3bc", "other", "e\u0301r", 5),
    "PRINTABLESTRING": ("[A-Z ]+", "DR MED", "1306" + b"DR MED".hex(), "other", "D*", 5),
    "IA5STRING": ("[a-z@*]+", "a@b*", "1604" + b"a@b*".hex(), "OTHER", "é", 5),
    "INTEGER": ("-?[0-9]{3}", 128, "02020080", 5, 1 << 300, "--5"),
    "DER": ("^([A-Fa-f0-9]{2})+$", "3003020105", "3003020105", "", "05", 5),
    "NIL": ("", "NIL", "0500", None, None, "x"),
}


@pytest.mark.parametrize("kind", _VALUES)
def test_extensions_of_ones_own(kind: str) -> None:
    expression, right, encoded, other, wrong, mistyped = _VALUES[kind]
    oid, path = "1.3.6.1.4.1.99999.7", "custom_extensions.1.3.6.1.4.1.99999.7"

    def document(presence: str, value_format: str) -> dict[str, Any]:
        rule = {"presence": presence, "critical": True, "value_type": kind, "value_format": value_format}
        return {"custom_extensions": {oid: rule}}

    def request(value: Any) -> dict[str, Any]:
        return {"custom_extensions": {oid: value}}

    certified = (Custom(oid, critical=True, der=bytes.fromhex(encoded)),)
    for presence in ("OPTIONAL", "REQUIRED"):
        assert take(document(presence, expression), request(right)).custom == certified
        assert malformed(document(presence, expression), request(mistyped)) == {path}
        if kind != "NIL":
            for value in (other, wrong):
                assert refused(document(presence, expression), request(value)) == {path}
    if kind == "NIL":
        assert take(document("REQUIRED", expression), request(None)).custom == certified
    assert take(document("OPTIONAL", expression), {}).custom == ()
    assert refused(document("REQUIRED", expression), {}) == {path}
    assert refused(document("FORBIDDEN", ""), request(right)) == {path}
    static = document("STATIC", "" if kind == "NIL" else str(right))
    for same in ({}, request(right)):
        assert take(static, same).custom == certified
    if kind not in {"NIL", "DER"}:
        assert refused(static, request(other)) == {path}


@pytest.mark.parametrize(
    "oid",
    # usages, purposes, names, policies, status, the template, Adobe's, the short-term mark, noRevAvail
    [
        "2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.32", "2.5.29.19", "2.5.29.14", "2.5.29.35", "2.5.29.31",
        "1.3.6.1.5.5.7.1.1", "1.3.6.1.5.5.7.1.3", "1.3.6.1.5.5.7.48.1.5", "1.3.6.1.4.1.311.21.7", "2.5.29.9",
        "1.2.840.113583.1.1.9.1", "1.2.840.113583.1.1.9.2", "0.4.0.194121.2.1", "2.5.29.56",
        # application policies, the older template, an account's SID, Netscape's type: usages by another name
        "1.3.6.1.4.1.311.21.10", "1.3.6.1.4.1.311.20.2", "1.3.6.1.4.1.311.25.2", "2.16.840.1.113730.1.1",
    ],
)  # fmt: skip
def test_nothing_goes_around_the_rules_of_an_extension(oid: str) -> None:
    rule = {"presence": "OPTIONAL", "value_type": "DER"}
    assert unusable({"custom_extensions": {oid: rule}}) == {f"custom_extensions.{oid}"}


def test_extensions_of_the_wrong_shape() -> None:
    rule = {"presence": "OPTIONAL", "value_type": "UTF8STRING"}
    shapes: tuple[Any, ...] = ([], "x", 5)
    for wrong in shapes:
        assert malformed({"custom_extensions": {"1.2.3": rule}}, {"custom_extensions": wrong}) == {"custom_extensions"}
        assert unusable({"custom_extensions": wrong}) == {"custom_extensions"}
    values: tuple[Any, ...] = ([], {}, True, 5.0)
    for value in values:
        assert malformed({"custom_extensions": {"1.2.3": rule}}, {"custom_extensions": {"1.2.3": value}})
    assert unusable({"custom_extensions": {"x": rule}}) == {"custom_extensions.x"}
    assert unusable({"custom_extensions": {"1.2.3": {**rule, "value_format": "("}}}) == {
        "custom_extensions.1.2.3.value_format"
    }
    assert refused({}, {"custom_extensions": {"1.2.3": "x"}}) == {"custom_extensions.1.2.3"}


def test_how_a_certificate_is_signed() -> None:
    document = {
        "signature": {
            "algorithm": {"presence": "STATIC", "list": ["RSA"]},
            "hash_algorithm": {"presence": "OPTIONAL", "list": ["SHA-256", "SHA-384"]},
        }
    }
    assert take(document, {}).signature == ("RSA", None)
    assert take(document, {"signature": {"hash_algorithm": "SHA-256"}}).signature == ("RSA", "SHA-256")
    assert refused(document, {"signature": {"algorithm": "ECDSA"}}) == {"signature.algorithm"}
    assert refused(document, {"signature": {"hash_algorithm": "SHA-512"}}) == {"signature.hash_algorithm"}
    assert refused(document, {"signature": {"x": 1}}) == {"signature.x"}
    assert malformed(document, {"signature": {"algorithm": ["RSA"]}}) == {"signature.algorithm"}
    assert malformed(document, {"signature": "RSA"}) == {"signature"}
    two = {"algorithm": {"presence": "STATIC", "list": ["RSA", "ECDSA"]}, "hash_algorithm": {"presence": "OPTIONAL"}}
    assert unusable({"signature": two}) == {"signature.algorithm.list", "signature.hash_algorithm.list"}


def test_a_certificate_lives_as_long_as_the_policy_says() -> None:
    assert load({}).lifetime == timedelta(seconds=600)
    assert load({"validity": {"secondsmin": 60, "secondsmax": 120}}).lifetime == timedelta(seconds=120)
    assert load({"validity": {"secondsmax": 300}}).document["validity"]["secondsmin"] == 300
    wrong: tuple[dict[str, int], ...] = (
        {"secondsmax": 601},
        {"secondsmax": 59},
        {"secondsmax": 10**15},
        {"secondsmax": -(10**15)},
        {"secondsmin": 0},
        {"secondsmin": 300, "secondsmax": 200},
        {"not_before_negative_skew": -1},
    )
    for validity in wrong:
        assert unusable({"validity": validity}) == {"validity"}


def test_what_has_no_rule_is_forbidden_and_costs_nothing_when_not_sent() -> None:
    request: dict[str, Any] = {
        "key_usages": {"digital_signature": True},
        "extended_key_usages": [DOCUMENT],
        "qualified_statements": {"etsi_qc_type": ESIGN},
        "ms_extension_template": {"id": "1.2.3"},
    }
    assert refused({}, request) == set(request)
    empty: dict[str, Any] = {branch: type(value)() for branch, value in request.items()}
    assert take({}, empty) == take({}, {})
    assert not load({}).further
