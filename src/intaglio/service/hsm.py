"""The token that the settings name, put together."""

from pathlib import Path

from intaglio.errors import Conflict
from intaglio.keys.pin import refused_pins
from intaglio.keys.token import Token, TokenPlace
from intaglio.settings import HsmSettings, Settings, hsm_pin


def open_token(settings: Settings, home: Path) -> Token:
    """Return the token of a home folder's settings, not connected yet; raises `Conflict` when they name none."""
    if settings.hsm is None:
        raise Conflict("The settings have no [hsm]: docs/operate/hsm.md says how to set one up.", {"hsm": "missing"})
    return token_of(settings.hsm, home, refused_pins(home))


def token_of(hsm: HsmSettings, home: Path, refused: Path) -> Token:
    """Return a token; paths are relative to `home`, `refused` is the file of PINs that tokens refused."""
    place = TokenPlace(home / hsm.module, hsm.token_label, hsm.token_serial)
    return Token(place, lambda: hsm_pin(hsm.pin, home), refused, seconds=float(hsm.timeout_seconds))
