"""`devices` on the command line: tables for people, JSON for programs."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from devices import profile_names
from devices.cli import mount


@pytest.fixture
def run():
    """Runs `devices ...` and returns the result."""
    app = typer.Typer()
    app.callback()(lambda: None)  # with one command only, typer would hide its name
    mount(app)
    return lambda *args: CliRunner().invoke(
        app, ["devices", *map(str, args)], env={"COLUMNS": "200"}
    )


def test_tables_name_the_machine_and_every_profile(run, board):
    result = run("--root", board("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b"))
    assert result.exit_code == 0
    assert "This machine" in result.output
    assert "raspberry_pi_5 (Raspberry Pi 5)" in result.output
    for name in profile_names():
        assert name in result.output


def test_json_is_complete(run, board):
    root = board("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b")
    report = json.loads(run("--json", "--root", root).output)
    assert report["device"]["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert report["profile"] == "raspberry_pi_5"
    assert report["threads"] == 3
    assert [each["name"] for each in report["profiles"]] == list(profile_names())
    assert report["profiles"][0]["camera"]["kind"] == "v4l2"


def test_a_machine_that_no_profile_suits_is_still_shown(run, tmp_path):
    result = run("--root", tmp_path)
    assert result.exit_code == 0
    assert "none suits this architecture" in result.output
    assert json.loads(run("--json", "--root", tmp_path).output)["profile"] is None


def test_brackets_in_names_are_shown_as_they_are(run, board):
    assert "Board [bold]x[/nope]" in run("--root", board("Board [bold]x[/nope]")).output


def test_this_machine(run):
    assert run().exit_code == 0
    assert json.loads(run("--json").output)["device"]["architecture"]
