"""From what the user named to the source that it means."""

from __future__ import annotations

import re
from pathlib import Path

from edge_runtime.errors import SourceError
from edge_runtime.images import is_image_name
from edge_runtime.sources.address import SCHEMES, scheme_of, shown_path
from edge_runtime.sources.base import Source, SourceOptions
from edge_runtime.sources.files import Pictures, VideoFile

KINDS = (
    "a camera (0, /dev/video0, csi), an address (rtsp://, http://), a video file, a folder of "
    "pictures, a picture, or replay:FILE"
)
_INDEX = re.compile(r"\d{1,4}")
_CSI = re.compile(r"csi(?::(\d{1,2}))?", re.IGNORECASE)


def open_source(spec: str | int | Path, options: SourceOptions = SourceOptions()) -> Source:
    """Open what the user named.

    Args:
        spec: a V4L2 camera (`0`, `/dev/video0`, `/dev/v4l/by-id/...`), a CSI camera (`csi`,
            `csi:1`), a network camera (`rtsp://...`, `http://...`), a video file, a folder of
            pictures, a picture, or `replay:FILE` with a replay script, video or folder.
        options: how to open and watch it.

    Raises:
        SourceError: when it does not exist or does not open. No credentials are in its text.
    """
    text = str(spec)
    if not text.strip():
        raise SourceError(f"--source is empty; it takes {KINDS}.")
    if isinstance(spec, Path):
        return _camera_by_path(text, options) or _file(spec, options)
    if _INDEX.fullmatch(text):
        return _v4l2(f"/dev/video{int(text)}", options)
    if csi := _CSI.fullmatch(text):
        from edge_runtime.sources.csi import csi_camera
        from edge_runtime.sources.live import LiveSource

        return LiveSource(csi_camera(int(csi[1] or 0), options), options)
    if text.startswith("replay:"):
        from edge_runtime.sources.replay import open_replay

        if not (recorded := text.removeprefix("replay:")):
            raise SourceError(
                "replay: names nothing; such as replay:clip.mp4 or replay:faults.toml"
            )
        return open_replay(Path(recorded), options)
    if scheme := scheme_of(text):
        return _network(text, scheme, options)
    return _camera_by_path(text, options) or _file(Path(text), options)


def _v4l2(device: str, options: SourceOptions) -> Source:
    from edge_runtime.sources.live import LiveSource
    from edge_runtime.sources.v4l2 import V4l2Camera

    return LiveSource(V4l2Camera(device, options), options)


def _camera_by_path(text: str, options: SourceOptions) -> Source | None:
    """A path that is, leads to, or lies where there are V4L2 devices."""
    from edge_runtime.sources.v4l2 import node_index

    if text.startswith("/dev/v4l/") or node_index(text) is not None:
        return _v4l2(text, options)
    return None


def _network(url: str, scheme: str, options: SourceOptions) -> Source:
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise SourceError(f"{scheme}://... is no address that edgeproof reads; it reads {known}.")
    from edge_runtime.sources.live import LiveSource
    from edge_runtime.sources.stream import NetworkCamera

    return LiveSource(NetworkCamera(url, options), options)


def _file(path: Path, options: SourceOptions) -> Source:
    pictures = path.is_dir() or (path.is_file() and is_image_name(path))
    if not path.exists():
        raise SourceError(
            f"{shown_path(str(path))}: no such file or folder; --source takes {KINDS}."
        )
    if options.realtime or options.frames is not None:
        return _played(path, options, pictures=pictures)
    return Pictures(path, options) if pictures else VideoFile(path, options)


def _played(path: Path, options: SourceOptions, *, pictures: bool) -> Source:
    """A file played at its pace, or more than once: as a camera, but not judged as one."""
    from edge_runtime.sources.recording import PicturesRecording, open_recording
    from edge_runtime.sources.replay import Replay

    fps = options.fps
    single = pictures and path.is_file()
    recording = (
        PicturesRecording.of_folder(path, fps=fps) if single else open_recording(path, fps=fps)
    )
    return Replay(
        str(path),
        recording,
        options=options,
        realtime=bool(options.realtime),
        judged=frozenset() if pictures else frozenset({"black"}),
    )
