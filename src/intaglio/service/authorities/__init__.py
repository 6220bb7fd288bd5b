"""Changing the hierarchy of a home: new authorities beside the old, roots whose keys are elsewhere.

    create_root        a root whose key is made here                       (an offline root's own home)
    request_authority  a key made here, and the request for its certificate
    sign_request       the certificate for a request                       (where the issuer's key is)
    install_root       a root whose key is elsewhere
    install_authority  the certificate for a key that was requested here
    import_list        a CRL of a root whose key is elsewhere
    activate           a hierarchy is served by this issuing CA, or TSA, from now on
    destroy_key        a CA's private key is destroyed; what it issued is still answered for

What was interrupted is gone on with by the same call: the first thing that is durable is that a member was asked for,
the last that it has its certificate. Called again after it was done, each does nothing and returns the same, except
`sign_request`, which signs again. No key is ever written over.
"""

from intaglio.service.authorities.activation import activate
from intaglio.service.authorities.destruction import destroy_key
from intaglio.service.authorities.installation import install_authority
from intaglio.service.authorities.lists import import_list
from intaglio.service.authorities.requests import request_authority, sign_request
from intaglio.service.authorities.roots import create_root, install_root

__all__ = [
    "activate",
    "create_root",
    "destroy_key",
    "import_list",
    "install_authority",
    "install_root",
    "request_authority",
    "sign_request",
]
