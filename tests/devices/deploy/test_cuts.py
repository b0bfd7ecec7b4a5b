"""Cut off after every step, killed in the middle of every step: one whole release runs on."""

import os
import sys
from pathlib import Path

import pytest

from devices.deploy.errors import DeployError

HELPERS = Path(__file__).parents[2] / "helpers"
STEPS = ["probe", "lock", "recover", "prepare", "receive", "environment", "check", "seal", "unit"]
STEPS += ["activate", "prune"]


def test_the_connection_is_cut_after_each_step(device, payload, put, whole):
    old = put(device, payload(number=0)).release
    for number, last in enumerate(STEPS, 1):

        def cut(step: str, last: str = last) -> None:
            if step == last:
                device.cut()

        what = payload(number=number)
        try:
            put(device, what, on_step=cut)
            assert last == "prune"  # all was done
        except DeployError:
            found = whole(device)
            assert found.current == found.served
            assert (found.current == old) == (last != "activate")
        device.start()
        old = put(device, what).release
        assert whole(device).current == whole(device).served == old
        assert not list((device.root / "parts").iterdir())
        assert not (device.root / "pending.json").exists()


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
    python = f"{sys.executable} {HELPERS}/killed_python.py"
    device.program("python3", f'KILL_LOG={log} KILL_AT="{step} {number}" exec {python} "$@"')


def test_the_remote_side_is_killed_in_the_middle_of_each_step(device, payload, put, whole):
    for number in (0, 1):
        kill_at(device, -1, 0)
        put(device, payload(number=number))
    steps = changes(device)
    assert len(steps) == len(STEPS) - 1  # the first is not Python
    switch = steps[-2]
    # In the middle of each step; of the switch before its every rename, or before all it does up to
    # the restart.
    points = [(n, len(step) // 2 + 1) for n, step in enumerate(steps) if step is not switch]
    restart = switch.index("subprocess.Popen", switch.index("os.rename") + 4)
    wanted = {"os.rename"} if not os.environ.get("EDGEPROOF_EVERY_CUT") else set(switch)
    points += [(len(steps) - 2, n) for n, kind in enumerate(switch[:restart], 1) if kind in wanted]
    for number, (step, change) in enumerate(points, 2):
        kill_at(device, step, change)
        with pytest.raises(DeployError):
            put(device, payload(number=number))
        found = whole(device)
        assert found.current == found.served or step == len(steps) - 2
        kill_at(device, -1, 0)
        running = put(device, payload(number=number)).release
        assert whole(device).current == whole(device).served == running
        assert not (device.root / "pending.json").exists()
