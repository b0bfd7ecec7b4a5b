"""What a bundle asks of a device before it is run there."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.bundle import Bundle

# Resident memory of `edgeproof run` without the model: Python, OpenCV, one engine, a few frames.
# Measured on x86-64 with a MobileNetV2 of 0.7 MB: 119 MiB; a third more for larger frames.
PROCESS_BYTES = 160 << 20
# An engine holds the file, its packed weights and its activations.
COPIES_OF_A_MODEL = 3


def disk_bytes(path: Path) -> int:
    """Space for the bundle twice: a newer one is put beside it before they are swapped.

    Raises:
        BundleError: when it does not open.
    """
    return 2 * sum(entry.bytes for entry in Bundle.open(path).manifest.files)


def memory_bytes(path: Path) -> int:
    """About what a process that runs the bundle's largest model holds.

    Raises:
        BundleError: when it does not open.
    """
    largest = max(variant.file.bytes for variant in Bundle.open(path).variants)
    return PROCESS_BYTES + COPIES_OF_A_MODEL * largest
