"""The process that opens files from elsewhere: questions in, facts out, as lines of JSON."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, RunError, brief
from converters.incoming.fingerprint import fingerprint, require_same

_READERS = {
    "tflite": "converters.incoming.readers.tflite",
    "onnx": "converters.incoming.readers.onnx",
    "keras": "converters.incoming.readers.keras3",
    "h5": "converters.incoming.readers.keras2",
    "json": "converters.incoming.readers.keras2",
    "savedmodel": "converters.incoming.readers.savedmodel",
}
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
# Libraries map far more than they use: TensorFlow alone some gigabytes.
_MAPPED_BYTES = 16 << 30


def serve(memory_bytes: int) -> None:
    """Answer until standard input ends."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # whatever libraries print must not stand among the answers
    _limit(memory_bytes)
    for line in questions:
        answers.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
        answers.flush()


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    kind, path = question.pop("kind"), Path(question.pop("path"))
    beside = [Path(question["weights"])] if question.get("weights") else []
    try:
        reader = importlib.import_module(_READERS[kind])
        read = fingerprint(path, beside)
        facts = reader.read(path, **question).model_copy(update={"sha256": read})
        require_same(path, read, beside)  # what was read is what was hashed
        return {"facts": facts.model_dump(mode="json")}
    except (RunError, ConversionError) as exc:
        return {"error": str(exc), "type": type(exc).__name__}
    except MemoryError:
        return {"error": f"{path}: takes more memory to open than it may."}
    except Exception as exc:  # parsers raise whatever they meet
        return {"error": f"{path}: cannot be read: {brief(exc)}"}


def _limit(memory_bytes: int) -> None:
    with contextlib.suppress(Exception):  # not every system has them
        import resource

        most = memory_bytes + _MAPPED_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(Exception):
        # A network of its own, with nothing in it; where the system refuses, it goes on without.
        unshare = ctypes.CDLL(None).unshare
        if unshare(_CLONE_NEWNET) != 0:
            unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
