"""A bundle's report: how each variant compares with the trained model, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.outcome import Outcome
from converters.subject import Subject
from edge_runtime.manifest import Manifest
from edge_runtime.page import ThemedFigure, render_page, themed_figure, thumbnail_data_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"
MAX_FLIPS = 12
THUMBNAIL_SIDE = 128


@dataclass(frozen=True)
class Row:
    """One variant's figures, as text."""

    name: str
    problems: str
    shipped: bool
    size: str
    accuracy: str
    agreement: str
    max_error: str
    mean_error: str
    cosine: str
    latency: str


@dataclass(frozen=True)
class Flip:
    """A picture that a variant answers otherwise than the trained model."""

    uri: str
    truth: str
    before: str
    after: str


@dataclass(frozen=True)
class FlipGroup:
    """The changed answers of one variant; not all are shown."""

    variant: str
    count: int
    shown: tuple[Flip, ...]


def render_report(manifest: Manifest, outcomes: Sequence[Outcome], subject: Subject) -> str:
    """The page's text."""
    made = [o for o in outcomes if o.proof]
    created = datetime.fromisoformat(manifest.provenance["created"])
    rows = {o.name: _row(o) for o in outcomes}
    return render_page(
        TEMPLATE,
        manifest=manifest,
        samples=len(subject.held_out.inputs),
        held_out=subject.record.data.held_out,
        created=created.strftime("%Y-%m-%d %H:%M UTC"),
        reference_accuracy=_reference_accuracy(subject),
        rows=list(rows.values()),
        passed=sum(not o.problems for o in outcomes),
        smallest=rows[min(made, key=lambda o: o.bytes).name],
        fastest=rows[min(made, key=_latency).name],
        tradeoff=_tradeoff_figure(made, _reference_accuracy(subject)),
        flips=[group for o in made if (group := _flips(o, manifest.labels, subject)).count],
        input_facts=_input_facts(manifest),
        provenance=_provenance(manifest),
    )


def _row(outcome: Outcome) -> Row:
    problems = ", ".join(outcome.problems)
    if outcome.proof is None:
        return Row(outcome.name, problems, outcome.shipped, *["-"] * 7)
    parity = outcome.proof.parity
    return Row(
        name=outcome.name,
        problems=problems,
        shipped=outcome.shipped,
        size=f"{outcome.bytes / 1e6:.2f} MB",
        accuracy=_percent(parity.accuracy),
        agreement=_percent(parity.top1_agreement),
        max_error=_figure(parity.max_abs_error),
        mean_error=_figure(parity.mean_abs_error),
        cosine="NaN" if parity.cosine is None else f"{parity.cosine:.6f}",
        latency=f"{outcome.proof.latency_ms:.2f} ms",
    )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _figure(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.1e}"


def _latency(outcome: Outcome) -> float:
    return outcome.proof.latency_ms if outcome.proof else float("inf")


def _reference_accuracy(subject: Subject) -> float:
    return float((subject.reference.argmax(axis=1) == subject.held_out.labels).mean())


def _flips(outcome: Outcome, labels: tuple[str, ...], subject: Subject) -> FlipGroup:
    """The pictures whose first label changed, the largest change first."""
    assert outcome.proof is not None  # only made variants are compared
    before, after = subject.reference, outcome.proof.probabilities
    changed = np.flatnonzero(before.argmax(axis=1) != after.argmax(axis=1))
    change = np.abs(np.nan_to_num(after[changed]) - before[changed]).max(axis=1, initial=0.0)
    worst = changed[np.argsort(-change, kind="stable")][:MAX_FLIPS]

    def named(probabilities: np.ndarray) -> str:
        return f"{labels[int(probabilities.argmax())]} {probabilities.max():.0%}"

    shown = []
    for index in worst:
        pixels = subject.held_out.inputs[index]
        is_rgb = subject.record.preprocess.channels == "rgb"
        frame_bgr = pixels[..., ::-1] if is_rgb else pixels
        shown.append(
            Flip(
                uri=thumbnail_data_uri(np.ascontiguousarray(frame_bgr), THUMBNAIL_SIDE),
                truth=labels[int(subject.held_out.labels[index])],
                before=named(before[index]),
                after=named(after[index]),
            )
        )
    return FlipGroup(outcome.name, len(changed), tuple(shown))


def _tradeoff_figure(outcomes: Sequence[Outcome], reference_accuracy: float) -> ThemedFigure:
    points = [
        (o.name, o.bytes / 1e6, o.proof.latency_ms, 100 * (o.proof.parity.accuracy or 0.0))
        for o in outcomes
        if o.proof
    ]

    from matplotlib.ticker import LogLocator, NullFormatter

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        for axis, column, title in ((axes[0], 1, "size (MB)"), (axes[1], 2, "latency (ms)")):
            axis.axhline(100 * reference_accuracy, linestyle="--", linewidth=1, alpha=0.6)
            for index, point in enumerate(points):
                marker = "o" if point[0].startswith("tflite") else "s"
                axis.plot(point[column], point[3], marker, color=f"C{index}", label=point[0])
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel(title)
            axis.grid(True)
        axes[0].set_ylabel("accuracy (%)")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

    return themed_figure(draw, width_in=8.0, height_in=3.8)


def _input_facts(manifest: Manifest) -> list[tuple[str, Any]]:
    preprocess = manifest.preprocess
    return [
        ("input", f"uint8, {preprocess.height} x {preprocess.width} x 3, NHWC"),
        ("channels", preprocess.channels.upper()),
        ("fit", preprocess.fit),
        ("head", manifest.head.kind),
        ("labels", ", ".join(manifest.labels)),
        ("golden set", f"{len(manifest.golden.frames)} frames and further inputs"),
    ]


def _provenance(manifest: Manifest) -> list[tuple[str, Any]]:
    made = manifest.provenance
    training, pictures, machine = made["training"], made["pictures"], made["machine"]
    return [
        ("command", made["command"] or "-"),
        ("run", f"{training['run']} ({training['architecture']})"),
        ("model", f"SHA-256 {training['model_sha256'][:16]}…"),
        ("calibrated on", f"{pictures['calibration']} training pictures"),
        ("machine", f"{machine['cpu'] or '?'}, {machine['architecture']}, {machine['os'] or '?'}"),
        ("versions", ", ".join(f"{k} {v}" for k, v in made["versions"].items())),
    ]
