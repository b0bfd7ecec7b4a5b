"""The pictures whose answer changed, each once, whichever variants changed it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from converters.outcome import Outcome
from converters.report.answers import Kind, kind_of
from converters.subject import Subject
from edge_runtime import words
from edge_runtime.clip import film_strip
from edge_runtime.evaluation.answers import NO_ANSWER, first_labels
from edge_runtime.page import thumbnail_data_uri

MAX_PICTURES = 200
# Of all thumbnails together: a page must still open on a phone.
MAX_THUMBNAIL_CHARACTERS = 1_600_000
THUMBNAIL_SIDE = 128
_QUALITY = 80

# True for every variant that changed a picture, so that a filter by variant leaves them so.
LOST = "Right before, wrong now"
WRONG = "Wrong before"
CHANGED = "Another answer"
# In place of a label where nobody knows it.
_UNKNOWN = -2
_ORDER: tuple[Kind, ...] = ("lost", "won", "other")


@dataclass(frozen=True)
class Change:
    """What one variant answers; `variant` is its place in `Flips.variants`."""

    variant: int
    kind: Kind
    label: str
    score: str


@dataclass(frozen=True)
class Picture:
    """A picture that some variant answers otherwise than the trained model.

    Attributes:
        file: its folder and name, to find it by.
        truth: its right label.
        label, score: the trained model's answer.
    """

    uri: str
    file: str
    truth: str
    label: str
    score: str
    changes: tuple[Change, ...]

    @property
    def variants(self) -> tuple[int, ...]:
        """Who changed it."""
        return tuple(change.variant for change in self.changes)


@dataclass(frozen=True)
class Group:
    """Pictures that the trained model answers right, or wrong."""

    title: str
    pictures: tuple[Picture, ...]

    @property
    def variants(self) -> tuple[int, ...]:
        """Whose changes are in it."""
        return tuple(sorted({v for picture in self.pictures for v in picture.variants}))


@dataclass(frozen=True)
class Count:
    """How many answers one variant changed."""

    name: str
    changed: int
    lost: int
    won: int
    other: int
    left_out: int


@dataclass(frozen=True)
class Flips:
    """All of it.

    Attributes:
        variants: that changed any answer.
        pictures: how many pictures changed; `left_out` of them are not shown.
        pixelated: whether the pictures are so small that their pixels show.
    """

    variants: tuple[Count, ...]
    groups: tuple[Group, ...]
    pictures: int
    left_out: int
    pixelated: bool


def flips(outcomes: Sequence[Outcome], subject: Subject) -> Flips:
    """Every picture whose first label changed, as far as there is room, lost ones first."""
    before = first_labels(subject.reference)
    changed = []
    for outcome in outcomes:
        if outcome.proof is not None:
            found = _Changed(outcome.name, subject, before, outcome.proof.probabilities)
            changed += [found] if found.rows else []
    shown = _thumbnails(_in_turn(changed), subject)
    order = sorted(shown, key=lambda row: _place(row, changed))
    groups = []
    truths = _truths(subject)
    titles = ((LOST, True), (WRONG, False))
    if subject.held_out.labels is None:
        titles = ((CHANGED, True), (CHANGED, False))
    for title, right in titles:
        rows = [row for row in order if (before[row] == truths[row]) == right]
        if rows:
            pictures = tuple(_picture(row, changed, shown[row], subject) for row in rows)
            groups.append(Group(title, pictures))
    total = len({row for found in changed for row in found.rows})
    return Flips(
        variants=tuple(found.count(shown) for found in changed),
        groups=tuple(groups),
        pictures=total,
        left_out=total - len(shown),
        pixelated=subject.record.preprocess.width < THUMBNAIL_SIDE // 2,
    )


def _truths(subject: Subject) -> np.ndarray:
    """The right labels, `_UNKNOWN` where nobody knows them."""
    labels = subject.held_out.labels
    return np.full(len(subject.held_out.inputs), _UNKNOWN) if labels is None else labels


class _Changed:
    """One variant's changed answers.

    Attributes:
        rows: kind of change, by picture.
        after: every picture's first label.
        change: largest difference of any probability of every picture.
    """

    def __init__(
        self, name: str, subject: Subject, before: np.ndarray, probabilities: np.ndarray
    ) -> None:
        self.name = name
        self.probabilities = probabilities
        self.after = first_labels(probabilities)
        self.change = np.abs(np.nan_to_num(probabilities) - subject.reference).max(axis=1)
        truths = _truths(subject)
        self.rows: dict[int, Kind] = {
            int(row): kind_of(int(truths[row]), int(before[row]), int(self.after[row]))
            for row in np.flatnonzero(self.after != before)
        }

    def worst_first(self) -> list[int]:
        """Its pictures, the lost ones and then the largest differences first."""
        return sorted(
            self.rows, key=lambda row: (_ORDER.index(self.rows[row]), -self.change[row], row)
        )

    def count(self, shown: Mapping[int, str]) -> Count:
        """How many of each kind, and how many of them are not shown."""
        kinds = list(self.rows.values())
        return Count(
            self.name,
            len(kinds),
            lost=kinds.count("lost"),
            won=kinds.count("won"),
            other=kinds.count("other"),
            left_out=sum(row not in shown for row in self.rows),
        )


def _in_turn(changed: Sequence[_Changed]) -> Iterator[int]:
    """Each variant's worst picture, then each one's next: none takes all the room."""
    for turn in zip_longest(*(found.worst_first() for found in changed)):
        yield from (row for row in turn if row is not None)


def _place(row: int, changed: Sequence[_Changed]) -> tuple[int, int, float, int]:
    """By what any variant makes of a picture, by how many change it, by how much."""
    those = [found for found in changed if row in found.rows]
    kind = min(_ORDER.index(found.rows[row]) for found in those)
    return kind, -len(those), -max(float(found.change[row]) for found in those), row


def _thumbnails(rows: Iterator[int], subject: Subject) -> dict[int, str]:
    """Data URIs by picture, of as many as there is room for."""
    made: dict[int, str] = {}
    room = MAX_THUMBNAIL_CHARACTERS
    for row in rows:
        if row in made:
            continue
        pixels = film_strip(subject.held_out.inputs[row])
        is_rgb = subject.record.preprocess.channels == "rgb"
        frame_bgr = np.ascontiguousarray(pixels[..., ::-1] if is_rgb else pixels)
        uri = thumbnail_data_uri(frame_bgr, THUMBNAIL_SIDE, quality=_QUALITY)
        room -= len(uri)
        if room < 0 or len(made) == MAX_PICTURES:
            break
        made[row] = uri
    return made


def _picture(row: int, changed: Sequence[_Changed], uri: str, subject: Subject) -> Picture:
    labels = subject.record.labels
    changes = tuple(
        Change(
            index,
            found.rows[row],
            *_answer(labels, int(found.after[row]), found.probabilities[row]),
        )
        for index, found in enumerate(changed)
        if row in found.rows
    )
    reference = subject.reference[row]
    truth = int(_truths(subject)[row])
    return Picture(
        uri,
        _name(subject.held_out.files[row]),
        "" if truth == _UNKNOWN else labels[truth],
        *_answer(labels, int(reference.argmax()), reference),
        changes,
    )


def _answer(labels: tuple[str, ...], index: int, probabilities: np.ndarray) -> tuple[str, str]:
    if index == NO_ANSWER:
        return "not a number", ""
    return labels[index], words.percent(float(probabilities.max()), 0)


def _name(file: Path) -> str:
    """Folder and name of a picture; bytes that are no text, as old disks have, are replaced."""
    return "/".join(file.parts[-2:]).encode("utf-8", "replace").decode()
