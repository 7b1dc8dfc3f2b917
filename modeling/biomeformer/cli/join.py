"""`biomeformer join`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import doing, note, record, report_files
from .embed import after_table
from .output import open_output


def join(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="Folders of `biomeformer embed`, or tables.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier table in the folder.")] = False,
) -> None:
    """Join the abundance tables of several runs, such as the jobs of a batch system, to one.

    Tables of different weights, preprocessing configs, precision or share of reads are refused, and so is a sample that
    is in two of them. A cohort column that a table lacks is empty for its samples. Writes abundance.parquet, which
    the other commands take in place of a run.
    """
    written = open_output(output, "join", overwrite=overwrite)
    with doing("reading the tables"):
        from ..io.atomic import wrap_write_errors
        from ..metagenomes.abundance_table import TABLE_NAME, AbundanceTable
        from ..metagenomes.cluster_descriptions import NAME, find_descriptions
        from ..runs.run_folder import failed_items

        failed = {name: folder for folder in tables for name in failed_items(folder, TABLE_NAME)}
        read = [AbundanceTable.read(path) for path in tables]
        joined = AbundanceTable.join(read)
        descriptions = find_descriptions(joined.provenance, *(path for path in tables if path.is_dir()))
    with doing("writing the table"), wrap_write_errors(output), written.publish() as partial:
        joined.write(partial / TABLE_NAME)
        if descriptions is not None and find_descriptions(joined.provenance) is None:
            descriptions.write(partial / NAME)
    note(f"{len(joined.sample_ids):,} samples of {len(tables)} tables")
    for name, folder in failed.items():
        note(f"sample {name} failed and is not in the table: biomeformer status {folder}")
    report_files({"table": output / TABLE_NAME})
    record(sample_ids=joined.sample_ids, n_tables=len(tables), failed=list(failed))
    after_table(output, joined)
