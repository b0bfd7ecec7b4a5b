"""`edgeproof run`: frames in, answers out."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_runtime.commands.arguments import MAX_THREADS, BundleArgument
from edge_runtime.commands.engine_options import (
    DelegateOption,
    ProviderOption,
    RequireAccelerator,
    engine_options,
)

if TYPE_CHECKING:
    from edge_runtime.bundle import Bundle
    from edge_runtime.pipeline import Sink, Summary
    from edge_runtime.sources import Source


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
    delegate: DelegateOption = None,
    provider: ProviderOption = None,
    require_accelerator: RequireAccelerator = False,
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
    from edge_runtime.text import printable

    outputs = {"--jsonl": jsonl, "--video": video}
    _require_apart(bundle, source, {name: path for name, path in outputs.items() if path})
    suits = devices.profile(profile) if profile else devices.profile_for(devices.detect())
    classifier = Classifier(
        bundle,
        variant=variant,
        engine=engine,
        threads=threads,
        profile=suits,
        options=engine_options(suits, delegate, provider, require_accelerator),
    )
    typer.echo(
        f"{classifier.bundle.name}: {classifier.variant.name} on {classifier.engine.describe()} "
        f"({classifier.profile.name})"
    )
    for note in classifier.notes:
        typer.echo(f"note: {printable(note)}", err=True)
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
