"""How pictures become the input: what is said, what is read, and what must be asked for."""

import numpy as np
import pytest

from converters.errors import RunError
from converters.incoming.convention import Asked, convention_of, numbers, size_of
from converters.incoming.facts import Facts, PixelFacts, TensorFacts


def facts(*shape: int | None, dtype: str = "float32", **said) -> Facts:
    tensor = TensorFacts(name="input", shape=shape, dtype=dtype)
    return Facts(inputs=(tensor,), outputs=(tensor,), **said)


def lines(taken) -> str:
    return "\n".join(map(str, taken))


TORCH = Asked(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
PIXELS = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)


def test_torchvisions_normalisation_as_nchw():
    convention, taken = convention_of("m", facts(1, 3, 4, 6), TORCH)
    assert (convention.preprocess.height, convention.preprocess.width) == (4, 6)
    wanted = (PIXELS / 255 - np.array(TORCH.mean)) / np.array(TORCH.std)
    np.testing.assert_allclose(
        convention.values(PIXELS), wanted.transpose(0, 3, 1, 2), rtol=1e-6, atol=1e-6
    )
    assert "layout: NCHW (from the input's shape (1, 3, 4, 6))" in lines(taken)
    assert "(from the command line)" in lines(taken)


def test_caffes_order_is_turned_inside():
    asked = Asked(mean=(103.0, 116.0, 123.0), channels="bgr")
    convention, _ = convention_of("m", facts(None, 4, 6, 3), asked)
    wanted = PIXELS[..., ::-1].astype(np.float32) - np.array([103, 116, 123], np.float32)
    np.testing.assert_allclose(convention.values(PIXELS), wanted, atol=1e-4)
    assert convention.preprocess.channels == "rgb" and convention.plain is None


def test_grey_is_made_of_rgb():
    convention, taken = convention_of("m", facts(1, 4, 6, 1), Asked(scale=1 / 255))
    grey = PIXELS @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(convention.values(PIXELS)[..., 0], grey, atol=1e-6)
    assert "grey" in lines(taken)


def test_what_the_file_says_is_taken_and_the_user_wins():
    said = facts(1, 4, 6, 3, pixels=PixelFacts(scale=1 / 127.5, mean=(1.0,), origin="metadata"))
    convention, taken = convention_of("m", said, Asked())
    assert convention.plain == pytest.approx((1 / 127.5, -1.0))
    assert "(from metadata)" in lines(taken)
    assert convention_of("m", said, Asked(scale=1.0))[0].plain == (1.0, 0.0)


@pytest.mark.parametrize(
    ("shape", "asked", "said"),
    [
        pytest.param((1, 4, 6, 3), Asked(), "does not say how pixels .*--scale.*--guess", id="ask"),
        pytest.param((1, None, None, 3), TORCH, "any size .*--size 224", id="any-size"),
        pytest.param((1, 4, 6, 3), Asked(size_wh=(9, 9)), "takes 6x4 pictures", id="other-size"),
        pytest.param((1, 490), TORCH, "no picture", id="vector"),
        pytest.param((1, 8, 4, 6, 3), TORCH, "a clip", id="clip"),
        pytest.param((1, 4, 6, 5), TORCH, "1 or 3 channels", id="five-channels"),
        pytest.param((8, 4, 6, 3), TORCH, "batch is fixed", id="batch"),
        pytest.param((1, 4, 6, 1), TORCH, "takes 1 channels; 3 numbers", id="grey-with-three"),
    ],
)
def test_what_cannot_be_is_one_line_that_says_what_to_do(shape, asked, said):
    with pytest.raises(RunError, match=said):
        convention_of("m", facts(*shape), asked)


def test_a_mean_of_unscaled_pixels_is_not_taken_for_one_of_scaled_ones():
    with pytest.raises(RunError, match=r"--mean 127\.5 is taken from pixels after --scale"):
        convention_of("m", facts(1, 4, 6, 3), Asked(scale=1 / 127.5, mean=(127.5,)))


def test_mean_and_std_of_scaled_pixels_want_the_scale_too():
    asked = Asked(mean=TORCH.mean, std=TORCH.std)
    with pytest.raises(RunError, match="add --scale 1/255, or --scale 1 where"):
        convention_of("m", facts(1, 4, 6, 3), asked)


def test_an_integer_input_takes_whole_pixels_only():
    for dtype, scale, whole in (("int64", 1, True), ("uint8", 2, False), ("int32", 1 / 255, False)):
        taken = facts(1, 4, 6, 3, dtype=dtype)
        if whole:
            assert convention_of("m", taken, Asked(scale=scale))[0].pixels.scale == scale
            continue
        with pytest.raises(RunError, match=f"takes {dtype} numbers.*--scale 1; or export"):
            convention_of("m", taken, Asked(scale=scale))


def test_several_inputs_are_named():
    two = Facts(inputs=facts(1, 4, 6, 3).inputs * 2, outputs=())
    with pytest.raises(RunError, match="has 2 inputs"):
        convention_of("m", two, TORCH)


def test_numbers_and_sizes_as_people_type_them():
    assert numbers("1/255") == (1 / 255,)
    assert numbers("0.5, 0.25,1e-1") == (0.5, 0.25, 0.1)
    assert size_of("224") == (224, 224) and size_of("320x240") == (320, 240)
    for wrong in ("1/0", "1e-300", "1/x", "1,2", "", "nan"):
        with pytest.raises(ValueError, match=r"number|divides by 0"):
            numbers(wrong)
    for wrong in ("0", "9999", "3x", "-4"):
        with pytest.raises(ValueError, match=r"size|sides"):
            size_of(wrong)
