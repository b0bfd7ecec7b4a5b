"""What waits for the broker: bounded, the oldest goes first."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        retain: the broker keeps it for who comes later; only the newest of a topic matters.
    """

    topic: str
    payload: bytes
    retain: bool = False


class Store:
    """Messages on their way, safe to use from several threads.

    Of a retained topic the newest message is kept, and given out again after each new connection,
    because a broker may have forgotten it. Of the others the newest `most` are kept, in order.

    Attributes:
        lost: how many others had to go.
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._retained: dict[str, Message] = {}
        self._due: dict[str, None] = {}
        self._events: deque[Message] = deque()
        self._last: Message | None = None
        self._most = most
        self.lost = 0

    def put(self, message: Message) -> None:
        """Keep a message until it is taken."""
        with self._lock:
            if message.retain:
                self._retained[message.topic] = message
                self._due[message.topic] = None
                return
            self._events.append(message)
            if len(self._events) > self._most:
                self._events.popleft()
                self.lost += 1

    def put_last(self, message: Message) -> None:
        """Keep a message that is sent after all others."""
        with self._lock:
            self._last = message

    def take(self) -> Message | None:
        """The next to send: what is retained comes first."""
        with self._lock:
            for topic in self._due:
                del self._due[topic]
                return self._retained[topic]
            if self._events:
                return self._events.popleft()
            last, self._last = self._last, None
            return last

    def start_anew(self) -> None:
        """A new connection: all that is retained is to be sent again, in its first order."""
        with self._lock:
            self._due = dict.fromkeys(self._retained)

    def __len__(self) -> int:
        with self._lock:
            return len(self._due) + len(self._events) + (self._last is not None)
