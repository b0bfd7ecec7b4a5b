"""`devices` on the command line: tables for people, JSON for programs."""

from __future__ import annotations

import json

import pytest
import typer
from boards import board_files, write_files
from typer.testing import CliRunner

from devices import ProfileError, profile_names
from devices.cli import mount
from devices.profiles import PROFILES_FOLDER


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


def test_a_title_that_looks_like_markup_is_shown_as_it_is(run, board, own_profiles):
    own_profiles.mkdir(parents=True)
    shipped = (PROFILES_FOLDER / "raspberry_pi_5.toml").read_text()
    odd = shipped.replace('"Raspberry Pi 5"', '"a [bold]x[/] [/nope]"')
    assert odd != shipped
    (own_profiles / "mine.toml").write_text(odd)
    result = run("--root", board("Somebody's board", "somebody,board"))
    assert result.exit_code == 0
    assert "a [bold]x[/] [/nope]" in result.output


def test_json_is_complete(run, board):
    root = board("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b")
    report = json.loads(run("--json", "--root", root).output)
    assert report["device"]["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert report["profile"] == "raspberry_pi_5"
    assert report["threads"] == 3
    assert [each["name"] for each in report["profiles"]] == list(profile_names())
    assert report["profiles"][0]["camera"]["kind"] == "v4l2"


def test_engines_and_what_could_be(run, board):
    root = board("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b")
    report = json.loads(run("--json", "--root", root).output)
    states = {each["name"]: each for each in report["engines"]}
    assert set(states) == {"litert", "tflite-runtime", "onnxruntime"}
    assert states["litert"]["version"] in run("--root", root).output


def test_a_jetson_tells_its_software(run, tmp_path):
    root = write_files(tmp_path / "root", board_files("jetson_orin_nano"))
    text = run("--root", root).output
    assert "JetPack 6.2, L4T 36.4.3, CUDA 12.6.11, TensorRT 10.3.0" in text
    assert "Tegra234" in text
    device = json.loads(run("--json", "--root", root).output)["device"]
    assert device["jetson"]["tensorrt"] == "10.3.0"


def test_an_unknown_board_is_said_to_be_one(run, board):
    text = run("--root", board("Radxa ROCK 5B", "radxa,rock-5b", "rockchip,rk3588")).output
    assert "generic_arm64 (ARM board): Radxa ROCK 5B has none of its own" in text


def test_a_users_profile_says_where_it_is_from(run, board, own_profiles):
    own_profiles.mkdir(parents=True)
    text = (PROFILES_FOLDER / "generic_arm64.toml").read_text()
    (own_profiles / "rock.toml").write_text(
        text.replace('architecture = ["aarch64", "armv7l"]', "compatible = ['^radxa,']")
    )
    output = run("--root", board("Radxa ROCK 5B", "radxa,rock-5b", "rockchip,rk3588")).output
    assert f"rock (ARM board), from {own_profiles}" in output.replace("\n", "")


def test_a_bad_profile_is_one_error(run, board, own_profiles):
    own_profiles.mkdir(parents=True)
    (own_profiles / "rock.toml").write_text("title = 3\n")
    result = run("--root", board("Radxa ROCK 5B"))
    assert isinstance(result.exception, ProfileError)


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
