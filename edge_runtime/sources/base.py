"""What every source gives and takes: `Frame`, `SourceEvent`, `Source`, `SourceOptions`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from edge_runtime.errors import SourceError

if TYPE_CHECKING:
    from typing_extensions import Self

    from devices import CameraSettings

Verdict = Literal["ok", "black", "frozen", "stale"]
Condition = Literal[Verdict, "repeated", "filling"]
EventKind = Literal[
    "opened",
    "lost",
    "reopening",
    "reopened",
    "stalled",
    "black",
    "frozen",
    "stale",
    "recovered",
]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        bgr: uint8, shape (height, width, 3).
        index: counted from 0 over everything that the camera or file delivered, also over what
            a live source passed over: a gap is a frame that was dropped.
        captured_s: `time.perf_counter()` when it was captured, as exactly as the source knows: by
            the driver's own time stamp, else when it arrived or had been decoded.
        name: file it came from, where each frame is its own file.
        condition: "ok", or why it must not be answered as news: "black", "frozen" (the camera
            repeats one picture), "stale" (it arrived long after it was captured); in the loop also
            "repeated" (byte for byte the one before) and "filling" (its clip is not whole yet).
        source: name of the source.
    """

    bgr: np.ndarray
    index: int
    captured_s: float
    name: str | None = None
    condition: Condition = "ok"
    source: str = ""


@dataclass(frozen=True)
class SourceEvent:
    """Something that befell a source.

    Attributes:
        kind: "opened"; "lost", "reopening", "reopened" (the connection); "stalled" (no frame for
            a while); "black", "frozen", "stale" (the frames since); "recovered" (from the last
            four).
        at_s: `time.perf_counter()`.
        detail: one line for people, without credentials.
        source: name of the source.
    """

    kind: EventKind
    at_s: float
    detail: str
    source: str


@dataclass(frozen=True)
class SourceOptions:
    """How a source is opened and watched; what does not concern a kind of source, it ignores.

    Attributes:
        name: what to call the source; empty for a name made from what was opened.
        camera: settings of a device profile (kind of CSI camera, and the size and rate to ask
            for); `None` for the profile of this machine.
        width, height, fps: what to ask a camera for; `None` for what `camera` says. `fps` is also
            the rate of a folder of pictures that is played in real time.
        fourcc: pixel format to ask a V4L2 camera for; empty for the driver's own choice. Most USB
            cameras reach their full size and rate only as MJPG.
        realtime: play a file at its own pace, dropping what nobody takes in time, as a camera
            would; `None` for what suits the kind: a replay is played so, other files are not.
        frames: how many frames to play of a recording, from its start again when it ends; `None`
            for once through.
        reopen: whether a live source that was lost is opened again.
        reopen_tries: after how many tries in a row to give up; `None` for never.
        reopen_first_s, reopen_max_s: pause before the second try (the first comes at once), and
            the longest, in seconds; each is twice the one before, give or take a fifth.
        timeout_s: how long opening and reading a network stream may take, in seconds.
        stall_s: after how many seconds without a frame a live source is called stalled.
        stale_s: a frame this many seconds old when it arrives is stale.
        frozen_s: for how many seconds a camera may repeat one picture until it is called frozen;
            `None` for 3 (15 for network streams: their encoders repeat a still scene exactly).
        judge: which conditions are looked for; `None` for what suits the kind: all for live
            sources and replays, "black" for videos, none for pictures.
    """

    name: str = ""
    camera: CameraSettings | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    fourcc: str = "MJPG"
    realtime: bool | None = None
    frames: int | None = None
    reopen: bool = True
    reopen_tries: int | None = None
    reopen_first_s: float = 0.5
    reopen_max_s: float = 15.0
    timeout_s: float = 5.0
    stall_s: float = 2.0
    stale_s: float = 1.0
    frozen_s: float | None = None
    judge: frozenset[Verdict] | None = None

    def __post_init__(self) -> None:
        for option in ("width", "height", "frames", "reopen_tries"):
            _require(option, getattr(self, option), whole=True)
        for option in ("fps", "reopen_first_s", "reopen_max_s"):
            _require(option, getattr(self, option))
        for option in ("timeout_s", "stall_s", "stale_s", "frozen_s"):
            _require(option, getattr(self, option))
        if unknown := sorted((self.judge or frozenset()) - {"black", "frozen", "stale"}):
            raise SourceError(
                f"Option judge: knows no {unknown[0]!r}; it takes black, frozen and stale."
            )
        if self.fourcc and not (len(self.fourcc) == 4 and self.fourcc.isascii()):
            raise SourceError(
                f"Option fourcc: {self.fourcc!r} is no pixel format; four letters such as MJPG."
            )


def _require(option: str, value: float | None, *, whole: bool = False) -> None:
    if value is None or (0 < value < float("inf") and not (whole and value != int(value))):
        return
    want = "a whole number above 0" if whole else "a number above 0"
    raise SourceError(f"Option {option}: must be {want}; it is {value}.")


class Source(Protocol):
    """A stream of frames; iterate over it or call `read`.

    Attributes:
        name: what a person calls it; never holds credentials.
        live: frames come at their own time, and `read` gives the newest only.
        frame_count: how many are to be expected; `None` for a camera.
        fps: frames a second; `None` where there is no such thing.
        skipped: what was passed over or is missing, in words.
        dropped: how many frames of a live source were never read, as newer ones came first.
        granted: what the camera granted of what it was asked for, in words; empty for files.
        files: what it reads on the disk; nothing may be written there.
        on_event: called by `read`, in the thread that reads, with what befell the source; set it
            before the first read and nothing is missed.
    """

    name: str
    live: bool
    frame_count: int | None
    fps: float | None
    skipped: list[str]
    dropped: int
    granted: str
    files: Sequence[Path]
    on_event: Callable[[SourceEvent], None]

    def read(self) -> Frame | None:
        """The next frame; `None` at the end.

        A live source gives its newest frame, once, and waits when there is none yet. It decodes
        what is read and little else: read only what you will look at.

        Raises:
            SourceError: when the source ends before its time.
        """

    def close(self) -> None:
        """Let the camera or file go; a `read` in another thread ends. Safe to call twice."""

    def __iter__(self) -> Iterator[Frame]: ...


def ignore_event(event: SourceEvent) -> None:
    """What `on_event` is until somebody wants to know."""


class Readable(ABC):
    """What sources have in common; a new one writes `read` and `close`."""

    live: bool = False
    frame_count: int | None = None
    fps: float | None = None
    granted: str = ""
    files: Sequence[Path] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.skipped: list[str] = []
        self.dropped = 0
        self.on_event: Callable[[SourceEvent], None] = ignore_event

    @abstractmethod
    def read(self) -> Frame | None:
        """See `Source.read`."""

    @abstractmethod
    def close(self) -> None:
        """See `Source.close`."""

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"
