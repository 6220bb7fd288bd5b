"""SoftHSM tokens to test with: real ones, each in a folder of its own."""

import os
import re
import subprocess
from pathlib import Path

import msgspec

from intaglio.keys.token import TokenPlace

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "planted-pin-4711"


class MadeToken(msgspec.Struct, frozen=True):
    """A token that was made: processes find it with `environment`, set before they load the module."""

    label: str
    serial: str
    configuration: Path
    tokens: Path
    pin_file: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SOFTHSM2_CONF": str(self.configuration)}

    @property
    def place(self) -> TokenPlace:
        return TokenPlace(MODULE, serial=self.serial)

    @property
    def settings(self) -> str:
        """The section of intaglio.toml that names this token."""
        return (
            f'[hsm]\nmodule = "{MODULE}"\ntoken_label = "{self.label}"\ntoken_serial = "{self.serial}"\n'
            f'pin = "file:{self.pin_file}"\n'
        )


def configure(folder: Path) -> Path:
    """Return a configuration of SoftHSM that keeps its tokens in `folder`; made if it is not there."""
    configuration = folder / "softhsm2.conf"
    (folder / "tokens").mkdir(parents=True, exist_ok=True)
    configuration.write_text(
        f"directories.tokendir = {folder / 'tokens'}\n"
        "objectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
    )
    return configuration


def make_token(folder: Path, label: str, pin: str = PIN) -> MadeToken:
    """Make a token in `folder`, where there may be others, and a file (0600) with its PIN beside."""
    configuration = configure(folder)
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "so-pin-0815", "--pin", pin]
    environment = {**os.environ, "SOFTHSM2_CONF": str(configuration)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    slot = re.search(r"slot (\d+)", done.stdout.splitlines()[-1])
    assert slot is not None, done.stdout
    # SoftHSM numbers a slot by the last 31 bits of the token's serial number.
    shown = subprocess.run(
        ["softhsm2-util", "--show-slots"], capture_output=True, text=True, check=True, env=environment
    )
    serials = re.findall(r"Serial number:\s+(\w+)", shown.stdout)
    serial = next(one for one in serials if int(one, 16) & 0x7FFFFFFF == int(slot[1]))
    pin_file = folder / f"{serial}.pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text(pin + "\n")
    return MadeToken(label, serial, configuration, folder / "tokens", pin_file)
