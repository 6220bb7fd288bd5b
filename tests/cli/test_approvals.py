"""Two people for what is of production: asked for, shown, agreed to, refused, by their own keys, from the terminal."""

import json
import sqlite3
from pathlib import Path

import pytest

from commands import BIN, run
from custody import init_options
from people import Staff, found


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Staff:
    folder = tmp_path_factory.mktemp("approvals")
    run(BIN / "intaglio", "init", "--home", folder / "home", "--algorithm", "p-256", *init_options())
    return found(folder / "home", folder / "keys")


PRODUCTION = ("account", "create", "--kind", "individual", "--name")


def test_nothing_of_production_is_created_before_there_is_staff(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(BIN / "intaglio", "init", "--home", home, "--algorithm", "p-256", *init_options())
    staff = Staff(home, tmp_path)
    assert staff.intaglio(*PRODUCTION, "A", ok=False).keys() == {"staff"}
    assert staff.intaglio(*PRODUCTION, "A", "--test")["hierarchy"] == "test"
    alone = ("staff", "found", "--person", f"ann={staff.csr('ann')}")
    assert staff.intaglio(*alone, ok=False).keys() == {"person"}
    assert staff.intaglio(*alone, "--person", f"bob={staff.csr('ann')}", ok=False).keys() == {"csr"}


def test_an_account_of_production_needs_a_second_different_person(staff: Staff) -> None:
    assert staff.intaglio(*PRODUCTION, "A", ok=False).keys() == {"as"}
    assert staff.intaglio(*PRODUCTION, " A", who="vera", ok=False).keys() == {"name"}
    asked = staff.intaglio(*PRODUCTION, "A", who="vera")
    assert "A" not in {one["name"] for one in staff.intaglio("account", "list")}
    shown = staff.intaglio("approvals", "show", asked["approval"])
    assert {one["place"]: one["after"] for one in shown["changes"]}["name"] == '"A"'
    agree = ("approvals", "approve", asked["approval"], "--sha256", shown["sha256"])
    assert staff.intaglio(*agree, who="vera", ok=False) == {"approval": "needs a second, different person"}
    assert staff.intaglio(*agree, who="otto", ok=False).keys() == {"role"}
    other = ("approvals", "approve", asked["approval"], "--sha256", "0" * 64)
    # A second vetting officer is needed: vera asked.
    staff.agree(
        staff.intaglio("staff", "enrol", "vito", "--csr", staff.csr("vito"), "--role", "vetting-officer", who="otto"),
        "ann",
    )
    assert staff.intaglio(*other, who="vito", ok=False).keys() == {"sha256"}
    made = staff.intaglio(*agree, who="vito")["result"]
    assert staff.intaglio("account", "show", made["account_id"])["name"] == "A"
    assert staff.intaglio(*agree, who="vito", ok=False) == {"approval": "does not wait any more"}
    denied = staff.intaglio("ledger", "show", "--kind", "approval.denied")
    assert {one["details"]["reason"] for one in denied} >= {"Who asked cannot decide.", "It is done."}
    assert staff.intaglio("approvals", "verify")["findings"] == []


def test_who_is_unknown_or_removed_does_nothing(staff: Staff) -> None:
    staff.csr("mallory")
    assert staff.intaglio(*PRODUCTION, "M", who="mallory", ok=False).keys() == {"key"}
    for name in ("walt", "OTTO"):  # a second name for a key that is known, and a second person of a known name
        csr = staff.csr("otto") if name == "walt" else staff.csr("walt")
        options = ("--csr", csr, "--role", "operator")
        assert staff.intaglio("staff", "enrol", name, *options, who="ann", ok=False).keys() <= {"csr", "name"}
    staff.agree(
        staff.intaglio("staff", "enrol", "walt", "--csr", staff.csr("walt"), "--role", "operator", who="ann"), "bob"
    )
    asked = staff.intaglio(*PRODUCTION, "W", who="walt")
    staff.agree(staff.intaglio("staff", "remove", "walt", who="ann"), "bob")
    assert staff.intaglio(*PRODUCTION, "X", who="walt", ok=False).keys() == {"key"}
    sha256 = staff.intaglio("approvals", "show", asked["approval"])["sha256"]
    agree = ("approvals", "approve", asked["approval"], "--sha256", sha256)
    assert "ask again" in staff.intaglio(*agree, who="vera", ok=False)["approval"]
    assert staff.intaglio("staff", "remove", "bob", who="ann", ok=False).keys() == {"person"}
    serial = staff.intaglio("staff", "show", "bob")["certificate"]
    revoke = ("certificate", "revoke", serial, "--issuer", "officers")
    assert staff.intaglio(*revoke, who="otto", ok=False).keys() == {"issuer"}
    row = staff.intaglio("staff", "show", "walt")
    assert (row["state"], row["certificate_state"]) == ("removed", "revoked")


def test_what_was_shown_is_what_is_agreed_to(staff: Staff, tmp_path: Path) -> None:
    """A policy that changed since it was looked at, and a request that somebody rewrote, are both refused."""
    account = staff.agree(staff.intaglio(*PRODUCTION, "P", who="otto"), "vera")["account_id"]
    document = staff.intaglio("policy", "show", account)
    asked = []
    for country in ("FR", "NL"):
        document["subject_dn"]["country"] = {"presence": "STATIC", "format": country}
        (tmp_path / f"{country}.json").write_text(json.dumps(document))
        asked.append(
            staff.intaglio("policy", "set", account, "--file", tmp_path / f"{country}.json", who="otto")["approval"]
        )
    shown = [staff.intaglio("approvals", "show", one) for one in asked]
    assert {"place": "policy.subject_dn.country.format", "before": '""', "after": '"FR"'} in shown[0]["changes"]
    assert staff.agree({"approval": asked[0]}, "vera")["version"] == 2
    agree = ("approvals", "approve", asked[1], "--sha256", shown[1]["sha256"])
    assert "ask again" in staff.intaglio(*agree, who="vera", ok=False)["approval"]
    refused = staff.intaglio("approvals", "refuse", asked[1], "--reason", "too late", who="vera")
    assert refused["state"] == "refused"
    assert staff.intaglio("approvals", "show", asked[1])["reason"] == "too late"
    # One person suspends; to lift it takes two.
    assert staff.intaglio("account", "suspend", account, who="otto")["state"] == "suspended"
    assert staff.agree(staff.intaglio("account", "resume", account, who="otto"), "vera")["state"] == "active"
    asked_again = staff.intaglio("policy", "set", account, "--file", tmp_path / "NL.json", who="otto")["approval"]
    sha256 = staff.intaglio("approvals", "show", asked_again)["sha256"]
    with sqlite3.connect(staff.home / "intaglio.db") as database:
        kept = database.execute("SELECT parameters FROM approvals WHERE id = ?", (asked_again,)).fetchone()[0]
        changed = kept.replace(b'"NL"', b'"BE"')
        assert changed != kept
        database.execute("UPDATE approvals SET parameters = ? WHERE id = ?", (changed, asked_again))
    agree = ("approvals", "approve", asked_again, "--sha256", sha256)
    assert staff.intaglio(*agree, who="vera", ok=False).keys() == {"sha256"}
    refused_at_once = ("approvals", "refuse", asked_again, "--reason", "red\x1b[31m")
    assert staff.intaglio(*refused_at_once, who="vera", ok=False).keys() == {"reason"}
    found = run(BIN / "intaglio", "approvals", "verify", "--home", staff.home, "--json", check=False)
    assert found.returncode == 1
    assert [one["entry"] for one in json.loads(found.stdout)["findings"]] == [asked_again]
    with sqlite3.connect(staff.home / "intaglio.db") as database:
        database.execute("UPDATE approvals SET parameters = ? WHERE id = ?", (kept, asked_again))
    assert staff.intaglio("approvals", "verify")["findings"] == []


def test_an_accounts_own_people_act_for_it_alone(staff: Staff, tmp_path: Path) -> None:
    accounts = [
        staff.agree(staff.intaglio(*PRODUCTION, name, who="otto"), "vera")["account_id"] for name in ("own", "other")
    ]
    enrol = ("staff", "enrol", "dora", "--csr", staff.csr("dora"), "--role", "developer")
    assert staff.intaglio(*enrol, who="ann", ok=False).keys() == {"account"}
    staff.agree(staff.intaglio(*enrol, "--account", accounts[0], who="ann"), "bob")
    run("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "client.key", "-out",
        tmp_path / "client.csr", "-subj", "/CN=x")  # fmt: skip
    for account, ok in ((accounts[1], False), (accounts[0], True)):
        made = ("credential", "create", "--account", account, "--csr", tmp_path / "client.csr", "--out")
        staff.intaglio(*made, tmp_path / account, who="dora", ok=ok)
    entry = staff.intaglio("ledger", "show", "--kind", "credential.created", "--most", "1")[0]
    dora = staff.intaglio("staff", "show", "dora")["person"]
    assert (entry["account_id"], entry["actor"]) == (accounts[0], f"staff:{dora}")
    (tmp_path / "policy.json").write_text(json.dumps(staff.intaglio("policy", "show", accounts[0])))
    changing = ("policy", "set", accounts[0], "--file", tmp_path / "policy.json")
    assert staff.intaglio(*changing, who="dora", ok=False).keys() == {"role"}


def test_authorities_and_ceremonies_need_two(staff: Staff) -> None:
    assert "approval" in staff.intaglio("certificate", "renew", "tsa", who="otto")
    before = (staff.home / "pki/tsa.crt").read_bytes()
    waiting = [one for one in staff.intaglio("approvals", "list") if one["act"] == "authority.renew"]
    assert staff.agree(waiting[0], "ann")["name"] == "tsa"
    after = (staff.home / "pki/tsa.crt").read_bytes()
    assert after != before
    run("openssl", "verify", "-CAfile", staff.home / "pki/root.crt", staff.home / "pki/tsa.crt")
    serial = run("openssl", "x509", "-in", staff.home / "pki/issuing.crt", "-noout", "-serial").stdout.decode()
    number = serial.strip().removeprefix("serial=")
    revoke = ("certificate", "revoke", number, "--issuer", "root")
    assert staff.intaglio(*revoke, who="otto", ok=False).keys() == {"role"}
    asked = staff.intaglio(*revoke, who="ann")
    assert asked["act"] == "authority.revoke"
    assert staff.intaglio("approvals", "refuse", asked["approval"], "--reason", "no", who="ann")["state"] == "withdrawn"
    certificate = staff.folder / "ann.crt"
    staff.intaglio("staff", "show", "ann", "--out", certificate)
    text = run("openssl", "x509", "-in", certificate, "-noout", "-ext", "extendedKeyUsage,keyUsage").stdout
    assert b"TLS Web Client Authentication" in text
    run("openssl", "verify", "-purpose", "sslclient", "-CAfile", staff.home / "pki/officers.crt", certificate)
    assert staff.intaglio("approvals", "verify")["findings"] == []


def test_what_nobody_decides_expires(staff: Staff) -> None:
    asked = staff.intaglio(*PRODUCTION, "late", who="otto")
    with sqlite3.connect(staff.home / "intaglio.db") as database:
        database.execute("UPDATE approvals SET expires_at = 1 WHERE id = ?", (asked["approval"],))
    assert asked["approval"] not in {one["approval"] for one in staff.intaglio("approvals", "list")}
    assert staff.intaglio("approvals", "show", asked["approval"])["state"] == "expired"
    assert staff.intaglio("ledger", "show", "--kind", "approval.expired")[-1]["reference"] == asked["approval"]
