"""`intaglio hsm check`: what a person who sets up a token sees."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from served import BIN, run
from softhsm import MODULE, MadeToken, make_token


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeToken:
    return make_token(tmp_path_factory.mktemp("softhsm"), "shown")


@pytest.fixture(autouse=True)
def environment(made: MadeToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", str(made.configuration))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def check(*options: str | Path) -> CompletedProcess[bytes]:
    done = run(BIN / "intaglio", "hsm", "check", *options, check=False)
    assert b"Traceback" not in done.stderr
    return done


def test_a_token_is_shown_and_tried(made: MadeToken) -> None:
    place = ("--module", MODULE, "--token", "shown", "--pin", f"file:{made.pin_file}")
    done = check(*place, "--try")
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode()
    for part in (str(MODULE), "'shown'", made.serial, "CKM_RSA_PKCS_KEY_PAIR_GEN", "CKM_AES_KEY_WRAP", "wrapped"):
        assert part in shown
    assert "flipped bit is refused" in shown
    found = json.loads(check(*place, "--json").stdout)
    assert (found["label"], found["serial"], found["identity_keys"]) == ("shown", made.serial, "wrapped")
    assert found["trial"] is None
    assert {one["name"] for one in found["capabilities"]} >= {"PKCS#1 v1.5", "PSS", "ECDSA", "Key wrapping"}


def test_the_token_of_the_settings_is_shown(made: MadeToken, tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(BIN / "intaglio", "init", "--home", home, "--algorithm", "p-256")
    done = check("--home", home)
    assert done.returncode == 1
    assert b"docs/operate/hsm.md" in done.stderr
    settings = home / "intaglio.toml"
    before = settings.read_text()
    settings.write_text(before + made.settings)
    assert json.loads(check("--home", home, "--json").stdout)["serial"] == made.serial
    pin = home / "pin"
    pin.write_text("planted-wrong-pin\n")
    pin.chmod(0o600)
    settings.write_text(before + made.settings.replace(str(made.pin_file), "pin"))
    for said in (b"is wrong", b"not tried again"):
        done = check("--home", home)
        assert done.returncode == 2
        assert said in done.stderr
        assert b"planted" not in done.stderr + done.stdout
    assert (home / "keys/refused-pins").stat().st_mode & 0o777 == 0o600
    # corrected, it is tried, and the refusals are forgotten
    settings.write_text(before + made.settings)
    assert check("--home", home).returncode == 0
    assert not (home / "keys/refused-pins").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--module", MODULE, "--token", "shown"), "--pin"),
        (("--module", MODULE, "--pin", "env:X"), "--token or --serial"),
        (("--token", "shown"), "belong to a --module"),
        (("--module", MODULE, "--token", "shown", "--pin", "4711"), "pin"),
        (("--module", MODULE, "--token", "shown", "--pin", "env:NO_SUCH_PIN"), "NO_SUCH_PIN"),
        (("--module", MODULE, "--token", "shown", "--pin", "file:lost.pin"), "lost.pin"),
        (("--module", MODULE, "--token", "other", "--pin", "env:HOME"), "'shown'"),
        (("--module", "/etc/hostname", "--token", "shown", "--pin", "env:HOME"), "cannot be loaded"),
        (("--module", "lost.so", "--token", "shown", "--pin", "env:HOME"), "lost.so"),
    ],
)
def test_what_cannot_be_used_is_said(options: tuple[str | Path, ...], said: str) -> None:
    done = check(*options)
    assert done.returncode in {1, 2}
    assert said in done.stderr.decode()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("token_label", "token_lable", "token_lable"),
        ('token_label = "shown"\n', "", "one of token_label and token_serial"),
        ('pin = "file:', 'pin = "', "hsm.pin"),
        ("[hsm]\n", "[hsm]\ntimeout_seconds = 0\n", "hsm.timeout_seconds"),
    ],
)
def test_settings_of_a_token_that_cannot_be_used_are_named(
    made: MadeToken, tmp_path: Path, old: str, new: str, named: str
) -> None:
    section = made.settings.replace(f'token_serial = "{made.serial}"\n', "")
    home = tmp_path / "home"
    home.mkdir()
    head = 'name = "x"\nhosts = ["localhost"]\n[public]\nurl = "http://x"\n'
    (home / "intaglio.toml").write_text(head + section.replace(old, new))
    assert old in section
    done = check("--home", home)
    assert done.returncode == 1
    assert named in done.stderr.decode()
