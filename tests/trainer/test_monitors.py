"""TensorBoard's logs and an MLflow server are told of every epoch."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trainer.errors import MissingPackageError, MonitorError, OptionError
from trainer.fit_state import FitState
from trainer.monitors import monitors, require_monitor_packages, without_password


def noted(state: FitState, epoch: int) -> FitState:
    state.note({"loss": 1 / epoch, "accuracy": 0.5, "val_loss": 2 / epoch, "val_accuracy": 0.25})
    state.note({"learning_rate": 1e-3, "seconds": 1.5})
    return state


def test_tensorboard_reads_what_was_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    state = FitState()
    with monitors(tmp_path / "logs", None, name="pets", settings={}) as (log,):
        for epoch in (1, 2):
            log.note(noted(state, epoch))
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/val")] == [(1, 2.0), (2, 1.0)]
    assert {"loss/train", "accuracy/train", "learning_rate"} <= set(events.Tags()["scalars"])


def test_tensorboard_forgets_what_a_killed_training_told_twice(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    state = FitState()
    with monitors(tmp_path, None, name="pets", settings={}) as (log,):
        for epoch in (1, 2, 3):
            log.note(noted(state, epoch))
    resumed = noted(FitState(), 1)
    with monitors(tmp_path, None, name="pets", settings={}) as (log,):
        for epoch in (2, 3, 4):
            log.note(noted(resumed, epoch))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in events.Scalars("loss/val")] == [1, 2, 3, 4]


class TrackingServer:
    """What MLflow's client asks of a tracking server, answered on loopback."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict]] = []
        self.answers = True
        outer = self

        class _Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                what = self.path.partition("?")[0].partition("/mlflow/")[2]
                if not outer.answers:
                    self.send_error(503)
                    return
                outer.asked.append((what, body))
                info = {
                    "run_id": "r1",
                    "run_uuid": "r1",
                    "experiment_id": "7",
                    "status": "RUNNING",
                    "start_time": 0,
                    "artifact_uri": "x",
                    "lifecycle_stage": "active",
                }
                answer = {
                    "experiments/create": {"experiment_id": "7"},
                    "runs/create": {"run": {"info": info, "data": {}}},
                    "runs/get": {"run": {"info": info, "data": {}}},
                    "runs/update": {"run_info": info},
                }.get(what, {})
                status = 404 if what == "experiments/get-by-name" else 200
                if status == 404:
                    answer = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = _answer

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def metrics(self) -> list[tuple[str, int, float]]:
        found = [body for what, body in self.asked if what == "runs/log-metric"]
        return [(b["key"], int(b.get("step", 0)), b["value"]) for b in found]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    made = TrackingServer()
    yield made
    made.close()


def test_mlflow_is_told_settings_and_epochs_also_those_that_it_missed(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    state = noted(FitState(), 1)
    settings = {"batch_size": 8}
    with monitors(None, server.uri, name="pets", settings=settings) as (run,):
        run.note(state)
        server.answers = False
        run.note(noted(state, 2))  # a training does not end with its server
        server.answers = True
        run.note(noted(state, 3))
    told = [(step, value) for key, step, value in server.metrics() if key == "loss/val"]
    assert told == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]
    params = [body for what, body in server.asked if what == "runs/log-parameter"]
    assert [(p["key"], p["value"]) for p in params] == [("batch_size", "8")]
    ended = [body["status"] for what, body in server.asked if what == "runs/update"]
    assert ended == ["FINISHED"]


def test_absent_server_is_one_line_without_the_password(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server.close()
    address = server.uri.replace("//", "//me:secret@")
    with (
        pytest.raises(MonitorError, match=r"--mlflow http://127\.0\.0\.1") as raised,
        monitors(None, address, name="pets", settings={}),
    ):
        raise AssertionError("opened")
    assert "secret" not in str(raised.value)


def test_no_address_and_no_package_are_said_before_any_work(tmp_path, monkeypatch):
    with pytest.raises(OptionError, match="--mlflow mlruns: takes a tracking server's address"):
        require_monitor_packages(None, "mlruns")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'edgeproof\[tensorboard\]'"):
        require_monitor_packages(tmp_path, None)


def test_password_is_cut_out_of_an_address():
    assert without_password("https://a:b@host:5000/x") == "https://host:5000/x"
    assert without_password("http://host") == "http://host"
