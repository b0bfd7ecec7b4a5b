"""Throw out every part that is not surely good: a reject signal over GPIO.

    python sort_parts.py parts.bundle 0                                      # on a Raspberry Pi
    GPIOZERO_PIN_FACTORY=mock python sort_parts.py parts.bundle clip.mp4     # anywhere

The bundle's labels are `good`, `defective` and `empty`: the belt without a part.
"""

import sys
import time

from gpiozero import DigitalOutputDevice

from edge_runtime import Classifier, open_source, run

GOOD, DEFECTIVE, EMPTY = "good", "defective", "empty"
SURE = 0.9
REJECT_PIN, RUNNING_PIN = 17, 27
PULSE_S = 0.2


class Sorter:
    """Makes one decision for each part, of all the frames that show it."""

    def __init__(self):
        self.reject = DigitalOutputDevice(REJECT_PIN)
        # Wire the belt so that it stops when this falls: a program that is gone sorts nothing.
        self.running = DigitalOutputDevice(RUNNING_PIN, initial_value=True)
        self.seen = self.good = self.bad = False
        self.parts = self.rejected = 0

    def write(self, result):
        answer = result.answer
        if result.is_repeat:
            return
        if answer and answer.label == EMPTY:
            self.decide()
            return
        # A black frame or an unknown part is a part as well, and not a good one.
        self.seen = True
        if answer and answer.label == GOOD and answer.score >= SURE:
            self.good = True
        if answer and answer.label == DEFECTIVE:
            self.bad = True

    def decide(self):
        """The part has passed, and lies in front of the ejector."""
        if not self.seen:
            return
        self.parts += 1
        if self.bad or not self.good:
            self.rejected += 1
            self.reject.blink(on_time=PULSE_S, off_time=0, n=1)
            print(f"part {self.parts}: rejected", flush=True)
        self.seen = self.good = self.bad = False

    def event(self, event):
        if event.kind in ("lost", "stalled"):
            self.running.off()
        elif event.kind in ("reopened", "recovered"):
            self.running.on()

    def close(self):
        self.decide()
        self.running.off()
        time.sleep(2 * PULSE_S)  # the last pulse is a whole one
        self.reject.off()
        self.reject.close()
        self.running.close()


def main(bundle: str, source: str) -> None:
    sorter = Sorter()
    run(Classifier(bundle), open_source(source), [sorter])
    print(f"{sorter.parts} parts, {sorter.rejected} rejected")


if __name__ == "__main__":
    main(*sys.argv[1:3])
