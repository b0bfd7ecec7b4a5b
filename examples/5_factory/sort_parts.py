"""Throw out every part that is not surely good: a reject signal over GPIO.

    python sort_parts.py parts.bundle 0                                      # on a Raspberry Pi
    GPIOZERO_PIN_FACTORY=mock python sort_parts.py parts.bundle clip.mp4     # anywhere

The bundle's labels are `good`, `defective` and `empty`: the belt without a part.
"""

import sys
import time

from gpiozero import DigitalOutputDevice

from edge_runtime import Classifier, EdgeproofError, open_source, run

GOOD, DEFECTIVE, EMPTY = "good", "defective", "empty"
SURE = 0.9
REJECT_PIN, RUNNING_PIN = 17, 27
PULSE_S = 0.2
PATIENCE_S = 0.5


class Sorter:
    """Makes one decision for each part, of all the frames that show it."""

    def __init__(self):
        self.reject = DigitalOutputDevice(REJECT_PIN)
        # Wire the belt so that it runs only while this is high: who sees nothing sorts nothing.
        self.running = DigitalOutputDevice(RUNNING_PIN)
        self.answered_s = float("-inf")
        self.seen = self.good = self.bad = False
        self.parts = self.rejected = 0

    def write(self, result):
        answer = result.answer
        self.watch(result)
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

    def watch(self, result):
        """A picture that is black, frozen or old lets parts pass that nobody sees."""
        captured_s = result.frame.captured_s
        if result.answer:
            self.answered_s = captured_s
            self.running.on()
        elif captured_s - self.answered_s > PATIENCE_S:
            self.running.off()

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
        if event.kind in ("lost", "stalled", "black", "frozen", "stale"):
            self.running.off()  # until a frame is answered again

    def close(self):
        self.decide()
        self.running.off()
        time.sleep(2 * PULSE_S)  # the last pulse is a whole one
        self.reject.off()
        self.reject.close()
        self.running.close()


def main(bundle: str, source: str) -> None:
    classifier = Classifier(bundle)
    if missing := {GOOD, DEFECTIVE, EMPTY} - set(classifier.bundle.labels):
        sys.exit(f"{bundle}: has no label {', '.join(sorted(missing))}")
    sorter = Sorter()
    run(classifier, open_source(source), [sorter])
    print(f"{sorter.parts} parts, {sorter.rejected} rejected")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except EdgeproofError as exc:
        sys.exit(str(exc))
