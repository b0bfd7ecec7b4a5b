"""Changes of the answer, one POST each."""

from __future__ import annotations

import base64
import json
import random
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge_runtime.pipeline import Result
from edge_runtime.sinks.changes import Change, Changes, gaps_s
from edge_runtime.sinks.noted import Noted
from edge_runtime.sinks.opening import FAREWELL_S
from edge_runtime.sinks.record import record_of
from edge_runtime.sinks.webhook.hook import Call, Outcome
from edge_runtime.sinks.webhook.options import WebhookOptions
from edge_runtime.sources import SourceEvent
from edge_runtime.text import one_line

# What waits for a receiver that is away.
MOST_WAITING, MOST_WAITING_BYTES = 100, 32 << 20
# After so long it is no news any more.
GIVE_UP_S = 900.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LAST_PAUSE_S = 0.2  # between tries at the end of the run
_JPEG_QUALITY = 85
_TOLD_EVENTS = {"lost", "reopened", "stalled", "recovered"}


@dataclass(frozen=True)
class _Letter:
    """What waits to be sent."""

    delivery: str
    body: bytes
    made_s: float


class WebhookSink:
    """Posts a JSON object for each change; never waits for the receiver.

    A call that fails is tried again after growing pauses, in order, until it is a quarter of an
    hour old. What a full queue has no room for is the oldest.
    """

    def __init__(
        self,
        options: WebhookOptions,
        *,
        bundle: str,
        labels: tuple[str, ...],
        sources: Mapping[str, bool],
        on_note: Callable[[str], None] = lambda text: None,
        farewell_s: Callable[[], float] = lambda: FAREWELL_S,
    ) -> None:
        """Args:
        bundle: its name.
        sources: whether it is live, by its name.
        on_note: told when the receiver is gone and when it is back; from another thread.
        farewell_s: asked at the end how long to wait for the receiver at most.
        """
        self._farewell_s = farewell_s
        self._news: Noted[Change] = Noted()
        self._options, self._labels, self._on_note = options, labels, on_note
        self._about = {"bundle": bundle, "host": socket.gethostname()}
        self._changes = Changes(gaps_s(sources, options.gap_s))
        self._letters: deque[_Letter] = deque()
        self._bytes = 0
        self._change = threading.Condition()
        self._closing, self._give_up_s = False, float("inf")
        self._call: Call | None = None
        self._said = ""
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="edgeproof-webhook", daemon=True)
        self._thread.start()

    @property
    def undelivered(self) -> int:
        """How many changes never reached the receiver."""
        with self._change:
            return self._lost

    def wants(self, result: Result) -> bool:
        """Whether it is news; quick, and in the loop's thread."""
        change = self._changes.take(result)
        if change is not None:
            self._news.put(result, change)
        return change is not None

    def write(self, result: Result) -> None:
        change = self._news.take(result) or self._changes.take(result)
        if change is not None:
            self._tell(result, change.before)

    def event(self, event: SourceEvent) -> None:
        if event.kind in _TOLD_EVENTS:
            at = time.time() + event.at_s - time.perf_counter()
            self._post(
                {
                    "event": event.kind,
                    "time": round(at, 3),
                    "source": event.source,
                    "detail": event.detail,
                }
            )

    def close(self) -> None:
        """Send what was held back; what is not delivered soon is given up. Safe to call twice."""
        if self._closing:
            return
        for change in self._changes.rest():
            self._tell(change.result, change.before)
        with self._change:
            self._closing = True
            self._give_up_s = time.monotonic() + self._farewell_s()
            self._change.notify_all()
        self._thread.join(max(0.0, self._give_up_s - time.monotonic()))
        if self._thread.is_alive() and (call := self._call) is not None:
            call.end()
        with self._change:
            self._lost += len(self._letters)
            self._letters.clear()

    def _tell(self, result: Result, before: str | None) -> None:
        told: dict[str, Any] = {"event": "answer", **record_of(result, self._labels)}
        told["before"] = before
        if self._options.snapshot and result.frame.bgr.size:
            told["snapshot"] = _snapshot(result.frame.bgr)
        self._post(told)

    def _post(self, told: dict[str, Any]) -> None:
        delivery = str(uuid.uuid4())
        text = json.dumps({"id": delivery, **self._about, **told}, ensure_ascii=False)
        # A file name that is no UTF-8 becomes an escape.
        letter = _Letter(
            delivery, text.encode("utf-8", errors="backslashreplace"), time.monotonic()
        )
        with self._change:
            self._letters.append(letter)
            self._bytes += len(letter.body)
            while len(self._letters) > MOST_WAITING or (
                self._bytes > MOST_WAITING_BYTES and len(self._letters) > 1
            ):
                self._drop_oldest()
            self._change.notify_all()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while (letter := self._next()) is not None:
            self._call = Call(self._options.hook, letter.body, letter.delivery)
            outcome = self._call.make()
            self._note(outcome)
            if outcome.kind != "later":
                self._done(letter, lost=outcome.kind == "never")
                pause_s = _FIRST_PAUSE_S
                continue
            wait_s = max(pause_s * random.uniform(0.8, 1.2), outcome.after_s or 0.0)
            if not self._wait(wait_s):
                return
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _wait(self, pause_s: float) -> bool:
        """Whether there is time for another try; at the end of the run, soon or never."""
        with self._change:
            if not self._closing and not self._change.wait_for(lambda: self._closing, pause_s):
                return True
        time.sleep(_LAST_PAUSE_S)
        return time.monotonic() < self._give_up_s

    def _next(self) -> _Letter | None:
        """The oldest that waits; it stays until it was taken. `None` at the end."""
        with self._change:
            while True:
                self._change.wait_for(lambda: self._letters or self._closing)
                while self._letters and time.monotonic() - self._letters[0].made_s > GIVE_UP_S:
                    self._drop_oldest()
                if self._letters:
                    return self._letters[0]
                if self._closing:
                    return None

    def _drop_oldest(self) -> None:
        self._bytes -= len(self._letters.popleft().body)
        self._lost += 1

    def _done(self, letter: _Letter, *, lost: bool) -> None:
        with self._change:
            # It may have had to make room meanwhile, and is counted then.
            if self._letters and self._letters[0] is letter:
                self._drop_oldest()
                self._lost -= not lost

    def _note(self, outcome: Outcome) -> None:
        """Say what is new, once."""
        if outcome.why == self._said:
            return
        self._said = outcome.why
        name = f"webhook {self._options.hook.name}"
        if outcome.kind == "taken":
            self._on_note(f"{name}: delivers again")
            return
        then = "tried again" if outcome.kind == "later" else "given up"
        self._on_note(f"{name}: {one_line(outcome.why)}; {then}")


def _snapshot(frame_bgr: np.ndarray) -> dict[str, str] | None:
    done, data = cv2.imencode(".jpg", frame_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        return None
    return {"type": "image/jpeg", "data": base64.b64encode(data.tobytes()).decode()}
