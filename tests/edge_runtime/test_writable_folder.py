"""Finding out beforehand whether a folder can be made and written into."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_runtime.errors import StorageError
from edge_runtime.files import require_writable_folder


@pytest.mark.parametrize("below", ["", "new", "new/deep/er"])
def test_it_leaves_nothing_behind(tmp_path: Path, below: str):
    require_writable_folder(tmp_path / below)
    assert not list(tmp_path.iterdir())


def test_two_at_once_are_not_in_each_others_way(tmp_path: Path):
    folder = tmp_path / "cache" / "pixels"

    def ask(_: int) -> None:
        for _ in range(100):
            require_writable_folder(folder)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))


def test_a_file_in_the_way_is_told_of(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="is a file, not a folder"):
            require_writable_folder(folder)


def test_a_link_to_nowhere_is_told_of(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for folder in (tmp_path / "link", tmp_path / "link" / "below"):
        with pytest.raises(StorageError, match="cannot write"):
            require_writable_folder(folder)


def test_names_and_places_that_the_system_refuses(tmp_path: Path):
    with pytest.raises(StorageError, match="that name is too long"):
        require_writable_folder(tmp_path / "new" / ("a" * 300))
    if Path("/proc/self").exists():
        with pytest.raises(StorageError, match=r"/proc/new: .* choose another place"):
            require_writable_folder(Path("/proc/new"))
