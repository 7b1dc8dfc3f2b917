"""Embed a cohort's reads on one process or many, and write its abundance table.

What it does:

* shares the samples among the processes that `accelerate launch` starts, and the batches of a sample where samples are
  fewer; the table is the same for any number of them;
* keeps each finished sample in the run's folder at once: after an interruption, a crash or a full disk the same command
  resumes with the samples that are left;
* continues when a sample fails, and says at the end which ones did.

    accelerate launch --num_processes 4 recipes/embed_cohort.py --cohort cohort.csv --model MODEL --output RUN \
        --device cuda

On several machines every one needs the cohort's files and RUN under the same path. RUN gets `abundance.parquet`;
`biomeformer status RUN` shows where the run stands. `biomeformer embed` does the same and adds figure and report.

Exit codes: 0 done, 1 some samples or the run failed, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import transformers

import biomeformer
from biomeformer.metagenomes import run_cohort
from biomeformer.reads import read_cohort
from biomeformer.runs.control import CallbackObserver, RunControl
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.runs.progress import note, out
from biomeformer.runs.scheduler import RunOutcome
from biomeformer.training.command import run_main

transformers.utils.logging.disable_progress_bar()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--model", required=True, help="a shipped checkpoint, a folder, or a Hub id")
    parser.add_argument("--revision")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--read-fraction", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; each process takes a GPU of its own")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--overwrite", action="store_true", help="delete the run that the folder holds, and start over")
    parser.add_argument("--allow-shared-files", action="store_true", help="accept samples with a file in common")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first sample that fails")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--timeout", type=float, default=10.0, help="minutes without a heartbeat of another process")
    return parser


def run_recipe(
    args: argparse.Namespace, processes: ProcessGroup | None = None
) -> RunOutcome[biomeformer.AbundanceTable | None]:
    """Embed the cohort; return the table and which samples failed.

    Raises:
        BiomeformerError: Input is bad, the folder cannot be written to, another process failed, or a signal came.
    """
    processes = processes or ProcessGroup()

    def on_plan(n_before: int, n_mine: int) -> None:
        note(f"process {processes.rank}: {n_before} samples done before, {n_mine} to do")

    def on_finish(sample_id: str, reason: str | None) -> None:
        note(f"process {processes.rank}: {sample_id} {'done' if reason is None else 'failed'}")

    def on_remark(text: str) -> None:
        note(f"note: {text}")

    control = RunControl(
        overwrite=args.overwrite,
        fail_fast=args.fail_fast,
        processes=processes,
        observer=CallbackObserver(on_plan=on_plan, on_finish=on_finish, on_remark=on_remark),
    )
    device = processes.device(args.device)
    model = biomeformer.load(args.model, revision=args.revision, device=device, dtype=args.dtype)
    outcome = run_cohort(
        model,
        read_cohort(args.cohort, allow_shared_files=args.allow_shared_files),
        args.output,
        read_fraction=args.read_fraction,
        seed=args.seed,
        batch_tokens=args.batch_tokens,
        control=control,
    )
    if processes.is_main and outcome.result is not None:
        out(f"table  {args.output / 'abundance.parquet'}")
    return outcome


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit code."""
    args = parser().parse_args(arguments)
    return run_main(run_recipe, args, "the same command resumes with the samples that are left", args.timeout * 60)


if __name__ == "__main__":
    sys.exit(main())
