"""Providers of OpenID Connect to test against, and logging in to them as a person does, by their pages."""

import base64
import hashlib
import re
import secrets
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from openid_provider import CLIENT_SECRET, PASSWORD
from served import free_port, run

_CALLBACK = "https://client.example/callback"


@dataclass(frozen=True)
class Provider:
    folder: Path
    port: int
    issuer: str

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/o"

    @property
    def certificate(self) -> Path:
        return self.folder / "provider.crt"

    def login(self, nonce: str, *, who: str = "ada", client: str = "intaglio") -> str:
        """Return the ID token of an authorization-code login (with PKCE)."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": _CALLBACK,
            "scope": "openid",
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        context = ssl.create_default_context(cafile=self.certificate)
        with httpx.Client(verify=context, timeout=30) as browser:
            page = browser.get(f"{self.url}/authorize/", params=asked, follow_redirects=True)
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert token is not None, page.text
            form = {"csrfmiddlewaretoken": token[1], "username": who, "password": PASSWORD}
            answer = browser.post(page.url, data=form, headers={"Referer": str(page.url)})
            for _ in range(3):
                place = answer.headers["location"]
                if place.startswith(_CALLBACK):
                    break
                answer = browser.get(page.url.join(place))
            code = parse_qs(urlsplit(place).query)["code"][0]
            given = {"grant_type": "authorization_code", "code": code, "redirect_uri": _CALLBACK}
            answer = browser.post(
                f"{self.url}/token/", data={**given, "code_verifier": verifier}, auth=(client, CLIENT_SECRET)
            )
            assert answer.status_code == 200, answer.text
            return str(answer.json()["id_token"])


@contextmanager
def provider(folder: Path, *, like: Provider | None = None, seconds: int = 300) -> Iterator[Provider]:
    """Run a provider; one `like` another has that one's issuer and keys."""
    folder.mkdir()
    port = free_port()
    if like is None:
        issuer = f"https://localhost:{port}/o"
        made = ("-keyout", folder / "provider.key", "-out", folder / "provider.crt")
        names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *made)
        run("openssl", "genrsa", "-out", folder / "signing.key", "2048")
    else:
        issuer = like.issuer
        for name in ("provider.key", "provider.crt", "signing.key"):
            (folder / name).write_bytes((like.folder / name).read_bytes())
    script = Path(__file__).parent / "openid_provider.py"
    command = [sys.executable, "-W", "ignore", str(script), str(folder), str(port), issuer, str(seconds)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n", (folder / "log").read_text()
        yield Provider(folder, port, issuer)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
