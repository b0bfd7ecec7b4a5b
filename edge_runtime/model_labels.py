"""The labels that a model file carries itself, for programs that read nothing but the file.

A TFLite file has them in a ZIP archive behind the model (TFLite metadata), an ONNX file as JSON in
its `metadata_props`.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.engines.onnx_file import read_metadata
from edge_runtime.errors import EngineError
from edge_runtime.manifest import Format

LABEL_FILE = "labels.txt"
ONNX_KEY = "labels"
# More than any list of labels; a ZIP archive can claim to unpack to anything.
_MOST_BYTES = 16 * 2**20
# Whatever one of the readers' languages takes for the end of a line.
_LINE_END = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")


def label_lines(labels: Sequence[str]) -> bytes:
    """The label file: UTF-8, just one line for each label, also for two that are the same.

    A line break within a label becomes a space. Some readers skip blank lines, which would shift
    every label behind one: instead of a blank label stands its index.
    """
    lines = [_LINE_END.sub(" ", label) for label in labels]
    filled = [line if line.strip() else str(index) for index, line in enumerate(lines)]
    return "".join(f"{line}\n" for line in filled).encode(errors="replace")


def carries_other_labels(file: Path, form: Format, labels: Sequence[str]) -> bool:
    """Whether a model file says other labels than these; one that says none does not.

    Labels that cannot be read are other ones.
    """
    if form == "tflite":
        return _tflite_differs(file, labels)
    try:
        text = read_metadata(file).get(ONNX_KEY)
        return text is not None and json.loads(text) != list(labels)
    except (EngineError, ValueError, RecursionError):
        return True


def _tflite_differs(file: Path, labels: Sequence[str]) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            if LABEL_FILE not in archive.namelist():
                return False
            if archive.getinfo(LABEL_FILE).file_size > _MOST_BYTES:
                return True
            return archive.read(LABEL_FILE) != label_lines(labels)
    except Exception:  # zipfile raises whatever it meets in a damaged archive
        return True
