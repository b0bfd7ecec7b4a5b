"""The page's server, over real connections on loopback."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from edge_runtime import Bundle, Classifier, open_source
from edge_runtime.classifier import Prediction
from edge_runtime.errors import OptionError, SinkError
from edge_runtime.faces import FaceBlur
from edge_runtime.loop.region import Region
from edge_runtime.loop.results import UNKNOWN, Answer, Result
from edge_runtime.pipeline import LoopOptions
from edge_runtime.sinks.opening import SinkOpening
from edge_runtime.sinks.web.pictures import VIEW_WIDTH, view
from edge_runtime.sinks.web.sink import TOKEN_VARIABLE, WebOptions, WebSink
from edge_runtime.sinks.web.state import SHOWN_LABELS, RunState
from edge_runtime.sources import Frame, SourceEvent

TOKEN = "a-token-that-is-long-enough"


class Web:
    """A run with `--web`, and a browser of sorts."""

    def __init__(self, opening: SinkOpening, notes: list[str], options: WebOptions) -> None:
        self.opening, self.notes = opening, notes
        (sink,) = options.open(opening)
        assert isinstance(sink, WebSink)
        self.sink = sink
        self.address = notes[-1].removeprefix("web: ")
        self.port = int(self.address.rpartition(":")[2].partition("/")[0])
        self.source = opening.sources[0].name
        self.given = 0

    def give(self, index: int = 0, *, bgr: np.ndarray | None = None, condition="ok") -> None:
        """A result: mostly the colour of that index."""
        picture = np.full((48, 64, 3), 40 * index, np.uint8) if bgr is None else bgr
        frame = Frame(picture, self.given, 0.0, condition=condition, source=self.source)
        self.given += 1
        if condition != "ok":
            self.sink.write(Result(frame, None, 1.0, 30.0, captured_at=1e9))
            return
        row = np.full(3, 0.1, np.float32)
        row[index] = 0.8
        label = self.opening.bundle.labels[index]
        answer = Answer(label, index, 0.8, row)
        prediction = Prediction(label, index, 0.8, row, 1.0, 2.0)
        self.sink.write(Result(frame, prediction, 7.0, 30.0, answer=answer, captured_at=1e9))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        data = answer.read()
        connection.close()
        return answer.status, told, data

    @contextlib.contextmanager
    def stream(self, path: str) -> Iterator[http.client.HTTPResponse]:
        connection = self.connect()
        connection.request("GET", path)
        answer = connection.getresponse()
        yield answer
        answer.close()
        connection.close()


def next_event(answer: http.client.HTTPResponse) -> dict:
    while True:
        line = answer.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            return json.loads(line[6:])


def next_picture(answer: http.client.HTTPResponse) -> np.ndarray:
    length = 0
    while line := answer.readline().strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
        elif line.startswith(b"--"):
            continue
    data = answer.read(length)
    answer.readline()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


@pytest.fixture
def start(colour_bundle: Path, colour_video: Path) -> Iterator[Callable[..., Web]]:
    started: list[Web] = []

    def make(region: Region | None = None, blur: FaceBlur | None = None, **options: object) -> Web:
        classifier = Classifier(Bundle.open(colour_bundle))
        notes: list[str] = []
        opening = SinkOpening(
            classifier.bundle,
            classifier,
            [open_source(colour_video)],
            LoopOptions(region=region),
            notes.append,
            threading.Event(),
            blur=blur,
        )
        asked = {"web": True, "port": 0, **options}
        started.append(Web(opening, notes, WebOptions(**asked)))
        return started[-1]

    yield make
    for web in started:
        web.sink.close()


@pytest.fixture
def web(start: Callable[..., Web]) -> Web:
    return start()


def test_the_page_comes_with_headers_that_let_nothing_else_in(web: Web):
    status, headers, page = web.ask("/")
    assert status == 200 and b"<h1" in page
    assert b"http://" not in page.replace(b"http://www.w3.org", b"") and b"https://" not in page
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers and "set-cookie" not in headers
    assert web.ask("/page.js")[0] == web.ask("/icon.svg")[0] == 200
    assert web.ask("/page.html")[0] == web.ask("/../state.py")[0] == web.ask("/view/1")[0] == 404


def test_what_runs_is_told(web: Web):
    about = json.loads(web.ask("/about")[2])
    assert (about["bundle"], about["variant"]) == ("colours", "tflite-float32")
    assert about["engine"].startswith("litert")
    assert about["cameras"] == [web.source]


def test_answers_come_as_they_are_made(web: Web):
    with web.stream("/events") as answer:
        assert "kind" not in next_event(answer)["cameras"][0]  # nothing yet
        web.give(1)
        while "kind" not in (told := next_event(answer)["cameras"][0]):
            pass
        assert (told["text"], told["kind"], told["score"]) == ("green", "answer", 0.8)
        assert (told["age_ms"], told["fps"]) == (7.0, 30.0)
        web.give(condition="frozen")
        while (told := next_event(answer)["cameras"][0])["kind"] == "answer":
            pass
        assert told["kind"] == "frozen" and told["score"] is None
        web.sink.event(SourceEvent("lost", 0.0, "the cable\x1b", web.source))
        while not (told := next_event(answer)["cameras"][0])["event"]:
            pass
        assert told["event"] == "lost: the cable\N{REPLACEMENT CHARACTER}"


def test_the_last_answers_are_rows(web: Web):
    for index in (0, 0, 1, 2, 2, 2):
        web.give(index)
    web.give(condition="black")
    with web.stream("/events") as answer:
        (past,) = next_event(answer)["past"]
    rows = [(row["text"], row["kind"], row["frames"]) for row in past["rows"]]
    assert rows == [
        ("", "black", 1),
        ("blue", "answer", 3),
        ("green", "answer", 1),
        ("red", "answer", 2),
    ]
    assert [line["label"] for line in past["labels"]] == ["red", "green", "blue"]
    assert past["labels"][0]["points"][0] == 0.8


def test_the_view_is_a_stream_of_pictures(web: Web):
    web.give(1)
    with web.stream("/view/0") as answer:
        assert answer.getheader("Content-Type", "").startswith("multipart/x-mixed-replace")
        first = next_picture(answer)  # at once, also when nothing new comes
        web.give(2)
        second = next_picture(answer)
    assert first.shape == (48, 64, 3)
    assert (round(first.mean()), round(second.mean())) == (40, 80)


def test_a_snapshot_is_the_whole_frame_with_its_answer(web: Web):
    assert web.ask("/snapshot/0")[0] == 503
    web.give(1, bgr=np.full((720, 1280, 3), 200, np.uint8))
    status, headers, data = web.ask("/snapshot/0")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert status == 200 and picture.shape == (720, 1280, 3)
    assert picture[10, 10].mean() > 190 > 120 > picture[-20].mean()  # the strip below
    assert json.loads(unquote(headers["edgeproof-answer"]))["text"] == "green"


def test_a_large_view_is_made_smaller_and_shows_the_region():
    frame = Frame(np.zeros((1080, 1920, 3), np.uint8), 0, 0.0)
    data = view(Result(frame, None, 1.0, 1.0), Region.parse("480,270,960,540"))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (540, VIEW_WIDTH, 3)
    assert picture[135, 300:600].mean() > 100 and picture[100].mean() < 10


def test_several_viewers_cost_one_encoding_and_none_costs_none(
    start: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
):
    encoded: list[int] = []

    def counted(result: Result, region: Region | None) -> bytes:
        encoded.append(result.frame.index)
        return view(result, region)

    monkeypatch.setattr("edge_runtime.sinks.web.app.view", counted)
    web = start()
    for _ in range(50):
        web.give(0)
    time.sleep(0.3)
    assert encoded == []
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(web.stream("/view/0")) for _ in range(4)]
        for viewer in viewers:
            next_picture(viewer)
        for _ in range(5):
            web.give(1)
            for viewer in viewers:
                assert round(next_picture(viewer).mean()) == 40
        time.sleep(0.5)  # nothing new: nothing to encode
        assert len(encoded) == len(set(encoded)) <= 6
    time.sleep(0.5)  # until all of them are seen to have gone
    before = len(encoded)
    for _ in range(20):
        web.give(2)
        time.sleep(0.02)
    assert len(encoded) - before <= 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "image"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Dest": "empty"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}, 200),
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "image"}, 200),
        ({"Host": "localhost:1"}, 200),
    ],
)
def test_requests_that_another_page_makes_are_refused(web: Web, headers: dict, status: int):
    web.give()
    before = len(web.notes)
    assert web.ask("/snapshot/0", **headers)[0] == status
    assert len(web.notes) == before


@pytest.mark.parametrize("number", ["0" * 5001, "1" + "0" * 5000, "00", "+0", "-1", "\u0660"])
def test_a_camera_that_there_is_not_is_not_found(web: Web, number: str):
    web.give()
    before = len(web.notes)
    for page in ("snapshot", "view"):
        assert web.ask(f"/{page}/{quote(number)}")[0] == 404
    assert len(web.notes) == before


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(web: Web, method: str):
    assert web.ask("/snapshot/0", method)[0] == 405


def test_on_this_machine_alone_no_token_is_needed(web: Web):
    assert web.address == f"http://127.0.0.1:{web.port}/"


def test_anywhere_else_a_new_token_is_demanded(start: Callable[..., Web]):
    web = start(host="0.0.0.0")
    token = web.address.partition("?token=")[2]
    assert len(token) >= 32
    assert start(host="0.0.0.0").address.partition("?token=")[2] != token
    for path in ("/", "/about", "/events", "/view/0", "/snapshot/0", "/page.js", "/nothing"):
        status, _, body = web.ask(path)
        assert status == 401 and token.encode() not in body
    status, headers, _ = web.ask(f"/?token={token}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and token not in cookie
    assert web.ask("/about", Cookie=cookie.partition(";")[0])[0] == 200
    assert web.ask("/about", Cookie=f"edgeproof_{web.port}=x")[0] == 401
    assert web.ask("/about", Authorization=f"Bearer {token}")[0] == 200
    assert web.ask("/about", Authorization="Basic eDp5")[0] == 401


def test_the_token_is_typed_into_a_form(start: Callable[..., Web], monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, f"{TOKEN}\n")
    web = start()
    assert TOKEN not in "".join(web.notes)
    status, _, page = web.ask("/", Accept="text/html")
    assert status == 401 and b'<form method="post" action="/login">' in page
    form = {"Content_Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    status, _, page = web.ask("/login", "POST", "token=wrong", **form)
    assert status == 403 and b"That was not it." in page
    assert web.ask("/login", "POST", f"token={TOKEN}", Origin="http://evil.example")[0] == 403
    assert web.ask("/login", "POST", "token=" + "x" * 100_000, **form)[0] == 403
    status, headers, _ = web.ask("/login", "POST", f"token={TOKEN}", **form)
    assert status == 303
    assert web.ask("/", Cookie=headers["set-cookie"].partition(";")[0])[0] == 200


def test_guessing_has_to_wait_and_nobody_else(start: Callable[..., Web], tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    web = start(web_token_file=file)
    cookie = web.ask(f"/?token={TOKEN}")[1]["set-cookie"].partition(";")[0]
    assert [web.ask("/?token=guess")[0] for _ in range(7)] == [403] * 5 + [429] * 2
    # Who knows it need not wait, and does not let the others in.
    assert web.ask("/about", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert web.ask(f"/?token={TOKEN}")[0] == 303
    assert web.ask("/?token=guess")[0] == 429
    assert web.ask("/about", Cookie=cookie)[0] == 200


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"short", "a token has 16 to 512 characters"),
        (b"x" * 600, "a token has 16 to 512 characters"),
        (b"\xff\xfe" * 20, "is no text"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_bad_token_file_is_one_line(
    start: Callable[..., Web], tmp_path: Path, content: bytes | None, why: str
):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OptionError, match=rf"^--web-token-file .*: {why}\.$"):
        start(web_token_file=file)


def test_a_taken_port_is_one_line(start: Callable[..., Web], web: Web):
    with pytest.raises(SinkError, match=rf":{web.port}: Address already in use; choose another"):
        start(port=web.port)


def test_viewers_are_bounded(web: Web, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge_runtime.sinks.web.app.MOST_STREAMS", 3)
    web.give()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            next_picture(stack.enter_context(web.stream("/view/0")))
        assert web.ask("/view/0")[0] == web.ask("/events")[0] == 503
        assert web.ask("/about")[0] == 200
    until = time.monotonic() + 10
    while web.ask("/snapshot/0")[0] != 200 or not _joins(web):
        assert time.monotonic() < until


def _joins(web: Web) -> bool:
    with web.stream("/view/0") as answer:
        return answer.status == 200


def test_who_asks_nothing_or_reads_nothing_is_let_go(
    start: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_runtime.sinks.web.server.PATIENCE_S", 0.4)
    web = start()
    noise = np.random.default_rng(0).integers(0, 256, (540, 960, 3), np.uint8)
    web.give(bgr=noise)
    silent = socket.create_connection(("127.0.0.1", web.port))
    half = socket.create_connection(("127.0.0.1", web.port))
    half.sendall(b"GET / HTTP/1.1\r\nHost: ")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(("127.0.0.1", web.port))
    deaf.sendall(b"GET /view/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    with web.stream("/view/0") as viewer:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            web.give(bgr=noise)
            next_picture(viewer)  # one that reads is not disturbed
    for one in (silent, half, deaf):
        one.settimeout(5)
        with pytest.raises((ConnectionError, _Ended)):
            while one.recv(1 << 16):
                pass
            raise _Ended
        one.close()


class _Ended(Exception):
    """The stream ended."""


def test_the_end_does_not_wait_for_viewers(web: Web):
    web.give()
    with web.stream("/view/0") as viewer, web.stream("/events") as events:
        next_picture(viewer)
        next_event(events)
        before = time.perf_counter()
        web.sink.close()
        web.sink.close()
        assert time.perf_counter() - before < 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", web.port), timeout=1)


def test_of_many_labels_the_likeliest_are_drawn(start: Callable[..., Web]):
    web = start()
    state = RunState(web.opening)
    state._labels = [f"label {i}" for i in range(1000)]
    scores = np.zeros(1000, np.float32)
    scores[990:] = np.arange(1, 11) / 55
    answer = Answer(UNKNOWN, None, float("nan"), scores)
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 0, 0.0, source=web.source)
    prediction = Prediction("label 999", 999, 0.2, scores, 1.0, 1.0)
    state.add(Result(frame, prediction, 1.0, 0.0, answer=answer))
    (past,) = state.past()["cameras"]
    drawn = [line["label"] for line in past["labels"]]
    assert drawn == [f"label {i}" for i in range(999, 999 - SHOWN_LABELS, -1)]
    assert state.present()["cameras"][0]["score"] is None
    assert json.loads(json.dumps(state.present(), allow_nan=False))


def test_faces_are_blurred_in_the_view_and_in_the_snapshot(
    start: Callable[..., Web], tmp_path: Path
):
    pytest.importorskip("onnx")
    from red_faces import write_red_face_detector

    web = start(blur=FaceBlur(write_red_face_detector(tmp_path / "red.onnx")))
    picture = np.full((240, 320, 3), 90, np.uint8)
    picture[80:144, 96:160] = (10, 10, 250)
    picture[80:144:2, 96:160] = (10, 10, 150)  # stripes, 100 levels apart
    web.give(bgr=picture)
    _, _, data = web.ask("/snapshot/0")
    kept = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    with web.stream("/view/0") as answer:
        seen = next_picture(answer)
    for shown in (kept, seen):
        assert np.abs(np.diff(shown[84:140, 100:156, 2].astype(int), axis=0)).mean() < 25


def test_a_picture_that_cannot_be_made_is_said_once(
    start: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
):
    broken = threading.Event()

    def sometimes(result: Result, region: Region | None) -> bytes:
        if broken.is_set():
            raise SinkError("a picture of (1, 70000, 3) is no JPEG")
        return view(result, region)

    monkeypatch.setattr("edge_runtime.sinks.web.app.view", sometimes)
    web = start()
    broken.set()
    web.give(0)
    with web.stream("/view/0") as answer:
        until = time.monotonic() + 10
        while len(web.notes) < 2:
            web.give(0)
            time.sleep(0.05)
            assert time.monotonic() < until
        broken.clear()
        web.give(1)
        assert round(next_picture(answer).mean()) == 40  # and it goes on
    assert web.notes[1:] == ["web: a picture of (1, 70000, 3) is no JPEG"]
