"""`biomeformer join`: tables of several runs, as an array of jobs makes them, are the table of one run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biomeformer import AbundanceTable
from factories import write_cohort
from processes import ROOT

SLURM = ROOT / "packaging" / "slurm"


def job(script, *arguments, **environment):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", SLURM / script, *map(str, arguments)],
        env=os.environ | {"PATH": path, "CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Two jobs of an array over a cohort of two samples, and a third without a sample."""
    folder = tmp_path_factory.mktemp("array")
    cohort = write_cohort(folder, n_samples=2)
    for task in range(3):
        numbers = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_CPUS_PER_TASK": "1"}
        done = job("embed_array.sbatch", cohort, "metagenbert-mini", folder / "results", "--no-report", **numbers)
        assert done.returncode == 0, done.stderr
    assert "task 2 has no sample" in done.stdout
    return folder, cohort


def test_an_array_of_jobs_makes_the_table_of_one_run(tasks, tmp_path, run):
    folder, cohort = tasks
    parts = sorted((folder / "results").iterdir())
    assert [path.name for path in parts] == ["task-0", "task-1"]
    assert run(["join", *parts, "--output", tmp_path / "all"]).exit_code == 0
    joined = AbundanceTable.read(tmp_path / "all")
    embed = ["embed", cohort, "--model", "metagenbert-mini", "--output", tmp_path / "one", "--no-report"]
    assert run(embed).exit_code == 0
    one = AbundanceTable.read(tmp_path / "one")
    assert joined.sample_ids == one.sample_ids
    np.testing.assert_array_equal(joined.counts, one.counts)
    pd.testing.assert_frame_equal(joined.metadata, one.metadata)
    pd.testing.assert_frame_equal(joined.read_stats, one.read_stats)


def test_a_sample_in_two_tables_is_refused(tasks, tmp_path, run):
    part = tasks[0] / "results" / "task-0"
    result = run(["join", part, part, "--output", tmp_path / "all"])
    assert result.exit_code == 2 and "is in" in result.stderr and "and again in" in result.stderr
    assert not (tmp_path / "all").exists()


def test_an_unfinished_run_is_refused(tasks, tmp_path, run):
    part = Path(shutil.copytree(tasks[0] / "results" / "task-0", tmp_path / "part"))
    (part / "abundance.parquet").unlink()
    result = run(["join", part, tasks[0] / "results" / "task-1", "--output", tmp_path / "all"])
    reason = f"{part} holds a run with 1 of 1 samples done and no abundance.parquet yet; give its command"
    assert result.exit_code == 2 and reason in result.stderr


def test_the_job_of_several_nodes_runs_on_one_machine(tasks, tmp_path):
    arguments = [tasks[1], "metagenbert-mini", tmp_path / "results", "--no-report"]
    done = job("embed_nodes.sbatch", *arguments, SLURM_GPUS_ON_NODE="2")
    assert done.returncode == 0, done.stderr
    assert len(AbundanceTable.read(tmp_path / "results").sample_ids) == 2
