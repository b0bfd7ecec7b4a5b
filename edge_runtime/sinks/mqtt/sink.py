"""Answers to an MQTT broker."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from edge_runtime.pipeline import Result
from edge_runtime.sinks.changes import Change, Changes, gaps_s
from edge_runtime.sinks.mqtt.courier import Courier
from edge_runtime.sinks.mqtt.home_assistant import (
    Appearance,
    Camera,
    discovery,
    discovery_topic,
)
from edge_runtime.sinks.mqtt.options import MqttOptions
from edge_runtime.sinks.mqtt.store import Message, Store
from edge_runtime.sinks.naming import slug, source_slug
from edge_runtime.sinks.opening import FAREWELL_S
from edge_runtime.sinks.record import record_of
from edge_runtime.sources import SourceEvent

ONLINE, OFFLINE = b"online", b"offline"
# So often the state is told without a change, so that score and rate are not of long ago.
_REFRESH_S = 10.0
_GONE, _BACK = {"lost", "stalled"}, {"reopened", "recovered"}


class MqttSink:
    """Publishes state, events and availability; never waits for the broker.

    Below the topic: `availability` (retained, and the last will), and for each source
    `NAME/state` (retained; on a change, and every ten seconds), `NAME/event` (on a change) and
    `NAME/availability` (retained; `offline` while the camera is lost).
    """

    def __init__(
        self,
        options: MqttOptions,
        *,
        bundle: str,
        labels: tuple[str, ...],
        sources: Mapping[str, bool],
        on_note: Callable[[str], None] = lambda text: None,
        farewell_s: Callable[[], float] = lambda: FAREWELL_S,
    ) -> None:
        """Begin to connect.

        Args:
            bundle: its name.
            sources: whether it is live, by its name.
            on_note: told when the broker is gone and when it is back; from another thread.
            farewell_s: asked at the end how long to wait for the broker at most.

        Raises:
            ModuleNotFoundError: when paho-mqtt is not installed.
            OptionError: when a certificate cannot be read.
        """
        self._labels = labels
        self._changes = Changes(gaps_s(sources, options.gap_s))
        host = socket.gethostname().split(".")[0] or "device"
        base = options.topic or f"edgeproof/{slug(host)}/{slug(bundle)}"
        self._availability = f"{base}/availability"
        self._cameras = _cameras(base, list(sources))
        self._there: dict[str, bool] = {}
        self._told_s: dict[str, float] = {}
        self._store = Store(options.most_events)
        self._broker = options.broker
        self._farewell_s = farewell_s
        self._closed = False
        self._left = 0
        self._courier = Courier(
            options.broker,
            # The same in each run: the broker ends what a power cut left of the last connection,
            # whose will would otherwise be published over our "online" a minute later.
            client_id=f"edgeproof-{hashlib.sha256(base.encode()).hexdigest()[:12]}",
            will=Message(self._availability, OFFLINE, retain=True),
            store=self._store,
            on_note=on_note,
        )
        if options.discovery:
            seen = Appearance(
                key=slug(base),
                name=f"{bundle} on {host}",
                model=bundle,
                labels=labels,
                availability=self._availability,
            )
            told = discovery(seen, list(self._cameras.values()))
            self._retain(discovery_topic(options.discovery, seen), _json(told))
        self._retain(self._availability, ONLINE)

    @property
    def undelivered(self) -> int:
        """How many messages never reached the broker."""
        return self._store.lost + self._left

    def write(self, result: Result) -> None:
        source = result.frame.source
        self._say_there(source, True)
        if result.is_repeat:
            return
        if (change := self._changes.take(result)) is not None:
            self._tell(change)
        elif result.frame.captured_s - self._told_s.get(source, 0.0) >= _REFRESH_S:
            self._tell_state(result)

    def event(self, event: SourceEvent) -> None:
        if event.kind in _GONE | _BACK:
            self._say_there(event.source, event.kind in _BACK)

    def close(self) -> None:
        """Say what was held back, then farewell. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for change in self._changes.rest():
            self._tell(change)
        farewell = Message(self._availability, OFFLINE, retain=True)
        if not self._courier.close(farewell, self._farewell_s()):
            self._left = self._courier.waiting

    def _tell(self, change: Change) -> None:
        self._tell_state(change.result)
        answer = change.result.answer
        if answer is not None:
            event = {"event_type": answer.label, "before": change.before}
            event |= record_of(change.result, self._labels)
            topic = self._camera(change.result.frame.source).event
            self._courier.post(Message(topic, _json(event)))

    def _tell_state(self, result: Result) -> None:
        self._told_s[result.frame.source] = result.frame.captured_s
        state = record_of(result, self._labels)
        state |= {"fps": round(result.fps, 1), "age_ms": round(result.age_ms, 1)}
        self._retain(self._camera(result.frame.source).state, _json(state))

    def _say_there(self, source: str, there: bool) -> None:
        if self._there.get(source) is not there:
            self._there[source] = there
            self._retain(self._camera(source).availability, ONLINE if there else OFFLINE)

    def _retain(self, topic: str, payload: bytes) -> None:
        self._courier.post(Message(topic, payload, retain=True))

    def _camera(self, source: str) -> Camera:
        return self._cameras.get(source) or next(iter(self._cameras.values()))


def _cameras(base: str, sources: list[str]) -> dict[str, Camera]:
    """Topics for each source; two names that look alike in a topic get numbers."""
    cameras: dict[str, Camera] = {}
    taken: set[str] = set()
    for number, source in enumerate(sources, 1):
        key = source_slug(source)
        if key in taken:
            key = f"{key}_{number}"
        taken.add(key)
        below = f"{base}/{key}"
        cameras[source] = Camera(
            source, key, f"{below}/state", f"{below}/event", f"{below}/availability"
        )
    return cameras


def _json(value: dict[str, Any]) -> bytes:
    # A file name that is no UTF-8 becomes an escape.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="backslashreplace")
