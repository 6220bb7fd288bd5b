"""What a step of a ceremony may be: one struct for each action, its fields are what the script says of it.

Paths are relative to the folder of the ceremony's files. Certificates and requests are written in PEM, CRLs in DER;
read, they may be either.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec

from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.pki.hierarchy import Hierarchy
from intaglio.settings import HsmSettings

# What a root certifies: `ocsp` is the responder that answers, at the service, for a root whose key is elsewhere.
Profile = Literal["issuing", "tsa", "ocsp"]


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that a step reads; `sha256` (hex) fixes it beforehand, or else officers confirm the one they find."""

    path: str
    sha256: str | None = None


class _Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="action"):
    """What every step has: an id, a note for the checklist, and whether a quorum confirms it by itself."""

    # Whether `confirm = false` is allowed: for what neither uses nor destroys a key of an authority, nor changes who is
    # trusted.
    light: ClassVar[bool] = False
    # The fields that are paths of files written, named for what is in them.
    writes: ClassVar[tuple[str, ...]] = ()
    # The fields that name authorities whose certificates must be known before the step.
    refers: ClassVar[tuple[str, ...]] = ()
    # Whether the certificate of the authority `name` is known after the step, and was not before.
    brings: ClassVar[bool] = False

    id: str
    note: str = ""
    confirm: bool = True

    @property
    def inputs(self) -> Mapping[str, Input]:
        """The files that the step reads, by field."""
        found = {field: getattr(self, field) for field in self.__struct_fields__}
        return {field: value for field, value in found.items() if isinstance(value, Input)}

    @property
    def outputs(self) -> Mapping[str, str]:
        """The paths that the step writes, by what is written: `certificate`, `request`, `crl`."""
        found = {field: getattr(self, field) for field in self.writes}
        return {field: path for field, path in found.items() if path is not None}


class CreateHome(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="create-home"):
    """Make an empty home: settings, database and ledger, and no authority; with a `token`, keys are made there."""

    light = True

    master_key: str = "file:master.key"
    token: HsmSettings | None = None


class CreateRoot(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="create-root"):
    """Make a key and a root that signs itself."""

    writes = ("certificate",)
    brings = True

    name: str
    title: str
    algorithm: KeyAlgorithm
    certificate: str
    test: bool = False
    hsm: bool = False


class RequestAuthority(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="request-authority"):
    """Make a key for an authority whose certificate another home will sign; its request goes out."""

    writes = ("request",)

    name: str
    title: str
    algorithm: KeyAlgorithm
    request: str
    profile: Profile = "issuing"
    test: bool = False
    hsm: bool = False


class SignRequest(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sign-request"):
    """Sign the request of another home; of the request, only the key is taken."""

    writes = ("certificate",)
    refers = ("issuer",)

    issuer: str
    title: str
    request: Input
    certificate: str
    profile: Profile = "issuing"
    test: bool = False


class InstallCertificate(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="install-certificate"):
    """Take in the certificate of an authority whose key was made here."""

    refers = ("issuer",)
    brings = True

    name: str
    issuer: str
    certificate: Input
    hsm: bool = False


class InstallRoot(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="install-root"):
    """Take in the certificate of a root whose key is elsewhere."""

    brings = True

    name: str
    certificate: Input
    test: bool = False


class ImportCrl(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="import-crl"):
    """Take in a CRL of an authority whose key is elsewhere, to be published here."""

    light = True
    refers = ("name",)

    name: str
    crl: Input


class Activate(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="activate"):
    """Issue from this authority from now on (rollover); the one before goes on answering for what it issued."""

    refers = ("name",)

    hierarchy: Hierarchy
    name: str


class Revoke(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="revoke"):
    """Revoke a certificate, given as a file, and publish the issuer's new CRL."""

    writes = ("crl",)
    refers = ("issuer",)

    issuer: str
    certificate: Input
    reason: str
    crl: str


class PublishCrl(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="publish-crl"):
    """Sign the next CRL of an authority: what an offline root does before the last one's time is over."""

    writes = ("crl",)
    refers = ("issuer",)

    issuer: str
    crl: str


class DestroyKey(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="destroy-key"):
    """Destroy the private key of an authority, for good."""

    refers = ("name",)

    name: str


class Export(_Step, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="export"):
    """Write the certificate of an authority, or its CRL now published, to a file."""

    light = True
    writes = ("certificate", "crl")
    refers = ("name",)

    name: str
    certificate: str | None = None
    crl: str | None = None


Step = (
    CreateHome
    | CreateRoot
    | RequestAuthority
    | SignRequest
    | InstallCertificate
    | InstallRoot
    | ImportCrl
    | Activate
    | Revoke
    | PublishCrl
    | DestroyKey
    | Export
)


def action(step: Step) -> str:
    """Return the action's name as the script writes it."""
    return str(step.__struct_config__.tag)


def needs(step: Step) -> list[str]:
    """Return the names of the authorities whose certificates must be known before a step."""
    return [getattr(step, field) for field in step.refers]


def brought(step: Step) -> str | None:
    """Return the name of the authority whose certificate a step brings."""
    return getattr(step, "name", None) if step.brings else None
