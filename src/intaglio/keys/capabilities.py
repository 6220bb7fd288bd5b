"""What a token can do, and what follows where it cannot: for the person who sets it up."""

import msgspec

from intaglio.keys import cryptoki as c
from intaglio.keys.mechanisms import ECDSA, PKCS1, PSS, Form, Mechanism, Mechanisms, Sized
from intaglio.keys.sessions import Sessions

_FLAGS = {
    c.CKF_WRITE_PROTECTED: "read-only: keys on it can be used, but none made or destroyed",
    c.CKF_USER_PIN_COUNT_LOW: "PIN count low: a wrong PIN was entered since the last login",
    c.CKF_USER_PIN_FINAL_TRY: "PIN final try: one more wrong PIN locks the token",
    c.CKF_USER_PIN_LOCKED: "PIN locked",
    c.CKF_USER_PIN_TO_BE_CHANGED: "PIN to be changed: set one with the vendor's tool",
    c.CKF_ERROR_STATE: "error state: the token failed its own test",
}
_DIGESTS_REFUSED = "digests that clients send cannot be signed: no identities with such keys"


class Capability(msgspec.Struct, frozen=True):
    """One thing that the service wants of a token: the mechanism chosen for it, or what follows from having none."""

    name: str
    mechanism: str | None
    detail: str = ""
    consequence: str | None = None


class Capabilities(msgspec.Struct, frozen=True):
    """A module, a token, and what they can do."""

    module: str
    module_description: str
    module_version: str
    cryptoki_version: str
    label: str
    serial: str
    model: str
    manufacturer: str
    firmware: str
    flags: list[str]
    capabilities: list[Capability]
    # "wrapped", or "resident" where the token cannot wrap.
    identity_keys: str


def describe(sessions: Sessions) -> Capabilities:
    """Return what the token can do; raises `KeyUnavailable` when it cannot be logged in to."""
    with sessions.session() as session:
        presence = session.presence
        token = sessions.module.token(presence.slot)
    about = sessions.module.information()
    return Capabilities(
        module=str(sessions.module.path),
        module_description=f"{c.text(about.manufacturerID)}: {c.text(about.libraryDescription)}",
        module_version=str(about.libraryVersion),
        cryptoki_version=str(about.cryptokiVersion),
        label=c.text(token.label),
        serial=c.text(token.serialNumber),
        model=c.text(token.model),
        manufacturer=c.text(token.manufacturerID),
        firmware=str(token.firmwareVersion),
        flags=[sentence for flag, sentence in _FLAGS.items() if token.flags & flag],
        capabilities=_capabilities(presence.mechanisms),
        identity_keys="wrapped" if presence.mechanisms.wraps else "resident",
    )


def _capabilities(found: Mechanisms) -> list[Capability]:
    return [
        _making("RSA key pairs", found.rsa_generation, "no RSA keys can be made: choose p-256 everywhere"),
        _signing("PKCS#1 v1.5", PKCS1, found, "RSA keys cannot sign: choose p-256 everywhere"),
        _signing("PSS", PSS, found, "no PSS: RSA keys sign with PKCS#1 v1.5 only"),
        _making("EC key pairs", found.ec_generation, "no P-256 or P-384 keys can be made: choose rsa everywhere"),
        _signing("ECDSA", ECDSA, found, "EC keys cannot sign: choose rsa everywhere"),
        _plain("AES-256 keys", found.aes_generation, "no sealing keys: identities would be resident token objects"),
        _plain("Key wrapping", found.wrapping, "cannot wrap: identities would be resident token objects"),
    ]


def _making(name: str, sized: Sized | None, consequence: str) -> Capability:
    if sized is None:
        return Capability(name, None, consequence=consequence)
    return Capability(name, sized.mechanism.name, f"{sized.least} to {sized.most} bits" if sized.most else "")


def _signing(name: str, scheme: str, found: Mechanisms, consequence: str) -> Capability:
    ways = {digest: found.signing.get((scheme, digest)) for digest in ("sha256", "sha384", "sha512")}
    first = ways["sha256"]
    if first is None:
        return Capability(name, None, consequence=consequence)
    missing = [digest for digest, way in ways.items() if way is None]
    detail = f"given the {first.form}" + (f"; not with {', '.join(missing)}" if missing else "")
    return Capability(name, first.mechanism.name, detail, _DIGESTS_REFUSED if first.form is Form.MESSAGE else None)


def _plain(name: str, mechanism: Mechanism | None, consequence: str) -> Capability:
    if mechanism is None:
        return Capability(name, None, consequence=consequence)
    return Capability(name, mechanism.name)
