"""Bundles are hostile until their hashes say otherwise."""

import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.archive import pack_bundle
from edge_runtime.bundle import Bundle
from edge_runtime.clip import Clip
from edge_runtime.errors import BundleError, VariantError
from edge_runtime.manifest import parse_manifest, safe_relative_path


def edited(bundle: Path, edit: Callable[[dict[str, Any]], None]) -> bytes:
    manifest = json.loads((bundle / "bundle.json").read_text())
    edit(manifest)
    return json.dumps(manifest).encode()


def test_a_whole_bundle_opens(colour_bundle: Path):
    bundle = Bundle.open(colour_bundle)
    bundle.check_files()
    assert bundle.labels == ("red", "green", "blue")
    assert bundle.variant("tflite-float32").file.path == "models/float32.tflite"
    with pytest.raises(VariantError, match="tflite-float32"):
        bundle.variant("tflite-int8")


def test_a_zip_is_the_same_bundle(colour_bundle: Path, tmp_path: Path):
    archive = tmp_path / "colours.zip"
    pack_bundle(colour_bundle, archive)
    bundle = Bundle.open(archive)
    bundle.check_files()
    unpacked = bundle.folder
    assert unpacked.is_dir()
    del bundle
    assert not unpacked.exists()


def all_files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_one_flipped_byte_is_found_in_every_file(colour_bundle: Path):
    for name in all_files(colour_bundle):
        file = colour_bundle / name
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            file.write_bytes(bytes(damaged))
            with pytest.raises(BundleError, match=r"damaged|changed"):
                Bundle.open(colour_bundle).check_files()
        file.write_bytes(whole)
    Bundle.open(colour_bundle).check_files()


def test_every_missing_file_is_named(colour_bundle: Path):
    for name in all_files(colour_bundle):
        file = colour_bundle / name
        whole = file.read_bytes()
        file.unlink()
        with pytest.raises(BundleError, match=Path(name).name):
            Bundle.open(colour_bundle).check_files()
        file.write_bytes(whole)


def test_a_newer_schema_asks_for_an_update(colour_bundle: Path, reseal):
    reseal(colour_bundle, edited(colour_bundle, lambda m: m.update(schema_version=5, new=1)))
    with pytest.raises(BundleError, match=r"schema 5.*update edgeproof"):
        Bundle.open(colour_bundle)


def test_a_manifest_is_written_in_the_lowest_schema_that_holds_it(colour_bundle: Path):
    """What schema 2 does not know would be refused by an edgeproof that reads no more than it."""
    newest = Bundle.open(colour_bundle).manifest.model_copy(update={"schema_version": 4})
    lowest = newest.in_lowest_schema()
    raw = json.loads(lowest.to_json())
    assert raw["schema_version"] == 2
    assert not raw.keys() & {"outputs", "clip", "temperature"}
    assert "outputs" not in raw["variants"][0]["parity"]
    assert parse_manifest(lowest.to_json(), name="b") == lowest
    clip = newest.model_copy(update={"clip": Clip(frames=2, fps=5)}).in_lowest_schema()
    raw = json.loads(clip.to_json())
    assert raw["schema_version"] == 3 and raw["clip"]["frames"] == 2 and "outputs" not in raw


UNSAFE = ["/etc/passwd", "../x", "a/../../x", "~/x", "C:/x", "a\\..\\x", "a//b", "", ".", "a/./b"]


@pytest.mark.parametrize("path", UNSAFE)
def test_a_path_out_of_the_bundle_is_refused(colour_bundle: Path, reseal, path: str):
    def edit(manifest: dict[str, Any]) -> None:
        manifest["variants"][0]["file"]["path"] = path

    reseal(colour_bundle, edited(colour_bundle, edit))
    with pytest.raises(BundleError, match="path"):
        Bundle.open(colour_bundle)


@given(st.text(max_size=30))
def test_what_passes_as_safe_stays_inside(text: str):
    try:
        safe = safe_relative_path(text)
    except ValueError:
        return
    root = Path("/bundle")
    assert Path(os.path.normpath(root / safe)).is_relative_to(root)
    assert Path(os.path.normpath(root / safe)) != root


def test_a_link_out_of_the_bundle_is_not_followed(colour_bundle: Path, tmp_path: Path):
    model = colour_bundle / "models" / "float32.tflite"
    outside = tmp_path / "outside.tflite"
    model.rename(outside)
    model.symlink_to(outside)
    with pytest.raises(BundleError, match="link"):
        Bundle.open(colour_bundle).check_files()


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda m: m.update(labels=["red", "red", "blue"]), id="same-labels"),
        pytest.param(lambda m: m.update(labels=["red"]), id="one-label"),
        pytest.param(lambda m: m.pop("golden"), id="no-golden-set"),
        pytest.param(lambda m: m.update(surprise=1), id="unknown-key"),
        pytest.param(lambda m: m["variants"][0]["file"].update(bytes=-1), id="negative-size"),
        pytest.param(lambda m: m["variants"][0]["file"].update(bytes=1 << 60), id="huge"),
        pytest.param(lambda m: m["variants"].append(m["variants"][0]), id="twice"),
        pytest.param(lambda m: m.update(schema_version="1"), id="version-as-text"),
        pytest.param(lambda m: m.update(head={"kind": "sigmoid"}), id="sigmoid-for-three"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_one_clear_line(colour_bundle: Path, reseal, edit):
    reseal(colour_bundle, edited(colour_bundle, edit))
    with pytest.raises(BundleError, match=r"bundle\.json: ") as error:
        Bundle.open(colour_bundle)
    assert "\n" not in str(error.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.sampled_from([b"[" * 100_000, b"null", b"[]", b"{}", b"1e999"]))
def test_any_bytes_as_manifest_end_in_a_bundle_error(data: bytes):
    with pytest.raises(BundleError):
        parse_manifest(data, name="x")


def zipped(path: Path, name: str, data: bytes = b"x", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data)
    return path


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_a_zip_that_climbs_out_is_not_unpacked(tmp_path: Path, name: str):
    archive = zipped(tmp_path / "evil.zip", name)
    with pytest.raises(BundleError, match="unsafe path"):
        Bundle.open(archive)
    assert not (tmp_path / "evil").exists()


def test_a_zip_with_a_link_is_not_unpacked(tmp_path: Path):
    archive = zipped(tmp_path / "link.zip", "bundle.json", b"/etc/passwd", stat.S_IFLNK | 0o777)
    with pytest.raises(BundleError, match="plain file"):
        Bundle.open(archive)


def test_a_zip_packed_in_an_unknown_way_is_one_clear_line(tmp_path: Path):
    archive = zipped(tmp_path / "odd.zip", "bundle.json")
    data = bytearray(archive.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[8:10] = data[central + 10 : central + 12] = (99).to_bytes(2, "little")
    archive.write_bytes(bytes(data))
    with pytest.raises(BundleError, match="compression"):
        Bundle.open(archive)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge_runtime.archive.MAX_TOTAL_BYTES", 1000)
    archive = zipped(tmp_path / "bomb.zip", "bundle.json", b"\0" * 2000)
    with pytest.raises(BundleError, match="more than any bundle"):
        Bundle.open(archive)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"nonsense" * 100])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes):
    file = tmp_path / "x.zip"
    file.write_bytes(data)
    with pytest.raises(BundleError, match="zip"):
        Bundle.open(file)


def test_a_folder_that_is_no_bundle(tmp_path: Path):
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.open(tmp_path / "nothing")
