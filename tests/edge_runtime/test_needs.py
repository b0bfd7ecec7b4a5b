"""What a bundle asks of a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime import Bundle
from edge_runtime.errors import BundleError
from edge_runtime.needs import COPIES_OF_A_MODEL, PROCESS_BYTES, disk_bytes, memory_bytes


def test_disk_for_two_of_it_and_memory_for_its_largest_model(colour_bundle: Path):
    manifest = Bundle.open(colour_bundle).manifest
    assert disk_bytes(colour_bundle) == 2 * sum(entry.bytes for entry in manifest.files)
    largest = max(variant.file.bytes for variant in manifest.variants)
    assert memory_bytes(colour_bundle) == PROCESS_BYTES + COPIES_OF_A_MODEL * largest


def test_no_bundle(tmp_path: Path):
    with pytest.raises(BundleError, match="no such bundle"):
        disk_bytes(tmp_path / "none.bundle")
