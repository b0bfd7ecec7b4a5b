"""Options of commands that load an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from devices import Profile
    from edge_runtime.engines import EngineOptions

ONNXRUNTIME = "onnxruntime"

DelegateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--delegate",
        metavar="LIBRARY[,KEY=VALUE...]",
        help="External TFLite delegate, such as libedgetpu.so.1; may be repeated.",
    ),
]
ProviderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        help="onnxruntime's provider, such as tensorrt, cuda or cpu; may be repeated, best first. "
        " [default: the profile's]",
    ),
]
RequireAccelerator = Annotated[
    bool,
    typer.Option(
        "--require-accelerator",
        help="Fail instead of falling back to the CPU; say what is missing.",
    ),
]


def onnxruntime_only(variant: str | None, engine: str | None) -> str:
    """The engine that takes providers: whoever names one wants no other.

    Raises:
        OptionError: when another engine was asked for, or a variant that it does not run.
    """
    from edge_runtime.errors import OptionError

    if engine not in (None, ONNXRUNTIME):
        raise OptionError(f"--provider is onnxruntime's, and --engine is {engine}; give one.")
    if variant and variant.startswith("tflite"):
        raise OptionError(
            f"--provider is onnxruntime's, which does not run {variant}; give an onnx variant."
        )
    return ONNXRUNTIME


def engine_options(
    profile: Profile,
    delegates: Sequence[str] | None,
    providers: Sequence[str] | None,
    require_accelerator: bool,
) -> EngineOptions | None:
    """What the command line asks of an engine; `None` where it asks for nothing.

    Raises:
        EngineError: when a delegate is not of the form that it must have.
    """
    if not (delegates or providers or require_accelerator):
        return None
    from dataclasses import replace

    from edge_runtime.classifier import default_options
    from edge_runtime.engines.options import parse_delegates

    options = default_options(profile)
    return replace(
        options,
        delegates=parse_delegates(delegates or ()),
        providers=tuple(providers or options.providers),
        require_accelerator=require_accelerator,
    )
