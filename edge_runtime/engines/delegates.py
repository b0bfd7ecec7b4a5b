"""External TFLite delegates: loading them with a reason where that fails, and what they took."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_runtime.engines.options import Delegate
from edge_runtime.quiet import native_stderr
from edge_runtime.text import one_line

_SYMBOLS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")


@dataclass(frozen=True)
class LoadedDelegates:
    """Delegates that can be given to an interpreter, and why others cannot.

    Attributes:
        delegates: the runtime's own objects; they must live as long as the interpreter.
        names: of each.
        problems: one line for each that failed.
    """

    delegates: tuple[Any, ...]
    names: tuple[str, ...]
    problems: tuple[str, ...]


def load_delegates(interpreter_module: Any, wanted: Sequence[Delegate]) -> LoadedDelegates:
    """Load each library that can be loaded; nothing is raised for those that cannot."""
    delegates, names, problems = [], [], []
    for delegate in wanted:
        try:
            delegates.append(_load(interpreter_module, delegate))
            names.append(delegate.name)
        except (OSError, ValueError, RuntimeError, AttributeError) as exc:
            problems.append(f"{delegate.name}: {one_line(str(exc))}")
    return LoadedDelegates(tuple(delegates), tuple(names), tuple(problems))


def _load(interpreter_module: Any, delegate: Delegate) -> Any:
    # Opened here first: the runtime's own loader leaves a half-made object behind, whose end
    # prints a traceback.
    try:
        library = ctypes.PyDLL(delegate.library)
    except OSError as exc:
        raise OSError(f"cannot be loaded: {exc}") from exc
    if missing := [symbol for symbol in _SYMBOLS if not hasattr(library, symbol)]:
        raise ValueError(f"is no TFLite delegate: it lacks {missing[0]}")
    with native_stderr() as written:
        try:
            return interpreter_module.load_delegate(delegate.library, dict(delegate.options))
        except ValueError as exc:
            # "Failed to load delegate from LIBRARY", and the delegate's own words below.
            said = str(exc).partition("\n")[2].strip() or written().strip()
            said = said or "no reason given; is the device plugged in, and may this user open it?"
            raise ValueError(f"made no delegate: {said}") from exc


@dataclass(frozen=True)
class DelegatedPart:
    """One node of the plan that stands for many: how many of `total` operators it took."""

    operators: int
    total: int


def delegated_operators(interpreter: Any) -> list[DelegatedPart]:
    """What the delegates that an interpreter has by now took of the file's operators.

    No public call lists nodes. A delegate's node comes after the file's own and names the tensors
    it takes and gives; what it took are the operators between them.
    """
    nodes: list[dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
    own = [node for node in nodes if node["op_name"] != _DELEGATE]
    made_by = {int(t): number for number, node in enumerate(own) for t in node["outputs"]}
    parts = []
    for node in nodes[len(own) :]:
        borders = {int(tensor) for tensor in node["inputs"]}
        pending = [int(tensor) for tensor in node["outputs"]]
        taken: set[int] = set()
        while pending:
            number = made_by.get(tensor := pending.pop())
            if tensor in borders or number is None or number in taken:
                continue
            taken.add(number)
            pending += [int(each) for each in own[number]["inputs"]]
        parts.append(DelegatedPart(len(taken), len(own)))
    return parts


_DELEGATE = "DELEGATE"
