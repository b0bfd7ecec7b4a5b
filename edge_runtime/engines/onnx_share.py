"""How many of a model's operators each execution provider of an onnxruntime session took.

`get_providers` only says which were registered. What the graph partitioner gave to whom is recorded
by onnxruntime 1.24 and newer; before that, the profile of one inference tells.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edge_runtime.engines.onnx_file import count_operators

# Parts are numbered, operators are not: `TRTKernel_graph_main_123_0`.
_COMPILED = re.compile(r"_\d+$")
_RECORD = "session.record_ep_graph_assignment_info"


class AssignmentMeter:
    """Prepares a session's options, and counts when the session is there."""

    def __init__(self, options: Any, *, profile: bool | None = None) -> None:
        """Ask for the record.

        Args:
            profile: by the profile of one inference; unless given, only where this onnxruntime
                keeps no record.
        """
        records = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")
        self._profiles = not records if profile is None else profile
        self._folder = tempfile.TemporaryDirectory(prefix="edgeproof-")
        if self._profiles:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._folder.name) / "profile")
        else:
            options.add_session_config_entry(_RECORD, "1")

    def count(self, session: Any, model: Path, feed: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Operators by provider, those of onnxruntime's own optimised graph.

        Args:
            model: the session's file.
            feed: an input to run, where the profile has to tell.
        """
        with self._folder:
            if not self._profiles:
                counts: Counter[str] = Counter()
                for part in session.get_provider_graph_assignment_info():
                    counts[part.ep_name] += len(part.get_nodes())
                return dict(counts)
            session.run(None, dict(feed))
            return _from_profile(Path(session.end_profiling()), count_operators(model))


def _from_profile(file: Path, in_file: int) -> dict[str, int]:
    """Nodes that ran, by provider.

    A part that a provider compiled is one node there. It stands for the operators of the file,
    `in_file` of them, that nobody else ran: a little too many where others were fused.
    """
    events = json.loads(file.read_text(encoding="utf-8"))
    ran = {
        event["name"]: event["args"]
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    counts = Counter(args["provider"] for args in ran.values())
    compiled = [a["provider"] for a in ran.values() if _COMPILED.search(a.get("op_name", ""))]
    if compiled:
        counts[compiled[0]] += max(0, in_file - counts.total())
    return dict(counts)
