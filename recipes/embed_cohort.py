"""Embed a cohort's reads on one process or many, and write its abundance table.

What it does:

* shares the samples among the processes that `accelerate launch` starts, and the batches of a sample where samples are
  fewer; the table is the same for any number of them;
* keeps each finished sample in the run's folder at once: after an interruption, a crash or a full disk the same command
  goes on with the samples that are left;
* goes on when a sample fails, and says at the end which ones did.

    accelerate launch --num_processes 4 recipes/embed_cohort.py --cohort cohort.csv --model MODEL --output RUN \
        --device cuda

On several machines every one needs the cohort's files and RUN under the same path. RUN gets `abundance.parquet`;
`biomeformer status RUN` tells where the run stands. `biomeformer embed` does the same and adds figure and report.

Exit codes: 0 done, 1 some samples or the run failed, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import transformers

import biomeformer
from biomeformer.embedding import run_cohort
from biomeformer.errors import BiomeformerError, RankStopped
from biomeformer.runs.interruption import Interruption
from biomeformer.runs.process_group import ProcessGroup

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
    parser.add_argument("--device", default="cpu", help="cpu or cuda; each process takes a GPU of its own")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--overwrite", action="store_true", help="begin anew where a run lies")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first sample that fails")
    parser.add_argument("--timeout", type=float, default=10.0, help="minutes without a sign from another process")
    return parser


def run(args: argparse.Namespace) -> None:
    """Embed the cohort.

    Raises:
        BiomeformerError: Input is bad, samples failed, the folder cannot be written to, another process failed, or a
            signal came.
    """
    with ProcessGroup.from_environment(args.timeout * 60) as processes:

        def on_plan(n_before: int, n_mine: int) -> None:
            print(f"process {processes.rank}: {n_before} samples done before, {n_mine} to do", file=sys.stderr)

        def on_sample(sample_id: str, reason: str | None) -> None:
            print(f"process {processes.rank}: {sample_id} {'done' if reason is None else 'failed'}", file=sys.stderr)

        model = biomeformer.load(
            args.model, revision=args.revision, device=processes.device(args.device), dtype=args.dtype
        )
        with Interruption() as interruption:
            outcome = run_cohort(
                model,
                args.cohort,
                args.output,
                read_fraction=args.read_fraction,
                seed=args.seed,
                batch_tokens=args.batch_tokens,
                processes=processes,
                overwrite=args.overwrite,
                fail_fast=args.fail_fast,
                on_plan=on_plan,
                on_sample=on_sample,
                check=interruption.check,
            )
    if processes.is_main:
        for sample_id, reason in outcome.failed.items():
            print(f"failed  {sample_id}: {reason}", file=sys.stderr)
        if outcome.result is not None:
            print(f"table  {args.output / 'abundance.parquet'}")
        outcome.raise_for_failures()


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; gives the exit code."""
    try:
        run(parser().parse_args(arguments))
    except BiomeformerError as error:
        # The process that stopped the others has said why.
        if not isinstance(error, RankStopped):
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
