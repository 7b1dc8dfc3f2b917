"""`biomeformer phenotype predict`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError, SamplesFailedError
from ...io.atomic import atomic_write
from ...io.compression import remove_compression_suffix
from ...io.spreadsheets import write_spreadsheet
from ...io.tables import missing_words
from ...runs.progress import Progress
from ..console import doing, next_command, note, out_lines, record, report_files
from ..options import DEFAULT_DEVICE, Device, Revision, Threads
from ..runs import list_failures
from .options import Missing, NotMissing, Species
from .reading import print_remarks, read_species

if TYPE_CHECKING:
    import pandas as pd

    from ...checkpoints.source import CheckpointSource
    from ...phenotypes import FeatureTable, PhenotypePredictor

SHEET_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")


def predict(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Checkpoint from `biomeformer phenotype train`.", show_default=False),
    ],
    reads: Annotated[
        list[Path],
        typer.Argument(
            metavar="READS|COHORT.csv|TABLE",
            help="One sample's file, or its two mates; a cohort's sheet; or a table like that of training.",
            show_default=False,
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV to write.", show_default="stdout")] = None,
    species: Species = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or TSV with the covariates.", show_default="the table's own columns")
    ] = None,
    missing: Missing = None,
    not_missing: NotMissing = None,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated", help="Probabilities at the temperature that suits the held-out folds, of a predictor."
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Checkpoint that embeds reads for a predictor.",
            show_default="the one that it names",
        ),
    ] = None,
    device: Device = DEFAULT_DEVICE,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Predict a phenotype, with its probabilities, from reads, a cohort's sheet, or a table.

    A predictor of several blocks of features needs a table of each: --species, and --metadata for covariates. With
    numbers it gives the interval that held 95 % of the held-out ones. A sample that cannot be used is named, and the
    others are predicted.
    """
    if len(reads) > 2:
        raise InputError(f"{len(reads)} files were given; give one file of reads, two of mates, a sheet, or a table.")
    words = missing_words(missing or (), not_missing or ())
    from ..runtime import start

    with doing(f"loading {checkpoint}"):
        start(threads, models=False)
        from ...checkpoints.source import open_checkpoint
        from ...phenotypes.predictor import MODEL_TYPE, PhenotypePredictor

        source = open_checkpoint(checkpoint, revision=revision)
        predictor = PhenotypePredictor.from_source(source) if source.model_type == MODEL_TYPE else None
    if predictor is None:
        options = {"--species": species, "--metadata": metadata, "--model": model, "--calibrated": calibrated or None}
        for name, value in options.items():
            if value is not None:
                raise InputError(f"{checkpoint} is a model of reads alone, with its encoder; leave {name} out.")
        predictions, failed = _predict_with_head(source, reads, device)
    else:
        tables, metadata_frame, where, failed = _read_blocks(predictor, reads, species, metadata, model, device)
        with doing("predicting"):
            predicted = predictor.predict(tables, metadata_frame, where=where, missing=words, calibrated=calibrated)
        for remark in predicted.notes:
            note(remark)
        for warning in predicted.warnings:
            note(f"warning: {warning}")
        predictions, failed = predicted.frame, failed | predicted.failed
        if predicted.intervals is not None:
            predictions = predictions.join(predicted.intervals.add_prefix(f"{predictor.target}_"))
    list_failures(failed, None)
    if failed and predictions.empty:
        raise SamplesFailedError(f"none of the {len(failed)} samples of {reads[0]} could be used.", failed)
    content = write_spreadsheet(predictions, index_label="sample_id", float_format="%.6g", lineterminator="\n")
    if output is None:
        out_lines(content.rstrip("\n"))
    else:
        with atomic_write(output) as file:
            file.write_text(content, encoding="utf-8")
        report_files({"predictions": output})
    record(predictions=predictions.rename_axis("sample_id").reset_index(), failed=failed)
    next_command("inspect", checkpoint)
    if failed:
        raise SamplesFailedError(
            f"{len(failed)} of {len(failed) + len(predictions)} samples could not be used, and have no prediction "
            f"({', '.join(list(failed)[:3])}{', …' if len(failed) > 3 else ''}); correct their files.",
            failed,
        )


def _predict_with_head(source: CheckpointSource, reads: list[Path], device: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predict with a checkpoint that holds encoder and head; return also why samples could not be used."""
    import pandas as pd

    from ...checkpoints.loading import load_phenotype_model
    from ...metagenomes import AbundanceTable
    from ...metagenomes.abundance_table import is_abundance_source
    from ...phenotypes import predict_table
    from ...phenotypes.prediction import predict_cohort
    from ..runtime import note_device

    with doing(f"loading {source.name}"):
        # At the commit that was opened.
        loaded = load_phenotype_model(source.name, revision=source.options.get("revision"), device=device)
    note_device(loaded.device)
    if len(reads) == 1 and is_abundance_source(reads[0]):
        return predict_table(loaded, AbundanceTable.read(reads[0])), {}
    if len(reads) == 1 and is_sheet(reads[0]):
        from ...reads import read_cohort

        # Nothing is divided into folds here, so that samples may share files.
        cohort = read_cohort(reads[0], allow_shared_files=True)
        with Progress() as progress:
            return predict_cohort(loaded, cohort, partial(progress.update, "predicting"))
    with doing(f"reading {reads[0]}"):
        predicted = loaded.predict(*reads)
    return pd.DataFrame([list(predicted.values())], index=[reads[0].name], columns=list(predicted)), {}


def _read_blocks(
    predictor: PhenotypePredictor,
    reads: list[Path],
    species: Path | None,
    metadata: Path | None,
    model: str | None,
    device: str,
) -> tuple[dict[str, FeatureTable], pd.DataFrame | None, dict[str, str], dict[str, str]]:
    """Read the tables that a predictor needs.

    Returns:
        The tables by block, the metadata if it needs covariates, their names for messages, and why samples of a sheet
        could not be embedded.
    """
    from ...phenotypes import read_feature_table, read_metadata

    main = predictor.block("clusters") or predictor.blocks[0]
    columns = None if metadata is None else read_metadata(metadata)
    if predictor.block("covariates") is None and metadata is not None:
        raise InputError(f"{predictor.name} was fitted on {predictor.needs}, which needs no --metadata; leave it out.")
    if model is not None and main.kind != "clusters":
        raise InputError(f"{predictor.name} was fitted on {predictor.needs}, which needs no --model; leave it out.")
    if main.name == "species" and species is not None:
        raise InputError(f"{predictor.name} was fitted on {predictor.needs}; give its table once.")
    if main.kind != "clusters" and len(reads) > 1:
        raise InputError(f"{predictor.name} was fitted on {predictor.needs}; give one table of {main.name}.")
    where = {main.name: str(reads[0]), "covariates": str(metadata or reads[0])}
    failed: dict[str, str] = {}
    tables: dict[str, FeatureTable] = {}
    if main.kind == "covariates":
        columns = read_metadata(reads[0])
    elif main.kind == "clusters":
        tables[main.name], own, failed = _clusters(predictor, reads, model, device, len(predictor.blocks) > 1)
        columns = own if columns is None else columns
    else:
        tables[main.name] = read_feature_table(reads[0]) if columns is None else read_species(reads[0], columns)
        print_remarks(main.name, tables[main.name])
    if species is not None:
        where["species"] = str(species)
        ids = next(iter(tables.values())).sample_ids if tables else ()
        tables["species"] = read_feature_table(species, ids)
        print_remarks("species", tables["species"])
    needs_covariates = predictor.block("covariates") is not None
    if needs_covariates and columns is None:
        raise InputError(
            f"{predictor.name} was fitted on {predictor.needs}, and {reads[0]} has no such columns; give the table "
            "with them by --metadata."
        )
    return tables, columns if needs_covariates else None, where, failed


def _clusters(
    predictor: PhenotypePredictor, reads: list[Path], model: str | None, device: str, needs_ids: bool
) -> tuple[FeatureTable, pd.DataFrame | None, dict[str, str]]:
    """Return the vectors of an abundance table, a cohort or reads, the columns beside them, and failures."""
    from ...metagenomes import AbundanceTable
    from ...metagenomes.abundance_table import is_abundance_source
    from ...phenotypes import FeatureTable
    from ...phenotypes.prediction import embed_table, load_base_model
    from ...reads import SampleReads, read_cohort
    from ...reads.cohort import Cohort, CohortSample
    from ..runtime import note_device

    if len(reads) == 1 and is_abundance_source(reads[0]):
        table = AbundanceTable.read(reads[0])
        return FeatureTable.from_abundance(table), table.metadata, {}
    if len(reads) == 1 and is_sheet(reads[0]):
        # Nothing is divided into folds here, so that samples may share files.
        cohort = read_cohort(reads[0], allow_shared_files=True)
    elif needs_ids:
        raise InputError(
            f"{predictor.name} was fitted on {predictor.needs}, which are found by the sample's id; give a cohort's "
            "sheet, which names the samples."
        )
    else:
        own_reads = SampleReads.paired(*reads) if len(reads) == 2 else SampleReads.single(*reads)
        cohort = Cohort(None, (CohortSample(reads[0].name, own_reads, {}),), ())
    with doing("loading the encoder"):
        base = load_base_model(predictor, model, device=device)
    note_device(base.device)
    with Progress() as progress:
        features, failed = embed_table(base, cohort, partial(progress.update, "embedding"))
    return features, cohort.metadata() if cohort.columns else None, failed


def is_sheet(path: Path) -> bool:
    """Tell whether a file is a table of samples rather than reads, by its name."""
    return Path(remove_compression_suffix(path.name)).suffix.lower() in SHEET_SUFFIXES
