"""Every board is recognised, and a slip in a profile file is one clear error."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from devices import (
    Device,
    EdgeproofError,
    ProfileError,
    UnknownDeviceError,
    detect,
    load_profiles,
    profile,
    profile_file,
    profile_for,
    profile_names,
    user_profiles_folder,
)
from devices.profiles import PROFILES_FOLDER, VARIANTS

# (profile, model, compatible): as the boards' own firmware and kernels write them.
BOARDS = [
    (
        "raspberry_pi_zero_2_w",
        "Raspberry Pi Zero 2 W Rev 1.0",
        "raspberrypi,model-zero-2-w brcm,bcm2837",
    ),
    ("raspberry_pi_3", "Raspberry Pi 3 Model B Rev 1.2", "raspberrypi,3-model-b brcm,bcm2837"),
    (
        "raspberry_pi_3",
        "Raspberry Pi 3 Model B Plus Rev 1.3",
        "raspberrypi,3-model-b-plus brcm,bcm2837",
    ),
    (
        "raspberry_pi_3",
        "Raspberry Pi Compute Module 3 Plus Rev 1.0",
        "raspberrypi,3-compute-module brcm,bcm2837",
    ),
    ("raspberry_pi_4", "Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b brcm,bcm2711"),
    ("raspberry_pi_4", "Raspberry Pi 400 Rev 1.0", "raspberrypi,400 brcm,bcm2711"),
    (
        "raspberry_pi_4",
        "Raspberry Pi Compute Module 4 Rev 1.0",
        "raspberrypi,4-compute-module brcm,bcm2711",
    ),
    ("raspberry_pi_5", "Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b brcm,bcm2712"),
    ("raspberry_pi_5", "Raspberry Pi 500 Rev 1.0", "raspberrypi,500 brcm,bcm2712"),
    (
        "raspberry_pi_5",
        "Raspberry Pi Compute Module 5 Rev 1.0",
        "raspberrypi,5-compute-module brcm,bcm2712",
    ),
    (
        "jetson_nano",
        "NVIDIA Jetson Nano Developer Kit",
        "nvidia,p3450-0000 nvidia,jetson-nano nvidia,tegra210",
    ),
    (
        "jetson_nano",
        "NVIDIA Jetson Nano Developer Kit",
        "nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,jetson-nano nvidia,tegra210",
    ),
    (
        "jetson_nano",
        "NVIDIA Jetson Nano 2GB Developer Kit",
        "nvidia,p3542-0000+p3448-0003 nvidia,tegra210",
    ),
    (
        "jetson_xavier_nx",
        "NVIDIA Jetson Xavier NX Developer Kit",
        "nvidia,p3449-0000+p3668-0000 nvidia,p3509-0000+p3668-0000 nvidia,tegra194",
    ),
    ("jetson_xavier_nx", "NVIDIA Jetson Xavier NX (eMMC)", "nvidia,p3668-0001 nvidia,tegra194"),
    (
        "jetson_orin_nano",
        "NVIDIA Orin Nano Developer Kit",
        "nvidia,p3768-0000+p3767-0005 nvidia,p3767-0005 nvidia,tegra234",
    ),
    (
        "jetson_orin_nano",
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "nvidia,p3768-0000+p3767-0005-super nvidia,tegra234",
    ),
    (
        "jetson_agx_orin",
        "NVIDIA Jetson AGX Orin Developer Kit",
        "nvidia,p3737-0000+p3701-0000 nvidia,p3701-0000 nvidia,tegra234",
    ),
    (
        "jetson_orin_nx",
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        "nvidia,p3768-0000+p3767-0000 nvidia,p3767-0000 nvidia,tegra234",
    ),
    (
        "jetson_orin_nx",
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super",
        "nvidia,p3768-0000+p3767-0001-super nvidia,p3767-0001 nvidia,tegra234",
    ),
    # Near relatives that must not be taken for one of the above.
    (
        "generic_arm64",
        "NVIDIA Jetson AGX Xavier Developer Kit",
        "nvidia,p2972-0000 nvidia,tegra194",
    ),
    ("generic_arm64", "Raspberry Pi 2 Model B Rev 1.2", "raspberrypi,2-model-b-rev2 brcm,bcm2837"),
    ("generic_arm64", "Radxa ROCK 5B", "radxa,rock-5b rockchip,rk3588"),
]
CASES = [pytest.param(*case, id=f"{case[1]}-{case[2].split()[0]}") for case in BOARDS]


@pytest.mark.parametrize("name, model, compatible", CASES)
def test_board_is_recognised(board, name, model, compatible):
    assert profile_for(detect(board(model, *compatible.split()))).name == name


@pytest.mark.parametrize("name, model, compatible", CASES)
def test_board_is_recognised_by_its_model_alone(name, model, compatible):
    assert profile_for(Device(model=model, architecture="aarch64")).name == name


@pytest.mark.parametrize("name, model, compatible", CASES)
def test_board_is_recognised_by_compatible_alone(name, model, compatible):
    names = tuple(compatible.split())
    assert profile_for(Device(compatible=names, architecture="aarch64")).name == name


def test_every_board_profile_has_a_case():
    assert {name for name, _, _ in BOARDS} | {"generic_x86_64"} == set(profile_names())


def test_a_pi_with_a_32_bit_system_is_still_a_pi(board):
    root = board(
        "Raspberry Pi 4 Model B Rev 1.4",
        "raspberrypi,4-model-b",
        cpuinfo="processor : 0\nFeatures : neon thumb\n",
    )
    assert detect(root).architecture == "armv7l"
    assert profile_for(detect(root)).name == "raspberry_pi_4"


def test_a_pc_gets_the_generic_profile(machine, cpuinfo_x86):
    assert profile_for(detect(machine({"proc/cpuinfo": cpuinfo_x86()}))).name == "generic_x86_64"


def test_the_board_id_outweighs_the_model_string():
    device = Device("Raspberry Pi 4 Model B", ("raspberrypi,5-model-b",), "aarch64")
    assert profile_for(device).name == "raspberry_pi_5"


@pytest.mark.parametrize("architecture", ["riscv64", None])
def test_no_profile_for_an_unknown_architecture(architecture):
    with pytest.raises(UnknownDeviceError, match=f"{architecture or 'unknown'}.*generic_x86_64"):
        profile_for(Device(architecture=architecture))


@pytest.mark.parametrize(
    "typo, hint",
    [
        pytest.param("rasberry_pi_5", "Did you mean 'raspberry_pi_5'", id="missing-letter"),
        pytest.param("jetson_nan", "Did you mean 'jetson_nano'", id="cut-short"),
        pytest.param("toaster", "Known: generic_arm64, generic_x86_64, jetson_", id="far-off"),
        pytest.param("../profiles/jetson_nano", "Did you mean 'jetson_nano'", id="no-paths"),
    ],
)
def test_unknown_profile_suggests_the_near_one(typo, hint):
    with pytest.raises(UnknownDeviceError, match=hint):
        profile(typo)


def test_profile_by_name_is_the_one_that_is_listed():
    assert tuple(load_profiles()) == profile_names()
    for name, listed in load_profiles().items():
        assert profile(name) == listed


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_makes_sense(name):
    each = profile(name)
    assert {"tflite-int8", "tflite-float32"} <= set(each.variants) <= set(VARIANTS)
    assert each.title and each.qemu_cpu and each.notes == each.notes.strip()
    assert "{" not in each.camera.gstreamer(1)
    assert ("sensor-id=1 " in each.camera.gstreamer(1)) == (each.camera.kind == "nvargus")


@pytest.mark.parametrize(
    "threads, physical, usable, want",
    [
        pytest.param(3, 4, 4, 3, id="profile-decides"),
        pytest.param(3, 4, 2, 2, id="container-limits"),
        pytest.param(0, 4, 8, 4, id="no-hyper-threads"),
        pytest.param(0, None, 6, 6, id="no-topology"),
        pytest.param(0, None, None, 1, id="nothing-known"),
        pytest.param(3, None, None, 3, id="trust-the-profile"),
    ],
)
def test_threads_on_a_machine(threads, physical, usable, want):
    each = replace(profile("generic_arm64"), threads=threads)
    device = Device(logical_cores=usable, physical_cores=physical, usable_cores=usable)
    assert each.threads_on(device) == want


GOOD = """\
title = "Toaster"
variants = ["tflite-int8"]
export = ["tflite-int8", "c"]
onnx_int8 = "s8s8"
engine = ["litert"]
threads = 2
qemu_cpu = "max"
[match]
model = ['^Toaster']
[camera]
kind = "v4l2"
width = 640
height = 480
fps = 30
"""


def test_a_new_device_is_a_new_file(tmp_path):
    (tmp_path / "toaster.toml").write_text(GOOD)
    toaster = load_profiles(tmp_path)["toaster"]
    assert (toaster.name, toaster.threads, toaster.notes) == ("toaster", 2, "")


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    "text, message",
    [
        pytest.param(
            changed("variants", "varients"),
            "'varients' is unknown. Did you mean 'variants'",
            id="typo",
        ),
        pytest.param(
            changed("width", "widht"),
            r"'camera.widht' is unknown. Did you mean 'width'",
            id="nested-typo",
        ),
        pytest.param(
            changed("threads = 2\n", ""),
            "'threads' is missing; it must be a whole number",
            id="missing",
        ),
        pytest.param(
            changed("threads = 2", 'threads = "2"'),
            "'threads' must be a whole number.*it is '2'",
            id="text",
        ),
        pytest.param(
            changed("threads = 2", "threads = true"), "'threads' must be.*it is True", id="bool"
        ),
        pytest.param(
            changed("threads = 2", "threads = -1"), "from 0 to 256; it is -1", id="negative"
        ),
        pytest.param(
            changed('["litert"]', '"litert"'),
            "'engine' must be a list of strings; it is 'litert'",
            id="no-list",
        ),
        pytest.param(
            changed('["litert"]', "[1]"),
            "'engine' must be a list of strings; it holds 1",
            id="list-of-1",
        ),
        pytest.param(changed('["litert"]', "[]"), "'engine' must be.*it is empty", id="empty-list"),
        pytest.param(
            changed('["litert"]', '["litrt"]'),
            "unknown 'litrt'. Did you mean 'litert'",
            id="engine",
        ),
        pytest.param(
            changed("tflite-int8", "tflite-int4"),
            "'variants' has unknown 'tflite-int4'",
            id="variant",
        ),
        pytest.param(
            changed('"litert"', '"litert", "litert"'),
            "'engine' names the same thing twice",
            id="twice",
        ),
        pytest.param(
            changed("v4l2", "webcam"), "'camera.kind' has unknown 'webcam'.*Valid: v4l2", id="kind"
        ),
        pytest.param(
            changed("v4l2", "nvargus"), "'camera.pipeline' must be there for kind", id="no-pipeline"
        ),
        pytest.param(
            changed('"v4l2"', '"nvargus"\npipeline = "src {wide}"'),
            "unknown field {wide}",
            id="field",
        ),
        pytest.param(
            changed('"v4l2"', '"nvargus"\npipeline = "src {width"'),
            "'camera.pipeline' has a bad field",
            id="brace",
        ),
        pytest.param(
            changed("['^Toaster']", "['(']"),
            r"'match.model' has a bad regular expression '\('",
            id="regex",
        ),
        pytest.param(
            changed("model = ['^Toaster']", ""), "'match' recognises nothing", id="no-rule"
        ),
        pytest.param(changed("[match]", "[[match]]"), "'match' must be a table", id="no-table"),
        pytest.param(changed('"Toaster"', '" "'), "'title' is empty", id="blank"),
        pytest.param("title = ", "not a TOML file", id="not-toml"),
        pytest.param(f"threads = {'9' * 5000}", "not a TOML file", id="endless-number"),
        pytest.param("# x\n" * 20_000, "larger than 64 KiB", id="endless-file"),
        pytest.param(changed('"Toaster"', '"\\u001b[2J"'), "does not print", id="escape"),
        pytest.param(
            changed('"v4l2"', '"nvargus"\npipeline = "src {width:>99999999}"'),
            "has a field with a format",
            id="format",
        ),
        pytest.param(
            changed("threads = 2", f'threads = "{"9" * 5000}"'), "must be a whole", id="long-value"
        ),
        pytest.param("", "'title' is missing", id="empty-file"),
    ],
)
def test_a_bad_profile_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "toaster.toml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=message) as caught:
        load_profiles(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert isinstance(caught.value, EdgeproofError)


def test_a_profile_of_binary_rubbish(tmp_path):
    (tmp_path / "toaster.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match=r"toaster\.toml: not a TOML file"):
        load_profiles(tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/dev/zero")])
def test_no_regular_file_in_the_place_of_a_profile(tmp_path, make):
    make(tmp_path / "toaster.toml")
    with pytest.raises(ProfileError, match=r"toaster\.toml: cannot be read"):
        load_profiles(tmp_path)


def test_a_profile_as_windows_editor_saves_it(tmp_path):
    (tmp_path / "toaster.toml").write_text(GOOD, encoding="utf-8-sig")
    assert load_profiles(tmp_path)["toaster"].title == "Toaster"


def test_a_users_own_profile(own_profiles, board):
    own_profiles.mkdir(parents=True)
    (own_profiles / "toaster.toml").write_text(GOOD)
    (own_profiles / "notes.txt").write_text("no profile")
    assert profile("toaster").title == "Toaster"
    assert "toaster" in profile_names() and "raspberry_pi_5" in load_profiles()
    assert profile_file("toaster") == own_profiles / "toaster.toml"
    assert profile_for(detect(board("Toaster 3000"))).name == "toaster"
    with pytest.raises(UnknownDeviceError, match="Did you mean 'toaster'"):
        profile("toster")


def test_a_users_profile_comes_before_ours(own_profiles, board):
    own_profiles.mkdir(parents=True)
    (own_profiles / "raspberry_pi_5.toml").write_text(changed("^Toaster", "^Raspberry Pi 5"))
    assert profile("raspberry_pi_5").threads == 2
    (own_profiles / "raspberry_pi_5.toml").rename(own_profiles / "zz_same_fit.toml")
    assert profile_for(Device("Raspberry Pi 5 Model B", (), "aarch64")).name == "zz_same_fit"
    (own_profiles / "zz_same_fit.toml").rename(own_profiles / "zz_less_exact.toml")
    device = Device("Raspberry Pi 5 Model B", ("raspberrypi,5-model-b",), "aarch64")
    assert profile_for(device).name == "raspberry_pi_5"


def test_a_users_bad_profile_is_named(own_profiles):
    own_profiles.mkdir(parents=True)
    (own_profiles / "mine.toml").write_text(changed("threads", "thraeds"))
    message = r"profiles/mine\.toml: key 'thraeds' is unknown\. Did you mean 'threads'"
    with pytest.raises(ProfileError, match=message):
        profile_for(Device(architecture="x86_64"))


@pytest.mark.parametrize(
    ("configured", "home", "folder"),
    [
        ("/somewhere", "/users/me", "/somewhere/edgeproof/profiles"),
        ("", "/users/me", "/users/me/.config/edgeproof/profiles"),
        ("relative", "/users/me", "/users/me/.config/edgeproof/profiles"),
    ],
)
def test_where_a_users_profiles_lie(monkeypatch, configured, home, folder):
    monkeypatch.setenv("XDG_CONFIG_HOME", configured)
    monkeypatch.setenv("HOME", home)
    assert user_profiles_folder() == Path(folder)


def test_a_folder_without_profiles(tmp_path):
    with pytest.raises(ProfileError, match="no profile"):
        load_profiles(tmp_path)


def test_importing_devices_stays_light():
    heavy = {"numpy", "cv2", "pydantic", "rich.console", "tomllib", "tomli"}
    heavy |= {"trainer", "converters", "edge_runtime"}
    code = "import sys, devices, devices.cli; print(*sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=root)
    assert not heavy & set(done.stdout.decode().split())


def test_providers_are_tried_in_the_profiles_order():
    for name in profile_names():
        providers = profile(name).providers
        assert providers[-1] == "cpu"
        expected = ("tensorrt", "cuda", "cpu") if name.startswith("jetson") else ("cpu",)
        assert providers == expected


def test_an_unknown_provider(tmp_path: Path):
    text = (PROFILES_FOLDER / "jetson_nano.toml").read_text()
    (tmp_path / "board.toml").write_text(text.replace('"tensorrt"', '"tensort"'))
    with pytest.raises(ProfileError, match=r"providers.*Did you mean 'tensorrt'"):
        load_profiles(tmp_path)
