"""Read one profile file and check every key of it, so that a slip is one clear line."""

from __future__ import annotations

import io
import re
import stat
import string
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from devices.errors import ProfileError, did_you_mean
from devices.profiles import (
    CAMERA_KINDS,
    ENGINES,
    EXPORTS,
    ONNX_INT8_SCHEMES,
    PROVIDERS,
    VARIANTS,
    CameraSettings,
    Match,
    Profile,
)

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

_MOST_BYTES = 64 << 10
_TOLD_CHARS = 200
_PIPELINE_FIELDS = ("index", "width", "height", "fps")


def profile_from_toml(path: Path) -> Profile:
    """The profile that a file describes, named after the file.

    Raises:
        ProfileError: the file cannot be read, is not TOML, or has an unknown, missing or wrong key.
    """
    table = _Table(path, _read_toml(path), _keys(Profile, but="name"))
    values: dict[str, Any] = {
        "title": table.text("title"),
        "match": _match(table.table("match", _keys(Match))),
        "variants": table.choices("variants", VARIANTS),
        "export": table.choices("export", EXPORTS),
        "onnx_int8": table.choice("onnx_int8", ONNX_INT8_SCHEMES),
        "engine": table.choices("engine", ENGINES),
        "threads": table.number("threads", lowest=0, highest=256),
        "camera": _camera(table.table("camera", _keys(CameraSettings))),
        "qemu_cpu": table.text("qemu_cpu", default=""),
        "notes": table.text("notes", default=""),
        "providers": table.choices("providers", PROVIDERS, default=("cpu",)),
    }
    return Profile(name=path.stem, **values)


def _keys(cls: type, but: str = "") -> tuple[str, ...]:
    """Keys that a table may have: the fields of the class it becomes."""
    return tuple(each.name for each in fields(cls) if each.name != but)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        # To read a pipe or /dev/zero could take for ever.
        is_regular = stat.S_ISREG(path.stat().st_mode)
        with path.open("rb") if is_regular else io.BytesIO() as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise ProfileError(f"{path}: cannot be read: {exc.strerror or exc}.") from exc
    if not is_regular:
        raise ProfileError(f"{path}: cannot be read: it is no regular file.")
    if len(raw) > _MOST_BYTES:
        raise ProfileError(f"{path}: is larger than {_MOST_BYTES >> 10} KiB; no profile is.")
    try:
        # Windows' editor begins a file with a mark.
        return tomllib.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:  # also numbers of thousands of digits
        raise ProfileError(f"{path}: not a TOML file: {exc}.") from exc


def _match(table: _Table) -> Match:
    match = Match(
        compatible=table.patterns("compatible"),
        model=table.patterns("model"),
        architecture=table.texts("architecture", default=()),
    )
    if not (match.compatible or match.model or match.architecture):
        raise table.error("match", "recognises nothing; give compatible, model or architecture")
    return match


def _camera(table: _Table) -> CameraSettings:
    camera = CameraSettings(
        kind=table.choice("kind", CAMERA_KINDS),
        width=table.number("width", lowest=16, highest=16384),
        height=table.number("height", lowest=16, highest=16384),
        fps=table.number("fps", lowest=1, highest=1000),
        pipeline=table.text("pipeline", default=""),
    )
    if (camera.kind == "nvargus") != bool(camera.pipeline):
        raise table.error("pipeline", 'must be there for kind "nvargus", and only for it')
    _check_pipeline(table, camera.pipeline)
    return camera


def _check_pipeline(table: _Table, pipeline: str) -> None:
    try:
        parsed = [p for p in string.Formatter().parse(pipeline) if p[1] is not None]
    except ValueError as exc:
        raise table.error("pipeline", f"has a bad field: {exc}") from exc
    if any(form or conversion for _, _, form, conversion in parsed):
        raise table.error("pipeline", "has a field with a format; it is just {index} and the like")
    for name in sorted({str(p[1]) for p in parsed}.difference(_PIPELINE_FIELDS)):
        raise table.error(
            "pipeline", f"has unknown field {{{name}}}; it may use {', '.join(_PIPELINE_FIELDS)}"
        )


class _Table:
    """One table of a profile file, known to have no other keys than those allowed."""

    def __init__(
        self, path: Path, values: dict[str, Any], keys: tuple[str, ...], prefix: str = ""
    ) -> None:
        self._path = path
        self._values = values
        self._prefix = prefix
        for key in values:
            if key not in keys:
                hint = did_you_mean(key, keys)
                raise self.error(key, f"is unknown.{hint} Valid keys: {', '.join(keys)}")

    def error(self, key: str, problem: str) -> ProfileError:
        name = key if key + "." == self._prefix else self._prefix + key
        return ProfileError(f"{self._path}: key {name!r} {problem}.")

    def table(self, key: str, keys: tuple[str, ...]) -> _Table:
        values = self._value(key, dict, "a table")
        return _Table(self._path, values, keys, f"{self._prefix}{key}.")

    def text(self, key: str, default: str | None = None) -> str:
        text: str = self._value(key, str, "a string", default)
        if default is None and not text.strip():
            raise self.error(key, "is empty; it must be a string with something in it")
        if not all(c.isprintable() or c == "\n" for c in text):
            raise self.error(key, "holds a character that does not print")
        return text.strip()

    def number(self, key: str, lowest: int, highest: int) -> int:
        want = f"a whole number from {lowest} to {highest}"
        number: int = self._value(key, int, want)
        if not lowest <= number <= highest:
            raise self.error(key, f"must be {want}; it is {number}")
        return number

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        values = self._value(key, list, "a list of strings", default)
        wrong = [value for value in values if not isinstance(value, str) or not value]
        if wrong or (default is None and not values):
            found = f"it holds {wrong[0]!r}" if wrong else "it is empty"
            raise self.error(key, f"must be a list of strings; {found}")
        return tuple(values)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        return self._allowed(key, self.text(key), allowed)

    def choices(
        self, key: str, allowed: tuple[str, ...], default: tuple[str, ...] | None = None
    ) -> tuple[str, ...]:
        values = tuple(self._allowed(key, value, allowed) for value in self.texts(key, default))
        if len(set(values)) != len(values):
            raise self.error(key, "names the same thing twice")
        return values

    def patterns(self, key: str) -> tuple[re.Pattern[str], ...]:
        return tuple(self._pattern(key, text) for text in self.texts(key, default=()))

    def _value(self, key: str, kind: type, want: str, default: Any = None) -> Any:
        if key not in self._values:
            if default is not None:
                return default
            raise self.error(key, f"is missing; it must be {want}")
        value = self._values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, f"must be {want}; it is {repr(value)[:_TOLD_CHARS]}")
        return value

    def _allowed(self, key: str, value: str, allowed: tuple[str, ...]) -> str:
        if value not in allowed:
            hint = did_you_mean(value, allowed)
            raise self.error(key, f"has unknown {value!r}.{hint} Valid: {', '.join(allowed)}")
        return value

    def _pattern(self, key: str, text: str) -> re.Pattern[str]:
        try:
            return re.compile(text)
        except (re.error, OverflowError, RecursionError) as exc:
            raise self.error(key, f"has a bad regular expression {text!r}: {exc}") from exc
