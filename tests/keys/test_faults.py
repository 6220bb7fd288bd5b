"""Modules and tokens that cannot be used, or not for everything: each is said, with what to do, and nothing is lost."""

import ctypes
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.mechanisms import PKCS1, PSS, WAYS, Form, Mechanisms, Way
from intaglio.keys.token import Token, TokenPlace
from softhsm import MODULE, PIN, MadeToken, make_token

SHA256 = hashes.SHA256()
ECDSA = ec.ECDSA(SHA256)


def new_id() -> bytes:
    return secrets.token_bytes(16)


@pytest.fixture
def functions(token: Token) -> Iterator[dict[str, Callable[..., int]]]:
    """The module's functions, to be put back: for what SoftHSM cannot be brought to do."""
    found = token.sessions.module.functions
    before = dict(found)
    yield found
    found.update(before)


def loaded(path: Path) -> Token:
    return Token(TokenPlace(path, label="x"), lambda: PIN, path.parent / "refused-pins")


def test_what_is_no_module_is_said(tmp_path: Path) -> None:
    text = tmp_path / "module.so"
    text.write_text("not a library")
    library = next(Path("/usr/lib").rglob("libcrypto.so*"))
    for path, said in (
        (tmp_path / "missing.so", "no PKCS#11 module at"),
        (tmp_path, "no PKCS#11 module at"),
        (text, "cannot be loaded"),
        (library, "no C_GetFunctionList"),
    ):
        with pytest.raises(KeyUnavailable, match=said):
            loaded(path).check()


def test_what_cannot_be_initialised_for_threads_or_was_by_others_is_said(made: MadeToken, tmp_path: Path) -> None:
    code = (
        "import ctypes, sys; from pathlib import Path; from intaglio.errors import KeyUnavailable\n"
        "from intaglio.keys.token import Token, TokenPlace\n"
        "ctypes.CDLL(sys.argv[1]).C_Initialize(None)\n"
        "try: Token(TokenPlace(Path(sys.argv[1]), label='main'), lambda: '', Path(sys.argv[2])).check()\n"
        "except KeyUnavailable as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(MODULE), str(tmp_path / "refused")]
    done = subprocess.run(command, check=True, env=made.environment, timeout=30, capture_output=True, text=True)
    assert "without locking" in done.stdout


def test_a_token_that_is_not_there_is_said_with_those_that_are(softhsm: Path, made: MadeToken, tmp_path: Path) -> None:
    twins = [make_token(softhsm, "twin") for _ in range(2)]
    for place, said in (
        (TokenPlace(MODULE, label="mian"), f"'main' \\(serial {made.serial}\\)"),
        (TokenPlace(MODULE, serial="0000"), f"serial {made.serial}"),
        (TokenPlace(MODULE, label="main", serial=twins[0].serial), "no token with label 'main' and serial"),
        (TokenPlace(MODULE, label="twin"), "several tokens"),
        (TokenPlace(MODULE), "neither label nor serial"),
    ):
        with pytest.raises(KeyUnavailable, match=said):
            Token(place, lambda: PIN, tmp_path / "refused-pins").check()
    token = Token(TokenPlace(MODULE, "twin", twins[1].serial), lambda: PIN, tmp_path / "refused-pins")
    token.check()
    assert token.capabilities().serial == twins[1].serial
    token.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (c.CKR_DEVICE_MEMORY, "full"),
        (c.CKR_TOKEN_WRITE_PROTECTED, "read-only"),
        (c.CKR_MECHANISM_INVALID, "hsm check"),
        (0x80000123, "0x80000123"),
    ],
)
def test_why_no_key_is_made_is_said_and_the_token_goes_on(
    token: Token, functions: dict[str, Any], code: int, said: str
) -> None:
    kept = token.generate(KeyAlgorithm.P_256, new_id(), "kept")
    before = (token.key_ids(), token.sealing_key_ids())
    real = dict(functions)
    functions["C_GenerateKeyPair"] = functions["C_GenerateKey"] = lambda *_: code
    for work in (
        lambda: token.generate(KeyAlgorithm.P_256, new_id(), "x"),
        lambda: token.make_sealing_key(new_id(), "x"),
    ):
        with pytest.raises(KeyUnavailable, match=said):
            work()
    functions.update(real)
    assert (token.key_ids(), token.sealing_key_ids()) == before
    assert kept.sign(b"", ECDSA)  # type: ignore[call-arg, arg-type]
    token.generate(KeyAlgorithm.P_256, new_id(), "x")


def test_a_full_disk_under_the_token_makes_no_half_key(softhsm: Path, tmp_path: Path) -> None:
    full = make_token(softhsm, "full")
    code = """
import os, resource, signal, sys
from pathlib import Path
from intaglio.errors import KeyUnavailable
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.token import Token, TokenPlace
module, serial, pin, refused = sys.argv[1:]
token = Token(TokenPlace(Path(module), serial=serial), Path(pin).read_text().strip, Path(refused))
token.check()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
try:
    token.generate(KeyAlgorithm.P_256, b"full", "full")
    said = "made"
except KeyUnavailable as error:
    said = str(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
print(said)
print(len(token.key_ids()))
token.generate(KeyAlgorithm.P_256, b"full", "full")
print(len(token.key_ids()))
"""
    place = (str(MODULE), full.serial, str(full.pin_file), str(tmp_path / "refused"))
    done = subprocess.run(
        [sys.executable, "-c", code, *place],
        check=True,
        env=full.environment,
        timeout=60,
        capture_output=True,
        text=True,
    )
    said, none, one = done.stdout.splitlines()
    assert "space left" in said
    assert (none, one) == ("0", "1")


def test_a_read_only_token_signs_and_makes_nothing_that_stays(token: Token, functions: dict[str, Any]) -> None:
    sealing, key_id = new_id(), new_id()
    token.make_sealing_key(sealing, "x")
    token.generate(KeyAlgorithm.P_256, key_id, "x")
    wrapped, public_key = token.make_wrapped(KeyAlgorithm.P_256, sealing)
    token.sessions.give_up(token.sessions.present)  # type: ignore[arg-type]
    real = functions["C_GetTokenInfo"]

    def answer(slot: int, found: Any) -> int:
        code: int = real(slot, found)
        found._obj.flags |= c.CKF_WRITE_PROTECTED
        return code

    functions["C_GetTokenInfo"] = answer
    assert token.find(key_id).sign(b"", ECDSA)  # type: ignore[call-arg, arg-type]
    assert token.unwrap(wrapped, public_key, sealing).sign(b"", ECDSA)  # type: ignore[call-arg, arg-type]
    for work in (
        lambda: token.generate(KeyAlgorithm.P_256, new_id(), "x"),
        lambda: token.make_sealing_key(new_id(), "x"),
        lambda: token.destroy(key_id),
        lambda: token.destroy_sealing_key(sealing),
    ):
        with pytest.raises(KeyUnavailable, match="read-only"):
            work()
    assert any("read-only" in flag for flag in token.capabilities().flags)


def restricted(token: Token, **changes: Any) -> None:
    """Let the token have fewer mechanisms than it has."""
    token.check()
    presence = token.sessions.present
    assert presence is not None
    presence.mechanisms = msgspec.structs.replace(presence.mechanisms, **changes)


def ways(scheme: str, form: Form) -> dict[tuple[str, str], Way]:
    """Return the ways of one form for a scheme, as a token would have that has no other."""
    found = {}
    for purpose, candidates in WAYS.items():
        for way in candidates:
            if purpose[0] == scheme and way.form == form:
                found[purpose] = way
    return found


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_without_pkcs1_the_padding_is_made_here_and_verifies(token: Token, digest: hashes.HashAlgorithm) -> None:
    key = token.generate(KeyAlgorithm.RSA_2048, new_id(), "x")
    assert isinstance(key, rsa.RSAPrivateKey)
    restricted(token, signing=ways(PKCS1, Form.PADDED))
    signature = key.sign(b"message", padding.PKCS1v15(), digest)
    key.public_key().verify(signature, b"message", padding.PKCS1v15(), digest)
    with pytest.raises(KeyUnavailable, match="PSS with sha256"):
        key.sign(b"message", padding.PSS(padding.MGF1(SHA256), 32), SHA256)


@pytest.mark.parametrize("scheme", [PKCS1, PSS])
def test_a_token_that_only_hashes_itself_signs_messages_and_refuses_digests(token: Token, scheme: str) -> None:
    key = token.generate(KeyAlgorithm.RSA_2048, new_id(), "x")
    assert isinstance(key, rsa.RSAPrivateKey)
    restricted(token, signing=ways(scheme, Form.MESSAGE))
    chosen = padding.PKCS1v15() if scheme == PKCS1 else padding.PSS(padding.MGF1(SHA256), 32)
    key.public_key().verify(key.sign(b"message", chosen, SHA256), b"message", chosen, SHA256)
    with pytest.raises(KeyUnavailable, match="made elsewhere"):
        key.sign(bytes(32), chosen, Prehashed(SHA256))
    found = {one.name: one for one in token.capabilities().capabilities}
    assert found["PKCS#1 v1.5"].consequence is not None


def test_a_token_that_cannot_wrap_says_what_follows(token: Token) -> None:
    restricted(token, wrapping=None)
    found = token.capabilities()
    assert found.identity_keys == "resident"
    assert "resident" in str({one.name: one for one in found.capabilities}["Key wrapping"].consequence)
    for work in (
        lambda: token.make_sealing_key(new_id(), "x"),
        lambda: token.make_wrapped(KeyAlgorithm.P_256, new_id()),
    ):
        with pytest.raises(KeyUnavailable, match="hsm check"):
            work()


def test_keys_of_sizes_or_kinds_that_the_token_lacks_are_refused(token: Token) -> None:
    token.check()
    presence = token.sessions.present
    assert presence is not None
    sized = presence.mechanisms.rsa_generation
    assert sized is not None
    restricted(token, rsa_generation=msgspec.structs.replace(sized, most=2048), ec_generation=None)
    with pytest.raises(KeyUnavailable, match="2048 bits only"):
        token.generate(KeyAlgorithm.RSA_3072, new_id(), "x")
    with pytest.raises(KeyUnavailable, match="EC key pairs"):
        token.generate(KeyAlgorithm.P_256, new_id(), "x")
    token.generate(KeyAlgorithm.RSA_2048, new_id(), "x")


def test_mechanisms_are_taken_only_with_their_flags_and_their_maker(token: Token, functions: dict[str, Any]) -> None:
    """A vendor's number is another vendor's something else."""
    wrapping = 0x80000171

    def listed(_: int, array: Any, count: Any) -> int:
        count._obj.value = 3
        if array is not None:
            array[0], array[1], array[2] = c.CKM_AES_KEY_WRAP_KWP, wrapping, c.CKM_RSA_PKCS
        return c.CKR_OK

    def about(_: int, number: int, found: Any) -> int:
        # KWP is there, but does not unwrap
        found._obj.flags = {c.CKM_AES_KEY_WRAP_KWP: c.CKF_WRAP}.get(number, c.CKF_WRAP | c.CKF_UNWRAP | c.CKF_SIGN)
        return c.CKR_OK

    real = functions["C_GetTokenInfo"]

    def thales(slot: int, found: Any) -> int:
        code: int = real(slot, found)
        found._obj.manufacturerID = b"SafeNet, Inc.".ljust(32)
        return code

    functions["C_GetMechanismList"], functions["C_GetMechanismInfo"] = listed, about
    assert found_in(token).wrapping is None
    functions["C_GetTokenInfo"] = thales
    found = found_in(token)
    assert found.wrapping is not None
    assert found.wrapping.number == wrapping
    assert found.aes_generation is None
    assert found.signing[PKCS1, "sha512"].mechanism.number == c.CKM_RSA_PKCS
    assert (PSS, "sha256") not in found.signing


def found_in(token: Token) -> Mechanisms:
    if token.sessions.present is not None:
        token.sessions.give_up(token.sessions.present)
    token.check()
    assert token.sessions.present is not None
    return token.sessions.present.mechanisms


@pytest.mark.parametrize(
    "codes",
    [(c.CKR_GENERAL_ERROR, c.CKR_FUNCTION_FAILED), (c.CKR_TEMPLATE_INCONSISTENT, c.CKR_OBJECT_HANDLE_INVALID)],
)
def test_a_store_that_fails_for_a_moment_is_asked_again(
    token: Token, functions: dict[str, Any], codes: tuple[int, ...]
) -> None:
    """SoftHSM fails so when two processes change one token at the same moment."""
    real = functions["C_GenerateKeyPair"]
    failing = list(codes)
    functions["C_GenerateKeyPair"] = lambda *arguments: failing.pop() if failing else real(*arguments)
    key_id = new_id()
    token.generate(KeyAlgorithm.P_256, key_id, "x")
    assert token.key_ids().count(key_id) == 1


def test_a_sealing_key_is_unbound_only_where_the_token_cannot_bind(token: Token, functions: dict[str, Any]) -> None:
    """What SoftHSM says of a moment's trouble is also what a token says that does not know the attribute."""
    real, failing, bound = functions["C_GenerateKey"], [c.CKR_TEMPLATE_INCONSISTENT] * 2, []

    def generate(session: int, mechanism: int, template: int, count: int, made: Any) -> int:
        attributes = (layout.CK_ATTRIBUTE * count).from_address(template)
        bound.append(any(one.type == c.CKA_UNWRAP_TEMPLATE for one in attributes))
        return failing.pop() if failing else int(real(session, mechanism, template, count, made))

    functions["C_GenerateKey"] = generate
    token.make_sealing_key(new_id(), "x")
    assert bound == [True] * 3
    failing.extend([c.CKR_TEMPLATE_INCONSISTENT] * 3)
    bound.clear()
    token.make_sealing_key(key_id := new_id(), "x")
    assert bound == [True] * 3 + [False]
    assert token.sealing_key_ids().count(key_id) == 1


def test_structures_are_as_large_as_c_has_them() -> None:
    """On a platform with 64-bit CK_ULONG, from the standard's header."""
    if ctypes.sizeof(ctypes.c_ulong) == 8:
        sizes = {
            layout.CK_INFO: 88,
            layout.CK_TOKEN_INFO: 208,
            layout.CK_SESSION_INFO: 32,
            layout.CK_MECHANISM_INFO: 24,
            layout.CK_MECHANISM: 24,
            layout.CK_ATTRIBUTE: 24,
            layout.CK_C_INITIALIZE_ARGS: 48,
            layout.CK_RSA_PKCS_PSS_PARAMS: 24,
        }
        assert {kind: ctypes.sizeof(kind) for kind in sizes} == sizes
