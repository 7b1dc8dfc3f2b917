"""Fit the centroids of a large cohort, for several numbers of clusters, on one process or many.

This is how MetagenBERT-Glob's centroids are made (arXiv 2601.03295): a fixed number of reads of every sample, the read
encoder's vectors, FAISS k-means over all of them.

* Reads are drawn by a hash of their numbers: the same reads on any number of processes.
* Each process embeds its own samples; a sample's vectors are a part on disk, so that an interrupted run resumes.
* Each process then holds an even share of the vectors, in memory if they fit and else on disk; sums and counts are
  added up over processes, and one reading of the vectors serves all numbers of clusters.

    accelerate launch --num_processes 8 recipes/fit_glob_centroids.py \
        --config recipes/configs/fit_glob_centroids/glob_mcardis.yaml --cohort cohort.csv --output RUN --device cuda

RUN gets `vectors/` (the run's parts; delete it unless you want further numbers of clusters) and `k1024/` and so on,
each a checkpoint that `biomeformer.load` takes, with `training_record.json`. `biomeformer status RUN/vectors` shows
where the draw stands. On several machines every one needs the cohort's files and RUN under the same path.

Exit codes: 0 done, 1 some samples or the run failed, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers

from biomeformer import load_read_encoder
from biomeformer.checkpoints.admission import make_processor
from biomeformer.checkpoints.loading import DTYPES
from biomeformer.errors import InputError
from biomeformer.io.atomic import wrap_write_errors
from biomeformer.io.locks import locked_folder
from biomeformer.metagenomes import fit_several_centroids
from biomeformer.reads import read_cohort
from biomeformer.runs.control import CallbackObserver, RunControl
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.runs.progress import note, out
from biomeformer.training.command import RecipeParser, run_main
from biomeformer.training.config import AT_LEAST_ONE, SEED, Config

transformers.utils.logging.disable_progress_bar()


@dataclass
class RecipeConfig(Config):
    """Fields of the YAML file.

    Attributes:
        read_encoder: Folder, shipped name, Hub id, or fair-esm's name of an ESM-2.
        n_clusters: Numbers of clusters.
        reads_per_sample: Reads drawn from each sample.
        revision: Of an encoder from the Hub.
        dtype: float32, bfloat16 or float16, of the encoder; vectors and distances are float32.
        preprocessing: Fields of `MetagenBertProcessor`.
        n_iterations: Of k-means.
        spherical: Whether vectors and centroids are scaled to unit length.
        min_points_per_centroid: With fewer reads per centroid the run says so.
        max_points_per_centroid: Fit on a random sample of so many reads per centroid where there are more; on all reads
            by default.
        seed: Of the draw and of k-means.
        max_memory: Bytes each process may take beside the model.
    """

    renamed = {"contract": "preprocessing"}

    read_encoder: str
    n_clusters: list[int]
    reads_per_sample: int
    revision: str | None = None
    dtype: str = "float32"
    preprocessing: dict[str, Any] = field(default_factory=dict)
    n_iterations: int = 20
    spherical: bool = False
    min_points_per_centroid: int | None = None
    max_points_per_centroid: int | None = None
    seed: int = 0
    max_memory: int = 4_000_000_000

    ranges = {
        "n_clusters": AT_LEAST_ONE,
        "reads_per_sample": AT_LEAST_ONE,
        "dtype": tuple(DTYPES),
        "n_iterations": AT_LEAST_ONE,
        "min_points_per_centroid": AT_LEAST_ONE,
        "max_points_per_centroid": AT_LEAST_ONE,
        "seed": SEED,
        "max_memory": AT_LEAST_ONE,
    }


def parser() -> RecipeParser:
    """The command line."""
    parser = RecipeParser(__file__, __doc__)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; each process takes a GPU of its own")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--allow-shared-files", action="store_true", help="accept samples with a file in common")
    parser.add_argument("--timeout", type=float, default=10.0, help="minutes without a heartbeat of another process")
    return parser


def run_recipe(args: argparse.Namespace, processes: ProcessGroup | None = None) -> None:
    """Draw, embed, cluster, and write the checkpoints.

    Raises:
        BiomeformerError: Input is bad, samples failed, the folder cannot be written to, another process failed, or a
            signal came.
    """
    processes = processes or ProcessGroup()
    config = RecipeConfig.from_yaml(args.config, args.overrides)
    targets = {k: args.output / f"k{k}" for k in config.n_clusters}
    existing = [str(path) for path in targets.values() if path.exists()]
    if existing:
        raise InputError(f"{existing[0]} exists; give another folder, or remove it.")
    encoder, tokenizer = load_read_encoder(
        config.read_encoder, revision=config.revision, device=processes.device(args.device), dtype=config.dtype
    )
    processor = make_processor(config.read_encoder, encoder, tokenizer, **config.preprocessing)

    def on_finish(sample_id: str, reason: str | None) -> None:
        note(f"process {processes.rank}: {sample_id} {'drawn' if reason is None else 'failed'}")

    def on_remark(text: str) -> None:
        note(f"note: {text}")

    def on_iteration(iteration: int, objective: dict[int, float]) -> None:
        if processes.is_main:
            figures = ", ".join(f"K = {k}: {value:.6g}" for k, value in objective.items())
            note(f"iteration {iteration}: objective {figures}")

    observer = CallbackObserver(on_finish=on_finish, on_remark=on_remark)
    with ExitStack() as stack:
        if processes.is_main:
            # Until the checkpoints are written; the folder of vectors has a lock of its own.
            with wrap_write_errors(args.output):
                stack.enter_context(locked_folder(args.output))
        fits = fit_several_centroids(
            read_cohort(args.cohort, allow_shared_files=args.allow_shared_files),
            encoder,
            processor,
            n_clusters=config.n_clusters,
            n_iterations=config.n_iterations,
            reads_per_sample=config.reads_per_sample,
            seed=config.seed,
            spherical=config.spherical,
            min_points_per_centroid=config.min_points_per_centroid,
            max_points_per_centroid=config.max_points_per_centroid,
            batch_tokens=args.batch_tokens,
            vectors=args.output / "vectors",
            max_memory=config.max_memory,
            on_iteration=on_iteration,
            control=RunControl(processes=processes, observer=observer),
        )
        if processes.is_main:
            for fit, target in zip(fits, targets.values(), strict=True):
                out(f"K = {len(fit.kmeans.centroids)}  {fit.save(target)}")


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit code."""
    args = parser().parse_args(arguments)
    return run_main(run_recipe, args, "the same command resumes with what is left", args.timeout * 60)


if __name__ == "__main__":
    sys.exit(main())
