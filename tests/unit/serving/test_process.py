"""What a serving process does to itself, seen in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SETTLED = """
import gc, json, os, sys, threading
import numpy as np
from threadpoolctl import threadpool_info
from rectory.serving.process import keep_from_collector, settle, small_products, step_back

np.ones((9, 9)) @ np.ones((9, 9))
threads = lambda: {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
before = threads()
with small_products():
    within = threads()
after = threads()
settle()
told = {"before": list(before), "within": list(within), "after": list(after), "settled": list(threads())}
told["turn"] = sys.getswitchinterval()
lower = []
mine = lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
worker = threading.Thread(target=lambda: (step_back(), lower.append(mine())))
worker.start(); worker.join()
told["worker"], told["main"] = lower, mine()
keep_from_collector()
told["frozen"] = gc.get_freeze_count()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict:
    done = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def test_products_take_one_core_for_a_while_or_for_good(told):
    assert told["within"] == told["settled"] == [1]
    assert told["after"] == told["before"]


def test_turns_are_short_and_what_is_there_is_left_alone(told):
    assert told["turn"] < 0.001
    assert told["frozen"] > 10_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for a thread")
def test_the_loading_thread_alone_steps_back(told):
    assert told["worker"] == [told["main"] + 10]
