"""Many devices at once: a canary first, then the rest, so many at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from devices.deploy.deploying import Reporter
from devices.deploy.hosts import Host
from devices.errors import EdgeproofError

T = TypeVar("T")
State = Literal["waiting", "working", "done", "failed", "left out"]


@dataclass
class Row(Generic[T]):
    """One device, as it goes.

    Attributes:
        at: what it is at, or why it failed, in words.
        result: what the work gave.
    """

    host: Host
    state: State = "waiting"
    at: str = ""
    result: T | None = None


class Fleet(Generic[T]):
    """Does the same on many devices.

    Args:
        work: on one device; told how to report. Raises `EdgeproofError` when it fails.
        is_good: whether what it gave lets the rest go on.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        work: Callable[[Host, Reporter], T],
        is_good: Callable[[T], bool] = lambda result: True,
    ) -> None:
        self.rows: list[Row[T]] = [Row(host) for host in hosts]
        self._work, self._is_good = work, is_good
        self._stop = threading.Event()

    @property
    def failed(self) -> int:
        """How many did not come to a good end."""
        return sum(row.state != "done" for row in self.rows)

    def run(self, *, parallel: int, canary: bool) -> None:
        """Work through them all.

        Args:
            parallel: at most so many at a time.
            canary: the first one alone, and the rest only if it goes well.
        """
        rest = self.rows
        if canary:
            first, *rest = self.rows
            self._one(first)
            if first.state != "done":
                for row in rest:
                    row.state, row.at = "left out", f"{first.host.address.text} did not do well"
                return
        with ThreadPoolExecutor(max_workers=parallel) as pool:
            try:
                for future in [pool.submit(self._one, row) for row in rest]:
                    future.result()
            except BaseException:
                # What has begun is brought to its end: half a deploy is no gain.
                self._stop.set()
                raise

    def _one(self, row: Row[T]) -> None:
        if self._stop.is_set():
            row.state, row.at = "left out", "interrupted"
            return

        def report(text: str) -> None:
            row.at = text

        row.state = "working"
        try:
            row.result = self._work(row.host, Reporter(on_step=report, on_progress=report))
            good = self._is_good(row.result)
            row.state = "done" if good else "failed"
        except EdgeproofError as exc:
            # The table names the device already.
            said = str(exc).removeprefix(f"{row.host.address.text}: ")
            row.state, row.at = "failed", said
