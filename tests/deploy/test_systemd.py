"""The unit: judged by systemd's own tools; what it asks of the service is tried on the service."""

import subprocess
from pathlib import Path

import pytest

from commands import BIN, run
from fronts import DEPLOY
from intaglio.cli.supervisor import notify
from intaglio.errors import KeyUnavailable
from intaglio.settings import Settings, hsm_pin, load, master_key

# 1.4 of 10, as `systemd-analyze security` has it, and a tenth more where it counts anew.
EXPOSURE = 15


def judged(folder: Path, text: str) -> subprocess.CompletedProcess[bytes]:
    unit = folder / "intaglio.service"
    unit.write_text(text.replace("/opt/intaglio/.venv/bin", str(BIN)))
    done = run("systemd-analyze", "verify", "--man=no", unit, check=False)
    assert not done.returncode, done.stderr.decode()
    return done


def test_systemd_has_nothing_to_say_of_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd/intaglio.service").read_text()
    workers = (DEPLOY / "systemd/workers.conf").read_text()
    assert judged(tmp_path, text).stderr == b""
    assert judged(tmp_path, text + workers).stderr == b""
    # It would have.
    assert b"NoNewPrivilege" in judged(tmp_path, text.replace("NoNewPrivileges", "NoNewPrivilege")).stderr


def test_the_unit_leaves_the_service_little(tmp_path: Path) -> None:
    unit = tmp_path / "intaglio.service"
    unit.write_text((DEPLOY / "systemd/intaglio.service").read_text())
    options = ("security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager")
    run("systemd-analyze", *options, unit)
    unit.write_text(unit.read_text().replace("CapabilityBoundingSet=\n", ""))
    assert run("systemd-analyze", *options, unit, check=False).returncode


def test_secrets_are_taken_from_the_process_s_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = 'name = "x"\nhosts = ["x"]\n[public]\nurl = "http://x"\n[keys]\nmaster_key = "credential:master-key"\n'
    (tmp_path / "intaglio.toml").write_text(wanted)
    settings: Settings = load(tmp_path)
    with pytest.raises(KeyUnavailable, match="not among this process's credentials"):
        master_key(settings, tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "master-key").write_text("ab" * 32 + "\n")
    (tmp_path / "hsm-pin").write_text("1234\n")
    # An access list shows in the mode of a group.
    (tmp_path / "master-key").chmod(0o440)
    assert master_key(settings, tmp_path) == b"\xab" * 32
    assert hsm_pin("credential:hsm-pin", tmp_path) == "1234"
    with pytest.raises(KeyUnavailable):
        hsm_pin("credential:../hsm-pin/x", tmp_path)


def test_nobody_is_there_to_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (str(tmp_path / "gone"), "@intaglio-nobody", "nowhere"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")


def test_the_command_beside_the_unit_is_a_sound_script() -> None:
    run("sh", "-n", DEPLOY / "systemd/intaglio-command")


def test_the_command_is_kept_from_core_files_and_swap(tmp_path: Path) -> None:
    said = tmp_path / "systemd-run"
    said.write_text('#!/bin/sh\necho "$@"\n')
    said.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    told = run("env", f"PATH={path}", "sh", DEPLOY / "systemd/intaglio-command", "account", "list").stdout.decode()
    options, _, command = told.partition(" -- ")
    assert command == "/opt/intaglio/.venv/bin/intaglio account list\n"
    assert {f"--property={one}" for one in ("LimitCORE=0", "MemorySwapMax=0", "UMask=0077")} <= set(options.split())
