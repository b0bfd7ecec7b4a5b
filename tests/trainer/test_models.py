"""Architectures, starting weights and augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.architectures import ARCHITECTURES, ModelSpec, architecture, plan_stages
from trainer.augment import AUGMENTATIONS, Augmentation
from trainer.errors import ArchitectureError, OptionError, WeightsError
from trainer.options import TrainOptions, resolve

MOBILENETS = ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"]


def build(name: str, *, units: int = 3, alpha: float = 1.0, side: int = 32, weights: str = "none"):
    return ARCHITECTURES[name].build(
        spec(name, units=units, alpha=alpha, side=side, weights=weights)
    )


def spec(name: str, *, units: int = 3, alpha: float = 1.0, side: int = 32, weights: str = "none"):
    frames = 3 if ARCHITECTURES[name].frames else 0
    return ModelSpec((side, side), units, alpha, weights, frames=frames)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_takes_pixels_and_answers_probabilities(name):
    model = build(name)
    assert (model.inputs[0].name, model.inputs[0].dtype) == ("image", "uint8")
    assert model.input_shape == (None, *spec(name).input_shape)
    assert model.layers[-1].name == "probabilities"
    shape = (2, *spec(name).input_shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    answers = np.asarray(model(pixels))
    assert answers.dtype == np.float32
    assert answers.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_two_classes_are_one_sigmoid(name):
    model = build(name, units=1)
    assert model.output_shape == (None, 1)
    assert model.layers[-1].activation.__name__ == "sigmoid"


def test_article_cnn_is_the_articles():
    model = build("article_cnn", units=1, side=150)
    convolutions = [layer for layer in model.layers if type(layer).__name__ == "Conv2D"]
    assert [layer.filters for layer in convolutions] == [32, 64, 128]
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    assert sum(type(layer).__name__ == "MaxPooling2D" for layer in model.layers) == 3
    assert model.layers[-2].units == 512
    assert ARCHITECTURES["article_cnn"].side == 150


@pytest.mark.parametrize("name", MOBILENETS)
def test_mobilenet_maps_level_128_to_exactly_zero(name):
    model = build(name, alpha=0.35)
    scale = model.get_layer("scale")
    levels = np.asarray(scale(np.arange(256, dtype=np.uint8)))
    assert levels[128] == 0
    assert levels[0] == pytest.approx(-128 / 127.5)


def test_resnet50_asks_of_its_first_layer_what_imagenets_weights_want():
    """Levels of blue, green and red less their means: folded into the first convolution."""
    from trainer.keras_quiet import keras
    from trainer.models.applications import take_centred_pixels

    keras.utils.set_random_seed(2)
    first = keras.layers.Conv2D(4, 3)
    first.build((None, 8, 8, 3))
    first.bias.assign([0.5, -1.0, 2.0, 0.0])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    want = np.asarray(first(keras.applications.resnet50.preprocess_input(pixels.copy())))
    take_centred_pixels(first)
    answers = np.asarray(first((pixels - 128) / 127.5))
    assert answers == pytest.approx(want, rel=1e-4, abs=1e-3)


def test_efficientnet_lite0_is_googles():
    """4.7 million parameters with a thousand classes, and neither swish nor squeeze-and-excite."""
    model = build("efficientnet_lite0", units=1000, side=224)
    assert model.count_params() == pytest.approx(4.69e6, rel=0.01)
    kinds = {type(layer).__name__ for layer in model.layers}
    assert not kinds & {"Multiply", "Activation"}
    narrow = build("efficientnet_lite0", alpha=0.5)
    assert narrow.count_params() < model.count_params() / 3


def test_resnet8_is_mlperf_tinys():
    assert build("resnet8", units=10).count_params() == pytest.approx(78_666, rel=0.005)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_smallest_size_builds(name):
    smallest = ARCHITECTURES[name].min_side
    assert build(name, side=smallest).output_shape == (None, 3)
    with pytest.raises(OptionError, match=f"{name} takes {smallest} to"):
        resolve(TrainOptions(architecture=name, side=smallest - 1, weights="none"))


def test_unknown_architecture_suggests_the_near_one():
    with pytest.raises(ArchitectureError, match="Did you mean 'mobilenet_v2'"):
        architecture("mobilenet_v22")


@pytest.mark.parametrize(
    "options, message",
    [
        pytest.param({"epochs": 0}, "--epochs 0", id="epochs"),
        pytest.param({"learning_rate": float("nan")}, "--learning-rate nan", id="nan-rate"),
        pytest.param({"batch_size": -1}, "--batch-size -1", id="batch"),
        pytest.param({"augment": "artcle"}, "Did you mean 'article'", id="augment"),
        pytest.param({"fit": "squeeze"}, "takes stretch, crop, letterbox", id="fit"),
        pytest.param(
            {"architecture": "article_cnn", "alpha": 0.5},
            "article_cnn has no width",
            id="alpha-without-width",
        ),
        pytest.param(
            {"architecture": "article_cnn", "weights": "imagenet"},
            "starts from random weights",
            id="no-weights",
        ),
        pytest.param({"resume": True, "overwrite": True}, "not both", id="resume-overwrite"),
        pytest.param(
            {"architecture": "mobilenet_v3_small", "alpha": 0.35},
            "exist for 0.75, 1.0",
            id="imagenet-width",
        ),
    ],
)
def test_bad_option_is_named(options, message):
    with pytest.raises(OptionError, match=message):
        resolve(TrainOptions(**options))


def test_missing_weights_file():
    with pytest.raises(WeightsError, match=r"nowhere\.h5: no such weights file"):
        resolve(TrainOptions(architecture="mobilenet_v2", weights="nowhere.h5"))


@pytest.fixture(scope="module")
def body_weights(tmp_path_factory):
    """A weights file of MobileNetV2 0.35 without top."""
    from trainer.keras_quiet import keras

    file = tmp_path_factory.mktemp("weights") / "body.weights.h5"
    body = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None
    )
    body.save_weights(file)
    return file, body


def test_weights_file_is_loaded_with_its_statistics_frozen(body_weights):
    file, body = body_weights
    model = build("mobilenet_v2", alpha=0.35, weights=str(file))
    for loaded, stored in zip(model.get_weights(), body.get_weights(), strict=False):
        assert (loaded == stored).all()
    statistics = [x for x in model.layers if type(x).__name__ == "BatchNormalization"]
    assert statistics
    assert not any(layer.trainable for layer in statistics)


def test_weights_of_another_width_or_architecture_are_refused(body_weights):
    file, _ = body_weights
    with pytest.raises(WeightsError, match=r"not weights of MobileNetV2 with --alpha 0\.5"):
        build("mobilenet_v2", alpha=0.5, weights=str(file))
    with pytest.raises(WeightsError, match="not weights of MobileNetV3Small"):
        build("mobilenet_v3_small", alpha=0.35, weights=str(file))


def test_file_that_is_no_weights_file(tmp_path):
    file = tmp_path / "text.weights.h5"
    file.write_text("not weights")
    with pytest.raises(WeightsError, match=r"text\.weights\.h5: not weights of MobileNetV2"):
        build("mobilenet_v2", alpha=0.35, weights=str(file))


def test_failing_download_is_one_line(monkeypatch, capsys):
    from trainer.keras_quiet import keras

    def no_network(*_arguments, weights=None, **_settings):
        if weights == "imagenet":
            print("Downloading data from an address")  # as Keras does
            raise OSError("URL fetch failure: None -- [Errno -3] name resolution")
        return original(*_arguments, weights=weights, **_settings)

    original = keras.applications.MobileNetV2
    monkeypatch.setattr(keras.applications, "MobileNetV2", no_network)
    with pytest.raises(WeightsError, match=r"could not be had .*check the network"):
        build("mobilenet_v2", alpha=0.35, weights="imagenet")
    assert not capsys.readouterr().out  # that is for the command's result


def test_epochs_are_shared_between_the_stages():
    stages = ARCHITECTURES["mobilenet_v2"].tuning
    for epochs in (1, 2, 5, 40):
        planned = plan_stages(stages, epochs=epochs, learning_rate=None, patience=None)
        assert sum(stage.epochs for stage in planned) == epochs
    assert [stage.name for stage in planned] == ["head", "fine-tune"]


def test_learning_rate_keeps_the_stages_ratio():
    stages = ARCHITECTURES["mobilenet_v2"].tuning
    ratio = stages[0].learning_rate / stages[1].learning_rate
    head, tune = plan_stages(stages, epochs=None, learning_rate=1e-5, patience=2)
    assert tune.learning_rate == pytest.approx(1e-5)
    assert head.learning_rate == pytest.approx(1e-5 * ratio)
    assert {head.patience, tune.patience} == {2}


def warp(amounts: Augmentation, pictures: np.ndarray, *, training: bool = True) -> np.ndarray:
    from trainer.warp import RandomWarp

    return np.asarray(RandomWarp(amounts, seed=3)(pictures, training=training))


@pytest.fixture
def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (16, 12, 20, 3), dtype=np.uint8)


def test_nothing_is_varied_outside_training(pictures):
    assert (warp(AUGMENTATIONS["article"], pictures, training=False) == pictures).all()


def test_amounts_of_zero_change_no_byte(pictures):
    assert (warp(Augmentation(), pictures) == pictures).all()


def test_flip_mirrors_some_pictures_exactly(pictures):
    seen = warp(Augmentation(flip=True), pictures)
    same = (seen == pictures).all(axis=(1, 2, 3))
    mirrored = (seen == pictures[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert 0 < same.sum() < len(pictures)


def test_warp_is_opencvs_of_the_same_matrix(pictures):
    import cv2

    from trainer.keras_quiet import keras
    from trainer.warp import warp_matrices

    draws = np.random.default_rng(1).uniform(-1, 1, (1, 7)).astype(np.float32)
    smooth = cv2.GaussianBlur(pictures[0], (0, 0), 2)
    matrix = np.asarray(warp_matrices(AUGMENTATIONS["article"], draws, height=12, width=20))
    ours = np.asarray(
        keras.ops.image.affine_transform(
            smooth[None].astype(np.float32),
            matrix,
            fill_mode="nearest",
            data_format="channels_last",
        )
    )[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(
        smooth, matrix[0, :6].reshape(2, 3), (20, 12), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    assert np.abs(ours - theirs).max() < 4  # OpenCV interpolates in steps of 1/32 pixel


def test_no_flip_never_mirrors():
    from trainer.warp import warp_matrices

    draws = np.random.default_rng(1).uniform(-1, 1, (200, 7)).astype(np.float32)
    for name, mirrors in (("article", True), ("no-flip", False)):
        matrix = np.asarray(warp_matrices(AUGMENTATIONS[name], draws, height=9, width=9))
        determinants = matrix[:, 0] * matrix[:, 4] - matrix[:, 1] * matrix[:, 3]
        assert (determinants < 0).any() == mirrors


def test_large_article_cnn_learns_more_slowly():
    large, small = (resolve(TrainOptions(side=side)).stages[0] for side in (150, 32))
    assert large.learning_rate < small.learning_rate
    (tiny_mobilenet,) = resolve(TrainOptions("mobilenet_v2", side=32, weights="none")).stages
    assert tiny_mobilenet == small


def test_small_inputs_are_varied_less_unless_the_user_says_so():
    assert resolve(TrainOptions(side=150)).augment == "article"
    assert resolve(TrainOptions(side=32)).augment == "light"
    assert resolve(TrainOptions(side=32, augment="article")).augment == "article"


def test_the_docs_list_every_architecture_as_it_is():
    text = (Path(__file__).parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
    for name, row in ARCHITECTURES.items():
        assert f"| `{name}` | {row.about} | {row.side} |" in text


@pytest.mark.parametrize("name", MOBILENETS)
def test_statistics_settle_within_a_short_training(name):
    """Keras' 0.99 and 0.999 let a model guess for its first hundred steps and more."""
    statistics = [x for x in build(name, alpha=0.35).layers if hasattr(x, "momentum")]
    assert statistics
    assert {layer.momentum for layer in statistics} == {0.9}
