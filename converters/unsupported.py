"""What TensorFlow's converter means by its pages of graph dumps: which operator, at which layer."""

from __future__ import annotations

import re

# loc(callsite(fused["Erfinv:", "model_1/layer_1/Erfinv@…"] at …)): 'tf.Erfinv' op is neither …
_LOCATED = re.compile(
    r"fused\[\"\w+:\", \"(?P<place>[^\"@]+)@[^\"]*\"\](?:(?!fused\[\"\w+:\", \"[^\"]*/).)*?"
    r"'tf\.(?P<operator>\w+)' op is neither"
)

_HALF = re.compile(r"tensor<[^>]*x(?:b?f16)>")


def unsupported_operators(message: str) -> str | None:
    """One line that names them, and what to do; `None` when the message is about something else."""
    found: dict[tuple[str, str], None] = {}
    for match in _LOCATED.finditer(message):
        parts = match["place"].split("/")
        found[match["operator"], parts[1] if len(parts) > 2 else parts[0]] = None
    if not found:
        return None
    if _HALF.search(message):
        return (
            "the model computes in float16, which TFLite has no operators for; export it in "
            "float32 (of Keras: under the policy float32)."
        )
    named = ", ".join(f"tf.{operator} at layer {layer!r}" for operator, layer in found)
    return f"TFLite has no operator for {named}; replace that layer by one of operators it has."
