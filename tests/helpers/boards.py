"""Small file systems that look like a board's: for tests, and in front of emulated programs.

python tests/helpers/boards.py raspberry_pi_5 FOLDER [--cpu cortex-a76]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

_RASPBERRY_PI_SENSORS = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
}


def board_facts() -> dict[str, dict[str, Any]]:
    """Name of each board -> its entry of boards.toml."""
    return {name: entry for name, entry in _read().items() if name != "cpus"}


def board_files(name: str, cpu: str | None = None) -> dict[str, str | bytes]:
    """Path -> content of a board's files.

    Args:
        cpu: another processor than the board's, where an emulator does not know that.
    """
    board = board_facts()[name]
    model = board["model"].encode() + b"\0"
    names = b"".join(each.encode() + b"\0" for each in board["compatible"])
    files: dict[str, str | bytes] = {
        "proc/cpuinfo": cpuinfo(cpu or board["cpu"], board),
        "proc/meminfo": f"MemTotal: {board['memory_kb']:>15} kB\n"
        f"MemFree: {board['memory_kb'] // 2:>16} kB\nMemAvailable: {board['memory_kb'] // 2} kB\n",
        "proc/loadavg": "0.42 0.31 0.20 1/234 5678\n",
        "proc/device-tree/model": model,
        "proc/device-tree/compatible": names,
        "sys/firmware/devicetree/base/model": model,
        "sys/firmware/devicetree/base/compatible": names,
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    }
    if name.startswith("raspberry_pi"):
        files |= _RASPBERRY_PI_SENSORS
    else:
        files["etc/os-release"] = 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\n'
    return files | board.get("files", {})


def cpuinfo(cpu: str, board: Mapping[str, Any]) -> str:
    """What the kernel prints of a processor, core by core."""
    facts = _read()["cpus"][cpu]
    one = (
        f"BogoMIPS\t: {facts['bogomips']}\nFeatures\t: {facts['features']}\n"
        f"CPU implementer\t: {facts['implementer']}\nCPU architecture: 8\n"
        f"CPU variant\t: {facts['variant']}\nCPU part\t: {facts['part']}\n"
        f"CPU revision\t: {facts['revision']}\n\n"
    )
    text = "".join(f"processor\t: {number}\n{one}" for number in range(board["cores"]))
    if code := board.get("board_code"):
        text += f"Revision\t: {code}\nSerial\t\t: 10000000abcdef01\nModel\t\t: {board['model']}\n"
    return text


def write_files(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write `files` (path under the root -> content) and return the root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be a hard link to another tree's file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def _read() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("board", choices=sorted(board_facts()))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpu", choices=sorted(_read()["cpus"]))
    options = parser.parse_args()
    write_files(options.folder, board_files(options.board, options.cpu))


if __name__ == "__main__":
    main()
