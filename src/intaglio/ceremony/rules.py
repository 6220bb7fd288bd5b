"""Which scripts cannot be used, and why: every fault with its place."""

import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from intaglio.ceremony import steps
from intaglio.ceremony.entry import CEREMONY, CLOSING
from intaglio.ceremony.officer import CardOfficer, officer_key
from intaglio.ceremony.script import Script
from intaglio.ceremony.steps import Input, Step
from intaglio.errors import ContentRefused, RequestRefused
from intaglio.pki import text
from intaglio.revocation.register import REASONS
from intaglio.staff.signature import fingerprint

_NAME = re.compile(r"\A[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_MOST_NAME = 24
_PART = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")
_MASTER_KEY = re.compile(r"\A(?:file:[\w./-]{1,200}|env:[A-Za-z_]\w{0,100})\Z")
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
_MOST_LINE, _MOST_NOTE = 120, 1000
# `initialise` takes no longer name.
_MOST_NEW = 20
_LEAST_QUORUM, _MOST_OFFICERS, _MOST_STEPS = 2, 20, 100

Fault = tuple[str, str]


def faults(script: Script) -> dict[str, str]:
    """Return what is wrong with a script, by place; nothing when it can be used."""
    found: dict[str, str] = {}
    for place, reason in (*_head(script), *_officers(script), *_steps(script)):
        found.setdefault(place, reason)
    return found


def check_name(name: str, role: str) -> None:
    """Raise `ContentRefused` when an officer cannot be called so in a script."""
    found = dict((*_name("name", name), *_line("role", role)))
    if found:
        raise ContentRefused("The officer cannot be called so.", found)


def _line(place: str, value: str, most: int = _MOST_LINE) -> Iterator[Fault]:
    # What is printed for people to agree on must read as it is: no escapes, no invisible or reversed text.
    fault = text.fault_of_text(value, most)
    if fault is not None:
        yield place, fault


def _name(place: str, value: str) -> Iterator[Fault]:
    if _NAME.match(value) is None or len(value) > _MOST_NAME:
        yield place, f"must be at most {_MOST_NAME} of a-z, 0-9 and single hyphens between, and begin with a letter"


def _digest(place: str, value: str) -> Iterator[Fault]:
    if _SHA256.match(value) is None:
        yield place, "must be a SHA-256 in 64 lower-case hex digits"


def _path(place: str, value: str) -> Iterator[Fault]:
    parts = value.split("/")
    if len(parts) > 8 or not all(_PART.match(part) for part in parts):
        yield place, "must be a relative path of plain names (letters, digits, dot, hyphen, underscore)"


def _repeated(names: list[str], place: str) -> Iterator[Fault]:
    for name, count in Counter(names).items():
        if count > 1:
            yield place, f"{name} stands there {count} times"


def _head(script: Script) -> Iterator[Fault]:
    yield from _line("title", script.title)
    yield from _line("purpose", script.purpose, _MOST_NOTE)
    yield from _line("place", script.place)
    if script.software is not None:
        yield from _line("software", script.software)
    home = script.home
    yield from _line("home.organization", home.organization, _MOST_NEW if home.new else 64)
    for place, fault in (
        ("home.public_url", text.fault_of_uri(home.public_url)),
        ("home.policy_arc", text.fault_of_oid(home.policy_arc)),
        ("home.country", None if home.country is None else text.fault_of_country(home.country)),
    ):
        if fault is not None:
            yield place, fault
    if not home.public_url.startswith("http://") or home.public_url.endswith("/"):
        yield "home.public_url", "must begin with http:// and not end with a slash"
    for name, digest in home.authorities.items():
        yield from _name(f"home.authorities.{name}"[:80], name)
        yield from _digest(f"home.authorities.{name}"[:80], digest)
    if home.new and home.authorities:
        yield "home.authorities", "a new home has none"
    for number, one in enumerate(script.witnesses):
        yield from _line(f"witnesses[{number}].name", one.name)
        yield from _line(f"witnesses[{number}].role", one.role)


def _officers(script: Script) -> Iterator[Fault]:
    officers = script.officers
    if not _LEAST_QUORUM <= len(officers) <= _MOST_OFFICERS:
        yield "officers", f"must be {_LEAST_QUORUM} to {_MOST_OFFICERS}"
    if not _LEAST_QUORUM <= script.quorum <= len(officers):
        yield "quorum", f"must be from {_LEAST_QUORUM} to the number of officers"
    yield from _repeated([one.name for one in officers], "officers")
    keys: dict[str, str] = {}
    cards: set[tuple[str, str | None]] = set()
    for number, one in enumerate(officers):
        place = f"officers[{number}]"
        yield from _name(f"{place}.name", one.name)
        yield from _line(f"{place}.role", one.role)
        if isinstance(one, CardOfficer):
            yield from _card(place, one)
            if (one.token, one.serial) in cards:
                yield f"{place}.token", "is another officer's too: one PIN would confirm for both (or give each serial)"
            cards.add((one.token, one.serial))
        try:
            found = fingerprint(officer_key(one))
        except RequestRefused as error:
            yield f"{place}.public_key", error.fields["public_key"]
            continue
        # One person with two names would be a quorum alone.
        if found in keys:
            yield f"{place}.public_key", f"is the key of {keys[found]} too"
        keys[found] = one.name


def _card(place: str, officer: CardOfficer) -> Iterator[Fault]:
    yield from _line(f"{place}.token", officer.token, 32)
    yield from _line(f"{place}.module", officer.module, 1000)
    if not officer.module.startswith("/"):
        yield f"{place}.module", "must be an absolute path"
    if (officer.key is None) == (officer.key_id is None):
        yield f"{place}.key", "exactly one of key and key_id"
    for field in ("key", "serial"):
        if getattr(officer, field) is not None:
            yield from _line(f"{place}.{field}", getattr(officer, field))
    if officer.key_id is not None and re.match(r"\A(?:[0-9a-f]{2}){1,64}\Z", officer.key_id) is None:
        yield f"{place}.key_id", "must be octets in lower-case hex"
    if (officer.public_key is None) == (officer.certificate is None):
        yield f"{place}.public_key", "exactly one of public_key and certificate"


def _steps(script: Script) -> Iterator[Fault]:
    if not 1 <= len(script.steps) <= _MOST_STEPS:
        yield "steps", f"must be 1 to {_MOST_STEPS}"
    yield from _repeated([one.id for one in script.steps], "steps")
    known = set(script.home.authorities)
    written: set[str] = set()
    every = {path for one in script.steps for path in one.outputs.values()}
    for number, one in enumerate(script.steps):
        place = f"steps[{number}]"
        yield from _name(f"{place}.id", one.id)
        if one.id in {CEREMONY, CLOSING}:
            yield f"{place}.id", "stands for the ceremony itself in transcripts"
        if isinstance(one, steps.CreateHome) != (number == 0 and script.home.new):
            yield f"{place}.action", "create-home is the first step of a script with home.new = true, and no other"
        yield from _fields(place, one, script)
        yield from _known(place, one, known)
        for field, read in one.inputs.items():
            yield from _input(f"{place}.{field}", one, read, written, every)
        for field, path in one.outputs.items():
            yield from _path(f"{place}.{field}", path)
            if path in written:
                yield f"{place}.{field}", "is written by an earlier step"
            written.add(path)
        name = steps.brought(one)
        if name is not None:
            known.add(name)


def _known(place: str, step: Step, known: set[str]) -> Iterator[Fault]:
    for name in steps.needs(step):
        if name not in known:
            yield place, f"{name} is neither in home.authorities nor made by an earlier step"
    if steps.brought(step) in known:
        yield f"{place}.name", f"there is {steps.brought(step)} already"


def _input(place: str, step: Step, read: Input, written: set[str], every: set[str]) -> Iterator[Fault]:
    yield from _path(f"{place}.path", read.path)
    if read.sha256 is not None:
        yield from _digest(f"{place}.sha256", read.sha256)
    if read.path in every - written:
        yield f"{place}.path", "is written by this or a later step"
    elif read.sha256 is None and read.path not in written and not step.confirm:
        yield f"{place}.sha256", "is needed, or a quorum for the step: nobody would have agreed on the file"


def _fields(place: str, step: Step, script: Script) -> Iterator[Fault]:
    """Check what a step says by itself."""
    if step.note:
        yield from _line(f"{place}.note", step.note, _MOST_NOTE)
    if not step.confirm and not step.light:
        yield f"{place}.confirm", f"{steps.action(step)} is never done without a quorum of its own"
    for field in ("name", "issuer"):
        value = getattr(step, field, None)
        if value is not None:
            yield from _name(f"{place}.{field}", value)
    title = getattr(step, "title", None)
    if title is not None:
        # CN is `<organization> <title> OCSP Responder`, 64 characters at most (X.520).
        yield from _line(f"{place}.title", title, 64 - len(" OCSP Responder") - 1 - len(script.home.organization))
    if title is not None and ("TEST" in title) != getattr(step, "test", False):
        yield f"{place}.title", "must have TEST in it if, and only if, test = true"
    match step:
        case steps.CreateHome():
            yield from _home_made(place, step)
        case steps.Revoke() if step.reason not in REASONS:
            yield f"{place}.reason", f"must be one of {', '.join(REASONS)}"
        case steps.Export() if not step.outputs:
            yield place, "certificate or crl, or both, must be given"
        case _:
            pass


def _home_made(place: str, step: steps.CreateHome) -> Iterator[Fault]:
    if _MASTER_KEY.match(step.master_key) is None:
        yield f"{place}.master_key", "must be file:PATH or env:NAME"
    if step.token is not None:
        for name, value in msgspec.to_builtins(step.token).items():
            if isinstance(value, str):
                yield from _line(f"{place}.token.{name}", value, _MOST_NOTE)
