"""The encodings that a table's file can have, by the names that Azure ML's readers use."""

from __future__ import annotations

UTF16 = "utf-16"

CODECS = {
    "utf8": "utf-8",
    "utf-8": "utf-8",
    "ascii": "utf-8",
    "iso88591": "cp1252",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "windows1252": "cp1252",
    "windows-1252": "cp1252",
    "utf16": UTF16,
    "utf-16": UTF16,
}
"""Azure ML's names -> how their bytes are read: its reader takes ASCII for UTF-8 and Latin-1 for Windows-1252."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class DecodingError(ValueError):
    """Bytes of a file are not what its encoding allows."""


def decoded(data: bytes, encoding: str) -> str:
    """The text of some bytes; DecodingError names the first byte that is wrong."""
    codec = CODECS[encoding]
    if codec == "cp1252":
        return data.decode("cp1252", errors="replace") if _has_no_gap(data) else _with_gaps(data)
    try:
        if codec == UTF16:
            return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodingError(
            f"byte {error.object[error.start]:#04x} at {error.start} is not {encoding}"
        ) from None


_GAPS = b"\x81\x8d\x8f\x90\x9d"
"""Bytes that Windows-1252 leaves undefined; Azure ML's reader keeps them as control characters."""


def _has_no_gap(data: bytes) -> bool:
    return len(data.translate(None, _GAPS)) == len(data)


def _with_gaps(data: bytes) -> str:
    return "".join(chr(byte) if byte in _GAPS else bytes((byte,)).decode("cp1252") for byte in data)
