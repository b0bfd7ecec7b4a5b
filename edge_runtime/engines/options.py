"""What an engine may be asked for beyond its model file: delegates, providers, a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.errors import EngineError


@dataclass(frozen=True)
class Delegate:
    """An external TFLite delegate.

    Attributes:
        library: file or name of the shared library, such as `libedgetpu.so.1`.
        options: what it is told when it is made, as (key, value).
    """

    library: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Delegate:
        """Read `LIBRARY,key=value,key=value`, as the command line has it.

        Raises:
            EngineError: when it is not of that form.
        """
        library, *pairs = text.split(",")
        options = [pair.partition("=") for pair in pairs]
        if not library or "\0" in text or not all(key and equals for key, equals, _ in options):
            raise EngineError(
                f"Delegate {text!r} is not LIBRARY or LIBRARY,key=value: for example "
                "libedgetpu.so.1,device=usb"
            )
        return cls(library, tuple((key, value) for key, _, value in options))

    @property
    def name(self) -> str:
        """The library without its folder."""
        return Path(self.library).name

    def __str__(self) -> str:
        return ",".join([self.library, *(f"{key}={value}" for key, value in self.options)])


@dataclass(frozen=True)
class EngineOptions:
    """What an engine may use besides the CPU, and where it keeps what it compiles.

    Attributes:
        delegates: for TFLite files, applied in this order, before XNNPACK takes what is left.
        providers: for ONNX files, onnxruntime's execution providers, best first: `tensorrt`,
            `cuda`, `cpu`, or another that the installed onnxruntime has. The CPU always comes
            last, so that what no other takes still runs.
        cache_dir: where TensorRT keeps the engines that it builds; `None` builds them anew.
        require_accelerator: fail unless a delegate or a provider other than the CPU runs at least
            one operator.
        precision: of the model file; TensorRT must be told which one to build.
    """

    delegates: tuple[Delegate, ...] = ()
    providers: tuple[str, ...] = ("cpu",)
    cache_dir: Path | None = None
    require_accelerator: bool = False
    precision: str = "float32"

    def for_precision(self, precision: str) -> EngineOptions:
        """The same for a file of that precision."""
        return replace(self, precision=precision)


NO_OPTIONS = EngineOptions()


def parse_delegates(texts: Sequence[str]) -> tuple[Delegate, ...]:
    """Each as `Delegate.parse` reads it. Raises EngineError."""
    return tuple(Delegate.parse(text) for text in texts)
