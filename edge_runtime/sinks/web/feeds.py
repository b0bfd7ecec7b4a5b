"""One producer for any number of readers, which works only while somebody reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable


class Feed:
    """Makes messages at its pace; every reader gets the newest, and a slow one fewer of them."""

    def __init__(
        self,
        produce: Callable[[bool], Awaitable[bytes | None]],
        every_s: float,
        again_s: float = 1.0,
        on_error: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        """Args:
        produce: the next message; `None` when there is nothing new. It is told whether it is the
            first after a time without readers, and then leaves nothing out.
        every_s: the pause between two tries.
        again_s: when nothing is new for so long, the newest is given again: some browsers show a
            picture only when the next one comes.
        on_error: told when a message could not be made; the next one is tried.
        """
        self._produce, self._every_s, self._again_s = produce, every_s, again_s
        self._on_error = on_error
        self._changed = asyncio.Condition()
        self._latest: bytes | None = None
        self._version = 0
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.readers = 0

    async def read(self) -> AsyncGenerator[bytes, None]:
        """The newest message at once, if there is one, and then each that is made."""
        self.readers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        seen = self._version if self._latest is None else -1
        try:
            while not self._closing:
                async with self._changed:
                    while self._version == seen and not self._closing:
                        await self._changed.wait()
                    seen, latest = self._version, self._latest
                if latest is not None and not self._closing:
                    yield latest
        finally:
            self.readers -= 1
            if self.readers == 0 and self._task is not None:
                self._task.cancel()
                self._task = self._latest = None

    async def close(self) -> None:
        """All readers end."""
        self._closing = True
        async with self._changed:
            self._changed.notify_all()

    async def _work(self) -> None:
        clock = asyncio.get_running_loop().time
        first, given_s = True, clock()
        while not self._closing:
            made = await self._next(first)
            first = False
            if made is None and clock() - given_s >= self._again_s:
                made = self._latest
            if made is not None:
                given_s = clock()
                async with self._changed:
                    self._latest, self._version = made, self._version + 1
                    self._changed.notify_all()
            await asyncio.sleep(self._every_s)

    async def _next(self, first: bool) -> bytes | None:
        try:
            return await self._produce(first)
        except Exception as exc:  # readers would wait for ever for a task that ended
            self._on_error(exc)
            return None
