"""Which variants of a bundle may run on which engines of this machine, best first."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from devices import Profile
from edge_runtime.bundle import Bundle
from edge_runtime.engines import ENGINES, installed_engines
from edge_runtime.errors import EngineError, EngineMissingError, VariantError
from edge_runtime.manifest import Variant


@dataclass(frozen=True)
class Candidate:
    """A variant and the name of an engine here that runs files of its format."""

    variant: Variant
    engine: str

    def __str__(self) -> str:
        return f"{self.variant.name} on {self.engine}"


def candidates(
    bundle: Bundle, *, variant: str | None, engine: str | None, profile: Profile
) -> list[Candidate]:
    """What may run, best first, at least one: each variant on each engine that is installed.

    Raises:
        VariantError: when nothing fits.
        EngineMissingError: when what was asked for has no engine here.
    """
    if variant is not None:
        asked = bundle.variant(variant)
        return [Candidate(asked, name) for name in _engines_for(asked, engine, profile.engine)]
    # What the profile does not name comes last, in the bundle's own order.
    held = {v.name: v for v in bundle.variants}
    found: list[Candidate] = []
    for name in dict.fromkeys([*profile.variants, *held]):
        if name in held:
            with contextlib.suppress(EngineMissingError):
                runs_on = _engines_for(held[name], engine, profile.engine)
                found += [Candidate(held[name], each) for each in runs_on]
    if found:
        return found
    runner = f"engine {engine!r}" if engine else "an installed engine"
    raise VariantError(
        f"{bundle.path}: holds {', '.join(held)}, none of which {runner} runs here; "
        "for TFLite pip install ai-edge-litert, for ONNX pip install 'edgeproof[onnx]'."
    )


def _engines_for(variant: Variant, asked: str | None, preferred: Sequence[str]) -> list[str]:
    installed = installed_engines(variant.format)
    if asked is not None:
        if asked in installed:
            return [asked]
        if asked not in ENGINES:
            raise EngineError(f"No engine {asked!r}. Known: {', '.join(ENGINES)}.")
        if ENGINES[asked].format == variant.format:
            raise EngineMissingError(
                f"Engine {asked!r} is not installed: pip install {ENGINES[asked].install}"
            )
        raise EngineMissingError(
            f"Engine {asked!r} does not run {variant.name}; "
            f"for {variant.format} there is {', '.join(_runs(variant.format))}."
        )
    if installed:
        return [name for name in dict.fromkeys([*preferred, *installed]) if name in installed]
    installs = " or ".join(f"pip install {ENGINES[n].install}" for n in _runs(variant.format))
    raise EngineMissingError(f"No engine for {variant.name} is installed: {installs}")


def _runs(format: str) -> list[str]:
    return [name for name, entry in ENGINES.items() if entry.format == format]
