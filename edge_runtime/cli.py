"""`edgeproof run` and `edgeproof verify`: what a device needs."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_runtime.bundle import Bundle
    from edge_runtime.matrix_record import MatrixRecord
    from edge_runtime.pipeline import Sink, Summary
    from edge_runtime.sources import Source
    from edge_runtime.verification import Verification

BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, or the same as one .zip.")
]
MAX_THREADS = 256


def mount(app: typer.Typer) -> None:
    """Add this package's commands."""
    app.command("run", short_help="Answer a camera, a video or pictures.")(run_command)
    app.command("verify", short_help="Replay a bundle's proof on this machine.")(verify_command)


def run_command(
    bundle: BundleArgument,
    source: Annotated[
        str,
        typer.Option(
            help="Camera index, video file, folder of pictures, or a picture.", metavar="SOURCE"
        ),
    ],
    variant: Annotated[
        str | None,
        typer.Option(help="Such as tflite-int8.  [default: the profile's first that runs here]"),
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
    profile: Annotated[
        str | None,
        typer.Option(help="Device profile; `edgeproof devices` lists them.  [default: detected]"),
    ] = None,
    jsonl: Annotated[
        Path | None, typer.Option(help="Write one JSON object a line for each frame.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Write an annotated video (.mp4, .avi, .mkv).")
    ] = None,
    display: Annotated[
        bool, typer.Option("--display", help="Show a window; needs a cv2 with a window system.")
    ] = False,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many frames.  [default: never]")
    ] = None,
) -> None:
    """Answer a camera, a video or pictures with a bundle's model.

    Ctrl-C ends it and prints the summary.
    """
    import devices
    from edge_runtime.classifier import Classifier
    from edge_runtime.pipeline import Summary, run
    from edge_runtime.sources import open_source

    outputs = {"--jsonl": jsonl, "--video": video}
    _require_apart(bundle, source, {name: path for name, path in outputs.items() if path})
    classifier = Classifier(
        bundle,
        variant=variant,
        engine=engine,
        threads=threads,
        profile=devices.profile(profile) if profile else None,
    )
    engine_used = classifier.engine
    typer.echo(
        f"{classifier.bundle.name}: {classifier.variant.name} on {engine_used.name} "
        f"{engine_used.version}, {engine_used.threads} threads ({classifier.profile.name})"
    )
    stop = threading.Event()
    frames = open_source(source)
    try:
        sinks = _open_sinks(classifier.bundle, frames, jsonl, video, display, stop)
    except BaseException:
        frames.close()
        raise
    summary = Summary()
    try:
        run(classifier, frames, sinks, stop=stop, max_frames=max_frames, summary=summary)
    finally:
        _print_summary(summary, [path for path in (jsonl, video) if path])
    if summary.interrupted:
        raise typer.Exit(130)


def verify_command(
    bundle: BundleArgument,
    threads: Annotated[int, typer.Option(min=0, max=MAX_THREADS, help="0: one for each core.")] = 0,
    matrix: Annotated[
        bool,
        typer.Option("--matrix", help="Also run every variant on every engine, and compare."),
    ] = False,
    matrix_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the matrix there.  [default: NAME.matrix.json]"),
    ] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="PYTHON",
            help="An environment's Python that has edgeproof and an engine that is missing here.",
        ),
    ] = None,
    matrix_engines: Annotated[str | None, typer.Option(hidden=True)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check every hash, replay the golden set, and say whether the bundle answers as recorded.

    If it does not, the first stage that differs is named: decode, preprocess, engine or head.
    The matrix, also of engines that never answer a camera, is information: it does not decide.
    """
    from edge_runtime.bundle import Bundle
    from edge_runtime.errors import VerificationError
    from edge_runtime.matrix_record import matrix_file, require_edgeproof, write_matrix
    from edge_runtime.progress import status_line
    from edge_runtime.verification import verify

    opened = Bundle.open(bundle)
    wants_matrix = matrix or bool(others) or matrix_out is not None or matrix_engines is not None
    writes = wants_matrix and (matrix_out is not None or not as_json)
    file = matrix_file(opened, matrix_out) if writes else None
    for python in others or []:
        require_edgeproof(python)
    record: MatrixRecord | None = None
    with status_line("verifying") as on_step:
        result = verify(opened, threads=threads, on_step=on_step)
        if wants_matrix:
            names = matrix_engines.split(",") if matrix_engines is not None else None
            record = _compute_matrix(opened, threads, names, others or [], on_step)
    if record and file:
        write_matrix(file, record)
    if as_json:
        _print_json(opened, result, record)
    else:
        _print_table(opened, result)
        _print_matrix(opened, record, file)
    if (different := result.first_difference) is not None:
        raise VerificationError(
            f"{bundle}: differs first at stage {different.stage!r} "
            f"({different.subject}): {different.detail}."
        )
    if not result.passed:
        raise VerificationError(
            f"{bundle}: nothing could be replayed: no engine is installed; "
            "pip install ai-edge-litert"
        )


def _compute_matrix(
    bundle: Bundle,
    threads: int,
    engines: list[str] | None,
    others: list[Path],
    on_step: Callable[[str], None],
) -> MatrixRecord:
    """This machine's matrix, with what the other environments add to it."""
    from edge_runtime.matrix_record import bundle_matrix, merged, missing_engines, other_matrix

    record = bundle_matrix(bundle, threads=threads, engines=engines, on_step=on_step)
    missing = missing_engines(bundle)
    for python in others if missing else []:
        on_step(f"matrix on {python}")
        answer = other_matrix(python, bundle, missing, threads=threads)
        if not answer.passed:
            typer.echo(
                f"note: there the bundle does not answer as recorded; see {python} -m edgeproof "
                f"verify {bundle.path}",
                err=True,
            )
        if not answer.record.engines:
            typer.echo(f"note: {python} ran no engine that is missing here", err=True)
        record = merged(record, answer.record)
    if others and not missing:
        typer.echo("note: every engine is installed here; --with adds none", err=True)
    return record


def _require_apart(bundle: Path, source: str, outputs: dict[str, Path]) -> None:
    """An output must not be written over what is read, nor over the other output.

    Raises:
        SinkError: when it would be.
    """
    from edge_runtime.errors import SinkError

    taken = {Path(source).resolve(): "the source"}
    for option, path in outputs.items():
        place = path.resolve()
        if place in taken:
            raise SinkError(f"{option} {path}: is {taken[place]}; choose another name.")
        if place == bundle.resolve() or place.is_relative_to(bundle.resolve()):
            raise SinkError(f"{option} {path}: lies in the bundle; choose another place.")
        taken[place] = f"also given to {option}"


def _open_sinks(
    bundle: Bundle,
    source: Source,
    jsonl: Path | None,
    video: Path | None,
    display: bool,
    stop: threading.Event,
) -> list[Sink]:
    """Open what was asked for; if one fails, those before it are closed again."""
    from edge_runtime.sinks.terminal import TerminalSink

    with contextlib.ExitStack() as undo:
        sinks: list[Sink] = []

        def add(sink: Sink) -> None:
            sinks.append(sink)
            undo.callback(sink.close)

        if display:
            from edge_runtime.sinks.window import WindowSink

            add(WindowSink(on_quit=stop.set))
        if video:
            from edge_runtime.sinks.video import DEFAULT_FPS, VideoSink

            add(VideoSink(video, fps=source.fps or DEFAULT_FPS))
        if jsonl:
            from edge_runtime.sinks.jsonl import JsonLinesSink

            add(JsonLinesSink(jsonl, bundle.labels))
        add(TerminalSink())
        undo.pop_all()
    return sinks


def _print_summary(summary: Summary, written: list[Path]) -> None:
    if not summary.frames:
        typer.echo("No frame was answered.", err=True)
        return
    from edge_runtime.text import printable

    best = summary.labels.most_common(5)
    common = ", ".join(f"{printable(label)} {count}" for label, count in best)
    typer.echo(
        f"{summary.frames} frames in {summary.seconds:.1f} s ({summary.fps:.0f} fps), "
        f"median frame age {summary.age_ms_median:.0f} ms, {summary.dropped} dropped: {common}"
    )
    for reason in summary.skipped[:10]:
        typer.echo(f"note: {printable(reason)}", err=True)
    if len(summary.skipped) > 1:
        typer.echo(f"note: {len(summary.skipped)} files skipped in all", err=True)
    for path in written:
        if path.exists():
            typer.echo(f"wrote {path}")


def _print_table(bundle: Bundle, result: Verification) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from edge_runtime.text import printable

    title = f"{escape(printable(bundle.name))}: the golden set on this machine"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("what", no_wrap=True)
    for column in ("result", "up to stage", "found"):
        table.add_column(column, overflow="fold")
    style = {"same": "green", "differs": "bold red", "skipped": "yellow"}
    for check in result.checks:
        status = f"[{style[check.status]}]{check.status}[/]"
        table.add_row(escape(check.subject), status, check.stage, escape(printable(check.detail)))
    Console().print(table)
    if result.passed:
        typer.echo(f"{bundle.path}: answers as recorded ({len(bundle.manifest.files)} files whole)")


def _print_matrix(bundle: Bundle, record: MatrixRecord | None, file: Path | None) -> None:
    if record is None:
        return
    from edge_runtime.matrix_table import print_matrix

    print_matrix(record, {variant.name: variant.tolerance for variant in bundle.variants})
    if file:
        typer.echo(f"wrote {file}")


def _print_json(bundle: Bundle, result: Verification, record: MatrixRecord | None) -> None:
    import dataclasses
    import json

    answer = {
        "bundle": str(bundle.path),
        "passed": result.passed,
        "checks": [dataclasses.asdict(check) for check in result.checks],
    }
    if record:
        answer["matrix"] = record.model_dump(mode="json")
    typer.echo(json.dumps(answer))
