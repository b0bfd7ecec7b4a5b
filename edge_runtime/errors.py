"""What can go wrong on the device, each under the project's one root."""

from devices.errors import EdgeproofError, did_you_mean

__all__ = [
    "AcceleratorError",
    "BundleError",
    "EdgeproofError",
    "EngineError",
    "EngineMissingError",
    "ImageError",
    "OptionError",
    "RegistryError",
    "SinkError",
    "SourceError",
    "StorageError",
    "TaskError",
    "TensorError",
    "TrustError",
    "VariantError",
    "VerificationError",
    "did_you_mean",
]


class StorageError(EdgeproofError, OSError):
    """A file or folder could not be written: no space, no permission, already there."""


class OptionError(EdgeproofError, ValueError):
    """An option has a value that it cannot have."""


class ImageError(EdgeproofError, ValueError):
    """A picture cannot be decoded, or an array is not a picture."""


class BundleError(EdgeproofError, ValueError):
    """A bundle is damaged, incomplete, unsafe or of another schema."""


class VariantError(EdgeproofError, LookupError):
    """A bundle has no variant of that name, or none that this machine can run."""


class EngineError(EdgeproofError, RuntimeError):
    """A model file does not load or does not run on its engine."""


class EngineMissingError(EngineError):
    """The package that an engine stands on is not installed."""


class AcceleratorError(EngineError):
    """An accelerator was required, and nothing of the model runs on one."""


class TaskError(EdgeproofError, TypeError):
    """A bundle is for something else than it is asked for."""


class TensorError(EdgeproofError, ValueError):
    """A tensor has another shape or dtype than its model asks for."""


class SourceError(EdgeproofError, OSError):
    """A camera, video or folder of images does not open or ends before its time."""


class RegistryError(EdgeproofError):
    """A container registry does not give or take a bundle."""


class SinkError(EdgeproofError, OSError):
    """Predictions cannot be shown or written as asked."""


class TrustError(EdgeproofError):
    """Whom to trust cannot be told, or a key cannot do what is asked."""


class VerificationError(EdgeproofError):
    """A bundle does not answer on this machine as it did when it was made."""
