"""Processes that train together: what can be said before they meet."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.errors import OptionError
from trainer.team import Team, TeamOptions, join_team


def test_every_process_has_its_own_part_of_a_batch():
    rows = np.arange(12)
    parts = [Team(processes=3, index=index, devices=3).share(rows) for index in range(3)]
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [Team(3, index, 3).leads for index in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    "batch_size, pictures, message",
    [
        pytest.param(30, 100, "shared by 4 devices; take a multiple of 4", id="uneven"),
        pytest.param(32, 20, "there are 20 pictures", id="too-few"),
    ],
)
def test_batch_that_cannot_be_shared_is_refused(batch_size, pictures, message):
    with pytest.raises(OptionError, match=message):
        Team(2, 0, 4).require_batch(batch_size, pictures)
    Team().require_batch(batch_size, pictures)


@pytest.mark.parametrize(
    "options, message",
    [
        pytest.param({"coordinator": "h:1"}, "belong together", id="half"),
        pytest.param(
            {"coordinator": "h:1", "processes": 2, "process_id": 2}, "from 0 to 1", id="id"
        ),
        pytest.param(
            {"coordinator": "h:1", "processes": 0, "process_id": 0}, "--processes 0", id="none"
        ),
    ],
)
def test_bad_team_is_named(options, message):
    with pytest.raises(OptionError, match=message):
        TeamOptions(**options)


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(OptionError, match="KERAS_BACKEND is tensorflow"):
        join_team(TeamOptions())
