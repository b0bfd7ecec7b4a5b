"""Keras models that were trained in half precision, brought back to the float32 of their weights.

A policy such as `mixed_float16` is for training on a GPU: weights are float32, and sums are rounded
to half precision on the way. Neither TFLite nor a small device computes so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import RunError, brief

_HALF = {"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"}
_POLICIES = {"DTypePolicy", "Policy"}


def in_float32(path: Path, model: Any) -> tuple[Any, str]:
    """The model computing in float32, and the policy it was saved with; empty for float32.

    Raises:
        RunError: when it cannot be built again.
    """
    try:
        config = model.get_config()
        found: set[str] = set()
        plain = _plain(config, found)
    except Exception:  # a model of one's own may not tell; then it stays as it is
        return model, ""
    if not found:
        return model, ""
    policy = max(found, key=len)  # a mixed one has layers of plain float16 in it
    try:
        made = type(model).from_config(plain)
        made.set_weights([np.asarray(w, np.float32) for w in model.get_weights()])
    except Exception as exc:  # Keras raises whatever it meets
        raise RunError(
            f"{path}: computes in {policy}, and cannot be built again in float32: {brief(exc)} "
            "Load it where it was made under the policy float32, and save it again."
        ) from exc
    return made, policy


def _plain(value: Any, found: set[str]) -> Any:
    """A structure with every policy of half precision as float32; those found are added."""
    if isinstance(value, dict):
        if value.get("class_name") in _POLICIES:
            name = (value.get("config") or {}).get("name")
            return "float32" if _is_half(name, found) else value
        return {
            key: "float32" if key == "dtype" and _is_half(part, found) else _plain(part, found)
            for key, part in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)([_plain(part, found) for part in value])
    return value


def _is_half(name: Any, found: set[str]) -> bool:
    if isinstance(name, str) and name in _HALF:
        found.add(name)
        return True
    return False
