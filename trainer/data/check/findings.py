"""What is worth telling a user of a data set: problems, which the exit code counts, and notes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from edge_runtime.image_header import read_header
from edge_runtime.images import IMAGE_SUFFIXES
from trainer.data.check.copies import Copies, Group
from trainer.data.check.facts import Facts
from trainer.folders import PictureFolder

Severity = Literal["problem", "note"]

# Smaller than this, a picture shows nothing.
MIN_SIDE = 8
MAX_ASPECT = 4.0
FEW_PICTURES = 20
MAX_IMBALANCE = 10.0
# What is so much more frequent in one class than in another is learnt as the class.
COLOUR_GAP = 0.25
SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "BMP": (".bmp",), "WebP": (".webp",)}
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: a word for programs, such as `unreadable`.
        text: what it means for the user, without the files' names.
        files: (POSIX path below the set's folder, what about it).
        groups: the files' paths again, those that belong together, together.
        move: those of them that `--quarantine` takes.
    """

    kind: str
    severity: Severity
    text: str
    files: tuple[tuple[str, str], ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    move: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Material:
    """What findings are made from."""

    folder: PictureFolder
    facts: Sequence[Facts]
    copies: Copies

    @property
    def readable(self) -> list[Facts]:
        """The pictures that can be decoded."""
        return [each for each in self.facts if each.why is None]


def find_all(material: Material) -> list[Finding]:
    """All findings, problems first."""
    found = [finding for look in _LOOKS for finding in look(material)]
    return sorted(found, key=lambda finding: finding.severity != "problem")


def _layout(material: Material) -> Iterator[Finding]:
    for problem in material.folder.problems:
        yield Finding("layout", "problem", problem)
    filled = {(each.label, each.part) for each in material.readable}
    empty = [
        material.folder.class_place(part, label)
        for part, labels in material.folder.declared.items()
        for label in sorted(labels)
        if (label, part) not in filled
    ]
    for place in empty:
        yield Finding("empty-class", "problem", f"{place}: holds no readable picture")


def _unreadable(material: Material) -> Iterator[Finding]:
    bad = [each for each in material.facts if each.why is not None]
    files = []
    for each in bad:
        why = each.why or ""
        if each.header and "not a readable picture" in why:
            why = f"a {each.header.kind} that is damaged or cut off"
        files.append((each.path, why))
    if files:
        text = "not decodable, and so not learnt from"
        yield _of_files("unreadable", "problem", text, files, move=True)


def _names(material: Material) -> Iterator[Finding]:
    """Names that say another kind than the bytes do."""
    wrong = []
    for each in material.facts:
        suffix = PurePosixPath(each.path).suffix.lower()
        if each.header and suffix not in SUFFIXES[each.header.kind]:
            wrong.append((each.path, f"is a {each.header.kind}"))
    if wrong:
        text = "with another kind's ending; edgeproof reads them, other programs may not"
        yield _of_files("wrong-extension", "note", text, wrong)
    hidden, others = [], []
    for skipped in material.folder.skipped:
        named = PurePosixPath(skipped.path).suffix.lower() in IMAGE_SUFFIXES
        kind = None if named else _kind_of(material.folder.root / skipped.path)
        if kind:
            hidden.append((skipped.path, f"is a {kind}, but {skipped.why}"))
        else:
            others.append((skipped.path, skipped.why))
    if hidden:
        text = "not learnt from for want of a picture's name; rename them"
        yield _of_files("not-named-as-picture", "problem", text, hidden)
    missing = [other for other in others if "missing" in other[1]]
    if missing:
        yield _of_files("missing", "problem", "listed, but not there", missing)
    again = [other for other in others if " already (line " in other[1]]
    if again:
        yield _of_files("listed-again", "note", "listed more than once; learnt from once", again)
    rest = [other for other in others if other not in missing and other not in again]
    if rest:
        yield _of_files(
            "other-file",
            "note",
            "without a picture's name or content, and so not learnt from",
            rest,
        )


def _kind_of(file: Path) -> str | None:
    if not file.is_file():  # a pipe would be waited for
        return None
    try:
        with file.open("rb") as opened:
            header = read_header(opened.read(_HEAD_BYTES))
    except OSError:
        return None
    return header.kind if header else None


_FLATTERS = "in two parts of the split: what is measured on it is better than the truth"


def _copies(material: Material) -> Iterator[Finding]:
    copies = material.copies
    yield from _groups(
        "contradiction", "problem", "under two labels; one is wrong", copies.contradictions
    )
    yield from _groups("leak", "problem", _FLATTERS, copies.leaks)
    yield from _groups("duplicate", "problem", "more than once", copies.duplicates)
    if not copies.telling:
        yield Finding(
            "alike",
            "note",
            "many pictures of different classes look alike to the perceptual hash: near-duplicates "
            "cannot be told from others here",
        )
        return
    near = "in nearly the same form"
    yield from _groups("near-leak", "problem", f"{near} {_FLATTERS}", copies.near_leaks)
    yield from _groups(
        "near-contradiction", "note", f"{near} under two labels", copies.near_contradictions
    )
    risk = "; a split at random may learn from one and measure on the other"
    text = f"{near} more than once{risk if None in material.folder.parts else ''}"
    yield from _groups("near-duplicate", "note", text, copies.near_duplicates)


def _groups(kind: str, severity: Severity, text: str, groups: Sequence[Group]) -> Iterator[Finding]:
    if groups:
        files = tuple(
            (path, f"like {group.paths[0]}" if at else "")
            for group in groups
            for at, path in enumerate(group.paths)
        )
        move = tuple(path for group in groups for path in group.move)
        yield Finding(kind, severity, text, files, tuple(g.paths for g in groups), move)


def _sizes(material: Material) -> Iterator[Finding]:
    tiny = [(f.path, _size(f)) for f in material.readable if min(f.hw) < MIN_SIDE]
    if tiny:
        text = f"with a side below {MIN_SIDE} pixels, which show nothing"
        yield _of_files("tiny", "problem", text, tiny, move=True)
    long = [
        (f.path, _size(f))
        for f in material.readable
        if min(f.hw) >= MIN_SIDE and max(f.hw) > MAX_ASPECT * min(f.hw)
    ]
    if long:
        text = f"more than {MAX_ASPECT:g} times as long as wide; see how --fit takes them"
        yield _of_files("aspect", "note", text, long)


def _size(facts: Facts) -> str:
    return f"{facts.hw[1]} x {facts.hw[0]} pixels"


def _colours(material: Material) -> Iterator[Finding]:
    alpha = [(f.path, "") for f in material.readable if f.header and f.header.alpha]
    if alpha:
        text = "with an alpha channel, which is left out: the colours beneath it are learnt"
        yield _of_files("alpha", "note", text, alpha)
    labels = material.folder.labels
    total = Counter(f.label for f in material.readable)
    for name, test in _COLOUR_KINDS:
        count = Counter(f.label for f in material.readable if test(f))
        shares = {label: count[label] / total[label] for label in total}
        if shares and max(shares.values()) - min(shares.values()) > COLOUR_GAP:
            most, least = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
            yield Finding(
                "colours",
                "note",
                f"{shares[most]:.0%} of {labels[most]!r} are {name}, and {shares[least]:.0%} of "
                f"{labels[least]!r}: a model may learn that in place of the class",
            )


_COLOUR_KINDS: tuple[tuple[str, Callable[[Facts], bool]], ...] = (
    ("grey", lambda f: f.is_grey),
    ("PNG", lambda f: bool(f.header and f.header.kind == "PNG")),
)


def _balance(material: Material) -> Iterator[Finding]:
    labels = material.folder.labels
    counts = dict.fromkeys(range(len(labels)), 0)
    for each in material.readable:
        if each.part in (None, "train"):
            counts[each.label] += 1
    few = {label: count for label, count in counts.items() if 0 < count < FEW_PICTURES}
    if few:
        shown = ", ".join(f"{labels[label]!r} ({count})" for label, count in list(few.items())[:5])
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        yield Finding(
            "few", "note", f"classes with fewer than {FEW_PICTURES} pictures: {shown}{more}"
        )
    there = {label: count for label, count in counts.items() if count}
    if there and max(there.values()) > MAX_IMBALANCE * min(there.values()):
        most, least = max(there, key=there.__getitem__), min(there, key=there.__getitem__)
        yield Finding(
            "imbalance",
            "note",
            f"{labels[most]!r} has {there[most]} pictures and {labels[least]!r} {there[least]}; "
            "training weighs classes, but rare ones stay badly known",
        )


def _of_files(
    kind: str,
    severity: Severity,
    text: str,
    files: Sequence[tuple[str, str]],
    *,
    move: bool = False,
) -> Finding:
    moved = tuple(path for path, _ in files) if move else ()
    return Finding(kind, severity, text, tuple(files), (), moved)


_LOOKS: tuple[Callable[[Material], Iterator[Finding]], ...] = (
    _layout,
    _unreadable,
    _copies,
    _names,
    _sizes,
    _colours,
    _balance,
)


def by_label(facts: Sequence[Facts]) -> dict[int, list[Facts]]:
    """The pictures of each label."""
    found: dict[int, list[Facts]] = defaultdict(list)
    for each in facts:
        found[each.label].append(each)
    return found
