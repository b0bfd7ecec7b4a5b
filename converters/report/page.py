"""A bundle's report: how each variant compares with the trained model, for people to read.

Its parts are made by the other modules of this folder, each from values of its own; a part that has
nothing to show is `None` or empty, and its section says so or is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from converters.outcome import CSource, Outcome
from converters.report.confusion import confusions
from converters.report.figures import tradeoff_figures
from converters.report.flips import flips
from converters.report.matrix import matrix_tables
from converters.report.noise import noisy_variants
from converters.report.provenance import provenance
from converters.report.repair import repairs
from converters.report.tables import figures_table, recall_table
from converters.report.verdict import judge
from converters.subject import Subject
from edge_runtime.intervals import wilson_interval
from edge_runtime.manifest import Manifest
from edge_runtime.page import render_page
from edge_runtime.words import interval, milliseconds, percent, size

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"


def render_report(
    manifest: Manifest,
    outcomes: Sequence[Outcome],
    subject: Subject,
    c_source: CSource | None = None,
) -> str:
    """The page's text."""
    labels, truths = subject.record.labels, subject.held_out.labels
    reference, samples = subject.reference, len(subject.held_out.inputs)
    accuracy, accuracy_interval = None, "nobody has labelled the pictures"
    if truths is not None:
        right = int((reference.argmax(axis=1) == truths).sum())
        accuracy = right / samples
        accuracy_interval = f"95 % interval {interval(*wilson_interval(right, samples))}"
    made = any(outcome.proof for outcome in outcomes)
    held_out = subject.record.data.held_out
    created = datetime.fromisoformat(manifest.provenance["created"])
    return render_page(
        TEMPLATE,
        manifest=manifest,
        samples=samples,
        held_out=held_out,
        created=created.strftime("%Y-%m-%d %H:%M UTC"),
        total=len(outcomes),
        reference_accuracy=percent(accuracy),
        reference_interval=accuracy_interval,
        labelled=truths is not None,
        verdict=judge(outcomes, samples, held_out),
        warnings=tuple(subject.warnings()),
        c_source=c_source,
        figures=figures_table(outcomes, accuracy),
        recall=None if truths is None else recall_table(outcomes, labels, truths, reference),
        matrix=matrix_tables(manifest),
        tradeoff=tradeoff_figures(outcomes, accuracy or 0.0) if made else None,
        noise=noisy_variants(outcomes),
        confusion=None if truths is None else confusions(outcomes, labels, truths, reference),
        flips=flips(outcomes, subject),
        repairs=repairs(outcomes),
        provenance=provenance(manifest),
        size=size,
        milliseconds=milliseconds,
    )
