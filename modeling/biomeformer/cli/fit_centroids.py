"""`biomeformer fit-centroids`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import DrawProgress, doing, out, report_files
from .options import BatchTokens, Cohort, Device, Revision, Threads
from .output import check_output

Pooling = Literal["mean", "mean_over_max_length", "cls"]


def fit_centroids(
    cohort: Cohort,
    read_encoder: Annotated[
        str,
        typer.Option(help="Encoder: a folder or Hub id; of a MetagenBERT checkpoint its encoder.", show_default=False),
    ],
    n_clusters: Annotated[
        int, typer.Option("--n-clusters", "-k", min=1, help="How many centroids.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write.", show_default=False)],
    reads_per_sample: Annotated[int, typer.Option(min=1, help="Reads drawn from each sample.")] = 10_000,
    n_iterations: Annotated[int, typer.Option(min=1, help="Iterations of k-means.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the draw and of k-means.")] = 0,
    spherical: Annotated[bool, typer.Option(help="Scale read vectors and centroids to unit length.")] = False,
    pooling: Annotated[
        Pooling | None,
        typer.Option(help="How token vectors become a read's.", show_default="the encoder's checkpoint's, or mean"),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="Longest read in tokens; the tail is cut.", show_default="the checkpoint's, or none"),
    ] = None,
    device: Device = "cpu",
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Learn centroids from a cohort's reads and write encoder and centroids as one checkpoint."""
    check_output(output)
    from ..errors import InputError
    from ..reads import read_cohort
    from .runtime import start

    samples = read_cohort(cohort)
    with doing(f"loading {read_encoder}"):
        start(threads)
        from .. import clustering
        from ..loading import load, load_read_encoder, read_config
        from ..metagenbert import MetagenBertProcessor

        contract = {}
        if read_config(read_encoder, revision).get("model_type") == "metagenbert":
            source = load(read_encoder, revision=revision, device=device)
            assert source.processor is not None
            encoder, tokenizer, contract = source.encoder, source.processor.tokenizer, source.processor.contract
        else:
            encoder, tokenizer = load_read_encoder(read_encoder, revision=revision, device=device)
        asked = {"pooling": pooling, "max_length": max_length}
        contract |= {field: value for field, value in asked.items() if value is not None}
        if contract.get("pooling") == "mean_over_max_length" and not contract.get("max_length"):
            raise InputError("--pooling mean_over_max_length divides by --max-length; give it.")
        try:
            processor = MetagenBertProcessor(tokenizer, **contract)
        except ValueError as error:
            raise InputError(str(error)) from error
    with DrawProgress() as progress:
        fit = clustering.fit_centroids(
            samples,
            encoder,
            processor,
            n_clusters=n_clusters,
            n_iterations=n_iterations,
            reads_per_sample=reads_per_sample,
            seed=seed,
            spherical=spherical,
            batch_tokens=batch_tokens,
            progress=progress.update,
        )
    for i, value in enumerate(fit.kmeans.objective, 1):
        out(f"iteration {i:>3}: objective {value:.6g}")
    out(f"{len(fit.kmeans.centroids)} clusters of {fit.kmeans.n_points:,} reads, {fit.kmeans.n_empty} empty")
    out(f"k-means ran on {fit.kmeans.device}")
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    report_files({"checkpoint": fit.save(output)})
