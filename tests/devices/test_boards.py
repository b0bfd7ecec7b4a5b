"""Every board that has a fixture tree is recognised, with all that its files tell."""

from __future__ import annotations

import pytest
from boards import board_facts, board_files, write_files

from devices import Jetson, detect, health, profile_for

# Board -> profile, SoC, CPU, features beyond NEON, JetPack.
EXPECTED = {
    "raspberry_pi_zero_2_w": ("raspberry_pi_zero_2_w", "BCM2837", "Cortex-A53", (), None),
    "raspberry_pi_3b_plus": ("raspberry_pi_3", "BCM2837", "Cortex-A53", (), None),
    "raspberry_pi_4b": ("raspberry_pi_4", "BCM2711", "Cortex-A72", (), None),
    "raspberry_pi_5": ("raspberry_pi_5", "BCM2712", "Cortex-A76", ("fp16", "dotprod"), None),
    "jetson_nano": (
        *("jetson_nano", "Tegra210", "Cortex-A57", ()),
        Jetson("32.7.1", "4.6.1 or newer", "10.2.300", "8.2.1"),
    ),
    "jetson_xavier_nx": (
        *("jetson_xavier_nx", "Tegra194", "NVIDIA Carmel", ("fp16",)),
        Jetson("35.4.1", "5.1.2", "11.4.19", "8.5.2"),
    ),
    "jetson_orin_nano": (
        *("jetson_orin_nano", "Tegra234", "Cortex-A78AE", ("fp16", "dotprod")),
        Jetson("36.4.3", "6.2", "12.6.11", "10.3.0"),
    ),
    "jetson_orin_nx": (
        *("jetson_orin_nx", "Tegra234", "Cortex-A78AE", ("fp16", "dotprod")),
        Jetson("36.3.0", "6.0", "12.2.12", "8.6.2"),
    ),
    "jetson_agx_orin": (
        *("jetson_agx_orin", "Tegra234", "Cortex-A78AE", ("fp16", "dotprod")),
        Jetson("35.3.1", "5.1.1", "11.4.19", "8.5.2"),
    ),
}


def test_every_fixture_has_an_expectation():
    assert set(board_facts()) == set(EXPECTED)


@pytest.mark.parametrize("board", EXPECTED)
def test_a_board_is_known(board, tmp_path):
    root = write_files(tmp_path / "root", board_files(board))
    device = detect(root)
    profile, soc, cpu, features, jetson = EXPECTED[board]
    facts = board_facts()[board]
    assert profile_for(device).name == profile
    assert (device.model, device.compatible) == (facts["model"], tuple(facts["compatible"]))
    assert (device.soc, device.cpu_model, device.jetson) == (soc, cpu, jetson)
    assert device.architecture == "aarch64"
    assert device.cpu_features == ("neon", *features)
    assert device.logical_cores == facts["cores"]
    assert device.memory_bytes == facts["memory_kb"] * 1024
    assert device.accelerators == (("NVIDIA Tegra GPU",) if jetson else ())


@pytest.mark.parametrize("board", EXPECTED)
def test_a_board_tells_how_it_is(board, tmp_path):
    state = health(write_files(tmp_path / "root", board_files(board)))
    assert state.hottest_c and 30 < state.hottest_c <= 100
    assert state.throttling == ()
    assert state.memory_total_bytes
    assert bool(state.power_w) == (board in {"jetson_nano", "jetson_xavier_nx", "jetson_orin_nano"})


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76", "neoverse-n1", "cortex-a7"])
def test_a_board_with_the_processor_of_an_emulator(cpu, tmp_path):
    root = write_files(tmp_path / "root", board_files("raspberry_pi_3b_plus", cpu))
    device = detect(root)
    assert device.cpu_model and device.cpu_model.lower() == cpu
    assert device.architecture == ("armv7l" if cpu == "cortex-a7" else "aarch64")
    assert profile_for(device).name == "raspberry_pi_3"
