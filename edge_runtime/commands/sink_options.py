"""Options of `edgeproof run` that say where answers go; `edge_runtime.sinks.table` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# --jsonl
Jsonl = Annotated[Path | None, typer.Option(help="Write one JSON object a line for each frame.")]
Append = Annotated[
    bool, typer.Option("--append", help="Go on after the lines that --jsonl has already.")
]
JsonlRotate = Annotated[
    str | None,
    typer.Option(metavar="SIZE|TIME", help="Begin a new file after 10MB, 1h, 7d ..."),
]
JsonlKeep = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Keep N full ones, as FILE.1 to FILE.N.  [default: 10]"),
]
Fsync = Annotated[
    str | None,
    typer.Option(
        metavar="never|second|line",
        help="Force lines onto the disk, so that they survive a power cut.  [default: never]",
    ),
]

# --video
Video = Annotated[
    Path | None,
    typer.Option(help="Write an annotated video (.mp4, .avi, .mkv); one for each source."),
]
Segment = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="In pieces of 60s, 10m ...: FILE-000001.mp4, FILE-000002.mp4."
    ),
]
VideoKeep = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Keep the newest N pieces.  [default: all]")
]
VideoQuota = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Keep the newest pieces of 2GB, 500MB ... in all."),
]

# --display
Display = Annotated[
    bool, typer.Option("--display", help="Show a window; needs a cv2 with a window system.")
]

# --web
Web = Annotated[
    bool, typer.Option("--web", help="Show a page with the live picture and its answers.")
]
Host = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Let others see the page, too, with a token; 0.0.0.0 is everywhere.  "
        "[default: 127.0.0.1]",
    ),
]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="The page's port.  [default: 8080]")
]
WebTokenFile = Annotated[
    Path | None,
    typer.Option(help="Holds the page's token.  [default: EDGEPROOF_WEB_TOKEN, or a new one]"),
]

# --metrics
Metrics = Annotated[
    bool,
    typer.Option("--metrics", help="Let Prometheus read figures of the run."),
]
MetricsAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where it reads them; where others can, with a token.  [default: 127.0.0.1:9464]",
    ),
]
MetricsTokenFile = Annotated[
    Path | None,
    typer.Option(help="Holds the token that it must have.  [default: EDGEPROOF_METRICS_TOKEN]"),
]

# --keep-hard
KeepHard = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Keep frames that the model finds hard, to be sorted and learnt from: unknown, a low "
        "margin, or an answer that flickers.",
    ),
]
HardMargin = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Hard is a lead of the first label less than this.  [default: 0.2]"
    ),
]
HardEvery = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="At most one in so long, of each source.  [default: 5s]"),
]
HardQuota = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="The oldest go when all are larger.  [default: 500MB]"),
]
HardMost = Annotated[
    int | None, typer.Option(min=1, help="... or more than this.  [default: 2000]")
]
HardDays = Annotated[
    float | None,
    typer.Option(min=0, help="... or older than so many days; 0 for any age.  [default: 30]"),
]
EncryptTo = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Encrypt them to the public keys (age1... or ssh-...) in that file."
    ),
]

BlurFaces = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL",
        help="Blur faces in all pictures that are kept or sent; MODEL is YuNet's ONNX file.",
    ),
]

# --mqtt
Mqtt = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Tell an MQTT broker, and Home Assistant through it: mqtt://[USER@]HOST[:PORT] or "
        "mqtts://.",
    ),
]
MqttTopic = Annotated[
    str | None,
    typer.Option(metavar="TOPIC", help="Begin topics so.  [default: edgeproof/HOST/BUNDLE]"),
]
MqttDiscovery = Annotated[
    str | None,
    typer.Option(
        metavar="PREFIX",
        help="Home Assistant's prefix for discovery; none for none.  [default: homeassistant]",
    ),
]
MqttGap = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Between two changes of a source.  [default: 1 for cameras, 0 for files]",
    ),
]
MqttPasswordFile = Annotated[
    Path | None,
    typer.Option(help="The password is this file's line.  [default: EDGEPROOF_MQTT_PASSWORD]"),
]
MqttCa = Annotated[
    Path | None, typer.Option(help="Trust these certificates (PEM) instead of the system's.")
]
MqttCert = Annotated[Path | None, typer.Option(help="Certificate of this client (PEM).")]
MqttKey = Annotated[Path | None, typer.Option(help="Its key.")]

# --webhook
Webhook = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Post JSON there when the answer changes; file:NAME reads the address from a file.",
    ),
]
WebhookSecretFile = Annotated[
    Path | None,
    typer.Option(
        help="Sign with this file's line.  [default: EDGEPROOF_WEBHOOK_SECRET, if it is set]"
    ),
]
WebhookSnapshot = Annotated[
    bool, typer.Option("--webhook-snapshot", help="Send the picture along, as JPEG.")
]
WebhookGap = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Between two changes of a source.  [default: 1 for cameras, 0 for files]",
    ),
]
WebhookCa = Annotated[
    Path | None, typer.Option(help="Trust these certificates (PEM) instead of the system's.")
]

# --status
Status = Annotated[
    Path | None,
    typer.Option(help="Keep a small JSON file of how the run is doing, written each second."),
]
