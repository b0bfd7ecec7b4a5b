"""Every variant on every engine: the same recorded inputs, held against the trained model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_runtime.engines import (
    ENGINES,
    PEERS,
    Engine,
    is_installed,
    load_engine,
    matrix_engines,
)
from edge_runtime.engines.answers import Answers, answer
from edge_runtime.engines.base import threads_or_all
from edge_runtime.engines.isolated import answer_isolated, reason
from edge_runtime.errors import TensorError
from edge_runtime.head import Head
from edge_runtime.manifest import Beside, Format, MatrixCell, Parity
from edge_runtime.parity import compare
from edge_runtime.tensor_parity import compare_tensors
from edge_runtime.tensors import TensorOutput, slices

# For each variant on each engine, in seconds: inferences are started for so long ...
BUDGET_S = 4.0
# ... and a peer's process that gives no answer for so long is stopped.
LIMIT_S = 60.0

# A small board has memory for no more of them beside each other.
_PEERS_AT_ONCE = 2

# Engines that are not here differ a little more than those that are: at conversion three kernels
# of LiteRT 2.3 were up to 0.041 apart on a dynamic file, tflite-runtime 2.14 was 0.045 from them.
HEADROOM = 1.5

NOT_INSTALLED = "not installed"

Grade = Literal["as proven", "farther", "wrong", "none"]
_Key = tuple[str, str]
_Compare = Callable[..., Parity]


@dataclass(frozen=True)
class ModelFile:
    """A variant's file, before or after it lies in a bundle."""

    format: Format
    path: Path


@dataclass(frozen=True, eq=False)
class Matrix:
    """All variants on all engines. Keys are (variant, engine).

    Attributes:
        cells: one for each variant and engine of its format, whether it ran or not.
        raw: output tensors of those that ran, for the first so many inputs.
        probabilities: the same after the head: float32, (answered, labels).
        rethreaded: probabilities of the same engine with another number of threads.
    """

    cells: tuple[MatrixCell, ...]
    raw: Mapping[_Key, np.ndarray]
    probabilities: Mapping[_Key, np.ndarray]
    rethreaded: Mapping[tuple[str, str, int], np.ndarray]

    def cells_of(self, variant: str) -> tuple[MatrixCell, ...]:
        """That variant's cells, the proving engine's first."""
        return tuple(cell for cell in self.cells if cell.variant == variant)


def parity_matrix(
    files: Mapping[str, ModelFile],
    *,
    head: Head,
    inputs: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray | None = None,
    outputs: Sequence[TensorOutput] = (),
    threads: int = 0,
    other_threads: Sequence[int] = (1,),
    engines: Iterable[str] | None = None,
    budget_s: float = BUDGET_S,
    limit_s: float = LIMIT_S,
    on_step: Callable[[str], None] = lambda _: None,
) -> Matrix:
    """Run every variant on every engine and peer of its format, and compare.

    What cannot run has its reason in its cell; nothing is raised for it. Engines run here and
    alone. Peers run in processes of their own, two at a time: most of them use one core, and what
    they take is nobody's choice of engine.

    Args:
        files: model files by the variant's name.
        inputs: uint8, (samples, H, W, 3), at least one.
        reference: float32, (samples, labels): the trained model's probabilities for them.
        labels: int, (samples,): the right labels, where known.
        outputs: of raw tensors; `reference` then is as `tensors.joined` has them.
        threads: how many an engine may use, and two peers together; 0 means one for each core.
        other_threads: engines that are no peers run again with so many, see `rethreaded`.
        engines: only these, where given.
        budget_s: see `BUDGET_S`; an engine that is slower answers the first few inputs only, and
            its cell's `parity.samples` says how many.
        limit_s: see `LIMIT_S`.
        on_step: told what is being run, from any thread.
    """
    wanted = [n for n in [*ENGINES, *PEERS] if engines is None or n in set(engines)]
    found: dict[_Key, Answers | str] = {}
    again: dict[tuple[str, str, int], np.ndarray] = {}
    peers: dict[str, dict[str, Path]] = {}
    for engine in wanted:
        mine = {n: f.path for n, f in files.items() if engine in matrix_engines(f.format)}
        if not is_installed(engine):
            entry = {**ENGINES, **PEERS}[engine]
            found |= {(n, engine): f"{NOT_INSTALLED} (pip install {entry.install})" for n in mine}
        elif engine in PEERS:
            peers[engine] = mine
        else:
            for name, path in mine.items():
                on_step(f"{name} on {engine}")
                load = partial(load_engine, engine, path, outputs=outputs)
                found[name, engine] = _answer_here(load, path, inputs, threads, budget_s)
                for count in set(other_threads) - {threads_or_all(threads)}:
                    other = _answer_here(load, path, inputs, count, budget_s)
                    if isinstance(other, Answers):
                        again[name, engine, count] = head.probabilities(other.values)

    def ask(engine: str) -> dict[_Key, Answers | str]:
        done = answer_isolated(
            engine,
            peers[engine],
            inputs,
            threads=max(1, threads_or_all(threads) // _PEERS_AT_ONCE),
            budget_s=budget_s,
            limit_s=limit_s,
            outputs=outputs,
            on_step=lambda name: on_step(f"{name} on {engine}"),
        )
        return {(name, engine): answers for name, answers in done.items()}

    with ThreadPoolExecutor(_PEERS_AT_ONCE) as pool:
        for done in pool.map(ask, peers):
            found |= done
    compared: _Compare = partial(compare_tensors, outputs=outputs) if outputs else compare
    return _assembled(files, wanted, found, again, head, reference, labels, compared)


def measured_tolerance(
    matrix: Matrix, variant: str, floor: float, outputs: Sequence[TensorOutput] = ()
) -> float:
    """How far a variant's probabilities may lie apart on an engine that did not record them.

    `HEADROOM` times the largest difference of any probability between any two engines of the
    matrix, or between two numbers of threads. An engine that is not `credible` does not count:
    its mistakes are no reason to allow others as large.

    Args:
        floor: never less than that.
        outputs: of raw tensors; those of whole numbers have a limit of their own.
    """
    cells = matrix.cells_of(variant)
    counted = {cell.engine for cell in cells if credible(cell, proving_cell(cells), floor)}
    runs = [p for key, p in matrix.probabilities.items() if _counts(key, variant, counted)]
    runs += [p for key, p in matrix.rethreaded.items() if _counts(key, variant, counted)]
    if outputs:
        parts = [at for output, at in slices(outputs) if not output.whole]
        runs = [np.hstack([p[:, :0], *(p[:, at] for at in parts)]) for p in runs]
    finite = [p for p in runs if np.isfinite(p).all()]
    spread = max((_difference(a, b) for a, b in itertools.combinations(finite, 2)), default=0.0)
    return min(1.0, max(floor, HEADROOM * spread))


def proving_cell(cells: Iterable[MatrixCell]) -> MatrixCell | None:
    """Of one variant's cells the first engine's that ran: the one that the others are held to."""
    return next((cell for cell in cells if cell.parity), None)


def credible(cell: MatrixCell, proving: MatrixCell | None, tolerance: float) -> bool:
    """Whether an engine answers about as the proving one does.

    That is: finite numbers, and at most twice as far from the trained model, or `tolerance`
    farther where that is more.
    """
    sides = _sides(cell, proving)
    if sides is None or sides.max_abs_error is None or sides.proven_error is None:
        return False  # it did not run, or answered NaN or infinity
    return sides.max_abs_error <= max(2 * sides.proven_error, sides.proven_error + tolerance)


def grade(cell: MatrixCell, proving: MatrixCell | None, tolerance: float) -> Grade:
    """How an engine stands beside the proving one, each held against the trained model.

    `as proven`: no more other first labels, and at most `tolerance` farther; `farther`: still
    `credible`; `wrong`: not even that; `none`: it did not run.
    """
    if cell.parity is None:
        return "none"
    sides = _sides(cell, proving)
    if sides is None or not credible(cell, proving, tolerance):
        return "wrong"
    # Both are finite: the cell is credible.
    assert sides.max_abs_error is not None and sides.proven_error is not None
    near = sides.max_abs_error <= sides.proven_error + tolerance
    return "as proven" if near and sides.flips <= sides.proven_flips else "farther"


def _sides(cell: MatrixCell, proving: MatrixCell | None) -> Beside | None:
    """Both on the same inputs; where that was not recorded, each on its own."""
    if cell.beside is not None or cell.parity is None or proving is None or proving.parity is None:
        return cell.beside
    flips, proven_flips = (
        round((1 - p.top1_agreement) * p.samples) for p in (cell.parity, proving.parity)
    )
    return Beside(
        max_abs_error=cell.parity.max_abs_error,
        proven_error=proving.parity.max_abs_error,
        flips=flips,
        proven_flips=proven_flips,
    )


def is_absent(cell: MatrixCell) -> bool:
    """Whether the engine is not installed where the matrix was computed."""
    return cell.reason.startswith(NOT_INSTALLED)


def _answer_here(
    load: Callable[..., Engine], path: Path, inputs: np.ndarray, threads: int, budget_s: float
) -> Answers | str:
    try:
        return answer(load(threads=threads), inputs, budget_s=budget_s)
    except Exception as exc:  # a broken package raises whatever it meets on import
        return reason(exc, path)


def _assembled(
    files: Mapping[str, ModelFile],
    engines: Sequence[str],
    found: Mapping[_Key, Answers | str],
    again: Mapping[tuple[str, str, int], np.ndarray],
    head: Head,
    reference: np.ndarray,
    labels: np.ndarray | None,
    compared: _Compare,
) -> Matrix:
    cells: list[MatrixCell] = []
    raw: dict[_Key, np.ndarray] = {}
    probabilities: dict[_Key, np.ndarray] = {}
    for key in itertools.product(files, engines):
        if key not in found:
            continue  # an engine for another format
        answers = found[key]
        if isinstance(answers, Answers):
            cell, answered = _cell(key, answers, head, reference, labels, compared)
            if answered is not None:
                raw[key], probabilities[key] = answers.raw, answered
        else:
            cell = MatrixCell(variant=key[0], engine=key[1], reason=answers)
        cells.append(cell)
    placed = (_beside_proving(cell, engines, probabilities, reference, compared) for cell in cells)
    return Matrix(tuple(placed), raw, probabilities, dict(again))


def _beside_proving(
    cell: MatrixCell,
    engines: Sequence[str],
    probabilities: Mapping[_Key, np.ndarray],
    reference: np.ndarray,
    compared: _Compare,
) -> MatrixCell:
    """The cell with what it and the proving engine answer to the inputs that both answered."""
    ran = [engine for engine in engines if (cell.variant, engine) in probabilities]
    if cell.engine not in ran:
        return cell
    both = [probabilities[cell.variant, engine] for engine in (cell.engine, ran[0])]
    count = min(map(len, both))
    own, proven = (compared(reference[:count], answered[:count]) for answered in both)
    flips, proven_flips = (round((1 - p.top1_agreement) * count) for p in (own, proven))
    beside = Beside(
        max_abs_error=own.max_abs_error,
        proven_error=proven.max_abs_error,
        flips=flips,
        proven_flips=proven_flips,
    )
    return cell.model_copy(update={"beside": beside})


def _cell(
    key: _Key,
    answers: Answers,
    head: Head,
    reference: np.ndarray,
    labels: np.ndarray | None,
    compared: _Compare,
) -> tuple[MatrixCell, np.ndarray | None]:
    variant, engine = key
    count = len(answers.values)
    try:
        probabilities = head.probabilities(answers.values)
        parity = compared(
            reference[:count], probabilities, None if labels is None else labels[:count]
        )
    except (TensorError, ValueError) as exc:
        why = f"answers shape {answers.values.shape}: {reason(exc)}"
        return MatrixCell(variant=variant, engine=engine, version=answers.version, reason=why), None
    cell = MatrixCell(
        variant=variant,
        engine=engine,
        version=answers.version,
        parity=parity,
        latency_ms=answers.latency_ms,
    )
    return cell, probabilities


def _counts(key: tuple[Any, ...], variant: str, engines: set[str]) -> bool:
    return key[0] == variant and key[1] in engines


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference over the inputs that both answered, in float32 as `verify` takes it."""
    both = min(len(a), len(b))
    return float(np.abs(a[:both] - b[:both]).max(initial=0.0))
