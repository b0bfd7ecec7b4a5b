"""`tfds:NAME`: a set of TensorFlow Datasets, written out as picture files once."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_runtime.image_header import read_header
from edge_runtime.progress import progress_bar, status_line
from edge_runtime.quiet import python_output, quiet_native_stderr
from trainer.data.lists import look_at_list
from trainer.data.places import DataOptions
from trainer.data.sets import kept_set
from trainer.errors import DataError, MissingPackageError
from trainer.folders import OTHER_PART_NAMES, PARTS, PictureFolder
from trainer.reasons import reason_of

LIST_NAME = "labels.csv"


def look(source: str, options: DataOptions) -> PictureFolder:
    """See `trainer.data.kinds.look`.

    The pictures are written out as they are stored, not decoded: from there on they are files as
    all others, with the one `Preprocess`, the cache, and a record that `convert` can read.
    """
    for package in ("tensorflow_datasets", "tensorflow"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"{source}: needs {package}: pip install 'edgeproof[tfds]' on Python 3.11 or later."
            )
    name = source.removeprefix("tfds:")
    with status_line("loading TensorFlow Datasets"), _errors(source):
        builder = _prepared(name, options.tfds_dir)
    image, label = _features(source, builder.info)

    def fill(folder: Path) -> None:
        with _errors(source):
            _write_out(builder, image, label, folder)

    safe = re.sub(r"[^\w.-]+", "-", builder.info.full_name)[:80]
    folder = kept_set(options.sets, f"tfds-{safe}-{_state(builder)}", fill)
    return look_at_list(folder / LIST_NAME, folder, origin=source)


def _prepared(name: str, data_dir: str | None) -> Any:
    with quiet_native_stderr(), python_output():
        import tensorflow_datasets as tfds

        builder = tfds.builder(
            name, data_dir=str(Path(data_dir).expanduser()) if data_dir else None
        )
        if not builder.is_prepared():
            builder.download_and_prepare()
    return builder


@contextmanager
def _errors(source: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as exc:  # the library raises whatever its downloads and builders meet
        if isinstance(exc, OSError) and exc.errno is not None:
            raise  # of the disk; what downloads raise is an OSError too, without a number
        # Of an unknown name, the library's message goes on with all those that it knows.
        text = str(exc).split("Available datasets")[0].strip().rstrip(".")
        raise DataError(
            f"{source}: cannot be had: {reason_of(exc, text)}. Without a network, "
            "name the folder that holds it with --tfds-dir DIR."
        ) from exc


def _features(source: str, info: Any) -> tuple[str, str]:
    """The names of the picture and of the class in each of the set's examples."""
    import tensorflow_datasets as tfds

    found = {}
    for what, kind in (("picture", tfds.features.Image), ("class", tfds.features.ClassLabel)):
        names = [name for name, feature in info.features.items() if isinstance(feature, kind)]
        asked = [name for name in names if name in (info.supervised_keys or ())]
        if not names or (len(names) > 1 and len(asked) != 1):
            raise DataError(
                f"{source}: has {len(names)} features that are a {what}; edgeproof trains on sets "
                "with one picture and one class in each example."
            )
        found[what] = asked[0] if len(asked) == 1 else names[0]
    return found["picture"], found["class"]


def _state(builder: Any) -> str:
    """Changes when the set's files do."""
    digest = hashlib.sha256()
    for file in sorted(Path(builder.data_dir).rglob("*")):
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _write_out(builder: Any, image: str, label: str, folder: Path) -> None:
    import tensorflow_datasets as tfds

    names = builder.info.features[label].names
    splits = {name: _part(name) for name in builder.info.splits if _part(name)}
    # With nothing but train, edgeproof keeps a share for val and test itself.
    is_split = set(splits.values()) != {"train"}
    with (folder / LIST_NAME).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        for split, part in splits.items():
            (folder / split).mkdir()
            count = builder.info.splits[split].num_examples
            with progress_bar(f"writing {split}", count) as advance, quiet_native_stderr():
                examples = builder.as_dataset(
                    split=split, decoders={image: tfds.decode.SkipDecoding()}, shuffle_files=False
                )
                for number, example in enumerate(examples):
                    index = int(example[label])
                    if index >= 0:  # contests hide the classes of their test pictures
                        path = _write_picture(folder / split, number, example[image].numpy())
                        rows.writerow([f"{split}/{path}", names[index], part if is_split else ""])
                    advance(1)


def _part(split: str) -> str | None:
    return split if split in PARTS else OTHER_PART_NAMES.get(split)


def _write_picture(folder: Path, number: int, data: bytes) -> str:
    header = read_header(data)
    suffix = {"JPEG": ".jpg", "WebP": ".webp", "BMP": ".bmp"}.get(header.kind if header else "")
    path = folder / f"{number:07}{suffix or '.png'}"
    path.write_bytes(data)
    return path.name
