"""One small model, trained on pixels from 0 to 1, as every kind of file that people have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

SIDE = 24
LABELS = ("blue", "green", "red")


@dataclass(frozen=True)
class Files:
    """Where they lie, and the folder of pictures that they were trained on."""

    keras: Path
    savedmodel: Path
    tflite: Path
    int8: Path
    onnx: Path
    photographs: Path


def build(keras: Any, labels: int = 3) -> Any:
    x = image = keras.Input((SIDE, SIDE, 3))
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(labels, "softmax")(x), name="theirs")


def nchw_onnx(model: Any, file: Path, *, softmax: bool = True) -> Path:
    """The same model as PyTorch would export it: NCHW, one name an operator."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    (k1, b1), (k2, b2), (w, b) = (
        [np.asarray(v) for v in layer.get_weights()] for layer in model.layers if layer.weights
    )
    constants = {
        "k1": k1.transpose(3, 2, 0, 1),
        "b1": b1,
        "k2": k2.transpose(3, 2, 0, 1),
        "b2": b2,
        "w": w,
        "b": b,
    }
    conv = {"strides": [2, 2], "auto_pad": "SAME_UPPER", "kernel_shape": [3, 3]}
    nodes = [
        helper.make_node("Conv", ["input", "k1", "b1"], ["c1"], "/stem/Conv", **conv),
        helper.make_node("Relu", ["c1"], ["r1"], "/stem/Relu"),
        helper.make_node("Conv", ["r1", "k2", "b2"], ["c2"], "/body/Conv", **conv),
        helper.make_node("Relu", ["c2"], ["r2"], "/body/Relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], "/pool/GlobalAveragePool"),
        helper.make_node("Flatten", ["g"], ["f"], "/pool/Flatten"),
        helper.make_node("Gemm", ["f", "w", "b"], ["logits"], "/head/Gemm"),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["answer"], "/head/Softmax"))
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(
                "answer" if softmax else "logits", TensorProto.FLOAT, [1, 3]
            )
        ],
        [numpy_helper.from_array(np.ascontiguousarray(v), n) for n, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, str(file))
    return file


def write_tinted(root: Path) -> Path:
    """Noise with a tint, sixty of each: so easy that every processor's training learns it."""
    rng = np.random.default_rng(5)
    for channel, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for number in range(60):
            picture = rng.integers(0, 160, (48, 64, 3), dtype=np.uint8)
            picture[..., channel] += 50
            cv2.imwrite(str(root / label / f"{number:03}.png"), picture)
    return root


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Files:
    from converters.keras_quiet import keras, tensorflow
    from edge_runtime.images import decode_image
    from edge_runtime.preprocess import Preprocess

    folder = tmp_path_factory.mktemp("theirs")
    photographs = write_tinted(folder / "photographs")
    files = sorted(photographs.rglob("*.png"))
    preprocess = Preprocess(width=SIDE, height=SIDE)
    x = np.stack([preprocess(decode_image(f)) for f in files]).astype(np.float32) / 255
    y = np.array([LABELS.index(f.parent.name) for f in files])
    keras.utils.set_random_seed(4)
    model = build(keras)
    adam, loss = keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy"
    model.compile(adam, loss, metrics=["accuracy"])
    model.fit(x, y, epochs=30, batch_size=16, verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] > 0.95
    model.save(folder / "model.keras")
    model.export(folder / "savedmodel", verbose=False)
    converter = tensorflow.lite.TFLiteConverter.from_saved_model(str(folder / "savedmodel"))
    (folder / "model.tflite").write_bytes(converter.convert())
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture[np.newaxis]] for picture in x[:40])
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tensorflow.int8
    (folder / "int8.tflite").write_bytes(converter.convert())
    return Files(
        keras=folder / "model.keras",
        savedmodel=folder / "savedmodel",
        tflite=folder / "model.tflite",
        int8=folder / "int8.tflite",
        onnx=nchw_onnx(model, folder / "model.onnx"),
        photographs=photographs,
    )


@pytest.fixture
def edgeproof(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line: exit code, standard output, standard error."""
    import edgeproof as program

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        commands = list(program.app.registered_commands)
        with monkeypatch.context() as patched, pytest.raises(SystemExit) as ended:
            patched.setattr("sys.argv", ["edgeproof", *map(str, arguments)])
            # The program drops all commands but the typed one; the next call types another.
            patched.setattr(program.app, "registered_commands", commands)
            program.main()
        said = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else int(bool(code))), said.out, said.err

    return run
