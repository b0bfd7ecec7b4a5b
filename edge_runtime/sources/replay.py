"""Recordings played as if they were cameras, with their faults: to test without hardware."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.errors import SourceError
from edge_runtime.sources.base import EventKind, Frame, Readable, SourceOptions, Verdict
from edge_runtime.sources.health import ALL_CONDITIONS, Watch
from edge_runtime.sources.recording import PicturesRecording, Recording, open_recording
from edge_runtime.sources.script import SCRIPT_SUFFIXES, Fault, Script, read_script

# Levels of the noise in a black picture.
_DARK = 7


@dataclass(frozen=True)
class Shot:
    """One frame of what is played.

    Attributes:
        number: counted from 0 over all that is played.
        at_s: when it was taken, in seconds from the first.
        fault: what befalls it.
    """

    number: int
    at_s: float
    fault: Fault | None


class Timeline:
    """A recording as a row of shots, from its start again where it is too short.

    Args:
        frames: how many shots; `None` for once through the recording.
    """

    def __init__(self, recording: Recording, script: Script, frames: int | None) -> None:
        self._recording, self._frames = recording, frames
        self._of_frame = script.frame_faults
        self._begun = [(fault, fault.at) for fault in script.faults]
        self._number, self._in_round = 0, 0
        self._round_s = self._last_s = 0.0

    def next(self) -> Shot | None:
        """Grab the next frame of the recording; `None` at the end."""
        if self._frames is not None and self._number >= self._frames:
            return None
        at_s = self._recording.grab()
        if at_s is None and self._frames is not None and self._in_round:
            self._recording.rewind()
            self._in_round, self._round_s = 0, self._last_s + 1 / self._recording.fps
            at_s = self._recording.grab()
        if at_s is None:
            return None
        at_s += self._round_s
        shot = Shot(self._number, at_s, self._fault(at_s))
        self._number, self._in_round, self._last_s = self._number + 1, self._in_round + 1, at_s
        return shot

    def _fault(self, at_s: float) -> Fault | None:
        found = self._of_frame[self._in_round] if self._in_round < len(self._of_frame) else None
        for place, (fault, begun) in enumerate(self._begun):
            if begun is None and fault.at_s is not None and at_s >= fault.at_s:
                begun = self._number
                self._begun[place] = (fault, begun)
            if begun is not None and fault.befalls(self._number, begun):
                found = found or fault
        return found


class Replay(Readable):
    """A recording played as a camera: in real time, newest frame only, with scripted faults.

    It begins with the first read. Not in real time, it plays as fast as it is read and drops
    nothing; what takes time in a fault then takes none, and all else is the same.

    Args:
        recording: what to play.
        script: its faults and how much to play; see `read_script`.
        realtime: whether to keep to the recording's times.
        judged: which conditions are looked for, where the options do not say.
    """

    def __init__(
        self,
        name: str,
        recording: Recording,
        script: Script = Script(),
        options: SourceOptions = SourceOptions(),
        *,
        realtime: bool = True,
        judged: frozenset[Verdict] = ALL_CONDITIONS,
    ) -> None:
        super().__init__(options.name or name)
        self.live = realtime
        self.fps = recording.fps
        frames = options.frames or script.frames
        self.frame_count = frames or recording.frame_count
        self.skipped = recording.skipped
        self.files = recording.files
        self._recording, self._options = recording, options
        self._timeline = Timeline(recording, script, frames)
        self._watch = Watch(self.name, options, default=judged)
        self._keeps_last = any(
            fault and fault.kind == "frozen" for fault in (*script.faults, *script.frame_faults)
        )
        self._last: np.ndarray | None = None
        self._started_s: float | None = None
        self._arrived_s = self._blind_until_s = 0.0
        self._stalled = self._unplugged = self._delivered = False
        self._closed = threading.Event()
        self._lock = threading.Lock()  # a recording must not be closed while it is read

    def read(self) -> Frame | None:
        """The next frame, or in real time the newest; `None` at the end.

        Raises:
            SourceError: nothing in the recording is readable; or it is unplugged by the script,
                and the options say not to reopen.
        """
        if self._started_s is None:
            self._started_s = time.perf_counter()
        while (shot := self._next()) is not None:
            if self._comes(shot) and (frame := self._frame(shot)) is not None:
                self._delivered = True
                return frame
        if self.skipped and not self._delivered and not self._closed.is_set():
            raise SourceError(f"{self.name}: nothing in it is readable: {self.skipped[0]}")
        return None

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            self._recording.close()

    def _next(self) -> Shot | None:
        with self._lock:
            return None if self._closed.is_set() else self._timeline.next()

    def _comes(self, shot: Shot) -> bool:
        """Wait for the frame; False when it never comes, or a newer one is there already."""
        kind = shot.fault.kind if shot.fault else None
        seconds = (shot.fault.seconds if shot.fault else None) or 0.0
        if shot.at_s < self._blind_until_s:
            self.dropped += 1
            return False
        if kind in ("stall", "unplug"):
            self._blind_until_s = shot.at_s + seconds
            if kind == "unplug":
                self._unplug(shot)
        if kind in ("stall", "unplug", "drop"):
            self.dropped += 1
            return False
        arrives_s = shot.at_s + seconds
        if self.live and self._now_s() - arrives_s >= 1 / self._recording.fps:
            self.dropped += 1
            return False
        if not self._wait_until(arrives_s):
            return False
        self._arrived_s = arrives_s
        self._tell_return()
        return True

    def _frame(self, shot: Shot) -> Frame | None:
        with self._lock:
            image = None if self._closed.is_set() else self._picture(shot)
        if image is None:
            return None
        condition, event = self._watch.frame(image, captured_s=shot.at_s, arrived_s=self._arrived_s)
        if event:
            self.on_event(event)
        captured_s = (self._started_s or 0.0) + shot.at_s
        if not self.live:
            captured_s = time.perf_counter() - (self._arrived_s - shot.at_s)
        file = self._recording.file()
        return Frame(image, shot.number, captured_s, file, condition, self.name)

    def _picture(self, shot: Shot) -> np.ndarray | None:
        kind = shot.fault.kind if shot.fault else None
        if kind == "frozen" and self._last is not None:
            return self._last.copy()
        image = self._recording.retrieve()
        if image is None:
            return None
        if kind == "black":
            noise = np.random.default_rng(shot.number)
            image = noise.integers(0, _DARK, image.shape, dtype=np.uint8)
        if self._keeps_last:
            self._last = image.copy()
        return image

    def _unplug(self, shot: Shot) -> None:
        self._wait_until(shot.at_s)
        if not self._options.reopen:
            raise SourceError(
                f"{self.name}: stopped delivering after {shot.number} frames (unplugged by its "
                "script); is it still connected?"
            )
        self._unplugged, self._stalled = True, False
        self._tell("lost", "unplugged by its script")
        self._tell("reopening", "until its script plugs it in again")

    def _tell_return(self) -> None:
        if self._unplugged:
            self._unplugged = False
            self._tell("reopened", "plugged in again by its script")
        elif self._stalled:
            self._stalled = False
            self._tell("recovered", "frames come again")

    def _wait_until(self, at_s: float) -> bool:
        """Wait, and tell of a stall on the way; False when closed meanwhile."""
        stalls_s = self._arrived_s + self._options.stall_s
        if at_s > stalls_s and not (self._stalled or self._unplugged):
            if not self._sleep_until(stalls_s):
                return False
            self._stalled = True
            self._tell("stalled", f"no frame for {self._options.stall_s:g} s")
        return self._sleep_until(at_s)

    def _sleep_until(self, at_s: float) -> bool:
        pause_s = at_s - self._now_s() if self.live else 0.0
        return not (self._closed.wait(pause_s) if pause_s > 0 else self._closed.is_set())

    def _now_s(self) -> float:
        return time.perf_counter() - (self._started_s or 0.0)

    def _tell(self, kind: EventKind, detail: str) -> None:
        self.on_event(self._watch.event(kind, detail))


def open_replay(path: Path, options: SourceOptions = SourceOptions()) -> Replay:
    """Open a replay: a script, or a recording to be played without faults.

    Args:
        path: a script (.toml, .json, .jsonl), a video file or a folder of pictures.

    Raises:
        SourceError: it is absent, says something it must not, or its recording does not open.
    """
    realtime = options.realtime is not False
    name = f"replay:{path}"
    if path.suffix.lower() not in SCRIPT_SUFFIXES or path.is_dir():
        recording = open_recording(path, fps=options.fps)
        return Replay(name, recording, options=options, realtime=realtime)
    script = read_script(path)
    return Replay(name, _recording_of(script, path, options), script, options, realtime=realtime)


def _recording_of(script: Script, path: Path, options: SourceOptions) -> Recording:
    fps = options.fps or script.fps
    # Asked for another rate, the recording's own times no longer hold.
    times_s = None if fps else script.times_s
    folder = path.parent / (script.pictures or "")
    if script.files is not None:
        files = [folder / name for name in script.files]
        return PicturesRecording(files, fps=fps, times_s=times_s)
    recorded = path.parent / script.video if script.video else folder
    return open_recording(recorded, fps=fps, times_s=times_s)
