"""What can go wrong between a folder of pictures and a trained model."""

from edge_runtime.errors import EdgeproofError

__all__ = [
    "ArchitectureError",
    "DataError",
    "DivergedError",
    "EdgeproofError",
    "InterruptedTrainingError",
    "MissingPackageError",
    "MonitorError",
    "OptionError",
    "ResumeError",
    "RunExistsError",
    "TeamError",
    "WeightsError",
]


class DataError(EdgeproofError, ValueError):
    """The folder of pictures is missing, incomplete, or of another layout."""


class OptionError(EdgeproofError, ValueError):
    """A training option has a value that it cannot have."""


class ArchitectureError(OptionError, LookupError):
    """No architecture has that name."""


class WeightsError(EdgeproofError, ValueError):
    """Starting weights cannot be had, or belong to another model."""


class RunExistsError(EdgeproofError, FileExistsError):
    """The out folder holds a run already."""


class ResumeError(EdgeproofError, ValueError):
    """A checkpoint is damaged, or was made of other pictures or with other options."""


class DivergedError(EdgeproofError, ArithmeticError):
    """The loss is no longer a finite number."""


class MissingPackageError(EdgeproofError, ImportError):
    """Training needs a package that is not installed."""


class MonitorError(EdgeproofError):
    """A server that is told of a training does not answer."""


class TeamError(EdgeproofError, RuntimeError):
    """The processes of a distributed training do not meet, or are not given the same."""


class InterruptedTrainingError(EdgeproofError):
    """Ctrl-C. What was reached by then is kept in a checkpoint."""

    exit_code = 130
