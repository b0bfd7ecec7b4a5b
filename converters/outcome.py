"""What became of each variant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converters.errors import ParityError
from converters.prove import Proof
from converters.quantisation_plan import QuantisationPlan
from converters.variants import C_SOURCE, Recipe
from edge_runtime.manifest import Abstain, LayerNoise, RepairStep
from edge_runtime.tensors import TensorOutput


@dataclass(frozen=True, eq=False)
class Outcome:
    """One variant, made or not.

    Attributes:
        proof: `None` when it could not be made or run.
        file: its model file; `None` when it could not be made.
        problems: why it misses its gate, or what went wrong, in words; empty when it passed.
        shipped: whether it is in the bundle.
        plan: how it was quantised.
        noise: its layers, the noisiest first; empty when nobody asked.
        repair: what was tried to mend it.
        abstain: when it should answer `unknown`; `None` when it was not made, or its most certain
            answers are wrong too often.
    """

    recipe: Recipe
    proof: Proof | None
    file: Path | None
    bytes: int
    problems: tuple[str, ...]
    shipped: bool
    plan: QuantisationPlan = field(default_factory=QuantisationPlan)
    noise: tuple[LayerNoise, ...] = ()
    repair: tuple[RepairStep, ...] = ()
    abstain: Abstain | None = None

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def unsure(self) -> tuple[str, ...]:
        """Gates that are kept, but on too few pictures to tell."""
        return self.proof.verdict.unsure if self.proof else ()

    @property
    def repaired(self) -> RepairStep | None:
        """The step that mended it."""
        return next((step for step in self.repair if step.chosen), None)


@dataclass(frozen=True, eq=False)
class CSource:
    """The C++ source of the int8 file, made or not.

    Attributes:
        files: in the bundle's folder; empty when it was not made.
        problem: why not.
        asked: whether the user named it; only then is it an error that it could not be made.
    """

    files: tuple[Path, ...]
    problem: str = ""
    asked: bool = False


@dataclass(frozen=True, eq=False)
class Conversion:
    """All outcomes, and the bundle; `None` where no variant could be shipped.

    Attributes:
        c_source: `None` when it was not to be made.
        samples: how many held-out pictures were compared.
        held_out: which part of the data they are: `test` or `val`.
        warnings: what makes the proof worth less.
        labelled: whether anybody knows the right answers.
        outputs: of a model that answers raw tensors.
    """

    outcomes: tuple[Outcome, ...]
    c_source: CSource | None
    bundle: Path | None
    samples: int
    held_out: str
    warnings: tuple[str, ...] = ()
    labelled: bool = True
    outputs: tuple[TensorOutput, ...] = ()

    def require(self, accept: Sequence[str] = ()) -> None:
        """Raises ParityError when a variant has problems and is not accepted by name."""
        # What could not be made at all cannot be accepted either.
        failed = [o for o in self.outcomes if o.problems and not (o.proof and o.name in accept)]
        problems = ((o.name, ", ".join(o.problems).rstrip(".")) for o in failed)
        said = [f"{names}: {text}" for names, text in same_text(problems)]
        if self.c_source and self.c_source.asked and self.c_source.problem:
            said.append(f"{C_SOURCE}: {self.c_source.problem.rstrip('.')}")
        if not said:
            return
        left = f"The others are in {self.bundle}." if self.bundle else "No bundle was made."
        made = [o for o in failed if o.proof]
        advice = ""
        if made:
            mend = "" if made[0].repair or not made[0].recipe.plans else "To mend it: --repair. "
            accept = " ".join(f"--accept {o.name}" for o in made)
            them = "it" if len(made) == 1 else "them"
            advice = f" {mend}To ship {them} all the same: {accept}."
        raise ParityError(f"{'; '.join(said)}. {left}{advice}")


def same_text(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What is said of several variants alike, once: their names, and the text."""
    names: dict[str, list[str]] = {}
    for name, text in said:
        names.setdefault(text, []).append(name)
    return ((", ".join(alike), text) for text, alike in names.items())
