"""Debian packages of another architecture, downloaded and unpacked beside the system, without root.

apt runs with folders of its own: the system's package lists and packages stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Impossible(Exception):
    """This machine cannot build or run ARM environments; the text says why."""


@dataclass(frozen=True)
class Apt:
    """apt for one architecture and suite, with its own lists and cache."""

    config: Path
    downloads: Path

    def download(self, packages: Sequence[str]) -> list[Path]:
        """The packages' files, without what they depend on."""
        self._run(["apt-get", "-qq", "download", *packages])
        return sorted(self.downloads.glob("*.deb"))

    def download_with_dependencies(self, packages: Sequence[str]) -> list[Path]:
        """The packages' files, and those of all that they depend on."""
        self._run(["apt-get", "-qq", "-y", "--download-only", "install", *packages])
        return sorted((self.downloads / "archives").glob("*.deb"))

    def _run(self, command: list[str]) -> None:
        run(command, cwd=self.downloads, env={**os.environ, "APT_CONFIG": str(self.config)})


@contextlib.contextmanager
def apt_for(architecture: str, suite: str) -> Iterator[Apt]:
    """An apt for that architecture; its folder is gone afterwards.

    Raises:
        Impossible: without apt, Debian's key or a Debian mirror.
    """
    mirror = _mirror()
    with tempfile.TemporaryDirectory(prefix="edgeproof-apt-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for sub in ("etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
            (folder / sub).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": pwd.getpwuid(os.getuid()).pw_name,
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Debug::NoLocking": "true",
            "Dir::Etc": f"{folder}/etc",
            "Dir::Etc::sourcelist": f"{folder}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Log": str(folder),
            "Dir::State": f"{folder}/state",
            "Dir::State::status": f"{folder}/status",
            "Dir::Cache": f"{folder}/cache",
        }
        config = folder / "apt.conf"
        config.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
        apt = Apt(config, folder / "cache")
        apt._run(["apt-get", "-qq", "update"])
        yield apt


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpack packages into a folder that looks like a root of one file tree, /lib in /usr/lib."""
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    for package in packages:
        extract = ["tar", "-C", str(root), "--keep-directory-symlink", "--no-same-owner", "-x"]
        contents = subprocess.Popen(["dpkg", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        run(extract, stdin=contents.stdout)
        if contents.wait() != 0:
            raise Impossible(f"{package.name}: cannot be unpacked; run it again.")
    for name in ("doc", "man", "locale", "lintian"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    # What update-alternatives would have linked.
    for kind in ("blas", "lapack"):
        for library in root.glob(f"usr/lib/*/{kind}/lib*.so.3"):
            link = library.parent.parent / library.name
            if not link.is_symlink():
                link.symlink_to(f"{kind}/{library.name}")


def run(command: Sequence[str | Path], **options: object) -> None:
    """Run a program; what it says comes with the error.

    Raises:
        Impossible: when it fails.
    """
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        text=True,
        stderr=subprocess.STDOUT,
        **{"stdout": subprocess.PIPE, **options},  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        lines = (done.stdout or "").strip().splitlines()
        why = lines[-1] if lines else "it said nothing"
        raise Impossible(f"{command[0]} {command[1]} ... failed: {why}")


def _mirror() -> str:
    """The Debian mirror that this machine's apt already uses."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Impossible("needs apt-get and dpkg: Debian, or an image of it.")
    if not KEYRING.is_file():
        raise Impossible(f"{KEYRING} is missing: apt install debian-archive-keyring.")
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [m for m in done.stdout.split() if "/debian" in m and "security" not in m]
    if not found:
        raise Impossible("apt knows no Debian mirror: add one to its sources.")
    return sorted(found)[0]
