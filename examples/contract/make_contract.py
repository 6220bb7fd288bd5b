"""Draw the example contract, `contract.pdf`: three pages, embedded fonts, an image, two signature fields.

All parties are invented. The same text gives the same bytes: reportlab is told to leave out
the time, the emblem is drawn, and nothing is random. Run it with the development
dependencies: `python examples/contract/make_contract.py`.
"""

import math
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import reportlab
from PIL import Image as Picture
from PIL import ImageDraw
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import SigFieldSpec, append_signature_field
from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Image, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

TEXT: Final = Path(__file__).with_name("contract.txt")
FONTS: Final = Path(reportlab.__file__).parent / "fonts"
INK: Final = HexColor("#1d2733")
BLUE: Final = HexColor("#2c4a6e")
RULE: Final = HexColor("#b9c4d0")

BODY: Final = ParagraphStyle(
    "body", fontName="Vera", fontSize=9.3, leading=13.6, textColor=INK, spaceAfter=5, alignment=TA_JUSTIFY
)
PARTY: Final = ParagraphStyle("party", parent=BODY, alignment=0, spaceAfter=0)
CLAUSE: Final = ParagraphStyle(
    "clause",
    fontName="Vera-Bold",
    fontSize=10.4,
    leading=14,
    textColor=BLUE,
    spaceBefore=9,
    spaceAfter=3,
    keepWithNext=1,
)
TITLE: Final = ParagraphStyle("title", fontName="Vera-Bold", fontSize=19, leading=24, textColor=BLUE, spaceAfter=2)
SUBTITLE: Final = ParagraphStyle(
    "subtitle", fontName="Vera-Italic", fontSize=10, leading=14, textColor=INK, spaceAfter=10
)

PROVIDER: Final = "<b>Tarnwick Observatory Services Ltd</b><br/>4 Signal Hill, Tarnwick TW1 4QX<br/>(the “Provider”)"
CUSTOMER: Final = "<b>Halvard Lindqvist Kartografi AB</b><br/>Fyrgatan 12, 118 20 Norrskär<br/>(the “Customer”)"

# Above the lines at the end of page 3: left, bottom, right, top.
PROVIDER_BOX: Final = (71, 336, 271, 404)
CUSTOMER_BOX: Final = (321, 336, 521, 404)

PRICES: Final = (
    ("Part of the service", "Unit", "Price in EUR"),
    ("Station Signal Hill, nightly data set", "month", "1,480.00"),
    ("Station Low Moor, nightly data set", "month", "1,260.00"),
    ("Calibration records, both stations", "half-year", "390.00"),
    ("Copies of original recordings", "night", "24.00"),
    ("Support by telephone, working days 9 to 17", "month", "210.00"),
)


def emblem(size: int = 480) -> BytesIO:
    """Return a PNG of the Provider's emblem, `size` pixels square: a dome under star trails."""
    # Drawn four times as large and scaled down, for smooth edges.
    large = size * 4
    picture = Picture.new("RGB", (large, large), "#14263c")
    draw = ImageDraw.Draw(picture)
    pole = (large * 0.5, large * 0.40)
    for number in range(26):
        radius = large * (0.03 + 0.022 * number)
        start = (number * 137.5) % 360
        shade = int(120 + 110 * abs(math.sin(number * 1.7)))
        box = (pole[0] - radius, pole[1] - radius, pole[0] + radius, pole[1] + radius)
        for turn in (0, 120, 240):
            colour = (shade, shade, min(255, shade + 30))
            draw.arc(box, start + turn, start + turn + 38 + 2 * number, fill=colour, width=max(4, large // 300))
    ground = large * 0.80
    draw.rectangle((0, ground, large, large), fill="#0b1624")
    draw.pieslice((large * 0.26, ground - large * 0.24, large * 0.74, ground + large * 0.24), 180, 360, fill="#e7ecf2")
    draw.polygon(
        [
            (large * 0.47, ground),
            (large * 0.53, ground),
            (large * 0.60, ground - large * 0.22),
            (large * 0.55, ground - large * 0.235),
        ],
        fill="#14263c",
    )
    picture = picture.resize((size, size), Picture.Resampling.LANCZOS)
    png = BytesIO()
    picture.quantize(64, method=Picture.Quantize.MEDIANCUT).save(png, "PNG", optimize=True)
    png.seek(0)
    return png


def furniture(canvas: Canvas, document: Any) -> None:
    """Draw what every page has: a rule, the contract's number and the page's."""
    canvas.saveState()
    canvas.setStrokeColor(RULE)
    canvas.line(25 * mm, 19 * mm, A4[0] - 25 * mm, 19 * mm)
    canvas.setFont("Vera", 7.5)
    canvas.setFillColor(INK)
    canvas.drawString(25 * mm, 14.5 * mm, "Service agreement TOS-2026-0417")
    canvas.drawRightString(A4[0] - 25 * mm, 14.5 * mm, f"Page {document.page} of 3")
    canvas.restoreState()


def story() -> list[Any]:
    """Return the contract's contents in reading order."""
    heading = Table(
        [
            [
                [
                    Paragraph("Service Agreement", TITLE),
                    Paragraph("on the delivery of night-sky measurements", SUBTITLE),
                ],
                Image(emblem(), 26 * mm, 26 * mm),
            ]
        ],
        colWidths=[132 * mm, 28 * mm],
        style=TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), "Vera", 9),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("ALIGN", (1, 0), (1, 0), "RIGHT"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ]
        ),
    )
    parties = Table(
        [[Paragraph(PROVIDER, PARTY), Paragraph(CUSTOMER, PARTY)]],
        colWidths=[80 * mm, 80 * mm],
        style=TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), "Vera", 9),
                ("BOX", (0, 0), (-1, -1), 0.6, RULE),
                ("INNERGRID", (0, 0), (-1, -1), 0.6, RULE),
                ("TOPPADDING", (0, 0), (-1, -1), 7),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 9),
            ]
        ),
    )
    prices = Table(
        [list(row) for row in PRICES],
        colWidths=[95 * mm, 30 * mm, 35 * mm],
        style=TableStyle(
            [
                ("FONT", (0, 0), (-1, 0), "Vera-Bold", 8.6),
                ("FONT", (0, 1), (-1, -1), "Vera", 8.8),
                ("TEXTCOLOR", (0, 0), (-1, -1), INK),
                ("ALIGN", (2, 0), (2, -1), "RIGHT"),
                ("LINEBELOW", (0, 0), (-1, 0), 0.9, BLUE),
                ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
            ]
        ),
    )
    contents: list[Any] = [heading, Spacer(1, 4 * mm), parties, Spacer(1, 3 * mm)]
    for block in TEXT.read_text(encoding="utf-8").split("\n\n"):
        paragraph = " ".join(block.split())
        if paragraph == "(prices)":
            contents += [prices, Spacer(1, 2.5 * mm)]
        elif paragraph == "(new page)":
            contents.append(PageBreak())
        elif paragraph.startswith("# "):
            contents.append(Paragraph(paragraph.removeprefix("# "), CLAUSE))
        else:
            contents.append(Paragraph(paragraph, BODY))
    signing = Table(
        [
            ["For the Provider", "", "For the Customer"],
            ["", "", ""],
            ["Dr Imogen Ashgrove, Managing Director", "", "Halvard Lindqvist, Chief Executive"],
        ],
        colWidths=[72 * mm, 16 * mm, 72 * mm],
        rowHeights=[7 * mm, 27 * mm, 7 * mm],
        style=TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), "Vera", 8),
                ("FONT", (0, 0), (-1, 0), "Vera-Bold", 8.8),
                ("TEXTCOLOR", (0, 0), (-1, -1), INK),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("LINEBELOW", (0, 1), (0, 1), 0.6, INK),
                ("LINEBELOW", (2, 1), (2, 1), 0.6, INK),
            ]
        ),
    )
    contents += [
        Spacer(1, 8 * mm),
        Paragraph("Signed by the parties in one original each, or electronically in one document.", BODY),
        Spacer(1, 4 * mm),
        signing,
    ]
    return contents


class Reproducible(IncrementalPdfFileWriter):
    """Adds to a document without noting when, and under the identifier it has."""

    @classmethod
    def _handle_id(cls, prev: Any) -> Any:
        return prev.trailer["/ID"]

    def _update_meta(self) -> None:
        """Leave the metadata as they are."""


def contract() -> bytes:
    """Return the contract as a PDF with an empty signature field for each party."""
    rl_config.invariant = 1
    # Otherwise every page names Helvetica, which is not embedded.
    rl_config.canvas_basefontname = "Vera"
    for name, file in (("Vera", "Vera"), ("Vera-Bold", "VeraBd"), ("Vera-Italic", "VeraIt")):
        pdfmetrics.registerFont(TTFont(name, FONTS / f"{file}.ttf"))
    pdfmetrics.registerFontFamily("Vera", normal="Vera", bold="Vera-Bold", italic="Vera-Italic", boldItalic="Vera-Bold")
    drawn = BytesIO()
    document = SimpleDocTemplate(
        drawn,
        pagesize=A4,
        # A frame pads its contents by six points.
        leftMargin=25 * mm - 6,
        rightMargin=25 * mm - 6,
        topMargin=20 * mm,
        bottomMargin=25 * mm,
        title="Service Agreement TOS-2026-0417",
        author="Tarnwick Observatory Services Ltd",
        subject="Delivery of night-sky measurements",
    )
    document.build(
        story(),
        onFirstPage=furniture,
        onLaterPages=furniture,
    )
    writer = Reproducible(drawn)
    append_signature_field(writer, SigFieldSpec("Provider", on_page=-1, box=PROVIDER_BOX))
    append_signature_field(writer, SigFieldSpec("Customer", on_page=-1, box=CUSTOMER_BOX))
    finished = BytesIO()
    writer.write(finished)  # type: ignore[no-untyped-call]
    return finished.getvalue()


if __name__ == "__main__":
    target = Path(__file__).with_name("contract.pdf")
    target.write_bytes(contract())
    print(f"{target.name}: {target.stat().st_size} bytes")
