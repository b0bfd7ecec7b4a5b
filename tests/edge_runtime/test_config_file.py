"""`edgeproof run --config`: the same names as the flags, and errors that name the line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.commands.config_file import read_config
from edge_runtime.commands.run import run_command
from edge_runtime.errors import EdgeproofError, OptionError


def read(tmp_path: Path, text: str | bytes) -> dict[str, Any]:
    app = typer.Typer()
    app.command()(run_command)
    command = typer.main.get_command(app)
    path = tmp_path / "door.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    context = command.make_context("run", ["x.bundle", "--source", "0"])
    return read_config(path, context)


GOOD = """\
# The door
bundle = "pets.bundle"
source = [
    "0",        # the camera
    "csi",
]
min-score = 0.8
stride = 2
no_abstain = false
realtime = true
votes = '''
5/8'''
jsonl = "a = b.jsonl"
"""


def test_every_flag_by_its_name(tmp_path: Path):
    assert read(tmp_path, GOOD) == {
        "bundle": "pets.bundle",
        "source": ["0", "csi"],
        "min_score": 0.8,
        "stride": 2,
        "no_abstain": False,
        "realtime": True,
        "votes": "5/8",
        "jsonl": "a = b.jsonl",
    }
    assert read(tmp_path, "source = 0\r\nmin_score = 1\r\n") == {"source": ["0"], "min_score": 1}
    assert read(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (
            "\nmin-scor = 0.5\n",
            2,
            "min-scor: is no flag of this command. Did you mean 'min-score'?",
        ),
        ('source = [\n "0",\n]\n\nstride = 0\n', 5, "stride: must be at least 1; it is 0."),
        ("min-score = nan", 1, "min-score: must be at least 0; it is nan."),
        ("min-score = 1.5", 1, "min-score: must be at most 1; it is 1.5."),
        ('stride = "2"', 1, "stride: must be a whole number; it is text, '2'."),
        ("stride = 2.5", 1, "stride: must be a whole number; it is 2.5."),
        ("stride = true", 1, "stride: must be a whole number; it is true."),
        ("display = 1", 1, "display: must be true or false; it is 1."),
        ("votes = [5]", 1, "votes: must be text in quotes; it is a list."),
        ("source = [true]", 1, "source: must be text in quotes, or a list of them; it is true."),
        ("source = [[0]]", 1, "source: must be text in quotes, or a list of them; it is a list."),
        ("x = 1\n[web]\nport = 1", 1, "x: is no flag of this command."),
        ("\n[web]\nport = 1", 2, "web: must be true or false; it is a table: flags stand by"),
        ("web.port = 3", 1, "web: must be true or false; it is a table: flags stand by"),
        ("min-score = 0.1\nmin_score = 0.2", 2, "min_score: is there twice."),
        ("stride = 1\nstride = 2", 2, "Cannot overwrite a value"),
        ("stride = 1\nvotes = \n", 2, "Invalid value."),
        ('votes = """5/8', 1, "Unterminated string (at end of document)."),
        (b"stride = 1\nvotes = '\xff'", 2, "is no UTF-8 text."),
        ('config = "more.toml"', 1, "config: is no flag of this command."),
        ('"a\\u001b" = 1', 1, "a\N{REPLACEMENT CHARACTER}: is no flag of this command."),
        ("votes = '1/1'\na = [\n" + "[" * 5000, 3, "is nested too deeply."),
        (
            "stride = 1\naverage = " + "1" * 6000 + "\nfps = 1",
            2,
            "has a number of too many digits.",
        ),
        (
            "average = " + "9" * 32,
            1,
            "average: is larger than any number of a TOML file (64 bits).",
        ),
        ("timeout = inf", 1, "timeout: must be a number; it is inf."),
        ("source = []", 1, "source: must be text in quotes, or a list of them; the list is empty."),
        ('jsonl = ""', 1, "jsonl: must be a name; it is empty."),
        ("port = 99999999", 1, "port: must be at most 65535; it is 99999999."),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(
    tmp_path: Path, text: str | bytes, line: int, why: str
):
    with pytest.raises(OptionError) as caught:
        read(tmp_path, text)
    assert f"door.toml:{line}: {why}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_read_past(tmp_path: Path):
    assert read(tmp_path, b"\xef\xbb\xbfstride = 2\n") == {"stride": 2}


REFUSED_LATER = [
    ("average = 9999999", "--average: A moving average is over 1 to 10000 frames"),
    ('votes = "--help"', "--votes '--help': write K/N"),
    ('votes = "1/4"', "--votes: Votes 1/4: two labels could win at once"),
    ('region = "1,2"', "--region '1,2': write X,Y,WIDTH,HEIGHT"),
    ('jsonl = "a"\njsonl-rotate = "banana"', "--jsonl-rotate 'banana': write a size"),
    ('jsonl = "a"\nfsync = "x"', "--fsync 'x': is one of never, second, line."),
    ('fsync = "line"', "--fsync goes with --jsonl."),
    ('video = "a.mp4"\nsegment = "0s"', "--segment '0s': write a time"),
    ('mqtt = "mqtt://u:p@h"', "--mqtt: an address with a password is seen"),
    ('mqtt = "mqtt://h"\nmqtt-topic = "a/#"', "--mqtt-topic 'a/#': write a topic"),
    ('mqtt = "mqtt://h"\nmqtt-discovery = "a/+"', "--mqtt-discovery 'a/+': write a topic"),
    ('mqtt = "mqtts://h"\nmqtt-ca = "none.pem"', "--mqtt-ca none.pem: no such file."),
    ('mqtt = "mqtt://h"\nmqtt-password-file = "none"', "--mqtt-password-file none: cannot be read"),
    ('webhook = "file:none"', "--webhook none: cannot be read"),
    ('keep-hard = "h"\nhard-quota = "x"', "--hard-quota 'x': write a size"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED_LATER, ids=[why for _, why in REFUSED_LATER])
def test_what_a_sink_or_the_loop_refuses_names_the_line_too(tmp_path: Path, text: str, why: str):
    path = tmp_path / "door.toml"
    path.write_text(f"# The door\n{text}\n")
    arguments = ["x.bundle", "--source", "0", "--config", str(path)]
    with pytest.raises(OptionError) as caught:
        typer.main.get_command(_app())(arguments, standalone_mode=False)
    line = 2 + text.count("\n")
    assert str(caught.value).startswith(f"{path}:{line}: {why}")
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('profile = "nopro"', "No device profile 'nopro'. Known:"),
        ('video = "a.xyz"', "a.xyz: a video ends in .mp4"),
        ('fourcc = "ABCDE"', "Option fourcc: 'ABCDE' is no pixel format"),
        ("timeout = 1e999", "timeout: must be a number; it is inf"),
        ('bundle = "none.bundle"', "none.bundle: no such bundle"),
    ],
)
def test_what_is_refused_by_its_value_names_the_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
):
    (tmp_path / "b.bundle").mkdir()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "door.toml"
    rest = "" if "bundle" in text else 'bundle = "b.bundle"\n'
    path.write_text(f"# The door\n{text}\n{rest}")
    with pytest.raises(EdgeproofError) as caught:
        typer.main.get_command(_app())(
            ["--source", "0", "--config", str(path)], standalone_mode=False
        )
    assert str(caught.value).startswith(f"{path}:2: {why}")


def test_what_was_typed_is_not_blamed_on_the_file(tmp_path: Path):
    path = tmp_path / "door.toml"
    path.write_text('votes = "1/1"\naverage = 3\n')
    command = typer.main.get_command(_app())
    arguments = ["x.bundle", "--source", "0", "--config", str(path)]
    with pytest.raises(OptionError, match=r"^--votes '7': write K/N"):
        command([*arguments[:3], "--votes", "7"], standalone_mode=False)
    path.write_text('votes = "1/1"\n')
    with pytest.raises(OptionError, match=r"^--votes '7': write K/N"):
        command([*arguments, "--votes", "7"], standalone_mode=False)
    with pytest.raises(OptionError, match=r"door\.toml:1: --average and --votes are two ways"):
        command([*arguments, "--average", "7"], standalone_mode=False)


def test_what_is_no_file(tmp_path: Path):
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(OptionError, match=r"^--config .*: (Is a|No such)"):
            read_config(path, typer.Context(typer.main.get_command(_app())))
    with pytest.raises(OptionError, match="is larger than 64 KiB"):
        read(tmp_path, "#" * (1 << 17))


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(run_command)
    return app


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.binary(max_size=60), st.text("\n =[]'\"stride1.0#\\", max_size=40)))
def test_anything_at_all_is_read_or_refused(tmp_path: Path, text: str | bytes):
    try:
        read(tmp_path, text)
    except EdgeproofError as exc:
        assert "door.toml" in str(exc)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["# x", "", "  ", "votes = '''\n\n1/1'''", "source = [\n0\n]"])))
def test_the_line_is_right_whatever_stands_above(tmp_path: Path, above: list[str]):
    above = list(dict.fromkeys(above))
    text = "\n".join([*above, "strid = 3", "fps = 3"])
    expected = text[: text.index("strid")].count("\n") + 1
    with pytest.raises(OptionError, match=rf"door\.toml:{expected}: strid: .*'stride'"):
        read(tmp_path, text)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeproof", "run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_runs_and_what_is_typed_comes_first(
    colour_bundle: Path, colour_folder: Path, tmp_path: Path
):
    out = tmp_path / "answers.jsonl"
    config = tmp_path / "door.toml"
    config.write_text(
        f'bundle = "{colour_bundle}"\nsource = "{colour_folder}"\nmax-frames = 1\njsonl = "{out}"\n'
    )
    done = run("--config", config)
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == 1
    done = run("--max-frames", "2", "--config", config, "--min-score", "1")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["label"] for line in out.read_text().splitlines()] == ["unknown"] * 2
    config.write_text("max-frames = 0\n")
    done = run("--config", config)
    assert done.returncode == 1
    assert done.stderr == f"edgeproof: {config}:1: max-frames: must be at least 1; it is 0.\n"
