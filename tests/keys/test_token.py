"""Keys made, used, wrapped, unwrapped and destroyed on a real token."""

import ctypes
import gc
import json
import secrets
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from ctypes import byref, c_ulong
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from intaglio.errors import Conflict, KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout, objects, trial
from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey
from intaglio.keys.token import KeyLost, Token
from softhsm import MadeToken

ALGORITHMS = [KeyAlgorithm.RSA_2048, KeyAlgorithm.RSA_3072, KeyAlgorithm.P_256, KeyAlgorithm.P_384]
QUICK = KeyAlgorithm.P_256
SHA256 = hashes.SHA256()


def new_id() -> bytes:
    return secrets.token_bytes(16)


def sign(key: PrivateKey, message: bytes = b"message") -> None:
    """Sign and verify."""
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(message, padding.PKCS1v15(), SHA256)
        key.public_key().verify(signature, message, padding.PKCS1v15(), SHA256)
    else:
        key.public_key().verify(key.sign(message, ec.ECDSA(SHA256)), message, ec.ECDSA(SHA256))


@pytest.fixture
def sealing(token: Token) -> bytes:
    key_id = new_id()
    token.make_sealing_key(key_id, "sealing")
    return key_id


def attributes(token: Token, handle: int, *kinds: int) -> list[bool]:
    with token.sessions.session() as session:
        return [objects.attribute(token.sessions, session, handle, kind) == b"\x01" for kind in kinds]


def session_objects(token: Token) -> int:
    """Return how many private keys there are in sessions."""
    with token.sessions.session() as session:
        template = layout.Template({c.CKA_CLASS: c.CKO_PRIVATE_KEY, c.CKA_TOKEN: False})
        token.sessions.call(session, "C_FindObjectsInit", template.address, template.count)
        handles, count = (c_ulong * 100)(), c_ulong()
        token.sessions.call(session, "C_FindObjects", handles, 100, byref(count))
        token.sessions.call(session, "C_FindObjectsFinal")
        return count.value


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stored_key_is_found_and_signs_until_it_is_destroyed(token: Token, algorithm: KeyAlgorithm) -> None:
    key_id = new_id()
    key = token.generate(algorithm, key_id, "stored")
    again = token.find(key_id)
    assert again.public_key() == key.public_key()
    assert again.public_key().key_size == int(algorithm.rpartition("-")[2])
    sign(key)
    sign(again)
    with pytest.raises(Conflict, match="never overwritten"):
        token.generate(algorithm, key_id, "stored")
    token.destroy(key_id)
    token.destroy(key_id)
    assert key_id not in token.key_ids()
    with pytest.raises(KeyUnavailable, match=key_id.hex()):
        token.find(key_id)
    for gone in (key, again):
        with pytest.raises(KeyUnavailable):
            sign(gone)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrapped_key_signs_and_leaves_nothing_on_the_token(
    token: Token, sealing: bytes, algorithm: KeyAlgorithm
) -> None:
    before = token.key_ids()
    wrapped, public_key = token.make_wrapped(algorithm, sealing)
    assert token.key_ids() == before
    assert session_objects(token) == 0
    key = token.unwrap(wrapped, public_key, sealing)
    assert key.public_key() == public_key
    sign(key)
    del key
    assert token.sweep() == 1
    assert session_objects(token) == 0


def test_keys_sign_and_do_nothing_else_and_never_leave(token: Token, sealing: bytes) -> None:
    stored_id = new_id()
    stored = token.generate(QUICK, stored_id, "x")
    unwrapped = token.unwrap(*token.make_wrapped(QUICK, sealing), sealing)
    never = (c.CKA_EXTRACTABLE, c.CKA_DECRYPT, c.CKA_UNWRAP, c.CKA_DERIVE, c.CKA_SIGN_RECOVER)
    for key in (stored, unwrapped):
        with token.sessions.session() as session:
            handle = key._signer.held.handle(session)  # type: ignore[union-attr]
        assert attributes(token, handle, c.CKA_SIGN, c.CKA_SENSITIVE, c.CKA_PRIVATE) == [True] * 3
        assert attributes(token, handle, *never) == [False] * len(never)
        with pytest.raises(NotImplementedError):
            key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(NotImplementedError):
            key.private_numbers()
    with token.sessions.session() as session:
        handle = objects.find_one(token.sessions, session, c.CKO_SECRET_KEY, sealing)
    assert attributes(token, handle, c.CKA_WRAP, c.CKA_UNWRAP, c.CKA_SENSITIVE, c.CKA_PRIVATE) == [True] * 4
    others = (c.CKA_EXTRACTABLE, c.CKA_ENCRYPT, c.CKA_DECRYPT, c.CKA_SIGN, c.CKA_DERIVE)
    assert attributes(token, handle, *others) == [False] * len(others)
    # even one who has the PIN cannot unwrap a key such that it could be taken out
    assert trial._stays(token, *token.make_wrapped(QUICK, sealing), sealing)


def test_a_wrapped_key_opens_unchanged_under_its_own_sealing_key_only(token: Token, sealing: bytes) -> None:
    wrapped, public_key = token.make_wrapped(QUICK, sealing)
    another = new_id()
    token.make_sealing_key(another, "another")
    live = token.unwrap(wrapped, public_key, sealing)
    changed = [wrapped[:place] + bytes((wrapped[place] ^ 1,)) + wrapped[place + 1 :] for place in range(len(wrapped))]
    for blob in (*changed, wrapped[:-8], wrapped + bytes(8), b""):
        with pytest.raises(KeyUnavailable, match="does not open"):
            token.unwrap(blob, public_key, sealing)
    with pytest.raises(KeyUnavailable, match="another sealing key"):
        token.unwrap(wrapped, public_key, another)
    with pytest.raises(KeyUnavailable, match="no sealing key"):
        token.unwrap(wrapped, public_key, new_id())
    sign(live)


def test_a_wrapped_key_in_anothers_place_never_signs(token: Token, sealing: bytes) -> None:
    wrapped, _ = token.make_wrapped(QUICK, sealing)
    _, other = token.make_wrapped(QUICK, sealing)
    with pytest.raises(KeyUnavailable, match="another key"):
        sign(token.unwrap(wrapped, other, sealing))


def test_nothing_opens_once_its_sealing_key_is_destroyed(token: Token, sealing: bytes) -> None:
    wrapped, public_key = token.make_wrapped(QUICK, sealing)
    control = new_id()
    token.make_sealing_key(control, "control")
    kept = token.make_wrapped(QUICK, control)
    with pytest.raises(Conflict):
        token.make_sealing_key(sealing, "again")
    token.destroy_sealing_key(sealing)
    token.destroy_sealing_key(sealing)
    assert sealing not in token.sealing_key_ids()
    with pytest.raises(KeyUnavailable, match="no sealing key"):
        token.unwrap(wrapped, public_key, sealing)
    sign(token.unwrap(*kept, control))


def test_a_sealing_key_destroyed_by_one_process_opens_nothing_in_another(
    token: Token, made: MadeToken, sealing: bytes
) -> None:
    wrapped, public_key = token.make_wrapped(QUICK, sealing)
    sign(token.unwrap(wrapped, public_key, sealing))
    code = (
        "import sys; from pathlib import Path; from intaglio.keys.token import Token, TokenPlace\n"
        "module, serial, pin, refused, sealing = sys.argv[1:]\n"
        "token = Token(TokenPlace(Path(module), serial=serial), Path(pin).read_text().strip, Path(refused))\n"
        "token.destroy_sealing_key(bytes.fromhex(sealing))"
    )
    place = (str(made.place.module), made.serial, str(made.pin_file), str(made.pin_file.with_name("r")), sealing.hex())
    subprocess.run([sys.executable, "-c", code, *place], check=True, env=made.environment, timeout=30)
    with pytest.raises(KeyUnavailable):
        token.unwrap(wrapped, public_key, sealing)


def test_an_unwrapped_key_outlives_the_thread_that_unwrapped_it_and_dies_with_its_last_reference(
    token: Token, sealing: bytes
) -> None:
    wrapped, public_key = token.make_wrapped(QUICK, sealing)
    with ThreadPoolExecutor(1) as pool:
        key = pool.submit(token.unwrap, wrapped, public_key, sealing).result()
    sign(key)
    stop = threading.Event()
    failures: list[Exception] = []

    def work(held: PrivateKey) -> None:
        try:
            while not stop.is_set():
                sign(held)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(key,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    del key
    for _ in range(50):
        token.unwrap(wrapped, public_key, sealing)  # forgotten at once: these are destroyed while the other signs
        token.sweep()
    stop.set()
    for thread in threads:
        thread.join()
    del threads, thread
    gc.collect()
    assert failures == []
    token.sweep()
    assert session_objects(token) == 0


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_every_scheme_and_hash_verifies(token: Token, digest: hashes.HashAlgorithm) -> None:
    key = token.generate(KeyAlgorithm.RSA_2048, new_id(), "schemes")
    assert isinstance(key, rsa.RSAPrivateKey)
    hasher = hashes.Hash(digest)
    hasher.update(b"message")
    prehashed = hasher.finalize()
    for scheme in (
        padding.PKCS1v15(),
        padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH),
        padding.PSS(padding.MGF1(digest), padding.PSS.MAX_LENGTH),
        padding.PSS(padding.MGF1(digest), 20),
    ):
        key.public_key().verify(key.sign(b"message", scheme, digest), b"message", scheme, digest)
        key.public_key().verify(key.sign(prehashed, scheme, Prehashed(digest)), b"message", scheme, digest)
    for curve in (KeyAlgorithm.P_256, KeyAlgorithm.P_384):
        # a digest that is longer than the curve's order is shortened
        pair = token.generate(curve, new_id(), "schemes")
        assert isinstance(pair, ec.EllipticCurvePrivateKey)
        pair.public_key().verify(pair.sign(b"message", ec.ECDSA(digest)), b"message", ec.ECDSA(digest))
        pair.public_key().verify(pair.sign(prehashed, ec.ECDSA(Prehashed(digest))), b"message", ec.ECDSA(digest))


def test_a_digest_of_another_length_or_another_hash_is_not_signed(token: Token) -> None:
    key = token.generate(KeyAlgorithm.RSA_2048, new_id(), "x")
    assert isinstance(key, rsa.RSAPrivateKey)
    for length in (0, 20, 31, 33, 48):
        with pytest.raises(ValueError, match="octets"):
            key.sign(bytes(length), padding.PKCS1v15(), Prehashed(SHA256))
    with pytest.raises(Exception, match="SHA-256"):
        key.sign(b"", padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - that it is refused


@pytest.mark.parametrize("name", ["C_Logout", "C_CloseAllSessions", "C_Finalize"])
def test_what_is_lost_is_recovered_by_the_next_operation(token: Token, sealing: bytes, name: str) -> None:
    stored = token.generate(QUICK, new_id(), "stored")
    wrapped, public_key = token.make_wrapped(QUICK, sealing)
    unwrapped = token.unwrap(wrapped, public_key, sealing)
    sign(stored)
    sign(unwrapped)
    assert not unwrapped.lost  # type: ignore[union-attr]
    harm(token, name)
    with pytest.raises(KeyUnavailable):
        sign(stored)
    sign(stored)
    token.check()
    assert unwrapped.lost  # type: ignore[union-attr]
    with pytest.raises(KeyLost):
        sign(unwrapped)
    sign(token.unwrap(wrapped, public_key, sealing))


def harm(token: Token, name: str) -> None:
    """Do what another part of the process could: call a function that is not called here."""
    listed = ctypes.POINTER(layout.CK_FUNCTION_LIST)()
    assert ctypes.CDLL(str(token.sessions.module.path)).C_GetFunctionList(byref(listed)) == 0
    function = ctypes.CFUNCTYPE(c_ulong, c_ulong)(getattr(listed.contents, name))
    with token.sessions.session() as session:
        argument = {"C_Logout": session.handle, "C_CloseAllSessions": session.presence.slot, "C_Finalize": 0}[name]
        assert function(argument) == 0


@pytest.mark.parametrize("used_meanwhile", [True, False])
def test_a_store_that_was_away_for_a_while_is_found_again(
    token: Token, made: MadeToken, sealing: bytes, used_meanwhile: bool
) -> None:
    stored = token.generate(QUICK, new_id(), "stored")
    wrapped, public_key = token.make_wrapped(QUICK, sealing)
    sign(stored)
    away = made.tokens.with_name("away")
    made.tokens.rename(away)
    try:
        for _ in range(3 if used_meanwhile else 1):
            with pytest.raises(KeyUnavailable):
                sign(stored)
        if used_meanwhile:
            with pytest.raises(KeyUnavailable):
                token.check()
    finally:
        away.rename(made.tokens)
    sign(stored)
    sign(token.unwrap(wrapped, public_key, sealing))


def test_the_check_tells_of_a_store_that_is_away(token: Token, made: MadeToken) -> None:
    token.check()
    away = made.tokens.with_name("away")
    made.tokens.rename(away)
    try:
        with pytest.raises(KeyUnavailable):
            token.check()
    finally:
        away.rename(made.tokens)
    token.check()


def test_many_threads_lose_the_token_at_once_and_nothing_wrong_is_signed(token: Token) -> None:
    stored = [token.generate(QUICK, new_id(), "stored") for _ in range(4)]
    stop = threading.Event()
    counts = {"signed": 0, "unavailable": 0}
    failures: list[Exception] = []

    def work(key: PrivateKey) -> None:
        while not stop.is_set():
            try:
                sign(key)
                counts["signed"] += 1
            except KeyUnavailable:
                counts["unavailable"] += 1
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(key,)) for key in stored for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        stop.wait(0.1)
        # Session and login are taken away while others sign; the module is not shut down under them, that crashes it.
        harm(token, "C_Logout")
    stop.wait(0.2)
    before = counts["signed"]
    stop.wait(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counts["unavailable"] > 0
    assert counts["signed"] > before


def test_a_forked_child_uses_nothing_of_its_parent(made: MadeToken, tmp_path: Path) -> None:
    code = """
import json, os, sys
from pathlib import Path
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from intaglio.errors import KeyUnavailable
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.token import Token, TokenPlace
module, serial, pin, refused = sys.argv[1:]
token = Token(TokenPlace(Path(module), serial=serial), Path(pin).read_text().strip, Path(refused))
key = token.generate(KeyAlgorithm.P_256, os.urandom(16), "fork")
child = os.fork()
def outcome():
    try:
        return len(key.sign(b"", ec.ECDSA(hashes.SHA256()))) > 0
    except KeyUnavailable as error:
        return str(error)
if child == 0:
    print(json.dumps(outcome()), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(json.dumps(outcome()))
"""
    place = (str(made.place.module), made.serial, str(made.pin_file), str(tmp_path / "refused"))
    done = subprocess.run(
        [sys.executable, "-c", code, *place], check=True, env=made.environment, timeout=30, capture_output=True
    )
    child, parent = map(json.loads, done.stdout.splitlines())
    assert "forked" in child
    assert parent is True


def test_a_closed_token_stays_closed(token: Token) -> None:
    token.check()
    token.close()
    with pytest.raises(KeyUnavailable, match="closed"):
        token.check()


def test_capabilities_and_trial(token: Token) -> None:
    found = token.capabilities()
    assert found.identity_keys == "wrapped"
    assert {one.name: one.mechanism for one in found.capabilities}["ECDSA"] == "CKM_ECDSA"
    before = (token.key_ids(), token.sealing_key_ids())
    steps = trial.run(token)
    assert len(steps) > 25
    assert [step for step in steps if step.error or step.note] == []
    assert (token.key_ids(), token.sealing_key_ids()) == before


def test_a_token_attests_that_a_key_was_made_there_and_cannot_leave(token: Token) -> None:
    key_id = secrets.token_bytes(16)
    token.generate(KeyAlgorithm.P_256, key_id, "attested")
    said = token.attest(key_id)
    assert said["custody"] == "pkcs11"
    assert said["key_id"] == key_id.hex()
    assert (said["local"], said["always_sensitive"], said["never_extractable"], said["extractable"]) == (
        *(True, True, True),
        False,
    )
