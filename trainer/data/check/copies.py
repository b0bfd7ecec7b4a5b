"""Which pictures are there more than once, and which of them is too many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.check.facts import Facts
from trainer.data.check.looks import alike_pairs
from trainer.folders import Part

# So many alike pairs of different labels, and as a share of all alike pairs: then likeness does not
# mean that one is a copy of the other.
MANY_CROSSED = 10
CROSSED_SHARE = 0.05


@dataclass(frozen=True)
class Group:
    """Pictures that belong together.

    Attributes:
        paths: the one to keep first.
        move: those that are too many.
    """

    paths: tuple[str, ...]
    move: tuple[str, ...]


@dataclass(frozen=True)
class Copies:
    """Every group is in one of these.

    Attributes:
        contradictions: the same pixels under different labels: nobody knows which is right.
        leaks: the same pixels in different parts; the part that is learnt from gives way.
        duplicates: the same pixels, else.
        near_contradictions: `near_leaks` and `near_duplicates` likewise, of what looks alike.
        telling: whether looking alike says anything in this set.
    """

    contradictions: tuple[Group, ...]
    leaks: tuple[Group, ...]
    duplicates: tuple[Group, ...]
    near_contradictions: tuple[Group, ...]
    near_leaks: tuple[Group, ...]
    near_duplicates: tuple[Group, ...]
    telling: bool


def find_copies(facts: Sequence[Facts]) -> Copies:
    """Sort out what is there more than once."""
    readable = [each for each in facts if each.why is None]
    same: dict[bytes, list[Facts]] = defaultdict(list)
    for each in sorted(readable, key=_keep_first):
        same[each.pixels].append(each)
    exact = [group for group in same.values() if len(group) > 1]
    firsts = [group[0] for group in same.values()]
    near, telling = _near(firsts)
    return Copies(
        contradictions=_groups(exact, _is_contradiction, _all),
        leaks=_groups(exact, _is_leak, _rest),
        duplicates=_groups(exact, _is_plain, _rest),
        near_contradictions=_groups(near, _is_contradiction, _none),
        near_leaks=_groups(near, _is_leak, _learnt_from),
        near_duplicates=_groups(near, _is_plain, _none),
        telling=telling,
    )


def _keep_first(facts: Facts) -> tuple[int, str]:
    """What is measured on is kept before what is learnt from: of that there is more."""
    order: dict[Part | None, int] = {"test": 0, "val": 1, "train": 2, None: 3}
    return order[facts.part], facts.path


def _near(firsts: Sequence[Facts]) -> tuple[list[list[Facts]], bool]:
    looks = [each.look for each in firsts if each.look]
    pairs = alike_pairs(looks)
    crossed = sum(firsts[a].label != firsts[b].label for a, b in pairs.tolist())
    telling = crossed < MANY_CROSSED or crossed < CROSSED_SHARE * len(pairs)
    return (_connected(firsts, pairs) if telling else []), telling


def _connected(firsts: Sequence[Facts], pairs: np.ndarray) -> list[list[Facts]]:
    """Groups in which each looks like one other at least."""
    leader = list(range(len(firsts)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for one, other in pairs.tolist():
        leader[max(find(one), find(other))] = min(find(one), find(other))
    groups: dict[int, list[Facts]] = defaultdict(list)
    for index in sorted({index for pair in pairs.tolist() for index in pair}):
        groups[find(index)].append(firsts[index])
    return [sorted(group, key=_keep_first) for group in groups.values()]


def _is_contradiction(group: Sequence[Facts]) -> bool:
    return len({each.label for each in group}) > 1


def _is_leak(group: Sequence[Facts]) -> bool:
    return not _is_contradiction(group) and len({each.part for each in group}) > 1


def _is_plain(group: Sequence[Facts]) -> bool:
    return not _is_contradiction(group) and not _is_leak(group)


def _all(group: Sequence[Facts]) -> Iterable[Facts]:
    return group


def _none(group: Sequence[Facts]) -> Iterable[Facts]:
    return ()


def _rest(group: Sequence[Facts]) -> Iterable[Facts]:
    return group[1:]


def _learnt_from(group: Sequence[Facts]) -> Iterable[Facts]:
    """Of pictures that are only nearly the same, those outside the part of the first."""
    return [each for each in group if each.part != group[0].part]


def _groups(
    groups: Sequence[Sequence[Facts]],
    holds: Callable[[Sequence[Facts]], bool],
    too_many: Callable[[Sequence[Facts]], Iterable[Facts]],
) -> tuple[Group, ...]:
    return tuple(
        Group(tuple(each.path for each in group), tuple(each.path for each in too_many(group)))
        for group in groups
        if holds(group)
    )
