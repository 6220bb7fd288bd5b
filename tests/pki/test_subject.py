import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from email_validator import validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import cases
from intaglio.pki import der, text
from intaglio.pki.issuer import Issuer
from intaglio.pki.name import named
from intaglio.pki.publication import Publication
from intaglio.pki.subject import (
    ATTRIBUTES,
    Subject,
    SubjectAlternatives,
    SubjectDirectory,
    Typed,
    alternatives,
    directory_attributes,
    name,
)

_ALL = {
    "country": "GB",
    "state": "Kent",
    "locality": "Dover",
    "postal_code": "CT16 1AA",
    "street_address": "1 High Street",
    "jurisdiction_of_incorporation_country_name": "DE",
    "jurisdiction_of_incorporation_state_or_province_name": "Bayern",
    "jurisdiction_of_incorporation_locality_name": "München",
    "business_category": "Private Organization",
    "organization": "Žluťoučký kůň s.r.o.",
    "organization_identifier": "VATGB-123456789",
    "serial_number": "PNOGB-1234",
    "surname": "Doe",
    "given_name": "John",
    "pseudonym": "jd",
    "common_name": "John Doe",
    "email": "john.doe@example.com",
}


def _certificate(
    folder: Path,
    subject: Subject,
    directory: SubjectDirectory | None = None,
    san: SubjectAlternatives | None = None,
) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime(2026, 1, 1, tzinfo=UTC)
    issuer = Issuer("issuing", None, key, Publication("http://pki.example.com"), subject=x509.Name([]))
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if directory is not None:
        extensions.append((directory_attributes(directory), False))
    if san is not None:
        # Critical where there is no other name (RFC 5280 §4.1.2.6).
        extensions.append((alternatives(san), True))
    prepared = issuer.prepare(
        "aatl-a-person", subject=name(subject), public_key=key.public_key(), now=now, extensions=extensions
    )
    path = folder / "certificate.pem"
    path.write_bytes(issuer.issue(prepared).public_bytes(Encoding.PEM))
    return path


def _openssl(*arguments: str | Path) -> str:
    return subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, encoding="utf-8", timeout=20
    ).stdout


def test_openssl_reads_every_attribute_in_order_and_type(tmp_path: Path) -> None:
    subject = Subject(_ALL, ("Administration", "Sales"), (Typed("2.5.4.12", b"\x0c\x02Dr"),))
    path = _certificate(tmp_path, subject)
    read = _openssl("x509", "-in", path, "-noout", "-subject", "-nameopt", "sep_multiline,lname,utf8,show_type")
    assert [line.strip() for line in read.splitlines()[1:]] == [
        "countryName=PRINTABLESTRING:GB",
        "stateOrProvinceName=UTF8STRING:Kent",
        "localityName=UTF8STRING:Dover",
        "postalCode=UTF8STRING:CT16 1AA",
        "streetAddress=UTF8STRING:1 High Street",
        "jurisdictionCountryName=PRINTABLESTRING:DE",
        "jurisdictionStateOrProvinceName=UTF8STRING:Bayern",
        "jurisdictionLocalityName=UTF8STRING:München",
        "businessCategory=UTF8STRING:Private Organization",
        "organizationName=UTF8STRING:Žluťoučký kůň s.r.o.",
        "organizationIdentifier=UTF8STRING:VATGB-123456789",
        "organizationalUnitName=UTF8STRING:Administration",
        "organizationalUnitName=UTF8STRING:Sales",
        "serialNumber=PRINTABLESTRING:PNOGB-1234",
        "surname=UTF8STRING:Doe",
        "givenName=UTF8STRING:John",
        "pseudonym=UTF8STRING:jd",
        "commonName=UTF8STRING:John Doe",
        "emailAddress=IA5STRING:john.doe@example.com",
        "title=UTF8STRING:Dr",
    ]


def test_jurisdiction_and_organization_identifier_have_their_oids() -> None:
    rdns = asn1_x509.Name.load(name(Subject(_ALL)).der).chosen
    oids = {attribute["value"].native: attribute["type"].dotted for rdn in rdns for attribute in rdn}
    assert oids["München"] == "1.3.6.1.4.1.311.60.2.1.1"
    assert oids["Bayern"] == "1.3.6.1.4.1.311.60.2.1.2"
    assert oids["DE"] == "1.3.6.1.4.1.311.60.2.1.3"
    assert oids["VATGB-123456789"] == "2.5.4.97"


_ODD = st.text(alphabet='aé漢 #+,;<>=\\"\0/', min_size=1, max_size=20)


@settings(max_examples=cases(200), deadline=None)
@given(values=st.dictionaries(st.sampled_from([one for one in _ALL if one != "email"]), _ODD), title=_ODD)
def test_a_name_is_written_and_told_as_by_pyca(values: dict[str, str], title: str) -> None:
    for field in {"country", "jurisdiction_of_incorporation_country_name"} & values.keys():
        values[field] = "GB"
    subject = Subject(values, (title,), (Typed("2.5.4.12", der.element(0x0C, title.encode())),))
    attributes = [
        x509.NameAttribute(ATTRIBUTES[field][0], title if field == "organizational_unit" else values[field])
        for field in ATTRIBUTES
        if field in values or field == "organizational_unit"
    ]
    expected = x509.Name([*attributes, x509.NameAttribute(NameOID.TITLE, title)])
    assert name(subject) == named(expected)


@pytest.mark.parametrize("written", ["é" * 64, "漢" * 64, "𠮷" * 64, "a" * 64])
def test_a_common_name_is_bounded_in_characters_not_octets(tmp_path: Path, written: str) -> None:
    assert text.fault_of_text(written, 64) is None
    path = _certificate(tmp_path, Subject({"common_name": written}))
    read = _openssl("x509", "-in", path, "-noout", "-subject", "-nameopt", "utf8,show_type,sname")
    assert read.strip() == f"subject=CN=UTF8STRING:{written}"


def test_openssl_reads_the_directory_attributes(tmp_path: Path) -> None:
    directory = SubjectDirectory(
        gender="m",
        date_of_birth=date(1979, 1, 31),
        place_of_birth="Łódź",
        country_of_citizenship=("PL", "GB"),
        country_of_residence=("GB",),
        extra=(Typed("1.2.3.4", b"\x0c\x01b"), Typed("1.2.3.5", b"\x05\x00"), Typed("1.2.3.4", b"\x0c\x01a")),
    )
    path = _certificate(tmp_path, Subject({"common_name": "Jan"}), directory)
    assert "X509v3 Subject Directory Attributes" in _openssl("x509", "-in", path, "-noout", "-text")
    encoded = tmp_path / "sda.der"
    encoded.write_bytes(directory_attributes(directory).value)
    read = _openssl("asn1parse", "-inform", "DER", "-in", encoded)
    shape = []
    for line in read.splitlines():
        depth = line.partition("d=")[2].partition(" ")[0]
        kind, _, value = line.partition(": ")[2].partition(":")
        shape.append((int(depth), kind.strip(), value.encode() if kind.startswith("UTF8") else value))
    flat = [(kind, value) for _, kind, value in shape if kind not in {"SEQUENCE", "SET"}]
    assert flat == [
        ("OBJECT", "id-pda-dateOfBirth"),
        ("GENERALIZEDTIME", "19790131120000Z"),
        ("OBJECT", "id-pda-placeOfBirth"),
        ("UTF8STRING", "Łódź".encode()),
        ("OBJECT", "id-pda-gender"),
        ("PRINTABLESTRING", "m"),
        ("OBJECT", "id-pda-countryOfCitizenship"),
        # A SET OF is sorted in DER.
        ("PRINTABLESTRING", "GB"),
        ("PRINTABLESTRING", "PL"),
        ("OBJECT", "id-pda-countryOfResidence"),
        ("PRINTABLESTRING", "GB"),
        ("OBJECT", "1.2.3.4"),
        ("UTF8STRING", b"a"),
        ("UTF8STRING", b"b"),
        ("OBJECT", "1.2.3.5"),
        ("NULL", ""),
    ]
    assert [depth for depth, *_ in shape][:5] == [0, 1, 2, 2, 3]
    assert x509.load_pem_x509_certificate(path.read_bytes()).extensions.get_extension_for_oid(
        x509.ObjectIdentifier("2.5.29.9")
    ).value == directory_attributes(directory)


def test_openssl_reads_the_alternative_names(tmp_path: Path) -> None:
    san = SubjectAlternatives(
        ("a@example.com",),
        ("xn--mnchen-3ya.example",),
        ("https://example.com/%C3%A9",),
        ("192.0.2.1", "2001:db8::1"),
        (Typed("1.3.6.1.4.1.311.20.2.3", b"\x0c\x03u@e"),),
    )
    read = _openssl("x509", "-in", _certificate(tmp_path, Subject({}), None, san), "-noout", "-ext", "subjectAltName")
    assert read.splitlines()[-1].strip() == (
        "email:a@example.com, DNS:xn--mnchen-3ya.example, URI:https://example.com/%C3%A9, IP Address:192.0.2.1, "
        "IP Address:2001:DB8:0:0:0:0:0:1, othername: UPN::u@e"
    )


@pytest.mark.parametrize(
    "written", ["John Doe", "Žluťoučký kůň", "山田 太郎", "Ελένη", 'O\'Brien + Söhne, "X" <y>', "a"]
)
def test_text_that_may_be_certified(written: str) -> None:
    assert text.fault_of_text(written, 64) is None


@pytest.mark.parametrize(
    "written",
    [
        "",
        " a",
        "a ",
        "a  b",
        "a\tb",
        "a\nb",
        "a\x00b",
        "a\x7fb",
        "a\x85b",
        "a\u00a0b",  # no-break space
        "a\u3000b",  # ideographic space
        "a\u200bb",  # zero width space
        "a\u200db",  # zero width joiner
        "a\u00adb",  # soft hyphen
        "a\u202eb",  # right-to-left override
        "a\u2066b",  # left-to-right isolate
        "a\ufeffb",
        "a\u2028b",
        "a\u034fb",  # combining grapheme joiner
        "a\u3164b",  # Hangul filler
        "a\ufe0fb",  # variation selector
        "a\U000e0101b",
        "a\u2800b",  # blank Braille cell
        "a\ufffdb",
        "a\ue000b",  # private use
        "a\U000f0000b",
        f"a{chr(0xD800)}b",  # surrogate
        "a\ufffeb",  # noncharacter
        "a\u0378b",  # unassigned
        "e\u0301",  # not NFC
        "\u212b",  # Angstrom sign, NFC is another character
        "a" * 65,
        "é" * 65,
    ],
)
def test_text_that_may_not(written: str) -> None:
    assert text.fault_of_text(written, 64)


def test_countries_are_the_assigned_ones() -> None:
    assert len(text.COUNTRIES) == 249
    assert text.fault_of_country("GB") is None
    for wrong in ("gb", "UK", "ZZ", "XK", "EU", "G", "GBR", "", "\uff27\uff22"):
        assert text.fault_of_country(wrong)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (["a@example.com", "a.b+c@x.example", "o'b@a-b.example"], ["a", "a@b", "@x.y", "a@", ".a@x.y", "a..b@x.y"]),
        (["a" * 64 + "@x.example"], ["a" * 65 + "@x.example", "a@" + ".".join(["b" * 60] * 5), "a@-x.y", "a@x.y\n"]),
        (
            [],
            ["a" * 60 + "@" + ".".join(["b" * 60] * 4), "é@x.y", "a@é.y", "a b@x.y", '"a"@x.y', "a@x.1", "a@[1.1.1.1]"],
        ),
    ],
)
def test_emails(right: list[str], wrong: list[str]) -> None:
    assert [value for value in right if text.fault_of_email(value)] == []
    assert [value for value in wrong if text.fault_of_email(value) is None] == []


@settings(deadline=None, max_examples=cases(300))
@given(
    local=st.text(alphabet="abZ09!#$%&'*+/=?^_`{|}~-.@ \"é", min_size=1, max_size=12),
    domain=st.lists(st.text(alphabet="abZ09-_", min_size=1, max_size=8), min_size=1, max_size=3).map(".".join),
)
def test_what_is_taken_without_asking_the_library_it_takes_too(local: str, domain: str) -> None:
    value = f"{local}@{domain}"
    if text.fault_of_email(value) is None:
        found = validate_email(value, check_deliverability=False, globally_deliverable=False, strict=True)
        assert found.local_part == local
        assert found.ascii_domain == domain.lower()


def test_mailboxes_with_any_letters() -> None:
    for right in ("łukasz@example.com", "用户@example.com", "a@xn--mller-kva.de", "a.b+c@x.example"):
        assert text.fault_of_mailbox(right) is None
    for wrong in ("e\u0301@example.com", "a\u202eé@example.com", "é é@example.com", "é@müller.de", "é\u200b@x.example"):
        assert text.fault_of_mailbox(wrong)
    # an attribute of the subject is an IA5String
    assert text.fault_of_email("łukasz@example.com")


def test_dns_names() -> None:
    for right in ("example.com", "a.b.c", "xn--mnchen-3ya.de", "localhost", "3com.com", "a" * 63 + ".de"):
        assert text.fault_of_dns_name(right) is None, right
    wrong = ["", ".", "a.", ".a", "a..b", "-a.b", "a-.b", "a_b.c", "*.a.b", "é.de", "1.2.3.4", "xn--a-.de", "ab--c.de"]
    # Punycode of nothing that IDNA 2008 knows, of no more than ASCII, and not as it is written
    wrong += ["xn--a.de", "xn--a-ecp.ru", "xn--ls8h.la", "www.xn--zzzzz99999.de"]
    for value in [*wrong, "xn--.de", "a" * 64 + ".de", ".".join(["a" * 60] * 5), "a.b\n", "a b.c"]:
        assert text.fault_of_dns_name(value), value


def test_uris() -> None:
    for right in (
        "https://example.com/a?b#c",
        "urn:uuid:1",
        "mailto:a@b.c",
        "ldap://[2001:db8::7]/c=GB",
        "http://a/%20",
        "https://www.xn--mnchen-3ya.de/x",
    ):
        assert text.fault_of_uri(right) is None, right
    wrong = [
        "",
        "a",
        "/a",
        "//a/b",
        "http:",
        "http://",
        "http:///a",
        "1http://a",
        "http://a/ b",
        "http://a/%2",
        "http://é",
        "https://xn--a.de/",
    ]
    for value in [*wrong, "http://a/\n", "http://a\tb/", "http://a/\x00", "http://a/\x7f", "http://[::1", "http://a/<"]:
        assert text.fault_of_uri(value), value
    assert text.fault_of_uri("http://a/" + "b" * 1024)


def test_ip_addresses() -> None:
    for right in ("192.0.2.1", "2001:db8::1", "::"):
        assert text.fault_of_ip_address(right) is None
    for wrong in ("", "192.0.2", "192.0.2.256", "192.0.2.01", "192.0.2.0/24", "fe80::1%eth0", "1", "::g", " ::1"):
        assert text.fault_of_ip_address(wrong), wrong


def test_object_identifiers() -> None:
    for right in ("2.5.4.3", "0.9.2342.19200300.100.1.25", "1.3.6.1.4.1.311.20.2.3", "2.999"):
        assert text.fault_of_oid(right) is None
        assert der.object_identifier(right)[2:] == _openssl_oid(right)
    long = ".".join(["9" * 38] * 5)
    for wrong in ("", "1", "3.1", "1.40", "0.40.1", "1..2", "1.2.", "1.02", "a.b", "1.2\n", "1.-2", f"1.2.{long}"):
        assert text.fault_of_oid(wrong), wrong


def _openssl_oid(dotted: str) -> bytes:
    read = subprocess.run(
        ["openssl", "asn1parse", "-genstr", f"OID:{dotted}", "-noout", "-out", "-"],
        check=True,
        capture_output=True,
        timeout=20,
    ).stdout
    return read[2:]


@pytest.mark.parametrize("number", [0, 1, -1, 127, 128, -128, -129, 255, 256, 1 << 255, -(1 << 255)])
def test_integers_are_as_short_as_can_be(number: int) -> None:
    encoded = der.integer(number)
    assert int.from_bytes(encoded[2:], "big", signed=True) == number
    assert len(encoded) == 3 or encoded[2:4] not in {b"\x00\x00", b"\xff\xff"}
    assert der.is_element(encoded)


def test_what_is_one_der_element() -> None:
    for right in ("0500", "3003020101", "0c02c3a9", "3000"):
        assert der.is_element(bytes.fromhex(right)), right
    wrong = ["", "05", "050000", "3080", "0481020101", "04810100", "3003020201", "30030101", "1f020101", "30020c05"]
    for value in wrong:
        assert not der.is_element(bytes.fromhex(value)), value
    nested = b"\x05\x00"
    for _ in range(40):
        nested = der.element(0x30, nested)
    assert not der.is_element(nested)
    assert der.is_element(der.element(0x30, der.element(0x04, b"x" * 300)))
