"""Tokens made to deceive are refused, each for its own reason; the same token, made right, is taken."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from intaglio.accounts.verification import token
from intaglio.accounts.verification.nonce import LIFETIME, Nonces
from intaglio.accounts.verification.rule import TokenRule, reachable
from intaglio.errors import NotVerified

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
KEY = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")
BODY = b"\x01" * 32
RULE = TokenRule(
    issuer="https://idp.example",
    audience="intaglio",
    jwks_uri="https://idp.example/jwks",
    claims={"subject_dn.common_name": "name"},
    algorithms=("RS256", "PS256", "ES256"),
)
CLAIMS: dict[str, Any] = {
    "iss": RULE.issuer,
    "aud": RULE.audience,
    "iat": int(NOW.timestamp()) - 60,
    "exp": int(NOW.timestamp()) + 60,
    "nonce": token.encoded(BODY),
    "name": "Ada",
}
NEVER: Any = object()


def made(header: dict[str, Any], claims: dict[str, Any], key: Any = KEY) -> str:
    whole = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not NEVER}
    registry = token.Registry(algorithms=["RS256", "PS256", "ES256", "HS256", "RS384"], strict_check_header=False)
    head = {"alg": "RS256", **header}
    return str(jws.serialize_compact(head, json.dumps(whole), key, registry=registry))


def judge(text: str, key: Any = KEY) -> token.Read:
    found = token.read(text, RULE)
    token.check_signature(found, key)
    token.check_claims(found, RULE, NOW, BODY, lambda _: False)
    return found


@pytest.mark.parametrize(
    ("header", "claims", "key"),
    [
        ({}, {}, KEY),
        ({"typ": "JWT"}, {"aud": ["intaglio", "other"], "azp": "intaglio"}, KEY),
        ({"alg": "PS256"}, {"azp": "intaglio"}, KEY),
        ({"alg": "ES256"}, {}, EC),
        ({"x5c": ["A" * 2000]}, {"iat": CLAIMS["iat"] + 80, "nbf": CLAIMS["iat"]}, KEY),
        ({"unknown": 1}, {"aud": ["intaglio"]}, KEY),
    ],
)
def test_a_token_as_approved_is_taken(header: dict[str, Any], claims: dict[str, Any], key: Any) -> None:
    assert judge(made(header, claims, key), key).claims["name"] == "Ada"


@pytest.mark.parametrize(
    ("header", "claims", "reason"),
    [
        ({"alg": "RS384"}, {}, "algorithm"),
        ({"typ": "at+jwt"}, {}, "kind"),
        ({"typ": "logout+jwt"}, {}, "kind"),
        ({}, {"iss": "https://idp.example/"}, "issuer"),
        ({}, {"iss": NEVER}, "issuer"),
        ({}, {"aud": "other"}, "audience"),
        ({}, {"aud": NEVER}, "audience"),
        ({}, {"aud": {"intaglio": 1}}, "audience"),
        ({}, {"aud": ["intaglio", "other"]}, "azp"),
        ({}, {"aud": ["intaglio", "other"], "azp": "other"}, "azp"),
        ({}, {"azp": "other"}, "azp"),
        ({}, {"exp": int(NOW.timestamp())}, "expired"),
        ({}, {"exp": NEVER}, "exp"),
        ({}, {"exp": True}, "exp"),
        ({}, {"exp": 10**400}, "exp"),
        ({}, {"exp": "9999999999"}, "exp"),
        ({}, {"exp": 1e300}, "exp"),
        ({}, {"iat": NEVER}, "iat"),
        ({}, {"iat": int(NOW.timestamp()) - 301}, "older"),
        ({}, {"iat": int(NOW.timestamp()) + 31}, "future"),
        ({}, {"nbf": int(NOW.timestamp()) + 31}, "future"),
        ({}, {"nonce": NEVER}, "nonce"),
        ({}, {"nonce": [CLAIMS["nonce"]]}, "nonce"),
        ({}, {"nonce": token.encoded(bytes(32))}, "another request"),
    ],
)
def test_a_token_not_as_approved_is_refused(header: dict[str, Any], claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        judge(made(header, claims))
    assert reason in refused.value.fields["identity_token"]


def encoded(value: Any) -> str:
    return (
        base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode().strip("=")
    )


def test_forgeries_are_refused() -> None:
    good = made({}, {})
    head, claims, signature = good.split(".")
    pem = KEY.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    symmetric = f"{encoded({'alg': 'HS256'})}.{claims}"
    other = RSAKey.generate_key(2048)
    forged = {
        "none": f"{encoded({'alg': 'none'})}.{claims}.",
        "None": f"{encoded({'alg': 'None'})}.{claims}.{signature}",
        "no algorithm": f"{encoded({'typ': 'JWT'})}.{claims}.{signature}",
        "a list of algorithms": f"{encoded({'alg': ['RS256']})}.{claims}.{signature}",
        "HS256 with the public key": f"{symmetric}.{encoded(hmac.digest(pem, symmetric.encode(), 'sha256'))}",
        "the key in its header": made({"jwk": other.as_dict(private=False)}, {}, other),
        "somebody else's key": made({}, {}, other),
        "other claims": f"{head}.{encoded({**CLAIMS, 'name': 'Eve'})}.{signature}",
        "another header": f"{encoded({'alg': 'RS256', 'x': 1})}.{claims}.{signature}",
        "no signature": f"{head}.{claims}.",
        "critical": made({"crit": ["b64"], "b64": True}, {}),
        "encrypted": ".".join([head] * 5),
        "claims no object": f"{head}.{encoded([1])}.{signature}",
        "no JSON": f"{head}.{encoded(b'{')}.{signature}",
        "deep": f"{head}.{encoded(b'[' * 4000)}.{signature}",
        "long": good + "A" * 8192,
        "nothing": "",
        "other letters": "é" + good,
        "the key's name a list": f"{encoded({'alg': 'RS256', 'kid': [1]})}.{claims}.{signature}",
    }
    for text in forged.values():
        with pytest.raises(NotVerified):
            judge(text)
    with pytest.raises(NotVerified):  # an EC key where RSA was said
        judge(good, EC)
    assert judge(good).sha256 != judge(made({"typ": "JWT"}, {})).sha256


def test_another_signature_over_the_same_is_the_same_token() -> None:
    one, two = (judge(made({"alg": "PS256"}, {})) for _ in range(2))
    assert one.text != two.text
    assert one.once == two.once
    assert one.once != judge(made({"alg": "PS256"}, {"name": "Eve"})).once


def test_a_nonce_is_for_one_account_and_for_ten_minutes() -> None:
    nonces = Nonces(b"s" * 32)
    nonce = nonces.make("a", NOW)
    assert nonce != nonces.make("a", NOW)
    assert nonces.fresh(nonce, "a", NOW + LIFETIME - timedelta(seconds=1))
    assert Nonces(b"s" * 32).fresh(nonce, "a", NOW)
    later = NOW + LIFETIME
    for secret, account, now in ((b"s" * 32, "b", NOW), (b"s" * 32, "a", later), (b"t" * 32, "a", NOW)):
        assert not Nonces(secret).fresh(nonce, account, now)
    for wrong in ("", "é", nonce[:-2], nonce + "AAAA", "A" * len(nonce)):
        assert not nonces.fresh(wrong, "a", NOW)


@pytest.mark.parametrize(
    ("uri", "anywhere", "loopback"),
    [
        ("https://idp.example/jwks", True, True),
        ("https://idp.example:8443/jwks?x=1", True, True),
        ("http://127.0.0.1:8000/jwks", False, True),
        ("http://localhost/jwks", False, True),
        ("http://[::1]/jwks", False, True),
        ("http://idp.example/jwks", False, False),
        ("http://127.0.0.1.example/jwks", False, False),
        ("http://127.0.0.1@idp.example/jwks", False, False),
        ("https://user@idp.example/jwks", False, False),
        ("https://idp.example/jwks#x", False, False),
        ("file:///etc/passwd", False, False),
        ("https://", False, False),
        ("https://idp.example:x/", False, False),
        ("https://[::1", False, False),
        ("", False, False),
    ],
)
def test_keys_come_by_https(uri: str, anywhere: bool, loopback: bool) -> None:
    assert reachable(uri, loopback=False) is anywhere
    assert reachable(uri, loopback=True) is loopback


def test_a_header_of_odd_types_is_refused_before_anything_is_signed() -> None:
    odds: tuple[Any, ...] = ([], {}, 7)
    for odd in odds:
        parts = [json.dumps(one).encode() for one in ({"alg": "RS256", "typ": odd}, {"iss": CLAIMS["iss"]})]
        with pytest.raises(NotVerified, match="refused"):
            token.read(".".join([*map(token.encoded, parts), "AA"]), RULE)
