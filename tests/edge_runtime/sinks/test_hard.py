"""Hard frames: which, how many, for how long, encrypted, and ready to be learnt from."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import OptionError, StorageError
from edge_runtime.images import decode_image
from edge_runtime.loop.region import Region
from edge_runtime.pipeline import Result
from edge_runtime.sinks.hard.folder import NAME, HardFolder, Limits, folder_name
from edge_runtime.sinks.hard.reasons import Reasons, margin_of
from edge_runtime.sinks.hard.sink import HardFrameSink, name_of

LABELS = ("cat", "dog")
ROOMY = Limits(10**9, 1000, None)


def noise(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Another picture for each seed, also as a thumbnail."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(height // 6, axis=0).repeat(width // 8, axis=1))


def sink_of(folder: HardFolder, **changes: Any) -> HardFrameSink:
    return HardFrameSink(folder, labels=LABELS, **{"every_s": 1.0, **changes})


def pictures(root: Path) -> list[Path]:
    return sorted((root / "unsorted").rglob("*.png"), key=lambda p: p.name)


def records(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "frames.jsonl").read_text().splitlines()]


def test_what_makes_a_frame_hard(result: Callable[..., Result]):
    reasons = Reasons(margin=0.2)
    assert reasons.of(result(0, score=0.9)) == ()
    assert reasons.of(result(1, score=0.55)) == ("margin",)
    assert reasons.of(result(2, score=0.9, abstain=True)) == ("abstained",)
    assert reasons.of(result(3, score=0.5, abstain=True)) == ("abstained", "margin")
    assert reasons.of(result(4, condition="black")) == ()
    assert reasons.of(result(5, score=float("nan"))) == ("margin",)
    steady = Reasons()
    assert [steady.of(result(i, label=LABELS[i > 4])) for i in range(12)] == [()] * 12
    flutter = [steady.of(result(i, label=LABELS[i % 2])) for i in range(12, 20)]
    assert flutter[-1] == ("flicker",)
    # Another source's answers are another matter; so are the pictures of a folder.
    assert steady.of(result(20, source="other")) == ()
    folder = [steady.of(result(i, label=LABELS[i % 2], name="x.png")) for i in range(8)]
    assert folder == [()] * 8


def test_margins():
    assert margin_of(np.array([0.1, 0.7, 0.2], np.float32)) == pytest.approx(0.5)
    assert margin_of(np.array([1.0], np.float32)) == 1.0


def test_a_kept_frame_is_what_the_model_saw_with_what_it_said(
    tmp_path: Path, result: Callable[..., Result]
):
    sink = sink_of(HardFolder(tmp_path / "hard", ROOMY), about={"bundle": "pets"})
    frame = noise(1)
    sink.write(result(7, score=0.55, bgr=frame, source="rtsp://door"))
    sink.write(result(40, score=0.99, bgr=noise(2)))
    sink.close()
    (kept,) = pictures(tmp_path / "hard")
    assert kept.parent.name == "cat" and "_door_000007" in kept.name
    assert (decode_image(kept) == frame).all()
    (record,) = records(tmp_path / "hard")
    assert record["file"] == f"unsorted/cat/{kept.name}"
    assert (record["reasons"], record["bundle"], record["frame"]) == (["margin"], "pets", 7)
    assert record["margin"] == pytest.approx(0.1, abs=1e-4)
    assert record["top"] == [["cat", 0.55], ["dog", 0.45]]


def test_with_a_region_only_that_is_kept(tmp_path: Path, result: Callable[..., Result]):
    region = Region.parse("8,6,32,24")
    sink = sink_of(HardFolder(tmp_path, ROOMY), region=region)
    frame = noise(1)
    sink.write(result(0, score=0.5, bgr=frame))
    sink.close()
    (kept,) = pictures(tmp_path)
    assert (decode_image(kept) == frame[6:30, 8:40]).all()


def test_one_at_a_time_and_a_still_scene_once(tmp_path: Path, result: Callable[..., Result]):
    notes: list[str] = []
    sink = sink_of(HardFolder(tmp_path, ROOMY), on_note=notes.append)
    for index in range(30):  # a tenth of a second apart, each another picture
        sink.write(result(index, score=0.5, bgr=noise(index)))
    assert [p.name[-10:-4] for p in pictures(tmp_path)] == ["000000", "000010", "000020"]
    for index in range(100, 200):  # nothing moves, but for the sensor's noise
        still = noise(5).astype(np.int16)
        still += np.random.default_rng(index).integers(-2, 3, still.shape, np.int16)
        still_bgr = np.clip(still, 0, 255).astype(np.uint8)
        sink.write(result(index, score=0.5, bgr=still_bgr))
    sink.close()
    sink.close()
    assert (sink.kept, sink.alike) == (4, 9)
    assert notes == ["hard frames: 4 kept (9 more were like them)"]


def test_files_are_kept_by_their_own_time(tmp_path: Path, result: Callable[..., Result]):
    sink = sink_of(HardFolder(tmp_path, ROOMY), rates={"clip": 10.0, "folder": None}, every_s=1.0)
    for index in range(25):
        at_once = {"captured_s": 0.0, "score": 0.5, "bgr": noise(index)}
        sink.write(result(index, source="clip", **at_once))
        sink.write(result(index, source="folder", name=f"{index}.png", **at_once))
    sink.close()
    names = [p.name for p in pictures(tmp_path)]
    assert len([n for n in names if "_clip_" in n]) == 3
    assert len([n for n in names if "_folder_" in n]) == 25


def keep(folder: HardFolder, index: int, size: int = 1000, label: str = "cat") -> Path:
    name = f"20261128T0730{index:02}.000Z_cam_{index:06}"
    return folder.keep(bytes(size), name, {"model_label": label})


def test_the_oldest_go_by_number_and_by_size(tmp_path: Path):
    by_number = HardFolder(tmp_path / "n", Limits(10**9, 3, None))
    for index in range(6):
        keep(by_number, index, label=LABELS[index % 2])
    assert [p.name[-10:-4] for p in pictures(tmp_path / "n")] == ["000003", "000004", "000005"]
    by_size = HardFolder(tmp_path / "s", Limits(2500, 1000, None))
    for index in range(6):
        keep(by_size, index)
    assert [p.name[-10:-4] for p in pictures(tmp_path / "s")] == ["000004", "000005"]
    with pytest.raises(StorageError, match="more than the quota"):
        keep(by_size, 7, size=3000)


def test_the_old_go_and_what_a_person_moved_or_made_stays(tmp_path: Path):
    folder = HardFolder(tmp_path, ROOMY)
    kept = [keep(folder, index) for index in range(3)]
    mine = tmp_path / "unsorted" / "cat" / "holiday.png"
    mine.write_bytes(b"mine")
    moved = tmp_path / "sorted" / "dog" / kept[0].name
    moved.parent.mkdir(parents=True)
    kept[0].rename(moved)
    link = tmp_path / "unsorted" / "cat" / f"{kept[1].stem}-2.png"
    link.symlink_to(mine)
    ago = time.time() - 3 * 86400
    for file in (moved, mine, kept[1]):
        os.utime(file, (ago, ago))
    HardFolder(tmp_path, Limits(0, 1, 2 * 86400.0))
    assert not kept[1].exists()
    assert all(file.exists() for file in (kept[2], moved, mine, link))


def test_before_the_clock_is_set_nothing_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = keep(HardFolder(tmp_path, ROOMY), 0)
    monkeypatch.setattr("edge_runtime.sinks.hard.folder.time.time", lambda: 1000.0)
    HardFolder(tmp_path, Limits(10**9, 10, 1.0))
    assert kept.exists()


def test_a_full_disk_is_told_once_and_survived(
    tmp_path: Path, result: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    notes: list[str] = []
    folder = HardFolder(tmp_path, ROOMY)
    sink = sink_of(folder, on_note=notes.append)

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space left on the disk.")

    with monkeypatch.context() as patch:
        patch.setattr("edge_runtime.sinks.hard.folder.write_bytes", full)
        for index in (0, 20, 40):
            sink.write(result(index, score=0.5, bgr=noise(index)))
    # What could not be kept is not like anything that was.
    sink.write(result(60, score=0.5, bgr=noise(40)))
    with pytest.raises(StorageError, match="3 hard frames could not be kept: no space left"):
        sink.close()
    assert notes == ["hard frames: no space left on the disk.", "hard frames: 1 kept"]
    assert (sink.kept, sink.alike, sink.failed) == (1, 0, 3)


def test_a_frame_without_its_line_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = HardFolder(tmp_path, ROOMY)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edge_runtime.sinks.lines.os.write", full)
        with pytest.raises(StorageError, match="1 lines were lost"):
            keep(folder, 0)
    assert pictures(tmp_path) == [] and records(tmp_path) == []


@pytest.mark.parametrize("most", [1, 3])
def test_lines_go_with_their_frames(tmp_path: Path, most: int):
    folder = HardFolder(tmp_path, Limits(10**9, most, None))
    for index in range(8):
        keep(folder, index)
        assert len(records(tmp_path)) == min(index + 1, most)
    assert [r["file"][-10:-4] for r in records(tmp_path)] == [
        p.name[-10:-4] for p in pictures(tmp_path)
    ]


def test_lines_grow_old_and_those_of_earlier_versions_too(tmp_path: Path):
    folder = HardFolder(tmp_path, ROOMY)
    now = time.time()
    for index, age_s in enumerate((5 * 86400.0, 5 * 86400.0, 60.0)):
        name = f"20261128T0730{index:02}.000Z_cam_{index:06}"
        path = folder.keep(bytes(9), name, {"model_label": "cat", "time": now - age_s})
        os.utime(path, (now - age_s, now - age_s))
    pictures(tmp_path)[0].rename(tmp_path / "sorted.png")  # by a person
    (tmp_path / "frames.jsonl.1").write_text('{"file": "a/b.png", "time": 1700000000}\n{"fi')
    HardFolder(tmp_path, Limits(10**9, 1000, 86400.0))
    assert [r["file"][-6:] for r in records(tmp_path)] == ["02.png"]
    assert not (tmp_path / "frames.jsonl.1").exists()
    assert (tmp_path / "sorted.png").exists()


def test_lines_count_towards_the_quota(tmp_path: Path):
    folder = HardFolder(tmp_path, Limits(20_000, 1000, None))
    for index in range(40):
        keep(folder, index, size=10).unlink()  # sorted at once, by a person
    assert len(records(tmp_path)) >= 5
    assert (tmp_path / "frames.jsonl").stat().st_size <= 20_000 // 20 + 200


def test_a_picture_of_a_folder_has_its_own_name_too(tmp_path: Path):
    name = "20261128T073000.000Z_cam_000001"
    folder = HardFolder(tmp_path, ROOMY)
    folder.keep(b"x", name, {"model_label": "cat", "file": "holiday.png"})
    (record,) = records(tmp_path)
    assert (record["file"], record["picture"]) == (f"unsorted/cat/{name}.png", "holiday.png")


@pytest.mark.parametrize("link", ["unsorted", "unsorted/cat", "sealed", "frames.jsonl"])
def test_nothing_goes_through_a_link(tmp_path: Path, link: str):
    root, elsewhere = tmp_path / "hard", tmp_path / "elsewhere"
    if link == "frames.jsonl":
        elsewhere.write_text("mine")
    else:
        elsewhere.mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(elsewhere)
    with pytest.raises(StorageError, match=f"{link}: is (a symbolic link|there and is no)"):
        HardFolder(root, ROOMY)
    assert elsewhere.is_dir() or elsewhere.read_text() == "mine"


def test_a_link_that_comes_later(tmp_path: Path):
    folder = HardFolder(tmp_path / "hard", ROOMY)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "hard" / "unsorted").mkdir()
    (tmp_path / "hard" / "unsorted" / "cat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is a symbolic link, beyond which neither quota"):
        keep(folder, 0)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_they_are_for_their_owner_alone(tmp_path: Path):
    root = tmp_path / "hard"
    keep(HardFolder(root, ROOMY), 0)
    modes = {p.stat().st_mode & 0o777 for p in root.rglob("*") if p.is_file()}
    folders = {p.stat().st_mode & 0o777 for p in (root, *root.rglob("*")) if p.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("cat", "cat"),
        ("Egyptian cat", "Egyptian cat"),
        ("猫", "猫"),
        ("../../etc", "_.._etc"),
        ("a/b\\c", "a_b_c"),
        ("..", "unlabelled"),
        ("", "unlabelled"),
        (".hidden", "hidden"),
    ],
)
def test_labels_as_folders(label: str, name: str):
    assert folder_name(label) == name


@given(st.text())
def test_any_label_is_one_harmless_folder(label: str):
    name = folder_name(label)
    assert name == os.path.basename(name) and not name.startswith(".")  # noqa: PTH119
    assert 0 < len(name.encode()) <= 255


def test_names(result: Callable[..., Result]):
    for source in ("camera 0", "/long/" + "path" * 40 + "/clip.mp4", "…", "rtsp://h:1/x"):
        assert NAME.fullmatch(name_of(result(3, source=source)))


def test_sorted_frames_go_back_into_training(tmp_path: Path, result: Callable[..., Result]):
    """A person moves each picture into the folder of its class; that is a data folder."""
    folders = pytest.importorskip("trainer.folders")
    sink = sink_of(HardFolder(tmp_path / "hard", ROOMY))
    for index in range(0, 60, 10):
        sink.write(result(index, label=LABELS[index % 20 > 0], score=0.55, bgr=noise(index)))
    sink.close()
    data = tmp_path / "pets"
    for label in LABELS:
        (data / label).mkdir(parents=True)
        for picture in (tmp_path / "hard" / "unsorted" / label).iterdir():
            shutil.move(picture, data / label)
    found = folders.find_pictures(data)
    assert found.labels == LABELS and not found.skipped
    assert len(found.parts[None]) == 6


pyrage = pytest.importorskip("pyrage")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A file of public keys, and one with the private key of one of them."""
    identity = pyrage.x25519.Identity.generate()
    other = pyrage.x25519.Identity.generate()
    public, private = tmp_path / "recipients.txt", tmp_path / "key.txt"
    public.write_text(f"# the office\n{identity.to_public()}\n\n{other.to_public()}\n")
    private.write_text(f"# created: today\n{identity}\n")
    return public, private


@pytest.fixture
def sealed(
    tmp_path: Path, keys: tuple[Path, Path], result: Callable[..., Result]
) -> tuple[Path, list[np.ndarray]]:
    """A folder with two encrypted frames, and their pictures."""
    from edge_runtime.sinks.hard.seal import Seal

    root, frames = tmp_path / "hard", [noise(0), noise(30)]
    sink = sink_of(HardFolder(root, ROOMY, Seal(keys[0])))
    for index, frame in zip((0, 30), frames, strict=True):
        sink.write(result(index, score=0.55, bgr=frame, label="dog"))
    sink.close()
    return root, frames


def test_encrypted_nothing_is_told_in_the_open(
    sealed: tuple[Path, list[np.ndarray]], keys: tuple[Path, Path], tmp_path: Path
):
    from edge_runtime.sinks.hard.seal import Opener
    from edge_runtime.sinks.hard.unseal import unseal

    root, frames = sealed
    files = [p for p in root.rglob("*") if p.is_file()]
    assert len(files) == 4
    for file in files:
        data = file.read_bytes()
        assert data.startswith(b"age-encryption.org/v1")
        # Long enough that no cipher holds them by chance.
        assert b"\x89PNG\r\n\x1a\n" not in data and b'"reasons"' not in data
    out = tmp_path / "open"
    done = unseal(root, Opener(keys[1]), out)
    assert (done.opened, done.present, done.failed) == (2, 0, [])
    for file, frame in zip(pictures(out), frames, strict=True):
        assert file.parent.name == "dog" and (decode_image(file) == frame).all()
    assert [r["reasons"] for r in records(out)] == [["margin"], ["margin"]]
    again = unseal(root, Opener(keys[1]), out)
    assert (again.opened, again.present) == (0, 2) and len(records(out)) == 2


def test_the_age_command_opens_them_too(
    sealed: tuple[Path, list[np.ndarray]], keys: tuple[Path, Path], tmp_path: Path
):
    age = shutil.which("age")
    if age is None:
        pytest.skip("age is not installed (apt-get install age)")
    root, frames = sealed
    first = min(root.rglob("*.png.age"))
    out = tmp_path / "one.png"
    subprocess.run([age, "-d", "-i", str(keys[1]), "-o", str(out), str(first)], check=True)
    assert (decode_image(out) == frames[0]).all()


def test_other_keys_damage_and_strange_files_are_told_and_the_rest_is_opened(
    sealed: tuple[Path, list[np.ndarray]], keys: tuple[Path, Path], tmp_path: Path
):
    from edge_runtime.sinks.hard.seal import Opener, Seal
    from edge_runtime.sinks.hard.unseal import unseal

    root, _ = sealed
    stranger = tmp_path / "stranger.txt"
    stranger.write_text(str(pyrage.x25519.Identity.generate()))
    done = unseal(root, Opener(stranger), tmp_path / "a")
    assert done.opened == 0 and len(done.failed) == 2
    assert "not for this key" in done.failed[0]
    folder = root / "sealed"
    damaged, good = sorted(folder.glob("*.png.age"))
    damaged.write_bytes(damaged.read_bytes()[:-5])
    shutil.copy(good, folder / "evil.png.age")
    # Whoever has the public key can write what he likes: it must not choose a place.
    hostile = json.dumps({"model_label": "../../../out", "file": "/etc/x"}).encode()
    good.with_name(good.name.replace(".png.", ".json.")).write_bytes(Seal(keys[0]).close(hostile))
    out = tmp_path / "b"
    done = unseal(root, Opener(keys[1]), out)
    assert done.opened == 1 and len(done.failed) == 2
    (opened,) = pictures(out)
    assert opened.parent.name == "_.._.._out"
    assert records(out)[0]["file"].startswith("unsorted/_.._.._out/")
    with pytest.raises(StorageError, match=r"holds no \*\.png\.age"):
        unseal(tmp_path / "nowhere", Opener(keys[1]), out)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no public key"),
        ("# nothing\n", "holds no public key"),
        ("age1nonsense", "is no public key"),
        ("hello", "is no public key"),
        ("AGE-SECRET-KEY-1QQQ", "holds a private key. Keep that off this device"),
    ],
)
def test_files_that_are_no_recipients(tmp_path: Path, text: str, complaint: str):
    from edge_runtime.sinks.hard.seal import Seal

    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(OptionError, match=complaint) as error:
        Seal(file)
    assert "QQQ" not in str(error.value)


@pytest.mark.parametrize("text", ["", "age1abc", "AGE-SECRET-KEY-1WRONG", "-----PRIVATE KEY-----"])
def test_files_that_are_no_private_key(tmp_path: Path, text: str):
    from edge_runtime.sinks.hard.seal import Opener

    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(OptionError, match="holds no private key") as error:
        Opener(file)
    assert "WRONG" not in str(error.value)


def test_ssh_keys_do_as_well(tmp_path: Path, result: Callable[..., Result]):
    from edge_runtime.sinks.hard.seal import Opener, Seal

    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    file = tmp_path / "x.png.age"
    file.write_bytes(Seal(tmp_path / "id.pub").close(b"hello"))
    assert Opener(key).open(file, 1 << 20) == b"hello"
    with pytest.raises(StorageError, match="larger than"):
        Opener(key).open(file, 10)
