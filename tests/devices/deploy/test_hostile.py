"""Devices that are not what they say: nothing of this machine is theirs, and no terminal either."""

import dataclasses
import json
import sys
from pathlib import Path

import ordinary_user
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.deploy.answers import Answer, read_answer
from devices.deploy.connection import Address, Connection, SshOptions
from devices.deploy.deploying import Reporter, deploy
from devices.deploy.errors import ConnectionFailed, DeployError
from devices.deploy.packages import Packages
from devices.deploy.status_table import is_well, print_releases, print_status
from devices.deploy.unit import UnitOptions, unit_text

HELPERS = Path(__file__).parents[2] / "helpers"
SHA = "0" * 64
UNIT = unit_text(UnitOptions(), system=False)


@pytest.fixture
def lying(served):
    """Lets the board answer a step as it likes: `lying(step, text)`."""

    def lie(step: str, text: str) -> None:
        (served.folder / "lie").write_text(text)
        lies = f"LIE_AT={step} LIE={served.folder}/lie"
        served.program("python3", f'{lies} exec {sys.executable} -S {HELPERS}/lying_python.py "$@"')

    yield lie
    (served.bin / "python3").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("step", "answer", "message"),
    [
        (
            "prepare",
            {"done": {"release": "NAME", "files": [["/etc/passwd", SHA, 9]], "wheels": []}},
            "asks for a file that is not offered: .*/etc/passwd",
        ),
        (
            "prepare",
            {"done": {"release": "NAME", "files": [], "wheels": [["../x.whl", SHA, 9]]}},
            "asks for a file that is not offered",
        ),
        ("prepare", {"done": {"release": "../../x", "files": []}}, "calls the release '../../x'"),
        ("prepare", {"done": {"release": ["x"], "files": []}}, "calls the release"),
        ("prepare", {"done": {"files": []}}, "answers without 'release'"),
        ("prepare", {"done": []}, "answers what is no answer to that step"),
        ("prepare", "EDGEPROOF {{{\nEDGEPROOF []\n", "a step ended there without an answer"),
        ("prepare", "x" * (5 << 20), "sends a line that does not end"),
        ("check", {"error": "\x1b[2Jall is \x07well"}, "\ufffd\\[2Jall is \ufffdwell$"),
    ],
)
def test_what_a_device_answers_is_not_believed(
    step, answer, message, lying, served, payload, put, whole
):
    what = payload(number=300)
    if isinstance(answer, dict):
        name = what.release(sys.executable, "", UNIT)
        answer = f"EDGEPROOF {json.dumps(answer)}\n".replace("NAME", name)
    lying(step, answer)
    with pytest.raises(DeployError, match=message):
        put(served, what)
    assert whole(served).served == served.current


def test_what_it_says_on_the_way_steers_no_terminal(lying, served, payload, quick):
    clear = "\\u001b[2J"
    lying(
        "check",
        f'EDGEPROOF {{"progress": "{clear}"}}\nEDGEPROOF {{"done": {{"said": "{clear}"}}}}\n',
    )
    said: list[str] = []
    with Connection(Address("board"), SshOptions(served.config)) as connection:
        told = Reporter(on_progress=said.append)
        deploy(connection, payload(number=100), Packages(Path()), quick, told)
    assert said.count("\ufffd[2J") == 2


@pytest.mark.parametrize(
    ("program", "shell", "message"),
    [
        ("uname", "printf 'x\\033[2J'", "board: runs x\ufffd[2J, not Linux."),
        ("date", "echo \u00b2", "board: its clock is 2"),
        ("getconf", "echo glibc 2.\u00b2", ""),
    ],
)
def test_what_it_says_it_is(program, shell, message, served, payload, put):
    served.program(program, shell)
    try:
        if message:
            with pytest.raises(DeployError) as caught:
                put(served, payload(number=100))
            assert str(caught.value).startswith(message)
        else:
            assert put(served, payload(number=100)).healthy
    finally:
        (served.bin / program).unlink()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = {
    "service": ["active", "restarts"],
    "last": ["outcome", "release", "reason"],
    "status": ["fps", "age_ms", "frames", "throttling", "answers", "variant", "engine"],
}
SCALARS = ["current", "running", "previous", "pending", "no_service", "uptime_s", "status_age_s"]
STATUS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys((*SCALARS, "free_bytes"), JSON),
        **{
            name: JSON | st.dictionaries(st.sampled_from(inner), JSON)
            for name, inner in OBJECTS.items()
        },
    },
)


@settings(max_examples=30, deadline=None)
@given(found=STATUS)
def test_no_status_is_a_traceback(found):
    answer = read_answer(json.dumps(found), "board")
    is_well(answer)
    try:
        print_status("board", answer)
    except DeployError as exc:
        assert str(exc).startswith("board: answers without ")


def test_a_status_and_releases_steer_no_terminal(capsys):
    evil = "\x1b]0;owned\x07\x1b[2J"
    told = {"variant": evil, "throttling": [evil], "answers": [{"label": evil, "score": 1}]}
    found = {"current": evil, "running": evil + "x", "previous": evil, "no_service": "", "last": {}}
    found |= {"service": {"active": evil, "restarts": 1e308}, "status": told, "pending": True}
    found |= {"last": {"outcome": "returned", "release": evil, "reason": evil}}
    print_status("board", read_answer(json.dumps(found), "board"))
    release = {"release": evil, "current": True, "previous": False, "made": 1e300, "bytes": "many"}
    print_releases("board", [read_answer(json.dumps(release), "board")])
    printed = capsys.readouterr().out
    assert "owned" in printed
    assert not {"\x1b", "\x07"} & set(printed)


def test_numbers_that_are_none():
    found = read_answer('{"a": NaN, "b": true, "c": "1", "d": 1e999, "e": 2}', "board")
    assert [found.number(name) for name in "abcdef"] == [None, None, None, None, 2, None]
    assert read_answer("[1]", "board") == Answer()
    assert read_answer("[" * 100_000, "board") == Answer()


def test_a_login_shell_that_greets_without_end(device, payload, put):
    (device.home / ".bashrc").write_text("while :; do echo Welcome; done\n")
    with pytest.raises(ConnectionFailed, match=r"^board: lets us in, but its login shell does not"):
        put(device, payload())


def test_a_link_in_a_release_is_not_followed(device, payload, put, whole):
    first = put(device, payload())
    folder = device.root / "releases" / first.release / "pets.bundle"
    (folder / "models").rename(device.home / "elsewhere")
    (folder / "models").symlink_to(device.home / "elsewhere")
    mended = put(device, payload())
    assert mended.release == f"{first.release}-2"
    assert whole(device).served == mended.release
    # ... nor one in what is being copied, out to where another program reads.
    what = payload(number=2)
    part = device.root / "parts" / what.release(sys.executable, "", UNIT) / "pets.bundle"
    part.mkdir(parents=True)
    (part / "models").symlink_to(device.home / "elsewhere")
    device.start()  # its owner is the board's
    with pytest.raises(DeployError, match=r"models/\w+\.bin: .*/models is a link there; take it"):
        put(device, what)
    assert sorted(p.name for p in (device.home / "elsewhere").iterdir()) == [
        "other.bin",
        "same.bin",
    ]


def test_a_folder_of_another_users(device, payload, put):
    if not ordinary_user.is_other():
        pytest.skip("takes root, to make a folder of another user's")
    device.root.mkdir(parents=True)
    device.root.chmod(0o777)
    with pytest.raises(DeployError, match=r"^board: /.*: belongs to another user; move it away th"):
        put(device, payload())
    device.root.rmdir()
    with pytest.raises(DeployError, match=r"^board: /.*: may not be written to; is it another us"):
        put(device, payload())
    assert list(device.root.parent.iterdir()) == []


def test_two_names_of_one_device(served, payload, put, quick):
    """As in a list of many in which one stands twice: each is told, and it runs one release."""
    options = dataclasses.replace(quick, wait_s=60)
    config = served.folder / "both"
    text = served.config.read_text()
    config.write_text(text + text.replace("Host board", "Host same"))
    from concurrent.futures import ThreadPoolExecutor

    def work(name: str) -> bool | None:
        with Connection(Address(name), SshOptions(config)) as connection:
            return deploy(connection, payload(number=100), Packages(Path()), options).healthy

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, ["board", "same"])) == [True, True]
