"""`edgeproof run`: frames in, answers out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from edge_runtime.commands import sink_options
from edge_runtime.commands.arguments import MAX_THREADS, BundleArgument
from edge_runtime.commands.config_file import ConfigOption, blames_the_line
from edge_runtime.commands.engine_options import (
    DelegateOption,
    ProviderOption,
    RequireAccelerator,
    engine_options,
    onnxruntime_only,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_runtime.loop.smoothing import Smoother
    from edge_runtime.pipeline import LoopOptions


@blames_the_line
def run_command(
    bundle: BundleArgument,
    source: Annotated[
        list[str],
        typer.Option(
            help="Camera (0, /dev/video0, csi), address (rtsp://, http://), video file, folder of "
            "pictures, picture, or replay:FILE. Repeat it for several cameras on one model.",
            metavar="SOURCE",
        ),
    ],
    config: ConfigOption = None,
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
    jsonl: sink_options.Jsonl = None,
    append: sink_options.Append = False,
    jsonl_rotate: sink_options.JsonlRotate = None,
    jsonl_keep: sink_options.JsonlKeep = None,
    fsync: sink_options.Fsync = None,
    video: sink_options.Video = None,
    segment: sink_options.Segment = None,
    video_keep: sink_options.VideoKeep = None,
    video_quota: sink_options.VideoQuota = None,
    display: sink_options.Display = False,
    web: sink_options.Web = False,
    host: sink_options.Host = None,
    port: sink_options.Port = None,
    web_token_file: sink_options.WebTokenFile = None,
    metrics: sink_options.Metrics = False,
    metrics_address: sink_options.MetricsAddress = None,
    metrics_token_file: sink_options.MetricsTokenFile = None,
    keep_hard: sink_options.KeepHard = None,
    hard_margin: sink_options.HardMargin = None,
    hard_every: sink_options.HardEvery = None,
    hard_quota: sink_options.HardQuota = None,
    hard_most: sink_options.HardMost = None,
    hard_days: sink_options.HardDays = None,
    encrypt_to: sink_options.EncryptTo = None,
    blur_faces: sink_options.BlurFaces = None,
    mqtt: sink_options.Mqtt = None,
    mqtt_topic: sink_options.MqttTopic = None,
    mqtt_discovery: sink_options.MqttDiscovery = None,
    mqtt_gap: sink_options.MqttGap = None,
    mqtt_password_file: sink_options.MqttPasswordFile = None,
    mqtt_ca: sink_options.MqttCa = None,
    mqtt_cert: sink_options.MqttCert = None,
    mqtt_key: sink_options.MqttKey = None,
    webhook: sink_options.Webhook = None,
    webhook_secret_file: sink_options.WebhookSecretFile = None,
    webhook_snapshot: sink_options.WebhookSnapshot = False,
    webhook_gap: sink_options.WebhookGap = None,
    webhook_ca: sink_options.WebhookCa = None,
    status: sink_options.Status = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many frames.  [default: never]")
    ] = None,
    average: Annotated[
        int | None, typer.Option(min=1, help="Answer by the mean of the last N frames.")
    ] = None,
    votes: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Answer what K of the last N frames say, else unknown."),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Answer unknown below it.  [default: the bundle's]"),
    ] = None,
    no_abstain: Annotated[
        bool, typer.Option("--no-abstain", help="Never answer unknown for a low score.")
    ] = False,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H", help="Show the model only that part: in pixels, or 10%,0%,50%,100%."
        ),
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Answer every so many frames one.")] = 1,
    batch: Annotated[
        int, typer.Option(min=1, max=64, help="Run up to so many waiting frames together.")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Engines side by side.  [default: 1 for cameras, one for each thread for files]",
        ),
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Ask the camera for this width.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="... for this height.")] = None,
    fps: Annotated[float | None, typer.Option(min=0.01, help="... for this rate.")] = None,
    fourcc: Annotated[
        str, typer.Option(metavar="CODE", help="... for this pixel format; '' for its own choice.")
    ] = "MJPG",
    realtime: Annotated[
        bool | None,
        typer.Option(
            "--realtime/--no-realtime",
            help="Play a file at its own pace, as a camera.  [default: only replay:]",
        ),
    ] = None,
    reopen: Annotated[
        bool, typer.Option("--reopen/--no-reopen", help="Open a camera that was lost again.")
    ] = True,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="For opening and reading an address.")
    ] = 5.0,
    only_check: Annotated[
        bool, typer.Option("--only-check", help="Check these flags, open nothing, and end.")
    ] = False,
) -> None:
    """Answer cameras, videos or pictures with a bundle's model.

    Ctrl-C ends it and prints the summary.
    """
    given = dict(locals())  # first of all: by their names, the flags find their sinks
    import devices
    from edge_runtime.commands.running import Outputs, run_until_stopped
    from edge_runtime.sinks.table import asked_sinks
    from edge_runtime.sources import SourceOptions

    if provider:
        engine = onnxruntime_only(variant, engine)
    suits = devices.profile(profile) if profile else devices.profile_for(devices.detect())
    asked = SourceOptions(
        camera=suits.camera,
        width=width,
        height=height,
        fps=fps,
        fourcc=fourcc,
        realtime=realtime,
        reopen=reopen,
        timeout_s=timeout,
    )
    outputs = Outputs(asked_sinks(given), blur_faces)
    outputs.require_apart(bundle, source)
    options = _loop_options(average, votes, min_score, no_abstain, region, stride, batch)
    wanted = engine_options(suits, delegate, provider, require_accelerator)
    if only_check:
        return
    run_until_stopped(
        bundle,
        source,
        asked,
        outputs,
        options=options,
        engine={"variant": variant, "engine": engine, "profile": suits, "options": wanted},
        threads=threads,
        workers=workers,
        max_frames=max_frames,
    )


def _loop_options(
    average: int | None,
    votes: str | None,
    min_score: float | None,
    no_abstain: bool,
    region: str | None,
    stride: int,
    batch: int,
) -> LoopOptions:
    """Raises OptionError for what is no region or vote, or contradicts itself."""
    from edge_runtime.errors import OptionError
    from edge_runtime.loop.region import Region
    from edge_runtime.loop.smoothing import MovingAverage, Votes, parse_votes
    from edge_runtime.pipeline import LoopOptions

    if average is not None and votes is not None:
        raise OptionError("--average and --votes are two ways of the same; give one.")
    if min_score is not None and no_abstain:
        raise OptionError("--min-score and --no-abstain contradict each other; give one.")
    smoother: Callable[[], Smoother] | None = None
    if average is not None:
        try:
            MovingAverage(average)  # raises now, not with the first frame
        except OptionError as exc:
            raise OptionError(f"--average: {exc}") from exc
        smoother = partial(MovingAverage, average)
    if votes is not None:
        smoother = partial(Votes, *parse_votes(votes))
    return LoopOptions(
        batch=batch,
        stride=stride,
        region=Region.parse(region) if region else None,
        min_score=0.0 if no_abstain else min_score,
        smoother=smoother,
    )
