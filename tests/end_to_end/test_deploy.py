"""A real bundle on a board at the end of a real SSH connection, by the commands of a user."""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from board_over_ssh import SSHD, BoardOverSsh
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(
        not SSHD or not shutil.which("ssh"),
        reason="OpenSSH's sshd and ssh are absent (apt install openssh-server)",
    ),
]


@pytest.fixture
def pair() -> Iterator[list[BoardOverSsh]]:
    with tempfile.TemporaryDirectory(prefix="board-") as folder:
        boards = [BoardOverSsh(Path(folder) / name, name=name) for name in ("door", "yard")]
        for board in boards:
            board.start()
        yield boards
        for board in boards:
            board.end()


@pytest.fixture
def edgeproof(pair: list[BoardOverSsh]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of edgeproof; both boards are in its SSH configuration."""
    config = pair[0].folder.parent / "ssh_config"
    config.write_text("".join(board.config.read_text() for board in pair))
    return lambda *arguments: run_edgeproof(*arguments, "--ssh-config", str(config))


def run_edgeproof(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeproof", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )


@pytest.fixture
def camera(pair: list[BoardOverSsh], colour_video: Path) -> str:
    """Plays for an hour as a camera does, from where the boards' owner may read."""
    folder = pair[0].folder.parent / "clips"
    folder.mkdir()
    clip = Path(shutil.copy(colour_video, folder))
    script = clip.with_suffix(".toml")
    script.write_text(f'video = "{clip.name}"\nframes = 36000\n')
    return f"--source replay:{script}"


def test_one_board_from_the_first_deploy_to_the_way_back(
    edgeproof, pair, colour_bundle, camera, picture
):
    door = pair[0]
    deploy = ["deploy", str(colour_bundle), "door", "--python", sys.executable, "--watch", "1"]
    first = edgeproof(*deploy, "--run", f"{camera} --jsonl answers.jsonl")
    assert (first.returncode, first.stdout[:19]) == (0, "door: runs colours-"), first.stderr
    assert "answers as recorded (5 files whole)" in first.stderr
    assert (door.root / "state/answers.jsonl").stat().st_size > 0

    status = json.loads(edgeproof("status", "door", "--json").stdout)
    assert status["running"] == status["current"] == door.current
    assert status["status"]["variant"] == "tflite-float32"
    assert status["status"]["answers"][-1]["label"] in ("red", "green", "blue")
    shown = edgeproof("status", "door")
    assert shown.returncode == 0
    assert "tflite-float32 on litert" in shown.stdout

    # Arguments that are none: found before the switch, which the history would tell.
    for wrong, said in (
        ("--sorce 0", "No such option: --sorce"),
        ("--source 0 --average 2 --votes 2/3", "--average and --votes are two ways of the same"),
        ("--source 0 --stride x", "Invalid value for '--stride': "),
    ):
        mistyped = edgeproof(*deploy, "--run", wrong)
        assert mistyped.returncode == 1
        assert "door: would not start with these arguments: " in mistyped.stderr
        assert said in mistyped.stderr
    assert len((door.root / "history.jsonl").read_text().splitlines()) == 1

    # Arguments that do not run: it goes back, and says why.
    bad = edgeproof(*deploy, "--run", "--source /nowhere.mp4")
    assert bad.returncode == 1
    assert bad.stderr.splitlines()[-1].endswith(f"; it runs {door.current} again.")
    assert "was not healthy: it does not start: edgeproof: /nowhere.mp4: " in bad.stderr
    assert door.served_release() == status["current"]

    second = edgeproof(*deploy, "--run", f"{camera} --stride 2")
    assert second.returncode == 0
    assert "MB copied" not in second.stdout  # the same files are there already
    back = edgeproof("rollback", "door", "--watch", "1")
    assert back.stdout == f"door: runs {status['current']}, healthy\n"
    listed = json.loads(edgeproof("releases", "door", "--json").stdout)
    assert [entry["outcome"] for entry in listed] == ["healthy", "returned", "healthy"]
    pruned = edgeproof("releases", "door", "--keep", "1")
    # What runs stays; nothing is before it any more, and what it went back from may go.
    assert pruned.stdout.count("removed colours-") == 2
    assert door.releases == [status["current"]]
    logs = edgeproof("logs", "door")
    assert logs.returncode == 0
    assert "fps" in logs.stdout


def test_a_bundle_that_answers_otherwise_there_is_not_switched_to(
    edgeproof, pair, colour_bundle, camera
):
    """A device whose engine is broken: verify fails on it, though every hash is right."""
    broken = pair[0].folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import numpy, edge_runtime.head as h\n"
        "right = h.Head.probabilities\n"
        "h.Head.probabilities = lambda self, raw: right(self, raw)[:, ::-1]\n"
    )
    pair[0].environment["PYTHONPATH"] = f"{broken}:{Path(__file__).parents[2]}"
    pair[0].start()
    deploy = ["deploy", str(colour_bundle), "door", "--python", sys.executable]
    done = edgeproof(*deploy, "--run", camera)
    assert done.returncode == 1
    assert "door: does not pass its check there: edgeproof: " in done.stderr
    assert "differs first at stage 'head'" in done.stderr
    assert pair[0].current is None
    assert pair[0].releases == []


def test_a_device_that_trusts_a_key_takes_nothing_else(
    edgeproof, pair, colour_bundle, camera, tmp_path
):
    """Whoever may log in there: an unsigned bundle is refused by the device itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    encoding, kinds = serialization.Encoding.PEM, serialization.PublicFormat
    (tmp_path / "release.key").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    trusted = pair[0].home / ".config/edgeproof/trusted"
    trusted.mkdir(parents=True)
    (trusted / "release.pem").write_bytes(
        key.public_key().public_bytes(encoding, kinds.SubjectPublicKeyInfo)
    )
    pair[0].start()
    deploy = ["deploy", str(colour_bundle), "door", "--python", sys.executable, "--watch", "0.5"]
    refused = edgeproof(*deploy, "--run", camera)
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("edgeproof: door: does not pass its check there: edgeproof: ")
    assert "is not signed, and this device opens only what is signed by a key" in last
    assert pair[0].current is None
    signed = run_edgeproof("sign", str(colour_bundle), "--key", str(tmp_path / "release.key"))
    assert signed.returncode == 0, signed.stderr
    taken = edgeproof(*deploy, "--run", camera)
    assert taken.returncode == 0, taken.stderr


def test_many_boards(edgeproof, pair, colour_bundle, camera, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text(f"door\nyard {camera} --stride 3\n")
    deploy = ["deploy", str(colour_bundle), "--hosts", str(hosts), "--python", sys.executable]
    done = edgeproof(*deploy, "--watch", "1", "--run", camera)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 of 2 run it"
    assert "--stride 3" in (pair[1].root / "current" / "start").read_text()
    assert "--stride" not in (pair[0].root / "current" / "start").read_text()
    told = json.loads(edgeproof("status", "--hosts", str(hosts), "--json").stdout)
    assert [told[name]["running"] for name in ("door", "yard")] == [b.current for b in pair]

    # The canary does not do well: the other one is left as it is.
    before = pair[1].current
    done = edgeproof(*deploy, "--watch", "1", "--run", "--source /nowhere.mp4")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "0 of 2 run it, 1 failed, 1 left out"
    assert pair[1].current == before

    pair[1].cut()
    done = edgeproof("status", "--hosts", str(hosts))
    assert done.returncode == 1
    assert "it answers, but no SSH server does" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["BUNDLE"], "name one device, USER@HOST, or a file of them with --hosts FILE."),
        (["BUNDLE", "-x"], "No such option: -x"),
        (["BUNDLE", "a;b"], "'a;b': is no address; USER@HOST, or a name of your SSH config"),
        (["/absent.bundle", "door"], "/absent.bundle: no such bundle; `edgeproof convert` makes"),
        (["BUNDLE", "door", "--run", "--source 'x"], '--run "--source \'x": No closing quotation.'),
        (["BUNDLE", "door", "--name", "A/b"], "--name 'A/b': small letters, digits and dashes"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(arguments, message, colour_bundle):
    done = run_edgeproof("deploy", *[str(colour_bundle) if a == "BUNDLE" else a for a in arguments])
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_what_ssh_asks_on_a_terminal_can_be_read(pair, colour_bundle):
    """An unknown host key: no spinner turns over the question."""
    door = pair[0]
    door.forget_host()
    door.config.write_text(door.config.read_text().replace("StrictHostKeyChecking no", ""))
    command = ["edgeproof", "deploy", str(colour_bundle), "door", "--ssh-config", str(door.config)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(Path(__file__).parents[2])
        os.execv(sys.executable, [sys.executable, "-m", *command])
    shown = b""
    while b"[fingerprint])?" not in shown:
        shown += os.read(terminal, 4096)
    threading.Event().wait(0.3)  # time enough for a spinner to turn
    os.write(terminal, b"no\n")
    with contextlib.suppress(OSError):  # the terminal's end
        while more := os.read(terminal, 4096):
            shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    os.close(terminal)
    assert b"edgeproof: door: its host key is not known here; connect once with ssh door" in shown
    assert b"\x1b" not in shown


def test_a_whole_installation_carried_along(edgeproof, pair, colour_bundle, camera):
    """Its own environment, every package carried along; the board's own Python has nothing."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    if not python:
        pytest.skip("needs the system's Python, /usr/bin/python3")
    pair[0].environment["PYTHONPATH"] = ""
    pair[0].start()
    deploy = ["deploy", str(colour_bundle), "door", "--offline", "--watch", "1"]
    done = edgeproof(*deploy, "--run", camera)
    if "packages for the device" in done.stderr:
        pytest.skip(f"no packages to be had: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert "MB copied" in done.stdout
    (environment,) = (pair[0].root / "venvs").iterdir()
    assert str(environment) in (pair[0].root / "current/start").read_text()
    again = edgeproof(*deploy, "--run", f"{camera} --stride 2")
    assert again.returncode == 0
    assert "MB copied" not in again.stdout
    assert [environment] == list((pair[0].root / "venvs").iterdir())
