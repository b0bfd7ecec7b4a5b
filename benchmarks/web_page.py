"""When a browser paints the page of `edgeproof run --web`, and what viewers cost the run.

    python benchmarks/web_page.py pets.bundle clip.mp4 [--runs 10]

The clip is played as a camera. Headless Chromium (on PATH) opens the page in a fresh context, in
turn with a page of one word from another server, which is what this machine's browser takes at
least; the time is the browser's own first-contentful-paint. Then the run's CPU time is read over
ten seconds each without a viewer, with one, and with four.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import http.server
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

PAINT = "performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
SECONDS = 10


@contextlib.contextmanager
def running(bundle: Path, clip: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """A run with a page: its process and port."""
    script = folder / "camera.toml"
    script.write_text(f'video = "{clip.resolve()}"\nframes = 1000000\n')
    command = [sys.executable, "-m", "edgeproof", "run", str(bundle), "--source"]
    command += [f"replay:{script}", "--web", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        line = next((line for line in process.stderr if line.startswith("web: ")), "")
        if not line:
            raise SystemExit("the run has no page")
        time.sleep(2)
        yield process.pid, int(line.rpartition(":")[2].partition("/")[0])
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def one_word(folder: Path) -> Iterator[int]:
    (folder / "index.html").write_text("<!doctype html><title>x</title><p>hello")
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def first_paint_ms(browser: Browser, port: int) -> float:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
    while not (painted := page.evaluate(PAINT)):
        page.wait_for_timeout(20)
    context.close()
    return float(painted[0])


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def view(port: int, path: str, stop: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    while not stop.is_set():
        answer.read1(1 << 16)
    connection.close()


def share_of_a_core(process: int, port: int, viewers: int) -> float:
    stop = threading.Event()
    threads = [
        threading.Thread(target=view, args=(port, path, stop))
        for path in ("/view/0", "/events") * viewers
    ]
    for thread in threads:
        thread.start()
    time.sleep(1)
    before, begun = cpu_s(process), time.perf_counter()
    time.sleep(SECONDS)
    share = (cpu_s(process) - before) / (time.perf_counter() - begun)
    stop.set()
    for thread in threads:
        thread.join()
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("the page is looked at with chromium, which is not on PATH")
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with (
            running(options.bundle, options.clip, folder) as (process, port),
            one_word(folder) as floor,
        ):
            paints: dict[str, list[float]] = {"one word": [], "the page": []}
            for number in range(options.runs + 1):
                pair = first_paint_ms(browser, floor), first_paint_ms(browser, port)
                if number:  # the first round only warms the browser
                    for what, paint in zip(paints, pair, strict=True):
                        paints[what].append(paint)
            browser.close()
            for what, each in paints.items():
                print(
                    f"first paint, {what}: {statistics.median(each):.0f} ms "
                    f"({min(each):.0f} to {max(each):.0f})"
                )
            for viewers in (0, 1, 4):
                share = share_of_a_core(process, port, viewers)
                print(f"the run with {viewers} viewers: {share:.2f} of a core")
    print(f"load while it ran: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
