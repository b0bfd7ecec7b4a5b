"""Archives of pictures: unpacked once, and unpacked as hostile."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import StorageError
from edge_runtime.preprocess import Preprocess
from trainer.data import unpack as module
from trainer.data.kinds import look
from trainer.data.places import DataOptions
from trainer.dataset import load_dataset
from trainer.errors import DataError

TINY = Preprocess(width=8, height=8)


@pytest.fixture
def options(tmp_path) -> DataOptions:
    return DataOptions(cache=str(tmp_path / "cache"), keep_pixels=False)


def pack(folder: Path, archive: Path, *, inside: str) -> Path:
    """Write a folder into an archive of the kind that its name says."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for file in sorted(folder.rglob("*")):
                packed.write(file, Path(inside, file.relative_to(folder)))
    else:
        kind = archive.suffix.removeprefix(".").removesuffix("tar").replace("tgz", "gz")
        with tarfile.open(archive, f"w:{kind}") as packed:
            packed.add(folder, inside)
    return archive


@pytest.mark.parametrize("name", ["p.zip", "p.tar", "p.tar.gz", "p.tgz", "p.tar.xz", "p.tar.bz2"])
@pytest.mark.parametrize("inside", [".", "pets/v1"])
def test_every_kind_of_archive(two_colours, tmp_path, options, name, inside):
    archive = pack(two_colours, tmp_path / name, inside=inside)
    packed = load_dataset(archive, TINY, seed=1, scratch=tmp_path, options=options)
    plain = load_dataset(two_colours, TINY, seed=1, scratch=tmp_path)
    assert packed.train.sha256() == plain.train.sha256()
    assert packed.origin == str(archive)
    assert packed.root.is_relative_to(tmp_path / "cache" / "sets")


def test_a_users_split_inside(colours, tmp_path, options):
    colours(tmp_path / "d" / "train", ["blue", "red"], 3)
    archive = pack(tmp_path / "d", tmp_path / "d.zip", inside=".")
    found = look(str(archive), options).require()
    # A single folder inside is passed through, but train/ is not what is passed through.
    assert set(found.parts) == {"train"}


def test_a_list_inside(two_colours, tmp_path, options):
    (two_colours / "labels.csv").write_text("red/00.png,warm\nblue/00.png,cold\n")
    found = look(str(pack(two_colours, tmp_path / "p.zip", inside="p")), options).require()
    assert found.labels == ("cold", "warm")


def test_it_is_unpacked_once(two_colours, tmp_path, options):
    archive = pack(two_colours, tmp_path / "p.tar.gz", inside=".")
    first = look(str(archive), options).root
    (first / "mark").touch()
    assert look(str(archive), options).root == first
    assert (first / "mark").exists()
    (two_colours / "red" / "00.png").unlink()
    other = look(str(pack(two_colours, tmp_path / "p.tar.gz", inside=".")), options)
    assert other.root != first  # another content, another place
    assert "red/00.png" not in {p.path for p in other.parts[None]}


def test_macos_leavings_are_no_class(two_colours, tmp_path, options):
    archive = pack(two_colours, tmp_path / "p.zip", inside=".")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("__MACOSX/red/._00.png", b"x")
        packed.writestr("red/._00.png", b"x")
        packed.writestr(".DS_Store", b"x")
    found = look(str(archive), options).require()
    assert found.labels == ("blue", "red")
    assert not found.skipped


def tar_of(file: Path, **fields) -> Path:
    """A tar of one entry whose header says what it likes, and nothing after it."""
    info = tarfile.TarInfo("red/a.png")
    for name, value in fields.items():
        setattr(info, name, value)
    file.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    return file


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        pytest.param({"name": "../../out.png"}, "leads out of the folder", id="up"),
        pytest.param({"name": "red/../../out.png"}, "leads out of the folder", id="middle"),
        pytest.param({"name": "/tmp/out.png"}, "leads out of the folder", id="absolute"),
        pytest.param({"name": "C:/out.png"}, "leads out of the folder", id="drive"),
        pytest.param({"name": "red\\..\\out.png"}, "leads out of the folder", id="backslash"),
        pytest.param({"type": tarfile.SYMTYPE, "linkname": "/etc"}, "is a link", id="symlink"),
        pytest.param({"type": tarfile.LNKTYPE, "linkname": "x"}, "is a link", id="hard-link"),
        pytest.param({"type": tarfile.CHRTYPE}, "is a device or a pipe", id="device"),
        pytest.param({"type": tarfile.FIFOTYPE}, "is a device or a pipe", id="pipe"),
    ],
)
def test_a_hostile_tar_leaves_nothing(tmp_path, options, fields, problem):
    archive = tar_of(tmp_path / "evil.tar", **fields)
    with pytest.raises(DataError, match=problem):
        look(str(archive), options)
    assert not (tmp_path / "out.png").exists()
    assert not list((tmp_path / "cache" / "sets").iterdir())


@pytest.mark.parametrize(
    ("name", "mode", "problem"),
    [
        pytest.param("../out.png", 0o100644, "leads out of the folder", id="up"),
        pytest.param("red/a.png", 0o120777, "is a link or a device", id="link"),
    ],
)
def test_a_hostile_zip_leaves_nothing(tmp_path, options, name, mode, problem):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr(info, b"/etc/passwd")
    with pytest.raises(DataError, match=problem):
        look(str(tmp_path / "evil.zip"), options)
    assert not (tmp_path / "out.png").exists()


def test_bombs_are_not_unpacked(tmp_path, options, monkeypatch):
    monkeypatch.setattr(module, "FREE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(4):
            packed.writestr(f"red/{number}.png", bytes(1 << 20))
    with pytest.raises(DataError, match="unpacks to more than any set of pictures"):
        look(str(tmp_path / "bomb.zip"), options)
    with tarfile.open(tmp_path / "many.tar.gz", "w:gz") as packed:
        for number in range(30):
            packed.addfile(tarfile.TarInfo(f"red/{number}"))
    monkeypatch.setattr(module, "MAX_MEMBERS", 20)
    with pytest.raises(DataError, match="unpacks to more than any set of pictures"):
        look(str(tmp_path / "many.tar.gz"), options)


def test_a_single_huge_file_is_refused(tmp_path, options):
    # Its header says a gigabyte; nothing of it is there.
    archive = tar_of(tmp_path / "huge.tar", size=1 << 30)
    with pytest.raises(DataError, match="is larger than 256 MiB"):
        look(str(archive), options)


def test_a_header_without_end_is_not_read(tmp_path, options):
    archive = tar_of(tmp_path / "header.tar", type=tarfile.XHDTYPE, size=1 << 40)
    with pytest.raises(DataError, match="has a header of"):
        look(str(archive), options)


@pytest.mark.parametrize("name", ["p.zip", "p.tar", "p.tar.gz", "p.tar.xz", "p.tar.bz2"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6])
def test_a_cut_off_archive_is_one_line(two_colours, tmp_path, options, name, kept):
    archive = pack(two_colours, tmp_path / name, inside=".")
    data = archive.read_bytes()
    archive.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(DataError) as raised:
        look(str(archive), options)
    assert "\n" not in str(raised.value)
    assert "damaged or cut off" in str(raised.value) or "no class folder" in str(raised.value)


def test_junk_with_an_archives_name(tmp_path, options):
    (tmp_path / "junk.zip").write_bytes(b"PK not really")
    (tmp_path / "junk.tar.gz").write_bytes(b"\x1f\x8b not really")
    for name in ("junk.zip", "junk.tar.gz"):
        with pytest.raises(DataError, match="damaged or cut off"):
            look(str(tmp_path / name), options)


def test_the_same_path_twice_is_refused(tmp_path, options):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as packed, pytest.warns(UserWarning):
        packed.writestr("red/a.png", b"1")
        packed.writestr("red/a.png", b"2")
    with pytest.raises(DataError, match=r"holds red/a\.png twice"):
        look(str(tmp_path / "p.zip"), options)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        pytest.param(["red/a.png", "red/a.png/b.png"], "a file as a folder", id="file-first"),
        pytest.param(["red/a.png", "red/a.png/b/c.png"], "a file as a folder", id="deep"),
        pytest.param(["red/a.png/b.png", "red/a.png"], "a file as a folder", id="folder-first"),
        pytest.param([f"red/{'a' * 300}.png"], "a longer name than a file may have", id="long"),
        pytest.param([f"{'a' * 300}/b.png"], "a longer name than a file may have", id="long-class"),
        pytest.param(["a/" * 3000 + "b.png"], "a longer name than a file may have", id="long-path"),
    ],
)
def test_names_that_no_disk_takes_are_the_archives_fault(tmp_path, options, names, problem):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as packed:
        for name in names:
            packed.writestr(name, b"1")
    with pytest.raises(DataError, match=rf"p\.zip: .*{problem}"):
        look(str(tmp_path / "p.zip"), options)


def test_an_archive_without_classes_is_called_by_its_name(tmp_path, options):
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as packed:
        packed.writestr("a.png", b"1")
    with pytest.raises(DataError, match=r"flat\.zip: holds no class folder"):
        look(str(tmp_path / "flat.zip"), options)


def _look_in_a_process(archive: str, options: DataOptions, start, found) -> None:
    start.wait()
    found.put(str(look(archive, options).root))


def test_problems_of_an_archive_are_told_by_its_name(two_colours, tmp_path, options):
    (two_colours / "RED").mkdir()
    shutil.copy(next((two_colours / "red").iterdir()), two_colours / "RED" / "0.png")
    archive = pack(two_colours, tmp_path / "p.zip", inside=".")
    with pytest.raises(DataError, match=r"^\S*/p\.zip: the classes .* differ only by letter case"):
        look(str(archive), options).require()


def test_two_at_once_unpack_it_once(two_colours, tmp_path, options):
    archive = pack(two_colours, tmp_path / "p.tar.xz", inside=".")
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(2), context.Queue()
    jobs = [
        context.Process(target=_look_in_a_process, args=(str(archive), options, start, found))
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    roots = {found.get(timeout=60) for _ in jobs}
    for job in jobs:
        job.join(60)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert len(roots) == 1
    assert [p.name for p in (tmp_path / "cache" / "sets").iterdir()] == [Path(roots.pop()).name]


def test_digits_are_drawn_once(options, monkeypatch):
    monkeypatch.setattr("trainer.digits._SPLIT", {"train": 2, "val": 1, "test": 1})
    first = look("digits", options).require()
    assert first.labels == tuple("0123456789")
    assert {part: len(pictures) for part, pictures in first.parts.items()} == {
        "train": 40,
        "val": 10,
        "test": 10,
    }
    assert look("digits", options).root == first.root


def small_archive(kind: str) -> bytes:
    """An archive of two classes, as bytes."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("red/a.png", b"1" * 99)
            packed.writestr("blue/b.png", b"2" * 99)
    else:
        with tarfile.open(fileobj=out, mode="w:gz" if kind == "tar.gz" else "w") as tar:
            for name in ("red/a.png", "blue/b.png"):
                info = tarfile.TarInfo(name)
                info.size = 99
                tar.addfile(info, io.BytesIO(b"1" * 99))
    return out.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["zip", "tar", "tar.gz"]),
    changes=st.lists(
        st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=9)), max_size=4
    ),
    kept=st.integers(0, 4000),
)
def test_any_damage_is_an_error_or_a_folder_inside(tmp_path, options, kind, changes, kept):
    data = bytearray(small_archive(kind)[:kept])
    for at, patch in changes:
        at %= max(1, len(data))
        data[at : at + len(patch)] = patch
    archive = tmp_path / f"fuzzed.{kind}"
    archive.write_bytes(bytes(data))
    with contextlib.suppress(DataError, StorageError):
        look(str(archive), options)
    inside = {"cache", archive.name, *(f"fuzzed.{k}" for k in ("zip", "tar", "tar.gz"))}
    assert {p.name for p in tmp_path.iterdir()} <= inside
