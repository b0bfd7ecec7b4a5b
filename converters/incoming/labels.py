"""Labels in the order of the answers: from the user, the file, or the class folders."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.errors import RunError
from converters.incoming.convention import Taken
from converters.incoming.facts import Facts
from converters.incoming.pictures import Found
from edge_runtime.manifest import MAX_LABELS
from edge_runtime.text import printable

_MOST_BYTES = 16 << 20
_SHOWN = 3


def labels_of(
    facts: Facts, units: int, given: Path | None, found: Found
) -> tuple[tuple[str, ...], Taken]:
    """One label for each answer, each once.

    Args:
        units: how many answers there are; one answer is the second of two labels.
        given: the user's file of labels.
        found: pictures, whose class folders are labels where there are as many.

    Raises:
        RunError: when the user's file is none, or has another number of labels.
    """
    count = max(units, 2)
    if given is not None:
        labels = read_labels(given)
        if len(labels) != count:
            why = "one answer stands for two labels" if units == 1 else f"{units} answers"
            raise RunError(
                f"{given}: has {len(labels)} labels; the model has {why}.{_odd_lines(labels)}"
            )
        origin = given.name + _odd_lines(labels).replace(". ", ", ").rstrip(".").lower()
        return _distinct(labels), Taken("labels", _some(labels), origin)
    if len(facts.labels) == count:
        return _distinct(facts.labels), Taken("labels", _some(facts.labels), facts.labels_origin)
    if len(found.names) == count:
        order = "the class folders, in alphabetical order as Keras takes them"
        return _distinct(found.names), Taken("labels", _some(found.names), order)
    origin = "the answers' order; --labels FILE names them, one a line, as training had them"
    if facts.labels:
        origin += f"; {facts.labels_origin} has {len(facts.labels)}"
    return tuple(map(str, range(count))), Taken("labels", f"numbers 0 to {count - 1}", origin)


def is_named(facts: Facts, units: int, found: Found) -> bool:
    """Whether the file or the class folders have a label for each answer."""
    return max(units, 2) in (len(facts.labels), len(found.names))


def _odd_lines(labels: Sequence[str]) -> str:
    """What is odd about a list of labels, as a sentence; empty where nothing is."""
    blank = [str(number) for number, label in enumerate(labels, 1) if not label]
    twice = [label for label, times in Counter(filter(None, labels)).items() if times > 1]
    odd = []
    if blank:
        some = ", ".join(blank[:_SHOWN]) + ", …" * (len(blank) > _SHOWN)
        odd.append(f"line{'s' * (len(blank) > 1)} {some} blank")
    if twice:
        some = ", ".join(map(repr, twice[:_SHOWN])) + ", …" * (len(twice) > _SHOWN)
        odd.append(f"{some} more than once")
    return f" With {' and '.join(odd)}." if odd else ""


def _some(labels: Sequence[str]) -> str:
    """How many, and the first few."""
    first = ", ".join(repr(printable(label)) for label in labels[:_SHOWN])
    return f"{len(labels)}: {first}{', …' if len(labels) > _SHOWN else ''}"


def read_labels(file: Path) -> tuple[str, ...]:
    """A file of one label a line, or a JSON list or object of index to label.

    Lines may begin with their index: `0 background`, `0: background` or `n01440764 tench`.

    Raises:
        RunError: when it is none.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise RunError(f"{file}: is larger than any list of labels.")
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise RunError(f"{file}: is no text of UTF-8: one label a line is wanted.") from exc
    except OSError as exc:
        raise RunError(f"{file}: cannot be read: {exc.strerror}.") from exc
    try:
        structured = _structured(text)
        labels = _lines(text) if structured is None else structured
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError) as exc:
        raise RunError(
            f"{file}: is JSON, but no list of labels, nor each label with an index of its own, "
            "from 0 or 1 on."
        ) from exc
    if len(labels) < 2:
        raise RunError(f"{file}: holds {len(labels)} labels; one a line is wanted, two at least.")
    if len(labels) > MAX_LABELS:
        raise RunError(f"{file}: holds more than {MAX_LABELS} labels.")
    return tuple(printable(label)[:1000] for label in labels)


def _structured(text: str) -> list[str] | None:
    """The labels of JSON, or of Python's way to write it; `None` where it is neither."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return _listed(value)
    return None


def _listed(value: Any) -> list[str]:
    if isinstance(value, dict) and [type(v) for v in value.values()] == [list]:
        (value,) = value.values()  # {"labels": ["cat", "dog"]}
    if isinstance(value, dict):
        if all(str(key).isdigit() for key in value):  # {"0": "cat"}
            places = {int(key): label for key, label in value.items()}
        else:  # {"cat": 0}, as Keras' class_indices
            places = {int(index): label for label, index in value.items()}
        first = 0 if 0 in places else 1
        value = [places[first + index] for index in range(len(value))]
    return [str(label[-1] if isinstance(label, list) else label) for label in value]


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [line.replace(":", " ").split(None, 1) for line in lines]
    if len(lines) > 1 and all(
        len(parts) == 2 and parts[0].isdigit() and int(parts[0]) in (index, index + 1)
        for index, parts in enumerate(numbered)
    ):
        return [parts[1] for parts in numbered]
    return lines


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """ImageNet has two cranes: of labels that are the same, the later ones get a number."""
    seen: Counter[str] = Counter()
    taken, made = set(labels), []
    for index, label in enumerate(labels):
        label = label or str(index)
        seen[label] += 1
        name, number = label, seen[label]
        while number > 1 and name in taken:
            name = f"{label} ({number})"
            number += 1
        taken.add(name)
        made.append(name)
    return tuple(made)
