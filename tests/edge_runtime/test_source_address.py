"""Addresses hold passwords: none is ever shown, wherever in the address it stands."""

from __future__ import annotations

import contextlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import SourceError
from edge_runtime.sources import SourceOptions, open_source
from edge_runtime.sources.address import host_of, shown, shown_path
from edge_runtime.sources.stream import NetworkCamera

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://10.0.0.7/cam", "rtsp://10.0.0.7"),
        ("rtsp://10.0.0.7:554/cam", "rtsp://10.0.0.7"),
        ("rtsp://10.0.0.7:8554/cam", "rtsp://10.0.0.7:8554"),
        ("RTSP://me:hunter2@door.local/cam", "rtsp://door.local"),
        ("rtsp://hunter2@door.local", "rtsp://door.local"),
        ("http://door/video?password=hunter2&x=1", "http://door"),
        ("http://door?hunter2", "http://door"),
        ("http://door/video#hunter2", "http://door"),
        ("rtsp://door/user=me_password=hunter2_channel=1.sdp", "rtsp://door"),
        ("rtsps://door:7441/hunter2", "rtsps://door:7441"),
        ("rtsp://me:hunter2@[fe80::1]:554/cam", "rtsp://[fe80::1]"),
        ("  rtsp://me:hunter2@door/cam ", "rtsp://door"),
        # Unescaped: where the host begins cannot be told.
        ("rtsp://me:hunter2/x@door/cam", "rtsp://..."),
        ("rtsp://me:hunter2#x@door/cam", "rtsp://..."),
        ("rtsp://me:hunter2?x@door/cam", "rtsp://..."),
        ("rtsp://me:hunter2", "rtsp://..."),
        ("rtsp://me:hunter2@", "rtsp://..."),
        ("rtsp://me@x:hunter2@door/cam", "rtsp://door"),
        ("rtsp://me:hunter2@door:99999/", "rtsp://..."),
        ("rtsp://me:hunter2\\@door/", "rtsp://..."),
    ],
)
def test_only_scheme_host_and_port_are_shown(url: str, expected: str):
    assert shown(url) == expected
    assert NetworkCamera(url, SourceOptions()).name == expected


def test_host_and_port():
    assert host_of("rtsp://me:pw@door/cam") == ("door", 554)
    assert host_of("https://door:8443/cam") == ("door", 8443)
    assert host_of("door/cam") is None


secrets = st.text(string.ascii_letters + string.digits + "!$&'()*+,;=:@/?#%[]\\ -._~", min_size=1)


@given(before=secrets, after=secrets, place=st.sampled_from(["user", "alone", "query", "path"]))
@settings(max_examples=300, deadline=None)
def test_no_address_shows_what_is_secret_in_it(before: str, after: str, place: str):
    secret = f"{before}{SECRET}{after}"
    url = {
        "user": f"rtsp://me:{secret}@10.0.0.7/cam",
        "alone": f"rtsp://{secret}@10.0.0.7/cam",
        "query": f"http://10.0.0.7/cam?token={secret}",
        "path": f"rtsp://10.0.0.7/{secret}/cam",
    }[place]
    assert SECRET not in shown(url)


@given(user=secrets, scheme=st.sampled_from(["ftp://", "file://", "rtsp:/", "rtsp:", "rtmp://"]))
@settings(max_examples=100, deadline=None)
def test_no_error_shows_it_either(user: str, scheme: str):
    with contextlib.suppress(SourceError):
        open_source(f"{scheme}{user}:{SECRET}@10.0.0.7/cam")
        pytest.fail("opened")
    with pytest.raises(SourceError) as error:
        open_source(f"{scheme}{user}:{SECRET}@10.0.0.7/cam")
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        f"rtsp://me:{SECRET}@127.0.0.1:1/cam",
        f"rtsp://127.0.0.1:1/cam?password={SECRET}",
        f"http://{SECRET}@127.0.0.1:1/",
        f"https://me:{SECRET}@no-such-host.invalid/",
        f"rtsp://me:{SECRET}#@127.0.0.1:1/cam",
    ],
)
def test_an_address_that_does_not_open(url: str, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(SourceError) as error:
        open_source(url, SourceOptions(timeout_s=1))
    assert "does not open" in str(error.value)
    out, err = capfd.readouterr()
    # Nor in the chain of exceptions, nor from FFmpeg.
    assert SECRET not in f"{error.value!r} {error.value.__cause__!r} {out} {err}"


def test_file_names_are_shown_as_they_are():
    assert shown_path("photo@2x.png") == "photo@2x.png"
    assert SECRET not in shown_path(f"door/cam?password={SECRET}")
    assert SECRET not in shown_path(f"me:{SECRET}@door/cam")
