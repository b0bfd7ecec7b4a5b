"""Where frames come from: cameras, network streams, videos, pictures, recordings.

`open_source` opens whatever the user named; see docs/sources.md.
"""

from edge_runtime.sources.base import (
    Condition,
    EventKind,
    Frame,
    Source,
    SourceEvent,
    SourceOptions,
)
from edge_runtime.sources.files import Pictures, VideoFile
from edge_runtime.sources.opening import open_source

__all__ = [
    "Condition",
    "EventKind",
    "Frame",
    "Pictures",
    "Source",
    "SourceEvent",
    "SourceOptions",
    "VideoFile",
    "open_source",
]
