"""A script as people read it: the checklist that officers and witnesses have before them on paper."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from intaglio.ceremony import steps
from intaglio.ceremony.officer import CardOfficer, Officer, officer_key
from intaglio.ceremony.script import Script
from intaglio.ceremony.steps import Step
from intaglio.settings import HsmSettings
from intaglio.staff.signature import fingerprint

_WIDTH = 100


# What each action does, in one sentence; the fields are the step's, `kept` and `tested` say hsm and test.
_SENTENCES: Mapping[type[Step], str] = {
    steps.CreateHome: "Make an empty home with the master key {master_key}{placed}.",
    steps.CreateRoot: "Make a key ({algorithm}{kept}) and the root {name}, {title!r}{tested}.",
    steps.RequestAuthority: "Make a key ({algorithm}{kept}) for {name}, {title!r}{tested}, and a request for a "
    "certificate of the profile {profile}.",
    steps.SignRequest: "Sign the request with {issuer}, for {title!r}{tested}, profile {profile}.",
    steps.InstallCertificate: "Take in the certificate of {name}, issued by {issuer}, for the key made here{kept}.",
    steps.InstallRoot: "Take in the certificate of the root {name}{tested}, whose key is elsewhere.",
    steps.ImportCrl: "Take in a CRL of {name}, whose key is elsewhere.",
    steps.Activate: "Issue from {name} from now on ({hierarchy}).",
    steps.Revoke: "Revoke a certificate of {issuer} for good ({reason}) and sign a new CRL.",
    steps.PublishCrl: "Sign the next CRL of {issuer}.",
    steps.DestroyKey: "Destroy the private key of {name}, for good.",
    steps.Export: "Write {written} of {name}.",
}


def sentence(step: Step) -> str:
    """Return what a step does, in one sentence."""
    fields = {field: getattr(step, field) for field in step.__struct_fields__}
    kept = ", in an HSM, never extractable" if fields.get("hsm") else ""
    tested = ", TEST" if fields.get("test") else ""
    placed = _token(step.token) if isinstance(step, steps.CreateHome) else ""
    written = " and ".join(step.outputs)
    return _SENTENCES[type(step)].format(**fields, kept=kept, tested=tested, written=written, placed=placed)


def _token(token: HsmSettings | None) -> str:
    if token is None:
        return ""
    said = msgspec.to_builtins(token)
    return ", its keys on a token: " + ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)


def confirms(officer: Officer) -> str:
    """Return by what an officer confirms."""
    if isinstance(officer, CardOfficer):
        serial = f", serial {officer.serial}" if officer.serial else ""
        key = officer.key or f"id {officer.key_id}"
        return f"card {officer.token}{serial}, key {key}, through {officer.module}"
    return "key file and passphrase"


def grouped(digest: str) -> str:
    """Return a hash in groups of eight, to be read aloud."""
    return " ".join(digest[place : place + 8] for place in range(0, len(digest), 8))


def as_text(script: Script) -> str:
    """Return the checklist in plain text, 100 characters wide."""
    return "\n".join(line.rstrip() for line in _lines(script)) + "\n"


def _lines(script: Script) -> Iterator[str]:
    yield f"KEY CEREMONY: {script.title}"
    yield "=" * _WIDTH
    yield from _entry("Script", f"SHA-256 {grouped(script.sha256)}")
    yield from _entry("Purpose", script.purpose)
    yield from _entry("Place", script.place)
    yield from _entry("Software", f"Intaglio {script.software}" if script.software else "any version of Intaglio")
    home = script.home
    owner = home.organization if home.country is None else f"{home.organization} ({home.country})"
    yield from _entry("Home", f"{owner}, {home.public_url}, policies below {home.policy_arc}")
    if home.new:
        yield from _entry("", "There is none yet: the first step makes it.")
    for name, digest in home.authorities.items():
        yield from _entry("", f"{name} is there already, certificate SHA-256 {grouped(digest)}")
    yield from _entry(
        "Quorum", f"{script.quorum} of {len(script.officers)} officers, for the whole and where a step says so"
    )
    yield ""
    yield "Date ____________________   Begun ____________________   Ended ____________________"
    yield ""
    yield "OFFICERS (each compares the script's SHA-256 above with the copy brought along)"
    for officer in script.officers:
        yield from _entry("[ ]", f"{officer.name}, {officer.role}: {confirms(officer)}")
        yield from _entry("", f"key {grouped(fingerprint(officer_key(officer)))}")
        yield from _entry("", "Signature ______________________________")
    if script.witnesses:
        yield ""
        yield "WITNESSES"
        for witness in script.witnesses:
            yield from _entry("[ ]", f"{witness.name}, {witness.role}   Signature ______________________________")
    yield ""
    yield "STEPS"
    for number, step in enumerate(script.steps, start=1):
        yield from _step(number, step, script)
    yield ""
    yield from _entry(
        "[ ]", "Every officer present signs the end; the transcript is verified; its last hash is written here:"
    )
    yield from _entry("", "________________________________________________________________")


def _step(number: int, step: Step, script: Script) -> Iterator[str]:
    yield from _entry(f"[ ] {number}", f"{step.id}: {sentence(step)}")
    if step.note:
        yield from _entry("", step.note)
    for one in step.inputs.values():
        fixed = (
            f"SHA-256 {grouped(one.sha256)}"
            if one.sha256
            else "SHA-256 as written by an earlier step, or compared here"
        )
        yield from _entry("", f"reads {one.path}, {fixed}")
    for kind, path in step.outputs.items():
        yield from _entry("", f"writes {path} ({kind}), SHA-256 ________________________________")
    if step.confirm:
        yield from _entry("", f"{script.quorum} officers confirm: ________________________________________")
    else:
        yield from _entry("", "without a quorum of its own")


def _entry(head: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, _WIDTH - 10, break_long_words=False, break_on_hyphens=False)
    return [f"{head if place == 0 else '':<10}{line}" for place, line in enumerate(lines)]


def as_json(script: Script) -> dict[str, Any]:
    """Return the checklist for other programs."""
    return {
        "title": script.title,
        "sha256": script.sha256,
        "purpose": script.purpose,
        "place": script.place,
        "software": script.software,
        "quorum": script.quorum,
        "home": msgspec.to_builtins(script.home),
        "officers": [
            {
                "name": officer.name,
                "role": officer.role,
                "confirms": "pkcs11" if isinstance(officer, CardOfficer) else "secret",
                "key_sha256": fingerprint(officer_key(officer)),
            }
            for officer in script.officers
        ],
        "witnesses": msgspec.to_builtins(script.witnesses),
        "steps": [
            {
                "id": step.id,
                "action": steps.action(step),
                "does": sentence(step),
                "confirm": step.confirm,
                "inputs": msgspec.to_builtins(step.inputs),
                "outputs": dict(step.outputs),
            }
            for step in script.steps
        ],
    }
