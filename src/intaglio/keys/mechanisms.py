"""Which mechanism does what: a table, and what a token has of it.

For each purpose the first mechanism of the table that the token lists, with the flags for it, is taken. Nothing that is
not in the table is ever used. Wrapping must be authenticated: AES-CBC is not in the table on purpose.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys.algorithm import RSA_BITS, KeyAlgorithm
from intaglio.keys.module import Module

# Words by which a vendor's token or module names its maker; vendor-defined numbers mean something with them only.
_LUNA = ("safenet", "gemalto", "thales")
_CLOUDHSM = ("amazon", "cavium", "marvell")
_VENDOR_DEFINED = 0x80000000

_CURVE_BITS = {KeyAlgorithm.P_256: 256, KeyAlgorithm.P_384: 384}


class Mechanism(msgspec.Struct, frozen=True):
    """A mechanism of the table; `makers` restricts a vendor-defined one."""

    number: int
    name: str
    makers: tuple[str, ...] = ()


class Form(StrEnum):
    """What a signing mechanism is given."""

    DIGEST_INFO = "DigestInfo"
    PADDED = "padded block"
    DIGEST = "digest"
    MESSAGE = "whole message"


# Schemes. Plain strings, since they are looked up for every signature.
PKCS1 = "PKCS#1 v1.5"
PSS = "PSS"
ECDSA = "ECDSA"


class Way(msgspec.Struct, frozen=True):
    """How a scheme is done on a token."""

    mechanism: Mechanism
    form: Form


class Sized(msgspec.Struct, frozen=True):
    """A mechanism that makes keys, with the sizes that it makes, in bits; 0 where the token does not say."""

    mechanism: Mechanism
    least: int
    most: int

    def covers(self, bits: int) -> bool:
        """Whether keys of this size can be made."""
        return self.least <= bits and (self.most == 0 or bits <= self.most)


RSA_GENERATION = (
    Mechanism(c.CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN"),
    Mechanism(c.CKM_RSA_X9_31_KEY_PAIR_GEN, "CKM_RSA_X9_31_KEY_PAIR_GEN"),
    Mechanism(_VENDOR_DEFINED + 0x142, "CKM_RSA_FIPS_186_3_AUX_PRIME_KEY_PAIR_GEN", _LUNA),
    Mechanism(_VENDOR_DEFINED + 0x143, "CKM_RSA_FIPS_186_3_PRIME_KEY_PAIR_GEN", _LUNA),
)
EC_GENERATION = (Mechanism(c.CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"),)
AES_GENERATION = (Mechanism(c.CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN"),)
# All are AES key wrap with its integrity check. SoftHSM does RFC 5649 under the older number, which v3.1 deprecates
# since others understood it otherwise; both ends of a wrapped key are the same token, so either will do.
WRAPPING = (
    Mechanism(c.CKM_AES_KEY_WRAP_KWP, "CKM_AES_KEY_WRAP_KWP"),
    Mechanism(c.CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD"),
    Mechanism(_VENDOR_DEFINED + 0x171, "CKM_AES_KWP", _LUNA),
    Mechanism(_VENDOR_DEFINED + 0x216F, "CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD", _CLOUDHSM),
    Mechanism(c.CKM_AES_KEY_WRAP_PKCS7, "CKM_AES_KEY_WRAP_PKCS7"),
)

_BY_DIGEST_INFO = Way(Mechanism(c.CKM_RSA_PKCS, "CKM_RSA_PKCS"), Form.DIGEST_INFO)
_RAW = Way(Mechanism(c.CKM_RSA_X_509, "CKM_RSA_X_509"), Form.PADDED)
_BY_PSS = Way(Mechanism(c.CKM_RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS"), Form.DIGEST)
_BY_ECDSA = Way(Mechanism(c.CKM_ECDSA, "CKM_ECDSA"), Form.DIGEST)


def _hashing(number: int, name: str) -> Way:
    return Way(Mechanism(number, name), Form.MESSAGE)


# What hashes in the token comes last: it cannot sign a digest that a caller made.
WAYS: Mapping[tuple[str, str], tuple[Way, ...]] = {
    (PKCS1, "sha256"): (_BY_DIGEST_INFO, _RAW, _hashing(c.CKM_SHA256_RSA_PKCS, "CKM_SHA256_RSA_PKCS")),
    (PKCS1, "sha384"): (_BY_DIGEST_INFO, _RAW, _hashing(c.CKM_SHA384_RSA_PKCS, "CKM_SHA384_RSA_PKCS")),
    (PKCS1, "sha512"): (_BY_DIGEST_INFO, _RAW, _hashing(c.CKM_SHA512_RSA_PKCS, "CKM_SHA512_RSA_PKCS")),
    (PSS, "sha256"): (_BY_PSS, _hashing(c.CKM_SHA256_RSA_PKCS_PSS, "CKM_SHA256_RSA_PKCS_PSS")),
    (PSS, "sha384"): (_BY_PSS, _hashing(c.CKM_SHA384_RSA_PKCS_PSS, "CKM_SHA384_RSA_PKCS_PSS")),
    (PSS, "sha512"): (_BY_PSS, _hashing(c.CKM_SHA512_RSA_PKCS_PSS, "CKM_SHA512_RSA_PKCS_PSS")),
    (ECDSA, "sha256"): (_BY_ECDSA, _hashing(c.CKM_ECDSA_SHA256, "CKM_ECDSA_SHA256")),
    (ECDSA, "sha384"): (_BY_ECDSA, _hashing(c.CKM_ECDSA_SHA384, "CKM_ECDSA_SHA384")),
    (ECDSA, "sha512"): (_BY_ECDSA, _hashing(c.CKM_ECDSA_SHA512, "CKM_ECDSA_SHA512")),
}


class Mechanisms(msgspec.Struct, frozen=True):
    """What was chosen for one token; None where it has nothing for a purpose."""

    rsa_generation: Sized | None
    ec_generation: Sized | None
    aes_generation: Mechanism | None
    wrapping: Mechanism | None
    signing: Mapping[tuple[str, str], Way]

    @property
    def wraps(self) -> bool:
        """Whether sealing keys can be made and used."""
        return self.aes_generation is not None and self.wrapping is not None

    def generation(self, algorithm: KeyAlgorithm) -> Mechanism:
        """Return what makes key pairs of `algorithm`; raises `KeyUnavailable`."""
        rsa = algorithm in RSA_BITS
        sized = self.rsa_generation if rsa else self.ec_generation
        if sized is None:
            raise lacking(f"{'RSA' if rsa else 'EC'} key pairs")
        if not sized.covers(RSA_BITS[algorithm] if rsa else _CURVE_BITS[algorithm]):
            raise KeyUnavailable(f"the token makes keys of {sized.least} to {sized.most} bits only, not {algorithm}")
        return sized.mechanism

    def sealing(self) -> tuple[Mechanism, Mechanism]:
        """Return what makes sealing keys, and what wraps with them; raises `KeyUnavailable`."""
        if self.aes_generation is None or self.wrapping is None:
            raise lacking("wrapping private keys")
        return self.aes_generation, self.wrapping


def lacking(purpose: str) -> KeyUnavailable:
    """Return what is raised when a token has no mechanism for a purpose."""
    return KeyUnavailable(f"the token has no mechanism for {purpose}: 'intaglio hsm check' shows what it has")


def probe(module: Module, slot: int) -> Mechanisms:
    """Return what the token in `slot` has of the table."""
    token = module.token(slot)
    maker = f"{c.text(token.manufacturerID)} {c.text(module.information().manufacturerID)}".lower()
    listed = module.mechanisms(slot)

    def has(mechanism: Mechanism, flags: int) -> bool:
        about = listed.get(mechanism.number)
        known = not mechanism.makers or any(word in maker for word in mechanism.makers)
        return about is not None and known and about.flags & flags == flags

    def first(table: tuple[Mechanism, ...], flags: int) -> Mechanism | None:
        return next((one for one in table if has(one, flags)), None)

    def sized(table: tuple[Mechanism, ...]) -> Sized | None:
        found = first(table, c.CKF_GENERATE_KEY_PAIR)
        if found is None:
            return None
        return Sized(found, listed[found.number].ulMinKeySize, listed[found.number].ulMaxKeySize)

    signing = {
        purpose: next((way for way in ways if has(way.mechanism, c.CKF_SIGN)), None) for purpose, ways in WAYS.items()
    }
    return Mechanisms(
        rsa_generation=sized(RSA_GENERATION),
        ec_generation=sized(EC_GENERATION),
        aes_generation=first(AES_GENERATION, c.CKF_GENERATE),
        wrapping=first(WRAPPING, c.CKF_WRAP | c.CKF_UNWRAP),
        signing={purpose: way for purpose, way in signing.items() if way is not None},
    )
