"""Who is taken for whom, with the pictures behind each cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from edge_runtime.clip import film_strip
from edge_runtime.errors import ImageError
from edge_runtime.evaluation.answers import NO_ANSWER, confusion, first_labels
from edge_runtime.evaluation.examine import Answers, Examinee
from edge_runtime.page import thumbnail_data_uri
from edge_runtime.words import Cell

# Matrices of more classes cannot be read: pairs are listed instead.
MAX_CLASSES = 20
MAX_PAIRS = 40
# Of all thumbnails together: a page must still open on a phone.
MAX_THUMBNAIL_CHARACTERS = 1_600_000
MOST_WRONG, MOST_RIGHT = 24, 8
THUMBNAIL_SIDE = 128
_QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A picture as the model saw it; `score` is what its answer is given with."""

    uri: str
    path: str
    score: str


@dataclass(frozen=True)
class PictureCell:
    """The pictures of one class with one answer.

    Attributes:
        anchor: what a link in the matrix leads to.
        thumbnails: the surest of the wrong, the least sure of the right ones.
    """

    anchor: str
    truth: str
    answer: str
    right: bool
    count: int
    thumbnails: tuple[Thumbnail, ...]

    @property
    def left_out(self) -> int:
        return self.count - len(self.thumbnails)


@dataclass(frozen=True)
class Matrix:
    """The matrix and what is behind it.

    Attributes:
        rows: cells by right label and answer; empty where there are too many classes.
        cells: the wrong ones with most pictures first, then the right ones.
        cells_left_out: wrong ones that are not listed, of many classes.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    cells: tuple[PictureCell, ...]
    cells_left_out: int

    def anchor(self, truth: int, answer: int) -> str | None:
        """Where a cell's pictures are shown."""
        wanted = _anchor(truth, answer)
        return wanted if any(cell.anchor == wanted for cell in self.cells) else None


def matrix(examinee: Examinee, answers: Answers, scores: np.ndarray) -> Matrix:
    """Count, and fetch the pictures that there is room for.

    Args:
        scores: float32, (samples,): what each answer is given with.
    """
    labels = examinee.labels
    given = first_labels(answers.probabilities)
    counts = confusion(answers.truths, given)
    order = sorted(counts, key=lambda pair: (pair[0] == pair[1], -counts[pair], pair))
    wrong = [pair for pair in order if pair[0] != pair[1]]
    listed = [*wrong[:MAX_PAIRS], *order[len(wrong) :][:MAX_CLASSES]]
    found = {pair: _rows(pair, answers.truths, given, scores) for pair in listed}
    uris = _thumbnails(examinee, answers, _in_turn(list(found.values())))
    cells = tuple(
        PictureCell(
            anchor=_anchor(*pair),
            truth=labels[pair[0]],
            answer=labels[pair[1]],
            right=pair[0] == pair[1],
            count=counts[pair],
            thumbnails=tuple(
                Thumbnail(uris[row], _shown(answers, row), f"{scores[row]:.0%}")
                for row in rows
                if row in uris
            ),
        )
        for pair, rows in found.items()
    )
    rows: tuple[tuple[Cell, ...], ...] = ()
    if len(labels) <= MAX_CLASSES:
        totals = [sum(counts[t, a] for a in range(len(labels))) for t in range(len(labels))]
        rows = tuple(
            tuple(_cell(counts[truth, answer], totals[truth]) for answer in range(len(labels)))
            for truth in range(len(labels))
        )
    return Matrix(labels, rows, cells, len(wrong) - len(wrong[:MAX_PAIRS]))


def _cell(count: int, total: int) -> Cell:
    return Cell(str(count) if count else "", shade="share", level=count / max(1, total))


def _anchor(truth: int, answer: int) -> str:
    return f"cell-{truth}-{answer}"


def _rows(
    pair: tuple[int, int], truths: np.ndarray, given: np.ndarray, scores: np.ndarray
) -> list[int]:
    """A cell's pictures that are worth a look, in that order."""
    rows = np.flatnonzero((truths == pair[0]) & (given == pair[1]) & (given != NO_ANSWER))
    order = np.argsort(scores[rows], kind="stable")
    if pair[0] == pair[1]:
        return [int(row) for row in rows[order][:MOST_RIGHT]]
    return [int(row) for row in rows[order[::-1]][:MOST_WRONG]]


def _in_turn(cells: list[list[int]]) -> Iterator[int]:
    """Each cell's first picture, then each one's second: none takes all the room."""
    for turn in zip_longest(*cells):
        yield from (row for row in turn if row is not None)


def _thumbnails(examinee: Examinee, answers: Answers, rows: Iterator[int]) -> dict[int, str]:
    made: dict[int, str] = {}
    room = MAX_THUMBNAIL_CHARACTERS
    for row in rows:
        try:
            seen = film_strip(examinee.read(answers.files[row]))
        except ImageError:  # it went away meanwhile
            continue
        is_rgb = examinee.preprocess.channels == "rgb"
        frame_bgr = np.ascontiguousarray(seen[..., ::-1] if is_rgb else seen)
        uri = thumbnail_data_uri(frame_bgr, THUMBNAIL_SIDE, quality=_QUALITY)
        room -= len(uri)
        if room < 0:
            break
        made[row] = uri
    return made


def _shown(answers: Answers, row: int) -> str:
    """Folder and name of a picture; bytes that are no text, as old disks have, are replaced."""
    return "/".join(answers.files[row].parts[-2:]).encode("utf-8", "replace").decode()
