"""Silence in overlapping threads: whoever leaves last gives back what the first one took."""

import logging
import sys
import threading

import pytest

from edge_runtime.quiet import Shared, python_output


def overlapping(context) -> list[str]:
    """The first body leaves while the second is inside; what was printed in the second."""
    inside, left = threading.Event(), threading.Event()
    heard: list[str] = []

    def second() -> None:
        with context() as said:
            inside.set()
            left.wait(10)
            print("second")
            heard.append(said.getvalue() if said else "")

    thread = threading.Thread(target=second)
    with context():
        thread.start()
        assert inside.wait(10)
    left.set()
    thread.join(10)
    return heard


def test_output_comes_back_after_bodies_that_overlapped(capsys):
    before = sys.stdout, sys.stderr
    assert overlapping(python_output) == ["second\n"]
    assert (sys.stdout, sys.stderr) == before
    print("heard")
    assert capsys.readouterr().out == "heard\n"


def test_converters_give_logging_back():
    float_graphs = pytest.importorskip("converters.float_graphs")
    assert logging.root.manager.disable == 0
    overlapping(float_graphs.quiet_converters)
    assert logging.root.manager.disable == 0


def test_an_error_in_the_body_is_the_callers():
    shared = Shared(python_output)
    with pytest.raises(ValueError, match="mine"), shared():
        raise ValueError("mine")
    assert sys.stdout is not None
    with shared() as said:
        print("again")
    assert said.getvalue() == "again\n"


def test_loading_two_engines_at_once_leaves_the_output(onnx_twins):
    """As the conversion's prover and its rehearsal do."""
    load, file = onnx_twins
    before = sys.stdout
    threads = [threading.Thread(target=lambda: [load(file) for _ in range(20)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.stdout is before


@pytest.fixture
def onnx_twins(tmp_path, onnx_bytes):
    pytest.importorskip("onnxruntime")
    from functools import partial

    from edge_runtime.engines import load_engine

    file = tmp_path / "m.onnx"
    file.write_bytes(onnx_bytes())
    return partial(load_engine, "onnxruntime"), file
