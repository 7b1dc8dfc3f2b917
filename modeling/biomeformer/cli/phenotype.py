"""`biomeformer phenotype`: what a metagenome's vector says of its host or habitat."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import InputError
from .console import doing, note, one_line, out, report_files
from .options import Revision, Threads
from .output import check_output, staged

if TYPE_CHECKING:
    from ..phenotypes.cohort_transfer import Cohort
    from ..phenotypes.study import Study

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Predict phenotypes, and say how sure that is."
)

Transform = Literal["none", "clr", "ilr"]
TargetColumn = Annotated[str, typer.Option("--target", "-t", help="Column with the classes.", show_default=False)]
Metadata = Annotated[
    Path | None, typer.Option(help="CSV or TSV with the classes.", show_default="the table's own columns")
]
Positive = Annotated[list[str] | None, typer.Option(help="Value to predict against all others; may be given again.")]
Group = Annotated[str | None, typer.Option(help="Column with subjects or batches, which no two folds share.")]
Models = Annotated[
    list[str] | None, typer.Option(help="l1, forest or boosting; may be given again.", show_default="all three")
]
ModelTransform = Annotated[
    Transform | None, typer.Option(help="Of the features.", show_default="clr for l1, none for trees")
]
Overwrite = Annotated[bool, typer.Option(help="Replace files in a folder that is not empty.")]


@app.callback()
def _phenotype() -> None:
    """Predict phenotypes from abundance vectors, and say how sure that is."""


@app.command(
    epilog="""**Examples**

    biomeformer phenotype evaluate results --target disease

    biomeformer phenotype evaluate results --target disease --species metaphlan.tsv --group subject --output study
"""
)
def evaluate(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="Folder of `biomeformer embed`, or any table of features.", show_default=False
        ),
    ],
    target: TargetColumn,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("phenotype"),
    metadata: Metadata = None,
    species: Annotated[
        Path | None, typer.Option(help="Species table to set beside: MetaPhlAn, BIOM, CSV, curatedMetagenomicData.")
    ] = None,
    positive: Positive = None,
    group: Group = None,
    model: Models = None,
    transform: ModelTransform = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats, each with other folds.")] = 5,
    permutations: Annotated[int, typer.Option(min=0, help="Permutations of the labels; each costs a repeat.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, models and permutations.")] = 0,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Cross-validate classifiers of a phenotype from abundance vectors, beside a species table where one is given.

    Nested, repeated and stratified; everything that is fitted or chosen sees training samples alone. Writes scores.csv,
    predictions.csv (out of fold) and study.json.
    """
    check_output(output, overwrite=overwrite, can_overwrite=True)
    with doing("reading the tables"):
        from ..phenotypes import MODELS, make_target, read_feature_table
        from ..phenotypes.study import run_study

        columns, where = _columns(table, metadata, target)
        ids = list(map(str, columns.index))
        main_table = read_feature_table(table, ids)
        main_name = "vectors" if main_table.provenance else "features"
        tables = {main_name: main_table}
        if species is not None:
            tables["species"] = read_feature_table(species, ids)
        for name, features in tables.items():
            for remark in features.notes:
                note(f"{name}: {remark}")
        common = [name for name in main_table.sample_ids if all(name in t.sample_ids for t in tables.values())]
        if not common:
            raise InputError(f"{table} and {species} have no sample in common; use the same sample ids in both.")
        if len(common) < len(main_table):
            note(f"{len(main_table) - len(common)} samples are not in every table and were left out")
        classes = make_target(columns, target, common, positive=positive, group_column=group, where=where)
        sets: dict[str, Any] = {name: [features] for name, features in tables.items()}
        if len(sets) > 1:
            sets["both"] = list(tables.values())
    with _Folds() as progress:
        study = run_study(
            sets,
            classes,
            models=model or MODELS,
            transform=transform,
            n_splits=folds,
            n_repeats=repeats,
            n_permutations=permutations,
            seed=seed,
            n_jobs=threads or -1,
            sources={main_name: str(table), "species": str(species), "both": "both side by side"},
            progress=progress.update,
        )
    for line in described(study):
        out(line)
    with staged(output) as partial:
        written = study.write(partial)
    report_files({what: output / path.name for what, path in written.items()})


@app.command(
    epilog="Example: `biomeformer phenotype train results --model metagenbert-mini --target disease --output my-test`"
)
def train(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Folder of `biomeformer embed`.", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The checkpoint that embedded the table.", show_default=False)
    ],
    target: TargetColumn,
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write.", show_default=False)],
    metadata: Metadata = None,
    positive: Positive = None,
    group: Group = None,
    transform: Annotated[Transform, typer.Option(help="Of the abundance vectors.")] = "clr",
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation that says how good it is.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and model.")] = 0,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Fit an L1-penalised logistic regression and write it with encoder and centroids as one checkpoint.

    The score shown, and kept in training_record.json, is cross-validated; the checkpoint is fitted on all samples.
    """
    check_output(output)
    from .runtime import start

    with doing(f"loading {model}"):
        start(threads)
        from ..embedding import AbundanceTable
        from ..loading import load
        from ..phenotypes import make_target, train_checkpoint

        abundance = AbundanceTable.read(table)
        columns, where = _columns(table, metadata, target)
        classes = make_target(columns, target, abundance.sample_ids, positive=positive, group_column=group, where=where)
        loaded = load(model, revision=revision)
    with _Folds() as progress:
        trained, study = train_checkpoint(
            loaded,
            abundance,
            classes,
            transform=transform,
            n_splits=folds,
            seed=seed,
            n_jobs=threads or -1,
            progress=progress.update,
        )
    for line in described(study):
        out(line)
    with staged(output) as partial:
        trained.save_pretrained(partial)
        (partial / "training_record.json").write_text(json.dumps(study.record, indent=1) + "\n")
    report_files({"checkpoint": output})


@app.command(
    epilog="""**Examples**

    biomeformer phenotype predict my-test sample_R1.fastq.gz sample_R2.fastq.gz

    biomeformer phenotype predict my-test results --output predictions.csv
"""
)
def predict(
    model: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Of `biomeformer phenotype train`.", show_default=False)
    ],
    reads: Annotated[
        list[Path],
        typer.Argument(
            metavar="READS|TABLE", help="One sample's file, or its two mates; or a table.", show_default=False
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV to write.", show_default="stdout")] = None,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Predict a phenotype, with its probabilities, from reads or from an abundance table."""
    if len(reads) > 2:
        raise InputError(f"{len(reads)} files were given; give one file of reads, two of mates, or a table.")
    from .runtime import start

    with doing(f"loading {model}"):
        start(threads)
        from ..embedding import AbundanceTable
        from ..loading import load_phenotype_model
        from ..phenotypes import predict_table

        loaded = load_phenotype_model(model, revision=revision)
    labels = [loaded.config.id2label[i] for i in range(loaded.config.num_labels)]
    if len(reads) == 1 and (reads[0].is_dir() or reads[0].suffix == ".parquet"):
        frame = predict_table(loaded, AbundanceTable.read(reads[0]))
        rows = [[name, *values] for name, values in zip(frame.index, frame.to_numpy().tolist(), strict=True)]
    else:
        with doing(f"reading {reads[0]}"):
            rows = [[reads[0].name, *loaded.predict(*reads).values()]]
    lines = [",".join(["sample_id", *labels])]
    lines += [",".join([str(name), *(f"{value:.6g}" for value in values)]) for name, *values in rows]
    if output is None:
        out("\n".join(lines))
    else:
        output.write_text("\n".join(lines) + "\n")
        report_files({"predictions": output})


@app.command(
    epilog="""**Examples**

    biomeformer phenotype transfer mine --test theirs --target disease

    biomeformer phenotype transfer a b c --target disease
"""
)
def transfer(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="Cohorts to train on, or to leave out in turn.", show_default=False),
    ],
    target: TargetColumn,
    test: Annotated[
        Path | None, typer.Option(help="Cohort to test on.", show_default="each of the others in turn")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("transfer"),
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or TSV with the classes of all.", show_default="the tables' own columns")
    ] = None,
    positive: Positive = None,
    model: Models = None,
    transform: ModelTransform = None,
    seed: Annotated[int, typer.Option(min=0, help="Of models and bootstraps.")] = 0,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Train on some cohorts and test on another, or leave out each cohort in turn.

    Tables of different checkpoints or contracts are refused. Intervals are over bootstraps of the tested samples.
    Writes transfer.csv.
    """
    check_output(output, overwrite=overwrite, can_overwrite=True)
    with doing("reading the tables"):
        import pandas as pd

        from ..phenotypes import MODELS, leave_one_out
        from ..phenotypes import transfer as transfer_to
        from ..phenotypes.study import DEFAULT_TRANSFORMS

        cohorts = [_cohort(path, metadata, target, positive) for path in tables]
        tested = None if test is None else _cohort(test, metadata, target, positive)
    rows = []
    for name in model or MODELS:
        options: dict[str, Any] = {
            "transform": transform or DEFAULT_TRANSFORMS.get(name, "none"),
            "seed": seed,
            "n_jobs": threads or -1,
        }
        with doing(f"{name}: training and testing"):
            if tested is None:
                found = leave_one_out(cohorts, name, **options)
            else:
                found = [transfer_to(cohorts, tested, name, **options)]
        for one in found:
            out(f"{' + '.join(one.trained_on)} -> {one.tested_on}, {name}: ROC-AUC {one.scores['roc_auc']}")
            row: dict[str, Any] = {"trained_on": ";".join(one.trained_on), "tested_on": one.tested_on, "model": name}
            for metric, span in one.scores.items():
                row |= {metric: span.mean, f"{metric}_low": span.low, f"{metric}_high": span.high}
            rows.append(row)
    with staged(output) as partial:
        pd.DataFrame(rows).to_csv(partial / "transfer.csv", index=False)
    report_files({"scores": output / "transfer.csv"})


@app.command(epilog="Example: `biomeformer phenotype robustness results --target disease`")
def robustness(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="One, or one for each fraction of the reads.", show_default=False),
    ],
    target: Annotated[str, typer.Option("--target", "-t", help="Column with the groups.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("robustness"),
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or TSV with the groups.", show_default="the tables' own columns")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="Value to set against all others; may be given again.")
    ] = None,
    permutations: Annotated[int, typer.Option(min=9, help="Of the labels.")] = 999,
    seed: Annotated[int, typer.Option(min=0, help="Of the permutations.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Test whether groups of samples differ as wholes: PERMANOVA, PERMDISP and Shannon entropy.

    By Bray-Curtis, Jensen-Shannon and Aitchison distances, with q values (Benjamini-Hochberg) over all tests of all
    tables. Writes tests.csv.
    """
    check_output(output, overwrite=overwrite, can_overwrite=True)
    with doing("reading the tables"):
        import pandas as pd

        from ..phenotypes import compare_groups
        from ..phenotypes.statistics import benjamini_hochberg

        cohorts = [_cohort(path, metadata, target, positive) for path in tables]
    rows = []
    for cohort in cohorts:
        with doing(f"{cohort.name}: {permutations} permutations"):
            groups = [cohort.target.classes[label] for label in cohort.target.labels]
            for found in compare_groups(cohort.blocks[0], groups, n_permutations=permutations, seed=seed):
                rows.append({"table": cohort.name, **vars(found)})
    for row, q in zip(rows, benjamini_hochberg([row["p"] for row in rows]), strict=True):
        row["q"] = float(q)
        what = f"{row['test']} {row['distance']}".strip()
        out(
            f"{row['table']}: {what:<27} statistic {row['statistic']:.4g}, effect {row['effect']:.3g}, "
            f"p = {row['p']:.3g}, q = {row['q']:.3g}"
        )
    with staged(output) as partial:
        pd.DataFrame(rows).to_csv(partial / "tests.csv", index=False)
    report_files({"tests": output / "tests.csv"})


def _columns(table: Path, metadata: Path | None, target: str) -> tuple[Any, str]:
    """Phenotypes and covariates of a table's samples, and where they stand."""
    from ..embedding import AbundanceTable
    from ..phenotypes import read_metadata

    if metadata is not None:
        return read_metadata(metadata), str(metadata)
    if table.is_dir() or table.suffix == ".parquet":
        return AbundanceTable.read(table).metadata, str(table)
    raise InputError(f"{table} holds features alone; say with --metadata where the column {target!r} is.")


def _cohort(table: Path, metadata: Path | None, target: str, positive: list[str] | None) -> Cohort:
    """A table's features and classes."""
    from ..phenotypes import make_target, read_feature_table
    from ..phenotypes.cohort_transfer import Cohort

    columns, where = _columns(table, metadata, target)
    features = read_feature_table(table, list(map(str, columns.index)))
    classes = make_target(columns, target, features.sample_ids, positive=positive, where=where)
    return Cohort(str(table), (features.take(classes.sample_ids, str(table)),), classes)


def described(study: Study) -> list[str]:
    """A study's figures in lines to read."""
    target = study.target
    sizes = ", ".join(f"{one_line(name)} {n}" for name, n in target.sizes.items())
    missing = f"; {target.n_missing} samples without a value" if target.n_missing else ""
    lines = [f"{target.column}: {sizes}{missing}", f"{'features':<9} {'model':<9} ROC-AUC              PR-AUC"]
    for found in study.evaluations:
        p = "" if found.permutation_p is None else f"  p = {found.permutation_p:.3g}"
        scores = f"{found.scores['roc_auc']!s:<20} {found.scores['pr_auc']}"
        lines.append(f"{found.features:<9} {found.model:<9} {scores}{p}")
    for pair in study.comparisons:
        lines.append(f"{pair.first} - {pair.second}, {pair.model}: ROC-AUC {pair.difference}, p = {pair.p:.3g}")
    return lines


class _Folds:
    """Progress over folds, in a terminal."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._task: Any = None
        self._what = ""

    def __enter__(self) -> _Folds:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bars = Progress(console=Console(stderr=True), transient=True)
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, what: str, n_done: int, n_all: int) -> None:
        """Take note of a fold."""
        if self._bars is None:
            if n_done == n_all:
                note(f"{what}: {n_all} folds")
            return
        if what != self._what:
            self._what, self._task = what, self._bars.add_task(what, total=n_all)
        self._bars.update(self._task, completed=n_done)
