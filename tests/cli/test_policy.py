"""`intaglio policy`: a policy is tried on examples before it is in force, and its history tells who changed what."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from custody import init_options
from served import BIN, JOHN_DOE, run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("policy") / "home"
    run(BIN / "intaglio", "init", "--home", made, "--algorithm", "p-256", *init_options())
    return made


@pytest.fixture(scope="module")
def account(home: Path) -> str:
    options = ("--name", "A", "--kind", "individual", "--test", "--json")
    created = run(BIN / "intaglio", "account", "create", "--home", home, *options)
    return str(json.loads(created.stdout)["account_id"])


def policy(home: Path, command: str, account: str, *options: str | Path, check: bool = True) -> Any:
    done = run(BIN / "intaglio", "policy", command, account, "--home", home, *options, "--json", check=check)
    return json.loads(done.stdout or done.stderr), done.returncode


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_examples_are_tried_and_nothing_is_issued_or_recorded(home: Path, account: str, tmp_path: Path) -> None:
    good = written(tmp_path / "good.json", JOHN_DOE)
    bad = written(tmp_path / "bad.json", {"subject_dn": {"common_name": " x"}, "san": {"emails": ["a@example.com"]}})
    before = run(BIN / "intaglio", "ledger", "show", "--home", home, "--json").stdout
    found, code = policy(
        home, "test", account, "--request", good, "--request", bad, "--out", tmp_path / "out", check=False
    )
    assert code == 1
    assert [one["request"] for one in found] == [str(good), str(bad)]
    certified = found[0]["certified"]
    assert certified["subject"] == "CN=John Doe,OU=Administration,C=GB"
    assert certified["life"] == "600 s"
    assert certified["keyUsage"] == "digital_signature, content_commitment (critical)"
    assert certified["extendedKeyUsage"] == "documentSigning, Adobe Authentic Documents Trust"
    assert "gender m" in certified["subjectDirectoryAttributes"]
    assert "placeOfBirth London" in certified["subjectDirectoryAttributes"]
    assert found[1]["refused"].keys() == {"subject_dn.common_name", "subject_dn.country", "san.emails"}
    assert run(BIN / "intaglio", "ledger", "show", "--home", home, "--json").stdout == before
    # what is written looks like what would be issued, and nobody can take it for that
    made = x509.load_pem_x509_certificate((tmp_path / "out/1-good.crt").read_bytes())
    assert "nobody issued this" in made.issuer.rfc4514_string()
    assert not (tmp_path / "out/2-bad.crt").exists()


def test_a_proposal_is_tried_before_it_is_in_force(home: Path, account: str, tmp_path: Path) -> None:
    good = written(tmp_path / "good.json", JOHN_DOE)
    document, _ = policy(home, "show", account)
    proposal = written(
        tmp_path / "proposal.json",
        {
            **document,
            "subject_dn": {**document["subject_dn"], "country": {"presence": "STATIC", "format": "FR"}},
            "validity": {"secondsmin": 300, "secondsmax": 300},
        },
    )
    found, code = policy(home, "test", account, "--file", proposal, "--request", good, check=False)
    assert (code, list(found[0]["refused"])) == (1, ["subject_dn.country"])
    assert policy(home, "show", account)[0] == document
    wrong = written(tmp_path / "wrong.json", {"subject_dn": {"common_name": {"presence": "STATIC"}}})
    found, code = policy(home, "test", account, "--file", wrong, "--request", good, check=False)
    assert (code, found["errors"].keys()) == (1, {"subject_dn.common_name.format"})


def test_history_tells_who_changed_what(home: Path, account: str, tmp_path: Path) -> None:
    document, _ = policy(home, "show", account)
    changed = {**document, "validity": {**document["validity"], "secondsmin": 120, "secondsmax": 120}}
    changed["key_usages"] = {"digital_signature": "STATIC_TRUE"}
    policy(home, "set", account, "--file", written(tmp_path / "changed.json", changed))
    found, _ = policy(home, "history", account)
    assert [one["version"] for one in found] == [1, 2]
    assert all(one["author"].startswith("os:") for one in found)
    assert found[1]["changes"] == [
        {"path": "key_usages.digital_signature", "before": None, "after": "STATIC_TRUE"},
        {"path": "validity.secondsmax", "before": 600, "after": 120},
        {"path": "validity.secondsmin", "before": 600, "after": 120},
    ]
    text = run(BIN / "intaglio", "policy", "history", account, "--home", home).stdout.decode()
    assert "validity.secondsmax" in text
    assert "Version 2" in text


def test_what_cannot_be_read_is_named(home: Path, account: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{", encoding="utf-8")
    for path in (tmp_path / "x.json", tmp_path / "missing.json"):
        found, code = policy(home, "test", account, "--request", path, check=False)
        assert (code, found["errors"].keys()) == (1, {"request"})
    _, code = policy(home, "history", "0" * 32, check=False)
    assert code == 1
