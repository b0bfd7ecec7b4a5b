"""The device's Python environment of a release, and the check of a release in it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices.deploy.remote.check_unit import check_as_service, credentials
from devices.deploy.remote.place import Place, StepError, disk_errors, remove, safe_name, write_text
from devices.deploy.remote.running import last_line, run
from devices.deploy.remote.store import check_hashes, filled, python_of, require_python

# numpy and OpenCV from a slow card, or over a slow net.
INSTALL_S = 1800.0
CHECK_S = 900.0
# The versions were chosen for this Python where they were fetched.
_AS_CHOSEN = ("--ignore-requires-python",)


def build(
    place: Place, params: dict[str, Any], lock: int, tell: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Make the environment unless it is there; it counts once `complete` lies in it.

    Raises:
        StepError: when Python cannot make one, or a package cannot be installed.
    """
    if params["python"]:
        return _use(python_of(place, params))
    require_python()
    folder = place.venvs / safe_name(params["key"])
    if (folder / "complete").is_file():
        return {"made": False}
    wheels = {name: place.wheels / sha256 / name for name, sha256, _ in params["wheels"]}
    with disk_errors(place.root):
        remove(folder)
        try:
            tell({"progress": "making a Python environment"})
            _make(folder, params, lock, with_pip=not params["offline"])
            tell({"progress": "installing edgeproof"})
            done = run(_install(folder, wheels, params), lock=lock, timeout_s=INSTALL_S)
            if done.returncode:
                raise StepError(f"edgeproof cannot be installed there: {last_line(done)}")
        except StepError:
            remove(folder)  # half an environment is hundreds of megabytes of nothing
            raise
        os.sync()
        record = {"wheels": sorted(sha256 for _, sha256, _ in params["wheels"])}
        write_text(folder / "complete", json.dumps(record))
    return {"made": True}


def check(
    place: Place, params: dict[str, Any], lock: int, tell: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Hold every file against its hash, then run the release's own checks on this machine.

    Raises:
        StepError: when a file differs, an argument is wrong or the check fails.
    """
    name = safe_name(params["release"])
    sealed, part = place.releases / name, place.parts / name
    folder = (sealed if sealed.is_dir() else part) / params["folder"]
    check_hashes(folder, params["files"])
    python = python_of(place, params)
    tell({"progress": "checking it there"})
    if only_check := params.get("only_check"):
        start = filled(params["start"], folder, place)
        done = run([python, *start, *only_check], lock=lock, timeout_s=CHECK_S, cwd=place.state)
        if done.returncode:
            raise StepError(f"would not start with these arguments: {last_line(done)}")
    command = [python, *filled(params["check"], folder, place)]
    given = credentials(params)
    if given:
        done = check_as_service(place, params, command, given)
    else:
        done = run(command, lock=lock, timeout_s=CHECK_S)
    if done.returncode:
        raise StepError(f"does not pass its check there: {last_line(done)}")
    lines = done.stdout.strip().splitlines()
    return {"said": lines[-1] if lines else ""}


def _make(folder: Path, params: dict[str, Any], lock: int, *, with_pip: bool) -> None:
    options = ["--system-site-packages"] if params["system_packages"] else []
    options += [] if with_pip else ["--without-pip"]
    done = run([sys.executable, "-m", "venv", *options, str(folder)], lock=lock, timeout_s=300)
    if done.returncode:
        hint = "sudo apt install python3-venv there, or carry all along with --offline"
        if "ensurepip" not in done.stdout + done.stderr:
            hint = last_line(done)
        raise StepError(f"its Python cannot make an environment: {hint}")


def _install(folder: Path, wheels: dict[str, Path], params: dict[str, Any]) -> list[str]:
    python = str(folder / "bin" / "python")
    options = ["install", "--disable-pip-version-check", "--no-input", "--quiet"]
    if params["offline"]:
        # pip runs out of its own wheel: Debian's Python has none without python3-venv.
        pip = next(str(path) for name, path in wheels.items() if name.startswith("pip-"))
        packages = [str(path) for name, path in wheels.items() if not name.startswith("pip-")]
        return [python, f"{pip}/pip", *options, "--no-index", "--no-deps", *_AS_CHOSEN, *packages]
    (wheel,) = (str(path) for path in wheels.values())
    extras = f"[{','.join(params['extras'])}]" if params["extras"] else ""
    return [python, "-m", "pip", *options, f"edgeproof{extras} @ {Path(wheel).as_uri()}"]


def _use(python: str) -> dict[str, Any]:
    """An environment that the user keeps: it must have edgeproof, and is left as it is."""
    look = "import importlib.util as u; exit(u.find_spec('edgeproof') is None)"
    done = run([python, "-c", look], timeout_s=120)
    if done.returncode:
        raise StepError(f"{python}: has no edgeproof; pip install it there, or leave out --python")
    return {"made": False}
