"""`intaglio hsm`: what the configured token can and cannot do."""

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, note, say, table
from intaglio.errors import Malformed
from intaglio.keys.capabilities import Capabilities
from intaglio.keys.pin import refused_pins
from intaglio.keys.token import Token
from intaglio.keys.trial import Step, run
from intaglio.service.hsm import open_token, token_of
from intaglio.settings import FILE_NAME, HsmSettings, load

app = typer.Typer(help="The hardware security module, through PKCS#11.", no_args_is_help=True)


@app.command()
@command
def check(
    home: HomeOption = DEFAULT_HOME,
    module: Annotated[Path | None, typer.Option(help="A PKCS#11 module that is not in the settings yet.")] = None,
    token: Annotated[str | None, typer.Option(help="With --module: the token's label.")] = None,
    serial: Annotated[str | None, typer.Option(help="With --module: the token's serial number.")] = None,
    pin: Annotated[str | None, typer.Option(help="With --module: where the PIN is, file:PATH or env:NAME.")] = None,
    trial: Annotated[
        bool, typer.Option("--try", help="Really make, use, wrap, unwrap and destroy temporary keys on the token.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the token can do, which mechanism is chosen for what, and what follows where it has none.

    It logs in once. A PIN that is wrong is not tried again, by this command or by the service.
    """
    opened = _opened(home, module, token, serial, pin)
    try:
        found = opened.capabilities()
        steps = run(opened) if trial else []
    finally:
        opened.close()
    document = {**msgspec.to_builtins(found), "trial": msgspec.to_builtins(steps) if trial else None}
    say(document, _text(found, steps), as_json=as_json, then=None if trial else "intaglio hsm check --try")
    if any(step.error for step in steps):
        if not as_json:
            note("Error: the token did not do everything that it should.")
        raise typer.Exit(1)


def _opened(home: Path, module: Path | None, label: str | None, serial: str | None, pin: str | None) -> Token:
    if module is None:
        if label or serial or pin:
            raise Malformed("Which module?", {"module": "--token, --serial and --pin belong to a --module"})
        return open_token(load(home), home)
    if pin is None or (label is None and serial is None):
        raise Malformed("The token is not known well enough.", {"module": "needs --pin, and --token or --serial"})
    named = {"module": str(module.absolute()), "pin": pin, "token_label": label, "token_serial": serial}
    try:
        settings = msgspec.convert(named, HsmSettings)
    except msgspec.ValidationError as error:
        raise Malformed("The token cannot be used like this.", {"pin": str(error)}) from error
    return token_of(settings, Path.cwd(), _refused(home))


def _refused(home: Path) -> Path:
    """Return the file of refused PINs: the home's if there is a home, else one of this user's own."""
    if (home / FILE_NAME).exists():
        return refused_pins(home)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "intaglio/refused-pins"


def _text(found: Capabilities, steps: list[Step]) -> str:
    lines = [
        f"Module     {found.module}",
        f"           {found.module_description}, version {found.module_version}, PKCS#11 {found.cryptoki_version}",
        f"Token      label {found.label!r}, serial {found.serial}",
        f"           {found.manufacturer}, {found.model}, firmware {found.firmware}",
        f"Flags      {'; '.join(found.flags) or 'none that matter'}",
        "PIN        accepted",
        "",
        table([_row(one) for one in msgspec.to_builtins(found.capabilities)], ["needed for", "mechanism", "detail"]),
        "",
        *(f"{one.name}: {one.consequence}." for one in found.capabilities if one.consequence),
        f"Identity keys are {found.identity_keys}"
        + (", unless the settings say resident." if found.identity_keys == "wrapped" else " token objects."),
    ]
    if steps:
        rows = [
            {"tried": step.name, "ms": f"{step.milliseconds:.1f}", "result": step.error or step.note or "ok"}
            for step in steps
        ]
        lines += ["", table(rows, ["tried", "ms", "result"])]
    return "\n".join(lines)


def _row(capability: dict[str, Any]) -> dict[str, Any]:
    return {
        "needed for": capability["name"],
        "mechanism": capability["mechanism"] or "none",
        "detail": capability["detail"],
    }
