"""Changes of the answer as JSON to an address on the web."""

from edge_runtime.sinks.webhook.signature import is_signed, signature

__all__ = ["is_signed", "signature"]
