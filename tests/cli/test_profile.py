"""`intaglio profile`: trying a profile under the CAs of a home."""

import json
from pathlib import Path

import pytest

from custody import init_options
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


def test_a_field_that_is_wrong_is_named(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(intaglio(home, "profile", "show", "aatl-a-seal")[1].replace("seconds = 600", "seconds = 3600"))
    code, told = intaglio(home, "profile", "check", file, check=False)
    assert (code, "seconds: from 60 to 600" in told) == (1, True)
