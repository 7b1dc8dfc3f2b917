"""A process is killed without a launcher that ends the others: they end by themselves, with one sentence."""

from __future__ import annotations

import argparse
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed

from biomeformer.training.command import run_main
from processes import Job

TIMEOUT = 8.0
KILLED = (0, 1)
WAITING = ("barrier", "collective", "training")


def recipe_until_one_is_killed(killed: int, waiting: str) -> int:
    """Run as a recipe does; the others wait for the killed process."""

    def work(args, processes):
        if waiting == "training":
            torch.distributed.init_process_group(
                "gloo",
                store=torch.distributed.PrefixStore("training", processes._store),
                rank=processes.rank,
                world_size=processes.size,
            )
            torch.distributed.all_reduce(torch.zeros(3))
        if processes.rank == killed:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        if waiting == "training":
            # As a backward pass does, without the process group's own wrapper around errors.
            torch.distributed.all_reduce(torch.ones(1_000_000))
        elif waiting == "barrier":
            processes.barrier()
        else:
            processes.all_reduce(torch.zeros(3).numpy())

    return run_main(work, argparse.Namespace(), "the same command resumes", timeout=TIMEOUT)


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> dict[tuple[int, str], tuple[Job, list[int | None], float]]:
    """Each job with its exit codes and how long the survivor took; all at once, since they spend their time waiting."""
    jobs = {
        (killed, waiting): Job(tmp_path_factory.mktemp("job"), 2, recipe_until_one_is_killed, killed, waiting)
        for killed in KILLED
        for waiting in WAITING
    }

    def wait(killed: int, job: Job) -> tuple[Job, list[int | None], float]:
        job.processes[killed].join(120)
        began = time.monotonic()
        codes = job.wait(TIMEOUT + 20)
        return job, codes, time.monotonic() - began

    with ThreadPoolExecutor(len(jobs)) as threads:
        waits = {key: threads.submit(wait, key[0], job) for key, job in jobs.items()}
    return {key: future.result() for key, future in waits.items()}


@pytest.mark.parametrize("killed", KILLED, ids=["the main process", "another process"])
@pytest.mark.parametrize("waiting", WAITING)
def test_survivors_end_with_one_sentence_within_the_time_limit(ended, killed, waiting):
    job, codes, seconds = ended[killed, waiting]
    survivor = 1 - killed
    assert codes[killed] == -signal.SIGKILL and codes[survivor] == 1, job.text()
    lines = job.outputs[survivor].read_text().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and "start the job again, it resumes" in errors[0], lines
    assert not any("Traceback" in line for line in lines), lines
    assert seconds < TIMEOUT + 10
