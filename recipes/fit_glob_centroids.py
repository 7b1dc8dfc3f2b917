"""Learn the centroids of a large cohort, for several numbers of clusters, on one process or many.

This is how MetagenBERT-Glob's centroids are made (arXiv 2601.03295): a fixed number of reads of every sample, the read
encoder's vectors, FAISS k-means over all of them.

* Reads are drawn by a hash of their numbers: the same ones on any number of processes.
* Each process embeds samples of its own; a sample's vectors are a part on disk, so that an interrupted run goes on.
* Each process then holds an even share of the vectors, in memory if they fit and else on disk; sums and counts are
  added up over processes, and one reading of the vectors serves all numbers of clusters.

    accelerate launch --num_processes 8 recipes/fit_glob_centroids.py \
        --config recipes/configs/fit_glob_centroids/glob_mcardis.yaml --cohort cohort.csv --output RUN --device cuda

RUN gets `vectors/` (the run's parts; delete it when you want no further numbers of clusters) and `k1024/` and so on,
each a checkpoint that `biomeformer.load` takes, with `training_record.json`. `biomeformer status RUN/vectors` tells
where the draw stands. On several machines every one needs the cohort's files and RUN under the same path.

Exit codes: 0 done, 1 some samples or the run failed, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers

from biomeformer import load_read_encoder
from biomeformer.clustering import fit_several_centroids
from biomeformer.errors import BiomeformerError, InputError, RankStopped
from biomeformer.metagenbert import MetagenBertProcessor
from biomeformer.recipe_config import build_config, read_yaml
from biomeformer.runs.interruption import Interruption
from biomeformer.runs.process_group import ProcessGroup

transformers.utils.logging.disable_progress_bar()


@dataclass
class RecipeConfig:
    """Fields of the YAML file.

    Attributes:
        read_encoder: Folder, shipped name or Hub id.
        n_clusters: Numbers of clusters.
        reads_per_sample: Reads drawn from each sample.
        revision: Of an encoder from the Hub.
        dtype: float32, bfloat16 or float16, of the encoder; vectors and distances are float32.
        contract: Fields of `MetagenBertProcessor`.
        n_iterations: Of k-means.
        spherical: Whether vectors and centroids are scaled to unit length.
        seed: Of the draw and of k-means.
        max_memory: Bytes each process may take beside the model.
    """

    read_encoder: str
    n_clusters: list[int]
    reads_per_sample: int
    revision: str | None = None
    dtype: str = "float32"
    contract: dict[str, Any] = field(default_factory=dict)
    n_iterations: int = 20
    spherical: bool = False
    seed: int = 0
    max_memory: int = 4_000_000_000

    @classmethod
    def from_yaml(cls, path: Path) -> RecipeConfig:
        """Read a config.

        Raises:
            InputError: It cannot be read, lacks a field, or has one that is not known.
        """
        return build_config(cls, read_yaml(path), str(path))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--read-encoder", help="instead of the config's")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; each process takes a GPU of its own")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--timeout", type=float, default=10.0, help="minutes without a sign from another process")
    return parser


def run(args: argparse.Namespace) -> None:
    """Draw, embed, cluster, and write the checkpoints.

    Raises:
        BiomeformerError: Input is bad, samples failed, the folder cannot be written to, another process failed, or a
            signal came.
    """
    config = RecipeConfig.from_yaml(args.config)
    targets = {k: args.output / f"k{k}" for k in config.n_clusters}
    there = [str(path) for path in targets.values() if path.exists()]
    if there:
        raise InputError(f"{there[0]} exists; give another folder, or remove it.")
    with ProcessGroup.from_environment(args.timeout * 60) as processes:
        encoder, tokenizer = load_read_encoder(
            args.read_encoder or config.read_encoder,
            revision=config.revision,
            device=processes.device(args.device),
            dtype=config.dtype,
        )
        try:
            processor = MetagenBertProcessor(tokenizer, **config.contract)
        except (TypeError, ValueError) as error:
            raise InputError(f"{args.config}, contract: {error}") from error

        def on_sample(sample_id: str, reason: str | None) -> None:
            print(f"process {processes.rank}: {sample_id} {'drawn' if reason is None else 'failed'}", file=sys.stderr)

        def on_iteration(iteration: int, objective: dict[int, float]) -> None:
            if processes.is_main:
                figures = ", ".join(f"K = {k}: {value:.6g}" for k, value in objective.items())
                print(f"iteration {iteration}: objective {figures}", file=sys.stderr)

        with Interruption() as interruption:
            fits = fit_several_centroids(
                args.cohort,
                encoder,
                processor,
                n_clusters=config.n_clusters,
                n_iterations=config.n_iterations,
                reads_per_sample=config.reads_per_sample,
                seed=config.seed,
                spherical=config.spherical,
                batch_tokens=args.batch_tokens,
                vectors=args.output / "vectors",
                max_memory=config.max_memory,
                processes=processes,
                on_sample=on_sample,
                on_iteration=on_iteration,
                check=interruption.check,
            )
    if processes.is_main:
        for fit, target in zip(fits, targets.values(), strict=True):
            print(f"K = {len(fit.kmeans.centroids)}  {fit.save(target)}")


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; gives the exit code."""
    try:
        run(parser().parse_args(arguments))
    except BiomeformerError as error:
        # The process that stopped the others has said why.
        if not isinstance(error, RankStopped):
            print(f"error: {error}", file=sys.stderr)
        for sample_id, reason in getattr(error, "failed", {}).items():
            print(f"failed  {sample_id}: {reason}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
