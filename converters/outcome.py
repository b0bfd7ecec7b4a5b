"""What became of each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.errors import ParityError
from converters.prove import Proof
from converters.variants import Recipe


@dataclass(frozen=True, eq=False)
class Outcome:
    """One variant, made or not.

    Attributes:
        proof: `None` when it could not be made or run.
        file: its model file; `None` when it could not be made.
        problems: why it misses its gate, or what went wrong, in words; empty when it passed.
        shipped: whether it is in the bundle.
    """

    recipe: Recipe
    proof: Proof | None
    file: Path | None
    bytes: int
    problems: tuple[str, ...]
    shipped: bool

    @property
    def name(self) -> str:
        return self.recipe.name


@dataclass(frozen=True, eq=False)
class Conversion:
    """All outcomes, and the bundle; `None` where no variant could be shipped.

    Attributes:
        samples: how many held-out pictures were compared.
        held_out: which part of the data they are: `test` or `val`.
    """

    outcomes: tuple[Outcome, ...]
    bundle: Path | None
    samples: int
    held_out: str

    def require(self, accept: Sequence[str] = ()) -> None:
        """Raises ParityError when a variant has problems and is not accepted by name."""
        # What could not be made at all cannot be accepted either.
        failed = [o for o in self.outcomes if o.problems and not (o.proof and o.name in accept)]
        if not failed:
            return
        text = "; ".join(f"{o.name}: {', '.join(o.problems).rstrip('.')}" for o in failed)
        left = f"The others are in {self.bundle}." if self.bundle else "No bundle was made."
        made = [o.name for o in failed if o.proof]
        advice = f" To ship it all the same: --accept {made[0]}." if made else ""
        raise ParityError(f"{text}. {left}{advice}")
