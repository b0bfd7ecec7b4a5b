"""Cut off after every step, killed in the middle of every step: one whole release runs on."""

import os
import sys
from pathlib import Path

import pytest

from devices.deploy.errors import DeployError

HELPERS = Path(__file__).parents[2] / "helpers"
STEPS = ["probe", "lock", "recover", "prepare", "receive", "environment", "check", "seal"]
STEPS += ["activate", "prune"]


def test_a_release_whose_orderer_is_gone_is_watched_all_the_same(device, payload, put, whole):
    """The connection is cut while the device watches a release that will not stay healthy."""
    import threading

    from devices.deploy.connection import Address, Connection, SshOptions
    from devices.deploy.deploying import DeployOptions, Reporter, deploy
    from devices.deploy.packages import Packages

    good = put(device, payload()).release

    def cut(text: str) -> None:
        if text.startswith("starting"):
            device.cut()

    options = DeployOptions(python=sys.executable, watch_s=5, still_s=0.5)
    with (
        pytest.raises(DeployError),
        Connection(Address("board"), SshOptions(device.config)) as connection,
    ):
        deploy(connection, payload("still"), Packages(Path()), options, Reporter(on_progress=cut))
    for _ in range(200):
        if not (device.root / "pending.json").exists():
            break
        threading.Event().wait(0.05)
    found = whole(device)
    assert found.current == found.served == good


def changes(device) -> list[list[str]]:
    """What each step changed, in its order; a list for each process."""
    by_process: dict[str, list[str]] = {}
    for line in (device.folder / "changes").read_text().splitlines():
        process, kind = line.split()
        by_process.setdefault(process, []).append(kind)
    return list(by_process.values())


def kill_at(device, step: int, number: int) -> None:
    log = device.folder / "changes"
    log.unlink(missing_ok=True)
    python = f"{sys.executable} -IS {HELPERS}/killed_python.py"
    device.program("python3", f'KILL_LOG={log} KILL_AT="{step} {number}" exec {python} "$@"')


def kill_points(steps: list[list[str]]) -> list[list[int]]:
    """Before which changes of each step to kill it: its last rename, or the one in its middle.

    Of the switch: before its every rename, and what systemd reads, up to the restart.
    EDGEPROOF_EVERY_CUT: before all.
    """
    renames = [[n for n, kind in enumerate(step, 1) if kind == "os.rename"] for step in steps]
    points = [each[-1:] or [len(step) // 2 + 1] for each, step in zip(renames, steps, strict=True)]
    switch = steps[-2]
    restart = switch.index("subprocess.Popen:restart")
    # Between the unit and `current`, too: systemd has read the one, the other is not there yet.
    telling = ("os.rename", "subprocess.Popen:daemon-reload")
    points[-2] = [n for n, kind in enumerate(switch[:restart], 1) if kind in telling]
    if os.environ.get("EDGEPROOF_EVERY_CUT"):
        points = [list(range(1, len(step) + 1)) for step in steps]
        points[-2] = points[-2][:restart]
        points[0] = points[0][:-1]  # it gives up the lock when all is done
    return points


def test_killed_in_the_middle_of_each_step_then_cut_off_after_it(device, payload, put, whole):
    """The one and then the other, and then it succeeds."""
    for number in (0, 1):
        kill_at(device, -1, 0)
        running = put(device, payload(number=number)).release
    steps = changes(device)
    assert len(steps) == len(STEPS) - 1  # the first is not Python
    points = [[], *kill_points(steps)]
    number = 1
    for index, last in enumerate(STEPS):
        number += 1
        for change in points[index][:-1]:
            kill(device, payload(number=number), put, whole, index - 1, change)
            running = mend(device, payload(number=number), put, whole)
            number += 1
        what = payload(number=number)
        if points[index]:
            kill(device, what, put, whole, index - 1, points[index][-1])

        def cut(step: str, last: str = last) -> None:
            if step == last:
                device.cut()

        try:
            put(device, what, on_step=cut)
            assert last == "prune"  # all was done
        except DeployError:
            found = whole(device)
            assert found.current == found.served
            assert (found.current == running) == (last != "activate")
        device.start()
        running = mend(device, what, put, whole)
        assert not list((device.root / "parts").iterdir())


def kill(device, what, put, whole, step: int, change: int) -> None:
    """Deploy, with the remote side killed there."""
    kill_at(device, step, change)
    with pytest.raises(DeployError):
        put(device, what)
    found = whole(device)
    assert found.current == found.served or STEPS[step + 1] == "activate"
    kill_at(device, -1, 0)


def mend(device, what, put, whole) -> str:
    """Deploy again, to a good end; the release that runs now."""
    running = put(device, what).release
    assert whole(device).current == whole(device).served == running
    assert not (device.root / "pending.json").exists()
    return running
