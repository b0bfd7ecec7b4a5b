"""Opening `.keras` files of others: what is in them is looked at before Keras builds it.

Keras' own safe mode refuses Lambda layers, but has been led round before by other objects whose
module and name stand in the file. Here every object must be one of Keras' own.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from converters.errors import RunError, brief
from converters.keras2 import (
    MAX_STRUCTURE_BYTES,
    MAX_WEIGHT_BYTES,
    described_objects,
    not_keras_own,
    require_no_code,
    require_whole,
)
from edge_runtime.progress import status_line

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
_PARTS = ("layers", "initializers", "regularizers", "constraints", "dtype_policies", "quantizers")
_MODELS = {"Functional", "Model", "Sequential"}
_VALUES = {"__tuple__", "__ellipsis__", "__tensor__", "__numpy__", "__keras_tensor__", "function"}


def load_keras(file: Path, *, trust: bool = False) -> Any:
    """Load a `.keras` file, without what it was trained with.

    Args:
        trust: whether code in it may run.

    Raises:
        RunError: when it is damaged, or holds code or custom objects and is not trusted.
    """
    try:
        structure = _structure(file)
        if not trust:
            require_no_code(file, _built(structure))  # TensorFlow takes seconds to load
        with status_line("loading TensorFlow"):
            from converters.keras_quiet import keras

        if not trust:
            require_plain_objects(file, structure, keras)
        # Safe mode refuses layers that carry code.
        return keras.saving.load_model(file, compile=False, safe_mode=not trust)
    except RunError:
        raise
    except Exception as exc:  # Keras raises whatever it meets
        raise RunError(f"{file}: does not load: {brief(exc)}") from exc


def load_keras3_h5(file: Path, structure: Any, *, trust: bool) -> Any:
    """Load an `.h5` that Keras 3 wrote, after the same look at its structure."""
    from converters.keras_quiet import keras

    if not trust:
        require_plain_objects(file, structure, keras)
    return keras.saving.load_model(file, compile=False, safe_mode=not trust)


def load_keras3_json(structure: Path, text: str, weights: Path, *, trust: bool) -> Any:
    """Build a model that Keras 3 wrote as JSON, and load its weights."""
    from converters.keras_quiet import keras

    described = json.loads(text)
    if not trust:
        require_plain_objects(structure, described, keras)
    model = keras.saving.deserialize_keras_object(described, safe_mode=not trust)
    model.load_weights(weights)
    return model


def _structure(file: Path) -> Any:
    """What the file says that the model is, once its weights are known to be whole."""
    import h5py

    with zipfile.ZipFile(file) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
        if total > MAX_WEIGHT_BYTES:
            raise RunError(f"{file}: unpacks to more than {MAX_WEIGHT_BYTES >> 30} GiB.")
        if archive.getinfo(CONFIG).file_size > MAX_STRUCTURE_BYTES:
            raise RunError(f"{file}: its {CONFIG} is larger than that of any model.")
        structure = json.loads(archive.read(CONFIG))
        with h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as opened:
            require_whole(file, opened)
    return structure


def _built(structure: Any) -> Any:
    """The model itself, without what it was trained with: that is not loaded."""
    if not isinstance(structure, dict):
        return structure
    return {
        "class_name": structure.get("class_name"),
        "config": structure.get("config", structure),
    }


def require_plain_objects(file: Path, structure: Any, keras: Any) -> None:
    """Raises RunError for whatever is not an object of Keras itself, or is code."""
    known = {name for part in _PARTS for name in vars(getattr(keras, part, object()))}
    known |= _MODELS | _VALUES | {"DTypePolicy"}
    operations = set(vars(keras.ops)) | set(vars(keras.activations))
    known -= {"Lambda"}
    for entry in described_objects(_built(structure)):
        kind = entry["class_name"]
        module = str(entry.get("module") or "keras")
        is_function = kind == "function" and str(entry.get("config")) in operations
        is_operation = module.startswith("keras.src.ops") and kind.isidentifier()
        own = module.split(".")[0] == "keras" and (kind in known or is_operation)
        if not own and not is_function:
            raise not_keras_own(file, entry)
