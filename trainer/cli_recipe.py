"""The options of `edgeproof train` that say how a model learns, and their headings in its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

LEARNING, REGULARISING, MIXING, WATCHING, TOGETHER = (
    "Learning",
    "Against learning by heart",
    "Pictures varied and mixed",
    "Watching",
    "On several devices or machines (JAX)",
)


class GroupedCommand(TyperCommand):
    """Shows its options under headings: thirty in one list are hard to read."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments first, then the options without a heading, then each heading's."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                plain = "Arguments" if param.param_type_name == "argument" else "Options"
                name = getattr(param, "rich_help_panel", None) or plain
                sections.setdefault(name, []).append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def _option(panel: str, text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)


FindRateOption = Annotated[
    bool,
    _option(
        LEARNING,
        "Train nothing: sweep the rate for some steps, draw the loss (OUT/learning-rate.png) and "
        "suggest one.",
        "--find-lr",
    ),
]
ScheduleOption = Annotated[
    str | None,
    _option(
        LEARNING,
        "How the learning rate falls: cosine, plateau (to less whenever the validation loss "
        "stands still), or constant.  [default: cosine]",
    ),
]
WarmupOption = Annotated[
    float | None,
    _option(LEARNING, "Epochs over which the rate rises at the start of each stage.  [default: 0]"),
]
ClipNormOption = Annotated[
    float | None,
    _option(LEARNING, "Shorten longer gradients to this length; 1.0 tames a loss that jumps."),
]
EmaOption = Annotated[
    float | None,
    _option(
        LEARNING,
        "Keep a moving average of the weights, and answer with it: the share of the old in each "
        "step, such as 0.99.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    _option(
        LEARNING,
        "Compute in float32, bfloat16 or float16; the model that is saved is float32 anyway.  "
        "[default: auto, bfloat16 where the hardware gains by it]",
    ),
]
BalanceOption = Annotated[
    str | None,
    _option(
        LEARNING,
        "weights: rare classes count more, so that each class counts the same; none: each picture "
        "counts the same.  [default: weights]",
    ),
]
FocalOption = Annotated[
    float | None,
    _option(LEARNING, "Focal loss, which looks at the hard pictures: its gamma, such as 2."),
]
DropoutOption = Annotated[
    float | None,
    _option(
        REGULARISING,
        "Share of the features left out before the last layer.  [default: the architecture's]",
    ),
]
L1Option = Annotated[
    float | None, _option(REGULARISING, "Loss for each weight's size, such as 1e-6.", "--l1")
]
L2Option = Annotated[
    float | None, _option(REGULARISING, "Loss for each weight's square, such as 1e-4.", "--l2")
]
SmoothingOption = Annotated[
    float | None,
    _option(REGULARISING, "Certainty taken from the right answers, such as 0.1."),
]
MixupOption = Annotated[
    float | None,
    _option(MIXING, "Blend pictures in pairs, and their labels: its alpha, such as 0.2."),
]
CutmixOption = Annotated[
    float | None,
    _option(
        MIXING,
        "Paste a piece of one picture into another, up to such a share: 1.0. With --mixup, each "
        "batch gets one of both.",
    ),
]
RandAugmentOption = Annotated[
    float | None,
    _option(
        MIXING,
        "Two random changes of colour or shape for each batch, so strong: 0.3. Costs more time "
        "than --augment.",
    ),
]
TensorboardOption = Annotated[
    Path | None, _option(WATCHING, "Write TensorBoard's logs into this folder.")
]
MlflowOption = Annotated[
    str | None,
    _option(WATCHING, "Tell this MLflow tracking server of every epoch, such as http://host:5000."),
]
DistributedOption = Annotated[
    bool,
    _option(
        TOGETHER,
        "Train on all devices of this machine, or of all processes that SLURM, Kubernetes, MPI or "
        "a TPU pod started with this command.",
        "--distributed",
    ),
]
CoordinatorOption = Annotated[
    str | None,
    _option(TOGETHER, "HOST:PORT of the process with id 0, where nothing tells who else there is."),
]
ProcessesOption = Annotated[int | None, _option(TOGETHER, "How many processes there are.")]
ProcessIdOption = Annotated[
    int | None, _option(TOGETHER, "Which of them this is, from 0; 0 writes the run.")
]
