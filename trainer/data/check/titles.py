"""A finding as one line."""

from __future__ import annotations

from edge_runtime.text import count_of
from trainer.data.check.findings import Finding


def title_of(finding: Finding) -> str:
    """`3 files: cannot be decoded …`, for terminal and page."""
    if finding.groups:
        return f"{count_of(len(finding.groups), 'picture')} {finding.text}"
    if finding.files:
        return f"{count_of(len(finding.files), 'file')} {finding.text}"
    return finding.text
