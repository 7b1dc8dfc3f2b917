"""`biomeformer clusters reads`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ..console import doing, next_command, note, out, record, report_files
from ..options import DEFAULT_DEVICE, BatchTokens, Device, Revision, Threads
from ..output import check_output_file


def reads(
    fastq: Annotated[
        list[Path],
        typer.Argument(metavar="FASTQ [FASTQ_2]", help="A sample: one file, or both mates'.", show_default=False),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A shipped checkpoint, a folder, or a Hub id.", show_default=False)
    ],
    cluster: Annotated[
        list[int], typer.Option("--cluster", "-c", help="Number of a cluster; may be repeated.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write: .fastq or .fasta, also with .gz.", show_default=False),
    ],
    device: Device = DEFAULT_DEVICE,
    dtype: Annotated[str, typer.Option(help="As for embed.")] = "float32",
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Write the reads of a sample that belong to given clusters, with their names and qualities.

    The file holds reads of the sample, so it is as confidential as the sample is; `biomeformer publish` refuses it.
    """
    if len(fastq) > 2:
        raise InputError(f"{len(fastq)} files were given; give one file of reads, or the two of a pair.")
    check_output_file(output)
    if output.resolve() in [path.resolve() for path in fastq]:
        raise InputError(f"--output {output} is a file of the sample; give another name.")
    from ..runtime import note_device, start

    with doing(f"loading {model}"):
        start(threads)
        from ...checkpoints.loading import load
        from ...metagenomes.cluster_descriptions import find_descriptions
        from ...metagenomes.cluster_extraction import check_clusters, check_read_file, write_cluster_reads
        from ...reads import SampleReads
        from ...runs.progress import Progress

        check_read_file(output)
        sample = SampleReads.single(*fastq) if len(fastq) == 1 else SampleReads.paired(*fastq)
        sample.check_files()
        loaded = load(model, revision=revision, device=device, dtype=dtype)
        check_clusters(cluster, loaded.config.n_clusters)
    note_device(loaded.device)
    with Progress() as progress:
        written, n_reads = write_cluster_reads(
            loaded,
            sample,
            cluster,
            output,
            batch_tokens=batch_tokens,
            progress=lambda n, done, total: progress.update("reads", done, total, f"{n:,} reads"),
        )
    beside = Path(model) if Path(model).is_dir() else None
    described = find_descriptions({"weights_sha256": loaded.weights_sha256}, beside)
    for number, count in written.items():
        name = f"cluster {number}" if described is None else described.label(number)
        out(f"{name}: {count:,} of {n_reads:,} reads")
    note("The file holds reads of the sample; keep it as confidential as the sample.")
    report_files({"reads": output})
    record(n_reads=n_reads, n_written=written)
    next_command("clusters", "describe", model, "--genomes", "genomes.tsv", "--output", "descriptions")
