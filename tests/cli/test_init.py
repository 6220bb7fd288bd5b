"""`intaglio init` makes all of a home or nothing, and says what it cannot use."""

from pathlib import Path

import pytest

from custody import init_options
from intaglio.settings import load
from served import BIN, run


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--name", ""), "name"),
        (("--name", 'x" \n'), "name"),
        (("--name", "a name that is too long for a certificate"), "name"),
        (("--host", "not a host"), "host not a host"),
        (("--policy-arc", "1.2.3.x"), "policy_arc"),
        (("--country", "ZZ"), "country"),
        (("--algorithm", "dsa"), "algorithm"),
        (("--master-key", "secret"), "master_key"),
        (("--public-url", "https://x"), "public_url"),
        (("--public-url", 'http://x"\nname = "y'), "public_url"),
        (("--bind", "everywhere"), "bind"),
        (("--api-port", "8080"), "pki_port"),
        (("--master-key", "env:INTAGLIO_NO_SUCH_VARIABLE"), "env:INTAGLIO_NO_SUCH_VARIABLE"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_left(tmp_path: Path, options: tuple[str, ...], named: str) -> None:
    done = run(BIN / "intaglio", "init", "--home", tmp_path / "home", *options, check=False)
    assert done.returncode in {1, 2}
    assert named in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("port = 8443", "port = 99999", "api.port"),
        ("port = 8443", "prot = 8443", "prot"),
        ('hosts = ["localhost", "127.0.0.1"]', "hosts = []", "hosts"),
        ("[keys]", "[tokens]\nlifetime_seconds = -5\n[keys]", "tokens.lifetime_seconds"),
        ("[keys]", '[log]\nlevel = "LOUD"\n[keys]', "log.level"),
        ("[keys]", '[database]\nurl = "sqlite:///lost.db"\n[keys]', "lost.db"),
        ("[keys]", '[database]\nurl = "nonsense"\n[keys]', "database.url"),
        ("[keys]", '[database]\nurl = "env:NO_SUCH_VARIABLE"\n[keys]', "NO_SUCH_VARIABLE"),
        ("file:master.key", "file:lost.key", "lost.key"),
    ],
)
def test_settings_that_cannot_be_used_are_named(home: Path, old: str, new: str, named: str) -> None:
    settings = home / "intaglio.toml"
    before = settings.read_text()
    assert old in before
    settings.write_text(before.replace(old, new))
    try:
        done = run(BIN / "intaglio", "serve", "--home", home, check=False)
    finally:
        settings.write_text(before)
    assert done.returncode in {1, 2}
    assert named in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert not (home / "lost.db").exists()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("init") / "home"
    run(BIN / "intaglio", "init", "--home", made, "--algorithm", "p-256", *init_options())
    return made


@pytest.mark.parametrize("lost", ["intaglio.db", "pki/issuing.crt", "keys/tsa.sealed", "tls/client-ca.crt"])
def test_a_lost_file_stops_the_service_and_is_named(home: Path, lost: str) -> None:
    away = home.parent / "away"
    (home / lost).rename(away)
    try:
        done = run(BIN / "intaglio", "serve", "--home", home, check=False)
        assert done.returncode == 2
        assert Path(lost).stem in done.stderr.decode()
        assert b"Traceback" not in done.stderr
        assert not (home / lost).exists()
    finally:
        away.rename(home / lost)


def test_a_home_is_what_was_asked_for(tmp_path: Path) -> None:
    home = tmp_path / "deep/home"
    hosts = ("--host", "sign.example.com", "--host", "192.0.2.7")
    options = (
        "--name",
        "Müller & Söhne",
        "--algorithm",
        "p-256",
        "--policy-arc",
        "1.3.6.1.4.1.32473.9",
        "--country",
        "DE",
    )
    run(
        BIN / "intaglio",
        "init",
        "--home",
        home,
        *hosts,
        *options,
        *init_options(),
        "--public-url",
        "http://pki.example.com/",
    )
    settings = load(home)
    assert (settings.name, settings.hosts) == ("Müller & Söhne", ["sign.example.com", "192.0.2.7"])
    assert (settings.public.url, settings.api.bind) == ("http://pki.example.com", "0.0.0.0")  # noqa: S104
    text = run("openssl", "x509", "-in", home / "tls/server.crt", "-noout", "-text").stdout
    assert b"DNS:sign.example.com, IP Address:192.0.2.7" in text
    assert b"URI:http://pki.example.com/ocsp" in text
    # EN 319 412-2 §4.2.3.1 asks for the country in the names of CAs.
    for certificate in home.glob("pki/*.crt"):
        names = run("openssl", "x509", "-in", certificate, "-noout", "-subject", "-issuer").stdout.decode()
        assert names.replace(" ", "").count("=C=DE,O=M") == 2, names
    assert b"ASN1 OID: prime256v1" in text
    assert home.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (home / "intaglio.db", *home.glob("keys/*")))
