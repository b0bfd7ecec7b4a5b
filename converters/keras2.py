"""Reading models that Keras 2 saved as `.h5`; most of them Keras 3 cannot read.

tf_keras is Keras 2 kept alive beside Keras 3 (extra `keras2`). It is imported under its own name:
TF_USE_LEGACY_KERAS would turn the whole process's `tf.keras` into it.

An `.h5` may carry code: a Lambda layer as marshalled bytecode, or any TensorFlow function by name.
The `safe_mode` of tf_keras does not hold for it: 2.21 runs a Lambda while it loads the file. So the
file's structure is read here first, and what is not a plain Keras layer is refused before tf_keras
sees it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, RunError, brief
from edge_runtime.progress import status_line
from edge_runtime.quiet import quiet_native_stderr

# Neither a flatbuffer nor a protobuf can be larger.
MAX_WEIGHT_BYTES = 2 << 30
MAX_STRUCTURE_BYTES = 64 << 20

# The modules of tf_keras whose classes a plain model is made of.
_PARTS = ("layers", "initializers", "regularizers", "constraints", "mixed_precision")
_MODELS = {"Functional", "Model", "Sequential"}
_VALUES = {"__tuple__", "__ellipsis__", "TensorShape"}
# These call the TensorFlow function that the file names.
_FUNCTION_LAYERS = {"TFOpLambda", "SlicingOpLambda"}
# Arithmetic only: `io.write_file` and `keras.activations.deserialize` are functions as well.
_ARITHMETIC = re.compile(
    r"(compat\.v1\.)?((math|nn|linalg|__operators__)\.\w+"
    r"|add_n|cast|clip_by_value|concat|expand_dims|identity|pad|repeat|reshape|reverse|shape"
    r"|slice|split|squeeze|stack|strided_slice|tile|transpose|unstack|image\.resize)"
)


def is_keras2(model: Any) -> bool:
    """Whether it is a model of tf_keras."""
    return any(base.__module__.split(".")[0] == "tf_keras" for base in type(model).__mro__)


def keras_of(model: Any) -> Any:
    """The module whose layers fit the model: `tf_keras` or `keras`."""
    if is_keras2(model):
        return _tf_keras()
    from converters.keras_quiet import keras

    return keras


def load_h5(file: Path, *, trust: bool = False) -> Any:
    """Load a whole model, without what it was trained with. What Keras 3 wrote, Keras 3 reads.

    Args:
        trust: whether code in it may run.

    Raises:
        ConversionError: when tf_keras is not installed.
        RunError: when the file is none, holds code or custom layers, or more than it should.
    """
    import h5py

    try:
        # Opened once: what was looked at is what is loaded.
        opened = h5py.File(file, "r")
    except OSError as exc:
        why = "no such file" if not file.exists() else f"is no HDF5 file: {brief(exc)}"
        raise RunError(f"{file}: {why}.") from exc
    with opened:
        try:
            stored = require_whole(file, opened)
            structure = _structure(file, opened)
            if not trust:
                require_no_code(file, structure)
            if str(opened.attrs.get("keras_version", "")).startswith("3"):
                from converters.incoming.keras_file import load_keras3_h5

                return load_keras3_h5(file, structure, trust=trust)
            with status_line("loading TensorFlow"):
                tf_keras = _tf_keras()
            from tensorflow import variable_creator_scope

            if not trust:
                _require_plain(file, structure, tf_keras)
            with quiet_native_stderr(), variable_creator_scope(_no_more_than(file, stored)):
                return tf_keras.models.load_model(opened, compile=False)
        except ConversionError:
            raise
        except RunError:
            raise
        except Exception as exc:  # h5py and Keras raise whatever they meet
            raise RunError(f"{file}: does not load: {brief(exc)}") from exc


def load_json(structure: Path, weights: Path, *, trust: bool = False) -> Any:
    """Build a model from its JSON, and load its weights from an HDF5 file.

    Args:
        trust: whether code in it may run.

    Raises:
        ConversionError: when tf_keras is not installed.
        RunError: when either is damaged, holds code, or they do not fit each other.
    """
    import h5py

    if structure.stat().st_size > MAX_STRUCTURE_BYTES:
        raise RunError(f"{structure}: is larger than the structure of any model.")
    try:
        text = structure.read_text(encoding="utf-8")
        described = json.loads(text)
        if not trust:
            require_no_code(structure, described)
        with h5py.File(weights, "r") as opened:
            stored = require_whole(weights, opened)
        if _is_of_keras3(described):
            from converters.incoming.keras_file import load_keras3_json

            return load_keras3_json(structure, text, weights, trust=trust)
        with status_line("loading TensorFlow"):
            tf_keras = _tf_keras()
        from tensorflow import variable_creator_scope

        if not trust:
            _require_plain(structure, described, tf_keras)
        from tf_keras.src.saving.serialization_lib import SafeModeScope

        with (
            quiet_native_stderr(),
            variable_creator_scope(_no_more_than(structure, stored)),
            SafeModeScope(not trust),
        ):
            model = tf_keras.models.model_from_json(text)
            model.load_weights(weights)
        return model
    except (RunError, ConversionError):
        raise
    except Exception as exc:  # h5py and Keras raise whatever they meet
        raise RunError(f"{structure}: does not load with {weights.name}: {brief(exc)}") from exc


def _is_of_keras3(described: Any) -> bool:
    """Keras 2 says its version beside the model; Keras 3 the module of the model itself."""
    return (
        isinstance(described, dict) and "module" in described and "keras_version" not in described
    )


def _tf_keras() -> Any:
    try:
        from converters import keras_quiet  # noqa: F401, I001  TensorFlow without its greeting
        import tf_keras
    except ModuleNotFoundError as exc:
        if exc.name != "tf_keras":
            raise
        raise ConversionError(
            "Models of Keras 2 (.h5) are read through tf_keras, which is not installed: "
            "pip install 'edgeproof[keras2]'"
        ) from exc
    return tf_keras


def require_whole(file: Path, opened: Any) -> int:
    """How many weights the file holds. Raises RunError when they lie elsewhere or are too many."""
    import h5py

    groups: list[Any] = [opened]
    datasets: list[Any] = []
    opened.visititems(lambda _, item: (groups if _is_group(item) else datasets).append(item))
    for group in groups:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise RunError(f"{file}: {group.name}/{name} is a link; the file must be whole.")
    elsewhere = [d.name for d in datasets if d.external or d.is_virtual]
    if elsewhere:
        raise RunError(f"{file}: {elsewhere[0]} lies in another file; the file must be whole.")
    if sum(d.nbytes for d in datasets) > MAX_WEIGHT_BYTES:
        raise RunError(
            f"{file}: holds more than {MAX_WEIGHT_BYTES >> 30} GiB; save it without the optimizer."
        )
    return sum(d.size for d in datasets)


def _is_group(item: Any) -> bool:
    import h5py

    return isinstance(item, h5py.Group)


def _structure(file: Path, opened: Any) -> Any:
    text = opened.attrs.get("model_config")
    if text is None or "model_weights" not in opened:
        raise RunError(
            f"{file}: holds no whole model, perhaps weights only; save it with model.save()."
        )
    if len(text) > MAX_STRUCTURE_BYTES:
        raise RunError(f"{file}: its model_config is larger than that of any model.")
    return json.loads(text)


def _require_plain(file: Path, structure: Any, tf_keras: Any) -> None:
    """Raises RunError for whatever is not an object of Keras itself, or is code."""
    known = {name for part in _PARTS for name in vars(getattr(tf_keras, part))}
    known |= _MODELS | _VALUES | _FUNCTION_LAYERS
    known -= {"Lambda"}
    for entry in described_objects(structure):
        kind, config, called = entry["class_name"], inner_config(entry), called_in_words(entry)
        module = str(entry.get("module") or "keras").split(".")[0]
        if kind not in known or module not in ("keras", "tf_keras"):
            raise not_keras_own(file, entry)
        function = config.get("function")
        if kind in _FUNCTION_LAYERS and not _ARITHMETIC.fullmatch(str(function)):
            raise RunError(
                f"{file}: {called} calls tf.{function}, which is not known to be mere arithmetic. "
                "Put a Keras layer in its place and save the model again."
            )


def require_no_code(file: Path, structure: Any) -> None:
    """Raises RunError for a Lambda layer, before any library that could run it is imported."""
    for entry in described_objects(structure):
        if entry["class_name"] in ("Lambda", "__lambda__"):
            raise RunError(
                f"{file}: {called_in_words(entry)} is a Lambda: Python code, which is not run from "
                "a file. Put a Keras layer in its place and save the model again, or --trust it if "
                "you know who made it."
            )


def not_keras_own(file: Path, entry: dict[str, Any]) -> RunError:
    """The error for an object whose class or function is somebody else's."""
    kind = entry["class_name"]
    is_what = "is" if kind == "function" else f"is a {kind!r}, which is"
    noun = "function" if kind == "function" else "layer"
    return RunError(
        f"{file}: {called_in_words(entry)} {is_what} no {noun} of Keras; its code is not in the "
        "file. Where that code is, save the model as a SavedModel, which converts "
        "(model.export('FOLDER')); or put Keras layers in its place and save it again."
    )


def called_in_words(entry: dict[str, Any]) -> str:
    """What an error calls an object that a structure describes."""
    config = inner_config(entry)
    if entry.get("class_name") == "function":  # an activation of somebody's own
        return f"the function {str(entry.get('config'))[:100]!r}"
    return f"layer {config['name']!r}" if "name" in config else "part of the model"


def inner_config(entry: dict[str, Any]) -> dict[str, Any]:
    config = entry.get("config")
    return config if isinstance(config, dict) else {}


def described_objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object described anywhere in a structure."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        for part in value.values():
            yield from described_objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from described_objects(part)


def _no_more_than(file: Path, stored: int) -> Callable[..., Any]:
    """Refuses to make variables for more numbers than the file holds, before they take memory.

    Without it, one dense layer of a billion units in the structure is enough to fill the machine.
    """
    left = stored

    def create(next_creator: Callable[..., Any], **arguments: Any) -> Any:
        nonlocal left
        shape = arguments.get("shape")
        left -= math.prod(shape) if shape else 0  # Keras' own counters have no shape
        if left < 0:
            raise RunError(f"{file}: describes more weights than the {stored} numbers it holds.")
        return next_creator(**arguments)

    return create
