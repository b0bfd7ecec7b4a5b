"""`edgeproof evaluate`: how good a model is on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from edge_runtime.commands.arguments import MAX_THREADS

if TYPE_CHECKING:
    from edge_runtime.evaluation.examine import Examinee
    from edge_runtime.evaluation.pictures import Labelled
    from edge_runtime.evaluation.report import Evaluation

RECORD_NAME = "evaluation.json"
REPORT_NAME = "evaluation.html"


class Workstation(Protocol):
    """What this package does not know: training runs, and data that is no folder of folders."""

    def is_run(self, path: Path) -> bool:
        """Whether a training run lies there."""

    def open_run(
        self, run: Path, data: Path | None, split: str | None
    ) -> tuple[Examinee, Labelled]:
        """A run's model, and the pictures to ask it about."""

    def other_data(self, data: Path, labels: tuple[str, ...], split: str | None) -> Labelled:
        """Labelled pictures of what is no folder: a list, an archive, a set's name."""


def mount(app: typer.Typer, workstation: Workstation) -> None:
    """Add the command `evaluate` to an app."""

    @app.command("evaluate", short_help="How good a run or a bundle is on labelled pictures.")
    def evaluate_command(
        model: Annotated[
            Path, typer.Argument(metavar="RUN_OR_BUNDLE", help="Training run, or bundle.")
        ],
        data: Annotated[
            Path | None,
            typer.Argument(
                metavar="DATA",
                help="Folder with one folder of pictures for each class, or with such folders "
                "below test/ and val/; or what train takes: list, archive, digits, tfds:NAME.  "
                "[default: the run's own held-out pictures]",
            ),
        ] = None,
        variant: Annotated[
            list[str] | None,
            typer.Option(
                help="Of a bundle, such as tflite-int8; may be repeated, and `all` is all.  "
                "[default: the one that run would take]"
            ),
        ] = None,
        engine: Annotated[
            str | None,
            typer.Option(help="litert, tflite-runtime or onnxruntime.  [default: the profile's]"),
        ] = None,
        threads: Annotated[
            int | None,
            typer.Option(
                min=0, max=MAX_THREADS, help="0: one for each core.  [default: the profile's]"
            ),
        ] = None,
        split: Annotated[
            str | None,
            typer.Option(
                help="Part of the data: test, val or train.  [default: test, else val, else all]"
            ),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                metavar="DIR", help=f"Write {REPORT_NAME} and {RECORD_NAME} into this folder."
            ),
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the record as JSON instead of a summary.")
        ] = False,
    ) -> None:
        """Ask a model about pictures whose labels are known, and say how good its answers are.

        Accuracy, precision, recall, F1, ROC and precision-recall curves, calibration, and the
        pictures behind each cell of the confusion matrix; every figure with a 95 % interval.
        """
        _require_out(out, model, data)
        made = []
        for examinee, pictures in _subjects(
            workstation, model, data, split, variant=variant, engine=engine, threads=threads
        ):
            made.append(_evaluate(examinee, pictures))
        _write(made, out, as_json=as_json)


def _subjects(
    workstation: Workstation,
    model: Path,
    data: Path | None,
    split: str | None,
    *,
    variant: list[str] | None,
    engine: str | None,
    threads: int | None,
) -> Iterator[tuple[Examinee, Labelled]]:
    from edge_runtime.bundle import Bundle
    from edge_runtime.classifier import Classifier, require_labels
    from edge_runtime.errors import OptionError
    from edge_runtime.evaluation.examine import classifier_examinee
    from edge_runtime.evaluation.pictures import SPLITS, labelled_folder

    if split is not None and split not in SPLITS:
        raise OptionError(f"--split {split}: takes {', '.join(SPLITS)}.")
    if workstation.is_run(model):
        if variant or engine:
            raise OptionError(
                f"{model}: is a training run, which has no variants and no engines; name a bundle."
            )
        yield workstation.open_run(model, data, split)
        return
    bundle = Bundle.open(model)
    require_labels(bundle)
    if data is None:
        raise OptionError(
            f"{model}: a bundle holds no labelled pictures; name a folder of them after it."
        )
    if data.is_dir() or bundle.clip:
        pictures = labelled_folder(data, bundle.labels, split=split, clip=bundle.clip)
    else:
        pictures = workstation.other_data(data, bundle.labels, split)
    names: list[str | None] = [*variant] if variant else [None]
    if variant == ["all"]:
        names = [v.name for v in bundle.variants]
    for name in names:
        if name is not None:
            bundle.variant(name)  # a typo must not wait for the others
    for name in names:
        classifier = Classifier(bundle, variant=name, engine=engine, threads=threads)
        yield classifier_examinee(classifier), pictures


def _evaluate(examinee: Examinee, pictures: Labelled) -> Evaluation:
    from edge_runtime.evaluation.examine import examine
    from edge_runtime.evaluation.report import evaluated
    from edge_runtime.progress import progress_bar

    with progress_bar(examinee.title, len(pictures.files)) as advance:
        answers = examine(examinee, pictures, advance)
    return evaluated(examinee, pictures, answers)


def _require_out(out: Path | None, model: Path, data: Path | None) -> None:
    """Before the work, not after it."""
    from edge_runtime.errors import OptionError
    from edge_runtime.files import require_writable_folder
    from edge_runtime.manifest import MANIFEST_NAME

    if out is None:
        return
    place = out.resolve()
    if (model / MANIFEST_NAME).is_file() and place.is_relative_to(model.resolve()):
        raise OptionError(f"--out {out}: lies in the bundle; choose another place.")
    if data is not None and place.is_relative_to(data.resolve()):
        raise OptionError(
            f"--out {out}: lies among the pictures, where it would be taken for a class; choose "
            "another place."
        )
    require_writable_folder(out)


def _write(made: list[Evaluation], out: Path | None, *, as_json: bool) -> None:
    import json

    from edge_runtime.evaluation.report import as_record

    records = [as_record(evaluation) for evaluation in made]
    if as_json:
        typer.echo(json.dumps(records if len(records) > 1 else records[0], allow_nan=False))
    elif len(made) == 1:
        _print(made[0])
    else:
        _print_table(made)
    if out is None:
        return
    for evaluation, record in zip(made, records, strict=True):
        several = f"{evaluation.examinee.facts['variant']}-" if len(made) > 1 else ""
        for path in _files(evaluation, record, out, several):
            typer.echo(f"wrote {path}", err=as_json)


def _files(
    evaluation: Evaluation, record: dict[str, Any], out: Path, prefix: str
) -> Iterator[Path]:
    import json

    from edge_runtime.evaluation.report import render_report
    from edge_runtime.files import write_text
    from edge_runtime.progress import status_line

    write_text(out / f"{prefix}{RECORD_NAME}", json.dumps(record, indent=1, allow_nan=False) + "\n")
    yield out / f"{prefix}{RECORD_NAME}"
    try:
        with status_line("writing the report"):
            page = render_report(evaluation)
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("edge_runtime"):
            raise  # our bug, not the user's missing package
        typer.echo(
            f"note: no {REPORT_NAME}: it needs {exc.name}, which devices lack: "
            "pip install 'edgeproof[train]'",
            err=True,
        )
        return
    write_text(out / f"{prefix}{REPORT_NAME}", page)
    yield out / f"{prefix}{REPORT_NAME}"


def _print(evaluation: Evaluation) -> None:
    from edge_runtime.evaluation.scores import Estimate
    from edge_runtime.text import count_of, printable

    scores, pictures = evaluation.scores, evaluation.pictures

    def line(name: str, estimate: Estimate, more: str = "") -> None:
        typer.echo(
            f"{name + ':':20}{estimate.value:.1%}{more} (95 % interval {estimate.low:.1%} to "
            f"{estimate.high:.1%})"
        )

    typer.echo(f"{printable(evaluation.examinee.title)} on {evaluation.examinee.runs_on}")
    part = f"{pictures.split} " if pictures.split else ""
    line("accuracy", scores.accuracy, f" of {count_of(scores.samples, f'{part}picture')}")
    line("balanced accuracy", scores.balanced_accuracy)
    line("macro F1", scores.macro_f1)
    if scores.top5:
        line("among first five", scores.top5)
    if scores.auc is not None and scores.average_precision is not None:
        typer.echo(
            f"{'ROC AUC:':20}{scores.auc:.3f}, average precision {scores.average_precision:.3f} "
            "(means over the classes)"
        )
    if scores.sureness:
        after = f", {scores.calibrated.ece:.1%} at its temperature" if scores.calibrated else ""
        typer.echo(f"{'calibration:':20}error {scores.sureness.ece:.1%}{after}")
    for truth, answer, count in _most_confused(evaluation):
        typer.echo(f"{'confused:':20}{printable(truth)} taken for {printable(answer)}: {count}")
    for caution in evaluation.cautions():
        typer.echo(f"{'caution:':20}{printable(caution)}")
    for file, why in evaluation.answers.skipped[:5]:
        typer.echo(f"note: skipped {printable(f'{file}: {why}')}", err=True)
    if len(evaluation.answers.skipped) > 1:
        typer.echo(f"note: {len(evaluation.answers.skipped)} files skipped in all", err=True)


def _print_table(made: list[Evaluation]) -> None:
    """Several variants beside each other, on the same pictures."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from edge_runtime.text import count_of, printable
    from edge_runtime.words import interval, percent

    first = made[0]
    pictures = count_of(first.scores.samples, f"{first.pictures.split} picture".strip())
    name = escape(printable(str(first.examinee.facts.get("bundle", ""))))
    table = Table(title=f"{name} on {pictures}", title_justify="left", box=box.SIMPLE_HEAD)
    table.padding = 0  # eight columns on 80 characters; the box has a space between them
    table.add_column("variant", no_wrap=True)
    for column in ("accuracy", "95 % interval", "balanced", "macro F1", "AUC", "ECE", "ECE at T"):
        table.add_column(column, justify="right")
    for one in made:
        scores, calibrated = one.scores, one.scores.calibrated
        table.add_row(
            str(one.examinee.facts["variant"]),
            percent(scores.accuracy.value),
            interval(scores.accuracy.low, scores.accuracy.high),
            percent(scores.balanced_accuracy.value),
            percent(scores.macro_f1.value),
            "-" if scores.auc is None else f"{scores.auc:.3f}",
            percent(scores.sureness.ece if scores.sureness else None),
            percent(calibrated.ece if calibrated else None),
        )
    Console().print(table)
    for caution in first.cautions():
        typer.echo(f"caution: {printable(caution)}")


def _most_confused(evaluation: Evaluation, most: int = 3) -> list[tuple[str, str, int]]:
    from edge_runtime.evaluation.answers import confusion, first_labels

    labels, answers = evaluation.examinee.labels, evaluation.answers
    counts = confusion(answers.truths, first_labels(answers.probabilities))
    wrong = sorted((-n, t, a) for (t, a), n in counts.items() if t != a)
    return [(labels[t], labels[a], -n) for n, t, a in wrong[:most]]
