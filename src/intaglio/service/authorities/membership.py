"""Asking for a member: its name is free, its title fits, its key is made once."""

import re
from collections.abc import Mapping

import msgspec
from cryptography import x509

from intaglio.errors import Conflict, ContentRefused, KeyUnavailable
from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey, algorithm_of
from intaglio.pki import text
from intaglio.pki.hierarchy import KeyPlace, Member, Roster, State
from intaglio.service.home import TOKEN_SECRET, Home
from intaglio.service.roster import write

# `<name>-ocsp` is at most 32 characters, as the registers take them; it is part of URLs and file names.
_NAME = re.compile(r"\A[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_MOST_NAME = 27
# These have places, and uses, of their own.
_RESERVED = frozenset({TOKEN_SECRET, "client", "ledger", "server", "tls"})
_MOST_COMMON_NAME = 64

# Which kinds of certificate a CA of each kind signs for members of the hierarchy.
BENEATH: Mapping[str, frozenset[str]] = {
    "root": frozenset({"issuing", "tsa", "ocsp"}),
    "issuing": frozenset({"ocsp"}),
}


def algorithm(name: str) -> KeyAlgorithm:
    """Return a kind of key by its name; raises `ContentRefused`."""
    try:
        return KeyAlgorithm(name)
    except ValueError as error:
        raise ContentRefused(
            "There is no such kind of key.", {"algorithm": f"must be one of {', '.join(KeyAlgorithm)}"}
        ) from error


def check_names(roster: Roster, organization: str, member: Member) -> None:
    """Raise `ContentRefused` or `Conflict` when a new member's name or title cannot be used."""
    faults: dict[str, str] = {}
    name = member.name
    if _NAME.match(name) is None or len(name) > _MOST_NAME + len("-ocsp") * (member.profile == "ocsp"):
        faults["name"] = f"lower-case letters and digits with single hyphens between, at most {_MOST_NAME}"
    elif name in _RESERVED:
        faults["name"] = f"{name} is kept for something else"
    elif member.profile == "ocsp":
        answered = roster.find(name.removesuffix("-ocsp"))
        if not name.endswith("-ocsp") or answered is None or not answered.is_ca or answered.test != member.test:
            faults["name"] = "must be that of a CA of the hierarchy, and -ocsp"
    elif name.endswith("-ocsp"):
        faults["name"] = "only OCSP responders end in -ocsp"
    longest = f"{organization} {member.title}" + (" OCSP Responder" if member.is_ca else "")
    fault = text.fault_of_text(member.title, _MOST_COMMON_NAME) or text.fault_of_text(longest, _MOST_COMMON_NAME)
    if fault is not None:
        faults["title"] = f"{fault} (with {organization!r} before it)"
    elif member.test != ("TEST" in member.title):
        faults["title"] = "must have TEST in it if, and only if, it is for the test hierarchy"
    if faults:
        raise ContentRefused("The authority cannot be called so; nothing was changed.", faults)


def check_subject(home: Home, roster: Roster, member: Member, name: x509.Name) -> None:
    """Raise `Conflict` when another member bears `name`: two CAs of one name cannot be told apart by their CRLs."""
    for other in roster.members:
        if other.name == member.name:
            continue
        borne = home.certificate(other.name).subject if other.certified else home.subject(other.title)
        if borne == name:
            raise Conflict(
                f"{other.name} bears this name already: number the new one.", {"title": f"the same as of {other.name}"}
            )


def enter(home: Home, roster: Roster, member: Member) -> Roster:
    """Make it durable that `member` is asked for; returns the roster unchanged when it is there already.

    Raises `Conflict` when the name is taken, by another member or by a key of nobody's.
    """
    held = roster.find(member.name)
    if held is not None:
        if same(held, member):
            return roster
        raise Conflict(
            f"The name {member.name} is taken.", {"name": f"{member.name} is there: {held.profile}, {held.state}"}
        )
    check_names(roster, home.settings.name, member)
    check_subject(home, roster, member, home.subject(member.title))
    if member.key == KeyPlace.HERE and _has_key(home, member.name):
        raise Conflict(f"There is a key {member.name} that belongs to nobody.", {"name": "its key is there already"})
    entered = roster.with_member(msgspec.structs.replace(member, state=State.REQUESTED))
    write(home.path, entered)
    return entered


def same(held: Member, wanted: Member) -> bool:
    """Return whether a member is what is asked for, however far it has come."""
    parts = ("profile", "title", "test", "key")
    if any(getattr(held, part) != getattr(wanted, part) for part in parts):
        return False
    return held.algorithm is None or wanted.algorithm is None or held.algorithm == wanted.algorithm


def kept_key(home: Home, member: Member) -> PrivateKey:
    """Return the key of a member, made now if it was not made before.

    Raises `Conflict` when it is of another kind than asked for, `KeyUnavailable`.
    """
    if member.algorithm is None or _has_key(home, member.name):
        key = home.keyring.key(member.name)
        if member.algorithm is not None and algorithm_of(key.public_key()) != member.algorithm:
            raise Conflict(
                f"The key of {member.name} is of another kind.", {"algorithm": str(algorithm_of(key.public_key()))}
            )
        return key
    key = home.custody.generate(member.algorithm, member.name)
    home.keyring.store_key(member.name, key)
    return key


def _has_key(home: Home, name: str) -> bool:
    try:
        home.keyring.key(name)
    except KeyUnavailable:
        # What is there and does not open is not written over either: storing refuses.
        return False
    return True
