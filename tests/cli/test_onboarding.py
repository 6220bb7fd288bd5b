"""Onboarding as a customer does it: the documented openssl and keytool commands, to the letter."""

import json
import shutil
from pathlib import Path

import pytest

from served import BIN, JOHN_DOE, Served, run

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def account(served: Served) -> str:
    return str(
        served.intaglio("account", "create", "--name", "Java & Co", "--kind", "individual", "--test")["account_id"]
    )


def in_folder(folder: Path, command: str) -> bytes:
    """Run one documented command line in `folder`."""
    done = run("bash", "-euc", f"cd {folder} && {command}")
    return done.stdout


def test_manual_onboarding_up_to_a_working_login_and_a_java_client(
    served: Served, account: str, tmp_path: Path
) -> None:
    in_folder(tmp_path, "openssl genrsa -aes256 -passout pass:secret -out privateKey.key 2048")
    in_folder(tmp_path, "openssl rsa -in privateKey.key -passin pass:secret -pubout -out pubkey.pem")
    served.intaglio(
        "credential", "create", "--account", account, "--public-key", tmp_path / "pubkey.pem", "--out", tmp_path / "got"
    )
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["ca.crt", "client.crt", "credentials.enc"]
    in_folder(
        tmp_path,
        "openssl pkeyutl -inkey privateKey.key -passin pass:secret -in got/credentials.enc -out credentials.json "
        "-decrypt -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256",
    )
    secret = json.loads((tmp_path / "credentials.json").read_text())
    assert (len(secret["api_key"]), len(secret["api_secret"])) == (16, 40)

    login = in_folder(
        tmp_path,
        f"curl -s --cert got/client.crt --key privateKey.key --pass secret --cacert {served.home}/tls/server-ca.crt "
        f"-H 'Content-Type: application/json;charset=utf-8' -d @credentials.json {served.url}/login",
    )
    assert "access_token" in json.loads(login)

    # PFX and JKS
    in_folder(
        tmp_path,
        "openssl pkcs12 -export -out certificate.pfx -inkey privateKey.key -passin pass:secret -in got/client.crt "
        "-passout pass:changeit",
    )
    in_folder(
        tmp_path,
        "keytool -importkeystore -srckeystore certificate.pfx -srcstoretype pkcs12 -srcstorepass changeit "
        "-destkeystore clientcert.jks -deststoretype JKS -deststorepass changeit",
    )
    (tmp_path / "identity.json").write_text(json.dumps(JOHN_DOE))
    java = f"java {REPOSITORY}/examples/java/FirstSignature.java {served.url} clientcert.jks changeit "
    out = in_folder(tmp_path, java + f"{served.home}/tls/server-ca.crt credentials.json identity.json")
    assert out.strip() == b"signature verified"


def openssl_key(folder: Path, *options: str) -> Path:
    run("openssl", "genpkey", "-out", folder / "k.pem", *options)
    run("openssl", "pkey", "-in", folder / "k.pem", "-pubout", "-out", folder / "pub.pem")
    return folder / "pub.pem"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"), "1024"),
        (("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_pubexp:3"), "exponent"),
        (("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"), "P-256"),
        (("-algorithm", "ED25519"), "P-256"),
    ],
)  # fmt: skip
def test_weak_keys_are_refused_and_nothing_is_made(
    served: Served, account: str, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    key = openssl_key(tmp_path, *options)
    out = tmp_path / "got"
    done = run(
        BIN / "intaglio", "credential", "create", "--account", account, "--public-key", key, "--out", out,
        "--home", served.home, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"public_key" in done.stderr
    assert named.encode() in done.stderr
    assert not out.exists()
    assert served.intaglio("account", "show", account)["credentials"] == []


def test_a_csr_that_its_key_did_not_sign_is_refused(served: Served, account: str, tmp_path: Path) -> None:
    csr = tmp_path / "x.csr"
    run("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "k", "-out", csr,
        "-outform", "DER", "-subj", "/CN=x")  # fmt: skip
    der = bytearray(csr.read_bytes())
    der[-1] ^= 1
    csr.write_bytes(der)
    run("openssl", "req", "-inform", "DER", "-in", csr, "-out", tmp_path / "x.pem")
    done = run(
        BIN / "intaglio", "credential", "create", "--account", account, "--csr", tmp_path / "x.pem", "--out",
        tmp_path / "got", "--home", served.home, check=False,
    )  # fmt: skip
    assert (done.returncode, b"bad signature" in done.stderr) == (1, True)


def test_a_credential_that_cannot_be_written_is_not_made(served: Served, account: str, tmp_path: Path) -> None:
    run("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "k", "-out", tmp_path / "csr",
        "-subj", "/CN=x")  # fmt: skip
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/ca.crt").write_text("mine")
    for out in (Path("/proc/nowhere"), tmp_path / "csr", tmp_path / "taken"):
        create = ("credential", "create", "--account", account, "--csr", tmp_path / "csr", "--out", out)
        done = run(BIN / "intaglio", *create, "--home", served.home, check=False)
        assert (done.returncode, b"out:" in done.stderr, b"Traceback" in done.stderr) == (1, True, False), done
    assert served.intaglio("account", "show", account)["credentials"] == []
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["ca.crt"]
    assert (tmp_path / "taken/ca.crt").read_text() == "mine"


def test_init_never_overwrites(served: Served) -> None:
    before = (served.home / "master.key").read_bytes()
    done = run(BIN / "intaglio", "init", "--home", served.home, check=False)
    assert (done.returncode, b"not empty" in done.stderr) == (1, True)
    assert (served.home / "master.key").read_bytes() == before


def test_renewed_certificate_works_beside_the_old_one(served: Served, account: str, tmp_path: Path) -> None:
    made = {}
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        run("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "client.key", "-out",
            folder / "client.csr", "-subj", "/CN=x")  # fmt: skip
        options = ("--csr", folder / "client.csr", "--out", folder)
        if name == "first":
            made = served.intaglio("credential", "create", "--account", account, *options)
        else:
            served.intaglio("credential", "renew", made["credential_id"], *options)
    subject = run("openssl", "x509", "-in", tmp_path / "second/client.crt", "-noout", "-subject").stdout
    assert subject.decode().strip() == f"subject=O = Java & Co, CN = {account}"  # nothing of the request but its key
    shutil.copy(tmp_path / "first/credentials.json", tmp_path / "second/credentials.json")
    for name in ("first", "second"):
        folder = tmp_path / name
        login = in_folder(
            folder,
            f"curl -s --cert client.crt --key client.key --cacert {served.home}/tls/server-ca.crt "
            f"-H 'Content-Type: application/json' -d @credentials.json {served.url}/login",
        )
        assert b"access_token" in login


def test_the_services_own_certificates_are_renewed_and_the_cas_are_not(served: Served) -> None:
    served.staffed()
    settings = served.home / "intaglio.toml"
    before = settings.read_text()
    settings.write_text(before.replace('"127.0.0.1"', '"127.0.0.1", "sign.example.com"', 1))
    try:
        served.intaglio("certificate", "renew", "tls")
    finally:
        settings.write_text(before)
    path = served.home / "tls/server.crt"
    assert b"DNS:sign.example.com" in run("openssl", "x509", "-in", path, "-noout", "-ext", "subjectAltName").stdout
    served.intaglio("certificate", "renew", "issuing-ocsp")
    authority, root = served.home / "pki/issuing.crt", served.home / "pki/root.crt"
    run("openssl", "verify", "-CAfile", root, "-untrusted", authority, served.home / "pki/issuing-ocsp.crt")
    command = (BIN / "intaglio", "certificate", "renew", "issuing", "--home", served.home)
    refused = run(*command, check=False, environment=served.environment)
    assert (refused.returncode, b"name" in refused.stderr) == (1, True)
    entry = served.intaglio("ledger", "show", "--kind", "certificate.issued", "--most", "1")[0]
    assert entry["details"]["member"] == "issuing-ocsp"
    assert entry["actor"].startswith("staff:")


def test_every_command_answers_help_and_names_an_unknown_home(tmp_path: Path) -> None:
    for words in ("init", "serve", "account create", "credential create", "policy set", "ledger show", "ledger verify"):
        assert b"--home" in run(BIN / "intaglio", *words.split(), "--help").stdout
    done = run(BIN / "intaglio", "account", "list", "--home", tmp_path / "none", check=False)
    assert (done.returncode, b"intaglio init" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
