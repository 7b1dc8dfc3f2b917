"""Every kind of file that the package writes and later trusts: how to write a small one, and its public reader.

`KINDS` is the table. `mutate` damages a folder of such files, and `outcome` says what the reader made of it.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from biomeformer.errors import BiomeformerError
from biomeformer.io.records import CHECKSUM, checksum_of_record

SAMPLES = ("s1", "s2", "s3", "s4", "s5", "s6")
CLASSES = ("healthy", "ill")


@dataclass(frozen=True)
class Kind:
    """A kind of own file.

    Attributes:
        write: Writes a small one to a folder that exists.
        read: Reads it with the public reader; returns a text that is equal for equal values.
        ignored: Patterns of files that no reader of the package reads.
    """

    write: Callable[[Path], Any]
    read: Callable[[Path], str]
    ignored: tuple[str, ...] = field(default=())

    def files(self, folder: Path) -> list[Path]:
        """Return the files that are read."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return [path for path in paths if not any(path.match(pattern) for pattern in self.ignored)]


def text(*values: Any) -> str:
    """Return nested arrays and frames as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, pd.DataFrame):
            return [list(map(str, value.columns)), list(value.index), [plain(value[name]) for name in value.columns]]
        if isinstance(value, (np.ndarray, pd.Series)):
            return [str(value.dtype), value.tolist()]
        if isinstance(value, dict):
            # The order of keys means nothing.
            return [[name, plain(part)] for name, part in sorted(value.items(), key=str)]
        if isinstance(value, (list, tuple)):
            return [plain(part) for part in value]
        return value

    return repr(plain(values))


def abundance_table() -> Any:
    from biomeformer.metagenomes import AbundanceTable
    from biomeformer.metagenomes.sample import READ_STATS

    counts = np.random.default_rng(0).integers(0, 1000, (len(SAMPLES), 4))
    index = pd.Index(SAMPLES, name="sample_id")
    return AbundanceTable(
        SAMPLES,
        counts,
        pd.DataFrame({name: counts.sum(1) for name in READ_STATS}, index=index),
        pd.DataFrame({"age": list("123456"), "land": ["Österreich", "", "dk", "dk", "é", "x"]}, index=index),
        {"model": "m", "weights_sha256": "ab", "n_clusters": 4, "versions": {"biomeformer": "0"}},
    )


def read_abundance(path: Path) -> str:
    from biomeformer.metagenomes import AbundanceTable

    table = AbundanceTable.read(path)
    return text(table.sample_ids, table.counts, table.read_stats, table.metadata, table.provenance)


def write_exported(folder: Path) -> None:
    from biomeformer.metagenomes.export import export_table

    export_table(abundance_table(), folder, "datasets")


PREPROCESSING = {"hidden_size": 6, "weights_sha256": "0f"}
PROTEINS = [f"M{'ACDEFGHIKL'[i % 10] * (1 + i // 10)}" for i in range(20)]


def write_store(folder: Path) -> None:
    from biomeformer.genomes.store import ProteinStore, protein_keys

    store, vectors = ProteinStore(folder / "store", PREPROCESSING), np.random.default_rng(0).normal(size=(20, 6))
    for begin in (0, 10):
        store.add(protein_keys(PROTEINS[begin : begin + 10]), vectors[begin : begin + 10])


def read_store(folder: Path) -> str:
    from biomeformer.genomes.store import ProteinStore, protein_keys

    return text(ProteinStore(folder / "store", PREPROCESSING).get(protein_keys(PROTEINS)))


def write_genomes(folder: Path) -> None:
    from biomeformer.genomes.embedding import _write_tables
    from biomeformer.genomes.store import protein_keys

    write_store(folder)
    parts = {}
    for i, name in enumerate(("g1", "g2")):
        keys = protein_keys(PROTEINS[10 * i : 10 * i + 10])
        genes = {
            "gene_ids": [f"{name}_{j}" for j in range(10)],
            "annotations": [{"product": "x"} if j % 2 else {} for j in range(10)],
            "contigs": ["c1", "c2"],
            "method": "given",
            "gc": 0.5,
        }
        arrays = {
            "keys": keys.view(np.uint8).reshape(-1, 16),
            "contig_ids": np.arange(10) // 5,
            "places": np.stack([np.arange(10), np.arange(10) + 5, np.ones(10), np.zeros(10)], 1).astype(np.int64),
            "text": np.frombuffer(json.dumps(genes).encode(), np.uint8),
        }
        parts[name] = SimpleNamespace(arrays=lambda arrays=arrays: arrays, stats={"n_genes": 10, "n_distinct": 10})
    metadata = pd.DataFrame({"habitat": ["soil", "host"]}, index=pd.Index(["g1", "g2"], name="genome_id"))
    catalog = SimpleNamespace(metadata=lambda: metadata)
    encoder = SimpleNamespace(name="esm", preprocessing=PREPROCESSING)
    # The folder may be moved: a store that is not where the record says is looked for in the folder.
    _write_tables(folder, parts, catalog, encoder, Path("/nowhere/store"))


def read_genomes(folder: Path) -> str:
    from biomeformer.genomes.embedding import EmbeddedGenomes

    genomes = EmbeddedGenomes.read(folder)
    each = [[name, vectors, contigs, genomes.gene_table(name)] for name, vectors, contigs in genomes]
    return text(genomes.metadata, genomes.n_genes, genomes.hit_rate, genomes.preprocessing, genomes.genes, each)


def write_dataset(folder: Path) -> None:
    import datasets

    from biomeformer.genomes.embedding import EmbeddedGenomes

    datasets.disable_progress_bars()
    write_genomes(folder)
    EmbeddedGenomes.read(folder).to_dataset().to_parquet(folder / "data" / "train.parquet", batch_size=1)
    for path in (folder / "store", *folder.glob("genes.*"), *folder.glob("genomes.*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def read_dataset(folder: Path) -> str:
    from biomeformer.genomes.dataset import open_genomes

    genomes = open_genomes(folder)
    names = [str(name) for name in genomes.metadata.index]
    each = [[name, genomes.vectors(name), genomes.contig_ids(name)] for name in names]
    return text(genomes.metadata, genomes.n_genes, genomes.preprocessing, each)


def write_study(folder: Path) -> None:
    from biomeformer.phenotypes.study import study_of_folds
    from biomeformer.phenotypes.target import Target

    labels = np.array([0, 1, 0, 1, 0, 1])
    target = Target("state", SAMPLES, CLASSES, labels, group_column=None, n_missing=0)
    splits = [
        (np.arange(2, 6), np.arange(2)),
        (np.array([0, 1, 4, 5]), np.array([2, 3])),
        (np.arange(4), np.arange(4, 6)),
    ]
    probabilities = [np.array([[0.7, 0.3], [0.4, 0.6]]) for _ in splits]
    options: dict[str, Any] = {"n_splits": 3, "n_repeats": 1, "seed": 0, "source": "x", "features": "f", "model": "l1"}
    study_of_folds(target, splits, probabilities, **options).write(folder)


def read_study(folder: Path) -> str:
    from biomeformer.phenotypes import Study

    study = Study.read(folder)
    return text(study.predictions, study.record)


def write_network(folder: Path) -> None:
    from biomeformer.attribution.network import GeneInteractionNetwork

    sides = {
        f"{name}_{side}": [f"{name}{side}a", f"{name}{side}b"]
        for name in ("gene", "contig", "annotation")
        for side in "12"
    }
    pairs = {"genome_id": ["g1", "g2"], "class": ["soil", "host"], "true_class": ["soil", ""], **sides}
    pairs |= {"family_1": ["f1", "f1"], "family_2": ["f2", "f3"], "attention": [0.5, 0.25], "cluster": [0, -1]}
    genomes = {"genome_id": ["g1", "g2"], "class": ["soil", "host"], "true_class": ["soil", ""], "n_genes": [3, 4]}
    GeneInteractionNetwork(
        pairs=pd.DataFrame(pairs),
        clusters=pd.DataFrame({"cluster": [0], "n_pairs": [1], "classes": ["soil"]}),
        families=pd.DataFrame({"family": ["f1"], "n_genes": [2]}),
        genomes=pd.DataFrame(genomes),
        enrichment=pd.DataFrame({"cluster": [0], "term": ["x"], "p": [0.5]}),
        record={
            "model": {"name": "m", "classes": ["soil", "host"]},
            "genomes": {"failed": {}},
            "settings": {"method": "attention"},
            "clustering": {},
            "figures": {"n_families": 3},
            "pseudo_examples": [],
        },
    ).save(folder)


def read_network(folder: Path) -> str:
    from biomeformer.attribution.network import FILES, GeneInteractionNetwork

    network = GeneInteractionNetwork.load(folder)
    return text(network.record, *(getattr(network, name) for name in FILES), sorted(network.to_networkx().nodes))


def _predictions() -> pd.DataFrame:
    from biomeformer.sequences.prediction_table import prediction_table

    rng = np.random.default_rng(0)
    first = rng.random(40)
    ids, splits = [f"q{i}" for i in range(40)], ["validation"] * 20 + ["test"] * 20
    return prediction_table("binary", CLASSES, ids, splits, np.arange(40) % 2, np.stack([first, 1 - first], 1))


def write_predictions(folder: Path) -> None:
    from biomeformer.sequences.prediction_table import write_predictions

    write_predictions(_predictions(), folder)


def read_predictions(folder: Path) -> str:
    from biomeformer.sequences.prediction_table import read_predictions

    return text(read_predictions(folder))


def write_evaluation(folder: Path) -> None:
    from biomeformer.sequences.evaluation import SequenceEvaluation

    SequenceEvaluation.from_predictions(_predictions(), "binary", CLASSES, n_bootstraps=5).save(folder)


def read_evaluation(folder: Path) -> str:
    from biomeformer.sequences.evaluation import SequenceEvaluation

    return text(vars(SequenceEvaluation.load(folder)))


def write_prepared(folder: Path) -> None:
    from biomeformer.sequences.prepare import prepare_sequences

    rng, table = random.Random(0), folder.parent / f"{folder.name}-labels.csv"
    rows = ["".join(rng.choices("ACGT", k=30)) + f",{'no yes'.split()[i % 2]}" for i in range(60)]
    table.write_text("\n".join(["sequence,label", *rows]) + "\n")
    prepare_sequences([table], folder / "data", read_encoder=None)
    table.unlink()


def read_prepared(folder: Path) -> str:
    from biomeformer.sequences.training_data import read_training_data

    data = read_training_data(folder / "data")
    return text(data.task, data.label_names, data.fingerprint)


def _training(folder: Path) -> Any:
    import torch
    from accelerate.state import AcceleratorState

    from biomeformer.training.accelerator import make_accelerator
    from biomeformer.training.run import TrainingRun

    AcceleratorState._reset_state(True)
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    run = TrainingRun(folder / "run", {"config": {"seed": 0}}, make_accelerator("no", cpu=True))
    run.open(False)
    _, optimizer = run.accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.01))
    return run, model, optimizer


def write_training_run(folder: Path) -> None:
    import torch

    run, model, optimizer = _training(folder)
    with run:
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()
        for stage in (0, 1):
            run.append({"stage": stage, "step": 1, "training_loss": "0.5", "learning_rate": "0.01"})
        run.save_best(model)
        position = {"best_step": 1, "best": {"loss": "0.25", "score": None}, "stale": 0, "seconds": 1.5}
        run.save_state(1, 1, position)
        run.append({"stage": 1, "step": 2, "training_loss": "0.25", "learning_rate": "0.01"})


def read_training_run(folder: Path) -> str:
    import torch

    run, model, optimizer = _training(folder)
    with run:
        step, position = run.load_state(1) or (0, None)
        weights = {name: value.numpy().copy() for name, value in model.state_dict().items()}
        with torch.no_grad():
            model.weight.zero_()
        run.load_best(model)
        best = {name: value.numpy() for name, value in model.state_dict().items()}
        moments = [[name, value.tolist()] for state in optimizer.state.values() for name, value in state.items()]
        return text(step, position, weights, best, moments, run.history(0), run.history(1))


def _train_folds(folder: Path, n_trained: list[int]) -> list[dict[str, Any]]:
    from accelerate import Accelerator

    from biomeformer.training.folds import train_folds
    from biomeformer.training.run import TrainingRun

    def train(i: int, *rows: np.ndarray) -> dict[str, Any]:
        n_trained.append(i)
        return {"best_epoch": i + 1, "probabilities": [[0.25, 0.75], [0.5, 0.5]]}

    (folder / "run").mkdir(exist_ok=True)
    run = TrainingRun(folder / "run", {}, Accelerator(cpu=True))
    splits = [(np.arange(3), np.arange(3, 5))] * 3
    return train_folds(run, splits, lambda i, rows: (rows, rows), train, lambda test, values: "")


def write_folds(folder: Path) -> None:
    _train_folds(folder, [])


def read_folds(folder: Path) -> str:
    return text(_train_folds(folder, []))


def descriptions() -> Any:
    from biomeformer.metagenomes import ClusterDescriptions

    frame = pd.DataFrame({"cluster": [0, 1], "n_reads": [5, 0], "genus": ["Ä", ""], "genus_purity": [0.5, np.nan]})
    texts = {"model": "m", "weights_sha256": "ab", "dtype": "float32", "device": "cpu"}
    record: Any = texts | {
        "format_version": 1,
        "revision": None,
        "contract": {"case": "upper"},
        "n_clusters": 2,
        "ranks": ["genus"],
        "catalog": {"name": "g.csv", "n_genomes": 3, "sha256": "cd"},
        "settings": {"seed": 0},
        "n_reads": 5,
        "n_not_used": 1,
        "versions": {"biomeformer": "0"},
    }
    return ClusterDescriptions(frame, record)


def write_descriptions(folder: Path) -> None:
    from biomeformer.metagenomes.cluster_descriptions import NAME

    descriptions().write(folder / NAME)


def read_descriptions(folder: Path) -> str:
    from biomeformer.metagenomes import ClusterDescriptions

    read = ClusterDescriptions.read(folder)
    return text(read.frame.fillna(-1), read.record)


def write_predictor(folder: Path) -> None:
    from biomeformer.phenotypes import FeatureTable, make_target, train_predictor
    from biomeformer.phenotypes.covariates import make_covariates

    rng, ids = np.random.default_rng(0), tuple(f"s{i}" for i in range(24))
    values = rng.random((24, 5)) + 0.01
    frame = pd.DataFrame({"age": [f"{20 + i}" for i in range(24)]}, index=pd.Index(ids, name="sample_id"))
    frame["state"] = np.where(values[:, 0] > values[:, 1], *CLASSES)
    blocks = {"species": FeatureTable(ids, tuple("abcde"), values), "covariates": make_covariates(frame, ["age"], ids)}
    target = make_target(frame, "state", ids)
    train_predictor(blocks, target, "l1", n_splits=2, n_jobs=1, force=True)[0].save_pretrained(folder)


def read_predictor(folder: Path) -> str:
    from biomeformer.phenotypes import PhenotypePredictor

    predictor = PhenotypePredictor.from_pretrained(folder)
    rows = np.linspace(-2, 2, 6 * 3).reshape(3, 6)
    return text(
        predictor.needs, predictor.classes, predictor.predict_columns(rows), [b.record for b in predictor.blocks]
    )


KINDS = {
    "cluster descriptions": Kind(write_descriptions, read_descriptions),
    "abundance table": Kind(lambda folder: abundance_table().write(folder / "abundance.parquet"), read_abundance),
    "exported abundance table": Kind(write_exported, read_abundance, ("README.md", "provenance.json")),
    "protein store": Kind(write_store, read_store),
    "embedded genomes": Kind(write_genomes, read_genomes),
    "dataset of genomes": Kind(write_dataset, read_dataset),
    "phenotype predictor": Kind(write_predictor, read_predictor),
    "study": Kind(write_study, read_study, ("scores.csv",)),
    "network": Kind(write_network, read_network, ("network.graphml",)),
    "predictions": Kind(write_predictions, read_predictions),
    "evaluation": Kind(write_evaluation, read_evaluation),
    "prepared sequences": Kind(write_prepared, read_prepared, ("README.md", "conflicts.tsv")),
    "training run": Kind(write_training_run, read_training_run, ("lock",)),
    "folds": Kind(write_folds, read_folds),
}

MUTATIONS = ("flip", "flips", "truncate", "empty", "grow", "delete", "swap", "key removed", "other type", "signed")


def mutate(kind: Kind, folder: Path, rng: random.Random, mutation: str) -> bool:
    """Damage a file; return whether the kind has a file for this mutation."""
    files = kind.files(folder)
    if mutation in ("key removed", "other type", "signed"):
        files = [path for path in files if path.suffix == ".json"]
    if mutation == "swap":
        files = [path for path in files if sum(other.suffix == path.suffix for other in files) > 1]
    if not files:
        return False
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    match mutation:
        case "flip":
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        case "flips":
            for _ in range(8):
                content[rng.randrange(len(content))] = rng.randrange(256)
        case "truncate":
            del content[rng.randrange(len(content)) :]
        case "empty":
            content = bytearray()
        case "grow":
            content += rng.randbytes(rng.choice([1, 16, 200]))
        case "delete":
            path.unlink()
            return True
        case "swap":
            other = rng.choice([file for file in files if file.suffix == path.suffix and file != path])
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
            return True
        case "key removed" | "other type" | "signed":
            record = json.loads(content)
            key = rng.choice([key for key in record if key != CHECKSUM])
            if mutation == "key removed":
                del record[rng.choice(list(record))]
            else:
                record[key] = rng.choice([None, [], {}, "x", 7, -1, 0.5, True, [["x"]], {"x": None}])
            if mutation == "signed":
                # As a record of another version that has a checksum.
                record.pop(CHECKSUM)
                record[CHECKSUM] = checksum_of_record(record)
            content = bytearray(json.dumps(record).encode())
    path.write_bytes(content)
    return True


def outcome(kind: Kind, folder: Path, expected: str, mutation: str) -> str:
    """Read a damaged folder; return `equal` or `refused`, or what is wrong: an other value or a raw exception."""
    logging.disable(logging.WARNING)
    try:
        value = kind.read(folder)
    except BiomeformerError as error:
        message = str(error)
        return "refused" if message and "\n" not in message else f"a message of several lines: {message!r}"
    except BaseException as error:
        return f"raw {type(error).__name__}: {error}"
    finally:
        logging.disable(logging.NOTSET)
    # A value that was signed is no damage; it must only be read or refused.
    return (
        "equal" if value == expected or mutation == "signed" else f"another value: {value[:300]} for {expected[:300]}"
    )


__all__ = ["KINDS", "MUTATIONS", "Kind", "mutate", "outcome"]
