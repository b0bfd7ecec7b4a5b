"""Files that people have and few think of: several signatures, half precision, sixteen bits."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters.errors import ConversionError, RunError
from converters.incoming.convention import Asked, convention_of
from converters.incoming.inspection import Inspector
from edge_runtime.head import Head

pytestmark = pytest.mark.end_to_end
SOFTMAX = Head(kind="softmax")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that serves encoded files by default, and pictures by another name."""
    from converters.keras_quiet import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="image")])
        def picture(self, image):
            return {"p": tf.sigmoid(tf.reduce_mean(image, [1, 2, 3], keepdims=True)[:, 0, 0])}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="files")])
        def encoded(self, files):
            return {"size": tf.strings.length(files)}

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="image")])
        def linear(self, image):
            return {"angle": tf.reduce_mean(image, [1, 2])[:, :1]}

    folder, model = tmp_path_factory.mktemp("several") / "model", Model()
    names = {"serving_default": model.encoded, "see": model.picture, "turn": model.linear}
    tf.saved_model.save(model, str(folder), signatures=names)
    return folder


def test_the_signature_that_takes_pictures_is_chosen_and_all_are_named(several: Path):
    with Inspector() as inspector:
        facts = inspector.facts("savedmodel", several)
        assert facts.signature == "see"
        assert facts.signatures == ("see", "serving_default", "turn")
        assert facts.ends_in == "sigmoid"
        linear = inspector.facts("savedmodel", several, signature="turn")
        assert (linear.ends_in, linear.last) == ("", "StridedSlice")
        with pytest.raises(
            RunError, match="no signature 'no'; it has 'see', 'serving_default', 'turn'"
        ):
            inspector.facts("savedmodel", several, signature="no")


def test_a_signature_is_of_savedmodels_only(theirs, edgeproof, tmp_path: Path):
    common = ("--calibrate", theirs.photographs, "--out", tmp_path / "b")
    code, _, problem = edgeproof("convert", theirs.onnx, "--signature", "see", *common)
    assert code == 1 and "is no SavedModel" in problem


@pytest.mark.parametrize("version", [2, 3])
def test_a_model_of_json_is_read_by_the_keras_that_wrote_it(version: int, tmp_path: Path):
    if version == 2:
        import tf_keras as keras
    else:
        from converters.keras_quiet import keras
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(image))
    model = keras.Model(image, keras.layers.Activation("softmax")(x))
    (tmp_path / "model.json").write_text(model.to_json())
    weights = tmp_path / "model.weights.h5"
    model.save_weights(str(weights))
    with Inspector() as inspector:
        facts = inspector.facts("json", tmp_path / "model.json", weights=str(weights))
    assert facts.inputs[0].shape == (None, 8, 8, 3) and facts.ends_in == "softmax"


@pytest.mark.parametrize("version", [2, 3])
def test_a_lambda_in_json_needs_trust_and_is_refused_before_tensorflow_is_loaded(
    version: int, tmp_path: Path
):
    if version == 2:
        import tf_keras as keras
    else:
        from converters.keras_quiet import keras
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda t: t * 2)(image))
    model = keras.Model(image, keras.layers.Dense(2)(x))
    structure, weights = tmp_path / "model.json", tmp_path / "model.weights.h5"
    structure.write_text(model.to_json())
    model.save_weights(str(weights))
    asking = (
        "import sys; from pathlib import Path; from converters.keras2 import load_json\n"
        "try: load_json(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except ValueError as exc: print(exc, 'tensorflow' in sys.modules)"
    )
    asked = [sys.executable, "-c", asking, str(structure), str(weights)]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert "is a Lambda" in said and "--trust" in said and said.rstrip().endswith("False")
    with Inspector() as inspector:
        facts = inspector.facts("json", structure, weights=str(weights), trust=True)
    assert facts.outputs[0].shape == (None, 2)


def test_mixed_precision_is_brought_back_to_float32(tmp_path: Path):
    from converters.incoming.arithmetic import in_float32
    from converters.keras_quiet import keras

    half = keras.DTypePolicy("mixed_float16")
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, dtype=half)(image)
    x = keras.layers.GlobalAveragePooling2D(dtype=half)(x)
    model = keras.Model(image, keras.layers.Dense(3, "softmax", dtype=half)(x))
    model.save(tmp_path / "mixed.keras")
    plain, policy = in_float32(tmp_path, model)
    assert policy == "mixed_float16"
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    pixels = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
    np.testing.assert_allclose(plain(pixels), model(pixels), atol=5e-3)
    assert in_float32(tmp_path, plain) == (plain, "")
    with Inspector() as inspector:
        facts = inspector.facts("keras", tmp_path / "mixed.keras")
    assert facts.policy == "mixed_float16" and facts.outputs[0].dtype == "float32"


def test_a_half_precision_onnx_is_packed_as_it_is(theirs, edgeproof, tmp_path: Path):
    """With float16 in, inside and out: the pixels in front and the softmax behind are float32."""
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(str(theirs.onnx))
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, str(tmp_path / "half.onnx"))
    code, said, problem = edgeproof(
        *("convert", tmp_path / "half.onnx", "--calibrate", theirs.photographs),
        *("--scale", "1/255", "--samples", "40", "--out", tmp_path / "b"),
    )
    assert code == 0, said + problem
    assert "onnx-float16 is the file itself" in said


def test_sixteen_bits_in_and_out_are_packed(theirs, tmp_path: Path):
    from converters.incoming import models
    from converters.keras_quiet import keras, tensorflow
    from converters.tflite.packing import pack
    from edge_runtime.engines import load_engine

    model = keras.saving.load_model(theirs.keras)
    rng = np.random.default_rng(0)
    shape = (1, *model.input_shape[1:])
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([rng.random(shape, np.float32)] for _ in range(20))
    mode = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
    converter.target_spec.supported_ops = [getattr(tensorflow.lite.OpsSet, mode)]
    converter.inference_input_type = converter.inference_output_type = tensorflow.int16
    file = tmp_path / "sixteen.tflite"
    file.write_bytes(converter.convert())
    with Inspector() as inspector:
        facts = inspector.facts("tflite", file)
    convention, _ = convention_of("m", facts, Asked(scale=1 / 255))
    theirs_answers = models.TfliteModel(file, facts, convention)
    packed = tmp_path / "packed.tflite"
    packed.write_bytes(pack(file.read_bytes(), convention, SOFTMAX))
    engine = load_engine("litert", packed)
    pixels = rng.integers(0, 256, (6, *shape[1:]), dtype=np.uint8)
    given = np.concatenate([engine.infer(p[None]) for p in pixels])
    np.testing.assert_allclose(given, theirs_answers.answers(pixels), atol=1e-4)


def test_custom_operators_of_onnx_are_named(theirs, tmp_path: Path):
    import onnx

    model = onnx.load(str(theirs.onnx))
    model.graph.node[1].domain, model.graph.node[1].op_type = "com.acme", "MyOp"
    model.opset_import.append(onnx.helper.make_opsetid("com.acme", 1))
    onnx.save(model, str(tmp_path / "custom.onnx"))
    with (
        Inspector() as inspector,
        pytest.raises(RunError, match=r"custom operators \(com\.acme:MyOp\), whose code is not"),
    ):
        inspector.facts("onnx", tmp_path / "custom.onnx")


def test_custom_operators_of_tflite_are_named(theirs, tmp_path: Path):
    from ai_edge_litert import schema_py_generated as schema

    from converters.tflite.graph import TfliteGraph

    graph = TfliteGraph(theirs.tflite.read_bytes())
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"AcmeConv"
    graph._model.operatorCodes.append(code)
    first = graph.operators[0]
    first.opcodeIndex = len(graph._model.operatorCodes) - 1
    first.builtinOptions, first.builtinOptionsType = None, 0
    (tmp_path / "custom.tflite").write_bytes(graph.to_bytes())
    with (
        Inspector() as inspector,
        pytest.raises(RunError, match=r"custom operators \(AcmeConv\), and their code is not"),
    ):
        inspector.facts("tflite", tmp_path / "custom.tflite")


def test_one_tensor_as_two_outputs_is_refused_once_for_all_variants(
    theirs, edgeproof, tmp_path: Path
):
    from converters.tflite.graph import TfliteGraph

    graph = TfliteGraph(theirs.tflite.read_bytes())
    graph.forget_metadata()
    graph.set_outputs([graph.output, graph.output])
    (tmp_path / "twice.tflite").write_bytes(graph.to_bytes())
    code, _, problem = edgeproof(
        *("convert", tmp_path / "twice.tflite", "--calibrate", theirs.photographs),
        *("--scale", "1/255", "--samples", "20", "--out", tmp_path / "b"),
        *("--variant", "tflite-float32", "--variant", "onnx-float32"),
    )
    assert code == 1 and "tflite-float32, onnx-float32: The TFLite graph answers one" in problem
    assert problem.count("answers one tensor as two outputs") == 1


def test_operators_of_one_engine_are_named_with_a_way_out(theirs, tmp_path: Path):
    """onnxruntime's quantiser writes such in its older format: QGemm, for one."""
    import onnx

    from converters.onnx.packing import pack

    model = onnx.load(str(theirs.onnx))
    (gemm,) = [node for node in model.graph.node if node.op_type == "Gemm"]
    gemm.domain, gemm.op_type = "com.microsoft", "FusedGemm"
    gemm.attribute.append(onnx.helper.make_attribute("activation", "Relu"))
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(tmp_path / "fused.onnx"))
    with Inspector() as inspector:
        facts = inspector.facts("onnx", tmp_path / "fused.onnx")
    convention, _ = convention_of("m", facts, Asked(scale=1 / 255))
    with pytest.raises(ConversionError, match=r"com\.microsoft:FusedGemm.*QuantFormat\.QDQ"):
        pack(tmp_path / "fused.onnx", convention, SOFTMAX)


def test_weights_in_a_file_of_their_own_are_packed(theirs, tmp_path: Path):
    """Of a graph that needs no newer opset, onnxruntime would look for them beside its own copy."""
    import onnx

    from converters.onnx.packing import pack

    model = onnx.version_converter.convert_version(onnx.load(str(theirs.onnx)), 18)
    outer = {"save_as_external_data": True, "location": "m.data", "size_threshold": 0}
    onnx.save(model, str(tmp_path / "outer.onnx"), **outer)
    with Inspector() as inspector:
        facts = inspector.facts("onnx", tmp_path / "outer.onnx")
    convention, _ = convention_of("m", facts, Asked(scale=1 / 255))
    packed = onnx.load_from_string(pack(tmp_path / "outer.onnx", convention, SOFTMAX))
    assert not any(i.external_data for i in packed.graph.initializer)


def test_what_onnx_has_and_no_picture_model_needs_is_named(theirs, tmp_path: Path):
    """Control flow, answers as text, and metadata that is called as ours and is not."""
    import onnx
    from onnx import TensorProto, helper

    from converters.onnx.packing import pack

    model = onnx.load(str(theirs.onnx))
    model.metadata_props.add(key="preprocess", value='{"mean": [0.5], "channels": "rgb"}')
    answer = model.graph.output[0].name
    branches = {
        name: helper.make_graph(
            [helper.make_node(kind, [answer], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, kind in (("then_branch", "Neg"), ("else_branch", "Abs"))
    }
    least = helper.make_node("ReduceMin", [answer], ["least"], keepdims=0)
    most = helper.make_node("ReduceMax", [answer], ["most"], keepdims=0)
    asked = helper.make_node("Less", ["least", "most"], ["asked"])
    chosen = helper.make_node("If", ["asked"], ["chosen"], **branches)
    model.graph.node.extend([least, most, asked, chosen])
    model.graph.output[0].name = "chosen"
    onnx.save(model, str(tmp_path / "if.onnx"))
    with Inspector() as inspector:
        facts = inspector.facts("onnx", tmp_path / "if.onnx")
    assert facts.pixels is None
    convention, _ = convention_of("m", facts, Asked(scale=1 / 255))
    with pytest.raises(ConversionError, match=r"control flow \(If\)"):
        pack(tmp_path / "if.onnx", convention, SOFTMAX)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    onnx.save(model, str(tmp_path / "text.onnx"))
    with Inspector() as inspector, pytest.raises(RunError, match="answers text as 'chosen'"):
        inspector.facts("onnx", tmp_path / "text.onnx")
