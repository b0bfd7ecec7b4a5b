"""The golden set: real inputs with the tensors that every stage must make of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_runtime.errors import BundleError

MAX_TENSOR_BYTES = 512 << 20
_ENGINE = "engine/"


@dataclass(frozen=True, eq=False)
class GoldenTensors:
    """Everything of the golden set but the encoded frames.

    Attributes:
        frames: what each encoded frame decodes to: uint8, (height, width, 3), BGR.
        frame_inputs: what `Preprocess` makes of each: uint8, (frames, H, W, 3).
        inputs: further preprocessed real pictures or clips: uint8, (samples, *input).
        reference: the trained model's probabilities for `inputs`: float32, (samples, labels).
            Of raw tensors, here and below, all outputs in one row: see `tensors.joined`.
        raw: each variant's output tensor for `inputs`, as it left the engine.
        probabilities: the same after the head: float32, (samples, labels).
        engine_raw: by (variant, engine): that engine's output tensor for the first so many of
            `inputs`; empty in bundles of schema 1.
    """

    frames: tuple[np.ndarray, ...]
    frame_inputs: np.ndarray
    inputs: np.ndarray
    reference: np.ndarray
    raw: Mapping[str, np.ndarray]
    probabilities: Mapping[str, np.ndarray]
    engine_raw: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def write(self, path: Path, *, once: bool = False) -> None:
        """Write the tensors as one compressed `.npz`; `path` need not be atomic, a bundle is.

        Args:
            once: whether probabilities that are the raw answers are left out, as those of raw
                tensors may be; up to schema 3, readers want them.
        """
        arrays = {f"frame/{i}": frame for i, frame in enumerate(self.frames)}
        arrays |= {"frame_inputs": self.frame_inputs, "inputs": self.inputs}
        arrays |= {"reference": self.reference}
        arrays |= {f"raw/{name}": array for name, array in self.raw.items()}
        arrays |= {
            f"probabilities/{name}": array
            for name, array in self.probabilities.items()
            if not once or array is not self.raw[name]
        }
        arrays |= {f"{_ENGINE}{e}/{name}": array for (name, e), array in self.engine_raw.items()}
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path, *, variants: tuple[str, ...]) -> GoldenTensors:
        """Read what `write` wrote. Nothing is unpickled, and sizes are looked at first.

        Raises:
            BundleError: when it is not such a file, or lacks a variant's tensors.
        """
        arrays = _read_arrays(path)
        arrays |= {
            f"probabilities/{name}": arrays[f"raw/{name}"]
            for name in variants
            if f"probabilities/{name}" not in arrays and f"raw/{name}" in arrays
        }
        try:
            count = sum(name.startswith("frame/") for name in arrays)
            return cls(
                frames=tuple(arrays[f"frame/{i}"] for i in range(count)),
                frame_inputs=arrays["frame_inputs"],
                inputs=arrays["inputs"],
                reference=arrays["reference"],
                raw={name: arrays[f"raw/{name}"] for name in variants},
                probabilities={name: arrays[f"probabilities/{name}"] for name in variants},
                engine_raw=_engine_arrays(arrays, variants),
            )
        except KeyError as exc:
            raise BundleError(
                f"{path}: the golden set lacks {exc}; make the bundle again."
            ) from exc


def _engine_arrays(
    arrays: Mapping[str, np.ndarray], variants: tuple[str, ...]
) -> dict[tuple[str, str], np.ndarray]:
    """By (variant, engine); what is of no known variant is not needed."""
    found = {}
    for name, array in arrays.items():
        engine, _, variant = name.removeprefix(_ENGINE).partition("/")
        if name.startswith(_ENGINE) and variant in variants:
            found[variant, engine] = array
    return found


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            size_bytes = sum(member.file_size for member in packed.infolist())
        if size_bytes > MAX_TENSOR_BYTES:
            raise ValueError(f"more than {MAX_TENSOR_BYTES >> 20} MiB of tensors")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as exc:  # numpy raises whatever it meets in a damaged header
        raise BundleError(f"{path}: not a readable golden set: {exc}.") from exc
