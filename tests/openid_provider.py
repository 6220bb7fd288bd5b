"""A real provider of OpenID Connect (django-oauth-toolkit) as a process: FOLDER PORT ISSUER SECONDS.

FOLDER holds provider.crt and provider.key for TLS and signing.key for tokens, which live SECONDS.
"""

import ssl
import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

CLIENT_SECRET = "of the client, known to nobody"
PASSWORD = "correct horse battery staple"
PEOPLE = {
    "ada": {"name": "Ada Lovelace", "email": "ada@example.com", "email_verified": True},
    # In Unicode normal form D, as some directories hold names.
    "zoe": {"name": "Zoe\u0308 Example", "email": "zoe@example.com", "email_verified": True},
    "bob": {"name": "Bob Example", "email": "bob@example.com", "email_verified": False},
}
urlpatterns: list[Any] = []


class Threaded(ThreadingMixIn, WSGIServer):
    """Serves TLS; each connection in a thread of its own."""

    daemon_threads = True

    def setup_environ(self) -> None:
        super().setup_environ()
        self.base_environ["HTTPS"] = "on"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def configure(folder: Path, issuer: str, seconds: int) -> None:
    settings.configure(
        SECRET_KEY="of a provider for tests",
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "provider.db")}},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.PBKDF2PasswordHasher"],
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [
                        (
                            "django.template.loaders.locmem.Loader",
                            {"registration/login.html": "<form method=post>{% csrf_token %}{{ form }}</form>"},
                        )
                    ]
                },
            }
        ],
        LOGIN_URL="/login/",
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_ISS_ENDPOINT": issuer,
            "OIDC_RSA_PRIVATE_KEY": (folder / "signing.key").read_text(),
            "ID_TOKEN_EXPIRE_SECONDS": seconds,
            "SCOPES": {"openid": "OpenID Connect"},
            "OAUTH2_VALIDATOR_CLASS": f"{__name__}.validator",
        },
    )
    django.setup()


def populate() -> None:
    from django.contrib.auth import get_user_model
    from oauth2_provider.models import get_application_model

    call_command("migrate", verbosity=0)
    for name in PEOPLE:
        get_user_model().objects.create_user(name, password=PASSWORD)
    for client in ("intaglio", "another"):
        get_application_model().objects.create(
            client_id=client,
            client_secret=CLIENT_SECRET,
            client_type="confidential",
            authorization_grant_type="authorization-code",
            redirect_uris="https://client.example/callback",
            algorithm="RS256",
            skip_authorization=True,
        )


def main(folder: Path, port: int, issuer: str, seconds: int) -> None:
    configure(folder, issuer, seconds)
    from django.contrib.auth.views import LoginView
    from oauth2_provider.oauth2_validators import OAuth2Validator

    class Validator(OAuth2Validator):  # type: ignore[misc]
        oidc_claim_scope = None

        def get_additional_claims(self, request: Any) -> dict[str, Any]:
            return dict(PEOPLE[request.user.get_username()])

    globals()["validator"] = Validator
    urlpatterns.extend([path("login/", LoginView.as_view()), path("o/", include("oauth2_provider.urls"))])
    populate()
    server = make_server("127.0.0.1", port, get_wsgi_application(), Threaded, Quiet)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "provider.crt", folder / "provider.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("serving", flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    sys.modules["openid_provider"] = sys.modules[__name__]
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
