"""A Python of a board that has been taken over: to one step it answers what it likes.

Takes the place of the board's `python3`; LIE_AT names the step, LIE the file with the answer.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

if "stdin" not in "".join(sys.argv[3:4]):  # no step
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
stdin = sys.stdin.buffer
size = stdin.readline()
code = stdin.read(int(size))
# The loader says how much comes with it.
more = stdin.read(sum(map(int, re.findall(rb"b\.read\((\d+)\)", code))))
line = stdin.readline()
if json.loads(line)["step"] == os.environ["LIE_AT"]:
    sys.stdout.write(Path(os.environ["LIE"]).read_text())
else:
    true = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE)
    assert true.stdin
    true.stdin.write(size + code + more + line)
    shutil.copyfileobj(stdin, true.stdin)
    true.stdin.close()
    sys.exit(true.wait())
