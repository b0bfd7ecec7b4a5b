"""How a variant's answer to a picture stands to the trained model's."""

from __future__ import annotations

from typing import Literal

Kind = Literal["lost", "won", "other"]


def kind_of(truth: int, before: int, after: int) -> Kind:
    """`lost`: only the model is right; `won`: only the variant; `other`: wrong both ways."""
    if before == truth:
        return "lost"
    return "won" if after == truth else "other"
