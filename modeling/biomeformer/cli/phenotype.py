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
    from ..phenotypes.study import Study

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Predict phenotypes, and say how sure that is."
)

Transform = Literal["none", "clr", "ilr"]


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
    target: Annotated[str, typer.Option("--target", "-t", help="Column with the classes.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("phenotype"),
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or TSV with the classes.", show_default="the table's own columns")
    ] = None,
    species: Annotated[
        Path | None, typer.Option(help="Species table to set beside: MetaPhlAn, BIOM, CSV, curatedMetagenomicData.")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="Value to predict against all others; may be given again.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column with subjects or batches, which no two folds share.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="l1, forest or boosting; may be given again.", show_default="all three")
    ] = None,
    transform: Annotated[
        Transform | None, typer.Option(help="Of the features.", show_default="clr for l1, none for trees")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats, each with other folds.")] = 5,
    permutations: Annotated[int, typer.Option(min=0, help="Permutations of the labels; each costs a repeat.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, models and permutations.")] = 0,
    threads: Threads = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files in a folder that is not empty.")] = False,
) -> None:
    """Cross-validate classifiers of a phenotype from abundance vectors, beside a species table where one is given.

    Nested, repeated and stratified; everything that is fitted or chosen sees training samples alone. Writes scores.csv,
    predictions.csv (out of fold) and study.json.
    """
    check_output(output, overwrite=overwrite, can_overwrite=True)
    with doing("reading the tables"):
        from ..embedding import AbundanceTable
        from ..phenotypes import MODELS, make_target, read_feature_table, read_metadata
        from ..phenotypes.study import run_study

        if metadata is not None:
            columns, where = read_metadata(metadata), str(metadata)
        elif table.is_dir() or table.suffix == ".parquet":
            columns, where = AbundanceTable.read(table).metadata, str(table)
        else:
            raise InputError(f"{table} holds features alone; say with --metadata where the column {target!r} is.")
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
    target: Annotated[str, typer.Option("--target", "-t", help="Column with the classes.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write.", show_default=False)],
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or TSV with the classes.", show_default="the table's own columns")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="Value to predict against all others; may be given again.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column with subjects or batches, which no two folds share.")
    ] = None,
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
        from ..phenotypes import make_target, read_metadata, train_checkpoint

        abundance = AbundanceTable.read(table)
        columns = abundance.metadata if metadata is None else read_metadata(metadata)
        where = str(table if metadata is None else metadata)
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
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
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
