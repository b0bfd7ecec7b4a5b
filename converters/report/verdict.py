"""What a bundle's report says first: which files are the trained model still, and which to ship."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from converters.outcome import Outcome
from edge_runtime import words
from edge_runtime.manifest import Parity

Status = Literal["passed", "cannot tell", "missed", "accepted", "not made"]
Kind = Literal["pass", "warn", "fail"]

_KINDS: dict[Status, Kind] = {
    "passed": "pass",
    "cannot tell": "warn",
    "missed": "fail",
    "accepted": "fail",
    "not made": "fail",
}


def status(outcome: Outcome) -> Status:
    """How it stands with a variant, in a word or two."""
    if outcome.proof is None:
        return "not made"
    if outcome.problems:
        return "accepted" if outcome.shipped else "missed"
    return "cannot tell" if outcome.unsure else "passed"


def kind(outcome: Outcome) -> Kind:
    """The colour of its badge."""
    return _KINDS[status(outcome)]


@dataclass(frozen=True)
class Entry:
    """One variant at a glance.

    Attributes:
        facts: size, time and changed answers; empty where it could not be made.
        reasons: why it is not simply `passed`.
    """

    name: str
    status: Status
    kind: Kind
    repaired: bool
    facts: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """The top of the page.

    Attributes:
        headline: one sentence for people who read no other.
        advice: which file to ship, in words; empty where none is to be shipped.
        smallest, fastest: of those to choose from; `None` where no file passed.
        sure: whether `smallest` and `fastest` passed for certain.
    """

    kind: Kind
    headline: str
    advice: str
    smallest: Outcome | None
    fastest: Outcome | None
    sure: bool
    counts: dict[Status, int]
    entries: tuple[Entry, ...]


def judge(outcomes: Sequence[Outcome], samples: int, held_out: str) -> Verdict:
    """Sum up all variants.

    Args:
        samples: how many pictures were compared.
        held_out: which part of the data they are.
    """
    by_status: dict[Status, list[Outcome]] = {name: [] for name in _KINDS}
    for outcome in outcomes:
        by_status[status(outcome)].append(outcome)
    sure, unsure = by_status["passed"], by_status["cannot tell"]
    candidates = sure or unsure
    smallest = min(candidates, key=lambda o: o.bytes, default=None)
    fastest = min(candidates, key=_latency, default=None)
    # What missed and stayed out does nobody harm; what is shipped all the same may.
    alarm = not candidates or bool(by_status["accepted"])
    return Verdict(
        kind="fail" if alarm else "pass" if len(sure) == len(outcomes) else "warn",
        headline=_headline(by_status, len(outcomes), f"{samples} {held_out} pictures"),
        advice=_advice(outcomes, smallest, fastest, unsure if sure else [], samples),
        smallest=smallest,
        fastest=fastest,
        sure=bool(sure),
        counts={name: len(found) for name, found in by_status.items()},
        entries=tuple(_entry(outcome, samples) for outcome in outcomes),
    )


def _latency(outcome: Outcome) -> float:
    return outcome.proof.latency_ms if outcome.proof else float("inf")


def _headline(by_status: dict[Status, list[Outcome]], total: int, pictures: str) -> str:
    def names(name: Status) -> str:
        return words.listed([o.name for o in by_status[name]])

    good = len(by_status["passed"])
    if good == total:
        which = f"All {total} files answer" if total > 1 else "The file answers"
        return f"{which} as the trained model does, on {pictures}."
    parts = [f"{good} of {words.counted(total, 'file')} answer as the trained model does"]
    if by_status["cannot tell"]:
        parts.append(f"{pictures} are too few to be sure of {names('cannot tell')}")
    endings: tuple[tuple[Status, str, str], ...] = (
        (
            "missed",
            "does not keep up and stays out of the bundle",
            "do not keep up and stay out of the bundle",
        ),
        (
            "accepted",
            "does not keep up and is shipped all the same",
            "do not keep up and are shipped all the same",
        ),
        ("not made", "could not be made", "could not be made"),
    )
    for state, one, many in endings:
        if found := by_status[state]:
            parts.append(f"{names(state)} {one if len(found) == 1 else many}")
    return "; ".join(parts) + "."


def _advice(
    outcomes: Sequence[Outcome],
    smallest: Outcome | None,
    fastest: Outcome | None,
    unsure: list[Outcome],
    samples: int,
) -> str:
    if smallest is None or fastest is None or smallest.proof is None or fastest.proof is None:
        return ""
    parity = smallest.proof.parity
    same = f"{round(parity.top1_agreement * samples)} of {samples} answers are the model's own"
    said = [f"{words.size(smallest.bytes)}{_compared(smallest, outcomes)}"]
    said.append(_noise(parity) if parity.outputs else same)
    if smallest is fastest:
        said.insert(1, f"{words.milliseconds(fastest.proof.latency_ms)} here")
        text = f"To ship: {smallest.name}, the smallest and the fastest ({', '.join(said)})."
    else:
        text = (
            f"To ship: {smallest.name} where size counts ({', '.join(said)}), {fastest.name} "
            f"where time does ({words.milliseconds(fastest.proof.latency_ms)} here against "
            f"{words.milliseconds(smallest.proof.latency_ms)})."
        )
    smaller = [o for o in unsure if o.bytes < smallest.bytes]
    if smaller:
        better = min(smaller, key=lambda o: o.bytes)
        text += (
            f" {better.name} is smaller yet ({words.size(better.bytes)}) and keeps its gate too, "
            "but on too few pictures to be sure."
        )
    return text


def _compared(outcome: Outcome, outcomes: Sequence[Outcome]) -> str:
    """How much smaller than the float32 file of its format."""
    base = f"{outcome.recipe.format}-float32"
    whole = next((o.bytes for o in outcomes if o.name == base and o.proof), 0)
    if whole <= outcome.bytes * 1.05:
        return ""
    return f", {whole / outcome.bytes:.1f} times smaller than {base}"


def _entry(outcome: Outcome, samples: int) -> Entry:
    return Entry(
        name=outcome.name,
        status=status(outcome),
        kind=kind(outcome),
        repaired=outcome.repaired is not None,
        facts=_facts(outcome, samples),
        reasons=tuple(_reasons(outcome)),
    )


def _facts(outcome: Outcome, samples: int) -> str:
    if outcome.proof is None:
        return ""
    parity = outcome.proof.parity
    changed = samples - round(parity.top1_agreement * samples)
    close = _noise(parity) if parity.outputs else f"{changed} of {samples} answers changed"
    latency = words.milliseconds(outcome.proof.latency_ms)
    said = f"{words.size(outcome.bytes)}, {latency}, {close}"
    if outcome.recipe.calibrated:
        said += f"; ranges: {outcome.plan.calibration}"
    return said


def _noise(parity: Parity) -> str:
    return f"signal to noise of the worst output {words.decibels(parity.sqnr_db)}"


def _reasons(outcome: Outcome) -> Iterator[str]:
    problems = "; ".join(outcome.problems).rstrip(".")
    state = status(outcome)
    if state == "not made":
        yield f"Could not be made: {problems}."
    elif state == "missed":
        yield f"Not in the bundle: {problems}."
    elif state == "accepted":
        yield f"Shipped although it misses its gate: {problems}."
    if outcome.unsure:
        yield f"Too few pictures to be sure: {'; '.join(outcome.unsure)}."
    if outcome.repaired:
        yield f"Mended: {outcome.repaired.what}."
    elif outcome.repair:
        yield f"Of {len(outcome.repair)} ways to make it none keeps the gate."
