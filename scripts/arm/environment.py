"""An emulated ARM environment: a folder laid out as a virtual environment, whose Python is ARM's.

User-mode emulation: the emulator runs one ARM program with a chosen processor and turns its system
calls into this kernel's. No root, no image, no change of the system. What a program reads under the
environment's prefix comes from there, so that each board has its own /proc/cpuinfo and device tree.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian import Impossible, apt_for, run, unpack

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "helpers"))

from boards import board_files, write_files  # noqa: E402

# What Python and the wheels link to; their packages' names differ between suites.
LIBRARIES = (
    *("libc6", "libgcc-s1", "libstdc++6", "libgomp1", "zlib1g", "libbz2-1.0", "liblzma5"),
    *("libffi8", "libexpat1", "libsqlite3-0", "libuuid1", "libzstd1", "libcrypt1"),
)
SSL = {"bookworm": "libssl3", "trixie": "libssl3t64"}
# The newest C library that the suite's wheels may ask for.
GLIBC = {"bookworm": 36, "trixie": 40}


@dataclass(frozen=True)
class Environment:
    """One entry of environments.toml; see there."""

    name: str
    architecture: str
    machine: str
    suite: str
    python: str
    emulator: str
    cpus: Mapping[str, str]
    engines: tuple[str, ...]
    extras: str = ""
    constraints: str = ""
    debs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def folder(self, work: Path) -> Path:
        return work / self.name

    def python_in(self, work: Path) -> Path:
        """The wrapper that runs the emulated Python; ARM_CPU in its environment names the CPU."""
        return self.folder(work) / "bin" / "python"

    def site_packages(self, work: Path) -> Path:
        return self.folder(work) / "lib" / f"python{self.python}" / "site-packages"


def environments() -> dict[str, Environment]:
    """All that environments.toml describes, by name."""
    text = Path(__file__).with_name("environments.toml").read_text(encoding="utf-8")
    return {
        name: Environment(
            name, **{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
        )
        for name, entry in tomllib.loads(text).items()
    }


def build(environment: Environment, work: Path) -> Path:
    """Make the environment, or bring it up to date; its Python.

    Raises:
        Impossible: when this machine cannot.
    """
    folder = environment.folder(work)
    folder.mkdir(parents=True, exist_ok=True)
    _build_root(environment, folder)
    _build_prefixes(environment, folder)
    _write_wrapper(environment, folder, _emulator(environment.emulator, work))
    _install(environment, work)
    python = environment.python_in(work)
    code = "import platform, sys; print(platform.machine(), sys.prefix)"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if answer.stdout.split() != [environment.machine, str(folder)]:
        raise Impossible(f"{python} does not run: {answer.stdout}{answer.stderr}".strip())
    return python


def _emulator(name: str, work: Path) -> Path:
    """The system's emulator, or one out of Debian's package."""
    if found := shutil.which(name):
        return Path(found)
    own = work / "qemu" / name
    if not own.is_file():
        here = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=False
        )
        with apt_for(here.stdout.strip(), "bookworm") as apt:
            packages = apt.download(["qemu-user-static"])
            shutil.rmtree(own.parent, ignore_errors=True)
            unpack(packages, own.parent / "package")
        for program in (own.parent / "package/usr/bin").glob("qemu-a*-static"):
            program.rename(own.parent / program.name)
        shutil.rmtree(own.parent / "package")
    return own


def _build_root(environment: Environment, folder: Path) -> None:
    python = environment.python
    names = [*LIBRARIES, SSL[environment.suite], f"python{python}-minimal"]
    names += [f"libpython{python}-minimal", f"libpython{python}-stdlib"]
    key = _key(environment.suite, environment.architecture, *names, "/", *environment.debs)
    if _is_done(folder / ".debs", key):
        return
    print(f"{environment.name}: Debian packages ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with apt_for(environment.architecture, environment.suite) as apt:
        packages = apt.download(names)
        if environment.debs:
            packages = apt.download_with_dependencies([*names, *environment.debs])
        unpack(packages, folder / "root")
    (folder / ".debs").write_text(key)


def _build_prefixes(environment: Environment, folder: Path) -> None:
    """For each CPU the same root, by hard links, with its board's files."""
    for cpu, board in environment.cpus.items():
        prefix = folder / "prefix" / cpu
        if not prefix.is_dir():
            prefix.parent.mkdir(exist_ok=True)
            part = prefix.with_name(f".{cpu}.part")
            shutil.rmtree(part, ignore_errors=True)
            run(["cp", "-al", folder / "root", part])
            write_files(part, board_files(board, cpu))
            part.rename(prefix)


def _write_wrapper(environment: Environment, folder: Path, emulator: Path) -> None:
    """bin/python: laid out as in a virtual environment, so that subprocesses are emulated too."""
    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    default = next(iter(environment.cpus))
    wrapper = binaries / "python"
    root = shlex.quote(str(folder))
    home = folder / "root" / "usr" / "bin"  # where Debian's package has its Python
    wrapper.write_text(
        f"#!/bin/sh\nfolder={root}\nhome={shlex.quote(str(home))}\ncpu=${{ARM_CPU:-{default}}}\n"
        f'exec {shlex.quote(str(emulator))} -cpu "$cpu" -0 "$folder/bin/python" '
        f'-L "$folder/prefix/$cpu" "$home/python{environment.python}" "$@"\n'
    )
    wrapper.chmod(0o755)
    (folder / "pyvenv.cfg").write_text(
        f"home = {home}\nversion = {environment.python}\n"
        f"include-system-site-packages = {'true' if environment.debs else 'false'}\n"
    )


def _install(environment: Environment, work: Path) -> None:
    """edgeproof as it is now, and wheels for the ARM system, fetched and unpacked on this one."""
    target = environment.site_packages(work)
    constraints = REPOSITORY / environment.constraints if environment.constraints else None
    wanted = [
        *environment.packages,
        environment.extras,
        (REPOSITORY / "pyproject.toml").read_text(),
    ]
    key = _key(*wanted, constraints.read_text() if constraints else "")
    marker = environment.folder(work) / ".wheels"
    if not _is_done(marker, key):
        print(f"{environment.name}: wheels ...", flush=True)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        if environment.packages:
            _pip(environment, target, ["--no-deps", *environment.packages])
        else:
            what = f"{REPOSITORY}[{environment.extras}]"
            install_wheels(environment, target, ["-c", str(constraints), what])
        marker.write_text(key)
    code = _key(*(f"{path}{path.stat().st_mtime_ns}" for path in _sources()))
    marker = environment.folder(work) / ".edgeproof"
    if not _is_done(marker, code):
        install_wheels(
            environment, target, ["--no-deps", "--reinstall-package", "edgeproof", str(REPOSITORY)]
        )
        marker.write_text(code)


def _sources() -> list[Path]:
    """The files that edgeproof is installed from."""
    folders = [REPOSITORY / name for name in ("devices", "edge_runtime", "trainer", "converters")]
    files = [f for folder in folders for f in folder.rglob("*") if f.suffix in (".py", ".toml")]
    return sorted([REPOSITORY / "edgeproof.py", REPOSITORY / "pyproject.toml", *files])


def install_wheels(environment: Environment, target: Path, arguments: Sequence[str]) -> None:
    """Install into a folder what uv resolves for the emulated machine, markers and all."""
    command = [_uv(), "pip", "install", "--quiet", "--target", target]
    command += ["--python-version", environment.python]
    if environment.machine == "aarch64":
        platform = f"aarch64-manylinux_2_{GLIBC[environment.suite]}"
        command += ["--python-platform", platform]
    run([*command, *arguments], env={**os.environ, "VIRTUAL_ENV": ""})


def _uv() -> str:
    """The uv of this environment, which the extra dev brings."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    if not beside:
        raise Impossible("needs uv to resolve packages for another machine: pip install uv.")
    return beside


def _pip(environment: Environment, target: Path, packages: list[str]) -> None:
    """Wheels for 32-bit ARM, which uv does not know as a platform."""
    options = ["--platform", f"manylinux2014_{environment.machine}"]
    for minor in (17, 28, 31, 34, 36):
        options += ["--platform", f"manylinux_2_{minor}_{environment.machine}"]
    python = environment.python
    options += ["--python-version", python, "--implementation", "cp", "--only-binary=:all:"]
    for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
        options += ["--abi", abi]
    run(
        [
            _uv(),
            "tool",
            "run",
            "--quiet",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            "--target",
            target,
            *options,
            *packages,
        ]
    )


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_done(marker: Path, key: str) -> bool:
    return marker.is_file() and marker.read_text() == key
