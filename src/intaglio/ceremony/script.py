"""The script of a ceremony, as officers agree on it."""

import msgspec

from intaglio.ceremony.officer import Officer
from intaglio.ceremony.steps import Step
from intaglio.errors import Malformed


class Witness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who watches; a witness signs the printed checklist, not the transcript."""

    name: str
    role: str


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The home that the ceremony changes, as it must be found: `authorities` maps names to SHA-256 of certificates.

    `new` says that there is no home yet and that the first step makes it.
    """

    organization: str
    country: str | None = None
    public_url: str
    policy_arc: str = "1.3.6.1.4.1.32473"
    new: bool = False
    authorities: dict[str, str] = {}


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A script that passed every rule; `text` is the file, `sha256` (hex) its hash, which officers compare."""

    text: str
    sha256: str
    title: str
    purpose: str
    place: str
    quorum: int
    software: str | None
    home: Place
    officers: tuple[Officer, ...]
    witnesses: tuple[Witness, ...]
    steps: tuple[Step, ...]

    def officer(self, name: str) -> Officer:
        """Return an officer by name; raises `Malformed` if the script names none such."""
        for one in self.officers:
            if one.name == name:
                return one
        raise Malformed(f"The script names no officer {name!r}.", {"officer": "not in the script"})

    def step(self, identifier: str) -> Step | None:
        """Return a step by its id."""
        return next((one for one in self.steps if one.id == identifier), None)
