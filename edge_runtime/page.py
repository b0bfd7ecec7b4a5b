"""Reports as one self-contained HTML page: light and dark, phone and desktop, nothing to load.

A report is a Jinja template that begins with `{% extends "page.html.j2" %}`, fills its blocks
`title`, `subtitle` and `main`, and takes macros from `macros.html.j2`. jinja2 and matplotlib are
imported by what needs them: devices have neither.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge_runtime.preprocess import resize_exact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"

_BOTH: dict[Any, Any] = {
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlesize": 10,
    "font.size": 9,
    "legend.frameon": False,
    "grid.linewidth": 0.6,
    # The same figure gives the same bytes.
    "svg.hashsalt": "edgeproof",
}
_SERIES = {
    "light": ["#0b6e8a", "#c2540a", "#4d7c0f", "#7c3aed", "#be185d", "#57606a", "#a16207"],
    "dark": ["#4cc2e0", "#f79a4b", "#a3cf4d", "#b69cff", "#f17fb4", "#9aa7b3", "#e5c04a"],
}
# Text, lines, and what the figure lies on.
_INK = {"light": ("#1f2933", "#d9dfe4", "#ffffff"), "dark": ("#dfe6ec", "#39434d", "#1b2229")}


def render_page(template: str | Path, **context: Any) -> str:
    """Fill a template. All values are escaped, and a name that is missing is an error.

    Args:
        template: a file, or the template's text.
    """
    import jinja2

    folders = [TEMPLATES, *([template.parent] if isinstance(template, Path) else [])]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    if isinstance(template, Path):
        return environment.get_template(template.name).render(**context)
    return environment.from_string(template).render(**context)


@dataclass(frozen=True)
class ThemedFigure:
    """One figure as two data URIs: on a light page and on a dark one."""

    light: str
    dark: str


def themed_figure(
    draw: Callable[[Figure], None], *, width_in: float = 6.4, height_in: float = 3.6
) -> ThemedFigure:
    """Let `draw` fill an empty figure, once in each theme's colours.

    Its ground is transparent; `figure.get_facecolor()` without alpha is what it will lie on.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    uris = {}
    for theme, (ink, line, ground) in _INK.items():
        colours: dict[Any, Any] = {
            "figure.facecolor": f"{ground}00",
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.edgecolor": line,
            "xtick.color": ink,
            "ytick.color": ink,
            "grid.color": line,
            "axes.prop_cycle": cycler(color=_SERIES[theme]),
        }
        with matplotlib.rc_context({**_BOTH, **colours}), warnings.catch_warnings():
            # A letter that the font lacks is a box in the figure, and no news for a terminal.
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
            figure = Figure(figsize=(width_in, height_in), layout="constrained")
            draw(figure)
            uris[theme] = figure_data_uri(figure)
    return ThemedFigure(**uris)


def figure_data_uri(figure: Figure) -> str:
    """A matplotlib figure as an SVG data URI; text is drawn as paths, so no font is needed."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "edgeproof"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _data_uri("image/svg+xml", out.getvalue().encode())


def thumbnail_data_uri(frame_bgr: np.ndarray, side: int, *, quality: int = 85) -> str:
    """A picture as a JPEG data URI whose longer side is at most `side` pixels.

    Args:
        frame_bgr: uint8, shape (height, width, 3).
        quality: of the JPEG, 1 to 100.
    """
    height, width = frame_bgr.shape[:2]
    longest = max(height, width)
    if longest > side:
        frame_bgr = resize_exact(
            frame_bgr,
            width=max(1, width * side // longest),
            height=max(1, height * side // longest),
        )
    _, jpeg = cv2.imencode(".jpg", frame_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _data_uri("image/jpeg", jpeg.tobytes())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
