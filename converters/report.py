"""A bundle's report: one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence

from converters.outcome import Outcome
from converters.subject import Subject
from edge_runtime.manifest import Manifest


def render_report(manifest: Manifest, outcomes: Sequence[Outcome], subject: Subject) -> str:
    return "<html></html>"
