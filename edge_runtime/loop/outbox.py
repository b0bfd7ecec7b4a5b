"""Answers on their way from the workers to the caller, in the order of their frames."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Ticket(Generic[T]):
    """A place in the order, filled when its work is done.

    Attributes:
        items: what came of it.
        error: what went wrong instead; it is raised when its turn comes.
        begun_s: `time.perf_counter()` when work on it began; `None` before.
    """

    items: list[T] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False
    begun_s: float | None = None


class Outbox(Generic[T]):
    """Tickets are taken in order, filled in any order, and emptied in order.

    It is bounded: who asks for a ticket waits until the caller has emptied an old one.
    """

    def __init__(self, capacity: int) -> None:
        self._tickets: deque[Ticket[T]] = deque()
        self._extra: deque[T] = deque()
        self._capacity = capacity
        self._closed = False
        self._complete = False
        # A condition for each that waits: who has nothing to do is not woken.
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._next = threading.Condition(self._lock)

    def reserve(self) -> Ticket[T] | None:
        """The next place in the order; `None` when nobody wants answers any more."""
        with self._lock:
            while len(self._tickets) >= self._capacity and not self._closed:
                self._room.wait()
            if self._closed:
                return None
            ticket: Ticket[T] = Ticket()
            self._tickets.append(ticket)
            return ticket

    def fill(self, ticket: Ticket[T], items: list[T]) -> None:
        """The work is done; nothing may have come of it."""
        with self._lock:
            ticket.items, ticket.done = items, True
            self._tell()

    def fail(self, ticket: Ticket[T], error: BaseException) -> None:
        """The work failed: `next` raises that once everything before it was emptied."""
        with self._lock:
            ticket.error, ticket.done = error, True
            self._tell()

    def complete(self, error: BaseException | None = None) -> None:
        """No tickets will be asked for any more; an error is raised after all that came before."""
        with self._lock:
            if error is not None:
                self._tickets.append(Ticket(error=error, done=True))
            self._complete = True
            self._next.notify_all()

    @property
    def ended(self) -> bool:
        """Whether everything was taken, and nothing more will come."""
        with self._lock:
            return self._complete and not self._tickets and not self._extra

    def push(self, item: T) -> None:
        """Something outside the order, such as an event: it comes next, and never waits."""
        with self._lock:
            self._extra.append(item)
            self._tell()

    def next(self, timeout_s: float) -> list[T]:
        """What comes next; empty when that takes longer, or nothing came of it.

        Raises:
            BaseException: what a worker failed with.
        """
        with self._lock:
            if not self._ready() and not self._complete:
                self._next.wait(timeout_s)
            if self._extra:
                return [self._extra.popleft()]
            if not self._ready():
                return []
            ticket = self._tickets.popleft()
            self._room.notify()
        if ticket.error is not None:
            raise ticket.error
        return ticket.items

    def close(self) -> list[T]:
        """No more tickets are given out; what is ready, in order, up to the first that is not."""
        with self._lock:
            self._closed = True
            items = list(self._extra)
            self._extra.clear()
            while self._tickets and self._tickets[0].done and self._tickets[0].error is None:
                items += self._tickets.popleft().items
            self._room.notify_all()
            self._next.notify_all()
        return items

    def longest_work_s(self) -> float:
        """For how many seconds the longest piece of unfinished work has been worked on."""
        now = time.perf_counter()
        with self._lock:
            begun = [t.begun_s for t in self._tickets if t.begun_s is not None and not t.done]
        return now - min(begun, default=now)

    def _tell(self) -> None:
        """Wake the caller, unless what is done has to wait for its turn."""
        if self._ready():
            self._next.notify()

    def _ready(self) -> bool:
        return bool(self._extra or (self._tickets and self._tickets[0].done))
