"""Officers confirm by a token (SoftHSM), each signature in a process that knows no PIN but the one just given."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from custodians import Custodian, ceremony
from intaglio.ceremony import card
from intaglio.ceremony.examples import example
from intaglio.ceremony.officer import CardOfficer, officer_key
from intaglio.errors import KeyUnavailable, Unauthenticated
from intaglio.staff.signature import check, low
from served import run

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PINS = {"dave": "271828", "erin": "314159"}


@dataclass(frozen=True)
class Cards:
    """Two tokens: dave's with a P-256 key, erin's with RSA-2048."""

    folder: Path
    officers: dict[str, CardOfficer]

    def table(self, name: str) -> str:
        one = self.officers[name]
        lines = [f"{field} = {json.dumps(getattr(one, field))}" for field in one.__struct_fields__
                 if getattr(one, field) is not None]  # fmt: skip
        return "\n".join(["[[officers]]", 'confirms = "pkcs11"', *lines]) + "\n"

    def options(self, name: str) -> tuple[str, str]:
        return ("--secret", f"{name}=file:{self.folder / name}.pin")


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cards:
    (tmp_path / "tokens").mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
    officers = {}
    for name, kind in (("dave", ("EC", "-pkeyopt", "ec_paramgen_curve:P-256")), ("erin", ("RSA",))):
        pin, key = PINS[name], tmp_path / f"{name}.pem"
        (tmp_path / f"{name}.pin").write_text(pin)
        run("softhsm2-util", "--init-token", "--free", "--label", f"{name} card", "--pin", pin, "--so-pin", "12345678")
        run("openssl", "genpkey", "-algorithm", *kind, "-out", key)
        run("softhsm2-util", "--import", key, "--token", f"{name} card", "--label", "sign", "--id", "a1", "--pin", pin)
        der = run("openssl", "pkey", "-in", key, "-pubout", "-outform", "DER").stdout
        public = base64.b64encode(der).decode()
        officers[name] = CardOfficer(
            name=name, role="Officer", module=MODULE, token=f"{name} card", public_key=public,
            **({"key": "sign"} if name == "dave" else {"key_id": "a1"}),
        )  # fmt: skip
    return Cards(tmp_path, officers)


def test_a_quorum_by_card_holds_a_ceremony(cards: Cards, officers: dict[str, Custodian], tmp_path: Path) -> None:
    script = tmp_path / "root.toml"
    tables = [officers["alice"].table, cards.table("dave"), cards.table("erin")]
    script.write_text(example("root", tables).replace("rsa-4096", "p-256"))
    checklist = ceremony("plan", script)[1]
    assert "erin, Officer: card erin card, key id a1, through " + MODULE in checklist.replace("\n          ", " ")
    transcript = tmp_path / "root.jsonl"
    ceremony("run", script, "--transcript", transcript, "--home", tmp_path / "home", *cards.options("dave"),
             *cards.options("erin"))  # fmt: skip
    verdict = json.loads(ceremony("verify", transcript, "--script", script, "--outputs", tmp_path, "--json")[1])
    assert sorted(verdict["officers"]) == ["dave", "erin"]
    assert not any(pin.encode() in transcript.read_bytes() for pin in PINS.values())


def test_a_root_in_an_hsm_is_attested_and_officers_cards_beside_it_need_their_own_pins(
    cards: Cards, officers: dict[str, Custodian], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # dave's key is on the very token that the home is logged in to: only the PIN given for dave counts.
    monkeypatch.setenv("HOME_PIN", PINS["dave"])
    script, transcript = tmp_path / "root.toml", tmp_path / "root.jsonl"
    token = f'token = {{ module = "{MODULE}", token_label = "dave card", pin = "env:HOME_PIN" }}'
    text = example("root", [officers["alice"].table, officers["bob"].table, cards.table("dave")])
    text = text.replace("rsa-4096", "p-256").replace("hsm = false", "hsm = true")
    script.write_text(text.replace('action = "create-home"', f'action = "create-home"\n{token}'))
    assert "token_label dave card" in ceremony("plan", script)[1]
    command: tuple[str | Path, ...] = (
        "run",
        script,
        "--transcript",
        transcript,
        "--home",
        tmp_path / "home",
        *officers["alice"].options,
    )
    (tmp_path / "dave.pin").write_text("000000")
    code, _, errors = ceremony(*command, *cards.options("dave"), ok=False)
    assert (code, "dave: absent (wrong secret)" in errors) == (1, True)
    (tmp_path / "dave.pin").write_text(PINS["dave"])
    ceremony(*command, *cards.options("dave"))
    verdict = json.loads(ceremony("verify", transcript, "--script", script, "--json")[1])
    assert [one["name"] for one in verdict["keys"]] == ["offline-root", "offline-root-ocsp"]
    for one in verdict["keys"]:
        attested = one["attestation"]
        assert (attested["custody"], attested["token_label"]) == ("pkcs11", "dave card")
        assert (attested["never_extractable"], attested["extractable"], attested["local"]) == (True, False, True)


@pytest.mark.parametrize("name", ["dave", "erin"])
def test_a_card_signs_for_its_own_pin_each_time(cards: Cards, name: str) -> None:
    officer = cards.officers[name]
    signature = card.sign(officer, PINS[name], b"once")
    check(officer_key(officer), low(signature) if name == "dave" else signature, b"once")
    # Right after the right one, a wrong one opens nothing: nobody stays logged in.
    with pytest.raises(Unauthenticated) as refused:
        card.sign(officer, "000000", b"again")
    assert "000000" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"token": "no card"}, "0 tokens"),
        ({"serial": "0000"}, "0 tokens"),
        ({"key": "other"}, "no private key"),
        ({"module": "/usr/lib/none.so"}, "no PKCS#11 module"),
        ({"module": "/lib/x86_64-linux-gnu/libc.so.6"}, "not a PKCS#11 module"),
    ],
)
def test_what_keeps_a_card_from_signing_is_said(cards: Cards, changes: dict[str, str], named: str) -> None:
    with pytest.raises(KeyUnavailable, match=named):
        card.sign(msgspec.structs.replace(cards.officers["dave"], **changes), PINS["dave"], b"x")


def test_two_cards_of_one_label_are_told_apart_by_serial(cards: Cards) -> None:
    run("softhsm2-util", "--init-token", "--free", "--label", "dave card", "--pin", "000000", "--so-pin", "12345678")
    with pytest.raises(KeyUnavailable, match="2 tokens"):
        card.sign(cards.officers["dave"], PINS["dave"], b"x")


def test_a_wrong_pin_given_by_a_file_costs_one_try(
    cards: Cards, officers: dict[str, Custodian], tmp_path: Path
) -> None:
    script = tmp_path / "root.toml"
    script.write_text(example("root", [officers["alice"].table, cards.table("dave")]))
    (tmp_path / "dave.pin").write_text("000000")
    code, _, errors = ceremony(
        "run", script, "--transcript", tmp_path / "t.jsonl", "--home", tmp_path / "home", *officers["alice"].options,
        *cards.options("dave"), ok=False,
    )  # fmt: skip
    assert (code, errors.count("The PIN is wrong"), "dave: absent (wrong secret)" in errors) == (1, 1, True)
    assert not (tmp_path / "home").exists()
