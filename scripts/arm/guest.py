"""Programs on one emulated processor."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from environment import REPOSITORY, Environment

LIMIT_S = 3600


@dataclass(frozen=True)
class Guest:
    """One emulated processor of an environment."""

    environment: Environment
    cpu: str
    python: Path
    work: Path

    @property
    def name(self) -> str:
        return f"{self.environment.name}-{self.cpu}"

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> tuple[int, str]:
        """Exit code and all that it says, errors last."""
        outside = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if name not in outside}
        done = subprocess.run(
            [str(self.python), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            cwd=cwd or self.python.parent,
            env={**kept, "ARM_CPU": self.cpu},
        )
        return done.returncode, done.stdout + done.stderr


def own_python(environment: Environment) -> Path:
    """This machine's Python with the same engines; tflite-runtime lives in a peer environment."""
    if "tflite-runtime" not in environment.engines:
        return Path(sys.executable)
    peers = REPOSITORY / ".peers"
    if not (peers / "legacy/.complete").is_file():
        script = REPOSITORY / "scripts/make_peer_envs.sh"
        subprocess.run(["sh", script, peers, "legacy"], check=True)
    return peers / "legacy/bin/python"
