"""Webhooks against a real server that takes, fails, hangs, redirects and asks for patience."""

from __future__ import annotations

import base64
import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import OptionError
from edge_runtime.images import decode_bytes
from edge_runtime.pipeline import Result
from edge_runtime.sinks.webhook import hook as hook_module
from edge_runtime.sinks.webhook import is_signed, signature
from edge_runtime.sinks.webhook import sink as sink_module
from edge_runtime.sinks.webhook.hook import Call, Hook, _retry_after_s
from edge_runtime.sinks.webhook.sink import WebhookOptions, WebhookSink
from edge_runtime.sources import SourceEvent

LABELS = ("cat", "dog")
SECRET = "a secret phrase"


@dataclass
class Receiver:
    """A server on loopback.

    Attributes:
        plan: what to answer, one after another: a status, or status and headers; "hang" says
            nothing, "drip" never comes to an end. The last one stays.
        calls: what came: path, headers, body, when.
    """

    plan: list[Any] = field(default_factory=lambda: [200])
    calls: list[tuple[str, dict[str, str], bytes, float]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    server: ThreadingHTTPServer | None = None

    def wait(self, calls: int, within_s: float = 10.0) -> None:
        deadline = time.monotonic() + within_s
        while len(self.calls) < calls:
            assert time.monotonic() < deadline, self.calls
            time.sleep(0.01)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body, _ in self.calls]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.calls.append((self.path, dict(self.headers), body, time.monotonic()))
            step = state.plan.pop(0) if len(state.plan) > 1 else state.plan[0]
            if step == "hang":
                state.released.wait(20)
                return
            if step == "drip":
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
                    try:
                        self.wfile.write(bytes([byte]))
                    except OSError:
                        return
                    if state.released.wait(0.05):
                        return
            status, headers = step if isinstance(step, tuple) else (step, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port, state.server = server.server_port, server
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    state.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "_FIRST_PAUSE_S", 0.05)


def hook_of(receiver: Receiver, **changes: Any) -> Hook:
    settings = {"secret": SECRET, "timeout_s": 2.0, **changes}
    return Hook("http", "127.0.0.1", receiver.port, "/hook?key=hidden", **settings)


def sink_of(
    hook: Hook,
    notes: list[str] | None = None,
    *,
    gap_s: float = 0.0,
    snapshot: bool = False,
    farewell_s: float = 2.0,
) -> WebhookSink:
    return WebhookSink(
        WebhookOptions(hook, snapshot=snapshot, gap_s=gap_s),
        bundle="pets",
        labels=LABELS,
        sources={"camera 0": True},
        on_note=(notes if notes is not None else []).append,
        farewell_s=lambda: farewell_s,
    )


def test_each_change_is_one_signed_call(receiver: Receiver, result: Callable[..., Result]):
    out = sink_of(hook_of(receiver))
    for index in range(20):
        out.write(result(index, label="cat" if index < 10 else "dog"))
    out.event(SourceEvent("lost", time.perf_counter(), "it stopped delivering", "camera 0"))
    out.event(SourceEvent("black", time.perf_counter(), "no matter", "camera 0"))
    receiver.wait(3)
    out.close()
    first, second, lost = receiver.bodies()
    assert (first["event"], first["label"], first["before"], first["bundle"]) == (
        *("answer", "cat", None, "pets"),
    )
    assert (second["label"], second["before"], second["frame"]) == ("dog", "cat", 10)
    assert (lost["event"], lost["source"]) == ("lost", "camera 0")
    assert len({body["id"] for body in receiver.bodies()}) == 3
    for path, headers, body, _ in receiver.calls:
        assert path == "/hook?key=hidden"
        assert headers["Content-Type"] == "application/json"
        assert headers["Edgeproof-Delivery"] == json.loads(body)["id"]
        assert is_signed(SECRET, body, headers["Edgeproof-Signature"])
        assert not is_signed(SECRET, body + b" ", headers["Edgeproof-Signature"])
        assert not is_signed("other", body, headers["Edgeproof-Signature"])
    assert out.undelivered == 0


def test_a_snapshot_goes_along(receiver: Receiver, result: Callable[..., Result]):
    out = sink_of(hook_of(receiver, secret=None), snapshot=True)
    out.write(result())
    receiver.wait(1)
    out.close()
    snapshot = receiver.bodies()[0]["snapshot"]
    assert snapshot["type"] == "image/jpeg"
    assert decode_bytes(base64.b64decode(snapshot["data"]), name="it").shape == (48, 64, 3)
    assert "Edgeproof-Signature" not in receiver.calls[0][1]


def test_failures_are_tried_again_in_order_with_growing_pauses(
    receiver: Receiver, result: Callable[..., Result]
):
    receiver.plan = [500, 503, 500, 200]
    notes: list[str] = []
    out = sink_of(hook_of(receiver), notes)
    out.write(result(0))
    out.write(result(1, label="dog"))
    receiver.wait(5)
    out.close()
    frames = [body["frame"] for body in receiver.bodies()]
    assert frames == [0, 0, 0, 0, 1]
    assert len({headers["Edgeproof-Delivery"] for _, headers, _, _ in receiver.calls}) == 2
    at = [when for *_, when in receiver.calls]
    pauses = [b - a for a, b in itertools.pairwise(at)]
    assert pauses[0] >= 0.04 and pauses[1] >= 0.08 and pauses[2] >= 0.16
    assert out.undelivered == 0
    assert notes[0].endswith("it answers 500; tried again")
    assert notes[-1].endswith("delivers again")
    assert not any("hidden" in note or SECRET in note for note in notes)


def test_retry_after_is_kept(receiver: Receiver, result: Callable[..., Result]):
    receiver.plan = [(429, {"Retry-After": "1"}), 204]
    out = sink_of(hook_of(receiver))
    out.write(result())
    receiver.wait(2)
    out.close()
    assert receiver.calls[1][3] - receiver.calls[0][3] >= 0.95


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302])
def test_what_will_never_be_taken_is_given_up_and_the_next_is_sent(
    receiver: Receiver, result: Callable[..., Result], status: int
):
    receiver.plan = [(status, {"Location": "/elsewhere"}), 200]
    notes: list[str] = []
    out = sink_of(hook_of(receiver), notes)
    out.write(result(0))
    out.write(result(1, label="dog"))
    receiver.wait(2)
    out.close()
    assert [body["frame"] for body in receiver.bodies()] == [0, 1]
    assert out.undelivered == 1
    assert f"it answers {status}" in notes[0] and notes[0].endswith("given up")


def test_redirects_are_followed_on_the_same_host_only(
    receiver: Receiver, result: Callable[..., Result]
):
    receiver.plan = [(307, {"Location": "/moved"}), 200]
    out = sink_of(hook_of(receiver))
    out.write(result(0))
    receiver.wait(2)
    assert [path for path, *_ in receiver.calls] == ["/hook?key=hidden", "/moved"]
    receiver.plan = [(308, {"Location": f"http://localhost:{receiver.port}/other"}), 200]
    out.write(result(1, label="dog"))
    receiver.wait(3)
    out.write(result(2))
    receiver.wait(4)
    out.close()
    assert [path for path, *_ in receiver.calls][2:] == ["/hook?key=hidden"] * 2
    assert out.undelivered == 1
    receiver.plan = [(307, {"Location": "/round"})]
    assert Call(hook_of(receiver), b"{}", "x").make().why == "it redirects without end"


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_receiver_that_hangs_holds_up_neither_frames_nor_the_end(
    receiver: Receiver, result: Callable[..., Result], how: str
):
    receiver.plan = [how]
    out = sink_of(hook_of(receiver), farewell_s=0.3)
    started = time.perf_counter()
    out.write(result(0))
    receiver.wait(1)
    for index in range(1, 150):
        out.write(result(index, label=LABELS[index % 2]))
    assert time.perf_counter() - started < 2.0
    started = time.perf_counter()
    out.close()
    assert time.perf_counter() - started < 2.0
    assert out.undelivered == 150


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_call_comes_to_an_end(receiver: Receiver, how: str):
    receiver.plan = [how]
    started = time.perf_counter()
    outcome = Call(hook_of(receiver, timeout_s=0.4), b"{}", "x").make()
    assert (outcome.kind, outcome.why) == ("later", "no answer in time")
    assert time.perf_counter() - started < 3.0


def test_old_news_is_given_up(
    receiver: Receiver, result: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sink_module, "GIVE_UP_S", 0.2)
    receiver.plan = [500]
    out = sink_of(hook_of(receiver))
    out.write(result(0))
    deadline = time.monotonic() + 10
    while not out.undelivered:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    receiver.plan = [200]
    out.write(result(1, label="dog"))
    while receiver.bodies()[-1]["frame"] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    out.close()
    assert out.undelivered == 1


def test_nobody_there(result: Callable[..., Result]):
    notes: list[str] = []
    out = sink_of(Hook("http", "127.0.0.1", 1, "/"), notes, farewell_s=0.3)
    out.write(result())
    deadline = time.monotonic() + 10
    while not notes:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    out.close()
    assert notes == ["webhook http://127.0.0.1:1: Connection refused; tried again"]
    assert out.undelivered == 1


def test_over_tls_only_who_is_trusted_is_told(
    receiver: Receiver, authority: Path, result: Callable[..., Result]
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    assert receiver.server is not None
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    url = f"https://localhost:{receiver.port}/x"
    trusted = Hook.parse(url, ca=authority / "ca.pem", environment={})
    out = sink_of(trusted)
    out.write(result())
    receiver.wait(1)
    out.close()
    assert out.undelivered == 0
    outcome = Call(Hook.parse(url, environment={}), b"{}", "x").make()
    assert outcome.kind == "later" and "certificate verify failed" in outcome.why
    assert len(receiver.calls) == 1


def test_a_date_to_come_back_at():
    assert _retry_after_s(formatdate(time.time() + 60)) == pytest.approx(60, abs=3)
    assert _retry_after_s("86400") == hook_module.LONGEST_WAIT_S
    assert _retry_after_s(formatdate(0)) == 0.0


@given(st.text())
def test_any_retry_after_is_a_bounded_number_or_none(text: str):
    seconds = _retry_after_s(text)
    assert seconds is None or 0 <= seconds <= hook_module.LONGEST_WAIT_S


@given(st.binary(max_size=50), st.text(max_size=80))
def test_no_other_text_is_a_signature(body: bytes, header: str):
    assert not is_signed(SECRET, body, header)
    assert is_signed(SECRET, body, signature(SECRET, body, 1000), now=1100)
    assert not is_signed(SECRET, body, signature(SECRET, body, 1000), now=1301)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ftp://host/x", "write http://"),
        ("host/x", "write http://"),
        ("http://", "write http://"),
        ("https://me:word@host/x", "no user and password"),
        ("http://host/a b", "write http://"),
        ("file:/nowhere/at/all", "cannot be read"),
    ],
)
def test_addresses_that_are_refused(url: str, complaint: str):
    with pytest.raises(OptionError, match=complaint) as error:
        Hook.parse(url, environment={})
    assert "word@" not in str(error.value)


def test_what_is_secret_comes_from_files_or_the_environment(tmp_path: Path):
    (tmp_path / "address").write_text("https://chat.example/services/T0/B1/x9\n")
    (tmp_path / "secret").write_text("from the file\n")
    hook = Hook.parse(
        f"file:{tmp_path / 'address'}", secret_file=tmp_path / "secret", environment={}
    )
    assert (hook.host, hook.port, hook.path) == ("chat.example", 443, "/services/T0/B1/x9")
    assert hook.secret == "from the file"
    assert hook.name == "https://chat.example"
    assert "T0" not in repr(hook) and "from the file" not in repr(hook)
    environment = {"EDGEPROOF_WEBHOOK_SECRET": "from outside"}
    assert Hook.parse("http://h", environment=environment).secret == "from outside"
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(OptionError, match="holds nothing"):
        Hook.parse("http://h", secret_file=tmp_path / "empty", environment={})
    (tmp_path / "large").write_bytes(b"x" * 5000)
    with pytest.raises(OptionError, match="larger than any secret"):
        Hook.parse("http://h", secret_file=tmp_path / "large", environment={})
    with pytest.raises(OptionError, match="no certificates"):
        Hook.parse("https://h", ca=tmp_path / "large", environment={})
