"""Trials of profiles: pkilint finds nothing in those that come with the service, and finds what is wrong in others."""

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from founded import PUBLICATION, Pki
from intaglio.accounts import policy
from intaglio.accounts.certified import apply
from intaglio.accounts.kinds import Kind, starting_policy
from intaglio.errors import ContentRefused
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.pki import linter, profile_file
from intaglio.pki.hierarchy import subject
from intaglio.pki.profiles import PACKAGED, PROFILES, SIGNING, Usage
from intaglio.revocation.trial import Authority, trial
from served import BIN, run

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
EN = "etsi.en_319_412_2"
# What EN 319 412-2 has otherwise than profiles that do not claim it: docs/decisions/0016-linting.md.
NOT_CLAIMED = {
    "aatl-a-person": {f"{EN}.nat-4.3.2-1.mixed_key_usage_setting"},
    "aatl-a-seal": set(),
    "aatl-b-person": {
        f"{EN}.nat-4.3.2-1.mixed_key_usage_setting",
        f"{EN}.gen-4.3.11-2.crldp_extension_missing",
        f"{EN}.gen-4.4.1-8.ocsp_aia_access_method_absent",
    },
    "aatl-b-seal": {
        f"{EN}.gen-4.3.11-2.crldp_extension_missing",
        f"{EN}.gen-4.4.1-8.ocsp_aia_access_method_absent",
    },
}


def authority(algorithm: KeyAlgorithm = KeyAlgorithm.P_256, country: str | None = "DE") -> Authority:
    return Authority("issuing", subject("Example Ltd", "Document Signing CA", country), algorithm, test=False)


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA_2048, KeyAlgorithm.P_384])
@pytest.mark.parametrize("profile", sorted(SIGNING))
def test_nothing_unexplained_is_found(profile: str, algorithm: KeyAlgorithm) -> None:
    assert trial(SIGNING[profile], authority(algorithm), PUBLICATION, NOW) == []


@pytest.mark.parametrize("profile", sorted(SIGNING))
def test_etsi_finds_what_is_known_in_those_that_do_not_claim_it(profile: str) -> None:
    """The commands of pkilint, as anybody would run them, with both sets of rules and notices too."""
    pki = Pki()
    der = pki.leaf(profile, accredited=True).public_bytes(Encoding.DER)
    found = {one.rule for one in linter.certificate(der, etsi=True)}
    assert found - set(linter.EXPLAINED) == NOT_CLAIMED.get(profile, set())


@pytest.mark.parametrize("profile", ["etsi-advanced-person", "aatl-a-seal"])
def test_the_commands_of_pkilint_say_the_same(tmp_path: Path, profile: str) -> None:
    path = tmp_path / "certificate.pem"
    path.write_bytes(Pki().leaf(profile).public_bytes(Encoding.PEM))
    for lint in (("lint_pkix_cert", "lint"), ("lint_etsi_cert", "lint", "-d")):
        found = run(BIN / lint[0], *lint[1:], "-s", "NOTICE", "-f", "JSON", path, check=False).stdout
        rules = {one["code"] for result in json.loads(found)["results"] for one in result["finding_descriptions"]}
        assert rules <= set(linter.EXPLAINED)


@pytest.mark.parametrize(
    ("base", "changed", "country", "rule"),
    [
        # Usages that EN 319 412-2 has no type for.
        (
            "etsi-advanced-person",
            {"key_usage": ["digital_signature", "content_commitment"]},
            "DE",
            f"{EN}.nat-4.3.2-1.mixed_key_usage_setting",
        ),
        (
            "etsi-advanced-seal",
            {"no_revocation": True, "status": False},
            "DE",
            f"{EN}.gen-4.3.11-2.crldp_extension_missing",
        ),
        (
            "etsi-advanced-seal",
            {"extended_key_usage_critical": True},
            "DE",
            f"{EN}.gen-4.3.10-1.eku_extension_is_critical",
        ),
        ("etsi-advanced-seal", {}, None, "issuer.country"),
    ],
)
def test_what_is_wrong_with_a_profile_is_found(
    base: str, changed: dict[str, object], country: str | None, rule: str
) -> None:
    profile = msgspec.structs.replace(SIGNING[base], name="own", **changed)
    assert rule in {one.rule for one in trial(profile, authority(country=country), PUBLICATION, NOW)}


def test_what_a_policy_may_choose_is_tried_too() -> None:
    allowed: list[Usage] = ["digital_signature", "content_commitment"]
    profile = msgspec.structs.replace(SIGNING["etsi-advanced-seal"], name="own", key_usage_allowed=allowed)
    found = trial(profile, authority(country="DE"), PUBLICATION, NOW)
    assert {one.of for one in found} == {"a certificate with digital_signature and content_commitment"}
    assert any("mixed_key_usage" in one.rule for one in found)


def test_an_email_address_is_an_alternative_name_too() -> None:
    document = starting_policy(Kind.EMPLOYEE, "Example Ltd", "DE")
    loaded = policy.load(document, PROFILES["aatl-a-person"])
    sent = {"subject_dn": {"common_name": "Erika Mustermann", "email": "erika@example.com"}}
    [(names, critical)] = apply(loaded, sent, today=date(2026, 11, 24)).extensions()
    # GeneralNames with one rfc822Name [1]
    assert (names.oid, names.public_bytes()) == (
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        b"\x30\x13\x81\x11erika@example.com",
    )
    assert not critical


# Files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_the_files_that_come_with_the_service_can_be_read_as_an_operators(name: str) -> None:
    assert profile_file.read(PACKAGED[name]) == SIGNING[name]
    with pytest.raises(ContentRefused) as error:
        profile_file.own(PACKAGED[name])
    assert set(error.value.fields) == {"name"}


@pytest.mark.parametrize(
    ("base", "old", "new", "field"),
    [
        ("aatl-a-seal", 'name = "aatl-a-seal"', 'name = "A B"', "name"),
        ("aatl-a-seal", "version = 1", "version = 0", "version"),
        ("aatl-a-seal", 'holder = "seal"', 'holder = "robot"', "profile"),
        ("aatl-a-seal", 'holder = "seal"', "", "holder"),
        ("aatl-a-seal", "seconds = 600", "seconds = 601", "seconds"),
        ("aatl-a-seal", "seconds = 600", "seconds = 600\ndays = 1", "days"),
        ("aatl-a-seal", "seconds = 600", "seconds = 600\npath_length = 0", "path_length"),
        ("aatl-a-seal", "seconds = 600", "seconds = 600\nno_such_field = 1", "profile"),
        ("aatl-a-seal", 'key_usage = ["digital_signature"]', 'key_usage = ["key_cert_sign"]', "key_usage"),
        ("aatl-a-seal", 'key_usage = ["digital_signature"]', "key_usage = []", "key_usage"),
        (
            "aatl-a-seal",
            '["1.3.6.1.5.5.7.3.36", "1.2.840.113583.1.1.5"]',
            '["1.3.6.1.5.5.7.3.4"]',
            "extended_key_usage",
        ),
        (
            "aatl-a-seal",
            '["1.3.6.1.5.5.7.3.36", "1.2.840.113583.1.1.5"]',
            '["1.3.6.1.5.5.7.3.36", "1.3.6.1.5.5.7.3.9"]',
            "extended_key_usage",
        ),
        ("aatl-a-seal", '"1.3.6.1.5.5.7.3.4",', '"1.3.6.1.5.5.7.3.8",', "extended_key_usage_allowed"),
        ("aatl-a-seal", 'policy = "1.2"', 'policies = ["2.5.29.32.0"]', "policies"),
        ("aatl-a-seal", 'policy = "1.2"', f"policies = {[f'1.2.{one}' for one in range(9)]}", "policies"),
        ("etsi-advanced-seal", 'policy = "4.2"', 'policies = ["0.4.0.194112.1.3"]', "policies"),
        ("etsi-advanced-seal", "disclosure = true", 'legislation = ["DE"]', "statements.legislation"),
        ("etsi-advanced-seal", 'policy = "4.2"', 'policy = "5.2"', "policy"),
        ("aatl-a-seal", 'policy = "1.2"', "policies = " + "[" * 5000, "profile"),
        ("aatl-a-seal", "version = 1", "version = " + "1" * 5000, "profile"),
        ("aatl-a-seal", 'policy = "1.2"', 'policy = "any"', "policy"),
        ("aatl-a-seal", 'policy = "1.2"', 'policy = "2"', "policy"),
        ("aatl-a-seal", 'policy = "1.2"', "", "policy"),
        ("aatl-a-seal", 'policy = "1.2"', 'policy = "1.2"\ncps = "ftp://x"', "cps"),
        ("aatl-a-seal", "status = true", "status = false", "status"),
        ("aatl-b-seal", "short_term = true", "", "short_term"),
        ("aatl-a-seal", 'adobe_time_stamp = "own"', 'adobe_time_stamp = "x"', "adobe_time_stamp"),
        ("aatl-a-seal", '["0.4.0.1862.1.6.2"]', '["0.4.0.1862.1.6.1"]', "qc_types"),
        ("etsi-advanced-seal", '"en-319-412-3"', '"en-319-412-2"', "naming"),
        ("etsi-advanced-seal", 'naming = "en-319-412-3"', "", "naming"),
        ("etsi-advanced-seal", '"0.4.0.1862.1.6.2"', '"0.4.0.1862.1.6.3"', "statements.type"),
        ("etsi-advanced-seal", '"0.4.0.194121.1.2"', '"0.4.0.194121.1.1"', "statements.semantics"),
        ("etsi-advanced-seal", "disclosure = true", "device = true", "statements.device"),
        ("etsi-advanced-seal", "disclosure = true", "compliance = true", "statements.compliance"),
        ("etsi-advanced-seal", "disclosure = true", 'legislation = ["ZZ"]', "statements.legislation"),
        (
            "etsi-advanced-seal",
            "disclosure = true",
            'disclosures = { en = "http://x.example" }',
            "statements.disclosures",
        ),
        ("etsi-advanced-seal", "disclosure = true", "retention_years = 0", "statements.retention_years"),
    ],
)
def test_files_that_cannot_be_used(base: str, old: str, new: str, field: str) -> None:
    document = PACKAGED[base].decode()
    assert old in document
    with pytest.raises(ContentRefused) as error:
        profile_file.read(document.replace(old, new).encode())
    assert field in error.value.fields


def test_the_process_that_serves_never_loads_the_linter() -> None:
    modules = "sys, intaglio.cli.main, intaglio.cli.serving, intaglio.service.sampling"
    loaded = f"import {modules}; print('pkilint' in sys.modules)"
    assert run(Path(sys.executable), "-c", loaded).stdout.strip() == b"False"
