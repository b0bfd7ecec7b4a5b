"""The command line: mounts each package's commands and imports nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import converters.cli
import devices.cli
import devices.deploy.cli
import devices.doctor.cli
import edge_runtime.cli
import edge_runtime.commands.evaluate
import trainer.cli
from devices.doctor.finding import Needs
from devices.errors import EdgeproofError

if TYPE_CHECKING:
    from devices.deploy.payload import Payload
    from edge_runtime.evaluation.examine import Examinee
    from edge_runtime.evaluation.pictures import Labelled

# Looking for plugins, pydantic would read every installed package's metadata: 30 ms of each start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

OUR_PACKAGES = {"converters", "devices", "edge_runtime", "trainer"}

app = typer.Typer(
    name="edgeproof",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # 20 ms that only this option pays

        typer.echo(f"edgeproof {version('edgeproof')}")
        raise typer.Exit


@app.callback()
def _edgeproof(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Train an image model, ship it to a Raspberry Pi or a Jetson, and prove it is still the same.

    train: photographs -> model.  convert: model -> bundle of proven files.
    verify: replay the proof, anywhere.  run: camera -> predictions.
    """


trainer.cli.mount(app)
converters.cli.mount(app)
edge_runtime.cli.mount(app)
devices.cli.mount(app)


def _bundle_needs(bundle: Path) -> Needs:
    """What a bundle asks of a device; `devices` does not know what a bundle is."""
    from edge_runtime.needs import disk_bytes, memory_bytes

    return Needs(bundle.name, disk_bytes(bundle), memory_bytes(bundle))


devices.doctor.cli.mount(app, _bundle_needs)


class _Workstation:
    """What `evaluate` takes of the upper floor: `edge_runtime` does not know what a run is."""

    def is_run(self, path: Path) -> bool:
        from trainer.examining import is_run

        return is_run(path)

    def open_run(
        self, run: Path, data: Path | None, split: str | None
    ) -> tuple[Examinee, Labelled]:
        from trainer.examining import open_run

        return open_run(run, data, split)

    def other_data(self, data: Path, labels: tuple[str, ...], split: str | None) -> Labelled:
        from trainer.examining import other_data

        return other_data(data, labels, split)


edge_runtime.commands.evaluate.mount(app, _Workstation())


def _bundle_payload(bundle: Path) -> AbstractContextManager[Payload]:
    """A bundle as something to deploy."""
    from edge_runtime.payload import bundle_payload

    return bundle_payload(bundle)


devices.deploy.cli.mount(app, _bundle_payload)


@app.command("demo", short_help="All of it on digits: no download, no camera.")
def demo_command(
    out: Annotated[
        Path, typer.Option(help="Folder for everything that the demo makes; made anew.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other pictures.")] = 0,
) -> None:
    """Train, convert, prove and run on handwritten digits: no download, no camera.

    Real digits stand in for photographs; a video of digits that training never saw, moving,
    scaling and tilting in front of a textured background, stands in for a camera.
    """
    from converters import ConvertOptions, convert
    from converters.cli import print_conversion
    from edge_runtime import Bundle, verify
    from trainer import TrainOptions, train
    from trainer.digits import DEMO_TRAINING, write_photos, write_video

    photographs, run, bundle = out / "photographs", out / "runs" / "digits", out / "digits.bundle"
    clip, annotated = out / "digits.mp4", out / "digits-annotated.mp4"
    _clear_demo(out)
    _heading("1. Photographs and a video of digits")
    write_photos(photographs, seed=seed)
    truth = write_video(clip, seed=seed)
    _heading("2. Train")
    train(photographs, run, TrainOptions(**DEMO_TRAINING, seed=seed))
    _heading("3. Convert to every variant, and prove each against the trained model")
    conversion = convert(run, bundle, ConvertOptions(command="edgeproof demo"))
    print_conversion(conversion)
    conversion.require()
    _heading("4. Verify: replay the proof on this machine, as a device would")
    if not verify(Bundle.open(bundle)).passed:
        raise EdgeproofError(f"{bundle}: does not answer as recorded; edgeproof verify {bundle}")
    typer.echo("answers as recorded")
    _heading("5. Run on the video")
    right = _run_demo(bundle, clip, annotated, truth)
    _heading("Done")
    typer.echo(
        f"""the video's digit was named right in {right:.1%} of {len(truth)} frames

  training report    {run / "report.html"}
  parity report      {bundle / "report.html"}
  bundle             {bundle}   (all that a device needs)
  annotated video    {annotated}

Next, with your own photographs, one folder for each class (pets/cat/*.jpg, pets/dog/*.jpg):

  edgeproof train pets --out runs/pets
  edgeproof convert runs/pets --out pets.bundle
  edgeproof run pets.bundle --source 0"""
    )


def _run_demo(bundle: Path, clip: Path, annotated: Path, truth: list[str]) -> float:
    """Answer the video; the fraction of frames named right."""
    from edge_runtime import Classifier, open_source, run
    from edge_runtime.sinks import CollectingSink, TerminalSink, VideoSink

    classifier, source = Classifier(bundle), open_source(clip)
    answers = CollectingSink()
    video = VideoSink(annotated, fps=source.fps or 25.0)
    summary = run(classifier, source, [answers, video, TerminalSink()])
    typer.echo(f"{classifier.variant.name} on {classifier.engine.name}: {summary.fps:.0f} fps")
    labels = [result.answer.label if result.answer else None for result in answers.results]
    return sum(a == b for a, b in zip(labels, truth, strict=True)) / len(truth)


def _clear_demo(out: Path) -> None:
    """Make room for a new demo, but never remove what a demo did not make."""
    import shutil

    from edge_runtime.files import require_writable_folder, write_text

    marker = out / ".edgeproof-demo"
    if out.exists() and any(out.iterdir()):
        if not marker.is_file():
            raise EdgeproofError(f"{out}: is not an earlier demo; choose another --out.")
        shutil.rmtree(out)
    require_writable_folder(out)
    write_text(marker, "made by edgeproof demo; the next demo removes this folder\n")


def _heading(text: str) -> None:
    from rich.console import Console
    from rich.rule import Rule

    Console().print(Rule(text, align="left"))


def main() -> None:
    """Run the command line; what goes wrong on purpose is one line and an exit code."""
    # To be ended is to be interrupted: temporary files go, outputs are finished.
    signal.signal(signal.SIGTERM, _interrupt)
    _keep_only(sys.argv[1:2])
    try:
        app()
    except EdgeproofError as exc:
        sys.exit(_fail(str(exc), exc.exit_code))
    except SystemExit as exc:
        # typer turns Ctrl-C and a closed pipe into silent exits, with their cause in the context.
        why = exc.__context__
        if isinstance(why, BrokenPipeError):
            sys.exit(0)  # the reader of our output, such as `head`, has what it wanted
        if isinstance(getattr(why, "__cause__", None), KeyboardInterrupt):
            _fail("interrupted", 130)
        raise
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        sys.exit(_fail(f"{where}{exc.strerror or exc}", 1))
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package in OUR_PACKAGES:
            raise  # our bug, not the user's missing package
        need = f"this command needs {package}, which is not installed"
        sys.exit(_fail(f"{need}: pip install 'edgeproof[train,convert]'", 1))


def _keep_only(names: list[str]) -> None:
    """Leave out all commands but the one typed: Typer builds the flags of each at every start.

    That took a tenth of the time to a first answer. A name that is none of ours leaves all, for
    the complaint that suggests one.
    """
    typed = [command for command in app.registered_commands if command.name in names]
    if typed:
        app.registered_commands = typed


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(message: str, exit_code: int) -> int:
    line = " ".join(message.split())
    print(f"edgeproof: {line}", file=sys.stderr)  # noqa: T201
    return exit_code


if __name__ == "__main__":
    main()
