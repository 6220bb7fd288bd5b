"""The OpenAPI document of v2 and a page to read it on, both made from the same structs that the calls use."""

import html
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from intaglio import __version__
from intaglio.accounts.sandbox import Failures
from intaglio.api import problems, v2
from intaglio.api.direct import CONTENT_TYPE
from intaglio.api.verification import TOKEN, VERIFICATION
from intaglio.signing.sandbox import State

_IDENTITY = {
    "type": "object",
    "description": "Which fields may, must or must not be sent is the account's validation policy.",
    "additionalProperties": False,
    "properties": {
        "subject_dn": {
            "type": "object",
            "properties": {
                "common_name": {"type": "string", "maxLength": 64},
                "given_name": {"type": "string", "maxLength": 64},
                "surname": {"type": "string", "maxLength": 64},
                "pseudonym": {"type": "string", "maxLength": 128},
                "organization": {"type": "string", "maxLength": 64},
                "organizational_unit": {"type": "array", "items": {"type": "string", "maxLength": 64}},
                "organization_identifier": {"type": "string", "maxLength": 64},
                "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
                "state": {"type": "string", "maxLength": 128},
                "locality": {"type": "string", "maxLength": 128},
                "street_address": {"type": "string", "maxLength": 128},
                "postal_code": {"type": "string", "maxLength": 40},
                "email": {"type": "string", "maxLength": 255},
                "serial_number": {"type": "string", "maxLength": 64},
                "jurisdiction_of_incorporation_locality_name": {"type": "string", "maxLength": 128},
                "jurisdiction_of_incorporation_state_or_province_name": {"type": "string", "maxLength": 128},
                "jurisdiction_of_incorporation_country_name": {"type": "string", "pattern": "^[A-Z]{2}$"},
                "business_category": {"type": "string", "maxLength": 128},
                "extra_attributes": {"type": "array", "items": {"$ref": "#/components/schemas/Typed"}},
            },
        },
        "subject_da": {
            "type": "object",
            "properties": {
                "gender": {"type": "string", "enum": ["M", "F", "m", "f"]},
                "date_of_birth": {"type": "string", "format": "date"},
                "place_of_birth": {"type": "string", "maxLength": 128},
                "country_of_citizenship": {"type": "array", "items": {"type": "string"}},
                "country_of_residence": {"type": "array", "items": {"type": "string"}},
                "extra_attributes": {"type": "array", "items": {"$ref": "#/components/schemas/Typed"}},
            },
        },
        "san": {
            "type": "object",
            "properties": {
                "emails": {"type": "array", "items": {"type": "string"}},
                "dns_names": {"type": "array", "items": {"type": "string"}},
                "uris": {"type": "array", "items": {"type": "string"}},
                "ip_addresses": {"type": "array", "items": {"type": "string"}},
                "other_names": {"type": "array", "items": {"$ref": "#/components/schemas/Typed"}},
            },
        },
    },
}
_ADVANCE = {
    "type": "object",
    "required": ["advance_seconds"],
    "additionalProperties": False,
    "properties": {"advance_seconds": {"type": "integer", "minimum": 1, "maximum": 31_622_400}},
}
_DIGEST = {
    "name": "digest",
    "in": "path",
    "required": True,
    "description": "SHA-256 in hex; upper and lower case are accepted.",
    "schema": {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
}
_VERIFICATION = {
    "name": VERIFICATION,
    "in": "header",
    "required": False,
    "description": 'By which mechanism the subject was verified, and a reference of your own: ID; ref="…". '
    "Needed where the account has several mechanisms.",
    "schema": {"type": "string"},
}
_TOKEN = {
    "name": TOKEN,
    "in": "header",
    "required": False,
    "description": "A token of the provider, a JWT that proves who the subject is; needed where the mechanism says so.",
    "schema": {"type": "string"},
}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The id of an identity of this account, at most ten minutes old.",
    "schema": {"type": "string"},
}

# method, path, summary, answer, body, parameters, refusals
_CALLS: list[tuple[str, str, str, str, str | None, list[dict[str, Any]], tuple[int, ...]]] = [
    ("post", "/login", "Exchange API key and secret for a token", "Token", "Login", [], (400, 401, 403, 429)),
    (
        "post",
        "/identity",
        "Create a signing identity for ten minutes",
        "Identity",
        "IdentityRequest",
        [_VERIFICATION, _TOKEN],
        (400, 422, 429),
    ),
    ("get", "/identity/{id}/sign/{digest}", "Sign a digest", "Signature", None, [_ID, _DIGEST], (403, 404, 422, 429)),
    ("get", "/timestamp/{digest}", "Stamp a digest (RFC 3161)", "Timestamp", None, [_DIGEST], (403, 422, 429)),
    ("get", "/certificate_path", "The issuing certificates below the root", "Path", None, [], ()),
    ("get", "/trustchain", "The chain of trust and its revocation information", "TrustChain", None, [], ()),
    ("get", "/validationpolicy", "The account's validation policy", "ValidationPolicy", None, [], ()),
    ("get", "/identity/nonce", "A nonce for an identity token", "Nonce", None, [], ()),
    ("get", "/quotas/signatures", "Signatures left", "Value", None, [], ()),
    ("get", "/quotas/timestamps", "Time-stamps left", "Value", None, [], ()),
    ("get", "/counters/signatures", "Signatures made", "Value", None, [], ()),
    ("get", "/counters/timestamps", "Time-stamps made", "Value", None, [], ()),
    ("get", "/counters/identities", "Identities created", "Value", None, [], ()),
    ("get", "/sandbox", "The sandbox of a test account", "State", None, [], (404,)),
    (
        "delete",
        "/sandbox",
        "Back to real time and no failures; tokens and identities are over",
        "State",
        None,
        [],
        (404,),
    ),
    ("put", "/sandbox/failures", "Say what is to fail", "State", "Failures", [], (400, 404, 422)),
    ("post", "/sandbox/clock", "Advance the test account's clock", "State", "Advance", [], (400, 404, 409, 422)),
]
_ALWAYS = (401, 403, 503)
_OPERATIONS = {
    "get /identity/{id}/sign/{digest}": "sign_digest",
    "get /timestamp/{digest}": "stamp_digest",
    "delete /sandbox": "sandbox_reset",
}
_EXAMPLES: dict[str, Any] = {
    "Login": {"api_key": "1f2e3d4c5b6a7988", "api_secret": "…40 hexadecimal characters…"},
    "Failures": {"failures": [{"failure": "rate_limited", "remaining": 2}, {"failure": "ocsp_unknown"}]},
    "Advance": {"advance_seconds": 600},
    "IdentityRequest": {
        "subject_dn": {"common_name": "John Doe", "country": "GB", "organizational_unit": ["Administration"]},
        "subject_da": {"gender": "m", "date_of_birth": "1979-01-31", "place_of_birth": "London"},
    },
}


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    structs = (
        v2.Login,
        v2.Token,
        v2.Identity,
        v2.Signature,
        v2.Timestamp,
        v2.Path,
        v2.TrustChain,
        v2.Value,
        State,
        Failures,
        v2.Nonce,
        problems.Problem,
    )
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    schemas["IdentityRequest"] = _IDENTITY
    schemas["Typed"] = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string", "description": "object identifier"}, "value": {}},
    }
    schemas["Advance"] = _ADVANCE
    schemas["ValidationPolicy"] = {"type": "object"}
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, shape, body, parameters, refusals in _CALLS:
        operation: dict[str, Any] = {
            "summary": summary,
            "operationId": _OPERATIONS.get(f"{method} {path}", path.strip("/").replace("/", "_")),
            "parameters": parameters,
            "responses": {
                "200": _response("Done", CONTENT_TYPE, shape),
                **{
                    str(status): _response(problems.TITLES[status], problems.CONTENT_TYPE, "Problem")
                    for status in sorted({*_ALWAYS, *refusals})
                },
            },
        }
        if body is not None:
            schema = {"$ref": f"#/components/schemas/{body}"}
            content = {CONTENT_TYPE: {"schema": schema, "example": _EXAMPLES[body]}}
            operation["requestBody"] = {"required": True, "content": content}
        if path == "/login":
            operation["security"] = [{"client_certificate": []}]
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Intaglio signing API", "version": f"2 ({__version__})"},
        "servers": [{"url": "/v2"}],
        "security": [{"client_certificate": [], "token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "client_certificate": {"type": "mutualTLS"},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _response(description: str, media_type: str, shape: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {"description": description, "content": {media_type: {"schema": schema}}}


_STYLE = """
:root{color-scheme:light dark;--line:#8884;--ink:CanvasText}
body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:var(--ink)}
h2{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:1.5rem}
code,pre{font:14px/1.5 ui-monospace,monospace}
pre{overflow:auto;padding:.75rem 1rem;border:1px solid var(--line);border-radius:.4rem}
.method{text-transform:uppercase;font-weight:700}
table{border-collapse:collapse}td,th{text-align:left;padding:.25rem 1.5rem .25rem 0;vertical-align:top}
"""


def page() -> str:
    """Return the reference as one page of HTML that loads nothing else."""
    found = document()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Intaglio API v2</title><style>{_STYLE}</style><main><h1>Intaglio API v2</h1>",
        "<p>Every call needs a client certificate; every call but <code>/login</code> needs the token that",
        " <code>/login</code> gave, as <code>Authorization: Bearer …</code>. Bodies are",
        f" <code>{CONTENT_TYPE}</code>, errors <code>{problems.CONTENT_TYPE}</code>.",
        " The same as a document for programs: <a href=openapi.json>openapi.json</a>.</p>",
    ]
    schemas = found["components"]["schemas"]
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2><span class=method>{method}</span> <code>/v2{html.escape(path)}</code></h2>")
            parts.append(f"<p>{html.escape(operation['summary'])}.</p>")
            parts.extend(
                f"<p><code>{one['name']}</code> ({one['in']}): {html.escape(one['description'])}</p>"
                for one in operation["parameters"]
            )
            if "requestBody" in operation:
                parts.append("<h3>Body</h3>" + _shape(operation["requestBody"]["content"], schemas))
            parts.append("<h3>Answer</h3>" + _shape(operation["responses"]["200"]["content"], schemas))
            rows = "".join(
                f"<tr><th scope=row>{status}<td>{html.escape(response['description'])}"
                for status, response in operation["responses"].items()
                if status != "200"
            )
            parts.append(f"<h3>Refusals</h3><table>{rows}</table>")
    parts.append("<h2>Errors</h2>" + _shape({"": {"schema": {"$ref": "#/components/schemas/Problem"}}}, schemas))
    return "".join(parts) + "</main></html>"


def _shape(content: dict[str, Any], schemas: dict[str, Any]) -> str:
    media = next(iter(content.values()))
    name = media["schema"]["$ref"].rpartition("/")[2]
    schema = schemas[name]
    required = ", ".join(f"<code>{field}</code>" for field in schema.get("required", []))
    example = "<p>For example:</p>" + _json(media["example"]) if "example" in media else ""
    told = f"<p>Required: {required}.</p>" if required and example else ""
    return example + told + _json(schema.get("properties", schema))


def _json(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    return f"<pre tabindex=0>{html.escape(text.decode())}</pre>"


@get("/openapi.json")
async def openapi() -> Response[bytes]:
    """Return the OpenAPI document."""
    return Response(msgspec.json.encode(document()), media_type="application/json")


@get("/docs")
async def docs() -> Response[str]:
    """Return the reference page."""
    headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(page(), media_type="text/html", headers=headers)


HANDLERS: list[HTTPRouteHandler] = [openapi, docs]
