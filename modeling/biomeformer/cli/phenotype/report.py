"""`biomeformer phenotype report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError, TableError
from ..console import doing, next_command, record, report_files
from ..options import Revision, Threads
from .reading import table_record

if TYPE_CHECKING:
    from ...phenotypes import FeatureTable, Study


def report(
    study: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY", help="Folder of `biomeformer phenotype evaluate`, or of a recipe.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file to write.", show_default="STUDY/report.html")
    ] = None,
    depth: Annotated[
        Path | None, typer.Option(help="Folder of `biomeformer phenotype depth`, for its curve.", show_default=False)
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(
            help="The cohort's CSV, to describe the reads of the most discriminative clusters.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="With --cohort: checkpoint that embedded it.", show_default=False),
    ] = None,
    show_reads: Annotated[
        bool,
        typer.Option(
            "--show-reads",
            help="With --cohort: print reads of these clusters, which are the samples' own, into the report.",
        ),
    ] = False,
    title: Annotated[str | None, typer.Option(help="Title of the report.", show_default="from the target")] = None,
    remark: Annotated[
        str | None, typer.Option(help="Remark at the top, such as that reads were simulated.", show_default=False)
    ] = None,
    permutations: Annotated[int, typer.Option(min=9, help="Permutations of PERMANOVA and PERMDISP.")] = 999,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Write a study as one self-contained HTML file, which needs no network and can be printed.

    Ordination, ROC and precision-recall curves with intervals, comparison of feature sets, calibration, confusion
    matrix, most discriminative features, all scores, and a methods paragraph.
    """
    if (cohort is None) != (model is None):
        raise InputError("--cohort and --model go together: reads are described by the clusters of the model.")
    if show_reads and cohort is None:
        raise InputError("--show-reads needs --cohort and --model, which say where the reads are.")
    target = output or study / "report.html"
    if target.is_dir():
        raise InputError(f"--output {target} is a folder; give the name of an HTML file.")
    with doing("reading the study"):
        from ...phenotypes import Study

        evaluated = Study.read(study)
        at_depth = None if depth is None else Study.read(depth)
        if at_depth is not None and "read_fractions" not in at_depth.inputs:
            raise InputError(f"{depth} is not a study of read depth; give a folder of `biomeformer phenotype depth`.")
        tables = study_tables(evaluated)
    reads = []
    if cohort is not None and model is not None:
        reads = _cluster_reads(evaluated, tables, cohort, model, revision, threads, 3 if show_reads else 0)
    with doing("drawing"):
        from ...reports.phenotype import phenotype_report

        phenotype_report(
            evaluated,
            target,
            tables=tables,
            depth=at_depth,
            cluster_reads=reads,
            show_reads=show_reads,
            title=title,
            remark=remark,
            n_permutations=permutations,
        )
    report_files({"report": target})
    record(target=evaluated.target.column, feature_sets=evaluated.feature_sets, warnings=evaluated.warnings)
    for described in evaluated.inputs.get("tables", {}).values():
        next_command("phenotype", "robustness", described["path"], "--target", evaluated.target.column)
        break


def study_tables(study: Study) -> dict[str, FeatureTable]:
    """Read the tables that a study was computed from.

    Raises:
        TableError: A table is missing, or has changed.
    """
    from ...metagenomes.abundance_table import is_dataset_id
    from ...phenotypes import read_feature_table

    tables = {}
    for name, read in study.inputs.get("tables", {}).items():
        path = Path(read["path"])
        if not path.exists() and not is_dataset_id(path):
            raise TableError(f"{path}, a table of the study, does not exist; restore it, or evaluate again.")
        if table_record(path)["sha256"] != read["sha256"]:
            raise TableError(f"{path} has changed since the study was computed from it; evaluate again.")
        tables[name] = read_feature_table(
            path, study.target.sample_ids, metadata_columns=read.get("metadata_columns", ())
        )
    return tables


def _cluster_reads(
    study: Study,
    tables: dict[str, FeatureTable],
    cohort: Path,
    model: str,
    revision: str | None,
    threads: int | None,
    n_examples: int,
) -> list:
    """Describe the reads of the most discriminative clusters."""
    from ..runtime import start

    with doing(f"loading {model}"):
        start(threads)
        from ...checkpoints.loading import load
        from ...metagenomes.cluster_reads import describe_clusters
        from ...metagenomes.windows import adopt_windows
        from ...phenotypes.checkpoint import check_same_provenance
        from ...reads import read_cohort
        from ...reports.phenotype import discriminative_clusters

        first = next(iter(tables.values()), None)
        if first is None or not first.provenance:
            raise InputError("the study has no abundance vectors whose clusters could be shown; leave --cohort out.")
        loaded = load(model, revision=revision)
        adopt_windows(loaded, first.provenance)
        check_same_provenance(loaded, first.provenance)
        in_study = set(study.target.sample_ids)
        samples = [sample for sample in read_cohort(cohort, allow_shared_files=True) if sample.sample_id in in_study]
        if not samples:
            raise InputError(f"{cohort} has none of the study's samples (such as {study.target.sample_ids[0]!r}).")
    with doing("assigning reads to clusters"):
        per_sample = max(100_000 // len(samples), 100)
        clusters = discriminative_clusters(first, study)
        return describe_clusters(loaded, samples, clusters, reads_per_sample=per_sample, n_examples=n_examples)
