"""What can go wrong between a trained model and a bundle."""

from edge_runtime.errors import EdgeproofError

__all__ = ["ConversionError", "EdgeproofError", "ParityError", "RunError"]


class RunError(EdgeproofError, ValueError):
    """A training run's folder is missing, incomplete, or does not match its photographs."""


class ConversionError(EdgeproofError, RuntimeError):
    """A converter or quantiser cannot make a variant."""


class ParityError(EdgeproofError):
    """A variant differs from the trained model by more than its gate allows."""
