"""What a flow run prints does not end it when the worker that read it is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import until

PRINTS_ON = """
import sys, time
from flows.outliving import outlive_reader
if "guarded" in sys.argv:
    outlive_reader()
print("begun", flush=True)
sys.stdin.readline()  # The reader is gone now.
for _ in range(1000):
    print("a line", flush=True)
    time.sleep(0.001)
print("went on", file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("how", "code"), [("guarded", 0), ("bare", 1)])
def test_a_process_whose_reader_is_gone_goes_on(how: str, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTS_ON, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "begun\n"
    process.stdout.close()
    if how == "guarded":  # Seen by the process, not guessed at: its output is no pipe any more.
        until(lambda: "null" in str(Path(f"/proc/{process.pid}/fd/1").readlink()))
    process.stdin.write("\n")
    process.stdin.flush()
    told = process.stderr.read()
    assert process.wait(30) == code, told
    assert ("went on" in told) == (how == "guarded")
