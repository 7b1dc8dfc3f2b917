"""Which errors are the failure of one item, and which end the run."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch

from biomeformer.errors import DEBUG_ADVICE, InputError, RankError, RunError, RunInterrupted, SamplesFailedError
from biomeformer.runs.control import RunControl
from biomeformer.runs.failures import failure_reason
from biomeformer.runs.run_folder import RunFolder, run_status
from biomeformer.runs.scheduler import run_items
from factories import tiny_metagenbert, write_cohort
from processes import Job


class Plant:
    """An item of a run."""

    def __init__(self, folder, name):
        self.item_id, self.path = name, folder / name
        self.path.write_text(name)

    def files(self):
        return [self.path]


def grow(folder, errors, control=None):
    """Run over three items, of which those named raise."""
    run = RunFolder(folder / "run", {"soil": 1}, [Plant(folder, name) for name in ("ash", "elm", "oak")], "plants")

    def make_part(plant, among):
        (control or RunControl()).processes.check()
        if plant.item_id in errors:
            raise errors[plant.item_id]
        return {"leaves": np.arange(3)}, {"n_leaves": 3}

    return run_items(
        run, make_part, lambda parts, failed: list(parts), control=control or RunControl(), share_batches=False
    )


@pytest.mark.parametrize(
    "error",
    [
        KeyError("leaf"),
        RuntimeError("The size of tensor a (3) must match\nthe size of tensor b (4)."),
        AssertionError(),
        RecursionError("maximum recursion depth exceeded"),
        OSError(errno.EIO, "Input/output error", "elm"),
        UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_of_an_item_is_its_failure(tmp_path, error):
    outcome = grow(tmp_path, {"elm": error})
    assert outcome.result == ["ash", "oak"] and list(outcome.failed) == ["elm"]
    reason = outcome.failed["elm"]
    assert reason.startswith(type(error).__name__) and reason.endswith(f"; {DEBUG_ADVICE}") and "\n" not in reason
    assert run_status(tmp_path / "run").failed == outcome.failed
    with pytest.raises(SamplesFailedError, match=r"1 of 3 plants failed \(elm\)"):
        outcome.raise_for_failures()


@pytest.mark.parametrize(
    ("error", "stops_as", "message"),
    [
        (MemoryError("cannot allocate"), RunError, "plant elm: out of memory (MemoryError: cannot allocate)"),
        (torch.OutOfMemoryError("CUDA out of memory."), RunError, "give a lower --batch-tokens"),
        (RuntimeError("CUDA error: device-side assert triggered"), RunError, "the device failed"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "vectors"), RunError, "vectors cannot be written: No space"),
        (RunError("the folder is gone."), RunError, "the folder is gone"),
        (RankError("process 1 is gone."), RankError, "process 1 is gone"),
        (RunInterrupted("interrupted", 15), RunInterrupted, "interrupted"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_other_items_would_meet_too_ends_the_run(tmp_path, error, stops_as, message):
    with pytest.raises(stops_as) as raised:
        grow(tmp_path, {"elm": error})
    assert message in str(raised.value)
    status = run_status(tmp_path / "run")
    assert status.n_done == 1 and not status.failed


def test_what_check_raises_ends_the_run_whatever_its_type(tmp_path):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise LookupError("enough")

    control = RunControl(check=check)
    with pytest.raises(LookupError, match="enough"):
        grow(tmp_path, {}, control)
    assert not run_status(tmp_path / "run").failed and control.processes.check is check


def test_one_reason_of_all_items_that_is_not_about_them_is_said_once(tmp_path):
    outcome = grow(tmp_path, {name: TypeError("no encoder") for name in ("ash", "elm", "oak")})
    with pytest.raises(SamplesFailedError, match="all 3 plants failed for one reason that is not about their f"):
        outcome.raise_for_failures()
    # Reasons about their content are the items' own, even if they are all alike.
    outcome = grow(tmp_path, {name: InputError("empty") for name in ("ash", "elm", "oak")})
    with pytest.raises(SamplesFailedError, match="3 of 3 plants failed"):
        outcome.raise_for_failures()


def test_the_traceback_is_logged(tmp_path, caplog):
    caplog.set_level("DEBUG", "biomeformer")
    assert failure_reason(KeyError("leaf"), "plant elm") == f"KeyError: 'leaf'; {DEBUG_ADVICE}"
    assert caplog.records[0].exc_info[0] is KeyError and "plant elm failed" in caplog.text


def _embed_with_a_broken_encoder(cohort, output):
    """Embed a cohort whose only sample meets an error of the encoder on one of the processes."""
    from biomeformer.metagenomes.cohort import run_cohort
    from biomeformer.runs.process_group import ProcessGroup

    model = tiny_metagenbert()

    def broken(*arguments, **options):
        raise ValueError("the encoder broke")

    with ProcessGroup.from_environment(20) as processes:
        if processes.rank == 0:
            model.encoder.forward = model.encoder.embed_packed = broken
        outcome = run_cohort(model, cohort, output, processes=processes)
        print(outcome.failed)
    return len(outcome.failed)


def test_an_encoder_that_breaks_on_one_of_the_processes_that_share_a_sample(tmp_path):
    cohort = write_cohort(tmp_path, 1, 400)
    job = Job(tmp_path / "job", 2, _embed_with_a_broken_encoder, cohort, tmp_path / "run")
    assert job.wait(60) == [1, 1], job.text()
    assert "ValueError: the encoder broke" in run_status(tmp_path / "run").failed["s0"]
