"""Mixed precision: computing in 16 bits where the hardware gains by it; weights stay float32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.recipe import Precision

if TYPE_CHECKING:
    import keras

# x86 that multiplies bfloat16 natively; elsewhere oneDNN converts to and fro, which costs more.
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
# NVIDIA's from Ampere on.
_GPU_CAPABILITY = (8, 0)


def chosen_precision(wanted: Precision) -> Precision:
    """What `auto` means on this machine; anything else stays.

    Both kinds of hardware keep float32's range, so nothing needs to be scaled.
    """
    if wanted != "auto":
        return wanted
    from trainer.keras_quiet import keras

    if keras.backend.backend() == "jax":
        return "bfloat16" if _jax_gains() else "float32"
    return "bfloat16" if _tensorflow_gains() else "float32"


def _tensorflow_gains() -> bool:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return bool(_cpu_flags(Path("/proc/cpuinfo")) & _CPU_FLAGS)
    known = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return all(entry.get("compute_capability", (0, 0)) >= _GPU_CAPABILITY for entry in known)


def _jax_gains() -> bool:
    import jax

    devices = jax.devices()
    if devices[0].platform == "tpu":
        return True
    # XLA's CPU code has no bfloat16 convolution worth the name.
    return devices[0].platform == "gpu" and all(
        float(getattr(device, "compute_capability", 0) or 0) >= _GPU_CAPABILITY[0]
        for device in devices
    )


def _cpu_flags(cpuinfo: Path) -> set[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


def learner_of(core: keras.Model, precision: Precision) -> keras.Model:
    """What learns in place of the float32 `core`: itself, or a twin that computes in 16 bits.

    The twin has the same weights in the same order, float32 as well: `get_weights` of the one goes
    into the other, and what is saved is the float32 model.
    """
    if precision == "float32":
        return core
    from trainer.keras_quiet import keras

    policy = f"mixed_{precision}"

    def in_16_bits(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation such as `x * y` computes in what it is given
        config = layer.get_config()
        # The scale would round pixels before the first convolution does; the last layer's
        # probabilities would lie too far apart.
        if layer.name not in ("scale", "probabilities"):
            config["dtype"] = policy
        return type(layer).from_config(config)

    twin = keras.models.clone_model(core, clone_function=in_16_bits)
    twin.set_weights(core.get_weights())
    return twin
