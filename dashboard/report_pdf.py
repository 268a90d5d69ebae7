"""A report as a PDF of A4 pages: text as text in embedded fonts, figures as vectors, tables over several pages.

The same contents give the same bytes: ReportLab's `invariant` leaves out the date and every random name.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, KeepTogether, PageTemplate, Paragraph, Spacer

from .pdf_figure import PageFigure
from .pdf_fonts import font_name, font_runs, marked_up
from .pdf_tables import COLORS, ruled, style
from .print_figures import drawn
from .print_style import INK, MUTED, SIZES, print_settings, printable
from .report_contents import CLOSING, SIGNS, VERDICTS, Contents

MARGIN: Final = 16 * mm
_WIDTH: Final = A4[0] - 2 * MARGIN  # 178 mm: a figure of double width
_HEIGHT: Final = A4[1] - 2 * MARGIN - 10 * mm  # over the foot of the page
_HIGHEST_FIGURE: Final = _HEIGHT - 24 * mm  # leaves room for its caption and a heading


def document(contents: Contents) -> bytes:
    """The report as the bytes of a PDF."""
    output = io.BytesIO()
    title = printable(contents.title)
    # Matplotlib's settings and ReportLab's fonts are both the whole process's: one document at a time.
    with print_settings(SIZES["double"], 72):
        template = _Template(
            output,
            pagesize=A4,
            title=title,
            author="",
            subject="Training runs side by side",
            creator="trackside",
            producer="trackside",
            lang="en",
            # ReportLab begins every page in a font, used or not; its own choice, Helvetica, is not embedded.
            initialFontName=font_name("regular"),
            invariant=1,
            pageCompression=1,
        )
        template.foot = title
        template.addPageTemplates(
            PageTemplate(
                frames=[
                    Frame(
                        MARGIN, A4[1] - MARGIN - _HEIGHT, _WIDTH, _HEIGHT,
                        leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
                    )
                ],
                onPage=_foot,
            )
        )  # fmt: skip
        template.build(_story(contents))
    return output.getvalue()


class _Template(BaseDocTemplate):  # type: ignore[misc]  # ReportLab comes without types
    """Pages whose headings are in the reader's table of contents."""

    foot = ""

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802
        """Put a heading into the outline."""
        if isinstance(flowable, _Heading):
            place = f"section-{flowable.place}"
            self.canv.bookmarkPage(place)
            self.canv.addOutlineEntry(flowable.text, place, level=0)


class _Heading(Paragraph):  # type: ignore[misc]
    """A heading of a section; `place` counts them."""

    def __init__(self, text: str, place: int) -> None:
        super().__init__(marked_up(text, "bold"), style(12, bold=True, above=14, below=5, keep=True))
        self.text, self.place = printable(text), place


def _foot(canvas: Any, template: _Template) -> None:
    canvas.saveState()
    canvas.setFillColor(MUTED)
    text = canvas.beginText(MARGIN, MARGIN)
    foot = template.foot if len(template.foot) <= 90 else f"{template.foot[:89]}…"
    for font, part in font_runs(foot):
        text.setFont(font, 7)
        text.textOut(part)
    canvas.drawText(text)
    canvas.setFont(font_name("regular"), 7)
    canvas.drawRightString(A4[0] - MARGIN, MARGIN, f"{canvas.getPageNumber()}")
    canvas.restoreState()


def _story(contents: Contents) -> list[Flowable]:
    several = len(contents.runs) > 1
    story: list[Flowable] = [Paragraph(marked_up(contents.title, "bold"), style(18, bold=True, below=8))]
    story += [Paragraph(marked_up(part), style(9.5, below=6)) for part in contents.paragraphs]

    def add(title: str, content: Sequence[Flowable]) -> None:
        if content:
            story.extend([_Heading(title, len(story)), *content])

    add("Runs" if several else "Run", _runs(contents))
    add("Parity", _parity(contents))
    add("Verdict" if several else "Summary", ruled(contents.verdict, len(contents.runs), _WIDTH))
    story += _figures(contents, _Heading("Figures", len(story)))
    add("Where they part", [_item(marked_up(sentence)) for sentence in contents.parting])
    add("Configuration", _configuration(contents))
    return [*story, Paragraph(CLOSING, style(7.5, color=MUTED, above=12))]


def _item(markup: str, color: str = INK) -> Paragraph:
    return Paragraph(markup, style(8.5, color=color, below=3, indent=10), bulletText="•")


def _runs(contents: Contents) -> list[Flowable]:
    items = []
    for line in contents.lines:
        words = [marked_up(line.label, "bold"), marked_up(line.entry), marked_up(line.id, "mono")]
        items.append(_item(" ".join([*filter(None, words), marked_up(line.sentence)])))
    return items


def _parity(contents: Contents) -> list[Flowable]:
    parity, checks = contents.parity, contents.checks
    if parity is None or checks is None:
        return []
    verdict = marked_up(f"{SIGNS[parity.verdict]} {VERDICTS[parity.verdict]}", "bold")
    reasons = [
        Paragraph(
            f"{marked_up(SIGNS[check.verdict])} {marked_up(check.name, 'bold')} {marked_up(check.reason)}",
            style(8.5, color=COLORS[check.verdict], below=2),
        )
        for check in parity.checks
        if check.verdict != "green"
    ]
    return [
        Paragraph(verdict, style(10, color=COLORS[parity.verdict], below=5)),
        *reasons,
        Spacer(0, 6),
        *ruled(checks, len(contents.runs), _WIDTH, before=2),
    ]


def _figures(contents: Contents, heading: _Heading) -> list[Flowable]:
    """Each figure on the page of its caption, and the first on that of the heading."""
    shown: list[Flowable] = []
    for figure in contents.figures:
        picture = drawn(figure.view, width="double", runs=contents.runs, log_y=contents.log_y)
        caption = Paragraph(marked_up(figure.caption), style(8, color=MUTED, above=3, below=10))
        above = [] if shown else [heading]
        shown.append(KeepTogether([*above, PageFigure(picture, _HIGHEST_FIGURE), caption]))
    return shown


def _configuration(contents: Contents) -> list[Flowable]:
    table = contents.configuration
    if table.rows:
        tables = ruled(table, len(contents.runs), _WIDTH)
        return [Paragraph(marked_up(table.caption), style(9.5, below=4)), *tables]
    return [Paragraph("The configurations are identical.", style(9.5))] if len(contents.runs) > 1 else []
