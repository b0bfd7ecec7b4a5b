"""What bias correction gains: every quantised variant with it and without, on held-out pictures.

    python benchmarks/bias_correction.py RUN [RUN ...]

RUN is a run of `edgeproof train`. Prints a Markdown table of figures against the trained model.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from converters.prove import prove
from converters.quantisation_plan import QuantisationPlan
from converters.subject import prepare
from converters.variants import RECIPES, Ingredients

SAMPLES, CALIBRATION = 1000, 200


def rows(run: Path) -> list[str]:
    subject = prepare(run, data=None, samples=SAMPLES, calibration=CALIBRATION, seed=0)
    ingredients = Ingredients(
        model=subject.model,
        head=subject.record.head,
        name=run.name,
        labels=subject.record.labels,
        preprocess=subject.record.preprocess,
        pixels=subject.calibration.inputs,
    )
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for recipe in RECIPES:
            if not recipe.plans:
                continue
            cells = []
            for correct in (False, True):
                plan = replace(QuantisationPlan(), correct_biases=correct)
                file = Path(scratch) / f"model.{recipe.format}"
                file.write_bytes(recipe.file(ingredients, plan))
                figures = prove(
                    recipe, file, subject.held_out, subject.reference, lambda _: None
                ).parity
                cells += [
                    f"{figures.kl_divergence or 0:.5f}",
                    f"{figures.max_abs_error or 0:.3f}",
                    f"{figures.top1_agreement:.1%}",
                ]
            lines.append(f"| {run.name} | {recipe.name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    runs = parser.parse_args().runs
    print("| run | variant | KL | max error | same | KL, corrected | max error | same |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for run in runs:
        print("\n".join(rows(run)), flush=True)


if __name__ == "__main__":
    main()
