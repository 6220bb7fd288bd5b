"""Keys rest sealed, bound to their place, and are gone when their time is over."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from intaglio.errors import Conflict, KeyUnavailable
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.keyring import Keyring
from intaglio.keys.live import LiveKeys
from intaglio.keys.sealing import SealingKey
from intaglio.keys.software import SoftwareCustody
from intaglio.settings import load, master_key
from served import Served

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def custody(master: bytes = bytes(32)) -> SoftwareCustody:
    return SoftwareCustody(SealingKey(master, "test"))


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA_2048, KeyAlgorithm.P_256, KeyAlgorithm.P_384])
def test_a_key_comes_back_as_it_went(algorithm: KeyAlgorithm) -> None:
    key = custody().generate(algorithm, "x")
    again = custody().unseal(custody().seal(key, "x"), "x")
    assert again.public_key() == key.public_key()


def test_a_sealed_key_opens_only_in_its_place_under_its_master_and_unchanged() -> None:
    sealed = custody().seal(custody().generate(KeyAlgorithm.P_256, "x"), "identity 1")
    changed = bytes((*sealed[:-1], sealed[-1] ^ 1))
    for opener, text, place in (
        (custody(), sealed, "identity 2"),
        (custody(b"\x01" * 32), sealed, "identity 1"),
        (custody(), changed, "identity 1"),
        (custody(), sealed[:20], "identity 1"),
        (custody(), b"", "identity 1"),
    ):
        with pytest.raises(KeyUnavailable):
            opener.unseal(text, place)


def test_a_key_on_disk_is_private_sealed_and_never_overwritten(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "keys", custody(), SealingKey(bytes(32), "secrets"))
    ring.store_key("root", ec.generate_private_key(ec.SECP256R1()))
    path = tmp_path / "keys/root.sealed"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict):
        ring.store_key("root", ec.generate_private_key(ec.SECP256R1()))


def test_nothing_at_home_holds_a_private_key_in_plain(served: Served) -> None:
    for path in served.home.rglob("*"):
        if path.is_file() and path.name != "master.key":
            content = path.read_bytes()
            assert b"PRIVATE KEY" not in content
            # the beginning of an unsealed PKCS#8 of RSA: version 0, rsaEncryption
            assert bytes.fromhex("020100300d06092a864886f70d010101") not in content, path


def test_a_master_key_that_others_can_read_is_refused(served: Served) -> None:
    path = served.home / "master.key"
    path.chmod(0o644)
    try:
        with pytest.raises(KeyUnavailable, match="chmod 600"):
            master_key(load(served.home), served.home)
    finally:
        path.chmod(0o600)


def test_live_keys_are_bounded_and_expire() -> None:
    live = LiveKeys(2)
    key = ec.generate_private_key(ec.SECP256R1())
    for owner in ("a", "b", "c"):
        live.put(owner, key, NOW, live.generation)
    assert live.get("a", NOW) is None
    assert live.get("b", NOW) is key
    assert live.get("b", NOW + timedelta(seconds=1)) is None
    assert live.destroy_expired(NOW + timedelta(seconds=1)) == 1
    assert len(live) == 0


def test_a_key_looked_up_before_everything_was_forgotten_does_not_come_in_after() -> None:
    live = LiveKeys(2)
    before = live.generation
    live.clear()
    live.put("a", ec.generate_private_key(ec.SECP256R1()), NOW, before)
    assert len(live) == 0
