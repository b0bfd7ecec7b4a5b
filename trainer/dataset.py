"""From a data folder to pixels, split into train, val and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge_runtime.clip import VIDEO_SUFFIXES, Clip
from edge_runtime.images import IMAGE_SUFFIXES
from edge_runtime.preprocess import Preprocess
from trainer.data.kinds import look
from trainer.data.pixel_cache import pixel_cache
from trainer.data.places import DataOptions
from trainer.errors import DataError
from trainer.folders import PARTS, Part, Picture, PictureFolder, Skipped, look_for_videos
from trainer.pictures import Pixels, load_pixels

VAL_SHARE = 0.1
TEST_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures to learn from, to choose by, and to measure on.

    Attributes:
        root: folder that all pictures lie below.
        origin: what the user named, where that is not `root` itself.
        test: empty where the user keeps no test pictures; `val` is then what is measured on.
        split_by: who split it: the user's folders, or edgeproof (wholly or partly).
    """

    root: Path
    origin: str
    labels: tuple[str, ...]
    train: Pixels
    val: Pixels
    test: Pixels
    skipped: tuple[Skipped, ...]
    split_by: Literal["user", "edgeproof"]

    @property
    def held_out_name(self) -> Literal["test", "val"]:
        return "test" if len(self.test) else "val"

    @property
    def held_out(self) -> Pixels:
        return self.test if len(self.test) else self.val


def load_dataset(
    source: str | Path | PictureFolder,
    preprocess: Preprocess,
    clip: Clip | None = None,
    *,
    seed: int,
    scratch: Path,
    options: DataOptions = DataOptions(keep_pixels=False),
) -> Dataset:
    """Find, decode, preprocess and split all pictures.

    Without a split of the user's: 80 % train, 10 % val, 10 % test. With `train` and `test`, a tenth
    of `train` becomes `val`. With `train` and `val` there is no `test`.

    Args:
        source: what `trainer.data.kinds.look` takes, or gave; of clips, a folder.
        clip: what is made of each video; `None`: the files are pictures.
        scratch: folder for a file of pixels, when they are not kept and do not fit into memory.

    Raises:
        DataError: when there is no such set, its classes do not fit together, one has no readable
            picture, or too few for a split.
        StorageError: when there is no room for what is made of it.
    """
    if isinstance(source, PictureFolder):
        folder = source.require()
    else:
        folder = (look_for_videos(source) if clip else look(str(source), options)).require()
    pictures = [picture for part in folder.parts.values() for picture in part]
    everything, unreadable = load_pixels(
        folder.root,
        pictures,
        preprocess,
        clip,
        scratch=scratch,
        description="decoding",
        cache=None if clip else pixel_cache(options),
    )
    pixels = _by_part(folder, everything)
    for part, of_part in pixels.items():
        _require_pictures(folder, part, of_part.pictures, clip)
    parts = _split(folder, pixels, seed)
    skipped = tuple(sorted([*folder.skipped, *unreadable], key=lambda s: s.path))
    by_user = "val" in pixels and None not in pixels
    return Dataset(
        root=folder.root,
        origin=folder.origin,
        labels=folder.labels,
        **parts,
        skipped=skipped,
        split_by="user" if by_user else "edgeproof",
    )


def _by_part(folder: PictureFolder, everything: Pixels) -> dict[Part | None, Pixels]:
    part_of = {picture.path: part for part, of_part in folder.parts.items() for picture in of_part}
    rows: dict[Part | None, list[int]] = {part: [] for part in folder.parts}
    for row, picture in enumerate(everything.pictures):
        rows[part_of[picture.path]].append(row)
    return {part: everything.take(chosen) for part, chosen in rows.items()}


def _require_pictures(
    folder: PictureFolder, part: Part | None, readable: Sequence[Picture], clip: Clip | None
) -> None:
    counts = np.bincount([p.label for p in readable], minlength=len(folder.labels))
    # Without val/dogs nothing is wrong by itself; an empty one is an accident.
    for label in sorted(folder.declared[part]):
        if not counts[label]:
            what = (
                "video (MP4, MKV, AVI, MOV or WebM)" if clip else "picture (JPEG, PNG, BMP or WebP)"
            )
            raise DataError(
                f"{folder.class_place(part, label)}: holds no readable {what}; add some or remove "
                f"it.{_other_kind(folder, clip)}"
            )


def _other_kind(folder: PictureFolder, clip: Clip | None) -> str:
    """What the data is for instead, as a further sentence; empty where it is nothing else."""
    suffixes = IMAGE_SUFFIXES if clip else VIDEO_SUFFIXES
    if not any(Path(each.path).suffix.lower() in suffixes for each in folder.skipped):
        return ""
    if clip:
        return " There are pictures: a model of pictures learns from them, such as the default."
    return " There are videos: a model of clips learns from them, -a cnn_gru."


def _split(
    folder: PictureFolder, pixels: Mapping[Part | None, Pixels], seed: int
) -> dict[Part, Pixels]:
    if None in pixels:
        shares: dict[Part, float] = {"val": VAL_SHARE, "test": TEST_SHARE}
        return _carve(folder, pixels[None], shares, seed)
    train, val, test = (pixels.get(part) for part in PARTS)
    assert train is not None  # `require` would have raised
    if val is not None:
        return {"train": train, "val": val, "test": train.take([]) if test is None else test}
    carved = _carve(folder, train, {"val": VAL_SHARE}, seed)
    return {**carved, "test": train.take([]) if test is None else test}


def _carve(
    folder: PictureFolder, pixels: Pixels, shares: Mapping[Part, float], seed: int
) -> dict[Part, Pixels]:
    """Take each share of every class at random, at least one picture; train keeps the rest."""
    rng = np.random.default_rng(seed)
    rows: dict[Part, list[int]] = {part: [] for part in PARTS}
    for label, name in enumerate(folder.labels):
        of_class = rng.permutation(np.flatnonzero(pixels.labels == label))
        if len(of_class) <= len(shares):
            wanted = " and ".join(["train", *shares])
            raise DataError(
                f"{folder.origin or folder.root}: class {name!r} has {len(of_class)} readable "
                f"picture(s), too few to split into {wanted}; add pictures, a few dozen at least."
            )
        start = 0
        for part, share in shares.items():
            count = max(1, round(share * len(of_class)))
            rows[part] += sorted(of_class[start : start + count].tolist())
            start += count
        rows["train"] += sorted(of_class[start:].tolist())
    return {part: pixels.take(chosen) for part, chosen in rows.items()}
