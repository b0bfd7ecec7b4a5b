"""`edgeproof run` and `edgeproof verify` as a user types them, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest


def edgeproof(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "edgeproof", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def assert_one_clear_line(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert done.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT)
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("edgeproof: ")
    for word in words:
        assert word in last


def test_run_on_a_video_writes_all_it_was_asked_for(
    colour_bundle: Path, colour_video: Path, tmp_path: Path
):
    jsonl, video = tmp_path / "out" / "answers.jsonl", tmp_path / "out" / "annotated.mp4"
    done = edgeproof(
        "run", colour_bundle, "--source", colour_video, "--jsonl", jsonl, "--video", video
    )
    assert done.returncode == 0, done.stderr
    assert "tflite-float32 on litert" in done.stdout
    assert "30 frames" in done.stdout
    records = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert [r["label"] for r in records] == ["red"] * 10 + ["green"] * 10 + ["blue"] * 10
    assert {"frame", "score", "top", "age_ms", "infer_ms", "preprocess_ms"} <= set(records[0])
    capture = cv2.VideoCapture(str(video))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 30
    assert sorted(p.name for p in video.parent.iterdir()) == ["annotated.mp4", "answers.jsonl"]


@pytest.mark.parametrize(("source", "workers"), [("{}", 2), ("replay:{}", 1)])
def test_a_file_is_answered_by_an_engine_for_each_thread_and_a_camera_by_one(
    colour_bundle: Path, colour_video: Path, source: str, workers: int
):
    """Whether XNNPACK helps the CPU or not: it is no accelerator that there is one of."""
    done = edgeproof(
        *("run", colour_bundle, "--source", source.format(colour_video), "--threads", "2"),
        *("--max-frames", "5"),
    )
    assert done.returncode == 0, done.stderr
    assert ("2 side by side" in done.stdout) is (workers == 2)
    assert f"{2 // workers} thread" in done.stdout


def test_a_password_in_an_address_is_not_told_by_bench(colour_bundle: Path):
    done = edgeproof("bench", colour_bundle, "--source", "rtsp://u:s3cr3t@127.0.0.1/x")
    assert done.returncode == 1
    assert "s3cr3t" not in done.stdout + done.stderr


def test_an_output_never_replaces_what_a_source_reads(
    colour_bundle: Path, colour_video: Path, colour_folder: Path, tmp_path: Path
):
    script = tmp_path / "script.toml"
    script.write_text(f'video = "{colour_video}"\n')
    link = tmp_path / "link.png"
    link.symlink_to(colour_folder / "red.png")
    before = colour_video.read_bytes()
    for source, option, file in [
        (f"replay:{script}", "--video", colour_video),
        (f"replay:{script}", "--jsonl", colour_video),
        (colour_folder, "--jsonl", colour_folder / "red.png"),
        (colour_folder, "--jsonl", link),
    ]:
        done = edgeproof("run", colour_bundle, "--source", source, option, file)
        assert done.returncode == 1, done.stdout
        assert "is read as a source" in done.stderr
    assert colour_video.read_bytes() == before


def test_a_provider_is_onnxruntimes(colour_bundle: Path, colour_folder: Path):
    run = ("run", colour_bundle, "--source", colour_folder, "--provider", "cpu")
    for more in (("--engine", "litert"), ("--variant", "tflite-float32")):
        done = edgeproof(*run, *more)
        assert done.returncode == 1
        assert "--provider is onnxruntime's" in done.stderr
    done = edgeproof(*run)
    assert done.returncode == 1  # this bundle has no ONNX file
    assert "none of which engine 'onnxruntime' runs" in done.stderr


def test_a_run_with_a_file_goes_on_when_nobody_reads_the_terminal(
    colour_bundle: Path, colour_folder: Path, tmp_path: Path
):
    command = f"{sys.executable} -m edgeproof run {colour_bundle} --source {colour_folder}"
    for number, sink in enumerate(("| true", ">/dev/full")):
        jsonl = tmp_path / f"{number}.jsonl"
        shell(f"{command} --jsonl {jsonl} {sink}")
        assert len(jsonl.read_text().splitlines()) == 3


def test_options_that_say_nothing_together_are_refused(colour_bundle: Path, colour_folder: Path):
    done = edgeproof("run", colour_bundle, "--source", colour_folder, "--append")
    assert (done.returncode, "--append goes with --jsonl" in done.stderr) == (1, True)
    done = edgeproof("bench", colour_bundle, "--pick", "--forget")
    assert (done.returncode, "contradict" in done.stderr) == (1, True)


def test_two_sources_with_all_that_can_be_asked_of_the_loop(
    colour_bundle: Path, colour_video: Path, tmp_path: Path
):
    jsonl, video = tmp_path / "answers.jsonl", tmp_path / "annotated.avi"
    jsonl.write_text('{"before": 1}\n')
    done = edgeproof(
        *("run", colour_bundle, "--source", colour_video, "--source", colour_video),
        *("--jsonl", jsonl, "--append", "--video", video, "--votes", "2/3", "--stride", "2"),
        *("--region", "0%,0%,50%,100%", "--min-score", "0.3", "--batch", "2", "--workers", "1"),
    )
    assert done.returncode == 0, done.stderr
    assert "30 frames in" in done.stdout
    first, *records = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert first == {"before": 1}
    names = {r["source"] for r in records}
    assert len(names) == 2
    for name in names:
        mine = [r for r in records if r["source"] == name]
        assert [r["frame"] for r in mine] == list(range(0, 30, 2))
        assert [r["label"] for r in mine][2:5] == ["red"] * 3
        assert "unknown" in {r["label"] for r in mine[:1]}  # one vote of two
    for number in (1, 2):
        capture = cv2.VideoCapture(str(tmp_path / f"annotated-{number}.avi"))
        assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 15


def test_run_on_a_folder_names_what_it_skips(colour_bundle: Path, colour_folder: Path):
    (colour_folder / "broken.jpg").write_text("x")
    done = edgeproof("run", colour_bundle, "--source", colour_folder)
    assert done.returncode == 0
    assert "3 frames" in done.stdout
    assert "skipped" in done.stderr
    assert "broken.jpg" in done.stderr


def test_run_never_loads_what_trains(colour_bundle: Path, colour_folder: Path):
    code = (
        "import sys, edgeproof; sys.argv[1:] = sys.argv[1:]\n"
        "try: edgeproof.app()\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'matplotlib', 'onnxruntime', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    arguments = ["run", str(colour_bundle), "--source", str(colour_folder / "red.png")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "red.png" in done.stdout


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param("missing.mp4", ["missing.mp4", "no such file"], id="missing"),
        pytest.param("97", ["Camera 97"], id="camera"),
        pytest.param("rtsp://u:secret@127.0.0.1:1/s", ["rtsp://127.0.0.1:1", "port"], id="address"),
    ],
)
def test_a_source_that_does_not_open(colour_bundle: Path, tmp_path: Path, source, words):
    jsonl, video = tmp_path / "a.jsonl", tmp_path / "a.mp4"
    done = edgeproof("run", colour_bundle, "--source", source, "--jsonl", jsonl, "--video", video)
    assert_one_clear_line(done, *words)
    assert "secret" not in done.stderr
    assert not jsonl.exists()
    assert not video.exists()


def test_a_cut_off_video_keeps_the_answers_of_its_whole_frames(
    colour_bundle: Path, colour_video: Path, tmp_path: Path
):
    cut = tmp_path / "cut.avi"
    cut.write_bytes(colour_video.read_bytes()[:-9000])
    jsonl, video = tmp_path / "a.jsonl", tmp_path / "a.mp4"
    done = edgeproof("run", colour_bundle, "--source", cut, "--jsonl", jsonl, "--video", video)
    assert_one_clear_line(done, "cut.avi", "of 30 frames")
    count = len(jsonl.read_text().splitlines())
    assert 0 < count < 30
    capture = cv2.VideoCapture(str(video))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == count


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--variant", "tflite-int8"], ["no variant", "tflite-float32"], id="variant"),
        pytest.param(["--engine", "onnxruntime"], ["onnxruntime"], id="engine"),
        pytest.param(["--engine", "tensorrtx"], ["tensorrtx", "litert"], id="unknown-engine"),
        pytest.param(["--profile", "rasberry_pi_5"], ["raspberry_pi_5"], id="profile"),
        pytest.param(["--votes", "2/5"], ["more than half"], id="votes"),
        pytest.param(["--region", "0,0,999,9"], ["64 x 48"], id="region"),
        pytest.param(["--average", "2", "--votes", "2/3"], ["give one"], id="two-smoothers"),
        pytest.param(["--video", "x.txt"], ["x.txt", ".mp4"], id="video-name"),
        pytest.param(["--jsonl", "/dev/null/x.jsonl"], ["/dev/null/x.jsonl"], id="jsonl-path"),
        pytest.param(["--video", "/dev/null/x.mp4"], ["/dev/null/x.mp4"], id="video-path"),
    ],
)
def test_wrong_options_are_one_line(colour_bundle: Path, colour_video: Path, arguments, words):
    done = edgeproof("run", colour_bundle, "--source", colour_video, *arguments)
    assert_one_clear_line(done, *words)


def test_display_without_a_window_system_says_how_to_get_one(
    colour_bundle: Path, colour_video: Path
):
    done = edgeproof(
        "run", colour_bundle, "--source", colour_video, "--display", DISPLAY="", WAYLAND_DISPLAY=""
    )
    assert_one_clear_line(done, "--display needs")
    if not cv2.currentUIFramework():
        assert "pip uninstall opencv-python-headless" in done.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_an_interrupted_run_leaves_whole_files(colour_bundle: Path, tmp_path: Path, stop):
    clip = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (640, 480))
    image = cv2.resize(
        cv2.imread(str(next((colour_bundle / "golden/frames").iterdir()))), (640, 480)
    )
    for _ in range(3000):
        writer.write(image)
    writer.release()
    jsonl, video = tmp_path / "a.jsonl", tmp_path / "a.mp4"
    arguments = ["run", colour_bundle, "--source", clip, "--jsonl", jsonl, "--video", video]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeproof", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (jsonl.exists() and jsonl.stat().st_size > 2000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "frames in" in out
    answered = len([json.loads(line) for line in jsonl.read_text().splitlines()])
    assert 0 < answered < 3000
    assert int(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT)) >= answered - 1
    assert not list(tmp_path.glob(".*"))


def test_verify_says_that_it_answers_as_recorded(colour_bundle: Path):
    done = edgeproof("verify", colour_bundle)
    assert done.returncode == 0, done.stderr
    assert "answers as recorded" in done.stdout
    as_json = json.loads(edgeproof("verify", colour_bundle, "--json").stdout)
    assert as_json["passed"] is True


def test_verify_of_a_damaged_bundle(colour_bundle: Path):
    model = colour_bundle / "models" / "float32.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    assert_one_clear_line(edgeproof("verify", colour_bundle), "float32.tflite", "SHA-256")
    told = json.loads(edgeproof("verify", colour_bundle, "--json").stdout)
    assert told["passed"] is False and "SHA-256" in told["error"]
    assert_one_clear_line(edgeproof("verify", colour_bundle / "none"), "no such bundle")
    told = json.loads(edgeproof("verify", colour_bundle / "none", "--json").stdout)
    assert told["passed"] is False and "no such bundle" in told["error"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--video", "{clip}"], id="video-over-source"),
        pytest.param(["--jsonl", "{clip}"], id="jsonl-over-source"),
        pytest.param(["--jsonl", "{bundle}/bundle.json"], id="into-the-bundle"),
        pytest.param(["--jsonl", "{clip}.mp4", "--video", "{clip}.mp4"], id="both-the-same"),
    ],
)
def test_outputs_spare_what_is_read(colour_bundle: Path, colour_video: Path, arguments):
    before = colour_video.read_bytes(), (colour_bundle / "bundle.json").read_bytes()
    filled = [a.format(clip=colour_video, bundle=colour_bundle) for a in arguments]
    done = edgeproof("run", colour_bundle, "--source", colour_video, *filled)
    assert_one_clear_line(done, "choose another")
    assert (colour_video.read_bytes(), (colour_bundle / "bundle.json").read_bytes()) == before


def shell(line: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_reader_that_has_enough_is_no_failure(colour_bundle: Path, colour_folder: Path):
    command = f"{sys.executable} -m edgeproof"
    done = shell(f"{command} run {colour_bundle} --source {colour_folder} | head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert shell(f"{command} verify {colour_bundle} 2>/dev/null | true").returncode == 0


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("run {bundle} --source {folder} >&-", id="stdout-closed"),
        pytest.param("run {bundle} --source {folder} >/dev/full", id="stdout-full"),
        pytest.param("verify $(printf x%.0s {{1..300}})", id="name-too-long"),
        pytest.param("run {bundle} --source ''", id="empty-source"),
        pytest.param("run {bundle} --source {folder} --threads 100000", id="threads"),
    ],
)
def test_odd_surroundings_are_no_traceback(colour_bundle: Path, colour_folder: Path, line: str):
    filled = line.format(bundle=colour_bundle, folder=colour_folder)
    done = shell(f"{sys.executable} -m edgeproof {filled}")
    assert "Traceback" not in done.stderr
    assert 0 <= done.returncode < 126


def test_names_that_are_not_utf8(colour_bundle: Path, colour_folder: Path, tmp_path: Path):
    odd = os.fsencode(colour_folder) + b"/\xff.png"
    os.rename(os.fsencode(colour_folder / "red.png"), odd)  # noqa: PTH104  # bytes, no Path
    jsonl = tmp_path / "answers.jsonl"
    done = edgeproof("run", colour_bundle, "--source", colour_folder, "--jsonl", jsonl)
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line) for line in jsonl.read_text().splitlines()]) == 3
    clip = os.fsencode(tmp_path) + b"/\xff.mp4"
    Path(os.fsdecode(clip)).write_bytes(b"x")
    opened = edgeproof("run", colour_bundle, "--source", os.fsdecode(clip))
    assert_one_clear_line(opened, "not UTF-8")


def test_verify_interrupted_says_so(colour_bundle: Path):
    code = (
        "import edgeproof, edge_runtime.verification as v\n"
        "def interrupted(*_, **__): raise KeyboardInterrupt\n"
        "v.verify = interrupted\nedgeproof.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", str(colour_bundle)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr.strip().splitlines()[-1] == "edgeproof: interrupted"
