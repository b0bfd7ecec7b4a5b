"""Where results go: the terminal, JSON Lines, an annotated video, a window."""

from edge_runtime.sinks.collect import CollectingSink
from edge_runtime.sinks.jsonl import JsonLinesSink
from edge_runtime.sinks.one_source import OneSourceSink
from edge_runtime.sinks.terminal import TerminalSink
from edge_runtime.sinks.video import VideoSink
from edge_runtime.sinks.window import WindowSink

__all__ = [
    "CollectingSink",
    "JsonLinesSink",
    "OneSourceSink",
    "TerminalSink",
    "VideoSink",
    "WindowSink",
]
