"""Bad requests and what each gets. `python tests/api/bad_requests.py` prints the table from a running service.

Each row: what is wrong with it, method, path, header fields beside the token, body, expected status and field.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import httpx

DIGEST = "AB" * 32


class Bad(NamedTuple):
    """One bad request."""

    wrong: str
    method: str
    path: str
    status: int
    field: str
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    token: bool = True


def _identity(wrong: str, request: Any, status: int, field: str) -> Bad:
    return Bad(wrong, "POST", "/identity", status, field, json.dumps(request, ensure_ascii=False).encode())


def _named(wrong: str, common_name: Any, status: int = 422) -> Bad:
    request = {"subject_dn": {"common_name": common_name, "country": "GB"}}
    return _identity(wrong, request, status, "subject_dn.common_name")


def _john(branch: str, **fields: Any) -> dict[str, Any]:
    request: dict[str, Any] = {"subject_dn": {"common_name": "John Doe", "country": "GB"}}
    request[branch] = {**request.get(branch, {}), **fields}
    return request


BAD: list[Bad] = [
    # who asks
    Bad("no token", "GET", "/trustchain", 401, "authorization", token=False),
    Bad(
        "not a bearer",
        "GET",
        "/trustchain",
        401,
        "authorization",
        headers=(("Authorization", "Basic eDp5"),),
        token=False,
    ),
    Bad(
        "not a token", "GET", "/trustchain", 401, "authorization", headers=(("Authorization", "Bearer x"),), token=False
    ),
    Bad(
        "a token without signature (alg none)",
        "GET",
        "/trustchain",
        401,
        "authorization",
        token=False,
        headers=(("Authorization", "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ4IiwiY2lkIjoieCJ9."),),
    ),
    Bad(
        "wrong secret",
        "POST",
        "/login",
        401,
        "api_key",
        b'{"api_key":"0123456789abcdef","api_secret":"x"}',
        token=False,
    ),
    Bad(
        "a key that no database can hold",
        "POST",
        "/login",
        401,
        "api_key",
        b'{"api_key":"012345678\\u0000","api_secret":"x"}',
        token=False,
    ),
    Bad("login without secret", "POST", "/login", 400, "api_secret", b'{"api_key":"0123456789abcdef"}', token=False),
    Bad("login with a number", "POST", "/login", 400, "api_key", b'{"api_key":1,"api_secret":"x"}', token=False),
    Bad("login that is a list", "POST", "/login", 400, "body", b"[]", token=False),
    Bad("login that is not JSON", "POST", "/login", 400, "body", b"api_key=1", token=False),
    # how it is sent
    Bad("unknown address", "GET", "/nothing", 404, "url"),
    Bad("wrong method", "DELETE", "/identity", 405, "method"),
    Bad("wrong method on a quota", "POST", "/quotas/signatures", 405, "method", b"{}"),
    Bad("form instead of JSON", "POST", "/identity", 415, "content-type", b"a=b", (("Content-Type", "text/plain"),)),
    Bad(
        "JSON in Latin-1",
        "POST",
        "/identity",
        415,
        "content-type",
        b"{}",
        (("Content-Type", "application/json;charset=iso-8859-1"),),
    ),
    Bad("no content type", "POST", "/identity", 415, "content-type", b"{}", (("Content-Type", ""),)),
    Bad("body of 65 KiB", "POST", "/identity", 413, "body", b" " * 66_560),
    Bad("body that is cut", "POST", "/identity", 400, "body", b'{"subject_dn":'),
    Bad("body that is not UTF-8", "POST", "/identity", 400, "body", b'{"subject_dn":{"common_name":"\xff"}}'),
    Bad("body nested 20,000 deep", "POST", "/identity", 400, "body", b"[" * 20_000),
    Bad("header of 20 KiB", "GET", "/trustchain", 431, "headers", headers=(("X-Long", "x" * 20_000),)),
    Bad("URL of 6 KiB", "GET", "/timestamp/" + "A" * 6000, 414, "url"),
    # digests and identities
    Bad("digest too short", "GET", "/timestamp/ABCD", 422, "digest"),
    Bad("digest not hex", "GET", "/timestamp/" + "XY" * 32, 422, "digest"),
    Bad("digest of SHA-1", "GET", "/timestamp/" + "AB" * 20, 422, "digest"),
    Bad("digest of SHA-512", "GET", "/timestamp/" + "AB" * 64, 422, "digest"),
    Bad("digest with a newline", "GET", f"/timestamp/{DIGEST}%0A", 422, "digest"),
    Bad("digest of full-width digits", "GET", "/timestamp/" + "%EF%BC%91" * 64, 422, "digest"),
    Bad("unknown identity", "GET", f"/identity/{'0' * 32}/sign/{DIGEST}", 404, "id"),
    Bad("identity of another alphabet", "GET", f"/identity/%00/sign/{DIGEST}", 404, "id"),
    # what is to be certified
    _identity("a list", [], 400, "body"),
    _identity("a string", "x", 400, "body"),
    _identity("nothing at all", {}, 422, "subject_dn.common_name"),
    _identity("null", None, 422, "subject_dn.common_name"),
    _identity("unknown branch", {**_john("subject_dn"), "x": 1}, 422, "x"),
    _identity("usages", {**_john("subject_dn"), "key_usages": {"crl_sign": True}}, 422, "key_usages"),
    _identity("purposes", {**_john("subject_dn"), "extended_key_usages": ["2.5.29.37.0"]}, 422, "extended_key_usages"),
    _identity(
        "an extension", {**_john("subject_dn"), "custom_extensions": {"1.2.3": "x"}}, 422, "custom_extensions.1.2.3"
    ),
    _identity("unknown attribute", _john("subject_dn", x="y"), 422, "subject_dn.x"),
    _identity("forbidden attribute", _john("subject_dn", organization="ACME"), 422, "subject_dn.organization"),
    _named("name missing", None),
    _named("name empty", ""),
    _named("name a number", 7, 400),
    _named("name with a blank before", " John"),
    _named("name with two blanks", "John  Doe"),
    _named("name with NUL", "John\u0000Doe"),
    _named("name with a newline", "John\nDoe"),
    _named("name turned round (bidi override)", "John\u202eeoD"),
    _named("name with a zero-width blank", "John\u200bDoe"),
    _named("name not in NFC", "Jose\u0301"),
    _named("name with a private character", "John \ue000"),
    _named("name of 65 characters", "J" * 65),
    _identity("country ZZ", _john("subject_dn", country="ZZ"), 422, "subject_dn.country"),
    _identity("country in lower case", _john("subject_dn", country="gb"), 422, "subject_dn.country"),
    _identity(
        "too many units", _john("subject_dn", organizational_unit=["x"] * 5), 422, "subject_dn.organizational_unit"
    ),
    _identity(
        "unit a number", _john("subject_dn", organizational_unit=["x", 1]), 400, "subject_dn.organizational_unit[1]"
    ),
    _identity("e-mail without a domain", _john("subject_dn", email="john"), 422, "subject_dn.email"),
    _identity("gender x", _john("subject_da", gender="x"), 422, "subject_da.gender"),
    _identity("born on 31 February", _john("subject_da", date_of_birth="1979-02-31"), 422, "subject_da.date_of_birth"),
    _identity("born tomorrow", _john("subject_da", date_of_birth="2999-01-01"), 422, "subject_da.date_of_birth"),
    _identity("born in another format", _john("subject_da", date_of_birth="19790131"), 422, "subject_da.date_of_birth"),
    _identity("alternative name forbidden", _john("san", emails=["john@example.com"]), 422, "san.emails"),
]


def ask(client: httpx.Client, token: str, bad: Bad) -> httpx.Response:
    """Send one bad request."""
    headers = {"Content-Type": "application/json;charset=utf-8"} if bad.body is not None else {}
    headers |= {"Authorization": f"Bearer {token}"} if bad.token else {}
    headers |= dict(bad.headers)
    return client.request(bad.method, str(client.base_url).rstrip("/") + bad.path, content=bad.body, headers=headers)


def main() -> int:
    """Serve, send every bad request, and print what each got; fails if one got something else."""
    from custody import init_options  # noqa: PLC0415 - the same
    from served import Served, free_port, make_partner  # noqa: PLC0415 - found through the path set below

    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        served = Served(Path(place) / "home", free_port(), free_port())
        served.intaglio("init", "--api-port", str(served.api_port), "--pki-port", str(served.pki_port), *init_options())
        served.start()
        try:
            partner = make_partner(served, Path(place) / "partner", "--kind", "individual")
            print(f"{'what is wrong':44} {'status':6}  field: what the service says")  # noqa: T201
            for bad in BAD:
                answer = ask(partner.client, partner.token, bad)
                errors = answer.json()["errors"]
                right = answer.status_code == bad.status and bad.field in errors
                wrong += not right
                said = f"{bad.field}: {errors[bad.field]}" if bad.field in errors else str(errors)
                print(f"{bad.wrong:44} {answer.status_code:6}  {said}{'' if right else '   <-- expected otherwise'}")  # noqa: T201
            partner.client.close()
        finally:
            served.stop()
    print(f"\n{len(BAD)} bad requests, {wrong} answered otherwise than expected")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
