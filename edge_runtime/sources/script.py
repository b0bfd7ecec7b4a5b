"""Replay scripts: what to play, when each frame was taken, and what goes wrong on the way."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_runtime.errors import SourceError

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

SCRIPT_SUFFIXES = (".toml", ".json", ".jsonl")
MAX_SCRIPT_BYTES = 64 << 20

FaultKind = Literal["drop", "stall", "black", "frozen", "unplug", "late"]
_LASTING = ("stall", "unplug", "late")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fault(_Strict):
    """One thing that goes wrong.

    Attributes:
        kind: "drop" (frames never come), "stall" (nothing comes for a while; what the camera saw
            meanwhile is lost), "unplug" (the same, and the camera is gone: lost and reopened),
            "black", "frozen" (one picture again and again), "late" (frames arrive after their
            time).
        at: number of the first frame it befalls, counted from 0 over all that is played.
        at_s: the same as seconds from the start.
        frames: how many frames a drop, black, frozen or late fault befalls.
        seconds: how long a stall or unplug lasts, or how late late frames are.
        every: befalls again after each so many frames.
    """

    kind: FaultKind
    at: int | None = Field(default=None, ge=0)
    at_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    frames: int = Field(default=1, ge=1)
    seconds: float | None = Field(default=None, gt=0, le=86_400, allow_inf_nan=False)
    every: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _coherent(self) -> Fault:
        if (self.at is None) == (self.at_s is None):
            raise ValueError("give either at (a frame's number) or at_s (seconds)")
        if (self.kind in _LASTING) != (self.seconds is not None):
            needs = "needs" if self.kind in _LASTING else "takes no"
            raise ValueError(f"{self.kind} {needs} seconds")
        if self.every is not None and (self.at is None or self.every < self.frames):
            raise ValueError("every goes with at, and is not below frames")
        return self

    def befalls(self, number: int, begun: int) -> bool:
        """Whether it befalls a frame; `begun`: the number of the first that it befell."""
        since = number - begun
        if since < 0:
            return False
        return (since % self.every if self.every else since) < self.frames


class _Line(_Strict):
    """One frame of a JSON Lines script."""

    at_s: float = Field(ge=0, allow_inf_nan=False)
    picture: str | None = None
    fault: FaultKind | None = None
    seconds: float | None = Field(default=None, gt=0, le=86_400, allow_inf_nan=False)


class _Header(_Strict):
    """What a script says beside its frames."""

    video: str | None = None
    pictures: str | None = None
    fps: float | None = Field(default=None, gt=0, lt=1000, allow_inf_nan=False)
    frames: int | None = Field(default=None, ge=1)
    fault: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Script:
    """What a replay plays.

    Attributes:
        video, pictures: the recording: a video file or a folder of pictures; relative to the
            script's own folder. Both absent: `files` are the recording.
        fps: frames a second, in place of the video's own times (pictures: 1).
        frames: how many frames to play, from the start again at the end; `None`: once through.
        faults: what goes wrong, counted over all that is played.
        times_s: seconds of each frame of the recording from its first; `None`: its own times.
        files: picture file of each frame, relative to `pictures` or the script's folder.
        frame_faults: what befalls each frame of the recording, each time it is played.
    """

    video: str | None = None
    pictures: str | None = None
    fps: float | None = None
    frames: int | None = None
    faults: tuple[Fault, ...] = ()
    times_s: tuple[float, ...] | None = None
    files: tuple[str, ...] | None = None
    frame_faults: tuple[Fault | None, ...] = ()


def read_script(path: Path) -> Script:
    """Read a script, TOML, JSON or JSON Lines by its suffix.

    Raises:
        SourceError: it cannot be read or says something it must not; one line names the key.
    """
    try:
        if path.stat().st_size > MAX_SCRIPT_BYTES:
            raise SourceError(f"{path}: larger than {MAX_SCRIPT_BYTES >> 20} MiB; split it.")
        text = path.read_text(encoding="utf-8")
    except SourceError:
        raise
    except OSError as exc:
        raise SourceError(f"{path}: cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise SourceError(f"{path}: is not UTF-8 text: {exc.reason}.") from exc
    if path.suffix.lower() == ".jsonl":
        return _from_lines(path, text)
    try:
        raw = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as exc:  # tomllib's and json's errors are ValueErrors
        raise SourceError(f"{path}: is not {path.suffix[1:].upper()}: {exc}.") from exc
    header = _validated(_Header, raw, str(path))
    _require_recording(header, path)
    return _script(header)


def _script(header: _Header, **more: Any) -> Script:
    about = {name: getattr(header, name) for name in ("video", "pictures", "fps", "frames")}
    return Script(**about, faults=header.fault, **more)


def _require_recording(header: _Header, path: Path) -> None:
    if header.video is not None and header.pictures is not None:
        raise SourceError(f"{path}: names a video and pictures; give one of them.")
    if not (header.video or header.pictures):
        raise SourceError(f"{path}: names no recording; give either video or pictures.")


def _from_lines(path: Path, text: str) -> Script:
    header, lines = _Header(), list[_Line]()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise SourceError(f"{where}: is not JSON: {exc}.") from exc
        if number == 1 and isinstance(raw, dict) and "at_s" not in raw:
            header = _validated(_Header, raw, where)
            continue
        lines.append(_validated(_Line, raw, where))
        if len(lines) > 1 and lines[-1].at_s <= lines[-2].at_s:
            raise SourceError(f"{where}: at_s is not after the line before.")
    if not lines:
        raise SourceError(f'{path}: holds no frame; each line is one, such as {{"at_s": 0.0}}.')
    pictured = tuple(line.picture for line in lines if line.picture is not None)
    if len(pictured) not in (0, len(lines)):
        raise SourceError(f"{path}: some lines have a picture and some have none.")
    if not pictured:
        _require_recording(header, path)
    elif header.video is not None:
        raise SourceError(f"{path}: has a video, and a picture in each line; choose one.")
    return _script(
        header,
        times_s=tuple(line.at_s - lines[0].at_s for line in lines),
        files=pictured or None,
        frame_faults=tuple(_of_line(line, f"{path}: at_s {line.at_s:g}") for line in lines),
    )


def _of_line(line: _Line, where: str) -> Fault | None:
    if line.fault is None:
        return None
    raw = {"kind": line.fault, "at": 0, "seconds": line.seconds}
    fault: Fault = _validated(Fault, raw, where)
    return fault


def _validated(model: type[Any], raw: object, where: str) -> Any:
    if not isinstance(raw, dict):
        raise SourceError(f"{where}: holds a {type(raw).__name__} where names with values belong.")
    try:
        return model.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise SourceError(f"{where}: {f'{key}: ' if key else ''}{what}.") from exc
