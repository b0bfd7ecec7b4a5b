"""A stand-in for `edgeproof run`: a service that says how it does, as its file `mode` has it."""

import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path

status, mode = Path(sys.argv[1]), (Path(__file__).parent / "mode").read_text().strip()
if mode == "dies":
    sys.exit("the camera is on fire")
notify = os.environ.get("NOTIFY_SOCKET")
if notify:
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", notify)
frames = 0
while True:
    if mode != "still" or frames < 3:
        frames += 1
    if mode == "fills" and frames == 3:
        log = os.open("log", os.O_RDWR | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(log, bytes(4096))
    if mode == "dies later" and frames > 8:
        sys.exit("the camera fell down")
    answered = 0 if mode == "blind" else frames
    told = {
        "pid": os.getpid(),
        "at": time.time(),
        "frames": frames,
        "answered": answered,
        "conditions": {"black": frames} if mode == "blind" else {},
        "live": True,
        "fps": 20.0,
        "age_ms": 60000.0 if mode == "old" else 3.0,
        "answers": [{"label": "cat", "score": 0.9}],
    }
    part = status.with_name(".status.part")
    with contextlib.suppress(OSError):  # a full disk
        part.write_text(json.dumps(told))
        part.replace(status)
    time.sleep(0.05)
