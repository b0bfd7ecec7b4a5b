"""How a machine is doing: what each kind of board tells, and that nonsense is left out."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import devices
from devices import Health, HealthSampler, health

MEMINFO = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\nSwapTotal: 0 kB\n"
CPU = "sys/devices/system/cpu/cpufreq"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
THERMAL = "sys/class/thermal"


def test_a_raspberry_pi_4(machine):
    root = machine(
        {
            f"{THERMAL}/thermal_zone0/type": "cpu-thermal\n",
            f"{THERMAL}/thermal_zone0/temp": "48312\n",
            f"{CPU}/policy0/scaling_cur_freq": "1500000\n",
            f"{CPU}/policy0/scaling_max_freq": "1800000\n",
            f"{CPU}/policy0/cpuinfo_max_freq": "1800000\n",
            FIRMWARE: "50005\n",
            "proc/meminfo": MEMINFO,
            "proc/loadavg": "1.25 0.80 0.40 2/345 6789\n",
        }
    )
    assert health(root) == Health(
        temperatures_c={"cpu-thermal": pytest.approx(48.312)},
        clocks_mhz={"cpu0": pytest.approx(1500)},
        throttling=("under-voltage", "throttled"),
        throttled_before=("under-voltage", "throttled"),
        memory_available_bytes=400 * 1024,
        memory_total_bytes=1000 * 1024,
        load=1.25,
    )


def test_folders_that_are_locked_are_passed_over(machine, monkeypatch):
    """As for a user who is not root: there to be listed, and nothing in them to be looked at."""
    root = machine(
        {
            f"{THERMAL}/thermal_zone0/type": "cpu-thermal\n",
            f"{THERMAL}/thermal_zone0/temp": "48312\n",
            f"{CPU}/policy0/scaling_cur_freq": "1500000\n",
            "proc/meminfo": MEMINFO,
        }
    )

    def locked(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", locked)
    seen = HealthSampler(root).sample()
    assert (seen.temperatures_c, seen.clocks_mhz) == ({}, {})


def test_a_jetson_orin(machine):
    """Rails as hwmon; the third is its shunts' sum, which is no rail. One zone is asleep."""
    ina = "sys/class/hwmon/hwmon3"
    root = machine(
        {
            f"{THERMAL}/thermal_zone0/type": "cpu-thermal\n",
            f"{THERMAL}/thermal_zone0/temp": "51250\n",
            f"{THERMAL}/thermal_zone1/type": "gpu-thermal\n",
            f"{THERMAL}/thermal_zone1/temp": "49781\n",
            f"{THERMAL}/thermal_zone2/type": "cv0-thermal\n",
            f"{THERMAL}/thermal_zone2/temp": "",
            f"{THERMAL}/cooling_device0/type": "cpufreq-cpu0\n",
            f"{THERMAL}/cooling_device0/cur_state": "3\n",
            f"{THERMAL}/cooling_device1/type": "pwm-fan\n",
            f"{THERMAL}/cooling_device1/cur_state": "2\n",
            f"{CPU}/policy0/scaling_cur_freq": "729600\n",
            f"{CPU}/policy4/scaling_cur_freq": "1510400\n",
            "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
            "sys/class/devfreq/15a50000.ofa/cur_freq": "115200000\n",
            f"{ina}/name": "ina3221\n",
            f"{ina}/in1_label": "VDD_IN\n",
            f"{ina}/in1_input": "5000\n",
            f"{ina}/curr1_input": "1200\n",
            f"{ina}/in2_label": "NC\n",
            f"{ina}/in2_input": "0\n",
            f"{ina}/curr2_input": "0\n",
            f"{ina}/in7_label": "sum of shunt voltages\n",
            f"{ina}/in7_input": "5\n",
        }
    )
    state = health(root)
    assert state.temperatures_c == pytest.approx({"cpu-thermal": 51.25, "gpu-thermal": 49.781})
    assert state.hottest_c == pytest.approx(51.25)
    assert state.clocks_mhz == pytest.approx({"cpu0": 729.6, "cpu4": 1510.4, "gpu": 306.0})
    assert state.throttling == ("cooling by cpufreq-cpu0",)
    assert state.power_w == pytest.approx({"VDD_IN": 6.0})


def test_a_jetson_nano_with_the_older_driver(machine):
    rail = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    root = machine(
        {
            f"{rail}/rail_name_0": "POM_5V_IN\n",
            f"{rail}/in_power0_input": "2345\n",
            f"{rail}/rail_name_1": "NC\n",
            f"{rail}/in_power1_input": "0\n",
        }
    )
    assert health(root).power_w == pytest.approx({"POM_5V_IN": 2.345})


def test_a_pc(machine):
    chip = "sys/class/hwmon/hwmon1"
    root = machine(
        {
            f"{chip}/name": "coretemp\n",
            f"{chip}/temp1_input": "61000\n",
            f"{chip}/temp1_label": "Package id 0\n",
            f"{chip}/temp2_input": "59000\n",
            "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "12\n",
        }
    )
    state = health(root)
    assert state.temperatures_c == pytest.approx({"Package id 0": 61, "coretemp": 59})
    assert (state.throttling, state.throttled_before) == ((), ("throttled",))


@pytest.mark.parametrize(
    ("content", "now", "before"),
    [
        pytest.param("0\n", (), (), id="fine"),
        pytest.param("0x50000\n", (), ("under-voltage", "throttled"), id="earlier"),
        pytest.param("f\n", tuple(devices._throttling.RASPBERRY_PI_BITS.values()), (), id="all"),
        pytest.param("rubbish", (), (), id="no-number"),
        pytest.param("-1", (), (), id="negative"),
        pytest.param("", (), (), id="empty"),
        pytest.param("123456789abcdef", (), (), id="too-long"),
    ],
)
@pytest.mark.parametrize(
    "file", [FIRMWARE, "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"]
)
def test_the_flags_of_a_raspberry_pi(machine, file, content, now, before):
    state = health(machine({file: content}))
    assert (state.throttling, state.throttled_before) == (now, before)


def program(root: Path, lines: str) -> Path:
    path = root / "usr/bin/vcgencmd"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return root


def test_without_the_file_vcgencmd_is_asked(tmp_path):
    root = program(tmp_path, '[ "$1" = get_throttled ] && echo throttled=0x20002')
    state = health(root)
    assert (state.throttling, state.throttled_before) == (("clock capped",), ("clock capped",))


def test_vcgencmd_is_asked_again_later_and_never_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._throttling._VCGENCMD_EVERY_S", 0.0)
    root = program(tmp_path, f"sleep 0.1; cat {tmp_path}/answer")
    (tmp_path / "answer").write_text("throttled=0x0\n")
    sampler = HealthSampler(root)
    (tmp_path / "answer").write_text("throttled=0x4\n")
    assert sampler.sample().throttling == ()  # the new answer is still being fetched
    deadline = time.monotonic() + 10
    while not (flags := sampler.sample().throttling) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert flags == ("throttled",)


@pytest.mark.parametrize("lines", ["exit 255", "echo error=1", "echo throttled=", "kill -9 $$"])
def test_a_vcgencmd_that_does_not_answer(tmp_path, lines):
    assert health(program(tmp_path, lines)).throttling == ()


def test_the_voltage_alarm(machine):
    chip = "sys/class/hwmon/hwmon2"
    root = machine({f"{chip}/name": "rpi_volt\n", f"{chip}/in0_lcrit_alarm": "1\n"})
    assert health(root).throttling == ("under-voltage",)


def test_a_clock_that_may_not_rise(machine):
    root = machine(
        {
            f"{CPU}/policy0/scaling_max_freq": "1200000\n",
            f"{CPU}/policy0/cpuinfo_max_freq": "1500000\n",
        }
    )
    assert health(root).throttling == ("cpu0 limited to 1200 of 1500 MHz",)


@pytest.mark.parametrize(
    "temperature", ["-274000", "1000000000000", "nan", "", "forty", "1" * 400, "0x30", "48.3"]
)
def test_nonsense_is_left_out(machine, temperature):
    root = machine(
        {
            f"{THERMAL}/thermal_zone0/type": "broken\n",
            f"{THERMAL}/thermal_zone0/temp": temperature,
            f"{THERMAL}/thermal_zone1/type": "good\n",
            f"{THERMAL}/thermal_zone1/temp": "-5000\n",
            f"{CPU}/policy0/scaling_cur_freq": "0\n",
            "sys/class/hwmon/hwmon0/name": "ina219\n",
            "sys/class/hwmon/hwmon0/power1_input": "999999999999\n",
            "proc/meminfo": "MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 101 kB\n",
            "proc/loadavg": "inf 0 0\n",
        }
    )
    assert health(root) == Health(temperatures_c={"good": -5.0}, memory_total_bytes=100 * 1024)


def test_two_sensors_of_one_name_are_both_shown(machine):
    zones = {f"{THERMAL}/thermal_zone{n}/type": "acpitz\n" for n in (0, 1)}
    zones |= {f"{THERMAL}/thermal_zone{n}/temp": f"{n + 20}000\n" for n in (0, 1)}
    assert health(machine(zones)).temperatures_c == {"acpitz": 20.0, "acpitz 2": 21.0}


def test_an_empty_machine(tmp_path):
    assert health(tmp_path) == Health()
    assert Health().hottest_c is None


def test_a_sensor_that_comes_and_goes(machine):
    root = machine(
        {f"{THERMAL}/thermal_zone0/type": "cpu\n", f"{THERMAL}/thermal_zone0/temp": "1000\n"}
    )
    sampler = HealthSampler(root)
    (root / THERMAL / "thermal_zone0/temp").unlink()
    assert sampler.sample().temperatures_c == {}
    (root / THERMAL / "thermal_zone0/temp").write_text("2000\n")
    assert sampler.sample().temperatures_c == {"cpu": 2.0}


def test_this_machine_answers_and_can_be_copied():
    state = health()
    assert state.memory_total_bytes and state.memory_available_bytes
    assert dataclasses.asdict(state) == state.as_dict()


@settings(max_examples=60, deadline=None)
@given(contents=st.lists(st.binary(max_size=40), min_size=6, max_size=6))
def test_no_bytes_in_any_file_make_a_sample_fail(contents):
    names = ("proc/meminfo", "proc/loadavg", FIRMWARE, f"{CPU}/policy0/scaling_cur_freq")
    names += (f"{THERMAL}/thermal_zone0/temp", f"{CPU}/policy0/cpuinfo_max_freq")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in zip(names, contents, strict=True):
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        state = HealthSampler(Path(folder)).sample()
    assert all(-55 <= value <= 150 for value in state.temperatures_c.values())
