"""Passwords and keys: from the environment or a file, never from the command line.

What stands on a command line is seen by every user of the machine (`ps`), and kept by shells.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edge_runtime.errors import OptionError

_MOST_BYTES = 4096


def read_secret(
    file: Path | None,
    variable: str,
    environment: Mapping[str, str] = os.environ,
    *,
    flag: str = "",
) -> str | None:
    """The secret in `file`, else that of the environment variable; `None` where there is neither.

    Args:
        file: its text without the end of its line is the secret.
        flag: to blame, which named the file.

    Raises:
        OptionError: when the file cannot be read, is empty, or is too large to be one.
    """
    if file is None:
        return environment.get(variable) or None
    where = f"{flag} {file}".strip()
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise OptionError(f"{where}: cannot be read: {exc.strerror or exc}.") from exc
    if len(data) > _MOST_BYTES:
        raise OptionError(f"{where}: is larger than any secret ({_MOST_BYTES} bytes).")
    try:
        secret = data.decode().rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise OptionError(f"{where}: is no text.") from exc
    if not secret or "\n" in secret:
        raise OptionError(
            f"{where}: holds {'more than one line' if secret else 'nothing'}; a secret is one line."
        )
    return secret
