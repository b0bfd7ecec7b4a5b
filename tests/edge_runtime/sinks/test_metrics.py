"""What Prometheus reads: by its own parsers, over HTTP, while a real loop runs."""

import http.client
import json
import math
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

prometheus_client = pytest.importorskip("prometheus_client")
from prometheus_client import parser as text_parser  # noqa: E402
from prometheus_client.openmetrics import parser as openmetrics_parser  # noqa: E402

from edge_runtime import Bundle, Classifier, open_source, run  # noqa: E402
from edge_runtime.errors import OptionError, SinkError  # noqa: E402
from edge_runtime.loop.results import Result  # noqa: E402
from edge_runtime.pipeline import LoopOptions  # noqa: E402
from edge_runtime.sinks.addresses import is_meant_for, parse_address  # noqa: E402
from edge_runtime.sinks.metrics.sink import MetricsOptions, MetricsSink  # noqa: E402
from edge_runtime.sinks.opening import SinkOpening  # noqa: E402
from edge_runtime.sources import SourceEvent  # noqa: E402


class Opened:
    """A run with `--metrics`, and a client that asks for them."""

    def __init__(self, bundle: Path, source: Path) -> None:
        self.notes: list[str] = []
        self.classifier = Classifier(Bundle.open(bundle))
        self.source = open_source(source)
        self.opening = SinkOpening(
            self.classifier.bundle,
            self.classifier,
            [self.source],
            LoopOptions(),
            self.notes.append,
            threading.Event(),
        )
        (sink,) = MetricsOptions(True, "127.0.0.1:0").open(self.opening)
        assert isinstance(sink, MetricsSink)
        self.sink = sink
        self.port = int(self.notes[0].rpartition(":")[2].partition("/")[0])

    def get(self, path: str = "/metrics", **headers: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()

    def figures(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        families = text_parser.text_string_to_metric_families(self.get()[2])
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture
def opened(colour_bundle: Path, colour_video: Path) -> Iterator[Opened]:
    made = Opened(colour_bundle, colour_video)
    yield made
    made.sink.close()


def test_a_parser_of_prometheus_reads_what_a_run_came_to(opened: Opened):
    seen: list[dict] = []

    def look(result: Result) -> None:
        if result.frame.index == 29:
            seen.append(opened.figures())

    class Look:
        write = staticmethod(look)

        def close(self) -> None:
            pass

    opened.sink.event(SourceEvent("lost", 0.0, "gone", opened.source.name))
    opened.sink.event(SourceEvent("reopened", 0.0, "back", opened.source.name))
    run(opened.classifier, opened.source, [opened.sink, Look()])
    (figures,) = seen
    source = (("source", opened.source.name),)
    for label in ("red", "green", "blue"):
        assert figures[("edgeproof_answers_total", (("label", label),))] == 10
    assert figures[("edgeproof_frames_total", source)] == 30
    assert figures[("edgeproof_reconnects_total", source)] == 1
    assert figures[("edgeproof_source_events_total", (("kind", "lost"), *source))] == 1
    assert figures[("edgeproof_dropped_frames_total", source)] == 0
    assert figures[("edgeproof_abstentions_total", ())] == 0
    assert figures[("edgeproof_frame_age_seconds_count", ())] == 30
    for stage in ("capture", "wait", "preprocess", "infer", "output"):
        name = ("edgeproof_stage_seconds_count", (("stage", stage),))
        assert figures[name] == 30
        everything = ("edgeproof_stage_seconds_bucket", (("le", "+Inf"), ("stage", stage)))
        assert figures[everything] == 30
        assert 0 <= figures[("edgeproof_stage_seconds_sum", (("stage", stage),))] < 60
    assert figures[("edgeproof_memory_available_bytes", ())] > 0
    assert figures[("process_resident_memory_bytes", ())] > 0
    told = next(dict(labels) for name, labels in figures if name == "edgeproof_run_info")
    assert told["variant"] == "tflite-float32" and told["engine"] == "litert"


def test_a_class_that_was_not_seen_yet_stands_at_nought(opened: Opened):
    figures = opened.figures()
    for label in ("red", "green", "blue"):
        assert figures[("edgeproof_answers_total", (("label", label),))] == 0


def test_frames_without_an_answer_are_counted_by_their_condition(
    opened: Opened, picture: Callable[..., np.ndarray]
):
    from edge_runtime.sources import Frame

    frame = Frame(picture(0), 0, 0.0, condition="black", source=opened.source.name)
    opened.sink.write(Result(frame, None, 1.0, 0.0))
    figures = opened.figures()
    assert figures[("edgeproof_unanswered_frames_total", (("condition", "black"),))] == 1
    assert figures[("edgeproof_frame_age_seconds_count", ())] == 0


def test_drops_of_other_sinks_are_shown(opened: Opened):
    class Idle:
        def write(self, result: Result) -> None: ...

        def close(self) -> None: ...

    queued = opened.opening.queued(Idle(), "mqtt")
    queued.count.dropped, queued.count.failed = 7, 2
    figures = opened.figures()
    queued.close()
    assert figures[("edgeproof_sink_dropped_results_total", (("sink", "mqtt"),))] == 7
    assert figures[("edgeproof_sink_failures_total", (("sink", "mqtt"),))] == 2


def test_openmetrics_is_spoken_to_who_asks_for_it(opened: Opened):
    status, kind, text = opened.get(Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200 and kind.startswith("application/openmetrics-text")
    families = {f.name: f for f in openmetrics_parser.text_string_to_metric_families(text)}
    assert families["edgeproof_frame_age_seconds"].type == "histogram"
    assert families["edgeproof_temperature_celsius"].type == "gauge"
    assert all(math.isfinite(s.value) for f in families.values() for s in f.samples)


def test_other_hosts_and_paths_are_refused(opened: Opened):
    assert opened.get(Host="evil.example:9464")[0] == 421
    assert opened.get("/etc/passwd")[0] == 404
    assert opened.get(Host=f"localhost:{opened.port}")[0] == 200


def test_clients_that_say_nothing_take_only_their_places(opened: Opened):
    silent = [socket.create_connection(("127.0.0.1", opened.port)) for _ in range(7)]
    assert opened.get()[0] == 200
    for one in silent:
        one.close()


def test_a_taken_port_is_one_line(opened: Opened):
    with pytest.raises(SinkError, match=rf"127\.0\.0\.1:{opened.port}: Address already in use;"):
        MetricsOptions(True, f"127.0.0.1:{opened.port}").open(opened.opening)


def test_beyond_this_machine_a_token_is_demanded(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(OptionError, match=r"^--metrics-address 0\.0\.0\.0: .* takes a token"):
        MetricsOptions(True, "0.0.0.0:0").open(opened.opening)
    token = tmp_path / "token"
    token.write_text("too short\n")
    with pytest.raises(OptionError, match=r"^--metrics-token-file .*: a token has 16 to 512"):
        MetricsOptions(True, "0.0.0.0:0", token).open(opened.opening)
    monkeypatch.setenv("EDGEPROOF_METRICS_TOKEN", "a-token-that-is-long-enough")
    (sink,) = MetricsOptions(True, "0.0.0.0:0").open(opened.opening)
    opened.port = int(opened.notes[-1].rpartition(":")[2].partition("/")[0])
    assert opened.get()[0] == opened.get(Authorization="Bearer another-token-as-long")[0] == 401
    assert opened.get(Authorization="Bearer a-token-that-is-long-enough")[0] == 200
    assert "a-token" not in "".join(opened.notes)
    sink.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9000", ("127.0.0.1", 9000)),
        (":9000", ("127.0.0.1", 9000)),
        ("0.0.0.0:9000", ("0.0.0.0", 9000)),
        ("camera.local", ("camera.local", 1)),
        ("[::1]:80", ("::1", 80)),
        ("[::]", ("::", 1)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]):
    assert parse_address(text, flag="--x", port=1) == address


@pytest.mark.parametrize("text", ["a:b", "1.2.3.4:70000", "a b:3", "host:-1"])
def test_what_is_no_address(text: str):
    with pytest.raises(OptionError, match=r"^--x .*: write HOST:PORT"):
        parse_address(text, flag="--x", port=1)


def test_which_requests_are_meant_for_this_server():
    for good in ("127.0.0.1:80", "localhost", "192.168.1.7:8080", "[::1]:80", "[::1]", "pi.lan:1"):
        assert is_meant_for(good, "pi.lan"), good
    for bad in ("", "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil"):
        assert not is_meant_for(bad, "127.0.0.1"), bad


def test_the_examples_ask_for_figures_that_there_are(opened: Opened):
    # Counters with labels have no samples before the first frame, but a type.
    types = re.findall(r"^# TYPE (\S+)", opened.get()[2], re.MULTILINE)
    told = {*types, *(f"{name}_bucket" for name in types)}
    folder = Path(__file__).parents[3] / "examples" / "9_grafana"
    for file in ("dashboard.json", "README.md"):
        asked = set(re.findall(r"\b(?:edgeproof|process)_[a-z_]+", (folder / file).read_text()))
        assert len(asked) > 3
        assert asked <= told, asked - told
    panels = json.loads((folder / "dashboard.json").read_text())["panels"]
    assert all(panel["targets"] for panel in panels)
