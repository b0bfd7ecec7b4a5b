"""A detector of YuNet's form that takes red patches for faces: the real one is not ours to ship.

OpenCV's own FaceDetectorYN runs it, with its own decoding of boxes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_STRIDES = (8, 16, 32)


def write_red_face_detector(path: Path) -> Path:
    """Write the ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, values: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    # A patch is red as far as its red is above its green and blue.
    weights = np.zeros((1, 3, 1, 1), np.float32)
    weights[0, :, 0, 0] = (-1 / 20, -1 / 20, 1 / 20)
    inputs = ["input", constant("w", weights), constant("b", np.array([-4.0], np.float32))]
    nodes.append(helper.make_node("Conv", inputs, ["red"]))
    for stride in _STRIDES:
        pooled, score = f"pooled_{stride}", f"score_{stride}"
        window = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(helper.make_node("AveragePool", ["red"], [pooled], **window))
        nodes.append(helper.make_node("Sigmoid", [pooled], [score]))
        column = constant(f"column_{stride}", np.array([1, -1, 1], np.int64))
        for name in ("cls", "obj"):
            nodes.append(helper.make_node("Reshape", [score, column], [f"{name}_{stride}"]))
        for name, channels in (("bbox", 4), ("kps", 10)):
            zeros = constant(f"w_{name}_{stride}", np.zeros((channels, 1, 1, 1), np.float32))
            rows = constant(f"rows_{name}_{stride}", np.array([1, -1, channels], np.int64))
            raw, turned = f"raw_{name}_{stride}", f"turned_{name}_{stride}"
            # Half a cell further than its corner, and e**0.5 cells wide.
            half = constant(f"half_{name}_{stride}", np.full(channels, 0.5, np.float32))
            nodes.append(helper.make_node("Conv", [pooled, zeros, half], [raw]))
            nodes.append(helper.make_node("Transpose", [raw], [turned], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [turned, rows], [f"{name}_{stride}"]))
    outputs = [
        helper.make_tensor_value_info(
            f"{name}_{stride}", TensorProto.FLOAT, [1, f"n_{stride}", channels]
        )
        for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in _STRIDES
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "red_faces", [image], outputs, constants)
    opset = [helper.make_opsetid("", 11)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=6)
    path.write_bytes(model.SerializeToString())
    return path
