"""Count what passes a shelf.

    python count_shelf.py shelf.bundle 0
    python count_shelf.py shelf.bundle clip.mp4

The bundle's labels are the products, and `empty` for the shelf's front with nothing in it.
"""

import sys
from collections import Counter

from edge_runtime import Classifier, EdgeproofError, open_source, run
from edge_runtime.loop.smoothing import Votes
from edge_runtime.pipeline import LoopOptions

EMPTY = "empty"


class Passes:
    """Counts each thing once, however many frames show it."""

    def __init__(self):
        self.counts = Counter()
        self.present = EMPTY

    def write(self, result):
        answer = result.answer
        if answer is None or answer.abstained or answer.label == self.present:
            return  # nothing new, or the votes are not decided yet
        self.present = answer.label
        if answer.label != EMPTY:
            self.counts[answer.label] += 1
            print(f"{answer.label}: {self.counts[answer.label]}", flush=True)

    def close(self):
        pass


def main(bundle: str, source: str) -> None:
    classifier = Classifier(bundle)
    if EMPTY not in classifier.bundle.labels:
        sys.exit(f"{bundle}: has no label {EMPTY}")
    passes = Passes()
    # Five of the last eight frames must agree: one odd frame is no product.
    options = LoopOptions(smoother=lambda: Votes(5, 8))
    run(classifier, open_source(source), [passes], options=options)
    print(
        "in all:",
        ", ".join(f"{n} {label}" for label, n in passes.counts.most_common()) or "nothing",
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except EdgeproofError as exc:
        sys.exit(str(exc))
