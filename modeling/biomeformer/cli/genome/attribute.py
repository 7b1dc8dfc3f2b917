"""`biomeformer genome attribute`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...runs.progress import RunProgress
from ..console import doing, next_command, out, record, report_files
from ..options import DEFAULT_DEVICE, Device, Resume, Revision, Seed, Threads, Timeout
from ..output import check_run_output
from ..runs import list_failures, watch_run
from .predict import DEFAULT_MODEL


def attribute(
    embedded: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of `biomeformer genome embed`.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write, or of a run to resume.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A shipped checkpoint, a folder, or a Hub id.")
    ] = DEFAULT_MODEL,
    label: Annotated[
        str | None,
        typer.Option(
            help="Column with the true classes: pairs of correctly classified genomes are clustered.",
            show_default="model's",
        ),
    ] = None,
    genomes: Annotated[
        Literal["held-out", "training", "all"],
        typer.Option(
            "--genomes", help="Which to attribute: those that the model was not trained on, those it was, or all."
        ),
    ] = "held-out",
    method: Annotated[
        Literal["attention", "attention_gradient", "score_gradient", "rollout", "ablation"],
        typer.Option(help="Score of the strongest pairs; ablation is the most reliable and takes longest."),
    ] = "attention",
    top: Annotated[float, typer.Option(help="Pairs per genome, or below 1 the share of all its pairs.")] = 100,
    ablate: Annotated[int, typer.Option(help="Strongest pairs per genome that are ablated as a test.")] = 20,
    eps: Annotated[
        float | None, typer.Option(help="Distance of neighbours in DBSCAN.", show_default="from the distances")
    ] = None,
    min_samples: Annotated[int, typer.Option(help="Neighbours that make a pair the core of a cluster.")] = 5,
    seed: Seed = 0,
    device: Device = DEFAULT_DEVICE,
    threads: Threads = None,
    revision: Revision = None,
    resume: Resume = True,
    overwrite: Annotated[bool, typer.Option(help="Delete the run that the folder holds, and start over.")] = False,
    timeout: Timeout = 10.0,
) -> None:
    """Find the pairs of genes that count for a model, and the network they make over many genomes.

    Each finished genome is kept in the output folder at once: after an interruption the same command resumes. Writes
    pairs.parquet, clusters.tsv, families.tsv, enrichment.tsv, genomes.tsv, network.graphml, network.json, figures (the
    map of pairs by cluster and by class, and the network) and report.html, whose network can be searched, filtered and
    dragged. Under `accelerate launch` the processes share the
    genomes.
    """
    from ..runtime import start

    check_run_output(output, overwrite=overwrite)
    with doing(f"loading {model}"):
        start(threads)
        from ...attribution import AttributionSettings, ClusterSettings
        from ...attribution import attribute as run_attribution
        from ...checkpoints.loading import load_genome_model
        from ...genomes.embedding import EmbeddedGenomes
        from ...reports.attribution_figures import PAIRS_BY_CLUSTER, write_attribution_figures
        from ...reports.network_report import network_report
        from ...runs.process_group import ProcessGroup
        from ...runs.scheduler import RunOutcome

        settings = AttributionSettings(method=method, top=top if top < 1 else int(top), n_ablated=ablate, seed=seed)
        clustering = ClusterSettings(eps=eps, min_samples=min_samples, seed=seed)
        embedded_genomes = EmbeddedGenomes.read(embedded)
    with ProcessGroup.from_environment(timeout * 60) as processes:
        with doing(f"loading {model}"):
            loaded = load_genome_model(model, revision=revision, device=processes.device(device))
        progress = RunProgress(len(embedded_genomes), processes, noun="genomes", done="attributed")
        with watch_run(progress, output, device=loaded.device, resume=resume, overwrite=overwrite) as control:
            network = run_attribution(
                loaded,
                embedded_genomes,
                output,
                settings=settings,
                clustering=clustering,
                label_column=label,
                subset=genomes.replace("-", "_"),  # type: ignore[arg-type]
                control=control,
            )
    if not processes.is_main:
        return
    with doing("drawing the report"):
        report = network_report(network, output / "report.html")
        drawn = write_attribution_figures(network, output)
    figures = network.record["figures"]
    right = f", {figures['n_correct']:,} correctly classified" if figures["labels_known"] else ""
    out(
        f"{figures['n_genomes']:,} genomes{right}; {figures['n_pairs']:,} pairs, {figures['n_clusters']:,} clusters, "
        f"{figures['n_families']:,} families"
    )
    for row in network.record["pseudo_examples"]:
        low, high = row["accuracy"][1:]
        out(f"accuracy from {row['from']} ({row['genes']:,.0f}): {row['accuracy'][0]:.3f} ({low:.3f}-{high:.3f})")
    files = {"report": report, "pairs": output / "pairs.parquet", "network": output / "network.graphml"}
    report_files(files | {"figures": drawn[PAIRS_BY_CLUSTER]})
    chosen = network.record["genomes"]
    if chosen["n_trained_on"] is not None:
        out(f"{figures['n_genomes'] - chosen['n_trained_on']:,} held out, {chosen['n_trained_on']:,} trained on")
    failed = network.record["genomes"]["failed"]
    record(**figures, pseudo_examples=network.record["pseudo_examples"], failed=failed)
    next_command("inspect", model)
    list_failures(failed, output)
    RunOutcome(network, failed, figures["n_genomes"] + len(failed), 0, "genomes").raise_for_failures()


__all__ = ["attribute"]
