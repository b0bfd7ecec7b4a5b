"""How the machine does, asked for by several at once, and looked at once a second."""

from __future__ import annotations

import threading
import time

from devices import Health, HealthSampler

_FRESH_S = 1.0


class SharedHealth:
    """The newest sample, at most a second old."""

    def __init__(self, sampler: HealthSampler | None = None) -> None:
        self._sampler = sampler or HealthSampler()
        self._lock = threading.Lock()
        self._sample: Health | None = None
        self._taken_s = 0.0

    def now(self) -> Health:
        """Never raises, whatever the sensors say."""
        with self._lock:
            now = time.monotonic()
            if self._sample is None or now - self._taken_s > _FRESH_S:
                self._sample, self._taken_s = self._sampler.sample(), now
            return self._sample
