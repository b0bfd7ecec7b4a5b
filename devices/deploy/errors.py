"""What can go wrong between here and a device."""

from devices.errors import EdgeproofError


class DeployError(EdgeproofError):
    """A device did not take a release, or says that it cannot. It runs what it ran before."""


class ConnectionFailed(DeployError, ConnectionError):
    """A device cannot be reached, is not the one it was, or went away in the middle."""
