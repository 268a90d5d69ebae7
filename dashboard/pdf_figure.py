"""A Matplotlib figure drawn onto a page of ReportLab's: vectors as vectors, and text in the fonts of the page.

Matplotlib writes whole files only, and ReportLab takes in no page of another file. Matplotlib's interface for a way of
drawing (`RendererBase`) is public; what printed figures need of it is here: paths, dashes, hatches, clips, text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase, GraphicsContextBase, RendererBase
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Transform
from reportlab.platypus import Flowable

from .pdf_fonts import font_runs

_CAPS = {"butt": 0, "round": 1, "projecting": 2}
_JOINS = {"miter": 0, "round": 1, "bevel": 2}
_NON_ZERO = 1  # ReportLab's number for the rule of filling that Matplotlib means
_TILE = 72.0  # points: hatches are patterns of one inch, in all of Matplotlib's formats


class PageFigure(Flowable):  # type: ignore[misc]  # ReportLab comes without types
    """A figure between paragraphs; made smaller where it is wider or higher than the page."""

    def __init__(self, figure: Figure, highest: float) -> None:
        super().__init__()
        figure.set_dpi(72)
        self._figure = figure
        self._size = tuple(float(72 * side) for side in figure.get_size_inches())
        self._highest = highest
        self._scale = 1.0

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """Width and height in points that it takes."""
        width, height = self._size
        self._scale = min(1.0, available_width / width, self._highest / height)
        return width * self._scale, height * self._scale

    def draw(self) -> None:
        """Draw it with its lower left corner where the page's origin is now."""
        self.canv.saveState()
        self.canv.scale(self._scale, self._scale)
        renderer = PageRenderer(self.canv, *self._size)
        _Surface(self._figure, renderer)
        self._figure.draw(renderer)
        self.canv.restoreState()


class _Surface(FigureCanvasBase):
    """Tells the figure's layout how wide texts are on the page."""

    def __init__(self, figure: Figure, renderer: PageRenderer) -> None:
        super().__init__(figure)
        self._renderer = renderer

    def get_renderer(self) -> PageRenderer:
        return self._renderer


class PageRenderer(RendererBase):
    """Draws on a canvas of ReportLab's, in points from the lower left."""

    def __init__(self, canvas: Any, width: float, height: float) -> None:
        super().__init__()
        self._canvas = canvas
        self._width, self._height = width, height

    def flipy(self) -> bool:
        return False

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self._width, self._height

    def points_to_pixels(self, points: Any) -> Any:
        return points

    def draw_path(
        self,
        gc: GraphicsContextBase,
        path: Path,
        transform: Transform,
        rgbFace: Any = None,  # noqa: N803
    ) -> None:
        hatch: Path | None = gc.get_hatch_path()
        # Of a line without an area, what lies outside of the figure need not be written.
        clip = (0.0, 0.0, self._width, self._height) if rgbFace is None and hatch is None else None
        drawn = self._path(path, transform, clip)
        with_line = gc.get_linewidth() > 0 and to_rgba(gc.get_rgb())[3] > 0
        self._isolated(gc, lambda: self._paint(gc, drawn, rgbFace, with_line))
        if hatch is not None:
            self._isolated(gc, lambda: self._hatch(gc, hatch, self._path(path, transform, None), path, transform))

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        def write() -> None:
            self._canvas.translate(float(x), float(y))
            self._canvas.rotate(float(angle))
            red, green, blue, opaque = to_rgba(gc.get_rgb())
            self._canvas.setFillColorRGB(red, green, blue, alpha=opaque)
            text = self._canvas.beginText(0, 0)
            for font, part in font_runs(s):
                text.setFont(font, prop.get_size_in_points())
                text.textOut(part)
            self._canvas.drawText(text)

        self._isolated(gc, write)

    def _isolated(self, gc: GraphicsContextBase, draw: Callable[[], None]) -> None:
        """Draw inside of the context's clip, and leave the page's own state as it was."""
        self._canvas.saveState()
        rectangle = gc.get_clip_rectangle()
        if rectangle is not None:
            clip = self._canvas.beginPath()
            clip.rect(*(float(side) for side in rectangle.bounds))
            self._canvas.clipPath(clip, stroke=0, fill=0, fillMode=_NON_ZERO)
        path, transform = gc.get_clip_path()
        if path is not None and transform is not None:
            self._canvas.clipPath(self._path(path, transform, None), stroke=0, fill=0, fillMode=_NON_ZERO)
        draw()
        self._canvas.restoreState()

    def _paint(self, gc: GraphicsContextBase, drawn: Any, face: Any, with_line: bool) -> None:
        if face is not None:
            red, green, blue, opaque = to_rgba(face)
            forced = gc.get_forced_alpha() or len(face) < 4
            self._canvas.setFillColorRGB(red, green, blue, alpha=float(gc.get_alpha()) if forced else opaque)
        if with_line:
            red, green, blue, opaque = to_rgba(gc.get_rgb())
            self._canvas.setStrokeColorRGB(red, green, blue, alpha=opaque)
            self._canvas.setLineWidth(float(gc.get_linewidth()))
            self._canvas.setLineCap(_CAPS[str(gc.get_capstyle())])
            self._canvas.setLineJoin(_JOINS[str(gc.get_joinstyle())])
            offset, dashes = gc.get_dashes()
            if dashes is not None:
                self._canvas.setDash(np.asarray(dashes, np.float64).tolist(), float(offset or 0))
        if with_line or face is not None:
            self._canvas.drawPath(drawn, stroke=int(with_line), fill=int(face is not None), fillMode=_NON_ZERO)

    def _hatch(self, gc: GraphicsContextBase, hatch: Path, outline: Any, path: Path, transform: Transform) -> None:
        self._canvas.clipPath(outline, stroke=0, fill=0, fillMode=_NON_ZERO)
        red, green, blue, _ = to_rgba(gc.get_hatch_color())
        self._canvas.setStrokeColorRGB(red, green, blue, alpha=float(gc.get_alpha()))
        self._canvas.setLineWidth(float(gc.get_hatch_linewidth()))
        box = path.get_extents(transform)
        for column in range(math.floor(box.x0 / _TILE), math.ceil(box.x1 / _TILE)):
            for row in range(math.floor(box.y0 / _TILE), math.ceil(box.y1 / _TILE)):
                placed = Affine2D().scale(_TILE).translate(column * _TILE, row * _TILE)
                self._canvas.drawPath(self._path(hatch, placed, None), stroke=1, fill=0, fillMode=_NON_ZERO)

    def _path(self, path: Any, transform: Transform, clip: tuple[float, float, float, float] | None) -> Any:
        drawn = self._canvas.beginPath()
        at = (0.0, 0.0)
        for vertices, code in path.iter_segments(transform, clip=clip, simplify=False):
            points = [float(number) for number in vertices]
            if code == Path.MOVETO:
                drawn.moveTo(*points)
            elif code == Path.LINETO:
                drawn.lineTo(*points)
            elif code == Path.CURVE3:  # a parabola: PDF has cubic curves only
                (x0, y0), (x1, y1, x2, y2) = at, points
                drawn.curveTo((x0 + 2 * x1) / 3, (y0 + 2 * y1) / 3, (x2 + 2 * x1) / 3, (y2 + 2 * y1) / 3, x2, y2)
            elif code == Path.CURVE4:
                drawn.curveTo(*points)
            elif code == Path.CLOSEPOLY:
                drawn.close()
                continue
            at = (points[-2], points[-1])
        return drawn
