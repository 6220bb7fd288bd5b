"""Which public keys may be certified: sizes, exponents, curves, and known ways of being weak."""

from math import gcd, isqrt, prod

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from intaglio.errors import WeakKey

_LEAST_BITS = 2048
_MOST_BITS = 8192
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_FERMAT_STEPS = 100
_SMALL_PRIMES = prod((3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97))

# Primes for the fingerprint of CVE-2017-15361 (ROCA): modulo each of them, an affected modulus is a power
# of 65537.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


def _powers(prime: int) -> frozenset[int]:
    found = {1}
    power = 65537 % prime
    while power not in found:
        found.add(power)
        power = power * 65537 % prime
    return frozenset(found)


_ROCA = tuple((prime, _powers(prime)) for prime in _ROCA_PRIMES)


def check(key: object, field: str) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """Return `key` if it may be certified; raises `WeakKey` naming `field` and the reason."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise _weak(field, f"the curve {key.curve.name} is not P-256 or P-384")
        return key
    if not isinstance(key, rsa.RSAPublicKey):
        raise _weak(field, "the key must be RSA of 2048 bits or more, or on P-256 or P-384")
    numbers = key.public_numbers()
    if not _LEAST_BITS <= key.key_size <= _MOST_BITS:
        raise _weak(field, f"an RSA key must have {_LEAST_BITS} to {_MOST_BITS} bits, this one has {key.key_size}")
    if numbers.e < 65537 or numbers.e % 2 == 0 or numbers.e.bit_length() > 256:
        # FIPS 186-5 §A.1.1: odd, 2^16 < e < 2^256
        raise _weak(field, f"the public exponent {numbers.e} is too small, even or too large")
    if numbers.n % 2 == 0 or gcd(numbers.n, _SMALL_PRIMES) != 1:
        raise _weak(field, "the modulus has a small factor")
    if all(numbers.n % prime in powers for prime, powers in _ROCA):
        raise _weak(field, "the modulus has the structure of a ROCA key (CVE-2017-15361)")
    if _close_primes(numbers.n):
        raise _weak(field, "the primes of the modulus are too close to each other")
    return key


def _close_primes(modulus: int) -> bool:
    """Return whether Fermat's method factors the modulus in a few steps."""
    middle = isqrt(modulus - 1) + 1
    for _ in range(_FERMAT_STEPS):
        rest = middle * middle - modulus
        if isqrt(rest) ** 2 == rest:
            return True
        middle += 1
    return False


def _weak(field: str, reason: str) -> WeakKey:
    return WeakKey("The public key cannot be certified.", {field: reason})
