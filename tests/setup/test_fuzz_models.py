"""A small part of what `scripts/fuzz_models.py` does by hand with thousands of mutations."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.incoming.inspection import Limits

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_models.py"
MUTATIONS = 60


@pytest.fixture(scope="module")
def script() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("fuzz_models", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_models"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def small_onnx(file: Path) -> Path:
    weights = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(file))
    return file


def test_no_mutation_of_an_onnx_file_gets_through(script: ModuleType, tmp_path: Path):
    tally = script.fuzz(small_onnx(tmp_path / "m.onnx"), MUTATIONS, 1, Limits(30.0, 2 << 30))
    assert tally.broken == []
    assert tally.outcomes.total() == MUTATIONS
    assert tally.outcomes["refused"] > 0 and tally.outcomes["opened"] > 0


@pytest.mark.real_data
def test_no_mutation_of_a_tflite_file_gets_through(script: ModuleType, data_folder: Path):
    file = data_folder / "models" / "tinymaix" / "mnist_dw_f.tflite"
    tally = script.fuzz(file, MUTATIONS, 1, Limits(30.0, 2 << 30))
    assert tally.broken == []
    assert tally.outcomes["refused"] > 0 and tally.outcomes["opened"] > 0
