"""One conversion as they are, and its report."""

from __future__ import annotations

import pytest
from report_cases import realistic

from converters.outcome import Outcome
from converters.report.page import render_report
from converters.subject import Subject
from edge_runtime.manifest import (
    Manifest,
)


@pytest.fixture(scope="module")
def case() -> tuple[Manifest, list[Outcome], Subject]:
    return realistic()


@pytest.fixture(scope="module")
def page(case: tuple[Manifest, list[Outcome], Subject]) -> str:
    return render_report(*case)
