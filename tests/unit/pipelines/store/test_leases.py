"""Leases: one live holder, a dead one is taken over, and no clock is compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from pipelines.store.files import Store
from pipelines.store.leases import Leases, holder_is_dead, is_live, process_started, read_lease

pytestmark = pytest.mark.unit


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_a_held_lease_is_refused_and_a_released_one_given(store):
    with Leases(store, "a") as first, Leases(store, "b") as second:
        assert first.acquire("x") is None
        assert second.acquire("x")["run"] == "a"
        first.release("x")
        assert second.acquire("x") is None
    assert read_lease(store, "x") is None


def test_the_lease_of_a_killed_process_is_taken_over_at_once(store):
    code = (
        "import sys, time; from pipelines.store.leases import Leases; from pipelines.store.files import Store\n"
        f"l = Leases(Store({str(store.root)!r}), 'dead'); l.acquire('x'); print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with Leases(store, "b") as second:
        assert second.acquire("x")["run"] == "dead"
        assert is_live(store, "x")
        child.kill()
        child.wait()
        assert not is_live(store, "x")
        assert second.acquire("x") is None


def test_a_holder_elsewhere_lives_while_its_beat_counts_whatever_its_clock_says(store):
    def elsewhere(beat, clock):
        value = {"owner": "o", "host": "elsewhere", "pid": 1, "process": "p", "run": "r", "beat": beat, "time": clock}
        store.write_bytes("leases/x.json", json.dumps(value).encode())

    with Leases(store, "b", ttl=0.3) as mine:
        for beat in range(4):
            elsewhere(beat, time.time() - 3600)  # an hour behind, and alive
            assert mine.acquire("x") is not None
            time.sleep(0.2)
        elsewhere(9, time.time() + 3600)  # an hour ahead, and silent from now on
        assert mine.acquire("x") is not None
        time.sleep(0.5)
        assert mine.acquire("x") is None


@pytest.mark.parametrize("error", [-3600, 3600])
def test_a_driver_elsewhere_whose_clock_is_an_hour_wrong_is_seen_to_live_and_a_dead_one_not(store, error):
    def beat(count):
        value = {"owner": "o", "host": "elsewhere", "pid": 1, "process": "p", "run": "r", "beat": count}
        store.write_json("leases/x.json", {**value, "time": time.time() + error})

    beat(1)
    assert not is_live(store, "x", watch=0.2)
    timer = threading.Timer(0.3, beat, [2])
    timer.start()
    assert is_live(store, "x", watch=30.0)
    timer.join()


def test_a_driver_that_was_silent_for_days_is_not_waited_for(store):
    value = {"owner": "o", "host": "elsewhere", "pid": 1, "process": "p", "run": "r", "beat": 1, "time": 1.0}
    store.write_json("leases/x.json", value)
    started = time.monotonic()
    assert not is_live(store, "x", watch=30.0)
    assert time.monotonic() - started < 15


def test_a_lease_that_a_lost_answer_hid_from_its_own_holder_is_taken_for_ours(store):
    with Leases(store, "a") as mine:
        store.write_bytes("leases/x.json", mine._content())
        assert mine.acquire("x") is None


def test_a_held_lease_beats(store):
    with Leases(store, "a", beat=0.05) as mine:
        mine.acquire("x")
        first = read_lease(store, "x")["beat"]
        time.sleep(0.3)
        assert read_lease(store, "x")["beat"] > first


def test_a_reused_process_number_is_not_taken_for_the_holder():
    assert process_started(os.getpid()) is not None
    import socket

    assert holder_is_dead({"host": socket.gethostname(), "pid": os.getpid(), "process": "another-start"})
