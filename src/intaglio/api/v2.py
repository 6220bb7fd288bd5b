"""The calls of API v2: bytes in, use case, bytes out."""

import base64
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from intaglio.accounts import quota
from intaglio.accounts.credentials import pem_chain
from intaglio.accounts.quota import Resource
from intaglio.accounts.sessions import Caller
from intaglio.accounts.verification.nonce import LIFETIME
from intaglio.api import authentication
from intaglio.api.direct import CONTENT_TYPE
from intaglio.errors import Malformed
from intaglio.service.composition import Service
from intaglio.signing.login import log_in
from intaglio.signing.trust import certificate_path, chain_of_trust

AnyRequest = Request[Any, Any, Any]


class Login(msgspec.Struct, frozen=True):
    """The body of `POST /login`."""

    api_key: str
    api_secret: str


class Token(msgspec.Struct, frozen=True):
    """The answer of `POST /login`."""

    access_token: str


class Identity(msgspec.Struct, frozen=True):
    """The answer of `POST /identity`: PEM and base64 of DER."""

    id: str
    signing_cert: str
    ocsp_response: str


class Signature(msgspec.Struct, frozen=True):
    """The answer of a signature: upper-case hex."""

    signature: str


class Timestamp(msgspec.Struct, frozen=True):
    """The answer of a time-stamp: base64 of a DER TimeStampToken."""

    token: str


class Path(msgspec.Struct, frozen=True):
    """The answer of `GET /certificate_path`: PEM, the issuer first."""

    path: str


class TrustChain(msgspec.Struct, frozen=True):
    """The answer of `GET /trustchain`: PEM each, issuer first; base64 of DER OCSP responses."""

    trustchain: list[str]
    ocsp_revocation_info: list[str]


class Nonce(msgspec.Struct, frozen=True):
    """The answer of `GET /identity/nonce`: what an identity token is asked for with, and its life in seconds."""

    nonce: str
    expires_in: int


class Value(msgspec.Struct, frozen=True):
    """A quota or a counter."""

    value: int


def answer(content: Any, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Return a success, with the content type to the letter."""
    found = {"content-type": CONTENT_TYPE, "cache-control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(content), status_code=200, headers=found, media_type=CONTENT_TYPE)


def _service(request: AnyRequest) -> Service:
    service: Service = request.app.state.service
    return service


def _request_id(request: AnyRequest) -> str:
    return str(request.scope["state"]["request_id"])


async def _caller(request: AnyRequest) -> Caller:
    return await authentication.caller(_service(request), request.scope)


@post("/login", status_code=200)
async def login(request: AnyRequest) -> Response[bytes]:
    """Exchange API key and secret for a token bound to the client certificate."""
    service = _service(request)
    certificate = await authentication.certificate(service, request.scope)
    try:
        sent = msgspec.json.decode(await request.body(), type=Login)
    except msgspec.ValidationError as error:
        raise Malformed("The login needs api_key and api_secret.", {_place(error): str(error)}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("The body is not JSON.", {"body": "is not JSON"}) from error
    peer = (request.scope.get("client") or ("",))[0]
    token = await log_in(
        service.engine, service.sessions, sent.api_key, sent.api_secret, certificate, peer, _request_id(request)
    )
    return answer(Token(token), {"authorization": f"Bearer {token}"})


def _place(error: msgspec.ValidationError) -> str:
    """Return the field a validation error is about: msgspec names it in its sentence."""
    sentence = str(error)
    _, found, place = sentence.rpartition("`$.")
    if found:
        return place.rstrip("`")
    return sentence.split("`")[1] if " field `" in sentence else "body"


@get("/certificate_path")
async def path(request: AnyRequest) -> Response[bytes]:
    """Return the certificates between the signing certificate and the root."""
    caller = await _caller(request)
    return answer(Path(pem_chain(*await certificate_path(_service(request).engine, caller)).decode("ascii")))


@get("/trustchain")
async def trustchain(request: AnyRequest) -> Response[bytes]:
    """Return the chain of trust and the revocation information that makes signatures last."""
    caller = await _caller(request)
    trust = await chain_of_trust(_service(request).engine, caller)
    return answer(
        TrustChain(
            [pem_chain(certificate).decode("ascii") for certificate in trust.certificates],
            [base64.b64encode(response).decode("ascii") for response in trust.ocsp_responses],
        )
    )


@get("/validationpolicy")
async def validationpolicy(request: AnyRequest) -> Response[bytes]:
    """Return the account's validation policy."""
    caller = await _caller(request)
    return answer(caller.policy.document)


@get("/identity/nonce")
async def nonce(request: AnyRequest) -> Response[bytes]:
    """Return a nonce for an identity token, where the mechanism's rule is bound to one."""
    caller, engine = await _caller(request), _service(request).engine
    made = engine.prover.nonces.make(caller.account.id, engine.clock.now())
    return answer(Nonce(made, int(LIFETIME.total_seconds())))


async def _quota(request: AnyRequest, resource: Resource) -> quota.Quota:
    caller = await _caller(request)
    return await _service(request).engine.commits.read(lambda c: quota.read(c, caller.account.id, resource))


# Where nothing limits, clients still expect a number.
_UNLIMITED = 2**31 - 1


def _left(resource: Resource) -> HTTPRouteHandler:
    @get(f"/quotas/{resource}", name=f"quota of {resource}")
    async def left(request: AnyRequest) -> Response[bytes]:
        found = await _quota(request, resource)
        return answer(Value(_UNLIMITED if found.left is None else found.left))

    return left


def _made(resource: Resource) -> HTTPRouteHandler:
    @get(f"/counters/{resource}", name=f"counter of {resource}")
    async def made(request: AnyRequest) -> Response[bytes]:
        return answer(Value((await _quota(request, resource)).spent))

    return made


HANDLERS: list[HTTPRouteHandler] = [
    login,
    path,
    trustchain,
    validationpolicy,
    nonce,
    _left(Resource.SIGNATURES),
    _left(Resource.TIMESTAMPS),
    _made(Resource.SIGNATURES),
    _made(Resource.TIMESTAMPS),
    _made(Resource.IDENTITIES),
]
