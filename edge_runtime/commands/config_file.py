"""`edgeproof run --config FILE.toml`: what is too long to type, under the names of the flags."""

from __future__ import annotations

import bisect
import functools
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import typer

from devices.errors import EdgeproofError, did_you_mean

_MOST_BYTES = 64 << 10
_WHERE = re.compile(r" \(at line (\d+), column \d+\)$")
_NOT_IN_A_FILE = {"config", "only_check"}
_INTEGERS = range(-(1 << 63), 1 << 63)  # what TOML has
# By a flag's type: what TOML has for it, and how to say so.
_WANTED: dict[type, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str, int, float), "text in quotes"),
    Path: ((str,), "text in quotes"),
}


_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class _Used:
    """A file that a command took flags from.

    Attributes:
        places: `FILE:LINE` by the names of the command's parameters.
    """

    context: typer.Context
    places: Mapping[str, str]


_used: ContextVar[_Used | None] = ContextVar("_used", default=None)


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
    _used.set(None)
    if path is not None:
        values, places = _read(path, context)
        context.default_map = {**(context.default_map or {}), **values}
        _used.set(_Used(context, places))
    return path


def blames_the_line(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """A command whose complaints of a flag (`--votes 9: ...`) name the line that it came from.

    Some values are refused only by what they are for: a sink, or the loop.
    """

    @functools.wraps(command)
    def blaming(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return command(*args, **kwargs)
        except EdgeproofError as exc:
            place = _place_of(str(exc))
            if place is None:
                raise
            raise type(exc)(f"{place}: {exc}") from exc

    return blaming


def _place_of(complaint: str) -> str | None:
    """Where in the file the flag stands that a complaint is of; typed ones are nowhere."""
    used = _used.get()
    if used is None:
        return None
    for parameter in _blamed(complaint, used.context.params):
        source = used.context.get_parameter_source(parameter)
        if parameter in used.places and source is not None and source.name == "DEFAULT_MAP":
            return used.places[parameter]
    return None


def _blamed(complaint: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Parameters that a complaint names, by flag or by value, the surest first."""
    if complaint.startswith("--"):
        yield from (flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]*)", complaint))
        return
    if option := re.match(r"Option ([a-z_]+):", complaint):  # of a library's call
        yield option[1].removesuffix("_s")
        return
    texts = {
        name: [str(each) for each in (value if isinstance(value, list) else [value])]
        for name, value in values.items()
        if isinstance(value, str | Path | list)
    }
    for is_named in (lambda text: repr(text) in complaint, lambda text: _begins(complaint, text)):
        yield from (name for name, given in texts.items() if any(map(is_named, given)))


def _begins(complaint: str, text: str) -> bool:
    return bool(text) and complaint.startswith(f"{text}: ")


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
    return _read(path, context)[0]


def _read(path: Path, context: typer.Context) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and places (`FILE:LINE`), by the names of the command's parameters."""
    from edge_runtime.text import printable

    flags = _flags(inspect.unwrap(context.command.callback or read_config))
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for line, key, value in _entries(path):
        flag = flags.get(key.replace("_", "-"))
        where = f"{path}:{line}: {key}"
        if flag is None:
            raise _error(f"{where}: is no flag of this command.{did_you_mean(key, flags)}")
        if flag.parameter in values:
            raise _error(f"{where}: is there twice.")
        values[flag.parameter] = _checked(flag, value, where)
        places[flag.parameter] = printable(f"{path}:{line}")
    return values, places


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
        if flag.kind is Path and not each:
            raise _error(f"{where}: must be a name; it is empty.")
    if not values:
        raise _error(f"{where}: must be {wanted}, or a list of them; the list is empty.")
    # As typed: `source = 0` is a camera's number.
    typed = [str(each) if flag.kind in (str, Path) else each for each in values]
    return typed if flag.several else typed[0]


def _require_range(flag: _Flag, value: Any, where: str) -> None:
    if isinstance(value, int) and value not in _INTEGERS:
        raise _error(f"{where}: is larger than any number of a TOML file (64 bits).")
    if flag.kind is float and value == math.inf:
        raise _error(f"{where}: must be a number; it is {value}.")
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
    except (RecursionError, ValueError) as exc:  # the parser's own limits, and Python's
        deep = isinstance(exc, RecursionError)
        why = "is nested too deeply" if deep else "has a number of too many digits"
        raise _error(f"{path}:{_line_too_much(text, tomllib)}: {why}.") from exc
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


def _line_too_much(text: str, tomllib: ModuleType) -> int:
    """The first line with which a file is more than the parser can take."""
    lines = text.splitlines(keepends=True)

    def is_too_much(count: int) -> bool:
        try:
            tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            return False  # cut off in the middle of an entry
        except (RecursionError, ValueError):
            return True
        return False

    return bisect.bisect_left(range(len(lines)), True, key=is_too_much)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise _error(f"--config {path}: {exc.strerror or exc}.") from exc
    if len(data) > _MOST_BYTES:
        raise _error(f"--config {path}: is larger than {_MOST_BYTES >> 10} KiB; is it the file?")
    try:
        # Some editors begin with a byte-order mark.
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
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
