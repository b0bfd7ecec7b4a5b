"""An environment made on a board, its packages from an index on loopback; and another machine's."""

import base64
import dataclasses
import functools
import hashlib
import http.server
import importlib.metadata
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devices.deploy.deploying import DeployOptions
from devices.deploy.errors import DeployError
from devices.deploy.machine import Machine
from devices.deploy.packages import Packages, resolve

PLAIN = "py3-none-any"


def write_wheel(folder: Path, name: str, version: str, tag: str = PLAIN) -> Path:
    """A stand-in for a package: it can be installed, and says its tag."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        f"stand_in_{module}.py": f"tag = {tag!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        for path, text in files.items():
            packed.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def needed() -> dict[str, str]:
    """Names and versions of what a bare edgeproof needs."""
    found = {}
    for text in importlib.metadata.requires("edgeproof") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            name = canonicalize_name(requirement.name)
            found[name] = importlib.metadata.version(name)
    return found


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL of a package index on loopback, and the folder that it shows."""
    folder = tmp_path / "index"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_the_board_fetches_its_packages_itself(device, index, payload, put, whole):
    """The default: an environment of the release's own, made there, by the pip that is there."""
    url, folder = index
    device.environment = {
        "PYTHONPATH": "",
        "PIP_INDEX_URL": url,
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "",
    }
    device.program("python3", f'exec {sys.base_prefix}/bin/python3 "$@"')
    device.start()
    options = DeployOptions(watch_s=0.2)
    check = (
        "import site; site.main(); import importlib.metadata as m; print(m.version('edgeproof'))"
    )
    for name, version in needed().items():
        write_wheel(folder / name, name, version)
    said: list[str] = []
    first = put(device, payload(check=check), options, said.append)
    assert first.healthy
    (environment,) = (device.root / "venvs").iterdir()
    start = (device.root / "current" / "start").read_text()
    assert f"exec {environment}/bin/python " in start
    # The next release shares it, and needs no index any more.
    device.environment["PIP_INDEX_URL"] = "http://127.0.0.1:1"
    device.start()
    second = put(device, payload(number=2, check=check), options)
    assert second.healthy
    assert [environment] == list((device.root / "venvs").iterdir())
    assert whole(device).served == second.release


BOARD = Machine(
    architecture="aarch64",
    system="Linux",
    python="/usr/bin/python3",
    version="3.11",
    other="",
    glibc=36,
    clock_off_s=0,
    home="/boards/pi",
    user="pi",
)


@pytest.fixture
def fetched_from(index, monkeypatch) -> Path:
    """The folder of the index that this machine's uv and pip fetch from."""
    url, folder = index
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, url)
    for name in ("UV_FIND_LINKS", "UV_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    return folder


def test_wheels_of_another_machine_are_carried_along(fetched_from, tmp_path):
    """For an aarch64 board with Python 3.11 and glibc 2.36, chosen on whatever this machine is."""
    right = "cp311-cp311-manylinux_2_28_aarch64"
    tags = [
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp311-cp311-manylinux_2_28_aarch64",
        "cp311-cp311-manylinux_2_39_aarch64",
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp312-cp312-manylinux_2_28_aarch64",
        "cp311-cp311-musllinux_1_2_aarch64",
        "cp311-cp311-win_amd64",
    ]
    for name, version in {**needed(), "pip": "25.0"}.items():
        for tag in [PLAIN] if name == "pip" else tags:
            write_wheel(fetched_from / name, name, version, tag)
    packages = Packages(tmp_path / "wheels")
    packages.folder.mkdir()
    found = packages.environment(BOARD, (), offline=True, system_packages=False)
    found_tags = {
        file.path.split("-", 1)[0]: file.path.split("-", 2)[2] for file, _ in found.wheels
    }
    assert set(found_tags) == {name.replace("-", "_") for name in (*needed(), "pip", "edgeproof")}
    assert {found_tags.pop("pip"), found_tags.pop("edgeproof")} == {f"{PLAIN}.whl"}
    assert set(found_tags.values()) == {f"{right}.whl"}


def test_an_extra_that_there_is_not(tmp_path):
    """pip would pass over it, and the device would lack a package."""
    with pytest.raises(
        DeployError, match=r"^--extras: .* has none that is called 'mqt', but .*onnx"
    ):
        Packages(tmp_path).environment(BOARD, ("mqt",), offline=False, system_packages=False)


@pytest.mark.parametrize("glibc", [None, 17, 27, 41], ids=str)
def test_a_c_library_that_uv_has_no_name_for(glibc, fetched_from):
    """Debian 13 has 2.41, Ubuntu 18.04 has 2.27."""
    write_wheel(fetched_from / "pip", "pip", "25.0", "py3-none-manylinux_2_17_aarch64")
    write_wheel(fetched_from / "small", "small", "1.0")
    board = dataclasses.replace(BOARD, glibc=glibc)
    assert sorted(resolve(board, "small")) == ["pip==25.0", "small==1.0"]


def test_a_board_for_which_a_package_has_no_wheel(fetched_from, tmp_path):
    names = {**needed(), "pip": "25.0"}
    for name, version in names.items():
        tag = "cp311-cp311-manylinux_2_28_x86_64" if name == "numpy" else PLAIN
        write_wheel(fetched_from / name, name, version, tag)
    with pytest.raises(DeployError, match=r"^packages for the device: uv: .*numpy"):
        Packages(tmp_path).environment(BOARD, (), offline=True, system_packages=False)
