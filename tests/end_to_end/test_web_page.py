"""The page of `edgeproof run --web`, in a real browser, as a person uses it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("starlette")

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here; apt-get install chromium"),
]
TOKEN = "a-token-that-is-long-enough"
# What needs most room on a page, drawn by its own functions.
WIDEST = """
document.querySelector("details").open = true;
drawRows([{at: 1e9, text: "american_staffordshire_terrier, bull_terrier", kind: "answer",
    score: 1, seconds: 86340, frames: 99999}]);
drawClasses({labels: ["american_staffordshire_terrier", "b", "c", "d", "e", "f"].map(
    (label) => ({label, points: [0, 1, 1]}))});
drawFacts({sinks: [{name: "keep-hard", dropped: 12345, failed: 1}],
    memory_available_bytes: 8e9})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: "playwright.Browser") -> Iterator["playwright.Page"]:
    """A page that fails the test for every complaint of the browser, and whatever it fetches."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    made = context.new_page()
    made.set_default_timeout(20_000)
    complaints: list[str] = []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("console", lambda message: complaints.append(message.text))
    yield made
    context.close()
    # A run that ends, and a token that is missing or wrong, are the tests' own doing.
    expected = ("ERR_CONNECTION", "ERR_INCOMPLETE", "status of 401", "status of 403")
    assert not [text for text in complaints if not any(word in text for word in expected)]


class Run:
    def __init__(self, process: "subprocess.Popen[str]", jsonl: Path) -> None:
        self.process, self.jsonl = process, jsonl
        self.url = ""
        self.started: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            self.started.append(line)
            if line.startswith("web: "):
                self.url = line.split()[1]
                return
        raise AssertionError(f"no page: {self.started}")

    def frames(self) -> int:
        return self.jsonl.read_bytes().count(b"\n")


@pytest.fixture
def start(colour_bundle: Path, colour_video: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start a run with a page, on a camera that shows ten frames each of red, green and blue."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, faults: str = "", **environment: str) -> Run:
        script, jsonl = tmp_path / "camera.toml", tmp_path / "answers.jsonl"
        script.write_text(f'video = "{colour_video.name}"\nframes = 36000\n{faults}')
        command = [sys.executable, "-m", "edgeproof", "run", str(colour_bundle)]
        command += ["--source", f"replay:{script}", "--jsonl", str(jsonl), "--web", "--port", "0"]
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        processes.append(process)
        return Run(process, jsonl)

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def until(page: "playwright.Page", expression: str) -> None:
    """Wait until that holds; playwright's own waiting is forbidden by the page's policy."""
    limit = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < limit, expression
        page.wait_for_timeout(30)


def text(page: "playwright.Page", selector: str) -> str:
    return page.locator(selector).inner_text().strip()


def test_a_person_watches_pauses_and_saves(
    start: Callable[..., Run], page: "playwright.Page", tmp_path: Path
):
    run = start()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(run.url)
    until(page, "document.querySelector('#view').naturalWidth === 64")
    assert text(page, "h1") == "colours"
    assert "tflite-float32 on litert" in text(page, "#runs")
    for colour in ("red", "green", "blue"):
        until(page, f"document.querySelector('#said').textContent === '{colour}'")
    assert page.locator("#classes .name").all_inner_texts() == ["red", "green", "blue"]
    until(page, "document.querySelector('.class path').getAttribute('d').length > 20")
    until(page, "document.querySelectorAll('#rows tr').length > 2")
    assert float(text(page, "#fps")) > 3
    assert text(page, "#age").endswith("ms")
    # By keyboard alone: to the first button, and press it.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pause"
    page.keyboard.press("Enter")
    page.wait_for_selector("#flag:not([hidden])")
    assert text(page, "#flag").startswith("View paused at")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    held, before = (page.get_attribute("#view", "src"), text(page, "#said")), run.frames()
    page.wait_for_timeout(1500)  # a second and a half: it would be another colour
    assert (page.get_attribute("#view", "src"), text(page, "#said")) == held
    assert run.frames() > before  # the run goes on
    with page.expect_download() as download:
        page.keyboard.press("s")
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.name.startswith("colours-") and saved.suffix == ".jpg"
    colour = cv2.imread(str(saved))[:24].mean(axis=(0, 1))[::-1]
    assert ("red", "green", "blue")[int(np.argmax(colour))] == held[1]  # what was on the page
    page.keyboard.press("p")
    until(page, f"document.querySelector('#said').textContent !== '{held[1]}'")
    assert page.get_attribute("#pause", "aria-pressed") == "false"
    assert all(url.startswith((run.url, f"blob:{run.url}")) for url in asked), asked
    asked_to_stop = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    run.process.wait(timeout=20)
    print(f"ended after {time.monotonic() - asked_to_stop:.2f} s with a viewer")
    assert run.process.returncode == 130
    page.wait_for_selector("#notice:not([hidden])")
    assert text(page, "#notice").startswith("No connection")
    # Nothing stands there as if it were of now, also after a key was pressed.
    for _ in range(2):
        assert text(page, "#said") == "No connection"
        assert text(page, "#score").startswith("Before that: ")
        assert text(page, "#fps") == text(page, "#age") == text(page, "#infer") == "\u2013"
        assert page.locator(".class.now").count() == 0
        page.evaluate("choose(0)")


def test_frames_that_are_no_news_are_shown_as_such(
    start: Callable[..., Run], page: "playwright.Page"
):
    run = start(faults='[[fault]]\nkind = "black"\nat = 5\nframes = 30000\n')
    page.goto(run.url)
    until(page, "document.querySelector('#flag').textContent === 'The picture is black'")
    assert text(page, "#said") == "The picture is black"
    assert text(page, "#score").startswith("Not answered")
    until(page, "document.querySelector('#rows td.nonews')?.textContent === 'The picture is black'")


def test_a_lost_camera_is_no_answer(start: Callable[..., Run], page: "playwright.Page"):
    run = start(faults='[[fault]]\nkind = "stall"\nat = 15\nseconds = 600\n')
    page.goto(run.url)
    until(page, "document.querySelector('#flag').textContent.startsWith('No picture')")
    assert text(page, "#fps") == "0"
    assert text(page, "#said") == "No picture"
    assert text(page, "#score").startswith("Before that: ")
    # Who comes now sees what there was.
    page.reload()
    until(page, "document.querySelector('#view').naturalWidth === 64")


def test_it_fits_every_screen_in_light_and_dark(
    start: Callable[..., Run], browser: "playwright.Browser"
):
    run = start("--min-score", "1")
    grounds: dict[str, int] = {}
    for width, scheme in ((320, "light"), (768, "dark"), (1600, "light")):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.goto(run.url)
        until(page, "document.querySelector('#view').naturalWidth === 64")
        assert page.evaluate(f"{WIDEST}; document.documentElement.scrollWidth") <= width
        until(page, "document.querySelector('#answer').className === 'answer unsure'")
        assert text(page, "#said") == "unknown"
        assert "too little to rely on" in text(page, "#score")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds[scheme] = sum(json.loads(ground.replace("rgb(", "[").replace(")", "]")))
        context.close()
    assert grounds["light"] > 600 > 150 > grounds["dark"]


def test_the_token_is_asked_for_once(start: Callable[..., Run], page: "playwright.Page"):
    run = start(EDGEPROOF_WEB_TOKEN=TOKEN)
    assert TOKEN not in "".join(run.started)
    page.goto(run.url)
    page.fill("#token", "wrong")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert text(page, ".wrong") == "That was not it."
    page.fill("#token", TOKEN)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    until(page, "document.querySelector('#view').naturalWidth === 64")
    assert TOKEN not in page.url
    page.reload()
    until(page, "document.querySelector('#view').naturalWidth === 64")
