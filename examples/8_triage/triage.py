"""Put medical images into the order in which people should read them.

    python triage.py lesions.bundle images worklist.csv

The bundle's labels have `suspicious` among them. Every image gets onto the list, and is read by a
person: the model only says in which order, and whom to ask when it does not know.
"""

import csv
import sys
from pathlib import Path

from edge_runtime import Classifier, EdgeproofError, open_source, run

URGENT = "suspicious"
SURE = 0.95


class Worklist:
    """Collects a row for each image."""

    def __init__(self):
        self.rows = []

    def write(self, result):
        answer = result.answer
        sure = answer is not None and not answer.abstained and answer.score >= SURE
        if sure and answer.label == URGENT:
            desk, order = "first reader", 0
        elif not sure:
            # Including a score of NaN, and whatever the bundle's own limit calls unknown.
            desk, order = "expert", 1
        else:
            desk, order = "first reader", 2
        said = f"{answer.label} {answer.score:.3f}" if sure else "does not know"
        self.rows.append((order, desk, result.frame.name, said))

    def close(self):
        pass


def main(bundle: str, images: str, out: str) -> int:
    classifier = Classifier(bundle)
    if URGENT not in classifier.bundle.labels:
        sys.exit(f"{bundle}: has no label {URGENT}: nothing could be urgent")
    worklist = Worklist()
    summary = run(classifier, open_source(images), [worklist])
    unreadable = [(1, "expert", _file_of(reason), "unreadable") for reason in summary.skipped]
    rows = sorted(worklist.rows + unreadable)
    with Path(out).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["place", "desk", "image", "model"])
        table.writerows((place, *row[1:]) for place, row in enumerate(rows, 1))
    expert = sum(row[1] == "expert" for row in rows)
    print(f"{len(rows)} images, {expert} for the expert, {len(unreadable)} unreadable: {out}")
    return 1 if unreadable else 0


def _file_of(reason: str) -> str:
    """`skipped FILE: why` is what the loop says of a file that is no picture."""
    return reason.removeprefix("skipped ").partition(": ")[0]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        sys.exit(main(*sys.argv[1:]))
    except (EdgeproofError, OSError) as exc:
        sys.exit(str(exc))
