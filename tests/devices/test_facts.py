"""What `detect` reads from a machine, and that nothing it finds can make it fail."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import Camera, Device, Jetson, detect
from devices.facts import normalised_architecture


def test_a_raspberry_pi_5(board, cpuinfo_arm):
    cpuinfo = cpuinfo_arm(flags="fp asimd asimdhp asimddp crc32")
    root = board(
        "Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712", cpuinfo=cpuinfo
    )
    assert detect(root) == Device(
        model="Raspberry Pi 5 Model B Rev 1.0",
        compatible=("raspberrypi,5-model-b", "brcm,bcm2712"),
        architecture="aarch64",
        cpu_model="Cortex-A76",
        cpu_features=("neon", "fp16", "dotprod"),
        logical_cores=4,
        physical_cores=4,
        usable_cores=4,
        memory_bytes=8245680 * 1024,
        os_name="Debian GNU/Linux 12 (bookworm)",
        python_version=platform.python_version(),
        soc="BCM2712",
    )


def test_a_pc_with_hyper_threads(machine, cpuinfo_x86):
    device = detect(
        machine(
            {
                "proc/cpuinfo": cpuinfo_x86(flags="fpu lm fma avx avx2 avx_vnni avx512_vnni"),
                "sys/class/dmi/id/sys_vendor": "LENOVO\n",
                "sys/class/dmi/id/product_name": "20XW\n",
            }
        )
    )
    assert device.architecture == "x86_64"
    assert device.model == "LENOVO 20XW"
    assert device.cpu_model == "Intel(R) Core(TM) i3"
    assert device.cpu_features == ("avx", "fma", "avx2", "avx_vnni", "avx512_vnni")
    assert (device.logical_cores, device.physical_cores) == (4, 2)


@pytest.mark.parametrize(
    "dmi, model",
    [
        pytest.param({"product_name": "To Be Filled By O.E.M."}, None, id="filler"),
        pytest.param(
            {"product_name": "System Product Name", "board_name": "B550M"}, "B550M", id="board"
        ),
        pytest.param(
            {"sys_vendor": "HP", "product_name": "HP EliteDesk"}, "HP EliteDesk", id="vendor-twice"
        ),
        pytest.param({"sys_vendor": "QEMU"}, None, id="vendor-alone"),
    ],
)
def test_a_pc_is_named_without_the_fillers(machine, dmi, model):
    root = machine({f"sys/class/dmi/id/{name}": text + "\n" for name, text in dmi.items()})
    assert detect(root).model == model


@pytest.mark.parametrize(
    "cpuinfo, architecture",
    [
        pytest.param("processor : 0\nflags : fpu lm\n", "x86_64", id="x86-64"),
        pytest.param("processor : 0\nflags : fpu\n", "i686", id="x86-32"),
        pytest.param("processor : 0\nFeatures : fp asimd\n", "aarch64", id="arm-64"),
        pytest.param("processor : 0\nFeatures : half thumb neon vfpv4\n", "armv7l", id="arm-32"),
        pytest.param(
            "processor : 0\nmodel name : ARMv6-compatible processor rev 7 (v6l)\n"
            "Features : half thumb fastmult vfp\n",
            "armv6l",
            id="pi-zero",
        ),
        pytest.param("processor : 0\nisa : rv64imafdc\n", None, id="risc-v"),
    ],
)
def test_architecture_under_another_root_comes_from_cpuinfo(machine, cpuinfo, architecture):
    assert detect(machine({"proc/cpuinfo": cpuinfo})).architecture == architecture


@pytest.mark.parametrize(
    "machine_name, want",
    [("AMD64", "x86_64"), ("arm64", "aarch64"), ("armv8l", "armv7l"), ("riscv64",) * 2, ("", None)],
)
def test_architecture_names_are_normalised(machine_name, want):
    assert normalised_architecture(machine_name) == want


def test_a_32_bit_program_on_a_64_bit_kernel_is_32_bit(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("sys.maxsize", 2**31 - 1)
    assert detect().architecture == "armv7l"


def test_a_mix_of_cores_is_named_in_full(machine, cpuinfo_arm):
    cpuinfo = cpuinfo_arm(part="0xd03", cores=2) + cpuinfo_arm(part="0xd09", cores=2)
    assert detect(machine({"proc/cpuinfo": cpuinfo})).cpu_model == "Cortex-A53 + Cortex-A73"


def test_the_other_home_of_the_device_tree_is_read(machine):
    root = machine({"sys/firmware/devicetree/base/model": b"Some Board\0left over"})
    assert detect(root).model == "Some Board"


@pytest.mark.parametrize(
    "quota, usable",
    [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 4), ("900000 100000", 4), ("x", 4)],
)
def test_a_container_quota_limits_the_usable_cores(machine, cpuinfo_arm, quota, usable):
    root = machine({"proc/cpuinfo": cpuinfo_arm(cores=4), "sys/fs/cgroup/cpu.max": quota + "\n"})
    device = detect(root)
    assert (device.logical_cores, device.usable_cores) == (4, usable)


def test_cameras_without_codecs_and_metadata_nodes(machine):
    about = "sys/class/video4linux"
    root = machine(
        {
            "dev/video10": "",
            "dev/video2": "",
            "dev/video0": "",
            "dev/video1": "",
            "dev/video3": "",
            "dev/videotape": "",
            f"{about}/video0/name": "HD Webcam: HD Webcam\n",
            f"{about}/video0/index": "0\n",
            f"{about}/video1/name": "HD Webcam: HD Webcam\n",
            f"{about}/video1/index": "1\n",
            f"{about}/video2/name": "imx219 [csi]\n",
            f"{about}/video10/name": "bcm2835-codec-decode\n",
        }
    )
    assert detect(root).cameras == (
        Camera("/dev/video0", "HD Webcam: HD Webcam"),
        Camera("/dev/video2", "imx219 [csi]"),
        Camera("/dev/video3", None),
    )


def test_accelerators_are_found_by_their_device_node(machine):
    assert detect(machine({"dev/apex_0": ""})).accelerators == ("Coral Edge TPU (PCIe)",)


USB, PCI = "sys/bus/usb/devices/1-2", "sys/bus/pci/devices/0000:01:00.0"
HAILO = {f"{PCI}/vendor": "0x1e60\n", f"{PCI}/device": "0x2864\n"}
CORAL = "Coral Edge TPU (USB)"


@pytest.mark.parametrize(
    ("files", "accelerators"),
    [
        ({f"{USB}/idVendor": "1a6e\n", f"{USB}/idProduct": "089a\n"}, (CORAL,)),
        ({f"{USB}/idVendor": "18d1\n", f"{USB}/idProduct": "9302\n"}, (CORAL,)),
        ({f"{USB}/idVendor": "18d1\n", f"{USB}/idProduct": "4ee7\n"}, ()),
        (HAILO, ("Hailo: its driver is not loaded",)),
        ({**HAILO, "dev/hailo0": ""}, ("Hailo",)),
        ({f"{USB}/idVendor": b"\xff", f"{PCI}/vendor": "0x1e60"}, ()),
    ],
    ids=["coral-unused", "coral", "phone", "hailo-without-driver", "hailo", "half-readable"],
)
def test_accelerators_without_a_node(machine, files, accelerators):
    assert detect(machine(files)).accelerators == accelerators


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack"),
    [
        ("# R36 (release), REVISION: 4.0, GCID: 1", "36.4.0", "6.1"),
        ("# R36 (release), REVISION: 4.4, GCID: 1", "36.4.4", "6.2"),
        ("# R35 (release), REVISION: 9.9, GCID: 1", "35.9.9", "5"),
        ("# R99 (release), REVISION: 1.0, GCID: 1", "99.1.0", None),
        ("rubbish", None, None),
        ("", None, None),
    ],
)
def test_the_jetpack_of_a_release(machine, release, l4t, jetpack):
    found = detect(machine({"etc/nv_tegra_release": release, "dev/nvhost-gpu": ""})).jetson
    assert found and (found.l4t, found.jetpack) == (l4t, jetpack)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"cuda": 12}', '{"cuda": {"version": 12}}', "[" * 9999]
)
def test_a_cuda_file_of_rubbish(machine, text):
    root = machine({"usr/local/cuda/version.json": text, "dev/nvhost-gpu": ""})
    assert detect(root).jetson == Jetson()


def test_an_empty_machine_has_no_facts(tmp_path):
    assert detect(tmp_path) == Device(python_version=platform.python_version())


def test_folders_pipes_and_huge_files_in_the_place_of_facts(machine):
    root = machine({"proc/device-tree/model": b"A" * 10_000_000, "sys/class/video4linux": "file"})
    (root / "proc/cpuinfo").mkdir()
    (root / "dev").mkdir()
    (root / "dev/video0").mkdir()
    os.mkfifo(root / "proc/meminfo")  # opening one would wait for ever
    device = detect(root)
    assert device.model == "A" * 200
    assert device.cameras == (Camera("/dev/video0", None),)
    assert device.memory_bytes is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_locked_files_are_passed_over(board):
    root = board("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b")
    (root / "proc/device-tree/model").chmod(0)
    (root / "etc").chmod(0)
    try:
        device = detect(root)
    finally:
        (root / "etc").chmod(0o755)
    assert (device.model, device.os_name, device.cpu_model) == (None, None, "Cortex-A76")


def test_memory_that_no_machine_has_is_not_believed(machine):
    root = machine({"proc/meminfo": "MemTotal: 999999999999999999 kB\n"})
    assert detect(root).memory_bytes is None


def test_a_read_that_fails_half_way_is_passed_over(board, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    root = board("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b")
    monkeypatch.setattr("devices._reading._without_waiting", fail)
    assert detect(root) == Device(python_version=platform.python_version())


def test_text_that_could_drive_a_terminal_is_dropped(board):
    assert detect(board("Evil\x1b[31m\nBoard\x07\u202e")).model == "Evil[31mBoard"


FILES = (
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/device-tree/model",
    "proc/device-tree/compatible",
    "sys/class/dmi/id/product_name",
    "sys/fs/cgroup/cpu.max",
    "etc/os-release",
    "sys/class/video4linux/video0/name",
    "sys/class/video4linux/video0/index",
    "etc/nv_tegra_release",
    "usr/local/cuda/version.json",
    "usr/include/aarch64-linux-gnu/NvInferVersion.h",
)
# Arbitrary bytes hardly ever get past the first check; lines that begin well go deeper.
HEADS = (b"", b"processor : 0\n", b"processor : 0\nflags : ", b"processor : 0\nCPU part : ")
HEADS += (b"# R36 (release), REVISION: ", b"#define NV_TENSORRT_MAJOR ", b'{"cuda": ')
HEADS += (b"MemTotal: ", b"PRETTY_NAME=", b"processor : 0\nphysical id : 0\ncore id : ", b"1 ")


@settings(max_examples=60, deadline=None)
@given(
    contents=st.fixed_dictionaries(
        {name: st.builds(bytes.__add__, st.sampled_from(HEADS), st.binary()) for name in FILES}
    )
)
def test_no_bytes_in_any_file_make_detection_fail(contents):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        Path(folder, "dev").mkdir()
        Path(folder, "dev/video0").touch()
        device = detect(Path(folder))
    assert device.memory_bytes is None or device.memory_bytes > 0
    for text in (device.model, device.os_name, device.cpu_model, *device.compatible):
        assert text is None or (text.isprintable() and text.strip() == text != "")


def test_this_machine_answers():
    device = detect()
    assert device.architecture
    assert device.usable_cores and device.usable_cores >= 1
    assert device.as_dict()["python_version"] == platform.python_version()
