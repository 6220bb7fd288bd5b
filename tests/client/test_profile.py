"""Settings from profile files and the environment."""

import json
from pathlib import Path

import pytest

from intaglio_client.errors import Unusable
from intaglio_client.profile import Profile, connection, read_profile

TOML = """
base_url = "https://sign.example:8443"
credentials = "secret/credentials.json"
client_cert = "client.pem"
server_ca = "/etc/ca.pem"
[identity.subject_dn]
common_name = "Jane Doe"
"""


def test_paths_are_relative_to_the_profile(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text(TOML)
    profile = read_profile(tmp_path / "profile.toml")
    assert profile.credentials == tmp_path / "secret/credentials.json"
    assert profile.client_cert == tmp_path / "client.pem"
    assert profile.server_ca == Path("/etc/ca.pem")
    assert profile.client_key is None
    assert profile.identity == {"subject_dn": {"common_name": "Jane Doe"}}


def test_json_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text(json.dumps({"base_url": "https://x", "client_key": "k.pem"}))
    assert read_profile(tmp_path / "profile.json").client_key == tmp_path / "k.pem"


@pytest.mark.parametrize("text", ["base_ulr = 'x'", "base_url = 3", "not toml", "base_url = '\udcff'"])
def test_a_wrong_profile_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Unusable, match=r"p\.toml cannot be read"):
        read_profile(tmp_path / "p.toml")


def test_what_is_given_goes_over_the_profile() -> None:
    given = Profile(base_url="https://a")
    assert given.over(Profile(base_url="https://b", client_cert=Path("c"))) == Profile("https://a", None, Path("c"))


def test_the_connection_is_put_together(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"api_key": "k", "api_secret": "s", "note": "more"}')
    profile = Profile("https://a", tmp_path / "c.json", Path("cert"), client_key_passphrase_env="MINE")
    url, found = connection(profile, {"MINE": "sesame", "INTAGLIO_CLIENT_KEY_PASSPHRASE": "other"})
    assert url == "https://a"
    assert (found["api_key"], found["api_secret"]) == ("k", "s")
    assert found["client_key_passphrase"] == "sesame"
    _, found = connection(profile, {"INTAGLIO_API_KEY": "k2", "INTAGLIO_API_SECRET": "s2"})
    assert (found["api_key"], found["api_secret"]) == ("k2", "s2")


@pytest.mark.parametrize(
    ("profile", "named"),
    [
        (Profile(), "--base-url"),
        (Profile("https://a"), "--client-cert"),
        (Profile("https://a", client_cert=Path("c")), "--credentials"),
        (Profile("https://a", Path("/nowhere.json"), Path("c")), "/nowhere.json"),
    ],
)
def test_what_is_missing_is_named(profile: Profile, named: str) -> None:
    with pytest.raises(Unusable, match=named):
        connection(profile, {})
