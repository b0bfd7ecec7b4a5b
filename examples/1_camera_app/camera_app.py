"""A camera app in a few lines: say when the answer changes.

python camera_app.py pets.bundle 0
python camera_app.py pets.bundle clip.mp4
"""

import sys

from edge_runtime import Classifier, open_source, run

CERTAIN = 0.8


class Announce:
    """A sink of your own: two methods."""

    def __init__(self) -> None:
        self.seen = None

    def write(self, result):
        answer = result.answer
        if answer and answer.score >= CERTAIN and answer.label != self.seen:
            self.seen = answer.label
            print(f"frame {result.frame.index}: {answer.label} ({answer.score:.0%})", flush=True)

    def close(self):
        pass


def main(bundle: str, source: str) -> None:
    summary = run(Classifier(bundle), open_source(source), [Announce()])
    print(f"{summary.frames} frames, {summary.fps:.0f} a second")


if __name__ == "__main__":
    main(*sys.argv[1:3])
