"""Answers on a real mosquitto: state, events, availability, discovery, TLS, absences."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from mqtt_broker import MOSQUITTO, Listener, Mosquitto

from edge_runtime.errors import OptionError
from edge_runtime.pipeline import Result
from edge_runtime.sinks.mqtt.broker import Broker
from edge_runtime.sinks.mqtt.store import Message, Store
from edge_runtime.sources import SourceEvent

pytest.importorskip("paho.mqtt.client")

LABELS = ("cat", "dog")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    started: list[Mosquitto] = []

    def start(*lines: str) -> Mosquitto:
        started.append(Mosquitto(tmp_path, lines))
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def listener() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def listen(port: int, **login: str) -> Listener:
        made.append(Listener(port, **login))
        return made[-1]

    yield listen
    for one in made:
        one.close()


def sink(broker: Broker | int, notes: list[str] | None = None, **options: Any) -> Any:
    from edge_runtime.sinks.mqtt.options import MqttOptions
    from edge_runtime.sinks.mqtt.sink import MqttSink

    where = Broker("127.0.0.1", broker) if isinstance(broker, int) else broker
    sources = options.pop("sources", {"camera 0": True})
    farewell_s = options.pop("farewell_s", 2.0)
    return MqttSink(
        MqttOptions(where, **{"topic": "home/porch", **options}),
        bundle="pets",
        labels=LABELS,
        sources=sources,
        on_note=(notes if notes is not None else []).append,
        farewell_s=lambda: farewell_s,
    )


def test_state_events_and_availability(
    mosquitto: Callable[..., Mosquitto],
    listener: Callable[..., Listener],
    result: Callable[..., Result],
):
    broker = mosquitto()
    ear = listener(broker.port)
    out = sink(broker.port)
    for index in range(30):
        out.write(result(index, label="cat" if index < 15 else "dog"))
    ear.wait(lambda e: len(e.events()) == 2)
    assert [(e["event_type"], e["before"]) for e in ear.events()] == [
        ("cat", None),
        ("dog", "cat"),
    ]
    assert ear.last("home/porch/availability") == b"online"
    assert ear.last("camera_0/availability") == b"online"
    state = json.loads(ear.last("camera_0/state"))
    assert (state["label"], state["frame"], state["top"][0]) == ("dog", 15, ["dog", 0.9])
    # Thirty frames, two changes: no more than two states.
    assert 1 <= len([t for t, *_ in ear.heard if t.endswith("/state")]) <= 2
    out.event(SourceEvent("lost", 0.0, "gone", "camera 0"))
    ear.wait(lambda e: e.last("camera_0/availability") == b"offline")
    out.write(result(40, label="dog"))
    ear.wait(lambda e: e.last("camera_0/availability") == b"online")
    out.close()
    ear.wait(lambda e: e.last("home/porch/availability") == b"offline")
    assert ear.heard[-1][0] == "home/porch/availability"  # the last word
    assert out.undelivered == 0
    # Who comes later finds the state and not the events.
    late = listener(broker.port)
    late.wait(lambda e: e.last("camera_0/state"))
    assert all(retained for *_, retained in late.heard)
    assert late.events() == []


def test_home_assistant_finds_everything_it_needs(
    mosquitto: Callable[..., Mosquitto],
    listener: Callable[..., Listener],
    result: Callable[..., Result],
):
    broker = mosquitto()
    out = sink(broker.port, sources={"camera 0": True, "csi": True})
    ear = listener(broker.port)
    ear.wait(lambda e: e.last("homeassistant/device/home_porch/config"))
    told = json.loads(ear.last("homeassistant/device/home_porch/config"))
    assert told["device"]["identifiers"] and told["origin"]["name"] == "edgeproof"
    parts = told["components"]
    assert set(parts) == {
        f"{camera}_{what}"
        for camera in ("camera_0", "csi")
        for what in ("answer", "score", "picture", "changed")
    }
    assert len({part["unique_id"] for part in parts.values()}) == len(parts)
    assert {part["platform"] for part in parts.values()} == {"sensor", "binary_sensor", "event"}
    assert parts["camera_0_answer"]["options"] == ["cat", "dog"]
    assert parts["camera_0_changed"]["event_types"] == ["cat", "dog", "unknown"]
    # Its templates, on what is really published.
    frames = [result(0), result(20, abstain=True), result(40, condition="black")]
    shown = []
    for frame in frames:
        out.write(frame)
        ear.wait(lambda e, f=frame: _frame_of(e) == f.frame.index)
        state = json.loads(ear.last(parts["camera_0_answer"]["state_topic"]))
        shown.append(
            tuple(
                jinja2.Template(parts[f"camera_0_{what}"]["value_template"]).render(
                    value_json=state
                )
                for what in ("answer", "score", "picture")
            )
        )
    assert shown == [("cat", "90.0", "OFF"), ("None", "90.0", "OFF"), ("None", "None", "ON")]
    topics = {t for t, *_ in ear.heard}
    for part in parts.values():
        assert part["state_topic"].startswith("home/porch/")
        assert part["availability"][0]["topic"] in topics
    out.close()


def _frame_of(ear: Listener) -> int:
    state = ear.last("camera_0/state")
    return json.loads(state)["frame"] if state else -1


def test_what_was_said_while_the_broker_was_away_comes_when_it_is_back(
    mosquitto: Callable[..., Mosquitto],
    listener: Callable[..., Listener],
    result: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
):
    # The listener shall be back before the sink, or it would miss what nobody keeps for it.
    monkeypatch.setattr("edge_runtime.sinks.mqtt.courier._FIRST_PAUSE_S", 3.0)
    broker, notes = mosquitto(), []
    ear = listener(broker.port)
    out = sink(broker.port, notes, most_events=50)
    out.write(result(0))
    ear.wait(lambda e: len(e.events()) == 1)
    broker.stop()
    started = time.perf_counter()
    for step in range(1, 101):
        out.write(result(20 * step, label=("cat", "dog")[step % 2]))
    assert time.perf_counter() - started < 1.0  # nothing waits for a broker
    deadline = time.monotonic() + 10
    while not notes:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    broker.start()
    ear.wait(lambda e: e.subscribed == 2)
    ear.wait(lambda e: _frame_of(e) == 2000 and e.events()[-1]["frame"] == 2000)
    frames = [e["frame"] for e in ear.events()]
    assert frames[-50:] == [20 * step for step in range(51, 101)]  # the newest fifty, in order
    assert len(set(frames)) >= 51
    # The broker has forgotten all that it had retained, and was told again.
    assert ear.last("home/porch/availability") == b"online"
    assert out.undelivered == len(range(1, 101)) - (len(set(frames)) - 1)
    assert "are kept until it is back" in notes[0] and str(broker.port) in notes[0]
    assert notes[-1].endswith("connected")
    out.close()


def test_a_broker_that_hangs_holds_up_neither_frames_nor_the_end(
    mosquitto: Callable[..., Mosquitto],
    listener: Callable[..., Listener],
    result: Callable[..., Result],
):
    broker = mosquitto()
    ear = listener(broker.port)
    out = sink(broker.port, farewell_s=0.3)
    out.write(result(0))
    ear.wait(lambda e: e.events())
    broker.freeze()
    started = time.perf_counter()
    for step in range(1, 30):
        out.write(result(20 * step, label=("cat", "dog")[step % 2]))
    out.close()
    assert time.perf_counter() - started < 3.0
    assert out.undelivered >= 20


def test_the_will_speaks_for_a_process_that_was_killed(
    mosquitto: Callable[..., Mosquitto], listener: Callable[..., Listener]
):
    broker = mosquitto()
    ear = listener(broker.port)
    code = (
        "import sys, time\n"
        "from edge_runtime.sinks.mqtt.broker import Broker\n"
        "from edge_runtime.sinks.mqtt.options import MqttOptions\n"
        "from edge_runtime.sinks.mqtt.sink import MqttSink\n"
        "MqttSink(MqttOptions(Broker('127.0.0.1', int(sys.argv[1])), topic='home/porch'),\n"
        "         bundle='pets', labels=('cat',), sources={'camera 0': True})\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(broker.port)])
    try:
        ear.wait(lambda e: e.last("home/porch/availability") == b"online", 30)
    finally:
        child.kill()
        child.wait()
    ear.wait(lambda e: e.last("home/porch/availability") == b"offline")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="a-web-server"),
        pytest.param(b"\x20\x02\x00", id="half-an-answer"),
        pytest.param(b"\x20\x02\x00\x00" + b"\x40\x02\xff\xff" * 50, id="strange-acknowledgements"),
        pytest.param(b"\x20\x02\x00\x00" + b"\x30\x03\x00\x09x", id="cut-off-topic"),
        pytest.param(b"\x20\xff\xff\xff\xff\xff", id="endless-length"),
        pytest.param(b"\x20\x02\x00\x05", id="refusal"),
    ],
)
def test_what_is_no_broker_is_survived(
    answer: bytes, result: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_runtime.sinks.mqtt.courier._FIRST_PAUSE_S", 0.05)
    server = socket.create_server(("127.0.0.1", 0))
    visits: list[int] = []

    def serve() -> None:
        while True:
            try:
                visitor, _ = server.accept()
            except OSError:
                return
            visits.append(1)
            with visitor:
                visitor.sendall(answer)
                time.sleep(0.05)

    threading.Thread(target=serve, daemon=True).start()
    notes: list[str] = []
    out = sink(server.getsockname()[1], notes, farewell_s=0.2)
    out.write(result(0))
    deadline = time.monotonic() + 10
    while len(visits) < 3:
        assert time.monotonic() < deadline, notes
        time.sleep(0.01)
    out.close()
    server.close()
    assert notes and "are kept until it is back" in notes[0]


def test_what_takes_the_connection_and_says_nothing_is_told(
    result: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_runtime.sinks.mqtt.courier._LET_IN_S", 0.2)
    notes: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:  # the system takes it; nobody answers
        out = sink(server.getsockname()[1], notes, farewell_s=0.2)
        out.write(result(0))
        deadline = time.monotonic() + 10
        while not notes:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        out.close()
    assert "says nothing; is it an MQTT broker?; messages are kept" in notes[0]
    assert out.undelivered > 0


def test_tls_and_a_password(
    mosquitto: Callable[..., Mosquitto],
    authority: Path,
    tmp_path: Path,
    result: Callable[..., Result],
):
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "porch", "s3cret phrase"], check=True)
    secret.write_text("s3cret phrase\n")
    broker = mosquitto(
        f"password_file {passwords}",
        f"certfile {authority / 'server.pem'}",
        f"keyfile {authority / 'server.key'}",
    )
    url = f"mqtts://porch@localhost:{broker.port}"
    notes: list[str] = []
    trusted = Broker.parse(url, password_file=secret, ca=authority / "ca.pem")
    out = sink(trusted, notes)
    out.write(result(0))
    deadline = time.monotonic() + 10
    while out._courier.waiting:
        assert time.monotonic() < deadline, notes
        time.sleep(0.02)
    out.close()
    assert notes == []
    for wrong, complaint in [
        (Broker.parse(url, password_file=secret, environment={}), "certificate verify failed"),
        (
            Broker.parse(
                url, ca=authority / "ca.pem", environment={"EDGEPROOF_MQTT_PASSWORD": "no"}
            ),
            "refuses",
        ),
    ]:
        notes = []
        out = sink(wrong, notes, farewell_s=0.2)
        deadline = time.monotonic() + 10
        while not notes:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        out.close()
        assert complaint in notes[0]
        assert "s3cret" not in notes[0] + repr(wrong)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://broker", "write mqtt://"),
        ("mqtt://", "write mqtt://"),
        ("mqtt://me:word@broker", "seen by every user"),
        ("mqtt://broker/topic", "--mqtt-topic"),
        ("mqtt://broker:99999", "write mqtt://"),
    ],
)
def test_addresses_that_are_refused(url: str, complaint: str):
    with pytest.raises(OptionError, match=complaint) as error:
        Broker.parse(url, environment={})
    assert "word" not in str(error.value).replace("password", "")


def test_an_address_with_all_that_it_may_have(tmp_path: Path):
    broker = Broker.parse("mqtt://me%40home@[::1]:1999", environment={})
    assert (broker.host, broker.port, broker.user, broker.tls) == ("::1", 1999, "me@home", False)
    environment = {"EDGEPROOF_MQTT_USER": "you", "EDGEPROOF_MQTT_PASSWORD": "pw"}
    broker = Broker.parse("mqtt://far", environment=environment)
    assert (broker.port, broker.user, broker.password) == (1883, "you", "pw")
    assert broker.is_open_wire
    with pytest.raises(OptionError, match="go together"):
        Broker.parse("mqtts://far", certificate=tmp_path / "a", environment={})
    with pytest.raises(OptionError, match="a password and no user"):
        Broker.parse("mqtt://far", environment={"EDGEPROOF_MQTT_PASSWORD": "pw"})
    with pytest.raises(OptionError, match="no such file"):
        Broker.parse("mqtts://far", ca=tmp_path / "none", environment={}).tls_context()
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(OptionError, match="no certificates"):
        Broker.parse("mqtts://far", ca=tmp_path / "junk", environment={}).tls_context()


@pytest.mark.parametrize(
    "topic", ["home/#", "home/+/x", "/home", "home/", "a//b", "$SYS/x", "a\nb"]
)
def test_topics_that_are_refused(topic: str):
    from edge_runtime.sinks.mqtt.options import MqttOptions

    with pytest.raises(OptionError, match="without"):
        MqttOptions(Broker("here", 1), topic=topic)


@pytest.mark.parametrize(
    "given", [{"mqtt_topic": ""}, {"mqtt_discovery": ""}, {"mqtt_gap": math.inf}]
)
def test_flags_that_say_nothing_are_refused(given: dict):
    from edge_runtime.sinks.mqtt.options import MqttFlags

    flag = "--" + next(iter(given)).replace("_", "-")
    with pytest.raises(OptionError, match=f"^{flag}"):
        MqttFlags("mqtt://h", **given)
    assert MqttFlags("mqtt://h", mqtt_discovery="none").settings().topic == ""


def test_two_sources_that_look_alike_keep_their_topics_apart():
    from edge_runtime.sinks.mqtt.sink import _cameras

    cameras = _cameras("a", ["cam 1", "/videos/cam-1", "…"])
    assert [c.key for c in cameras.values()] == ["cam_1", "cam_1_2", "x"]


def test_the_store_keeps_the_newest_of_what_is_retained_and_of_the_rest():
    store = Store(2)
    for number in range(3):
        store.put(Message("state", b"%d" % number, retain=True))
        store.put(Message("event", b"%d" % number))
    taken = [store.take() for _ in range(4)]
    assert [(m.topic, m.payload) for m in taken if m] == [
        ("state", b"2"),
        ("event", b"1"),
        ("event", b"2"),
    ]
    assert store.lost == 1
    store.start_anew()
    again = store.take()
    assert again and again.payload == b"2"
    store.put_last(Message("last", b""))
    store.put(Message("event", b"3"))
    store.put(Message("state", b"3", retain=True))
    assert len(store) == 3
    assert [m.topic for m in (store.take(), store.take(), store.take()) if m] == [
        *("state", "event", "last"),
    ]
    assert len(store) == 0
