"""A bundle's model on this machine: one variant on one engine, chosen and loaded."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import devices
from devices import Profile
from edge_runtime.bundle import Bundle
from edge_runtime.choice import Candidate, candidates
from edge_runtime.engines import Engine, EngineOptions, load_engine
from edge_runtime.errors import AcceleratorError, EngineError, TensorError
from edge_runtime.folders import cache_folder
from edge_runtime.manifest import Variant
from edge_runtime.picks import Pick, find_pick
from edge_runtime.text import one_line

if TYPE_CHECKING:
    from typing_extensions import Self


def default_options(profile: Profile) -> EngineOptions:
    """What a profile says that engines may use."""
    return EngineOptions(providers=profile.providers, cache_dir=cache_folder())


class LoadedBundle(ABC):
    """What answers frames with one variant of a bundle on one engine.

    Attributes:
        bundle, variant, engine, profile: what it runs.
        tried: what came before it in the order and was passed over, each with its reason.
        pick: what `edgeproof bench --pick` chose, where that is what runs.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path,
        *,
        variant: str | None = None,
        engine: str | None = None,
        threads: int | None = None,
        profile: Profile | None = None,
        options: EngineOptions | None = None,
        use_pick: bool = True,
    ) -> None:
        """Load a variant.

        Where neither variant nor engine is given, what `edgeproof bench --pick` chose for this
        very bundle on this machine comes first, and then the profile's order. What does not load
        is passed over, with its reason in `tried`; what was asked for by name is never replaced.

        Args:
            variant: such as `tflite-int8`; unless given, the first in the profile's order that
                the bundle holds and an engine here loads.
            engine: key in `ENGINES`; unless given, the first in the profile's order that loads
                the variant.
            threads: 0 means one for each core; unless given, the pick's or the profile's.
            profile: what suits the device; unless given, that of this machine.
            options: delegates and providers; unless given, the pick's or the profile's.
            use_pick: whether a stored pick counts.

        Raises:
            BundleError: when the bundle or its file is damaged.
            TaskError: when it is a bundle for something else.
            VariantError: when there is no such variant or none can run here.
            EngineError: when nothing that is allowed loads.
            AcceleratorError: when an accelerator is required and nothing runs on one.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self._require_task()
        device = devices.detect()
        self.profile = profile = profile or devices.profile_for(device)
        self.tried: list[str] = []
        self.pick: Pick | None = None
        choices = candidates(self.bundle, variant=variant, engine=engine, profile=profile)
        default = options or default_options(profile)
        ordered = [(c, default, profile.threads_on(device)) for c in choices]
        # Delegates and providers that were asked for are of the caller's choice, not of the pick's.
        asked = options and (options.delegates or options.providers != profile.providers)
        if use_pick and not asked and variant is None and engine is None:
            self.pick, passed_over = find_pick(self.bundle, choices)
            self.tried += passed_over
        if self.pick:
            picked = self.pick.candidate(self.bundle)
            ordered.insert(0, (picked, self.pick.options(default), self.pick.threads))
        failed_before = len(self.tried)
        self.variant, self.engine, self._options = self._first_that_loads(ordered, threads)
        if len(self.tried) > failed_before:
            self.pick = None  # it came first, and `tried` says why it did not load
        self._require_fit()

    @property
    def notes(self) -> list[str]:
        """What a user should know of how it came to this variant and engine, in words."""
        notes = list(self.tried)
        if self.pick:
            notes.append(f"as picked by bench on {self.pick.made}: {self.pick.describe()}")
        return notes + list(self.engine.notes)

    def _first_that_loads(
        self, ordered: Sequence[tuple[Candidate, EngineOptions, int]], threads: int | None
    ) -> tuple[Variant, Engine, EngineOptions]:
        failures: list[EngineError] = []
        for candidate, options, usual_threads in ordered:
            options = options.for_precision(candidate.variant.precision)
            file = self.bundle.checked_file(candidate.variant.file)
            try:
                engine = load_engine(
                    candidate.engine,
                    file,
                    threads=usual_threads if threads is None else threads,
                    options=options,
                    outputs=self.bundle.manifest.outputs,
                )
                return candidate.variant, engine, options
            except (EngineError, ImportError, OSError) as exc:  # a broken package, too
                failure = exc if isinstance(exc, EngineError) else EngineError(str(exc))
                failures.append(failure)
                why = str(exc).replace(f"{file}: ", "")
                self.tried.append(f"{candidate}: {one_line(why)}")
        if len(failures) == 1:
            raise failures[0]
        if all(isinstance(each, AcceleratorError) for each in failures):
            reasons = dict.fromkeys(map(str, failures))  # the same for each of an engine's files
            raise AcceleratorError(f"{self.bundle.path}: {'; '.join(reasons)}")
        raise EngineError(f"{self.bundle.path}: nothing of it loads: {'; '.join(self.tried)}")

    def twin(self, *, threads: int | None = None) -> Self:
        """The same variant on an engine of its own: one engine serves one thread at a time.

        Args:
            threads: how many its engine gets; unless given, as many as this one has.

        Raises:
            EngineError: when there is not enough memory for another.
        """
        twin = copy.copy(self)
        twin.engine = load_engine(
            self.engine.name,
            self.bundle.checked_file(self.variant.file),
            threads=self.engine.threads if threads is None else threads,
            options=self._options,
            outputs=self.bundle.manifest.outputs,
        )
        return twin

    @abstractmethod
    def _require_task(self) -> None:
        """Refuse a bundle that is for something else. Raises TaskError."""

    def _require_fit(self) -> None:
        """A hashed file can still be another model than the manifest speaks of."""
        units = self.bundle.head.output_units(self.bundle.manifest.answered)
        want_input, want_output = self.bundle.manifest.input_shape, (units,)
        if (self.engine.input.shape, self.engine.output.shape) != (want_input, want_output):
            raise TensorError(
                f"{self.bundle.path}: {self.variant.name} maps {self.engine.input.shape} to "
                f"{self.engine.output.shape}, the manifest says {want_input} to {want_output}."
            )
