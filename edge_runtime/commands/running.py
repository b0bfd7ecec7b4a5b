"""One run of `edgeproof run`: open everything, loop until it is stopped, say what it came to."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypedDict

import cv2
import typer

from devices import Profile
from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier, require_labels
from edge_runtime.commands.opening import INTERRUPTED, open_sources, require_unread
from edge_runtime.engines.options import EngineOptions
from edge_runtime.errors import SinkError
from edge_runtime.loop.queued import QueuedSink, SinkCount
from edge_runtime.pipeline import LoopOptions, Sink, Summary, run
from edge_runtime.sinks.opening import SinkOpening
from edge_runtime.sinks.table import AskedSink, open_sinks
from edge_runtime.sinks.terminal import TerminalSink
from edge_runtime.sources import Source, SourceOptions
from edge_runtime.systemd import Heartbeat, Notifier
from edge_runtime.text import count_of, printable

if TYPE_CHECKING:
    from edge_runtime.faces import FaceBlur

# More engines than this side by side gain little and take memory each.
_MOST_WORKERS = 4


class EngineChoice(TypedDict):
    """What `Classifier` is asked for."""

    variant: str | None
    engine: str | None
    profile: Profile
    options: EngineOptions | None


@dataclass(frozen=True)
class Outputs:
    """Where answers shall go, besides the terminal."""

    asked: Sequence[AskedSink] = ()
    blur_faces: Path | None = None

    def blur(self) -> FaceBlur | None:
        """Raises OptionError when faces shall be blurred and cannot be."""
        if self.blur_faces is None:
            return None
        from edge_runtime.faces import FaceBlur

        return FaceBlur(self.blur_faces)

    @property
    def are_kept(self) -> bool:
        """Whether answers go anywhere but to the terminal."""
        return any(one.options.lasting for one in self.asked)

    def files(self, sources: int) -> list[tuple[str, Path]]:
        """What will be written, each with its flag."""
        return [named for one in self.asked for named in one.options.files(sources)]

    def written(self, sources: int) -> list[Path]:
        """What the summary names, if it is there."""
        return [path for one in self.asked for path in one.options.written(sources)]

    def require_apart(self, bundle: Path, specs: list[str]) -> None:
        """An output must not be written over what is read, nor over the other output.

        Raises:
            SinkError: when it would be.
        """
        taken = {Path(spec.removeprefix("replay:")).resolve(): "a source" for spec in specs}
        for option, path in self.files(len(specs)):
            place = path.resolve()
            if place in taken:
                raise SinkError(f"{option} {path}: is {taken[place]}; choose another name.")
            if place == bundle.resolve() or place.is_relative_to(bundle.resolve()):
                raise SinkError(f"{option} {path}: lies in the bundle; choose another place.")
            taken[place] = f"also given to {option}"

    def require_unread(self, sources: list[Source]) -> None:
        """The same of what the sources turned out to read: recordings, pictures of a folder.

        Raises:
            SinkError: when it would be.
        """
        for option, path in self.files(len(sources)):
            require_unread(path, option, sources)


def run_until_stopped(
    bundle: Path,
    specs: list[str],
    asked: SourceOptions,
    outputs: Outputs,
    *,
    options: LoopOptions,
    engine: EngineChoice,
    threads: int | None,
    workers: int | None,
    max_frames: int | None,
) -> None:
    """Open, run, print; raises `typer.Exit` with 130 when the user ended it."""
    # Each stage has a thread of its own: splitting one small resize among more only costs.
    cv2.setNumThreads(1)
    heartbeat = Heartbeat(Notifier.from_environment())
    stop = threading.Event()
    summary = Summary()
    with contextlib.ExitStack() as stack:
        opened = Bundle.open(bundle)
        require_labels(opened)  # before any camera is opened
        sources = open_sources(specs, asked, stack)
        outputs.require_unread(sources)
        classifier, options = _load(opened, sources, options, engine, threads, workers)
        terminal = TerminalSink(name_sources=len(sources) > 1, lasting=outputs.are_kept)
        _say_what_runs(classifier, options, terminal)
        sinks = _open_all(outputs, classifier, sources, options, terminal, stop, stack)
        heartbeat.ready(f"{opened.name} on {', '.join(s.name for s in sources)}")
        stack.pop_all()  # from here on the loop closes them
        try:
            with _stopped_by_signals(stop) as signalled:
                run(
                    classifier,
                    sources,
                    sinks,
                    stop=stop,
                    max_frames=max_frames,
                    summary=summary,
                    options=options,
                    heartbeat=heartbeat,
                )
        finally:
            heartbeat.stopping()
            _print_summary(summary, outputs.written(len(sources)))
    _leave(INTERRUPTED if signalled or summary.interrupted else 0, hung=summary.hung)


def _load(
    bundle: Bundle,
    sources: list[Source],
    options: LoopOptions,
    engine: EngineChoice,
    threads: int | None,
    workers: int | None,
) -> tuple[Classifier, LoopOptions]:
    """Share the threads out between workers.

    For a file's throughput, one engine for each thread beats one engine with them all: nothing
    waits for the slowest part of a layer. A camera's newest frame is answered soonest by one
    engine with all threads.
    """
    classifier = Classifier(bundle, threads=threads, **engine)
    threads = classifier.engine.threads
    if workers is None:
        many = not any(s.live or s.frame_count == 1 for s in sources)
        on_cpu = not classifier.engine.is_accelerated  # an accelerator there is one of
        alone = options.batch > 1 or bundle.clip is not None  # a clip's frames have an order
        workers = min(threads, _MOST_WORKERS) if many and on_cpu and not alone else 1
    if workers > 1:
        whole = classifier.engine
        classifier = classifier.twin(threads=max(1, threads // workers))
        whole.close()
    return classifier, replace(options, workers=workers)


def _say_what_runs(classifier: Classifier, options: LoopOptions, terminal: TerminalSink) -> None:
    side_by_side = f", {options.workers} side by side" if options.workers > 1 else ""
    terminal.line(
        f"{printable(classifier.bundle.name)}: {classifier.variant.name} on "
        f"{classifier.engine.describe()}{side_by_side} ({classifier.profile.name})"
    )
    notes = classifier.notes
    if classifier.variant.proven_unsure and options.min_score is None:
        notes.append(
            f"{classifier.variant.name} was wrong too often, even where it was surest, to choose a "
            "score below which to say unknown: it always answers"
        )
    for note in notes:
        typer.echo(f"note: {printable(note)}", err=True)


def _open_all(
    outputs: Outputs,
    classifier: Classifier,
    sources: list[Source],
    options: LoopOptions,
    terminal: TerminalSink,
    stop: threading.Event,
    stack: contextlib.ExitStack,
) -> list[Sink]:
    """Open what was asked for, and the terminal last: it hears from the others.

    A camera does not wait for a terminal that somebody stopped (Ctrl-S): it has a queue as well.
    """
    shown: Sink = terminal
    note = terminal.note
    if any(source.live for source in sources):
        # Ends the run when nobody reads it any more, and it is the only output.
        shown = queue = QueuedSink(terminal, name="terminal", capacity=16, fatal=True)
        stack.callback(queue.close)
        note = partial(_post, queue, terminal)
    opening = SinkOpening(
        classifier.bundle, classifier, sources, options, note, stop, blur=outputs.blur()
    )
    return [*open_sinks(outputs.asked, opening, stack), shown]


def _post(queue: QueuedSink, terminal: TerminalSink, text: str) -> None:
    queue.post(partial(terminal.note, text))


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM and a lost terminal set `stop`: no output is left in the middle of a line.

    A second one interrupts whatever still runs. A lost terminal is nothing to a run that was
    started to outlive it (nohup).

    Yields:
        The signals that came.
    """
    came: list[int] = []

    def take(number: int, frame: FrameType | None) -> None:
        came.append(number)
        stop.set()
        if len(came) > 1:
            raise KeyboardInterrupt

    wanted = [
        number
        for name in ("SIGINT", "SIGTERM", "SIGHUP")
        if (number := getattr(signal, name, None))
        and (name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN)
    ]
    before = {number: signal.signal(number, take) for number in wanted}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(code: int, *, hung: bool) -> None:
    if hung:
        # A thread is stuck in a driver or an engine: nothing waits for it, and the tidy end of an
        # interpreter under such a thread may crash. All outputs are closed.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)
    if code:
        raise typer.Exit(code)


def _print_summary(summary: Summary, written: list[Path]) -> None:
    if not summary.frames:
        typer.echo("No frame was answered.", err=True)
        return
    best = summary.labels.most_common(5)
    common = ", ".join(f"{printable(label)} {count}" for label, count in best)
    middle, high = summary.ages.at(0.5), summary.ages.at(0.99)
    typer.echo(
        f"{summary.frames} frames in {summary.seconds:.1f} s ({summary.fps:.0f} fps), "
        f"median frame age {middle:.0f} ms (99 %: {high:.0f} ms), "
        f"{summary.dropped} dropped: {common or 'no answers'}"
    )
    if summary.stages:
        stages = ", ".join(f"{name} {p.at(0.5):.1f}" for name, p in summary.stages.items())
        typer.echo(f"median ms: {stages}")
    if filling := summary.conditions.pop("filling", 0):
        typer.echo(f"not answered, as their clip was not whole yet: {filling}")
    if summary.conditions:
        counts = ", ".join(f"{n} {condition}" for condition, n in summary.conditions.items())
        typer.echo(f"not answered, as they are no news: {counts}")
    if summary.events:
        counts = ", ".join(f"{kind} {n}" for kind, n in summary.events.items())
        typer.echo(f"sources: {counts}")
    for name, count in summary.sinks.items():
        if lost := _lost(count):
            typer.echo(f"{name}: {lost}", err=True)
    for reason in summary.skipped[:10]:
        typer.echo(f"note: {printable(reason)}", err=True)
    if len(summary.skipped) > 1:
        typer.echo(f"note: {len(summary.skipped)} files skipped in all", err=True)
    for path in written:
        if path.exists():
            typer.echo(f"wrote {path}")


def _lost(count: SinkCount) -> str:
    """What a sink did not do, in words; empty when it did all."""
    words = []
    if count.dropped:
        words.append(f"{count.dropped} of {count.taken + count.dropped} results dropped")
    if count.failed:
        words.append(f"{count_of(count.failed, 'call')} failed, the last with: {count.why}")
    if count.undelivered:
        words.append(f"{count_of(count.undelivered, 'message')} not delivered")
    if count.hung:
        words.append("did not finish in time")
    return "; ".join(words)
