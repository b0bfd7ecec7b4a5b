"""Count vehicles, and say how heavy the traffic is.

    python count_traffic.py road.bundle rtsp://bridge/stream
    python count_traffic.py road.bundle clip.mp4 > day.csv

The bundle's labels are kinds of vehicles, and `empty` for the road without any.
"""

import math
import sys

from edge_runtime import Classifier, EdgeproofError, open_source, run
from edge_runtime.loop.smoothing import MovingAverage
from edge_runtime.pipeline import LoopOptions

EMPTY = "empty"
MEMORY_S = 60.0  # the rate is that of the last minute, more or less
TELL_EVERY_S = 10.0
# Two limits and not one: on a single one the answer would flutter.
HEAVY_ABOVE, LIGHT_BELOW = 20.0, 12.0  # vehicles a minute


class Traffic:
    """Counts passes, and forgets them slowly."""

    def __init__(self, seconds_of):
        self.seconds_of = seconds_of
        self.present, self.passes = EMPTY, 0
        self.rate, self.state = 0.0, "light"
        self.last_s = self.told_s = None
        print("seconds,vehicles,per_minute,traffic")

    def write(self, result):
        now_s = self.seconds_of(result.frame)
        if self.last_s is not None:
            self.rate *= math.exp(-(now_s - self.last_s) / MEMORY_S)
        self.last_s = now_s
        answer = result.answer
        if answer and not answer.abstained and answer.label != self.present:
            self.present = answer.label
            if answer.label != EMPTY:
                self.passes += 1
                self.rate += 60.0 / MEMORY_S
        limit = LIGHT_BELOW if self.state == "heavy" else HEAVY_ABOVE
        self.state = "heavy" if self.rate > limit else "light"
        if self.told_s is None or now_s - self.told_s >= TELL_EVERY_S:
            self.told_s = now_s
            self.tell()

    def tell(self):
        print(f"{self.last_s:.0f},{self.passes},{self.rate:.1f},{self.state}", flush=True)

    def close(self):
        if self.last_s is not None:
            self.tell()


def main(bundle: str, address: str) -> None:
    classifier = Classifier(bundle)
    if EMPTY not in classifier.bundle.labels:
        sys.exit(f"{bundle}: has no label {EMPTY}")
    source = open_source(address)
    # A camera's time is when a frame was captured; a video's is where in the video it lies.
    fps = None if source.live else source.fps or 25.0
    traffic = Traffic(lambda frame: frame.index / fps if fps else frame.captured_s)
    options = LoopOptions(smoother=lambda: MovingAverage(5))
    run(classifier, source, [traffic], options=options)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except EdgeproofError as exc:
        sys.exit(str(exc))
