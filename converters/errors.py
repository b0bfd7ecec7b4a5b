"""What can go wrong between a trained model and a bundle."""

from edge_runtime.errors import EdgeproofError

__all__ = ["ConversionError", "EdgeproofError", "ParityError", "RunError", "brief"]

_BRIEF = 300


class RunError(EdgeproofError, ValueError):
    """A training run's folder is missing, incomplete, or does not match its photographs."""


class ConversionError(EdgeproofError, RuntimeError):
    """A converter or quantiser cannot make a variant."""


class ParityError(EdgeproofError):
    """A variant differs from the trained model by more than its gate allows."""


def brief(exc: BaseException) -> str:
    """What a converter said, in one line: their messages run over pages of graph dumps."""
    text = " ".join(str(exc).split()) or type(exc).__name__
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}…"
