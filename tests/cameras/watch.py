"""Opens a source and prints one JSON object a line for each event and each frame, until a line
comes on standard input or the source ends. For tests that need a process of its own.

    watch.py SPEC [OPTIONS as JSON]
"""

import json
import sys
import threading
import time

from edge_runtime.errors import SourceError
from edge_runtime.sources import Frame, SourceEvent, SourceOptions, open_source

CELLS = 32


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def clock_age_s(frame: Frame) -> float:
    """Age by the clock in the pictures of rtsp_server.py; monotonic, as perf_counter is here."""
    height, width = frame.bgr.shape[:2]
    centres = ((2 * cell + 1) * width // (2 * CELLS) for cell in range(CELLS))
    bits = [int(frame.bgr[height // 12, x, 1] > 128) << bit for bit, x in enumerate(centres)]
    return ((int(time.monotonic() * 1000) - sum(bits)) & 0xFFFFFFFF) / 1e3


def main() -> None:
    options = SourceOptions(**json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
    try:
        source = open_source(sys.argv[1], options)
    except SourceError as exc:
        say(error=str(exc))
        return
    say(name=source.name, granted=source.granted, fps=source.fps, repr=repr(source))

    def on_event(event: SourceEvent) -> None:
        say(event=event.kind, detail=event.detail, source=event.source)

    source.on_event = on_event
    threading.Thread(target=lambda: (sys.stdin.readline(), source.close()), daemon=True).start()
    try:
        for frame in source:
            say(
                frame=frame.index,
                condition=frame.condition,
                age_s=time.perf_counter() - frame.captured_s,
                clock_age_s=clock_age_s(frame),
                shape=frame.bgr.shape,
                mean=round(float(frame.bgr.mean()), 2),
            )
    except SourceError as exc:
        say(error=str(exc))
    say(closed=True, dropped=source.dropped)


if __name__ == "__main__":
    main()
