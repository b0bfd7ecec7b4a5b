"""`edgeproof run --config FILE.toml`: what is too long to type, under the names of the flags."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from devices.errors import did_you_mean

_MOST_BYTES = 64 << 10
_WHERE = re.compile(r" \(at line (\d+), column \d+\)$")
_NOT_IN_A_FILE = {"config"}
# By a flag's type: what TOML has for it, and how to say so.
_WANTED: dict[type, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str, int, float), "text in quotes"),
    Path: ((str,), "text in quotes"),
}


@dataclass(frozen=True)
class _Flag:
    """A parameter of the command.

    Attributes:
        parameter: its name in the function.
        several: whether it may be given more than once.
        low, high: the range of a number.
    """

    parameter: str
    kind: type
    several: bool
    low: float | None
    high: float | None


def _use_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take what a file says for the command's defaults: flags that are typed come first."""
    if path is not None:
        context.default_map = {**(context.default_map or {}), **read_config(path, context)}
    return path


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        is_eager=True,
        callback=_use_config,
        help="Take flags from a file, by their names; BUNDLE, too. What is typed comes first.",
    ),
]


def read_config(path: Path, context: typer.Context) -> dict[str, Any]:
    """The values of a file, by the names of the command's parameters.

    Raises:
        OptionError: naming file and line, for a key that is no flag or a value that it cannot
            have.
    """
    flags = _flags(inspect.unwrap(context.command.callback or read_config))
    values: dict[str, Any] = {}
    for line, key, value in _entries(path):
        flag = flags.get(key.replace("_", "-"))
        where = f"{path}:{line}: {key}"
        if flag is None:
            raise _error(f"{where}: is no flag of this command.{did_you_mean(key, flags)}")
        if flag.parameter in values:
            raise _error(f"{where}: is there twice.")
        values[flag.parameter] = _checked(flag, value, where)
    return values


def _flags(command: Callable[..., Any]) -> dict[str, _Flag]:
    """The command's flags and arguments, by what they are called in a file."""
    found = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        if get_origin(hint) is not Annotated or name in _NOT_IN_A_FILE:
            continue
        kind, info = get_args(hint)[:2]
        if get_origin(kind) in (Union, UnionType):
            kind = next(part for part in get_args(kind) if part is not type(None))
        several = get_origin(kind) is list
        if several:
            (kind,) = get_args(kind)
        flag = _Flag(name, kind, several, info.min, info.max)
        found[name.replace("_", "-")] = flag
    return found


def _checked(flag: _Flag, value: Any, where: str) -> Any:
    """The value as the command line would have it, if it may have it."""
    types, wanted = _WANTED[flag.kind]
    values: list[Any] = value if flag.several and isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, types) or (isinstance(each, bool) and flag.kind is not bool):
            more = ", or a list of them" if flag.several else ""
            raise _error(f"{where}: must be {wanted}{more}; it is {_described(each)}.")
        _require_range(flag, each, where)
    # As typed: `source = 0` is a camera's number.
    typed = [str(each) if flag.kind in (str, Path) else each for each in values]
    return typed if flag.several else typed[0]


def _require_range(flag: _Flag, value: Any, where: str) -> None:
    if flag.low is not None and not value >= flag.low:  # a NaN is nowhere
        raise _error(f"{where}: must be at least {flag.low}; it is {value}.")
    if flag.high is not None and not value <= flag.high:
        raise _error(f"{where}: must be at most {flag.high}; it is {value}.")


def _entries(path: Path) -> Iterator[tuple[int, str, Any]]:
    """Line, key and value of each entry of a TOML file."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # Python 3.10
        import tomli as tomllib

    text = _text_of(path)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        found = _WHERE.search(str(exc))
        line = int(found[1]) if found else text.count("\n") + 1
        raise _error(f"{path}:{line}: {_WHERE.sub('', str(exc))}.") from exc
    # The parser does not tell lines. The file being good, an entry ends with the first line at
    # which what came since the last one is good by itself.
    begun, lines = 1, ""
    for number, line_text in enumerate(text.splitlines(keepends=True), 1):
        lines += line_text
        try:
            entries = tomllib.loads(lines)
        except tomllib.TOMLDecodeError:
            continue
        for key, value in entries.items():
            yield begun, key, value
        begun, lines = number + 1, ""


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise _error(f"--config {path}: {exc.strerror or exc}.") from exc
    if len(data) > _MOST_BYTES:
        raise _error(f"--config {path}: is larger than {_MOST_BYTES >> 10} KiB; is it the file?")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise _error(f"{path}:{line}: is no UTF-8 text.") from exc


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return "a table: flags stand by themselves, without [brackets] or dots"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return f"text, {value!r}" if isinstance(value, str) else str(value)


def _error(message: str) -> Exception:
    from edge_runtime.errors import OptionError
    from edge_runtime.text import printable

    return OptionError(printable(message))
