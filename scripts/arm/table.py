"""The table of docs/arm.md: everything that was found, between two marks in the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compare import Comparison

BEGIN = "<!-- made by scripts/arm/test_arm.py: begin -->"
END = "<!-- made by scripts/arm/test_arm.py: end -->"

CPUS = {
    "cortex-a53": "Cortex-A53 (Pi 3, Zero 2 W)",
    "cortex-a72": "Cortex-A72 (Pi 4)",
    "cortex-a76": "Cortex-A76 (Pi 5)",
    "neoverse-n1": "Neoverse-N1 (Jetson Orin's nearest)",
    "cortex-a7": "Cortex-A7 (32 bits)",
}


def write_table(results: Path, page: Path) -> None:
    """Replace what stands between the marks of a page by the tables of all results."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    lines = "\n".join(_lines(results))
    page.write_text(f"{head}{BEGIN}\n\n{lines}\n\n{END}{tail}", encoding="utf-8")


def _lines(results: Path) -> Iterator[str]:
    by_environment: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(results.glob("*.json")):
        record = json.loads(file.read_text())
        by_environment.setdefault(record["environment"], []).append(record)
    for name, group in by_environment.items():
        first = group[0]
        yield f"### `{name}`: {first['machine']}, Python {first['python']}\n"
        compared = {r["cpu"]: Comparison.from_dict(r["answers"]) for r in group if "answers" in r}
        if compared:
            yield from _table(compared)
            yield ""
        for record in group:
            yield f"- {CPUS[record['cpu']]}: {_other_parts(record)}"
        yield ""


def _other_parts(record: Mapping[str, Any]) -> str:
    parts = []
    if commands := record.get("commands"):
        parts.append(f"taken for {commands['board']}, `edgeproof verify` {commands['verify']}, ")
        parts.append(f"`edgeproof run` answered {commands['video_frames']} frames of a video; ")
    parts.append(f"unit tests: {record.get('tests', 'not run')}")
    return "".join(parts) + "."


def _table(cpus: Mapping[str, Comparison]) -> Iterator[str]:
    yield "| stage, engine, variant | " + " | ".join(CPUS[cpu] for cpu in cpus) + " |"
    yield "| --- |" + " ---: |" * len(cpus)
    for stage in ("decode", "preprocess"):
        cells = [
            f"{getattr(c, stage)} of {c.photographs} differ"
            if getattr(c, stage)
            else f"same bytes, {c.photographs} photographs"
            for c in cpus.values()
        ]
        yield f"| {stage} | " + " | ".join(cells) + " |"
    keys = dict.fromkeys(key for c in cpus.values() for key in c.answers)
    for key in keys:
        version = next(c.versions.get(key, "") for c in cpus.values() if key in c.answers)
        engine, _, variant = key.partition("/")
        cells = [str(c.answers[key]) if key in c.answers else "" for c in cpus.values()]
        yield f"| {engine} {version}: {variant} | " + " | ".join(cells) + " |"
