#!/usr/bin/python3
"""An RTSP camera on loopback, from GStreamer's own RTSP server; run with the system's Python.

    rtsp_server.py PORT [--fps 30] [--user NAME:PASSWORD]

It serves rtsp://127.0.0.1:PORT/cam as H.264, 480x240. The uppermost sixth of its pictures is a row
of 32 black and white cells: milliseconds of the machine's monotonic clock when the picture was
made, lowest bit first. So a test reads off a picture how old it really is.
"""

import argparse
import random
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

WIDTH, HEIGHT, CELLS = 480, 240, 32
PIPELINE = (
    "appsrc name=pictures is-live=true do-timestamp=true format=time block=false "
    "max-bytes=2000000 leaky-type=downstream "
    f"caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={{fps}}/1 "
    "! queue max-size-buffers=2 leaky=downstream "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=1500 "
    "! rtph264pay name=pay0 pt=96 config-interval=1"
)


def picture(number: int) -> bytes:
    """One I420 picture: the clock, and below it moving stripes with noise."""
    now_ms = int(time.monotonic() * 1000) & 0xFFFFFFFF
    cell = WIDTH // CELLS
    row = b"".join((b"\xeb" if now_ms >> bit & 1 else b"\x10") * cell for bit in range(CELLS))
    clock_rows = HEIGHT // 6
    stripes = bytes(40 + (x + number * 3) % 160 + random.randrange(8) for x in range(WIDTH))
    chroma = b"\x80" * (WIDTH * HEIGHT // 2)
    return row * clock_rows + stripes * (HEIGHT - clock_rows) + chroma


class Camera(GstRtspServer.RTSPMediaFactory):
    """Fed by a timer, whoever is watching."""

    def __init__(self, fps: int) -> None:
        super().__init__()
        self._fps, self._number, self._pictures = fps, 0, None
        GLib.timeout_add(1000 // fps, self._tick)

    def do_create_element(self, url):
        return Gst.parse_launch(PIPELINE.format(fps=self._fps))

    def do_configure(self, media):
        self._pictures = media.get_element().get_child_by_name("pictures")

    def _tick(self) -> bool:
        self._number += 1
        if self._pictures is not None:
            self._pictures.emit("push-buffer", Gst.Buffer.new_wrapped(picture(self._number)))
        return True


def require_login(server, factory, user: str, password: str) -> None:
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--user", default="")
    options = parser.parse_args()
    Gst.init(None)
    server, factory = GstRtspServer.RTSPServer(), Camera(options.fps)
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory.set_shared(True)
    factory.set_latency(0)
    if options.user:
        require_login(server, factory, *options.user.split(":", 1))
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("serving", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
