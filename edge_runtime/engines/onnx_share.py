"""How many of a model's operators each execution provider of an onnxruntime session took.

`get_providers` only says which were registered. What the graph partitioner gave to whom is recorded
by onnxruntime 1.24 and newer; before that, the profile of one inference tells.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

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

    def count(self, session: Any, feed: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Operators by provider; those of onnxruntime's own optimised graph.

        Args:
            feed: an input to run, where the profile has to tell.
        """
        with self._folder:
            if not self._profiles:
                counts: Counter[str] = Counter()
                for part in session.get_provider_graph_assignment_info():
                    counts[part.ep_name] += len(part.get_nodes())
                return dict(counts)
            session.run(None, dict(feed))
            return _from_profile(Path(session.end_profiling()))


def _from_profile(file: Path) -> dict[str, int]:
    """Nodes that ran by provider. A part that a provider compiled as one counts as one."""
    events = json.loads(file.read_text(encoding="utf-8"))
    ran = {
        (event["args"]["provider"], event["name"])
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    return dict(Counter(provider for provider, _ in ran))
