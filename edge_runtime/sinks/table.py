"""Every kind of sink that `edgeproof run` can open, by its flag."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from edge_runtime.errors import OptionError, SinkError
from edge_runtime.pipeline import Sink
from edge_runtime.sinks.opening import SinkOpening, SinkOptions

_OURS = {"edge_runtime", "devices"}


@dataclass(frozen=True)
class SinkKind:
    """One line of the table.

    Attributes:
        flag: name of the flag's parameter, which is also a field of the options; without it there
            is no such sink.
        options: module and class.
        also: names of further flags, likewise; they mean nothing without the first.
        extra: what to install for it: `pip install 'edgeproof[EXTRA]'`.
    """

    flag: str
    options: str
    also: tuple[str, ...] = ()
    extra: str = ""


# In this order they are opened and called.
SINKS = (
    SinkKind("display", "edge_runtime.sinks.window:WindowOptions"),
    SinkKind(
        "video",
        "edge_runtime.sinks.video:VideoOptions",
        also=("segment", "video_keep", "video_quota"),
    ),
    SinkKind(
        "jsonl",
        "edge_runtime.sinks.jsonl:JsonLinesOptions",
        also=("append", "jsonl_rotate", "jsonl_keep", "fsync"),
    ),
    SinkKind(
        "keep_hard",
        "edge_runtime.sinks.hard.options:HardFlags",
        also=(
            "hard_margin",
            "hard_every",
            "hard_quota",
            "hard_most",
            "hard_days",
            "encrypt_to",
        ),
    ),
    SinkKind(
        "mqtt",
        "edge_runtime.sinks.mqtt.options:MqttFlags",
        also=(
            "mqtt_topic",
            "mqtt_discovery",
            "mqtt_gap",
            "mqtt_password_file",
            "mqtt_ca",
            "mqtt_cert",
            "mqtt_key",
        ),
        extra="mqtt",
    ),
    SinkKind(
        "webhook",
        "edge_runtime.sinks.webhook.options:WebhookFlags",
        also=("webhook_secret_file", "webhook_snapshot", "webhook_gap", "webhook_ca"),
    ),
    SinkKind(
        "web",
        "edge_runtime.sinks.web.sink:WebOptions",
        also=("host", "port", "web_token_file"),
        extra="web",
    ),
    SinkKind("status", "edge_runtime.sinks.status:StatusOptions"),
    # Last, so that its output stage holds the others.
    SinkKind(
        "metrics",
        "edge_runtime.sinks.metrics.sink:MetricsOptions",
        also=("metrics_address", "metrics_token_file"),
        extra="metrics",
    ),
)


@dataclass(frozen=True)
class AskedSink:
    """A kind of sink that the user asked for, with what was asked of it."""

    kind: SinkKind
    options: SinkOptions

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        """Make it. Raises EdgeproofError when that does not go."""
        try:
            return self.options.open(opening)
        except ModuleNotFoundError as exc:
            package = (exc.name or "").partition(".")[0]
            if package in _OURS or not self.kind.extra:
                raise
            install = f"pip install 'edgeproof[{self.kind.extra}]'"
            raise SinkError(
                f"{as_flag(self.kind.flag)} needs {package}, which is not installed: {install}"
            ) from exc


def as_flag(name: str) -> str:
    """`keep_hard` is typed as `--keep-hard`."""
    return f"--{name.replace('_', '-')}"


def asked_sinks(given: Mapping[str, Any]) -> list[AskedSink]:
    """What the flags ask for.

    Args:
        given: values by the flags' names; `None` and `False` were not given. Others
            than the sinks' may be among them.

    Raises:
        OptionError: when a flag has no meaning without another, or a value that it cannot have.
    """
    asked = []
    for kind in SINKS:
        values = {name: given.get(name) for name in (kind.flag, *kind.also)}
        values = {name: v for name, v in values.items() if v is not None and v is not False}
        if kind.flag in values:
            asked.append(AskedSink(kind, _options_class(kind)(**values)))
        elif values:
            raise OptionError(f"{as_flag(next(iter(values)))} goes with {as_flag(kind.flag)}.")
    return asked


def open_sinks(
    asked: Sequence[AskedSink], opening: SinkOpening, stack: contextlib.ExitStack
) -> list[Sink]:
    """Open what was asked for; if one fails, the stack closes those before it again.

    Raises:
        EdgeproofError: when one does not open.
    """
    sinks: list[Sink] = []
    for one in asked:
        for sink in one.open(opening):
            stack.callback(sink.close)
            sinks.append(sink)
    return sinks


def _options_class(kind: SinkKind) -> Callable[..., SinkOptions]:
    module, _, name = kind.options.partition(":")
    return cast("Callable[..., SinkOptions]", getattr(importlib.import_module(module), name))
