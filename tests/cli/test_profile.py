"""`intaglio profile`: trying a profile under the CAs of a home."""

import json
from pathlib import Path

import pytest

from custody import init_options
from people import found
from served import BIN, run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("profiles") / "home"
    run(BIN / "intaglio", "init", "--home", made, "--algorithm", "p-256", "--country", "DE", *init_options())
    return made


def intaglio(home: Path, *arguments: str | Path, check: bool = True) -> tuple[int, str]:
    done = run(BIN / "intaglio", *arguments, "--home", home, check=check)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_profiles_that_come_with_the_service_are_shown_and_can_be_changed(home: Path, tmp_path: Path) -> None:
    _, listed = intaglio(home, "profile", "list", "--json")
    assert {one["name"] for one in json.loads(listed)} >= {"aatl-a-person", "etsi-advanced-seal", "qualified-person"}
    _, document = intaglio(home, "profile", "show", "aatl-b-person")
    file = tmp_path / "own.toml"
    file.write_text(document.replace('"aatl-b-person"', '"own-person"'))
    code, told = intaglio(home, "profile", "check", file)
    assert (code, told.strip()) == (0, "own-person, version 1: nothing is found.")
    assert intaglio(home, "profile", "show", "no-such", check=False)[0] == 1


def test_what_is_found_has_the_name_of_its_rule(home: Path, tmp_path: Path) -> None:
    # The operator has not said where its disclosure statements are.
    _, document = intaglio(home, "profile", "show", "etsi-advanced-seal")
    file = tmp_path / "etsi.toml"
    file.write_text(document)
    code, told = intaglio(home, "profile", "check", file, check=False)
    assert (code, "qc.disclosure" in told) == (1, True)
    file.write_text(
        document.replace("disclosure = true", "").replace(
            "short_term", "extended_key_usage_critical = true\nshort_term"
        )
    )
    code, told = intaglio(home, "profile", "check", file, "--json", check=False)
    rules = {one["rule"] for one in json.loads(told)["findings"]}
    assert (code, rules) == (1, {"etsi.en_319_412_2.gen-4.3.10-1.eku_extension_is_critical"})


def test_profiles_and_accreditations_need_two_people(home: Path, tmp_path: Path) -> None:
    settings = home / "intaglio.toml"
    settings.write_text(settings.read_text() + '\n[profiles]\ndisclosures = { en = "https://x.example/pds" }\n')
    file = tmp_path / "own.toml"
    _, document = intaglio(home, "profile", "show", "aatl-b-seal")
    file.write_text(document.replace('"aatl-b-seal"', '"own-seal"'))
    # Before there is staff nothing is of production.
    assert "own-seal, version 1, is there." in intaglio(home, "profile", "add", file)[1]
    staff = found(home, tmp_path / "people")
    file.write_text(file.read_text().replace("version = 1", "version = 2").replace("adobe_archive = true", ""))
    asked = staff.intaglio("profile", "add", file, who="otto")
    assert [one["version"] for one in staff.intaglio("profile", "history", "own-seal")] == [1]
    assert staff.agree(asked, "ann") == {"name": "own-seal", "version": 2}
    assert [one["version"] for one in staff.intaglio("profile", "history", "own-seal")] == [1, 2]
    # Nobody is asked to agree to what breaks a rule.
    broken = tmp_path / "broken.toml"
    _, etsi = intaglio(home, "profile", "show", "etsi-advanced-seal")
    changed = etsi.replace("short_term = true", "short_term = true\nextended_key_usage_critical = true")
    broken.write_text(changed.replace('"etsi-advanced-seal"', '"broken"'))
    rule = "etsi.en_319_412_2.gen-4.3.10-1.eku_extension_is_critical"
    assert staff.intaglio("profile", "add", broken, who="otto", ok=False).keys() == {rule}
    assert staff.intaglio("ledger", "show", "--kind", "lint.refused", "--most", "1")[0]["details"]["rule"] == rule

    create = ("account", "create", "--name", "P", "--kind", "organization", "--organization", "P", "--country", "DE")
    assert staff.intaglio(*create, "--profile", "qualified-seal", who="otto", ok=False).keys() == {"profile"}
    account = staff.agree(staff.intaglio(*create, "--profile", "own-seal", who="otto"), "vera")
    assert account["profile"] == "own-seal"
    choose = ("account", "profile", account["account_id"])
    assert staff.intaglio(*choose, "qualified-seal", who="otto", ok=False).keys() == {"profile"}

    evidence = tmp_path / "report.pdf"
    evidence.write_bytes(b"assessed")
    told = ("--evidence", evidence, "--reference", "No. 1", "--until", "2099-12-31")
    record = ("accreditation", "record", "issuing", *told)
    assert staff.intaglio(*record, who="otto", ok=False).keys() == {"role"}
    staff.agree(staff.intaglio(*record, "--device", who="ann"), "bob")
    [row] = staff.intaglio("accreditation", "show")
    digest = run("openssl", "dgst", "-sha256", "-r", evidence).stdout.decode().split()[0]
    assert (row["issuer"], row["evidence_sha256"], row["device"]) == ("issuing", digest, True)
    tested = ("accreditation", "record", "test-issuing", *told)
    assert staff.intaglio(*tested, who="ann", ok=False).keys() == {"issuer"}
    assert staff.agree(staff.intaglio(*choose, "qualified-seal", who="otto"), "vera")["profile"] == "qualified-seal"
    assert staff.agree(staff.intaglio(*choose, who="otto"), "vera")["profile"] == "aatl-a-seal"
    staff.intaglio("accreditation", "withdraw", "issuing", "--reason", "over", who="otto")
    assert staff.intaglio("accreditation", "show") == []
    assert staff.intaglio("approvals", "verify")["findings"] == []


def test_a_field_that_is_wrong_is_named(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(intaglio(home, "profile", "show", "aatl-a-seal")[1].replace("seconds = 600", "seconds = 3600"))
    code, told = intaglio(home, "profile", "check", file, check=False)
    assert (code, "seconds: from 60 to 600" in told) == (1, True)
