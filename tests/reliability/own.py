"""Every kind of file that the package writes and later reads, with an example and the reader that trusts it."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from factories import (
    random_genome_transformer,
    random_sequences,
    tiny_esm,
    tiny_metagenbert,
    write_cohort,
    write_protein_genomes,
)

from .formats import Format
from .mutations import BINARY, TENSORS, TEXT_JSON, TEXT_TABLE, Mutate


@cache
def _model() -> Any:
    return tiny_metagenbert()


def _make_run(folder: Path) -> None:
    """A finished run of three samples, one of which failed."""
    from biomeformer.metagenomes import run_cohort

    cohort = write_cohort(folder / "cohort", n_samples=3, n_reads=8)
    (folder / "cohort" / "s2.fastq.gz").write_bytes(b"@r\nACGT\n")
    run_cohort(_model(), cohort, folder / "run")


def _table(table: Any) -> Any:
    return {
        "ids": list(table.sample_ids),
        "counts": table.counts,
        "read_stats": table.read_stats.to_dict("list"),
        "metadata": table.metadata.to_dict("list"),
        "provenance": table.provenance,
    }


def _resumed(folder: Path) -> Any:
    """The table of the run, resumed: a damaged part is taken again."""
    from biomeformer.metagenomes import run_cohort

    outcome = run_cohort(_model(), folder / "cohort" / "cohort.csv", folder / "run")
    # Attempts and times differ.
    return {"table": _table(outcome.result), "failed": outcome.failed}


def _status(folder: Path) -> Any:
    from biomeformer.runs.run_folder import run_status

    status = run_status(folder / "run")
    attempts = [attempt.get("status") for attempt in status.attempts]
    return {
        "items": status.n_items,
        "failed": status.failed,
        "noun": status.noun,
        "bytes": status.bytes_done + status.bytes_left,
        "attempts": attempts,
    }


def _failed_status(folder: Path) -> Any:
    """Whether the failure is known; an unreadable reason may be lost if the sample then counts as left."""
    from biomeformer.runs.run_folder import run_status

    status = run_status(folder / "run")
    return "failed or left" if status.left == ("s2",) else status.failed


def _abundance(folder: Path) -> Any:
    from biomeformer.metagenomes import AbundanceTable

    return _table(AbundanceTable.read(folder / "run" / "abundance.parquet"))


def _make_export(folder: Path) -> None:
    from biomeformer.metagenomes import AbundanceTable
    from biomeformer.metagenomes.export import export_table

    _make_run(folder)
    (folder / "export").mkdir()
    export_table(AbundanceTable.read(folder / "run"), folder / "export", "datasets")


def _exported(folder: Path) -> Any:
    from biomeformer.metagenomes import AbundanceTable

    return _table(AbundanceTable.read(folder / "export"))


def _make_genomes(folder: Path, n_genomes: int = 8) -> None:
    from biomeformer.genomes.catalog import read_catalog
    from biomeformer.genomes.embedding import embed_genomes
    from biomeformer.genomes.proteins import load_protein_encoder

    (folder / "proteins").mkdir(parents=True)
    encoder = load_protein_encoder(tiny_esm(folder / "esm"))
    catalog = read_catalog(write_protein_genomes(folder / "proteins", n_genomes, 12))
    embed_genomes(encoder, catalog, folder / "embedded").raise_for_failures()


def _genomes(folder: Path) -> Any:
    from biomeformer.genomes.embedding import EmbeddedGenomes

    genomes = EmbeddedGenomes.read(folder / "embedded")
    return {
        "genomes": genomes.genomes.reset_index().to_dict("list"),
        "record": genomes.record,
        "vectors": {name: [vectors, contigs] for name, vectors, contigs in genomes},
        "genes": {str(name): genomes.gene_table(str(name)).to_dict("list") for name in genomes.genomes.index[:2]},
    }


def _make_study(folder: Path) -> None:
    import pandas as pd

    from biomeformer.phenotypes import FeatureTable, make_target
    from biomeformer.phenotypes.study import run_study

    rng = np.random.default_rng(0)
    ids = tuple(f"s{i}" for i in range(16))
    values = rng.integers(1, 50, (16, 4)).astype(float)
    table = FeatureTable(ids, ("a", "b", "c", "d"), values)
    metadata = pd.DataFrame({"state": ["x", "y"] * 8}, index=pd.Index(ids, name="sample_id"))
    target = make_target(metadata, "state", ids)
    study = run_study({"clusters": [table]}, target, models=("l1",), n_splits=2, n_repeats=1, n_jobs=1)
    (folder / "study").mkdir()
    study.write(folder / "study")


def _study(folder: Path) -> Any:
    from biomeformer.phenotypes import Study

    study = Study.read(folder / "study")
    return {
        "record": json.loads(json.dumps(study.record)),
        "predictions": study.predictions.reset_index().to_dict("list"),
        "sources": study.sources,
    }


def _make_prepared(folder: Path) -> None:
    from biomeformer import prepare_sequences

    for name, seed in (("a", 1), ("b", 2)):
        sequences = random_sequences(20, 50, 60, seed)
        (folder / f"{name}.fa").write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(sequences)))
    prepare_sequences([f"{name}={folder / name}.fa" for name in "ab"], folder / "prepared", read_encoder=None)


def _prepared(folder: Path) -> Any:
    from biomeformer.sequences.training_data import read_training_data

    data = read_training_data(folder / "prepared")
    return {
        "task": data.task,
        "names": list(data.label_names),
        "splits": {
            name: [split.ids, split.sequences(range(len(split))), split.truth] for name, split in data.splits.items()
        },
    }


def _make_network(folder: Path) -> None:
    from biomeformer.attribution import AttributionSettings, ClusterSettings, attribute
    from biomeformer.genomes.embedding import EmbeddedGenomes

    # More pairs would be mapped by UMAP, which takes seconds to compile.
    _make_genomes(folder, 3)
    settings = AttributionSettings(top=1, n_ablated=1, n_controls=1)
    genomes = EmbeddedGenomes.read(folder / "embedded")
    model = random_genome_transformer()
    attribute(
        model, genomes, folder / "network", settings=settings, clustering=ClusterSettings(min_samples=2, n_shuffles=5)
    )


def _network(folder: Path) -> Any:
    from biomeformer.attribution import GeneInteractionNetwork
    from biomeformer.attribution.network import FILES

    network = GeneInteractionNetwork.load(folder / "network")
    tables = {name: getattr(network, name).to_dict("list") for name in FILES}
    return tables | {"record": network.record}


N_STEPS, STOP = 6, 4


class _Stopped(Exception):
    """A training run was interrupted."""


def _train(folder: Path, *, stop: int | None = None) -> Any:
    """Train a small model, or resume its training; stop at a step if one is given."""
    import torch
    from accelerate.state import AcceleratorState
    from torch import nn

    from biomeformer.training.accelerator import make_accelerator
    from biomeformer.training.loop import Plan, Validation, train
    from biomeformer.training.run import TrainingRun
    from biomeformer.training.schedules import linear_warmup_decay

    AcceleratorState._reset_state(True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    n_validations = 0

    def draw(step: int, micro: int, n_micro_batches: int) -> Any:
        if step == stop:
            raise _Stopped
        rng = np.random.default_rng((step, micro))
        return {"values": torch.from_numpy(rng.normal(size=(5, 3)).astype(np.float32))}

    def loss(wrapped: Any, batch: Any) -> Any:
        errors = (wrapped(batch["values"])[:, 0] - batch["values"].sum(1)) ** 2
        return errors.sum(), torch.tensor(float(len(errors)))

    def validate() -> Validation:
        nonlocal n_validations
        n_validations += 1
        return Validation(score=1.0 - 0.1 * n_validations)

    plan = Plan.of_epochs(N_STEPS, 2, schedule=linear_warmup_decay(N_STEPS, 0.25), patience=9, max_grad_norm=0.5)
    with TrainingRun(folder, {"seed": 0}, make_accelerator("no", cpu=True)).open(False) as run:
        train(run, 0, model, optimizer, plan, draw, loss, validate)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return {"weights": weights, "history": (folder / "history.csv").read_text()}


def _make_training(folder: Path) -> None:
    with contextlib.suppress(_Stopped):
        _train(folder / "run", stop=STOP)


def _trained(folder: Path) -> Any:
    return _train(folder / "run")


def _make_predictions(folder: Path) -> None:
    from biomeformer.sequences.prediction_table import prediction_table, write_predictions

    rng = np.random.default_rng(0)
    predicted = rng.dirichlet([1, 1], 12)
    splits = ["validation", "test"] * 6
    table = prediction_table(
        "binary", ["no", "yes"], [f"q{i}" for i in range(12)], splits, rng.integers(0, 2, 12), predicted
    )
    write_predictions(table, folder)


def _predictions(folder: Path) -> Any:
    from biomeformer.sequences.prediction_table import SplitPredictions, read_predictions

    table = read_predictions(folder)
    found = SplitPredictions.from_table(table, "binary", ["no", "yes"])
    return {"rows": table.to_dict("list"), "arrays": {name: list(arrays) for name, arrays in found.arrays.items()}}


def _kinds() -> list[Format]:
    """Return the kinds of the table of own files that have no format of their own below; a trial takes one file each."""
    import own_files as table

    mutations = {".json": TEXT_JSON, ".csv": TEXT_TABLE, ".tsv": TEXT_TABLE, ".safetensors": TENSORS}
    formats = []
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in table.KINDS.items():
            example = Path(folder) / name
            example.mkdir()
            kind.write(example)
            for path in kind.files(example):
                file = path.relative_to(example).as_posix()
                # Names of segments are random.
                pattern = re.sub(r"[0-9a-f]{32}", "*", file)
                each = Format(f"{name}: {pattern}", pattern, mutations.get(path.suffix, BINARY), kind.write, kind.read)
                if each.name not in {other.name for other in formats}:
                    formats.append(each)
    return formats


def own_files() -> list[Format]:
    """Return the kinds of files."""

    def own(name: str, file: str, mutations: list[Mutate], make: Callable, outcome: Callable) -> Format:
        return Format(name, file, mutations, make, outcome)

    return [
        own("part of a run", "run/run/parts/s1.safetensors", TENSORS, _make_run, _resumed),
        own("run.json, resumed", "run/run/run.json", TEXT_JSON, _make_run, _resumed),
        own("run.json, status", "run/run/run.json", TEXT_JSON, _make_run, _status),
        own("failure of a run", "run/run/failed/s2.json", TEXT_JSON, _make_run, _resumed),
        own("abundance.parquet", "run/abundance.parquet", BINARY, _make_run, _abundance),
        own("export for datasets", "export/data/train.parquet", BINARY, _make_export, _exported),
        own("protein store, record", "embedded/store/store.json", TEXT_JSON, _make_genomes, _genomes),
        *(
            own(f"protein store, {kind}", f"embedded/store/segments/*.{kind}.*", BINARY, _make_genomes, _genomes)
            for kind in ("keys", "vectors")
        ),
        own("genomes.parquet", "embedded/genomes.parquet", BINARY, _make_genomes, _genomes),
        own("genes.parquet", "embedded/genes.parquet", BINARY, _make_genomes, _genomes),
        own("genomes.json", "embedded/genomes.json", TEXT_JSON, _make_genomes, _genomes),
        own("prepared dataset", "prepared/data/*train*", BINARY, _make_prepared, _prepared),
        own("study.json", "study/study.json", TEXT_JSON, _make_study, _study),
        own("study, predictions.csv", "study/predictions.csv", TEXT_TABLE, _make_study, _study),
        own("network.json", "network/network.json", TEXT_JSON, _make_network, _network),
        own("network, pairs.parquet", "network/pairs.parquet", BINARY, _make_network, _network),
        own("network, families.tsv", "network/families.tsv", TEXT_TABLE, _make_network, _network),
        own("training state, weights", "run/state/0-4/model.safetensors", TENSORS, _make_training, _trained),
        own("training state, optimizer", "run/state/0-4/optimizer*", BINARY, _make_training, _trained),
        own("training state, random states", "run/state/0-4/random_states*", BINARY, _make_training, _trained),
        own("training state, position", "run/state/0-4/position.json", TEXT_JSON, _make_training, _trained),
        own("training state, best weights", "run/state/best.safetensors", TENSORS, _make_training, _trained),
        own("training, history.csv", "run/history.csv", TEXT_TABLE, _make_training, _trained),
        own("training, run.json", "run/run.json", TEXT_JSON, _make_training, _trained),
        own("sequence predictions", "predictions.parquet", BINARY, _make_predictions, _predictions),
        *_kinds(),
    ]
