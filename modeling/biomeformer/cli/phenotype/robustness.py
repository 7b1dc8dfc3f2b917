"""`biomeformer phenotype robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...io.spreadsheets import write_spreadsheet
from ...io.tables import missing_words
from ..console import doing, out, report_files
from ..output import open_output
from .options import Missing, NotMissing, Overwrite
from .reading import read_cohort_table


def robustness(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="One table, or one per fraction of the reads.", show_default=False),
    ],
    target: Annotated[str, typer.Option("--target", "-t", help="Column with the groups.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("robustness"),
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or TSV with the groups.", show_default="the tables' own columns")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="Value to compare with all others; may be repeated.")
    ] = None,
    missing: Missing = None,
    not_missing: NotMissing = None,
    permutations: Annotated[int, typer.Option(min=9, help="Permutations of the labels.")] = 999,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the permutations.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Test whether groups of samples differ: PERMANOVA, PERMDISP and Shannon entropy.

    Uses Bray-Curtis, Jensen-Shannon and Aitchison distances, with q values (Benjamini-Hochberg) over all tests of all
    tables. Writes tests.csv.
    """
    words = missing_words(missing or (), not_missing or ())
    folder = open_output(output, "phenotype robustness", overwrite=overwrite)
    with doing("reading the tables"):
        import pandas as pd

        from ...phenotypes import compare_groups
        from ...phenotypes.statistics import benjamini_hochberg

        cohorts = [read_cohort_table(path, metadata, target, positive, words) for path in tables]
    rows = []
    for cohort in cohorts:
        with doing(f"{cohort.name}: {permutations} permutations"):
            groups = [cohort.target.classes[label] for label in cohort.target.labels]
            for test in compare_groups(cohort.blocks[0], groups, n_permutations=permutations, seed=seed):
                rows.append({"table": cohort.name, **vars(test)})
    for row, q in zip(rows, benjamini_hochberg([row["p"] for row in rows]), strict=True):
        row["q"] = float(q)
        name = f"{row['test']} {row['distance']}".strip()
        out(
            f"{row['table']}: {name:<27} statistic {row['statistic']:.4g}, effect {row['effect']:.3g}, "
            f"p = {row['p']:.3g}, q = {row['q']:.3g}"
        )
    with folder.publish() as partial:
        write_spreadsheet(pd.DataFrame(rows), partial / "tests.csv", index=False)
    report_files({"tests": output / "tests.csv"})
