"""The structures and functions of PKCS#11 as C has them (OASIS v2.40; lists of v3 begin alike).

Structures have the natural alignment of every platform but Windows.
"""

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, c_char, c_char_p, c_ubyte, c_ulong, c_void_p
from typing import ClassVar

CK_UNAVAILABLE_INFORMATION = c_ulong(-1).value


class CK_VERSION(ctypes.Structure):  # noqa: N801 - the standard's name, as all below
    """Major and minor."""

    _fields_: ClassVar = [("major", c_ubyte), ("minor", c_ubyte)]

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class CK_INFO(ctypes.Structure):  # noqa: N801
    """What a module says of itself."""

    _fields_: ClassVar = [
        ("cryptokiVersion", CK_VERSION),
        ("manufacturerID", c_char * 32),
        ("flags", c_ulong),
        ("libraryDescription", c_char * 32),
        ("libraryVersion", CK_VERSION),
    ]


class CK_TOKEN_INFO(ctypes.Structure):  # noqa: N801
    """What a token says of itself; texts are padded with blanks."""

    _fields_: ClassVar = [
        ("label", c_char * 32),
        ("manufacturerID", c_char * 32),
        ("model", c_char * 16),
        ("serialNumber", c_char * 16),
        ("flags", c_ulong),
        ("ulMaxSessionCount", c_ulong),
        ("ulSessionCount", c_ulong),
        ("ulMaxRwSessionCount", c_ulong),
        ("ulRwSessionCount", c_ulong),
        ("ulMaxPinLen", c_ulong),
        ("ulMinPinLen", c_ulong),
        ("ulTotalPublicMemory", c_ulong),
        ("ulFreePublicMemory", c_ulong),
        ("ulTotalPrivateMemory", c_ulong),
        ("ulFreePrivateMemory", c_ulong),
        ("hardwareVersion", CK_VERSION),
        ("firmwareVersion", CK_VERSION),
        ("utcTime", c_char * 16),
    ]


class CK_SESSION_INFO(ctypes.Structure):  # noqa: N801
    """The state of a session."""

    _fields_: ClassVar = [("slotID", c_ulong), ("state", c_ulong), ("flags", c_ulong), ("ulDeviceError", c_ulong)]


class CK_MECHANISM_INFO(ctypes.Structure):  # noqa: N801
    """Key sizes in bits (for some mechanisms in bytes), and what the mechanism may do."""

    _fields_: ClassVar = [("ulMinKeySize", c_ulong), ("ulMaxKeySize", c_ulong), ("flags", c_ulong)]


class CK_MECHANISM(ctypes.Structure):  # noqa: N801
    """A mechanism with its parameter."""

    _fields_: ClassVar = [("mechanism", c_ulong), ("pParameter", c_void_p), ("ulParameterLen", c_ulong)]


class CK_RSA_PKCS_PSS_PARAMS(ctypes.Structure):  # noqa: N801
    """Hash, mask generation and length of the salt in bytes."""

    _fields_: ClassVar = [("hashAlg", c_ulong), ("mgf", c_ulong), ("sLen", c_ulong)]


class CK_ATTRIBUTE(ctypes.Structure):  # noqa: N801
    """One attribute of a template."""

    _fields_: ClassVar = [("type", c_ulong), ("pValue", c_void_p), ("ulValueLen", c_ulong)]


class CK_C_INITIALIZE_ARGS(ctypes.Structure):  # noqa: N801
    """How a module is to lock; all pointers but the flags stay NULL."""

    _fields_: ClassVar = [
        ("CreateMutex", c_void_p),
        ("DestroyMutex", c_void_p),
        ("LockMutex", c_void_p),
        ("UnlockMutex", c_void_p),
        ("flags", c_ulong),
        ("pReserved", c_void_p),
    ]


_ULONGS = POINTER(c_ulong)
_MECHANISM = c_void_p
_TEMPLATE = c_void_p

# CK_FUNCTION_LIST in its order (v2.40; v3 lists begin alike); those that are not called here take nothing.
FUNCTIONS: Mapping[str, tuple[type, ...] | None] = {
    "C_Initialize": (c_void_p,),
    "C_Finalize": (c_void_p,),
    "C_GetInfo": (POINTER(CK_INFO),),
    "C_GetFunctionList": None,
    "C_GetSlotList": (c_ubyte, c_void_p, _ULONGS),
    "C_GetSlotInfo": None,
    "C_GetTokenInfo": (c_ulong, POINTER(CK_TOKEN_INFO)),
    "C_GetMechanismList": (c_ulong, c_void_p, _ULONGS),
    "C_GetMechanismInfo": (c_ulong, c_ulong, POINTER(CK_MECHANISM_INFO)),
    "C_InitToken": None,
    "C_InitPIN": None,
    "C_SetPIN": None,
    "C_OpenSession": (c_ulong, c_ulong, c_void_p, c_void_p, _ULONGS),
    "C_CloseSession": (c_ulong,),
    "C_CloseAllSessions": None,
    "C_GetSessionInfo": (c_ulong, POINTER(CK_SESSION_INFO)),
    "C_GetOperationState": None,
    "C_SetOperationState": None,
    "C_Login": (c_ulong, c_ulong, c_char_p, c_ulong),
    "C_Logout": None,
    "C_CreateObject": None,
    "C_CopyObject": None,
    "C_DestroyObject": (c_ulong, c_ulong),
    "C_GetObjectSize": None,
    "C_GetAttributeValue": (c_ulong, c_ulong, _TEMPLATE, c_ulong),
    "C_SetAttributeValue": None,
    "C_FindObjectsInit": (c_ulong, _TEMPLATE, c_ulong),
    "C_FindObjects": (c_ulong, c_void_p, c_ulong, _ULONGS),
    "C_FindObjectsFinal": (c_ulong,),
    "C_EncryptInit": None,
    "C_Encrypt": None,
    "C_EncryptUpdate": None,
    "C_EncryptFinal": None,
    "C_DecryptInit": None,
    "C_Decrypt": None,
    "C_DecryptUpdate": None,
    "C_DecryptFinal": None,
    "C_DigestInit": None,
    "C_Digest": None,
    "C_DigestUpdate": None,
    "C_DigestKey": None,
    "C_DigestFinal": None,
    # Addresses as numbers: these two are the hot path.
    "C_SignInit": (c_ulong, _MECHANISM, c_ulong),
    "C_Sign": (c_ulong, c_char_p, c_ulong, c_void_p, c_void_p),
    "C_SignUpdate": None,
    "C_SignFinal": None,
    "C_SignRecoverInit": None,
    "C_SignRecover": None,
    "C_VerifyInit": None,
    "C_Verify": None,
    "C_VerifyUpdate": None,
    "C_VerifyFinal": None,
    "C_VerifyRecoverInit": None,
    "C_VerifyRecover": None,
    "C_DigestEncryptUpdate": None,
    "C_DecryptDigestUpdate": None,
    "C_SignEncryptUpdate": None,
    "C_DecryptVerifyUpdate": None,
    "C_GenerateKey": (c_ulong, _MECHANISM, _TEMPLATE, c_ulong, _ULONGS),
    "C_GenerateKeyPair": (c_ulong, _MECHANISM, _TEMPLATE, c_ulong, _TEMPLATE, c_ulong, _ULONGS, _ULONGS),
    "C_WrapKey": (c_ulong, _MECHANISM, c_ulong, c_ulong, c_void_p, _ULONGS),
    "C_UnwrapKey": (c_ulong, _MECHANISM, c_ulong, c_char_p, c_ulong, _TEMPLATE, c_ulong, _ULONGS),
    "C_DeriveKey": None,
    "C_SeedRandom": None,
    "C_GenerateRandom": (c_ulong, c_void_p, c_ulong),
}


class CK_FUNCTION_LIST(ctypes.Structure):  # noqa: N801
    """Every function of a module; what `C_GetFunctionList` gives."""

    _fields_: ClassVar = [("version", CK_VERSION), *((name, c_void_p) for name in FUNCTIONS)]


class Template:
    """Attributes of an object to make or to find, laid out as C wants them; never written to, so it may be shared."""

    def __init__(self, attributes: "Mapping[int, bytes | bool | int | Template]") -> None:
        self.count = len(attributes)
        self._array = (CK_ATTRIBUTE * self.count)()
        # What the array points to must live as long as it does.
        self._values: list[object] = []
        for place, (kind, value) in enumerate(attributes.items()):
            self._array[place] = CK_ATTRIBUTE(kind, *self._laid_out(value))
        self.address = ctypes.addressof(self._array)

    def _laid_out(self, value: "bytes | bool | int | Template") -> tuple[int, int]:
        if isinstance(value, Template):
            self._values.append(value)
            return value.address, value.count * ctypes.sizeof(CK_ATTRIBUTE)
        kept: ctypes.Array[c_char] | c_ubyte | c_ulong
        if isinstance(value, bytes):
            kept = (c_char * len(value)).from_buffer_copy(value)
        else:
            kept = c_ubyte(value) if isinstance(value, bool) else c_ulong(value)
        self._values.append(kept)
        return ctypes.addressof(kept), ctypes.sizeof(kept)


def mechanism(number: int, parameter: ctypes.Structure | None = None) -> CK_MECHANISM:
    """Return a mechanism that keeps its parameter alive."""
    if parameter is None:
        return CK_MECHANISM(number, None, 0)
    made = CK_MECHANISM(number, ctypes.addressof(parameter), ctypes.sizeof(parameter))
    # Python's reference, no field of C's.
    made.kept = parameter
    return made
