"""Programs on one emulated processor."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from environment import Environment

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
