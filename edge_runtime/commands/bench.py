"""`edgeproof bench`: every way to run a bundle on this machine, measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_runtime.commands.arguments import MAX_THREADS, BundleArgument
from edge_runtime.commands.engine_options import DelegateOption, ProviderOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_runtime.bench.record import BenchRecord, Case, Measured
    from edge_runtime.bundle import Bundle

_LONGEST_SIDE = 8192


def bench_command(
    bundle: BundleArgument,
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be repeated.  [default: all]")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be repeated.  [default: all here]")
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=MAX_THREADS,
            help="Only so many; may be repeated.  [default: 1, its doubles, all cores, the "
            "profile's]",
        ),
    ] = None,
    delegate: DelegateOption = None,
    provider: ProviderOption = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Device profile; `edgeproof devices` lists them.  [default: detected]"),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.05, max=600, help="For each of a case's three measurements.")
    ] = 1.0,
    source: Annotated[
        Path | None,
        typer.Option(help="Clip or folder for the loop.  [default: the bundle's golden frames]"),
    ] = None,
    frame_size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Scale the golden frames to this, such as 1280x720."),
    ] = None,
    sustained: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            min=0.05,
            max=24 * 60,
            help="Then run the fastest case for so long, with temperature, clock and throttling.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything there.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw accuracy against latency there."),
    ] = None,
    pick: Annotated[
        bool,
        typer.Option(
            "--pick", help="Keep the fastest by p99 that holds the limits; `run` honours it."
        ),
    ] = False,
    accuracy_budget: Annotated[
        float,
        typer.Option(min=0, max=100, help="Points of accuracy in 100 that a pick may lose."),
    ] = 1.0,
    memory_limit: Annotated[
        int | None,
        typer.Option(metavar="MIB", min=1, help="Most memory that a pick may take, loop included."),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Only remove this bundle's pick.")
    ] = False,
) -> None:
    """Measure every variant on every engine with every number of threads.

    Each case runs in a process of its own: its memory is its own, and so are its crashes. Ctrl-C
    ends it, shows what was measured, and writes nothing.
    """
    from edge_runtime.bench.choose import pick_of
    from edge_runtime.bench.record import BenchRecord
    from edge_runtime.bench.table import print_legend, print_measured, print_sustained
    from edge_runtime.bundle import Bundle
    from edge_runtime.errors import EngineError, OptionError
    from edge_runtime.files import write_text
    from edge_runtime.machine import machine_facts
    from edge_runtime.picks import forget_pick, manifest_hash

    opened = Bundle.open(bundle)
    if forget:
        if pick:
            raise OptionError("--pick and --forget contradict each other; give one.")
        had = forget_pick(opened)
        typer.echo(f"{opened.path}: {'its pick is forgotten' if had else 'has no pick'}")
        return
    size_wh = _size_wh(frame_size)
    _check_source(source, size_wh)
    _check_outputs(bundle, source, json_file, plot)
    cases = _cases(opened, profile, variant, engine, threads, delegate, provider)
    frames = f"{source}" if source else f"{len(opened.manifest.golden.frames)} golden frames"
    frames += f" at {frame_size}" if frame_size else ""
    measured, interrupted = _measure_all(bundle, cases, seconds, source, size_wh)
    chosen, reasons = pick_of(
        measured,
        accuracy_budget=accuracy_budget / 100,
        memory_limit_bytes=memory_limit << 20 if memory_limit else None,
    )
    print_measured(measured, chosen if pick and not interrupted else None)
    print_legend(frames)
    if interrupted:
        typer.echo(f"interrupted: {len(measured)} of {len(cases)} cases measured", err=True)
        raise typer.Exit(130)
    if not any(m.ran for m in measured):
        raise EngineError(f"{bundle}: nothing of it runs here; the reasons are above.")
    record = BenchRecord(
        bundle=opened.name,
        manifest=manifest_hash(opened),
        machine=machine_facts(),
        frames=frames,
        measured=tuple(measured),
        picked=chosen if pick else None,
    )
    if sustained:
        record = _sustain(bundle, record, chosen, sustained, source, size_wh)
        if record.sustained:
            print_sustained(record.sustained)
    if plot:
        write_text(plot, _drawn(opened, measured))
        typer.echo(f"wrote {plot}")
    if json_file:
        write_text(json_file, record.model_dump_json(indent=2) + "\n")
        typer.echo(f"wrote {json_file}")
    if pick:
        _store(opened, measured, chosen, reasons)


def _cases(
    bundle: Bundle,
    profile: str | None,
    variants: list[str] | None,
    engines: list[str] | None,
    threads: list[int] | None,
    delegates: list[str] | None,
    providers: list[str] | None,
) -> list[Case]:
    import devices
    from edge_runtime.bench.cases import cases_for
    from edge_runtime.engines.options import parse_delegates

    parse_delegates(delegates or ())  # a slip there must not wait for a child's end
    device = devices.detect()
    suits = devices.profile(profile) if profile else devices.profile_for(device)
    return cases_for(
        bundle,
        suits,
        device,
        variants=variants or (),
        engines=engines or (),
        threads=threads or (),
        delegates=delegates or (),
        providers=providers or (),
    )


def _measure_all(
    bundle: Path,
    cases: Sequence[Case],
    seconds: float,
    source: Path | None,
    size_wh: tuple[int, int] | None,
) -> tuple[list[Measured], bool]:
    """What was measured until the end or Ctrl-C, and whether that came."""
    from edge_runtime.bench.process import measure_apart
    from edge_runtime.progress import status_line

    measured: list[Measured] = []
    try:
        with status_line("measuring") as on_step:
            for number, case in enumerate(cases):
                on_step(f"{number + 1} of {len(cases)}: {case}")
                measured.append(
                    measure_apart(bundle, case, seconds=seconds, clip=source, size_wh=size_wh)
                )
    except KeyboardInterrupt:
        return measured, True
    return measured, False


def _sustain(
    bundle: Path,
    record: BenchRecord,
    chosen: int | None,
    minutes: float,
    source: Path | None,
    size_wh: tuple[int, int] | None,
) -> BenchRecord:
    """The record with a sustained run of the chosen case, or of the fastest where none may be."""
    from edge_runtime.bench.choose import pareto_front
    from edge_runtime.bench.process import sustain_apart
    from edge_runtime.bench.record import Sustained, Window
    from edge_runtime.bench.sustained import WINDOW_S
    from edge_runtime.bench.table import print_window
    from edge_runtime.errors import EngineError

    best = pareto_front(record.measured)[0] if chosen is None else record.measured[chosen]
    typer.echo(f"sustained: {best.case}, {minutes:g} minutes")
    windows: list[Window] = []

    def take(window: Window) -> None:
        windows.append(window)
        print_window(window)

    try:
        problem = sustain_apart(
            bundle,
            best.case,
            seconds=60 * minutes,
            window_s=min(WINDOW_S, 60 * minutes / 4),
            clip=source,
            size_wh=size_wh,
            on_window=take,
        )
    except KeyboardInterrupt:
        if windows:
            from edge_runtime.bench.table import print_sustained

            print_sustained(Sustained(case=best.case, version=best.version, windows=tuple(windows)))
        done_s = windows[-1].start_s + windows[-1].seconds if windows else 0.0
        typer.echo(f"interrupted after {done_s / 60:.1f} minutes measured", err=True)
        raise typer.Exit(130) from None
    if problem or not windows:
        raise EngineError(f"{bundle}: {best.case}: {problem or 'was too slow for one frame'}")
    done = Sustained(case=best.case, version=best.version, windows=tuple(windows))
    return record.model_copy(update={"sustained": done})


def _drawn(bundle: Bundle, measured: Sequence[Measured]) -> str:
    from edge_runtime.bench.plot import pareto_svg

    known = all(m.accuracy is not None for m in measured if m.ran)
    return pareto_svg(measured, title=f"{bundle.name}: what speed costs here", known=known)


def _store(
    bundle: Bundle, measured: Sequence[Measured], chosen: int | None, reasons: Sequence[str]
) -> None:
    """Keep the choice. Raises VariantError when nothing holds the limits."""
    import datetime

    from edge_runtime.errors import VariantError
    from edge_runtime.picks import Pick, manifest_hash, store_pick, this_machine

    if chosen is None:
        raise VariantError(f"{bundle.path}: nothing holds the limits: {'; '.join(reasons)}")
    best = measured[chosen]
    assert best.infer is not None  # only what ran is chosen
    pick = Pick(
        manifest=manifest_hash(bundle),
        path=str(bundle.path.resolve()),
        machine=this_machine(),
        variant=best.case.variant,
        engine=best.case.engine,
        threads=best.case.threads,
        delegates=best.case.delegates,
        providers=best.case.providers,
        p99_ms=best.infer.p99,
        made=datetime.datetime.now().astimezone().date().isoformat(),
    )
    file = store_pick(pick)
    typer.echo(f"picked {pick.describe()}; `edgeproof run` will take it ({file})")


def _size_wh(text: str | None) -> tuple[int, int] | None:
    """Read `1280x720`. Raises typer.BadParameter."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not found or not all(0 < int(side) <= _LONGEST_SIDE for side in found.groups()):
        raise typer.BadParameter(
            f"{text!r} is no size such as 1280x720.", param_hint="--frame-size"
        )
    return int(found[1]), int(found[2])


def _check_source(source: Path | None, size_wh: tuple[int, int] | None) -> None:
    """Find out now that frames can be read. Raises SourceError."""
    from edge_runtime.errors import SourceError
    from edge_runtime.sources import open_source
    from edge_runtime.sources.address import shown_path

    if source is None:
        return
    if size_wh:
        raise SourceError("--frame-size scales the golden frames: give it or --source, not both.")
    if not source.exists():
        raise SourceError(f"--source {shown_path(str(source))}: no such file or folder.")
    frames = open_source(str(source))
    try:
        if frames.read() is None:
            raise SourceError(f"--source {source}: holds no frame.")
    finally:
        frames.close()


def _check_outputs(
    bundle: Path, source: Path | None, json_file: Path | None, plot: Path | None
) -> None:
    """Find out now, not after minutes, what could not be written.

    Raises:
        SinkError, StorageError: when an output lies in the bundle, over another or not writable.
    """
    from edge_runtime.errors import SinkError
    from edge_runtime.files import require_writable_folder

    taken = {source.resolve(): "the source"} if source else {}
    for option, file in {"--json": json_file, "--plot": plot}.items():
        if file is None:
            continue
        place = file.resolve()
        if option == "--plot" and file.suffix.lower() != ".svg":
            raise SinkError(f"{option} {file}: is drawn as SVG only; choose a name in .svg.")
        if place.is_dir():
            raise SinkError(f"{option} {file}: is a folder; choose another name.")
        if place in taken:
            raise SinkError(f"{option} {file}: is {taken[place]}; choose another name.")
        if place == bundle.resolve() or place.is_relative_to(bundle.resolve()):
            raise SinkError(f"{option} {file}: lies in the bundle; choose another place.")
        taken[place] = f"also given to {option}"
        require_writable_folder(place.parent)
