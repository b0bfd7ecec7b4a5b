"""The check's page: what was found, with the pictures themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.errors import ImageError
from edge_runtime.images import decode_image
from edge_runtime.page import ThemedFigure, render_page, themed_figure, thumbnail_data_uri
from edge_runtime.text import printable
from trainer.data.check.check import Checked, colours_of
from trainer.data.check.facts import Facts
from trainer.data.check.findings import Finding
from trainer.data.check.titles import title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).parents[2] / "templates" / "data_check.html.j2"
THUMBNAIL_SIDE = 112
# Of each finding; the JSON file names all.
MAX_GROUPS = 12
MAX_IN_GROUP = 6
MAX_FILES = 24
# Of each class, and of classes, on the contact sheet.
SAMPLES = 6
MAX_CLASSES = 24
MAX_ROWS = 200


@dataclass(frozen=True)
class Thumb:
    """A picture of the page; `uri` is empty where there is nothing to see."""

    uri: str
    path: str
    note: str


@dataclass(frozen=True)
class Shown:
    """A finding with its pictures.

    Attributes:
        groups: of pictures that belong together.
        rows: (path, what about it), where they do not.
        more: how many files are not shown.
    """

    finding: Finding
    groups: list[list[Thumb]]
    rows: list[tuple[str, str]]
    more: int


def render_check(checked: Checked) -> str:
    """The page's text."""
    readable = checked.readable
    return render_page(
        TEMPLATE,
        name=printable(checked.source),
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        checked=checked,
        readable=len(readable),
        shown=[_shown(checked, finding) for finding in checked.findings],
        titles=[printable(title_of(finding)) for finding in checked.findings],
        balance=_balance_figure(checked) if readable else None,
        sides=_sides_figure(readable) if readable else None,
        aspects=_aspects_figure(readable) if readable else None,
        parts=[part or "pictures" for part in checked.folder.parts],
        count_rows=_count_rows(checked),
        colour_rows=_colour_rows(checked),
        classes=_contact_sheet(checked),
        left_out=max(0, len(checked.folder.labels) - MAX_CLASSES),
        rows_left_out=max(0, len(checked.folder.labels) - MAX_ROWS),
    )


def _shown(checked: Checked, finding: Finding) -> Shown:
    if finding.groups:
        groups = [
            [_thumb(checked, path, "") for path in group[:MAX_IN_GROUP]]
            for group in finding.groups[:MAX_GROUPS]
        ]
        count = sum(len(group) for group in groups)
        return Shown(finding, groups, [], sum(map(len, finding.groups)) - count)
    files = finding.files[:MAX_FILES]
    more = len(finding.files) - len(files)
    if finding.kind in _SEEN:
        return Shown(finding, [[_thumb(checked, path, why) for path, why in files]], [], more)
    rows = [(printable(path), printable(why)) for path, why in files]
    return Shown(finding, [], rows, more)


# Findings whose files are decoded, so that there is something to see.
_SEEN = {"tiny", "aspect", "alpha", "wrong-extension", "not-named-as-picture"}


def _thumb(checked: Checked, path: str, note: str) -> Thumb:
    try:
        frame_bgr = decode_image(checked.folder.root / path)
    except ImageError:
        return Thumb("", printable(path), note)
    uri = thumbnail_data_uri(frame_bgr, THUMBNAIL_SIDE, quality=75)
    return Thumb(uri, printable(path), note)


def _contact_sheet(checked: Checked) -> list[tuple[str, int, list[Thumb]]]:
    """A few pictures of each class: what is in the wrong folder altogether shows at once."""
    sheet = []
    for label, name in enumerate(checked.folder.labels[:MAX_CLASSES]):
        of_class = [each for each in checked.readable if each.label == label]
        rows = np.linspace(0, len(of_class) - 1, min(SAMPLES, len(of_class))).round().astype(int)
        thumbs = [_thumb(checked, of_class[row].path, "") for row in rows]
        sheet.append((printable(name), len(of_class), thumbs))
    return sheet


def _count_rows(checked: Checked) -> list[tuple[str, ...]]:
    rows = [
        (printable(name), *map(str, parts.values())) for name, parts in checked.counts().items()
    ]
    return rows[:MAX_ROWS]


def _colour_rows(checked: Checked) -> list[tuple[str, ...]]:
    """How files keep their colours, and which classes they are in."""
    kinds = Counter(colours_of(each) for each in checked.readable)
    rows: list[tuple[str, ...]] = []
    for kind, count in kinds.most_common():
        of_kind = Counter(each.label for each in checked.readable if colours_of(each) == kind)
        names = [
            f"{printable(checked.folder.labels[label])} {number}"
            for label, number in of_kind.most_common(5)
        ]
        rest = len(of_kind) - len(names)
        rows.append((kind, str(count), ", ".join(names) + (f" and {rest} more" if rest else "")))
    return rows


def _balance_figure(checked: Checked) -> ThemedFigure:
    """Bars of pictures for each class; the largest and the smallest of many."""
    counts = sorted(checked.counts().items(), key=lambda item: -sum(item[1].values()))
    if len(counts) > MAX_CLASSES:
        counts = counts[: MAX_CLASSES // 2] + counts[-(MAX_CLASSES // 2) :]
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name, _ in counts]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        left = np.zeros(len(counts))
        for part in checked.counts()[checked.folder.labels[0]]:
            widths = np.array([parts[part] for _, parts in counts])
            axes.barh(range(len(counts)), widths, left=left, label=part)
            left += widths
        shown = [printable(name).replace("$", r"\$") for name in names]
        axes.set_yticks(range(len(counts)), shown)
        axes.invert_yaxis()
        axes.set(xlabel="pictures", title="classes")
        axes.grid(axis="x")
        if len(checked.folder.parts) > 1:
            figure.legend(loc="outside lower center", ncols=len(checked.folder.parts))

    return themed_figure(draw, width_in=4.6, height_in=max(2.6, 1.2 + 0.24 * len(counts)))


def _sides_figure(readable: Sequence[Facts]) -> ThemedFigure:
    sides = np.array([each.hw for each in readable])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.scatter(sides[:, 1], sides[:, 0], s=9, alpha=0.4, linewidths=0, rasterized=True)
        # From 32 x 32 to 6000 x 4000: on even scales the small ones would be one dot.
        axes.set(xscale="log", yscale="log", xlabel="width", ylabel="height", title="sizes, pixels")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
        axes.grid()

    return themed_figure(draw, width_in=4.6, height_in=3.2)


def _aspects_figure(readable: Sequence[Facts]) -> ThemedFigure:
    ratios = np.array([each.hw[1] / each.hw[0] for each in readable])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.hist(np.clip(ratios, 0.125, 8), bins=np.geomspace(0.125, 8, 49).tolist())
        axes.set(xscale="log", xlabel="width / height", ylabel="pictures", title="aspect ratios")
        axes.set_xticks([0.125, 0.25, 0.5, 1, 2, 4, 8], ["⅛", "¼", "½", "1", "2", "4", "8"])
        axes.set_xticks([], minor=True)
        axes.grid(axis="y")

    return themed_figure(draw, width_in=4.6, height_in=3.2)
