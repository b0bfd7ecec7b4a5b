"""converters: a trained model in, a bundle of proven TFLite and ONNX files out.

>>> from converters import ConvertOptions, convert             # doctest: +SKIP
>>> result = convert("runs/pets", "pets.bundle")               # doctest: +SKIP
>>> result.require()   # ParityError names each variant that missed its gate  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.conversion import ConvertOptions, convert
    from converters.errors import ConversionError, ParityError, RunError
    from converters.outcome import Conversion, Outcome

__all__ = [
    "Conversion",
    "ConversionError",
    "ConvertOptions",
    "Outcome",
    "ParityError",
    "RunError",
    "convert",
]

# Names come on first use: `edgeproof --help` must not wait for them.
_HOME = {
    "Conversion": "outcome",
    "ConversionError": "errors",
    "ConvertOptions": "conversion",
    "Outcome": "outcome",
    "ParityError": "errors",
    "RunError": "errors",
    "convert": "conversion",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # No module is called as one of these names: its import would shadow the name.
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
