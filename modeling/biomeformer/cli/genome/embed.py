"""`biomeformer genome embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...io.atomic import atomic_directory
from ...runs.progress import RunProgress
from ..console import doing, next_command, one_line, out, record, report_files
from ..options import DEFAULT_DEVICE, AllowSharedFiles, BatchTokens, Device, Resume, Revision, Threads, Timeout
from ..output import check_run_output
from ..runs import list_failures, watch_run

if TYPE_CHECKING:
    import pandas as pd


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
        str,
        typer.Option(
            "--protein-encoder",
            "-e",
            help="An ESM-2: a folder, a Hub id, or fair-esm's name, such as esm2_t36_3B_UR50D.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write, or of a run to resume.", show_default=False)
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
        Literal["datasets"] | None,
        typer.Option(help="Also write OUTPUT/dataset, a row per genome.", show_default=False),
    ] = None,
    resume: Resume = True,
    overwrite: Annotated[bool, typer.Option(help="Delete the folder's run, not its store, and start over.")] = False,
    fail_fast: Annotated[bool, typer.Option(help="Stop at the first genome that fails.")] = False,
    timeout: Timeout = 10.0,
    allow_shared_files: AllowSharedFiles = False,
) -> None:
    """Read or call the genes of genomes and embed their proteins, each distinct one once.

    Each finished genome is kept in the output folder at once: after an interruption the same command resumes, and a
    genome that fails does not stop the others. Writes genomes.parquet, genes.parquet and the vectors. Under
    `accelerate launch` the processes share the genomes.
    """
    from ..runtime import start

    check_run_output(output, overwrite=overwrite)
    with doing(f"loading {protein_encoder}"):
        start(threads)
        import os

        from ...genomes.catalog import read_catalog
        from ...genomes.dataset import write_genome_dataset
        from ...genomes.embedding import RESULTS, embed_genomes
        from ...genomes.proteins import load_protein_encoder
        from ...runs.process_group import ProcessGroup
        from ...runs.run_folder import output_of_run

        genomes = read_catalog(catalog, allow_shared_files=allow_shared_files)
    with ProcessGroup.from_environment(timeout * 60) as processes:
        with doing(f"loading {protein_encoder}"):
            encoder = load_protein_encoder(
                protein_encoder, revision=revision, device=processes.device(device), dtype=dtype
            )
        progress = RunProgress(len(genomes), processes, noun="genomes", unit="residues", done="embedded")
        run_options = {"resume": resume, "overwrite": overwrite, "fail_fast": fail_fast}
        with watch_run(progress, output, device=encoder.model.device, **run_options) as control:
            outcome = embed_genomes(
                encoder,
                genomes,
                output,
                store=store,
                translation_table=translation_table,
                batch_tokens=batch_tokens,
                threads=threads or os.cpu_count() or 1,
                control=control,
            )
    if not processes.is_main:
        return
    if outcome.result is not None:
        embedded = outcome.result
        n_genes, n_distinct = embedded.record["n_genes"], embedded.record["n_distinct_proteins"]
        shared = f"{embedded.hit_rate:.1%} of the genes share theirs"
        out(f"{len(embedded):,} genomes, {n_genes:,} genes, {n_distinct:,} distinct proteins ({shared})")
        gene_stats = embedded.genomes[["n_truncated", "n_internal_stop", "n_pseudo", "n_no_protein"]].sum()
        out(
            f"{gene_stats['n_truncated']:,} proteins longer than {encoder.max_residues} residues lost their end; left "
            f"out {gene_stats['n_pseudo']:,} pseudogenes, {gene_stats['n_internal_stop']:,} with a stop inside, "
            f"{gene_stats['n_no_protein']:,} without a protein"
        )
        n_remarked = int((embedded.genomes["notes"] != "").sum()) if "notes" in embedded.genomes else 0
        if n_remarked:
            out(f"remarks on the files of {n_remarked:,} genomes are in the column notes of {RESULTS['genomes']}")
        for line in _code_warning(embedded.genomes):
            out(line)
        files = {what: output / name for what, name in RESULTS.items()} | {"vectors": embedded.store.folder}
        if format == "datasets":
            output_of_run(output).claim(["dataset"])
            with doing("writing the dataset"), atomic_directory(output / "dataset", existing="replace") as partial:
                write_genome_dataset(embedded, partial)
            files["dataset"] = output / "dataset"
        report_files(files)
        record(
            n_genes=n_genes,
            n_distinct_proteins=n_distinct,
            hit_rate=embedded.hit_rate,
            left_out={str(name): int(n) for name, n in gene_stats.items()},
            n_remarked=n_remarked,
        )
        next_command("recipes", "show", "train_genome_transformer")
    record(n_genomes=len(genomes), failed=outcome.failed)
    list_failures(outcome.failed, output)
    outcome.raise_for_failures()


def _code_warning(genomes: pd.DataFrame) -> list[str]:
    """Return a warning of the genomes of which many genes have a stop inside, if there are any."""
    from ...genomes.reading import has_many_internal_stops

    counts = genomes[["n_internal_stop", "n_genes"]].astype(int).itertuples()
    names = [str(name) for name, n_stops, n_genes in counts if has_many_internal_stops(n_stops, n_genes)]
    if not names:
        return []
    listed = ", ".join(map(one_line, names[:3])) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    return [
        f"warning: more than 5 % of the genes of {listed} have a stop inside and were left out; genomes of Mycoplasma "
        "and its kin need --translation-table 4, in a run of their own"
    ]
