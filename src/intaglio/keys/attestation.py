"""What a custody says of how it keeps a key, in the words of PKCS#11 v3.1 §4.9; `custody` is software or pkcs11.

It is the word of the machine that read it, not of the token's maker.
"""

from collections.abc import Mapping

from intaglio.keys import cryptoki as c
from intaglio.keys import objects
from intaglio.keys.sessions import Sessions

Attestation = Mapping[str, str | bool]

# Whoever has the process or the master key has the key.
SOFTWARE: Attestation = {
    "custody": "software",
    "local": True,
    "sensitive": False,
    "always_sensitive": False,
    "extractable": True,
    "never_extractable": False,
}
_ATTRIBUTES = {
    "local": c.CKA_LOCAL,
    "sensitive": c.CKA_SENSITIVE,
    "always_sensitive": c.CKA_ALWAYS_SENSITIVE,
    "extractable": c.CKA_EXTRACTABLE,
    "never_extractable": c.CKA_NEVER_EXTRACTABLE,
}


def on_token(sessions: Sessions, key_id: bytes) -> Attestation:
    """Return what a token says of a key stored on it; what it does not say is left out. Raises `KeyUnavailable`."""
    with sessions.session() as session:
        handle = objects.find_one(sessions, session, c.CKO_PRIVATE_KEY, key_id)
        token = sessions.module.token(session.presence.slot)
        said = {name: objects.attribute(sessions, session, handle, kind) for name, kind in _ATTRIBUTES.items()}
    return {
        "custody": "pkcs11",
        "token_label": c.text(token.label),
        "token_serial": c.text(token.serialNumber),
        "token_manufacturer": c.text(token.manufacturerID),
        "token_model": c.text(token.model),
        "firmware": str(token.firmwareVersion),
        "key_id": key_id.hex(),
        **{name: any(value) for name, value in said.items() if value is not None},
    }
