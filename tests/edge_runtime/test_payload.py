"""A bundle as something to deploy."""

import hashlib
from pathlib import Path

import pytest

from devices.deploy.remote.place import Place
from devices.deploy.remote.store import filled
from edge_runtime.archive import pack_bundle
from edge_runtime.errors import BundleError
from edge_runtime.payload import bundle_payload


def test_every_file_with_its_hash(colour_bundle: Path):
    (colour_bundle / "model.sig").write_text("{}")
    (colour_bundle / "notes.txt").write_text("of my own")
    with bundle_payload(colour_bundle) as payload:
        paths = {file.path for file in payload.files}
        assert {"bundle.json", "bundle.sha256", "model.sig", "models/float32.tflite"} <= paths
        assert "notes.txt" not in paths
        for file in payload.files:
            data = (payload.folder / file.path).read_bytes()
            assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert payload.name == "colours.bundle"
        assert payload.extras == ()


def test_a_zip_is_unpacked_and_called_the_same(colour_bundle: Path, tmp_path: Path):
    pack_bundle(colour_bundle, tmp_path / "my pets.bundle.zip")
    with bundle_payload(tmp_path / "my pets.bundle.zip") as payload:
        assert payload.name == "my-pets.bundle"
        assert len(payload.files) == 7


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("my pets", "my-pets"),
        ("a'b\"c$(id);d", "a-b-c--id--d"),
        ("x\ny", "x-y"),
        ("-rf", "rf"),
        ("..", "model"),
        ("\u00e4\u00f6", "model"),
        ("p" * 99, "p" * 60),
    ],
)
def test_whatever_it_is_called_its_folder_there_has_a_plain_name(
    called: str, name: str, colour_bundle: Path
):
    colour_bundle = colour_bundle.rename(colour_bundle.with_name(f"{called}.bundle"))
    with bundle_payload(colour_bundle) as payload:
        assert payload.name == f"{name}.bundle"
        assert payload.release("", "").startswith(f"{name}-")


def test_what_only_the_device_can_read_goes_along_as_it_is(tmp_path: Path):
    file = tmp_path / "colours.bundle.age"
    file.write_bytes(b"age-encryption.org/v1")
    with bundle_payload(file) as payload:
        (only,) = payload.files
        assert (only.path, payload.extras) == ("colours.bundle.age", ("age",))
        command = filled(list(payload.start), Path("/there/x"), Place("/board/x"))
        assert command[3] == "/there/x/colours.bundle.age"
        assert command[5] == "/board/x/state/status.json"
        assert payload.release("", "").startswith("colours-")


def test_a_damaged_bundle_is_not_sent(colour_bundle: Path):
    (colour_bundle / "models/float32.tflite").write_bytes(b"x")
    with (
        pytest.raises(BundleError, match=r"models/float32\.tflite: has 1 bytes instead of"),
        bundle_payload(colour_bundle),
    ):
        pass
    with pytest.raises(BundleError, match="no such bundle"), bundle_payload(Path("/absent.age")):
        pass
