"""Every sink is a line in a table: its flags, its options, and what happens without its package."""

import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest

from edge_runtime.commands.run import run_command
from edge_runtime.commands.running import Outputs
from edge_runtime.errors import EdgeproofError, OptionError, SinkError
from edge_runtime.sinks.opening import SinkOptions
from edge_runtime.sinks.table import SINKS, AskedSink, SinkKind, asked_sinks


@pytest.mark.parametrize("kind", SINKS, ids=lambda kind: kind.flag)
def test_every_kinds_flags_are_the_commands_and_its_options_fields(kind: SinkKind):
    module, _, name = kind.options.partition(":")
    options = getattr(importlib.import_module(module), name)
    assert issubclass(options, SinkOptions)
    fields = {field.name: field for field in dataclasses.fields(options)}
    assert {kind.flag, *kind.also} == set(fields)
    for further in kind.also:
        assert fields[further].default is not dataclasses.MISSING, further
    parameters = inspect.signature(run_command).parameters
    for flag in fields:
        # Any other default would look as if it had been given.
        assert parameters[flag].default in (None, False), flag


def test_what_lines_rotate_into_is_theirs():
    given = {"jsonl": Path("a"), "jsonl_rotate": "10KB", "jsonl_keep": 2, "status": Path("a.1")}
    outputs = Outputs(asked_sinks(given))
    with pytest.raises(SinkError, match=r"--status a\.1: is also given to --jsonl; choose another"):
        outputs.require_apart(Path("bundle"), ["0"])
    assert outputs.written(1) == [Path("a"), Path("a.1")]


def test_no_flag_no_sink():
    assert asked_sinks({"jsonl": None, "append": False, "stride": 3}) == []


def test_a_flag_that_means_nothing_alone():
    with pytest.raises(OptionError, match=r"^--append goes with --jsonl\.$"):
        asked_sinks({"append": True})


def test_zero_is_a_value(monkeypatch: pytest.MonkeyPatch):
    kind = SinkKind("jsonl", "edge_runtime.sinks.jsonl:JsonLinesOptions", also=("append",))
    monkeypatch.setattr("edge_runtime.sinks.table.SINKS", (kind,))
    (asked,) = asked_sinks({"jsonl": Path("a"), "append": 0})
    given = dataclasses.asdict(asked.options)
    assert (given["jsonl"], given["append"]) == (Path("a"), 0)


def test_a_missing_extra_is_one_line():
    class Absent(SinkOptions):
        def open(self, opening):
            import package_that_nobody_has  # type: ignore[import-not-found]

            return [package_that_nobody_has]

    asked = AskedSink(SinkKind("keep_hard", "x:y", extra="hard"), Absent())
    with pytest.raises(SinkError) as caught:
        asked.open(None)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "--keep-hard needs package_that_nobody_has, which is not installed: "
        "pip install 'edgeproof[hard]'"
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"mqtt": "broker"}, "--mqtt: write mqtt://HOST"),
        ({"mqtt": "mqtts://h", "mqtt_ca": Path("none.pem")}, "--mqtt-ca none.pem: no such file"),
        ({"mqtt": "mqtt://h", "mqtt_topic": "a/#"}, "--mqtt-topic 'a/#': write a topic"),
        ({"mqtt_topic": "a"}, "--mqtt-topic goes with --mqtt."),
        ({"webhook": "nowhere"}, "--webhook: write http://HOST/PATH"),
        (
            {"webhook": "http://h", "webhook_secret_file": Path("no")},
            "--webhook-secret-file no: cannot be read",
        ),
        ({"jsonl": Path("a"), "jsonl_rotate": "big"}, "--jsonl-rotate 'big': write a size"),
        ({"jsonl": Path("a"), "jsonl_keep": 3}, "--jsonl-keep goes with --jsonl-rotate."),
        ({"jsonl": Path("a"), "fsync": "often"}, "--fsync 'often': is one of never, second"),
        ({"video": Path("a.mp4"), "video_keep": 3}, "--video-keep and --video-quota go with"),
        ({"video": Path("a.txt")}, "a.txt: a video ends in"),
        ({"webhook_snapshot": True}, "--webhook-snapshot goes with --webhook."),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_opened(
    given: dict[str, object], complaint: str
):
    with pytest.raises(EdgeproofError) as caught:
        asked_sinks(given)
    assert str(caught.value).startswith(complaint)
