"""Which text may stand in a certificate: nothing invisible, nothing ambiguous, nothing longer than X.520 allows."""

import ipaddress
import re
import unicodedata
from urllib.parse import urlsplit

import idna
import re2
from cryptography.x509 import ObjectIdentifier
from email_validator import EmailNotValidError, validate_email

# ISO 3166-1 alpha-2, officially assigned
_CODES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_CODES.split())

# Control, format (bidi, zero width), surrogate, private use, unassigned, line and paragraph separators
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Of other categories and yet without any ink: Unicode's Default_Ignorable_Code_Point, a blank Braille cell, and the
# marks that stand for damaged text.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufffc\ufffd\U000e0000-\U000e0fff]"
)
_OID = re.compile(r"\A[0-2](?:\.(?:0|[1-9][0-9]{0,38})){1,32}\Z")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last label is never a number: what looks like an IPv4 address is no host name (RFC 3696 §2).
_DNS = re.compile(rf"\A(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z")
_MOST_URI = 1024
_URI = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+\Z")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# What needs no looking into: dot-string form in ASCII (RFC 5321 §4.1.2).
_PLAIN_EMAIL = re.compile(rf"\A(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}\Z")
_MOST_EMAIL = 254
_NO_EMAIL = "must be an e-mail address"
_UNSEEN = "contains a control, invisible, private or unassigned character"
_BLANKS = "must not begin or end with a blank, nor contain two together or an unusual one"
_MIXED = "has a word of mixed scripts, or of one that names are not written in"
_PRINTABLE = re.compile(r"\A[A-Za-z0-9 '()+,./:=?-]*\Z")


# Scripts in which names are written; and those that are written together (UTS #39 §5.2, highly restrictive).
_ALONE = (
    "Latin", "Cyrillic", "Greek", "Armenian", "Hebrew", "Arabic", "Syriac", "Thaana", "Nko", "Devanagari", "Bengali",
    "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Tibetan",
    "Myanmar", "Georgian", "Ethiopic", "Khmer", "Mongolian", "Tifinagh", "Canadian_Aboriginal", "Cherokee", "Yi",
    "Javanese",
)  # fmt: skip
_TOGETHER = (
    ("Latin", "Han", "Hiragana", "Katakana"),
    ("Latin", "Han", "Bopomofo"),
    ("Latin", "Han", "Hangul"),
)


class _Scripts(dict[str, int | None]):
    """With whom a character can stand in a word, a bit for each row of `_ALONE` and `_TOGETHER`; None: in no word.

    Asked once for each character: the library lets go of the interpreter at each call, and getting it back from busy
    threads costs many times the answer. It does not grow with what is sent.
    """

    _MOST = 8192

    def __init__(self) -> None:
        super().__init__()
        self._set = re2.Set.FullMatchSet()
        self._set.Add(r"[\p{L}\p{M}\p{Nl}]")
        for scripts in (*((script,) for script in _ALONE), *_TOGETHER):
            # What belongs to no script goes with each.
            self._set.Add("[" + "".join(rf"\p{{{one}}}" for one in (*scripts, "Common", "Inherited")) + "]")
        self._set.Compile()

    def __missing__(self, character: str) -> int | None:
        # No row at all is None.
        rows = self._set.Match(character) or ()
        if len(self) >= self._MOST:
            self.clear()
        # Row 0 is what words are made of.
        found = self[character] = sum(1 << row for row in rows if row) if 0 in rows else None
        return found


_SCRIPTS = _Scripts()
# Letters for mathematics look like others' and belong to no script.
_AFTER_LATIN = "\u0250"
_STYLED = re.compile(
    "[\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2128\u212c\u212d\u212f-\u2134\u2145-\u2149\U0001d400-\U0001d7ff]"
)


def fault_of_mixture(value: str) -> str | None:
    """Return what is wrong with a text one of whose words mixes scripts, as those do that imitate another (UTS #39)."""
    # All letters before this one are Latin: most texts end here, and many words of the others.
    if max(value, default="") < _AFTER_LATIN:
        return None
    if _STYLED.search(value):
        return _MIXED
    shared = -1
    for character in value:
        scripts = _SCRIPTS[character]
        shared = -1 if scripts is None else shared & scripts
        if not shared:
            return _MIXED
    return None


def fault_of_text(value: str, most: int) -> str | None:
    """Return what keeps `value` out of a name, or None; `most` counts characters (X.520 upper bounds)."""
    if not value:
        return "must not be empty"
    if len(value) > most:
        return f"must have at most {most} characters"
    if not value.isprintable():
        # A blank that is not the usual one, or something of the categories C, Zl or Zp.
        forbidden = any(unicodedata.category(character) in _FORBIDDEN for character in value)
        return _UNSEEN if forbidden else _BLANKS
    if not value.isascii():
        if _INVISIBLE.search(value):
            return _UNSEEN
        if not unicodedata.is_normalized("NFC", value):
            return "must be in Unicode normal form C"
    return None if _single_blanks(value) else _BLANKS


def _single_blanks(value: str) -> bool:
    return "  " not in value and value[0] != " " and value[-1] != " "


def fault_of_country(value: str) -> str | None:
    """Return what is wrong with an ISO 3166-1 alpha-2 code."""
    return None if value in COUNTRIES else "must be an ISO 3166-1 alpha-2 code in upper case"


def fault_of_email(value: str) -> str | None:
    """Return what is wrong with an e-mail address in ASCII (RFC 5321 §4.1.2), neither quoted nor with an IP address."""
    return _fault_of_mailbox(value) if value.isascii() else "must be an e-mail address in ASCII"


def fault_of_mailbox(value: str) -> str | None:
    """Return what is wrong with an e-mail address that may have any letters before the @ (RFC 6531, RFC 9598)."""
    domain = value.rpartition("@")[2]
    if not domain.isascii():
        return "must have its domain as A-labels"
    return (value and fault_of_text(value, _MOST_EMAIL)) or _fault_of_mailbox(value)


def _fault_of_mailbox(value: str) -> str | None:
    local, _, domain = value.rpartition("@")
    if len(value) <= _MOST_EMAIL and _PLAIN_EMAIL.match(value) and fault_of_dns_name(domain) is None:
        return None
    try:
        # RFC 5321 §4.5.3.1.3 (erratum 1690): 254 octets in all, which is also within PKCS #9's 255; 64 before the @.
        found = validate_email(value, check_deliverability=False, globally_deliverable=False, strict=True)
    except EmailNotValidError:
        return _NO_EMAIL
    # Nothing is altered: what the library would write otherwise, domains in lower case apart, is not taken.
    same = found.local_part == local and "." in domain and fault_of_dns_name(domain) is None
    return None if same and len(value.encode()) <= _MOST_EMAIL else _NO_EMAIL


def fault_of_dns_name(value: str) -> str | None:
    """Return what is wrong with a host name: RFC 1034 §3.5, A-labels."""
    right = len(value) <= 253 and _DNS.match(value) is not None and all(map(_is_label, value.split(".")))
    return None if right else "must be a DNS name, international ones as A-labels"


def _is_label(label: str) -> bool:
    if label[2:4] != "--":
        return True
    # Hyphens in third and fourth place are reserved, and mean an A-label after "xn" only (RFC 5890 §2.3.1): one that
    # stands for a U-label, and is what that is written as.
    try:
        return idna.alabel(idna.ulabel(label)).decode() == label.lower()
    except (UnicodeError, IndexError, OverflowError):
        return False


def fault_of_uri(value: str) -> str | None:
    """Return what is wrong with an absolute URI in ASCII (RFC 3986 §4.3)."""
    if len(value) > _MOST_URI:
        return f"must have at most {_MOST_URI} characters"
    # The grammar first: urlsplit drops line breaks and tabs without a word.
    right = _URI.match(value) is not None
    try:
        parts = urlsplit(value)
        host = parts.hostname
        named = not value.partition(":")[2].startswith("//") if host is None else _is_host(host)
    except ValueError:
        right = named = False
    return None if right and named else "must be an absolute URI in ASCII"


def _is_host(host: str) -> bool:
    return fault_of_dns_name(host) is None or fault_of_ip_address(host) is None


def fault_of_ip_address(value: str) -> str | None:
    """Return what is wrong with an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "must be an IPv4 or IPv6 address"
    return None if "%" not in value else "must not have a zone"


def fault_of_oid(value: str) -> str | None:
    """Return what is wrong with a dotted object identifier, or what of it pyca cannot encode."""
    if _OID.match(value) is None:
        return "must be a dotted object identifier"
    try:
        ObjectIdentifier(value)
    except ValueError:
        return "must be a dotted object identifier"
    return None


def visible(value: str) -> str:
    """Return `value` with everything escaped that a terminal would not show as it is: controls, bidi, line breaks."""
    return "".join(one if one.isprintable() and not _INVISIBLE.match(one) else ascii(one)[1:-1] for one in value)


def is_printable_string(value: str) -> bool:
    """Return whether `value` fits a PrintableString (X.680 §41.4)."""
    return _PRINTABLE.match(value) is not None
