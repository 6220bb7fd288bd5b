"""What steps do to a home: one small function for each action.

A step that was begun before and interrupted is first looked for: what it did is found and not done again, so that no
key is made twice, no request signed twice, nothing revoked twice.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.accounts import onboarding
from intaglio.ceremony import artefact, steps
from intaglio.ceremony.entry import Result
from intaglio.ceremony.possession import check_attestation
from intaglio.ceremony.script import Script
from intaglio.ceremony.steps import Step
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, ContentRefused, NotFound
from intaglio.keys.algorithm import PublicKey
from intaglio.ledger.entry import Event
from intaglio.revocation import crl, register
from intaglio.revocation.register import RevocationList, State, serial_text
from intaglio.service import authorities
from intaglio.service.home import Home
from intaglio.service.initialisation import Beginning, initialise

# Times in certificates and CRLs are whole seconds, cut off.
_SECOND = timedelta(seconds=1)


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a step works on: `inputs` by field; `home` None before it is made.

    `since` is when the step was begun before, and interrupted; None the first time.
    """

    path: Path
    home: Home | None
    script: Script
    inputs: Mapping[str, bytes]
    now: datetime
    since: datetime | None

    @property
    def opened(self) -> Home:
        """The home; raises `Conflict` when there is none yet."""
        if self.home is None:
            raise Conflict("There is no home yet.", {"home": "missing"})
        return self.home


def key_name(step: Step) -> str | None:
    """Return the name of the key that a step makes or takes into use, and that must show that it is here."""
    match step:
        case steps.CreateRoot() | steps.RequestAuthority() | steps.InstallCertificate():
            return step.name
        case _:
            return None


def perform(work: Work, step: Step) -> Result:  # noqa: C901, PLR0911 - one case for each action
    """Do a step, or what is left of it to do; raises what keeps it from being done."""
    match step:
        case steps.CreateHome():
            return _create_home(work, step)
        case steps.CreateRoot():
            return _create_root(work, step)
        case steps.RequestAuthority():
            return _request(work, step)
        case steps.SignRequest():
            return _sign(work, step)
        case steps.InstallCertificate():
            return _install(work, step)
        case steps.InstallRoot():
            certificate = artefact.certificate(work.inputs["certificate"])
            authorities.install_root(work.opened, step.name, certificate, work.now, test=step.test)
            return Result()
        case steps.ImportCrl():
            der = artefact.crl(work.inputs["crl"]).public_bytes(Encoding.DER)
            authorities.import_list(work.opened, step.name, der, work.now)
            return Result()
        case steps.Activate():
            authorities.activate(work.opened, step.hierarchy, step.name, work.now)
            return Result()
        case steps.Revoke():
            return _revoke(work, step)
        case steps.PublishCrl():
            return _publish(work, step.issuer)
        case steps.DestroyKey():
            authorities.destroy_key(work.opened, step.name, work.now)
            return Result()
        case steps.Export():
            return _export(work, step)


def _create_home(work: Work, step: steps.CreateHome) -> Result:
    if work.since is not None and work.path.exists():
        # It is moved into its place whole; the judgement that follows says whether it is this one.
        return Result(recovered=True)
    expected = work.script.home
    beginning = Beginning(
        name=expected.organization,
        public_url=expected.public_url,
        policy_arc=expected.policy_arc,
        country=expected.country,
        master_key=step.master_key,
        hsm=step.token,
    )
    initialise(work.path, beginning, work.now, lambda _: None, authorities=False).close()
    return Result()


def _create_root(work: Work, step: steps.CreateRoot) -> Result:
    _check_new(work, step.name, hsm=step.hsm)
    certificate = authorities.create_root(
        work.opened, step.name, title=step.title, algorithm=step.algorithm, test=step.test, now=work.now
    )
    return Result(certificate=certificate.public_bytes(Encoding.DER))


def _request(work: Work, step: steps.RequestAuthority) -> Result:
    _check_new(work, step.name, hsm=step.hsm)
    request = authorities.request_authority(
        work.opened,
        step.name,
        profile=step.profile,
        title=step.title,
        algorithm=step.algorithm,
        test=step.test,
        now=work.now,
    )
    return Result(request=request.public_bytes(Encoding.DER))


def _sign(work: Work, step: steps.SignRequest) -> Result:
    home = work.opened
    if home.roster().member(step.issuer).test != step.test:
        raise ContentRefused(f"{step.issuer} is of the other hierarchy.", {"test": "is not that of the issuer"})
    request = artefact.request(work.inputs["request"])
    found = _signed(work, step.issuer, artefact.key_of(request))
    if found is not None:
        return Result(certificate=found.public_bytes(Encoding.DER), recovered=True)
    certificate = authorities.sign_request(
        home, step.issuer, request, profile=step.profile, title=step.title, now=work.now
    )
    return Result(certificate=certificate.public_bytes(Encoding.DER))


def _install(work: Work, step: steps.InstallCertificate) -> Result:
    if step.hsm:
        check_attestation(work.opened.keyring.attest(step.name))
    certificate = artefact.certificate(work.inputs["certificate"])
    authorities.install_authority(work.opened, step.name, step.issuer, certificate, work.now)
    return Result()


def _revoke(work: Work, step: steps.Revoke) -> Result:
    home = work.opened
    certificate = artefact.certificate(work.inputs["certificate"])
    serial = serial_text(certificate.serial_number)
    with transaction(home.engine) as connection:
        standing = register.find(connection, step.issuer, serial)
        if standing is None:
            raise NotFound("The certificate was not issued here.", {"certificate": f"{step.issuer} knows no {serial}"})
        before = standing.revoked_at if standing.state == State.REVOKED else None
        if before is None or work.since is None or before < work.since - _SECOND:
            onboarding.revoke_certificate(connection, home.chain, step.issuer, serial, step.reason, work.now)
    return _publish(work, step.issuer)


def _publish(work: Work, issuer: str) -> Result:
    """Sign the next CRL within the transaction that stores it: its number cannot be taken meanwhile."""
    home = work.opened
    signer = home.issuer(issuer)
    profile_is_root = signer.certificate is not None and signer.certificate.subject == signer.certificate.issuer
    hours = home.settings.status.authority_hours if profile_is_root else home.settings.status.leaf_hours
    with transaction(home.engine) as connection:
        before = register.latest_list(connection, issuer)
        revoked = register.revoked(connection, issuer)
        if work.since is not None and before is not None and before.this_update >= work.since - _SECOND:
            listed = {entry.serial_number for entry in artefact.crl(before.der)}
            if listed >= {int(one.serial, 16) for one in revoked}:
                return Result(crl=before.der, recovered=True)
        fresh = crl.build(
            signer,
            revoked,
            number=1 if before is None else before.number + 1,
            now=work.now,
            currency=timedelta(hours=hours),
        )
        register.publish_list(connection, fresh)
        details = {"issuer": issuer, "number": fresh.number}
        home.chain.append(connection, [Event(work.now, "crl.published", details=details)])
    return Result(crl=fresh.der)


def _export(work: Work, step: steps.Export) -> Result:
    home = work.opened
    certificate = home.certificate(step.name).public_bytes(Encoding.DER) if step.certificate is not None else None
    latest = _latest(home, step.name) if step.crl is not None else None
    if step.crl is not None and latest is None:
        raise NotFound(f"{step.name} has published no CRL yet.", {"crl": "none yet"})
    return Result(certificate=certificate, crl=None if latest is None else latest.der)


def _check_new(work: Work, name: str, *, hsm: bool) -> None:
    """Raise `Conflict` for an authority that was there before the step: its key would not be born in the ceremony."""
    home = work.opened
    if work.since is None and home.roster().find(name) is not None:
        raise Conflict(f"There is {name} already: its key was not made in this ceremony.", {"name": "is taken"})
    # Before there is a key, not after.
    if hsm and home.token is None:
        raise ContentRefused("The script demands an HSM.", {"hsm": "this home keeps its keys in software"})


def _signed(work: Work, issuer: str, key: PublicKey) -> x509.Certificate | None:
    """Return what `issuer` certified `key` with since the step was first begun: `sign_request` would sign again."""
    if work.since is None:
        return None
    with reading(work.opened.engine) as connection:
        ders = register.issued_since(connection, issuer, work.since - _SECOND)
    return next((one for one in map(x509.load_der_x509_certificate, ders) if one.public_key() == key), None)


def responder(work: Work, step: Step) -> tuple[str, bytes] | None:
    """Return name and certificate (DER) of the OCSP responder that a step made with a CA."""
    if not isinstance(step, steps.CreateRoot | steps.InstallCertificate):
        return None
    member = work.opened.roster().member(step.name)
    if not member.is_ca:
        return None
    return member.responder, work.opened.certificate(member.responder).public_bytes(Encoding.DER)


def _latest(home: Home, issuer: str) -> RevocationList | None:
    with reading(home.engine) as connection:
        return register.latest_list(connection, issuer)
