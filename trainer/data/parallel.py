"""The same work on many pictures, on all processors, in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from edge_runtime.progress import progress_bar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], items: Sequence[T], description: str) -> Iterator[R]:
    """Yield `work` of each item, in order, behind a progress bar.

    Threads do: reading, hashing, decoding and resizing all happen outside Python's lock. Only so
    many are under way at once: a million waiting pictures would be a gigabyte of waiting.
    """
    workers = (os.cpu_count() or 1) + 1
    under_way: deque[Future[R]] = deque()
    with progress_bar(description, len(items)) as advance, ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) >= 4 * workers:
                    yield under_way.popleft().result()
                    advance(1)
            while under_way:
                yield under_way.popleft().result()
                advance(1)
        finally:
            # Ctrl-C, or an error in one of them: the others are not waited for.
            for future in under_way:
                future.cancel()
