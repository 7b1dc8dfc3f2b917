"""`biomeformer genome embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...errors import RunInterrupted
from ...io.atomic import atomic_directory
from ...runs.progress import RunProgress
from ..console import doing, out, report_files
from ..embed import explained, list_failures
from ..options import DEFAULT_DEVICE, BatchTokens, Device, Revision, Threads, Timeout
from ..output import check_output


def embed(
    catalog: Annotated[
        Path,
        typer.Argument(
            metavar="GENOMES.csv",
            help="CSV or TSV: genome_id, fasta (or genbank, gff, proteins), then what is known of them.",
            show_default=False,
        ),
    ],
    protein_encoder: Annotated[
        str, typer.Option("--protein-encoder", "-e", help="An ESM-2: a folder or a Hub id.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write, or to go on with.", show_default=False)
    ],
    store: Annotated[
        Path | None, typer.Option(help="Folder of vectors that runs share.", show_default="OUTPUT/store")
    ] = None,
    translation_table: Annotated[int, typer.Option(help="NCBI's number, of genes that do not say.")] = 11,
    device: Device = DEFAULT_DEVICE,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16, of the encoder.")] = "float32",
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
    format: Annotated[
        Literal["datasets"] | None, typer.Option(help="Write OUTPUT/dataset too, one row a genome.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a run found in the folder.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Begin anew in a folder that holds a run; its store stays.")] = False,
    fail_fast: Annotated[bool, typer.Option(help="Stop at the first genome that fails.")] = False,
    timeout: Timeout = 10.0,
) -> None:
    """Read or call the genes of genomes and embed their proteins, each distinct one once.

    Each finished genome is kept in the output folder at once: after an interruption the same command goes on, and a
    genome that fails does not stop the others. Writes genomes.parquet, genes.parquet and the vectors. Under
    `accelerate launch` the processes share the genomes.
    """
    from ..runtime import noting_device, start

    check_output(output, overwrite=overwrite or (output / "run").is_dir(), can_overwrite=True)
    with doing(f"loading {protein_encoder}"):
        start(threads)
        import os

        from ...genomes.catalog import read_catalog
        from ...genomes.embedding import RESULTS, embed_genomes
        from ...genomes.proteins import load_protein_encoder
        from ...runs.interruption import Interruption
        from ...runs.process_group import ProcessGroup

        genomes = read_catalog(catalog)
    with ProcessGroup.from_environment(timeout * 60) as processes:
        with doing(f"loading {protein_encoder}"):
            encoder = load_protein_encoder(
                protein_encoder, revision=revision, device=processes.device(device), dtype=dtype
            )
        watched = RunProgress(len(genomes), processes, noun="genomes", unit="residues", done="embedded")
        with Interruption() as interruption, watched as progress:
            options: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "fail_fast": fail_fast}
            try:
                outcome = embed_genomes(
                    encoder,
                    genomes,
                    output,
                    store=store,
                    translation_table=translation_table,
                    batch_tokens=batch_tokens,
                    threads=threads or os.cpu_count() or 1,
                    processes=processes,
                    progress=lambda name, done, total: progress.advance(name, done, done, total),
                    on_plan=noting_device(progress.plan, encoder.model.device, processes),
                    on_genome=progress.finish,
                    check=interruption.check,
                    **options,
                )
            except RunInterrupted as error:
                raise explained(error, output, processes) from error
    if not processes.is_main:
        return
    if outcome.result is not None:
        found = outcome.result
        n_genes, n_distinct = found.record["n_genes"], found.record["n_distinct_proteins"]
        spared = f"{found.hit_rate:.1%} of the genes share theirs"
        out(f"{len(found):,} genomes, {n_genes:,} genes, {n_distinct:,} distinct proteins ({spared})")
        gene_stats = found.genomes[["n_truncated", "n_internal_stop", "n_pseudo", "n_no_protein"]].sum()
        out(
            f"{gene_stats['n_truncated']:,} proteins longer than {encoder.max_residues} residues lost their end; left "
            f"out {gene_stats['n_pseudo']:,} pseudogenes, {gene_stats['n_internal_stop']:,} with a stop inside, "
            f"{gene_stats['n_no_protein']:,} without a protein"
        )
        files = {what: output / name for what, name in RESULTS.items()} | {"vectors": Path(found.record["store"])}
        if format == "datasets":
            with doing("writing the dataset"), atomic_directory(output / "dataset", existing="replace") as partial:
                found.to_dataset().save_to_disk(partial)
            files["dataset"] = output / "dataset"
        report_files(files)
    list_failures(outcome.failed, output)
    outcome.raise_for_failures()
