"""Which text may stand in a certificate: nothing invisible, nothing ambiguous, nothing longer than X.520 allows."""

import ipaddress
import re
import unicodedata
from urllib.parse import urlsplit

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
_OID = re.compile(r"\A[0-2](?:\.(?:0|[1-9]\d{0,38})){1,32}\Z")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS = re.compile(rf"\A(?:{_LABEL}\.)*{_LABEL}\Z")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL = re.compile(rf"\A{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}\Z")
_PRINTABLE = re.compile(r"\A[A-Za-z0-9 '()+,./:=?-]*\Z")


def fault_of_text(value: str, most: int) -> str | None:
    """Return what keeps `value` out of a name, or None; `most` counts characters (X.520 upper bounds)."""
    if not value:
        return "must not be empty"
    if len(value) > most:
        return f"must have at most {most} characters"
    if any(unicodedata.category(character) in _FORBIDDEN for character in value):
        return "contains a control, invisible, private or unassigned character"
    if not unicodedata.is_normalized("NFC", value):
        return "must be in Unicode normal form C"
    words = value.split(" ")
    if "" in words or any(unicodedata.category(character) == "Zs" and character != " " for character in value):
        return "must not begin or end with a blank, nor contain two together or an unusual one"
    return None


def fault_of_country(value: str) -> str | None:
    """Return what is wrong with an ISO 3166-1 alpha-2 code."""
    return None if value in COUNTRIES else "must be an ISO 3166-1 alpha-2 code in upper case"


def fault_of_email(value: str) -> str | None:
    """Return what is wrong with an e-mail address: RFC 5321 §4.1.2, dot-string form, ASCII."""
    local, _, domain = value.rpartition("@")
    right = len(local) <= 64 and len(domain) <= 253 and _EMAIL.match(value) is not None
    return None if right else "must be an e-mail address in ASCII"


def fault_of_dns_name(value: str) -> str | None:
    """Return what is wrong with a host name: RFC 1034 §3.5, A-labels."""
    return None if len(value) <= 253 and _DNS.match(value) else "must be a DNS name, international ones as A-labels"


def fault_of_uri(value: str) -> str | None:
    """Return what is wrong with an absolute URI in ASCII (RFC 3986 §4.3)."""
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = None
    right = parts is not None and parts.scheme and (parts.netloc or parts.path) and value.isascii()
    return None if right and " " not in value else "must be an absolute URI in ASCII"


def fault_of_ip_address(value: str) -> str | None:
    """Return what is wrong with an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "must be an IPv4 or IPv6 address"
    return None if "%" not in value else "must not have a zone"


def fault_of_oid(value: str) -> str | None:
    """Return what is wrong with a dotted object identifier (X.660: the second arc is below 40 under 0 and 1)."""
    if _OID.match(value) is None:
        return "must be a dotted object identifier"
    first, second = value.split(".")[:2]
    return None if first == "2" or int(second) < 40 else "must be a dotted object identifier"


def is_printable_string(value: str) -> bool:
    """Return whether `value` fits a PrintableString (X.680 §41.4)."""
    return _PRINTABLE.match(value) is not None
