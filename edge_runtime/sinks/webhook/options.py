"""What can be said about webhooks, in a program and on the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.errors import OptionError
from edge_runtime.pipeline import Sink
from edge_runtime.sinks.opening import SinkOpening, SinkOptions
from edge_runtime.sinks.webhook.hook import Hook

# Pictures that wait to be encoded.
_MOST_PICTURES = 8


@dataclass(frozen=True)
class WebhookOptions:
    """Where to, and what.

    Attributes:
        snapshot: send the picture along, as JPEG in Base64.
        gap_s: changes of one source are at least so far apart; `None`: a second for cameras, and
            for files every change is told.
    """

    hook: Hook
    snapshot: bool = False
    gap_s: float | None = None


@dataclass(frozen=True)
class WebhookFlags(SinkOptions):
    """The flags; see `Hook` and `WebhookOptions`."""

    webhook: str = field(repr=False)  # addresses of chats are secrets
    webhook_secret_file: Path | None = None
    webhook_snapshot: bool = False
    webhook_gap: float | None = None
    webhook_ca: Path | None = None

    def __post_init__(self) -> None:
        self.settings()  # raises now, before a model is loaded

    def settings(self) -> WebhookOptions:
        """Raises OptionError for what cannot be meant."""
        if self.webhook_gap is not None and not math.isfinite(self.webhook_gap):
            raise OptionError(f"--webhook-gap {self.webhook_gap}: write seconds, such as 5.")
        hook = Hook.parse(self.webhook, secret_file=self.webhook_secret_file, ca=self.webhook_ca)
        return WebhookOptions(hook, self.webhook_snapshot, self.webhook_gap)

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        from edge_runtime.sinks.webhook.sink import WebhookSink

        settings = self.settings()
        if settings.hook.is_open_wire:
            opening.note(
                f"webhook {settings.hook.name}: what is sent there is not encrypted; https:// is"
            )
        sink = WebhookSink(
            settings,
            bundle=opening.bundle.name,
            labels=opening.bundle.labels,
            sources=opening.lives,
            on_note=opening.note,
            farewell_s=opening.farewell_s,
        )
        if self.webhook_snapshot:
            return [opening.queued(sink, "webhook", capacity=_MOST_PICTURES, pixels=True)]
        return [opening.queued(sink, "webhook")]
