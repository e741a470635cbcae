"""Code in an interpreter that has imported torch and nothing else of ours: each call is a fork of one that waits."""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
import textwrap
from pathlib import Path

_SERVER = """
import contextlib, io, json, os, sys, traceback
import torch
for line in sys.stdin:
    reading, writing = os.pipe()
    if not os.fork():
        os.close(reading)
        out, error = io.StringIO(), ""
        try:
            with contextlib.redirect_stdout(out):
                exec(json.loads(line), {"__name__": "__main__"})
        except BaseException:
            error = traceback.format_exc()
        with open(writing, "w") as answer:
            json.dump([out.getvalue(), error], answer)
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        print(answer.read(), flush=True)
    os.wait()
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    )
    atexit.register(server.kill)
    return server


def run_fresh(code: str) -> str:
    """What the code prints; fails with its traceback where it raises."""
    __tracebackhide__ = True
    server = _server()
    assert server.stdin
    assert server.stdout
    print(json.dumps(textwrap.dedent(code)), file=server.stdin, flush=True)
    out, error = json.loads(server.stdout.readline())
    assert not error, error
    return str(out).strip()
