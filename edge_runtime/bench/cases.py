"""Which cases fit this machine."""

from __future__ import annotations

from collections.abc import Sequence

from devices import Device, Profile
from edge_runtime.bench.record import Case
from edge_runtime.bundle import Bundle
from edge_runtime.choice import candidates
from edge_runtime.engines import is_installed
from edge_runtime.engines.base import threads_or_all


def cases_for(
    bundle: Bundle,
    profile: Profile,
    device: Device,
    *,
    variants: Sequence[str] = (),
    engines: Sequence[str] = (),
    threads: Sequence[int] = (),
    delegates: Sequence[str] = (),
    providers: Sequence[str] = (),
) -> list[Case]:
    """Every variant on every engine here with every number of threads, and on each accelerator.

    Args:
        variants, engines, threads: only these, where given.
        delegates: each is tried on TFLite files, besides the CPU.
        providers: each but the CPU is tried on ONNX files; unless given, the profile's that the
            installed onnxruntime has.

    Raises:
        VariantError: when there is no such variant, or no engine for any.
        EngineError: when there is no such engine or provider, or it is not installed.
    """
    if is_installed("onnxruntime"):
        for name in providers:
            _known(name)  # a slip there must not wait for its turn
    counts = list(threads) or thread_counts(profile, device)
    usual = profile.threads_on(device)
    found: list[Case] = []
    every: list[str | None] = [None]
    for variant in variants or every:
        for engine in engines or every:
            for each in candidates(bundle, variant=variant, engine=engine, profile=profile):
                base = Case(variant=each.variant.name, engine=each.engine, threads=usual)
                found += [base.model_copy(update={"threads": count}) for count in counts]
                # How many threads wait for an accelerator matters little.
                if each.variant.format == "tflite":
                    found += [base.model_copy(update={"delegates": (d,)}) for d in delegates]
                else:
                    found += [
                        base.model_copy(update={"providers": (p, "cpu")})
                        for p in providers or usable_providers(profile)
                        if p != "cpu"
                    ]
    return list(dict.fromkeys(found))


def thread_counts(profile: Profile, device: Device) -> list[int]:
    """One, its doubles up to the cores that may be used, these cores, and the profile's number."""
    cores = threads_or_all(0)
    doubles = [1 << n for n in range(cores.bit_length()) if 1 << n <= cores]
    return sorted({*doubles, cores, profile.threads_on(device)})


def usable_providers(profile: Profile) -> list[str]:
    """Those of the profile's that the installed onnxruntime was built with."""
    if not is_installed("onnxruntime"):
        return []
    import onnxruntime

    here = onnxruntime.get_available_providers()
    return [name for name in profile.providers if _known(name) in here]


def _known(provider: str) -> str:
    """onnxruntime's own name for a provider. Raises EngineError."""
    from edge_runtime.engines.onnx_providers import providers_asked_for

    return providers_asked_for([provider])[0]
