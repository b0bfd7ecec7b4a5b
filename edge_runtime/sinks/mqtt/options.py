"""What can be said about MQTT, in a program and on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import OptionError
from edge_runtime.pipeline import Sink
from edge_runtime.sinks.mqtt.broker import Broker
from edge_runtime.sinks.opening import SinkOpening, SinkOptions

# Events for the time without a broker: over a quarter of an hour of one a second.
MOST_EVENTS = 1000


@dataclass(frozen=True)
class MqttOptions:
    """Where to, and under which names.

    Attributes:
        topic: what all topics begin with; empty for `edgeproof/HOST/BUNDLE`.
        discovery: Home Assistant's prefix for discovery; empty for none.
        gap_s: events of one source are at least so far apart; `None`: a second for cameras, and
            for files every change is told.
        most_events: how many are kept while the broker is away.
    """

    broker: Broker
    topic: str = ""
    discovery: str = "homeassistant"
    gap_s: float | None = None
    most_events: int = MOST_EVENTS

    def __post_init__(self) -> None:
        for name in ("topic", "discovery"):
            value = getattr(self, name)
            bad = re.search(r"[+#]|//|^/|/$", value) or not value.isprintable()
            if bad or len(value.encode(errors="replace")) > 200 or value.startswith("$"):
                raise OptionError(
                    f"--mqtt-{name} {value!r}: write a topic such as home/porch, without +, # and "
                    "what does not print."
                )


@dataclass(frozen=True)
class MqttFlags(SinkOptions):
    """The flags; see `Broker` and `MqttOptions`."""

    mqtt: str
    mqtt_topic: str | None = None
    mqtt_discovery: str = "homeassistant"
    mqtt_gap: float | None = None
    mqtt_password_file: Path | None = None
    mqtt_ca: Path | None = None
    mqtt_cert: Path | None = None
    mqtt_key: Path | None = None

    def __post_init__(self) -> None:
        self.settings()  # raises now, before a model is loaded

    def settings(self) -> MqttOptions:
        """Raises OptionError for what cannot be meant."""
        if self.mqtt_topic == "":
            raise OptionError("--mqtt-topic: is empty; without it there is a topic, too.")
        if self.mqtt_discovery == "":
            raise OptionError("--mqtt-discovery: is empty; write none for none.")
        if self.mqtt_gap is not None and not math.isfinite(self.mqtt_gap):
            raise OptionError(f"--mqtt-gap {self.mqtt_gap}: write seconds, such as 5.")
        broker = Broker.parse(
            self.mqtt,
            password_file=self.mqtt_password_file,
            ca=self.mqtt_ca,
            certificate=self.mqtt_cert,
            key=self.mqtt_key,
        )
        broker.tls_context()
        discovery = "" if self.mqtt_discovery == "none" else self.mqtt_discovery
        return MqttOptions(broker, self.mqtt_topic or "", discovery, self.mqtt_gap)

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        from edge_runtime.sinks.mqtt.sink import MqttSink

        settings = self.settings()
        sink = MqttSink(
            settings,
            bundle=opening.bundle.name,
            labels=opening.bundle.labels,
            sources=opening.lives,
            on_note=opening.note,
            farewell_s=opening.farewell_s,
        )
        if settings.broker.is_open_wire:
            opening.note(
                f"MQTT broker {settings.broker.name}: the password goes there unencrypted; "
                "mqtts:// hides it"
            )
        return [opening.queued(sink, "mqtt")]
