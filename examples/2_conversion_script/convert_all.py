"""Convert every training run of a folder, and keep what passes its gates.

python convert_all.py runs bundles
"""

import sys
from pathlib import Path

from converters import ConvertOptions, ParityError, convert


def main(runs: Path, bundles: Path) -> int:
    failed = 0
    for record in sorted(runs.glob("*/training.json")):
        run = record.parent
        result = convert(run, bundles / f"{run.name}.bundle", ConvertOptions(overwrite=True))
        try:
            result.require()
        except ParityError as exc:
            failed += 1
            print(f"{run.name}: {exc}", file=sys.stderr)
        for outcome in result.outcomes:
            print(run.name, outcome.name, "shipped" if outcome.shipped else "kept back")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
