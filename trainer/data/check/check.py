"""`check`: look at every picture of a data set, and say what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trainer.data.check.copies import find_copies
from trainer.data.check.facts import Facts, read_facts
from trainer.data.check.findings import Finding, Material, find_all
from trainer.data.kinds import look
from trainer.data.parallel import in_parallel
from trainer.data.places import DataOptions
from trainer.folders import Part, Picture, PictureFolder

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Checked:
    """What was found.

    Attributes:
        source: what the user named.
        facts: of every picture, in the set's order.
        findings: problems first.
    """

    source: str
    folder: PictureFolder
    facts: Sequence[Facts]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> list[Finding]:
        """Those findings that should not be left alone."""
        return [finding for finding in self.findings if finding.severity == "problem"]

    @property
    def readable(self) -> list[Facts]:
        """The pictures that can be decoded."""
        return [each for each in self.facts if each.why is None]

    @property
    def to_move(self) -> dict[str, str]:
        """What `--quarantine` takes, and why: path below the root to kind of finding."""
        found: dict[str, str] = {}
        for finding in self.findings:
            for path in finding.move:
                found.setdefault(path, finding.kind)
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """Readable pictures of each label, in each part; the part `all` where there is no split."""
        counted = Counter((each.label, each.part) for each in self.readable)
        return {
            name: {part or "all": counted[label, part] for part in self.folder.parts}
            for label, name in enumerate(self.folder.labels)
        }

    def to_json(self) -> str:
        """Everything but the pictures, for programs."""
        content: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "root": str(self.folder.root),
            "pictures": len(self.facts),
            "readable": len(self.readable),
            "problems": len(self.problems),
            "classes": self.counts(),
            "sides": _quantiles([side for each in self.readable for side in each.hw]),
            "aspect_ratios": _quantiles([each.hw[1] / each.hw[0] for each in self.readable]),
            "colours": dict(Counter(colours_of(each) for each in self.readable)),
            "findings": [asdict(finding) for finding in self.findings],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def check(source: str, options: DataOptions = DataOptions()) -> Checked:
    """Decode every picture of a data set and look for what is wrong.

    Args:
        source: see `trainer.data.kinds.look`.

    Raises:
        DataError: when there is no such set, or it cannot be read at all.
    """
    folder = look(source, options)
    jobs = [(picture, part) for part, pictures in folder.parts.items() for picture in pictures]

    def read(job: tuple[Picture, Part | None]) -> Facts:
        return read_facts(folder.root, *job)

    facts = list(in_parallel(read, jobs, "looking at the pictures"))
    material = Material(folder, facts, find_copies(facts))
    return Checked(source, folder, facts, tuple(find_all(material)))


def colours_of(facts: Facts) -> str:
    """How a file keeps its colours, such as `PNG, colour, alpha, 8 bit`."""
    header = facts.header
    if header is None:
        return "another kind of file"
    words: list[str] = [header.kind, header.colours]
    if header.alpha:
        words.append("alpha")
    if facts.is_grey and header.colours != "grey":
        words.append("all grey")
    return ", ".join([*words, f"{header.bits} bit"])


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    shares = {"min": 0, "p5": 5, "median": 50, "p95": 95, "max": 100}
    return {name: round(float(np.percentile(values, share)), 3) for name, share in shares.items()}
