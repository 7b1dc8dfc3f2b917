"""`biomeformer clusters describe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ..console import doing, next_command, note, out, record, report_files
from ..options import DEFAULT_DEVICE, AllowSharedFiles, BatchTokens, Device, Revision, Seed, Threads
from ..output import open_output

TABLE, RECORD_FILE, REPORT = "clusters.tsv", "clusters.json", "report.html"


def describe(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A shipped checkpoint, a folder, or a Hub id.", show_default=False)
    ],
    genomes: Annotated[
        Path,
        typer.Option(
            help="Table of genomes: genome_id, fasta (or genbank, gff, file), and columns of taxa.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    rank: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the table with taxa; repeat it, the narrowest first.",
            show_default="species, genus, … domain, those there are",
        ),
    ] = None,
    annotations: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Also describe by genes: the annotation to show, such as product, or a column of the genomes' "
            "annotations. Genes are called where a genome has none.",
            show_default=False,
        ),
    ] = None,
    read_length: Annotated[int, typer.Option(min=1, help="Bases of a simulated read.")] = 150,
    reads_per_genome: Annotated[int, typer.Option(min=1, help="Simulated reads per genome.")] = 1000,
    proportional: Annotated[
        bool, typer.Option("--proportional", help="Reads in proportion to the genomes' lengths, as many in all.")
    ] = False,
    error_rate: Annotated[float, typer.Option(min=0, max=0.5, help="Share of bases replaced by random ones.")] = 0.005,
    seed: Seed = 0,
    beside: Annotated[
        bool, typer.Option("--beside", help="Put the descriptions into MODEL, a folder, too, where reports find them.")
    ] = False,
    device: Device = DEFAULT_DEVICE,
    dtype: Annotated[str, typer.Option(help="As for embed: descriptions are of the numbers of one dtype.")] = "float32",
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
    allow_shared_files: AllowSharedFiles = False,
    overwrite: Annotated[bool, typer.Option(help="Replace earlier descriptions in the folder.")] = False,
) -> None:
    """Describe each cluster of a model by the reference genomes that its reads come from.

    Reads are simulated from the genomes, the same number from each, and assigned to centroids as those of samples are.
    For each cluster the table has, by rank, the taxon with most reads, its purity (share of the cluster's reads), the
    share of its reads that are in the cluster, lift, and entropy; with --annotations also the share of coding reads and
    the most frequent functions.
    """
    written = open_output(output, "clusters describe", overwrite=overwrite)
    if beside and not Path(model).is_dir():
        raise InputError(f"--beside needs the folder of a checkpoint, and {model} is none; leave it out, or give one.")
    from ..runtime import note_device, start

    with doing(f"loading {model}"):
        start(threads)
        import os

        from ...checkpoints.loading import load
        from ...genomes.catalog import read_catalog
        from ...genomes.reference import iter_references, ranks_of
        from ...io.atomic import wrap_write_errors
        from ...io.spreadsheets import write_spreadsheet
        from ...metagenomes.cluster_descriptions import NAME, RECORD
        from ...metagenomes.cluster_origins import describe_by_genomes
        from ...reports.cluster_report import cluster_report
        from ...runs.progress import Progress

        catalog = read_catalog(genomes, allow_shared_files=allow_shared_files)
        ranks = ranks_of(catalog, rank or ())
        loaded = load(model, revision=revision, device=device, dtype=dtype)
    note_device(loaded.device)
    n_threads = threads or os.cpu_count() or 1
    with Progress() as progress:
        descriptions = describe_by_genomes(
            loaded,
            lambda: iter_references(catalog, ranks, annotations=annotations, threads=n_threads),
            ranks,
            catalog_name=genomes.name,
            read_length=read_length,
            reads_per_genome=reads_per_genome,
            proportional=proportional,
            error_rate=error_rate,
            seed=seed,
            annotations=annotations,
            batch_tokens=batch_tokens,
            progress=lambda done: progress.update("genomes", done, len(catalog)),
        )
    with wrap_write_errors(output), written.publish() as partial:
        descriptions.write(partial / NAME)
        write_spreadsheet(descriptions.frame, partial / TABLE, sep="\t", index=False)
        RECORD.write(partial / RECORD_FILE, descriptions.record)
        cluster_report(descriptions, partial / REPORT)
    unnamed = {name: sum(not genome.metadata.get(name, "x") for genome in catalog) for name in ranks}
    for name, n_genomes in unnamed.items():
        if n_genomes:
            note(f"{n_genomes:,} of {len(catalog):,} genomes have no {name}; their reads count for no taxon of it")
    if descriptions.record["n_not_used"]:
        note(f"{descriptions.record['n_not_used']:,} simulated reads were left out by the model's preprocessing config")
    n_empty = int((descriptions.frame["n_reads"] == 0).sum())
    out(f"{descriptions.record['n_reads']:,} reads of {len(catalog):,} genomes in {len(descriptions):,} clusters")
    if n_empty:
        note(f"{n_empty:,} clusters have no read of these genomes")
    files = {"descriptions": NAME, "table": TABLE, "record": RECORD_FILE, "report": REPORT}
    paths = {what: output / name for what, name in files.items()}
    if beside:
        with wrap_write_errors(Path(model)):
            paths["beside the model"] = descriptions.write(Path(model) / NAME)
    report_files(paths)
    record(n_reads=descriptions.record["n_reads"], n_genomes=len(catalog), n_clusters=len(descriptions))
    record(n_empty=n_empty, n_not_used=descriptions.record["n_not_used"], genomes_without_taxon=unnamed)
    next_command("embed", "cohort.csv", "--model", model, "--output", "results")
