import timeit
from datetime import date
from typing import Any

import pytest
from asn1crypto import x509 as asn1_x509
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cases import cases
from intaglio.accounts import policy
from intaglio.accounts.certified import Certified, apply
from intaglio.accounts.kinds import Kind, starting_policy
from intaglio.errors import ContentRefused, Malformed
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.pki.profiles import PROFILES
from intaglio.pki.subject import ATTRIBUTES, Subject, name

_TODAY = date(2026, 11, 24)
_CN: dict[str, Any] = {"common_name": {"presence": "STATIC", "format": "Somebody"}}


def load(document: Any) -> policy.Policy:
    return policy.load(document, PROFILES["aatl-a-person"])


def _take(document: Any, request: Any) -> Certified:
    return apply(load(document), request, today=_TODAY)


def _refused(document: Any, request: Any) -> dict[str, str]:
    with pytest.raises(ContentRefused) as refused:
        _take(document, request)
    return refused.value.fields


def _malformed(document: Any, request: Any) -> dict[str, str]:
    with pytest.raises(Malformed) as malformed:
        _take(document, request)
    return malformed.value.fields


def _unusable(document: Any) -> dict[str, str]:
    with pytest.raises(ContentRefused) as refused:
        load(document)
    return refused.value.fields


# Every attribute under every form of rule ------------------------------------------------------------

# branch, field: a right value, another right one, an expression of the right one only, a wrong one
_STRINGS: dict[tuple[str, str], tuple[str, str, str, str]] = {
    ("subject_dn", field): ("Right", "Other", "^R[a-z]+$", "two  blanks")
    for field in ATTRIBUTES
    if field != "organizational_unit"
} | {
    ("subject_dn", "country"): ("GB", "FR", "GB|DE", "ZZ"),
    ("subject_dn", "jurisdiction_of_incorporation_country_name"): ("GB", "FR", "GB|DE", "gb"),
    ("subject_dn", "email"): ("a@example.com", "b@example.org", ".*@example[.]com", "a@b@c"),
    ("subject_dn", "serial_number"): ("AB-1", "2", "[A-Z]+-[0-9]+", "a_b"),
    ("subject_da", "gender"): ("m", "F", "[mM]", "x"),
    ("subject_da", "place_of_birth"): ("Łódź", "London", "\\p{L}{4}", "Lond\u200bon"),
}
_LISTS: dict[tuple[str, str], tuple[str, str, str, str]] = {
    ("subject_dn", "organizational_unit"): ("Right", "Other", "^R[a-z]+$", " Right"),
    ("subject_da", "country_of_citizenship"): ("GB", "FR", "GB|DE", "UK"),
    ("subject_da", "country_of_residence"): ("GB", "FR", "GB|DE", "XK"),
    ("san", "emails"): ("a@example.com", "b@example.org", ".*@example[.]com", "a"),
    ("san", "dns_names"): ("a.example", "b.example", "a[.].*", "*.example"),
    ("san", "uris"): ("https://a.example/", "urn:b", "https:.*", "/a"),
    ("san", "ip_addresses"): ("192.0.2.1", "2001:db8::1", "192[.].*", "192.0.2.0/24"),
}


def _document(branch: str, field: str, rule: Any) -> dict[str, Any]:
    if (branch, field) == ("subject_dn", "common_name"):
        return {"subject_dn": {"country": {"presence": "STATIC", "format": "GB"}, field: rule}}
    return {"subject_dn": {**_CN}, branch: {**(_CN if branch == "subject_dn" else {}), field: rule}}


def _certified(certified: Certified, branch: str, field: str) -> Any:
    if field == "organizational_unit":
        return certified.subject.organizational_units
    if branch == "subject_dn":
        return certified.subject.attributes.get(field)
    part = certified.directory if branch == "subject_da" else certified.alternatives
    return None if part is None else getattr(part, field)


_SENT = ("nothing", "right", "other", "wrong", "mistyped")
# presence, what is sent: certified (right or nothing), refused or malformed
_OUTCOMES = {
    "REQUIRED": ("refused", "right", "refused", "refused", "malformed"),
    "OPTIONAL": ("nothing", "right", "refused", "refused", "malformed"),
    "FORBIDDEN": ("nothing", "refused", "refused", "refused", "malformed"),
    "STATIC": ("right", "right", "refused", "refused", "malformed"),
    None: ("nothing", "refused", "refused", "refused", "malformed"),
}
_TABLE = [(rule, sent, out) for rule, outs in _OUTCOMES.items() for sent, out in zip(_SENT, outs, strict=True)]


@pytest.mark.parametrize(("branch", "field"), _STRINGS)
@pytest.mark.parametrize(("presence", "sent", "outcome"), _TABLE)
def test_string_rules(branch: str, field: str, presence: str | None, sent: str, outcome: str) -> None:
    right, other, expression, wrong = _STRINGS[branch, field]
    rule = {"presence": presence, "format": right if presence == "STATIC" else expression}
    document = _document(branch, field, rule)
    if presence is None:
        del document[branch][field]
    value = {"nothing": None, "right": right, "other": other, "wrong": wrong, "mistyped": [right]}[sent]
    request = {branch: {} if sent == "nothing" else {field: value}}
    _check(document, request, outcome, (branch, field), right)


@pytest.mark.parametrize(("branch", "field"), _LISTS)
@pytest.mark.parametrize(("presence", "sent", "outcome"), _TABLE)
def test_list_rules(branch: str, field: str, presence: str | None, sent: str, outcome: str) -> None:
    right, other, expression, wrong = _LISTS[branch, field]
    counts = {"REQUIRED": (1, 2), "OPTIONAL": (0, 2), "FORBIDDEN": (0, 0), "STATIC": (1, 1), None: (0, 0)}[presence]
    rule = {
        "static": presence == "STATIC",
        "list": [right] if presence == "STATIC" else ["nothing like it", expression],
        "mincount": counts[0],
        "maxcount": counts[1],
    }
    document = _document(branch, field, rule)
    if presence is None:
        del document[branch][field]
    value = {"nothing": None, "right": [right], "other": [other], "wrong": [wrong], "mistyped": right}[sent]
    request = {branch: {} if sent == "nothing" else {field: value}}
    _check(document, request, outcome, (branch, field), (right,))


def _check(document: Any, request: Any, outcome: str, place: tuple[str, str], right: Any) -> None:
    path = ".".join(place)
    if outcome == "malformed":
        assert _malformed(document, request).keys() == {path}
    elif outcome == "refused":
        assert {found.partition("[")[0] for found in _refused(document, request)} == {path}
    else:
        certified = _take(document, request)
        found = _certified(certified, *place)
        assert found == right if outcome == "right" else not found


def test_elements_of_a_list_are_named_by_place() -> None:
    rule = {"list": ["[a-z]+"], "maxcount": 9}
    document = _document("subject_dn", "organizational_unit", rule)
    request: dict[str, Any] = {"subject_dn": {"organizational_unit": ["a", "B", "c", " d", "a"]}}
    assert _refused(document, request).keys() == {f"subject_dn.organizational_unit[{place}]" for place in (1, 3, 4)}
    request = {"subject_dn": {"organizational_unit": ["a", 1, None]}}
    assert _malformed(document, request).keys() == {f"subject_dn.organizational_unit[{place}]" for place in (1, 2)}


def test_counts_of_a_list() -> None:
    document = _document("subject_dn", "organizational_unit", {"list": [], "mincount": 2, "maxcount": 3})
    for wrong in ([], ["a"], ["a", "b", "c", "d"], [str(number) for number in range(5000)]):
        assert "subject_dn.organizational_unit" in _refused(document, {"subject_dn": {"organizational_unit": wrong}})
    for right in (["b", "a"], ["a", "b", "c"]):
        certified = _take(document, {"subject_dn": {"organizational_unit": right}})
        assert certified.subject.organizational_units == tuple(right)


def test_a_static_list_is_the_same_list_in_the_same_order() -> None:
    document = _document("subject_dn", "organizational_unit", {"static": True, "list": ["a", "b"], "maxcount": 2})
    for same in ({}, {"organizational_unit": ["a", "b"]}):
        assert _take(document, {"subject_dn": same}).subject.organizational_units == ("a", "b")
    for other in ([], ["a"], ["b", "a"], ["a", "b", "c"]):
        assert _refused(document, {"subject_dn": {"organizational_unit": other}})


def test_an_expression_matches_the_whole_value() -> None:
    document = _document("subject_dn", "locality", {"presence": "OPTIONAL", "format": "Paris"})
    for wrong in ("Paris 2", "in Paris", "paris"):
        assert _refused(document, {"subject_dn": {"locality": wrong}}).keys() == {"subject_dn.locality"}


@pytest.mark.parametrize("expression", ["((a*)*)*b", "(a|aa)+b", "(.*)*x", "(a?){30}a{30}b"])
def test_no_expression_takes_long(expression: str) -> None:
    document = _document("subject_dn", "locality", {"presence": "OPTIONAL", "format": expression})
    policy = load(document)

    def attempt() -> None:
        with pytest.raises(ContentRefused):
            apply(policy, {"subject_dn": {"locality": "a" * 128}}, today=_TODAY)

    assert timeit.timeit(attempt, number=1) < 0.25


# Dates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("presence", "sent", "outcome"),
    [
        ("REQUIRED", "1979-01-31", True),
        ("OPTIONAL", "1979-01-31", True),
        ("OPTIONAL", "2000-02-29", True),
        ("OPTIONAL", "2026-11-24", True),
        ("OPTIONAL", None, True),
        ("FORBIDDEN", None, True),
        ("REQUIRED", None, False),
        ("FORBIDDEN", "1979-01-31", False),
        *(
            ("OPTIONAL", wrong, False)
            for wrong in ("2026-11-25", "1999-02-29", "1979-1-31", "19790131", "1979-W05-3", "1979-031", "79-01-31")
        ),
        *(
            ("OPTIONAL", wrong, False)
            for wrong in (
                "",
                "0000-01-01",
                "1979-01-31T00:00",
                "1979-01-31 ",
                "\uff11979-01-31",
                "31.01.1979",
                "1979-01-31\n",
            )
        ),
    ],
)
def test_date_of_birth(presence: str, sent: str | None, outcome: bool) -> None:
    document = _document("subject_da", "date_of_birth", presence)
    request = {"subject_da": {"date_of_birth": sent}}
    if not outcome:
        assert _refused(document, request).keys() == {"subject_da.date_of_birth"}
        return
    directory = _take(document, request).directory
    assert (directory.date_of_birth if directory else None) == (date.fromisoformat(sent) if sent else None)


def test_a_date_of_birth_is_a_string() -> None:
    document = _document("subject_da", "date_of_birth", "OPTIONAL")
    assert _malformed(document, {"subject_da": {"date_of_birth": 19790131}}).keys() == {"subject_da.date_of_birth"}


@pytest.mark.parametrize(
    "value",
    [
        "РayPal",  # the first letter is Cyrillic
        "Аcme Ltd",
        "Acme Lτd",
        "Google\u0430",
        "ｒоot",
        "Раура\u217c",  # the last is a Roman numeral
        "\U0001d5acicrosoft",
    ],
)
def test_a_word_of_several_scripts_is_refused_unless_the_rule_allows_it(value: str) -> None:
    for field in ("organization", "common_name", "organizational_unit"):
        sent = {"subject_dn": {field: [value] if field == "organizational_unit" else value}}
        rule: dict[str, Any] = {"maxcount": 1} if field == "organizational_unit" else {"presence": "OPTIONAL"}
        assert {one.partition("[")[0] for one in _refused(_document("subject_dn", field, rule), sent)} == {
            f"subject_dn.{field}"
        }
        _take(_document("subject_dn", field, {**rule, "mixed_scripts": True}), sent)
    static = {"presence": "STATIC", "format": value}
    person = PROFILES["aatl-a-person"]
    with pytest.raises(ContentRefused) as refused:
        policy.propose(_document("subject_dn", "organization", static), person)
    assert refused.value.fields.keys() == {"subject_dn.organization.format"}
    policy.propose(_document("subject_dn", "organization", {**static, "mixed_scripts": True}), person)
    # what was in force before there was this rule stays so
    load(_document("subject_dn", "organization", static))


def test_typed_texts_do_not_mix_scripts_either() -> None:
    rule = {"value_type": "UTF8STRING"}
    sent = {"subject_dn": {"extra_attributes": [{"type": "2.5.4.12", "value": "Dirеctor"}]}}
    assert _refused(_document("subject_dn", "extra_attributes", {"2.5.4.12": rule}), sent).keys() == {
        "subject_dn.extra_attributes[0]"
    }
    _take(_document("subject_dn", "extra_attributes", {"2.5.4.12": {**rule, "mixed_scripts": True}}), sent)


@pytest.mark.parametrize(
    "value",
    [
        "Müller & Söhne, Inc.", "ООО Яндекс Pay", "Ελληνικά Γράμματα AE", "株式会社トヨタ Toyota", "Tシャツ屋",
        "삼성 SDS",
        "Łódź 1º", "עברית", "العربية", "หมวดหมู่", "हिन्दी", "ქართული", "O’Brien–Σ", "№ 5 Завод", "ΑΒΓ-ABC",
    ],
)  # fmt: skip
def test_names_of_the_world_are_no_mixture(value: str) -> None:
    document = _document("subject_dn", "organization", {"presence": "REQUIRED"})
    assert _take(document, {"subject_dn": {"organization": value}}).subject.attributes["organization"] == value


# Typed maps ------------------------------------------------------------------------------------------

_DER = "3003020105"
# type, expression: right value and its DER, another right one, a wrong one, one of the wrong JSON type
_TYPED: dict[str, tuple[str, Any, str, Any, Any, Any]] = {
    "UTF8STRING": (".r.", "ürü", "0c05c3bc72c3bc", "other", "e\u0301r", 5),
    "PRINTABLESTRING": ("[A-Z ]+", "DR MED", "1306" + b"DR MED".hex(), "other", "D*", 5),
    "IA5STRING": ("[a-z@*]+", "a@b*", "1604" + b"a@b*".hex(), "OTHER", "é", 5),
    "INTEGER": ("-?[0-9]{3}", 128, "02020080", 5, 1 << 300, "--5"),
    "DER": ("3003.*", _DER, "3003020105", "0500", "05", 5),
    "NIL": ("", None, "0500", None, None, "x"),
}
_MAPS = [("subject_dn", "extra_attributes"), ("subject_da", "extra_attributes"), ("san", "other_names")]
_TYPED_CASES = [
    (branch, field, kind)
    for branch, field in _MAPS
    for kind in _TYPED
    if branch != "subject_dn" or kind in {"UTF8STRING", "PRINTABLESTRING", "IA5STRING"}
]


def _encoded(certified: Certified, branch: str) -> list[str]:
    if branch == "subject_dn":
        return [typed.der.hex() for typed in certified.subject.extra]
    if branch == "subject_da":
        return [typed.der.hex() for typed in certified.directory.extra] if certified.directory else []
    return [typed.der.hex() for typed in certified.alternatives.other_names] if certified.alternatives else []


@pytest.mark.parametrize(("branch", "field", "kind"), _TYPED_CASES)
def test_typed_maps(branch: str, field: str, kind: str) -> None:
    expression, right, encoded, other, wrong, mistyped = _TYPED[kind]
    path = f"{branch}.{field}"

    def request(*values: Any) -> dict[str, Any]:
        return {branch: {field: [{"type": "1.2.3.4", "value": value} for value in values]}}

    rule = {"value_type": kind, "value_format": expression, "mincount": 0, "maxcount": 1}
    optional = _document(branch, field, {"1.2.3.4": rule})
    assert _encoded(_take(optional, {}), branch) == []
    assert _encoded(_take(optional, request(right)), branch) == [encoded]
    assert _malformed(optional, request(mistyped)).keys() == {f"{path}[0]"}
    assert _refused(optional, request(right, right)).keys() == {f"{path}[1]"}
    if kind != "NIL":
        assert _refused(optional, request(other)).keys() == {f"{path}[0]"}
        assert _refused(optional, request(wrong)).keys() == {f"{path}[0]"}

    required = _document(branch, field, {"1.2.3.4": {**rule, "mincount": 1}})
    assert [found.partition("[")[0] for found in _refused(required, {})] == [path]

    forbidden = _document(branch, field, {"1.2.3.4": {**rule, "maxcount": 0}})
    assert _refused(forbidden, request(right)).keys() == {f"{path}[0]"}
    unknown = _document(branch, field, {"1.2.3.5": rule})
    assert _refused(unknown, request(right)).keys() == {f"{path}[0]"}

    own = "" if kind == "NIL" else str(right)
    static = _document(branch, field, {"1.2.3.4": {"value_type": kind, "static": True, "value_format": own}})
    for same in ({}, request(right)):
        assert _encoded(_take(static, same), branch) == [encoded]
    assert _refused(static, request(right, right)).keys() == {f"{path}[1]"}
    if kind != "NIL":
        assert _refused(static, request(other)).keys() == {f"{path}[0]"}


@pytest.mark.parametrize("sent", [5, "x", {}, [5], [{}], [{"type": 5}], [{"type": "1.2.3", "value": "a", "more": 1}]])
def test_typed_values_of_the_wrong_shape(sent: Any) -> None:
    document = _document("san", "other_names", {"1.2.3": {"value_type": "UTF8STRING"}})
    assert _malformed(document, {"san": {"other_names": sent}})


@pytest.mark.parametrize("value", ["--5", "-", "-0", "007", "²", "٣", "5 ", "1_0", True, 5.0, "9" * 5000])
def test_a_number_is_written_in_one_way_only(value: Any) -> None:
    document = _document("san", "other_names", {"1.2.3": {"value_type": "INTEGER", "value_format": ".*"}})
    assert _malformed(document, {"san": {"other_names": [{"type": "1.2.3", "value": value}]}})


def test_a_number_that_is_too_large_is_refused() -> None:
    document = _document("san", "other_names", {"1.2.3": {"value_type": "INTEGER", "value_format": ".*"}})
    assert _refused(document, {"san": {"other_names": [{"type": "1.2.3", "value": 10**5000}]}})


@pytest.mark.parametrize("encoded", ["", "?", "05", "050000", "3080", "1f020101", "30020c05", "050", "05 00", "0x0500"])
def test_der_is_one_whole_element(encoded: str) -> None:
    document = _document("san", "other_names", {"1.2.3": {"value_type": "DER"}})
    assert _refused(document, {"san": {"other_names": [{"type": "1.2.3", "value": encoded}]}})


# Requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [[], "x", 5, True, 1.5])
def test_a_request_is_an_object(request_: Any) -> None:
    assert _malformed({"subject_dn": _CN}, request_)


def test_all_wrong_types_are_named_at_once() -> None:
    request = {"subject_dn": {"common_name": 5, "organizational_unit": "x"}, "subject_da": [], "san": {"emails": [1]}}
    document = {"subject_dn": _CN, "san": {"emails": {"maxcount": 1}}}
    found = _malformed(document, request)
    assert found.keys() >= {"subject_dn.common_name", "subject_dn.organizational_unit", "subject_da", "san.emails[0]"}
    assert found["subject_dn.common_name"] == "must be a string"


def test_all_refusals_are_named_at_once() -> None:
    request = {
        "subject_dn": {"country": "GB", "common_nam": "x"},
        "subject_da": {"gender": "m"},
        "san": {"emails": ["a@b.example"], "x": 1},
        "nonsense": {},
        "signature": {"algorithm": "RSA"},
        "extended_key_usages": ["1.3.6.1.5.5.7.3.36"],
        "key_usages": {"digital_signature": True},
        "qualified_statements": {"etsi_qc_type": "0.4.0.1862.1.6.1"},
        "ms_extension_template": {"id": "1.2.3"},
        "custom_extensions": {"1.2.3": "NIL"},
    }
    assert _refused({"subject_dn": {"common_name": {"presence": "REQUIRED"}}}, request).keys() == {
        "subject_dn.common_name",
        "subject_dn.country",
        "subject_dn.common_nam",
        "subject_da.gender",
        "san.emails",
        "san.x",
        "nonsense",
        "signature.algorithm",
        "extended_key_usages",
        "key_usages",
        "qualified_statements",
        "ms_extension_template",
        "custom_extensions.1.2.3",
    }


@pytest.mark.parametrize("request_", [None, {}, {"subject_dn": None}, {"subject_dn": {"locality": None}}, {"san": {}}])
def test_an_empty_subject_is_refused(request_: Any) -> None:
    document = {"subject_dn": {"locality": {"presence": "OPTIONAL"}}}
    assert _refused(document, request_).keys() == {"subject_dn"}
    assert _refused({}, request_)


# Documents -------------------------------------------------------------------------------------------


def test_every_bad_place_of_a_document_is_named_at_once() -> None:
    document = {
        "subject_dn": {
            "common_name": {"presence": "SOMETIMES"},
            "surname": {"presence": "STATIC"},
            "given_name": {"presence": "STATIC", "format": "a  b"},
            "state": {"presence": "OPTIONAL", "format": "(a"},
            "locality": {"presence": "OPTIONAL", "format": "a" * 513},
            "pseudonym": {"presence": "OPTIONAL", "format": "(a)\\1"},
            "country": {"presence": "STATIC", "format": "ZZ"},
            "organization": "REQUIRED",
            "email": {"presence": "OPTIONAL", "expression": "x"},
            "organizational_unit": {"list": ["ok", "("], "mincount": 3, "maxcount": 2},
            "nickname": {"presence": "OPTIONAL"},
            "extra_attributes": {
                "2.5.4.12": {"value_type": "NIL"},
                "2.5.4.3": {"value_type": "UTF8STRING"},
                "2.5.4.46": {"value_type": "UTF8STRING"},
                "2.5.4.20": {"value_type": "PRINTABLESTRING", "static": True, "value_format": "1" * 33},
                "2.5.4.44": {"value_type": "IA5STRING"},
                "x": {"value_type": "UTF8STRING"},
            },
        },
        "subject_da": {
            "date_of_birth": "STATIC",
            "gender": {"presence": "STATIC", "format": "x"},
            "country_of_residence": {"static": True, "list": []},
            "extra_attributes": {"1.3.6.1.5.5.7.9.3": {"value_type": "UTF8STRING"}},
        },
        "san": {"emails": {"maxcount": 33}, "other_names": {"1.2.3": {"value_type": "INTEGER", "static": True}}},
        "signature": {"algorithm": {"presence": "STATIC", "list": ["RSA-PSS"]}, "hash": {}},
        "nonsense": {},
        "validity": {"secondsmax": 601},
        "public_key": {"key_type": "DSA"},
    }
    assert _unusable(document).keys() == {
        "subject_dn.common_name",
        "subject_dn.surname.format",
        "subject_dn.given_name.format",
        "subject_dn.state.format",
        "subject_dn.locality.format",
        "subject_dn.pseudonym.format",
        "subject_dn.country.format",
        "subject_dn.organization",
        "subject_dn.email",
        "subject_dn.organizational_unit",
        "subject_dn.organizational_unit.list[1]",
        "subject_dn.nickname",
        "subject_dn.extra_attributes.2.5.4.12",
        "subject_dn.extra_attributes.2.5.4.3",
        "subject_dn.extra_attributes.2.5.4.46",
        "subject_dn.extra_attributes.2.5.4.20",
        "subject_dn.extra_attributes.2.5.4.44",
        "subject_dn.extra_attributes.x",
        "subject_da.date_of_birth",
        "subject_da.gender.format",
        "subject_da.country_of_residence.list",
        "subject_da.extra_attributes.1.3.6.1.5.5.7.9.3",
        "san.emails",
        "san.other_names.1.2.3.value_format",
        "signature.algorithm.list",
        "signature.hash",
        "nonsense",
        "validity",
        "public_key.key_type",
    }


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_a_document_is_an_object(document: Any) -> None:
    assert _unusable(document)


@pytest.mark.parametrize("branch", ["subject_dn", "subject_da", "san", "validity", "public_key", "signature"])
@pytest.mark.parametrize("wrong", [5, "x", [], None])
def test_a_branch_is_an_object(branch: str, wrong: Any) -> None:
    assert _unusable({branch: wrong}).keys() == {branch}


def test_half_a_surrogate_pair_is_no_expression() -> None:
    assert _unusable(_document("subject_dn", "locality", {"presence": "OPTIONAL", "format": "\ud800"}))


def test_what_is_served_says_what_holds_where_the_document_is_silent() -> None:
    document = {"subject_dn": _CN}
    served = load(document).document
    assert served == {
        "subject_dn": _CN,
        "validity": {
            "secondsmin": 600,
            "secondsmax": 600,
            "not_before_negative_skew": 0,
            "not_before_positive_skew": 0,
        },
        "public_key": {"key_type": "RSA", "allowed_lengths": [2048]},
    }
    assert document == {"subject_dn": _CN}


@pytest.mark.parametrize(
    "public_key",
    [
        {"key_type": "ECDSA"},
        {"key_type": "ECDSA", "allowed_lengths": [521]},
        {"allowed_lengths": [1024]},
        {"allowed_lengths": [2048, 256]},
        {"allowed_lengths": []},
    ],
)
def test_a_policy_does_not_promise_keys_that_nobody_makes(public_key: Any) -> None:
    assert _unusable({"public_key": public_key}).keys() == {"public_key.allowed_lengths"}


def test_identities_get_the_first_length_that_a_policy_allows() -> None:
    found = load({"subject_dn": _CN, "public_key": {"key_type": "RSA", "allowed_lengths": [3072, 2048]}})
    assert found.algorithm == KeyAlgorithm.RSA_3072


# Anything at all -------------------------------------------------------------------------------------

_EVERYTHING: dict[str, Any] = {
    "subject_dn": {
        **{field: {"presence": "OPTIONAL"} for field in ATTRIBUTES if field != "organizational_unit"},
        "organizational_unit": {"maxcount": 32},
        "extra_attributes": {"2.5.4.12": {"value_type": "UTF8STRING", "value_format": ".*", "maxcount": 4}},
    },
    "subject_da": {
        "gender": {"presence": "OPTIONAL"},
        "date_of_birth": "OPTIONAL",
        "place_of_birth": {"presence": "OPTIONAL", "format": ".*"},
        "country_of_citizenship": {"maxcount": 4},
        "country_of_residence": {"maxcount": 4, "list": ["GB"]},
        "extra_attributes": {"1.2.3": {"value_type": "INTEGER", "value_format": ".*"}, "1.2.4": {"value_type": "NIL"}},
    },
    "san": {
        "emails": {"maxcount": 4},
        "dns_names": {"maxcount": 4},
        "uris": {"maxcount": 4},
        "ip_addresses": {"maxcount": 4},
        "other_names": {"1.2.3": {"value_type": "DER", "maxcount": 4}, "1.2.4": {"value_type": "IA5STRING"}},
    },
    "key_usages": {"digital_signature": "OPTIONAL", "content_commitment": "OPTIONAL"},
    "extended_key_usages": {"ekus": {"list": [], "maxcount": 4}, "critical": True},
    "qualified_statements": {
        "semantics": {"identifier": {"presence": "OPTIONAL"}, "name_authorities": {"list": [], "maxcount": 4}},
        "etsi_qc_type": {"presence": "OPTIONAL"},
        "etsi_qc_retention_period": {"presence": "OPTIONAL", "min": 0, "max": 200},
        "etsi_qc_pds": {"presence": "OPTIONAL"},
    },
    "ms_extension_template": {
        "template_id": {"presence": "OPTIONAL"},
        "major_version": {"presence": "OPTIONAL", "min": 0, "max": 4294967295},
        "minor_version": {"presence": "OPTIONAL", "min": 0, "max": 4294967295},
    },
    "custom_extensions": {
        "1.2.3": {"presence": "OPTIONAL", "value_type": "DER"},
        "1.2.4": {"presence": "OPTIONAL", "value_type": "INTEGER"},
        "1.2.5": {"presence": "OPTIONAL", "value_type": "NIL"},
        "1.2.6": {"presence": "OPTIONAL", "value_type": "UTF8STRING"},
    },
    "signature": {
        "algorithm": {"presence": "OPTIONAL", "list": ["RSA"]},
        "hash_algorithm": {"presence": "OPTIONAL", "list": ["SHA-256"]},
    },
}
_LOADED = load(_EVERYTHING)

_TEXT = st.one_of(
    st.text(max_size=70),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=6),
    st.text(alphabet="abéЖ漢 -.'", min_size=1, max_size=66),
    st.sampled_from(["GB", "m", "1979-01-31", "a@b.example", "a.example", "urn:a", "::1", "2.5.4.12", "1.2.3", "0500"]),
    st.sampled_from(["1.3.6.1.5.5.7.3.36", "0.4.0.1862.1.6.1", "https://a.example/", "en", "NIL", "RSA", "SHA-256"]),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXT, inner, max_size=4)),
    max_leaves=12,
)
_TYPED_JSON = st.lists(
    st.one_of(
        _JSON,
        st.fixed_dictionaries(
            {"type": st.one_of(_TEXT, st.sampled_from(["1.2.3", "1.2.4", "2.5.4.12"])), "value": _JSON}
        ),
    ),
    max_size=3,
)


def _branch(branch: str) -> st.SearchStrategy[Any]:
    fields = {
        field: st.one_of(
            _TYPED_JSON if "1.2.3" in rule or "2.5.4.12" in rule else st.lists(_TEXT, max_size=4), _TEXT, _JSON
        )
        if isinstance(rule, dict)
        else st.one_of(_TEXT, _JSON)
        for field, rule in _EVERYTHING[branch].items()
    }
    return st.fixed_dictionaries({}, optional=fields)


_SHAPED = st.fixed_dictionaries({}, optional={branch: _branch(branch) for branch in _EVERYTHING})


def _read(subject: Subject) -> list[tuple[str, str]]:
    """Return object identifiers and values as others read them."""
    rdns = asn1_x509.Name.load(name(subject).der, strict=True).chosen
    return [(attribute["type"].dotted, attribute["value"].native) for rdn in rdns for attribute in rdn]


def _names_something(refused: Malformed | ContentRefused) -> None:
    assert refused.fields
    assert all(isinstance(reason, str) and reason for reason in refused.fields.values())


@settings(max_examples=cases(400), deadline=None)
@given(request=st.one_of(_JSON, _SHAPED))
def test_whatever_is_sent_is_accepted_or_refused_by_name(request: Any) -> None:
    try:
        certified = apply(_LOADED, request, today=_TODAY)
    except (Malformed, ContentRefused) as error:
        _names_something(error)
        return
    _read(certified.subject)
    for extension, _ in certified.extensions():
        extension.public_bytes()


_CLEAN = st.one_of([st.text(alphabet=one, min_size=1, max_size=64) for one in ("abcé漢-.'", "Жё-.'")])
_TITLES: st.SearchStrategy[list[dict[str, str]]] = st.lists(_CLEAN, max_size=4, unique=True).map(
    lambda titles: [{"type": "2.5.4.12", "value": title} for title in titles]
)
_OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("state", "locality", "organization", "surname", "given_name", "pseudonym"), _CLEAN),
    "country": st.sampled_from(["GB", "FR", "JP"]),
    "organizational_unit": st.lists(_CLEAN, max_size=5, unique=True),
    "email": st.from_regex(r"\A[a-z]{1,9}(\.[a-z]{1,9})?@[a-z]{1,9}\.[a-z]{2,9}\Z"),
    "extra_attributes": _TITLES,
}
_ASKED = st.fixed_dictionaries({"common_name": _CLEAN}, optional=_OPTIONAL)


@settings(max_examples=cases(150), deadline=None)
@given(asked=_ASKED)
def test_what_is_certified_is_exactly_what_was_asked_for(asked: dict[str, Any]) -> None:
    subject = _read(apply(_LOADED, {"subject_dn": asked}, today=_TODAY).subject)
    found = sorted(subject)
    expected: list[tuple[str, str]] = []
    for field, value in asked.items():
        if field == "extra_attributes":
            expected += [(item["type"], item["value"]) for item in value]
        else:
            oid = ATTRIBUTES[field][0].dotted_string
            expected += [(oid, one) for one in (value if isinstance(value, list) else [value])]
    assert found == sorted(expected)
    units = [value for oid, value in subject if oid == "2.5.4.11"]
    assert units == asked.get("organizational_unit", [])


@settings(max_examples=cases(200), deadline=None)
@given(
    document=st.one_of(
        _JSON, st.dictionaries(st.sampled_from([*_EVERYTHING, "validity", "public_key"]), _JSON), _SHAPED
    )
)
@example(document={"extended_key_usages": "\ud800"})
def test_whatever_is_stored_is_usable_or_refused_by_name(document: Any) -> None:
    try:
        policy = load(document)
    except ContentRefused as error:
        _names_something(error)
        return
    try:
        apply(policy, {}, today=_TODAY)
    except ContentRefused as error:
        _names_something(error)


def test_a_simple_request_costs_little() -> None:
    policy = load(starting_policy(Kind.INDIVIDUAL, None, None))
    request = {
        "subject_dn": {"common_name": "John Doe", "country": "GB", "organizational_unit": ["Administration"]},
        "subject_da": {"gender": "m", "date_of_birth": "1979-01-31", "place_of_birth": "London"},
    }
    times = timeit.repeat(lambda: apply(policy, request, today=_TODAY), number=200, repeat=10)
    # A tenth of this is usual; the bound is for shared machines.
    assert min(times) / 200 < 0.0005


def test_a_title_has_no_more_characters_than_x520_allows() -> None:
    loaded = load({"subject_dn": {"extra_attributes": {"2.5.4.12": {"value_type": "UTF8STRING"}}}})

    def titled(title: str) -> object:
        sent = {"subject_dn": {"extra_attributes": [{"type": "2.5.4.12", "value": title}]}}
        return apply(loaded, sent, today=_TODAY)

    titled("ß" * 64)
    with pytest.raises(ContentRefused) as error:
        titled("ß" * 65)
    assert error.value.fields.keys() == {"subject_dn.extra_attributes[0]"}
