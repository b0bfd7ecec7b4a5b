"""Mutate model files and let them be opened as `edgeproof convert` opens files of others.

    python scripts/fuzz_models.py FILE... --mutations 2000 [--seed 0]

A FILE of JSON has its weights beside it; either is mutated.

Each mutation must end in facts or in one line of error: no crash of this process, no traceback, no
more memory or time than the limits. What kills the opening process is counted: it may die,
we are not. Exits with 1 when a rule was broken.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from converters.errors import EdgeproofError
from converters.incoming.inspection import Inspector, Limits
from converters.incoming.kinds import kind_of, weights_beside

LIMITS = Limits(seconds=60.0, memory_bytes=3 << 30)
# Beyond the child's limit: what Python and a slow machine take on top.
_GRACE_S = 15.0
# Of a model of JSON: how often its weights are mutated instead.
_WEIGHTS_SHARE = 0.3


@dataclass
class Tally:
    """What became of the mutations of one file."""

    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut off, overwritten, flipped, repeated, or with numbers that are too large."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(7):
            case 0:
                del data[at:]
            case 1 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 2 if data:
                data[at] = rng.randrange(256)
            case 3:
                data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)))
            case 4:
                data[at : at + rng.randrange(1, 64)] = rng.randbytes(rng.randrange(1, 64))
            case 5:
                del data[at : at + rng.randrange(1, 64)]
            case _:
                part = data[at : at + rng.randrange(1, 256)]
                data[at:at] = part * rng.choice((1, 2, 8))
        if rng.random() < 0.7 and len(data) > 4096:
            # Structure lies at the ends: most bytes in between are weights.
            place = rng.choice((0, len(data) - 2048))
            offset = place + rng.randrange(2048)
            data[offset : offset + 1] = rng.randbytes(1)
    return bytes(data)


def write_mutation(file: Path, target: Path, rng: random.Random) -> None:
    """A mutation of the file; of a ZIP mostly of a member, or its checksum hides the rest."""
    if file.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(file, target)
        victim = rng.choice([p for p in sorted(target.rglob("*")) if p.is_file()])
        victim.write_bytes(mutated(victim.read_bytes(), rng))
        return
    if not zipfile.is_zipfile(file) or rng.random() < 0.3:
        target.write_bytes(mutated(file.read_bytes(), rng))
        return
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        victim_name = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, mutated(content, rng) if name == victim_name else content)


def fuzz(file: Path, mutations: int, seed: int, limits: Limits = LIMITS) -> Tally:
    """Open so many mutations of a file."""
    kind, rng, tally = kind_of(file), random.Random(seed), Tally()
    weights = weights_beside(file, None) if kind == "json" else None
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder, Inspector(limits) as inspector:
        target = Path(folder) / f"mutation{file.suffix}"
        beside = Path(folder) / "weights.h5"
        reader = {"weights": str(beside)} if weights else {}
        for number in range(mutations):
            if weights and rng.random() < _WEIGHTS_SHARE:
                shutil.copyfile(file, target)
                write_mutation(weights, beside, rng)
            else:
                write_mutation(file, target, rng)
                if weights:
                    shutil.copyfile(weights, beside)
            start = time.monotonic()
            try:
                found = kind_of(target)
                inspector.facts(found if found in ("run", kind) else kind, target, **reader)
                outcome = "opened"
            except EdgeproofError as exc:
                text = str(exc)
                outcome = "killed" if "process that opened it" in text else "refused"
                outcome = "limit" if "took " in text else outcome
                if "\n" in text or "Traceback" in text:
                    tally.broken.append(f"mutation {number}: {text[:300]!r}")
            except Exception as exc:  # what must not happen
                outcome = "broken"
                tally.broken.append(f"mutation {number}: {type(exc).__name__}: {exc}")
            took = time.monotonic() - start
            tally.slowest_s = max(tally.slowest_s, took)
            tally.outcomes[outcome] += 1
            if took > limits.seconds + _GRACE_S:
                tally.broken.append(f"mutation {number}: took {took:.0f} s")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bad = 0
    for file in options.files:
        tally = fuzz(file, options.mutations, options.seed)
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(
            f"{file.name}: {dict(tally.outcomes)}, slowest {tally.slowest_s:.1f} s, "
            f"largest process so far {most:.2f} GiB",
            flush=True,
        )
        for line in tally.broken[:20]:
            print(f"  BROKEN {line}", flush=True)
        bad += len(tally.broken)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
