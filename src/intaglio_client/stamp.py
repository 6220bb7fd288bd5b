"""The visible stamp of a signature: where it stands and what it says."""

import msgspec
from pyhanko.pdf_utils.text import TextBoxStyle
from pyhanko.stamp import BaseStampStyle, NoOpStampStyle, TextStampStyle


class Stamp(msgspec.Struct, frozen=True):
    """A place for a stamp: page (0 is the first, -1 the last) and box.

    `box` is left, bottom, right, top in PDF units (1/72 inch) from the lower left corner.
    """

    page: int = -1
    box: tuple[int, int, int, int] = (56, 56, 256, 116)


NO_STAMP = NoOpStampStyle(border_width=0)
"""Leaves the appearance of a signature field as it is."""


def stamp_style(reason: str | None, location: str | None) -> BaseStampStyle:
    """Return the style; the signer's name is its parameter `name`."""
    lines = ["Digitally signed by", "%(name)s", "%(ts)s"]
    # The template is filled in with %, so what the caller wrote must not be read as part of it.
    lines += [_printable(line).replace("%", "%%") for line in (reason, location) if line]
    return TextStampStyle(
        border_width=1,
        border_color=(0.25, 0.33, 0.45),
        background=None,
        text_box_style=TextBoxStyle(font_size=10, leading=12),
        stamp_text="\n".join(lines),
        timestamp_format="%Y-%m-%d %H:%M:%S %Z",
    )


def stamped_name(name: str) -> str:
    """Return the name if the stamp's font has its letters, else where to find it.

    The stamp is set in Courier, which every reader has and which knows Latin-1 only; a name
    with letters left out or replaced would be another name.
    """
    return name if _printable(name) == name else "(name in the certificate)"


def _printable(text: str) -> str:
    # PDFDocEncoding and WinAnsiEncoding agree on these two ranges (ISO 32000-2 Annex D.2).
    return "".join(c if " " <= c <= "~" or "\xa1" <= c <= "\xff" else "?" for c in text)
