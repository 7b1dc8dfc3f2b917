"""`biomeformer export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import doing, next_command, note, record, report_files
from .embed import after_table
from .output import open_output

Format = Literal["datasets", "csv", "biom", "anndata", "multiqc"]


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The --output of `biomeformer embed`.", show_default=False)
    ],
    file_format: Annotated[
        Format, typer.Option("--format", "-f", help="Output format, see below.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write.", show_default="DIR/FORMAT")
    ] = None,
    drop: Annotated[
        str | None, typer.Option(help="Cohort columns to leave out, separated by commas.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier export in the folder.")] = False,
) -> None:
    """Export a cohort's abundance table to other formats; reads are never exported.

    `datasets`: a folder for `datasets.load_dataset` and the Hub. `csv`: CSV tables. `biom`: BIOM 2.1 and sample
    metadata for QIIME 2. `anndata`: an h5ad file for scanpy. `multiqc`: read statistics and the largest clusters for a
    MultiQC report.
    """
    target = folder / file_format if output is None else output
    written = open_output(target, f"export --format {file_format}", overwrite=overwrite)
    with doing("reading the table"):
        from ..io.atomic import wrap_write_errors
        from ..metagenomes.abundance_table import TABLE_NAME, AbundanceTable
        from ..metagenomes.cluster_descriptions import find_descriptions
        from ..metagenomes.export import export_table
        from ..runs.output_folder import RECORD
        from ..runs.run_folder import failed_items

        failed = failed_items(folder, TABLE_NAME)
        table = AbundanceTable.read(folder)
        if drop is not None:
            table = table.without_columns([name.strip() for name in drop.split(",")])
        descriptions = find_descriptions(table.provenance, folder if folder.is_dir() else folder.parent)
    with (
        doing(f"writing {file_format}"),
        wrap_write_errors(target),
        written.publish() as partial,
    ):
        export_table(table, partial, file_format, descriptions=descriptions)
    if failed:
        note(f"{len(failed)} samples failed and are not in the table: biomeformer status {folder}")
    files = {path for path in target.rglob("*") if path.is_file() and path.name != RECORD}
    report_files({path.name: path for path in sorted(files)})
    record(format=file_format, n_samples=len(table.sample_ids))
    if file_format == "datasets":
        next_command("publish", "card", target, "--id", "NAMESPACE/NAME")
    else:
        after_table(folder, table)
