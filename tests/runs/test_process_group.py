"""Processes that meet, add up, and notice when one of them is gone."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from biomeformer.errors import InputError, RankError, RankStopped, RunInterrupted
from biomeformer.runs.process_group import ProcessGroup
from processes import Job


def test_one_process_alone():
    with ProcessGroup.from_environment() as processes:
        assert processes.is_main and processes.all_gather({"a": 1}) == [{"a": 1}] and processes.reports() == [{}]
        values = np.arange(3.0)
        assert processes.all_reduce(values) is values and processes.broadcast_array(values) is values
        assert processes.device("cuda:3") == "cuda:3"


def test_each_process_takes_a_gpu_of_its_own():
    processes = ProcessGroup(rank=5, size=8, local_rank=1)
    assert processes.device("cuda") == "cuda:1" and processes.device("cpu") == "cpu"
    with pytest.raises(InputError, match="'cuda:0' names one GPU for 8 processes"):
        processes.device("cuda:0")


def meet_and_add(out: Path) -> int:
    with ProcessGroup.from_environment(60) as processes:
        assert processes.all_gather(processes.rank * 10) == [0, 10, 20]
        for i in range(3):
            assert processes.all_gather([processes.rank, i]) == [[0, i], [1, i], [2, i]]
        if processes.rank != 1:
            assert processes.all_gather("x" * processes.rank, among=(0, 2), name="some") == ["", "xx"]
        counts = np.array([2**60, processes.rank], np.int64)
        assert processes.all_reduce(counts).tolist() == [3 * 2**60, 3] and counts[1] == processes.rank
        assert processes.broadcast_array(np.full(4, processes.rank, np.float32)).tolist() == [0] * 4
        processes.report = {"n_done": processes.rank}
        time.sleep(3)
        if processes.is_main:
            assert processes.reports() == [{"n_done": 0}, *({"n": 2, "n_done": rank} for rank in (1, 2))]
    (out / f"{processes.rank}").touch()
    return 0


def test_meeting_and_adding(tmp_path):
    job = Job(tmp_path, 3, meet_and_add, tmp_path)
    assert job.wait(60) == [0, 0, 0], job.text()
    assert {"0", "1", "2"} <= set(os.listdir(tmp_path))


def add_until_one_is_gone(how: str, timeout: float) -> int:
    """Rank 1 leaves while the others are in a sum that needs it."""
    began = time.monotonic()
    try:
        with ProcessGroup.from_environment(timeout) as processes:
            processes.all_reduce(np.zeros(3))
            if processes.rank == 1:
                time.sleep(0.5)
                if how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                if how == "hangs":
                    time.sleep(30)
                    return 0
                raise RuntimeError("the GPU fell off the bus")
            processes.all_reduce(np.ones(1_000_000))
    except RankStopped as error:
        print("stopped:", error, f"after {time.monotonic() - began:.0f} s")
        return 11
    except RankError as error:
        print("lost:", error, f"after {time.monotonic() - began:.0f} s")
        return 12
    return 0


@pytest.mark.parametrize(
    ("how", "codes"),
    [("killed", [12, -signal.SIGKILL, 12]), ("raises", [11, 1, 11]), ("hangs", [12, None, 12])],
)
def test_a_process_that_leaves_inside_a_collective(tmp_path, how, codes):
    began = time.monotonic()
    job = Job(tmp_path, 3, add_until_one_is_gone, how, 8.0)
    for rank in (0, 2):
        job.processes[rank].join(max(began + 18 - time.monotonic(), 0))
    # The one that hangs is not waited for.
    assert job.wait(0 if how == "hangs" else max(began + 18 - time.monotonic(), 0)) == codes, job.text()
    others = [job.outputs[0].read_text(), job.outputs[2].read_text()]
    if how == "raises":
        assert all("process 1 of 3 stopped: the GPU fell off the bus" in text for text in others), others
        assert "RuntimeError: the GPU fell off the bus" in job.outputs[1].read_text()
    else:
        assert all("lost another process" in text and "start the job again" in text for text in others), others
    assert how == "hangs" or time.monotonic() - began < 16


def wait_for_a_busy_one() -> int:
    """Rank 1 works for longer than the time limit, and is waited for, because it lives."""
    with ProcessGroup.from_environment(3) as processes:
        if processes.rank == 1:
            time.sleep(7)
        assert processes.all_gather(processes.rank) == [0, 1]
    return 0


def test_who_lives_is_waited_for(tmp_path):
    job = Job(tmp_path, 2, wait_for_a_busy_one)
    assert job.wait(60) == [0, 0], job.text()


def interrupted_while_waiting() -> int:
    with ProcessGroup.from_environment(60) as processes:
        if processes.rank == 1:
            time.sleep(60)
        deadline = time.monotonic() + 1

        def check() -> None:
            if time.monotonic() > deadline:
                raise RunInterrupted("interrupted", signal.SIGTERM)

        processes.check = check
        try:
            processes.all_gather(0)
        except RunInterrupted:
            sys.exit(143)
    return 0


def test_waiting_can_be_interrupted(tmp_path):
    job = Job(tmp_path, 2, interrupted_while_waiting)
    job.processes[0].join(30)
    assert job.processes[0].exitcode == 143, job.text()
    job.kill()


def test_nobody_to_be_found(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    from accelerate import PartialState

    # A test before this one may have set it up for one process.
    PartialState._reset_state()
    try:
        with pytest.raises(RankError, match=r"do not find each other.*MASTER_ADDR"):
            ProcessGroup.from_environment(1)
    finally:
        PartialState._reset_state()
