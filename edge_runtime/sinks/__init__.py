"""Where results go. `table.py` lists the kinds, `opening.py` says how to write one."""

from edge_runtime.loop.callback import CallbackSink
from edge_runtime.loop.queued import QueuedSink
from edge_runtime.sinks.collect import CollectingSink
from edge_runtime.sinks.jsonl import JsonLinesSink
from edge_runtime.sinks.one_source import OneSourceSink
from edge_runtime.sinks.terminal import TerminalSink
from edge_runtime.sinks.video import VideoSink
from edge_runtime.sinks.window import WindowSink

__all__ = [
    "CallbackSink",
    "CollectingSink",
    "JsonLinesSink",
    "OneSourceSink",
    "QueuedSink",
    "TerminalSink",
    "VideoSink",
    "WindowSink",
]
