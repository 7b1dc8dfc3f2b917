"""Train a genome transformer to predict a label of genomes, such as their habitat (arXiv 2405.05998).

* Genomes are split so that no group (genus, family) is in two folds. Groups of the training folds are held out for
  validation, on which training stops early, unless `patience` is null; the test fold is not involved. Scores are those
  of the test folds.
* With `--validation FILE` there is one split instead, as in the paper: the genomes that the file lists, one id per
  line, are tested, and the others are trained on. The checkpoint is then that of the split.
* Contigs are shuffled in every epoch; the order of genes within them is kept. With `genes_per_step` a step uses a
  random subset of a genome's genes, which is faster and reduces overfitting to few genomes.
* Genomes of similar length are batched together, to reduce padding. Vectors are read genome by genome from disk, or
  with `--streaming` from the Hub, and the next batch is prefetched.
* `held_out_genera` names groups that are in no fold and not trained on; the final model is evaluated on them once.
* A temperature is fitted to the predictions of the test folds, by which the model's probabilities are calibrated. The
  range of the training genomes is kept in its config: `biomeformer genome predict` says which genomes are unlike them.
* AdamW, linear warm-up and decay, class weights. Processes share each batch: gradients, and with `dropout: 0` or
  `micro_batches` results, equal those of one process.

    biomeformer genome embed genomes.csv --protein-encoder facebook/esm2_t36_3B_UR50D --output embedded --device cuda
    accelerate launch recipes/train_genome_transformer.py --config recipes/configs/train_genome_transformer/paper.yaml \
        --genomes embedded --target habitat --group genus --output RUN

RUN gets `model/`, trained on all genomes for the median number of epochs of the folds (or on those of the split), with
`scores.csv`, `predictions.csv` and `study.json` (`biomeformer phenotype report RUN` draws them), `accuracy.csv`
(genomes, precision, recall and F1 by class, and the accuracy of all, the paper's table of results), `history.csv` and
`training_record.json`. The record lists the genomes that the model was trained on, which `biomeformer genome attribute`
leaves out. The same command resumes after the last finished epoch.

Exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from rich.console import Console
from rich.table import Table
from sklearn.metrics import recall_score

from biomeformer import GenomeTransformerConfig, GenomeTransformerForSequenceClassification, GenomeTransformerProcessor
from biomeformer.errors import InputError
from biomeformer.genomes.dataset import DatasetGenomes, StreamedGenomes, open_genomes
from biomeformer.genomes.embedding import RESULTS, EmbeddedGenomes
from biomeformer.genomes.prediction import PROTEIN_ENCODER
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.genomes.training_genomes import TRAINING_GENOMES, read_held_out, read_ids
from biomeformer.genomes.training_range import MIN_GENOMES, training_range
from biomeformer.io.spreadsheets import write_spreadsheet
from biomeformer.io.tables import missing_words
from biomeformer.models.genome_transformer.configuration_genome_transformer import POOLING_MODES, POSITIONS
from biomeformer.phenotypes import Study, Target, make_target, read_metadata
from biomeformer.phenotypes.evaluation import folds
from biomeformer.phenotypes.study import STUDY_FILES, study_of_folds
from biomeformer.phenotypes.trained_folds import evaluate_folds, split_validation
from biomeformer.runs.prefetch import prefetch
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.runs.progress import cell, note, out
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training.batches import Epochs, bucketed_batches, evaluate_rows, to_device
from biomeformer.training.calibration import Calibration, calibrate, scale
from biomeformer.training.command import RecipeParser, run_main
from biomeformer.training.config import (
    AT_LEAST_ONE,
    DROPOUT,
    FRACTION,
    MIXED_PRECISION,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Config,
    Range,
)
from biomeformer.training.folds import median_epoch
from biomeformer.training.loop import Plan, Validation, train
from biomeformer.training.losses import class_weights, negative_log_likelihood
from biomeformer.training.run import RECORD, TrainingRun
from biomeformer.training.schedules import linear_warmup_decay

transformers.utils.logging.disable_progress_bar()
MAX_COPIED_BYTES = 200_000_000
ACCURACY = "accuracy.csv"


@dataclass
class RecipeConfig(Config):
    """Fields of the YAML file.

    Attributes:
        hidden_size: Hidden size.
        num_hidden_layers: Number of layers.
        num_attention_heads: Number of attention heads.
        intermediate_size: Hidden size of the feed-forward networks.
        positions: `none`, `contig` or `genome`.
        pooling: `mean`, `cls` or `attention`.
        dropout: Dropout of embeddings, feed-forward networks and residuals.
        max_genes: Maximum number of genes per genome.
        n_epochs: Maximum number of epochs, over which the learning rate decays to zero.
        patience: Epochs without a lower validation loss after which training stops; null holds out no validation groups
            and trains all epochs, which suits few genomes.
        batch_genomes: Genomes per step, shared among processes.
        micro_batches: Parts of a step's batch, each of which is one forward pass; one per process by default. With
            dropout, losses do not depend on the number of processes only if this is set.
        learning_rate: Peak learning rate.
        warmup: Fraction of the steps with a rising learning rate.
        weight_decay: Weight decay of AdamW.
        max_grad_norm: Gradients are clipped to this norm.
        class_weights: Whether to weight classes inversely to their frequency.
        label_smoothing: Fraction of a label that is spread over all classes.
        genes_per_step: Number of genes of a genome per training step, sampled each time; all by default.
        gradient_checkpointing: Whether to recompute activations instead of keeping them.
        mixed_precision: `auto` (bf16 on a GPU that supports it), `bf16` or `no`.
        held_out_genera: File with one genus (or other group of `--group`) per line, relative to the YAML file. Their
            genomes are in no fold and not trained on: the final model is evaluated on them.
        n_folds: Folds per repeat of the cross-validation.
        n_repeats: Repeats of the cross-validation.
        seed: Seed of all random choices.
    """

    hidden_size: int = 640
    num_hidden_layers: int = 15
    num_attention_heads: int = 1
    intermediate_size: int = 2560
    positions: str = "contig"
    pooling: str = "mean"
    dropout: float = 0.1
    max_genes: int = 4096
    n_epochs: int = 16
    patience: int | None = 4
    batch_genomes: int = 8
    micro_batches: int | None = None
    learning_rate: float = 1e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    class_weights: bool = True
    label_smoothing: float = 0.0
    genes_per_step: int | None = None
    gradient_checkpointing: bool = False
    mixed_precision: str = "auto"
    held_out_genera: str | None = None
    n_folds: int = 5
    n_repeats: int = 1
    seed: int = 0

    ranges = {
        "hidden_size": AT_LEAST_ONE,
        "num_hidden_layers": AT_LEAST_ONE,
        "num_attention_heads": AT_LEAST_ONE,
        "intermediate_size": AT_LEAST_ONE,
        "positions": POSITIONS,
        "pooling": POOLING_MODES,
        "dropout": DROPOUT,
        "max_genes": AT_LEAST_ONE,
        "n_epochs": AT_LEAST_ONE,
        "patience": AT_LEAST_ONE,
        "batch_genomes": AT_LEAST_ONE,
        "micro_batches": AT_LEAST_ONE,
        "learning_rate": POSITIVE,
        "warmup": FRACTION,
        "weight_decay": NOT_NEGATIVE,
        "max_grad_norm": POSITIVE,
        "label_smoothing": DROPOUT,
        "genes_per_step": AT_LEAST_ONE,
        "mixed_precision": MIXED_PRECISION,
        # One split is no cross-validation: --validation names its genomes.
        "n_folds": Range(2),
        "n_repeats": AT_LEAST_ONE,
        "seed": SEED,
    }


class Trainer:
    """Trains models on the same genomes, one after the other."""

    def __init__(
        self,
        config: RecipeConfig,
        run: TrainingRun,
        genomes: EmbeddedGenomes | DatasetGenomes | StreamedGenomes,
        target: Target,
    ) -> None:
        self.config, self.run, self.genomes, self.target = config, run, genomes, target
        self.source = str(genomes.folder) if isinstance(genomes, EmbeddedGenomes) else genomes.name
        self.accelerator = run.accelerator
        encoder = genomes.preprocessing
        self.processor = GenomeTransformerProcessor(
            protein_encoder=genomes.encoder_location if isinstance(genomes, EmbeddedGenomes) else encoder["name"],
            protein_encoder_sha256=encoder["weights_sha256"],
            protein_size=encoder["hidden_size"],
            max_residues=encoder["max_residues"],
            protein_pooling=encoder["pooling"],
            max_genes=config.max_genes,
        )
        n_genes = genomes.n_genes
        longest = min(config.max_genes, config.genes_per_step or config.max_genes)
        self.lengths = np.array([min(int(n_genes[name]), longest) for name in target.sample_ids])

    def new_model(self, *key: int) -> GenomeTransformerForSequenceClassification:
        """Build a model initialized from the seed and `key`."""
        config, classes = self.config, self.target.classes
        torch.manual_seed(int(np.random.default_rng([config.seed, *key]).integers(2**31)))
        model = GenomeTransformerForSequenceClassification(
            GenomeTransformerConfig(
                protein_size=self.processor.protein_size,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                intermediate_size=config.intermediate_size,
                hidden_dropout_prob=config.dropout,
                positions=config.positions,
                pooling=config.pooling,
                max_genes=config.max_genes,
                label_name=self.target.column,
                id2label=dict(enumerate(classes)),
                label2id={name: i for i, name in enumerate(classes)},
            )
        )
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        return model

    def genome(self, row: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors and contigs of a genome; with a generator, contigs are shuffled and genes sampled."""
        name = self.target.sample_ids[row]
        contigs = self.genomes.contig_ids(name)
        if rng is None:
            return self.genomes.vectors(name), contigs
        ranks = rng.permutation(int(contigs.max()) + 1)[contigs]
        order = np.argsort(ranks, kind="stable")
        n_kept = self.config.genes_per_step
        if n_kept is not None and n_kept < len(order):
            order = order[np.sort(rng.choice(len(order), n_kept, replace=False))]
        return self.genomes.vectors(name, order), ranks[order]

    def batch(self, rows: Sequence[int] | np.ndarray, *key: int) -> dict[str, torch.Tensor]:
        """Return genomes as arguments of the model, shuffled by a generator for `key` if one is given."""
        pairs = [
            self.genome(row, np.random.default_rng([self.config.seed, *key, row]) if key else None) for row in rows
        ]
        return self.processor([vectors for vectors, _ in pairs], [contigs for _, contigs in pairs])

    def batches(self, rows: np.ndarray, *key: int) -> list[np.ndarray]:
        """Return the batches of an epoch."""
        rng = np.random.default_rng([self.config.seed, *key])
        return bucketed_batches(rows, self.lengths, self.config.batch_genomes, 8, rng)

    def train(
        self, rows: np.ndarray, validation: np.ndarray, n_epochs: int, stage: int
    ) -> tuple[GenomeTransformerForSequenceClassification, int]:
        """Train on the given genomes, or resume; return the model after its best epoch, and that epoch.

        Args:
            rows: Genomes to train on.
            validation: Genomes for early stopping; if empty, all epochs are trained.
            n_epochs: Maximum number of epochs.
            stage: Number of this training in the run.
        """
        config, accelerator = self.config, self.accelerator
        weights = torch.ones(len(self.target.classes), dtype=torch.float32)
        if config.class_weights:
            weights = torch.from_numpy(class_weights(self.target.labels[rows], len(self.target.classes))).float()
        weights = weights.to(accelerator.device)
        epochs = Epochs(n_epochs, lambda epoch: self.batches(rows, 2, stage, epoch))
        model = self.new_model(1, stage)

        def draw(step: int, micro: int, n_micro_batches: int) -> dict[str, Any] | None:
            epoch, batch = epochs.rows(step)
            own = batch[micro::n_micro_batches]
            if not len(own):
                return None
            return {"inputs": self.batch(own, 4, stage, epoch), "labels": torch.from_numpy(self.target.labels[own])}

        def loss(wrapped: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
            labels = batch["labels"]
            losses = torch.nn.functional.cross_entropy(
                wrapped(**batch["inputs"]).logits,
                labels,
                weight=weights,
                label_smoothing=config.label_smoothing,
                reduction="sum",
            )
            return losses, weights[labels].sum()

        def validate() -> Validation:
            labels = self.target.labels[validation]
            return Validation(loss=negative_log_likelihood(self.predict(model, validation), labels))

        early_stopping = len(validation) > 0
        plan = Plan.of_epochs(
            epochs.n_steps,
            epochs.steps_per_epoch,
            schedule=linear_warmup_decay(epochs.n_steps, config.warmup),
            micro_batches=config.micro_batches,
            patience=config.patience if early_stopping else None,
            max_grad_norm=config.max_grad_norm,
            seed=config.seed,
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        outcome = train(
            self.run, stage, model, optimizer, plan, draw, loss, validate if early_stopping else None, name="genomes"
        )
        return model, outcome.best_step // epochs.steps_per_epoch

    def training_range(self, rows: np.ndarray) -> dict[str, Any] | None:
        """Return the range of the genomes that were trained on; see `biomeformer.genomes.training_range`."""
        names = [self.target.sample_ids[row] for row in rows]
        genomes, n_kept = self.genomes, self.config.max_genes
        if len(names) < MIN_GENOMES:
            return None
        gc = genomes.genomes["gc"].astype(float) if isinstance(genomes, EmbeddedGenomes) else None
        means = [genomes.vectors(name)[:n_kept].astype(np.float32).mean(0) for name in names]
        return training_range(
            [] if gc is None else [gc[name] for name in names],
            [int(genomes.n_genes[name]) for name in names],
            np.array(means, np.float64),
        )

    @torch.no_grad()
    def predict(self, model: GenomeTransformerForSequenceClassification, rows: np.ndarray) -> np.ndarray:
        """Predict probabilities `(n_rows, n_classes)` of genomes, which are divided among the processes."""

        def compute(own: np.ndarray) -> Iterator[np.ndarray]:
            with closing(prefetch((self.batch([int(rows[i])]) for i in own), check=self.run.check)) as batches:
                for batch in batches:
                    with self.accelerator.autocast():
                        logits = model(**to_device(batch, self.accelerator.device)).logits
                    yield logits.double().softmax(1).cpu().numpy()

        return evaluate_rows(self.run.processes, len(rows), len(self.target.classes), compute)


def accuracy_by_class(target: Target, tests: Sequence[np.ndarray], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compute overall accuracy, accuracy by class and the confusion matrix, over all test folds."""
    confusion = np.zeros((len(target.classes), len(target.classes)), np.int64)
    for test, fold in zip(tests, results, strict=True):
        np.add.at(confusion, (target.labels[test], np.array(fold["probabilities"]).argmax(1)), 1)
    accuracies = confusion.diagonal() / confusion.sum(1)
    return {
        "accuracy": round(float(confusion.trace() / confusion.sum()), 4),
        "by_class": {name: round(float(value), 4) for name, value in zip(target.classes, accuracies, strict=True)},
        "confusion": {
            name: dict(zip(target.classes, row.tolist(), strict=True))
            for name, row in zip(target.classes, confusion, strict=True)
        },
    }


def show(accuracy: dict[str, Any], column: str) -> None:
    """Print the confusion matrix."""
    classes = list(accuracy["confusion"])
    table = Table()
    for header in (column, "accuracy", *(f"predicted as {name}" for name in classes)):
        table.add_column(cell(header))
    for name, row in accuracy["confusion"].items():
        table.add_row(cell(name), f"{accuracy['by_class'][name]:.3f}", *map(str, row.values()))
    Console().print(table)


def evaluate(trainer: Trainer) -> tuple[Study, list[dict[str, Any]], dict[str, Any], Calibration]:
    """Train and test on every fold; return the study, each fold's results, accuracy by class, and the calibration."""
    config, target = trainer.config, trainer.target

    def train_fold(i: int, rest: np.ndarray, validation: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        model, epoch = trainer.train(rest, validation, config.n_epochs, i)
        return {"best_epoch": epoch, "probabilities": trainer.predict(model, test).tolist()}

    study, splits, results = evaluate_folds(
        trainer.run,
        target,
        train_fold,
        n_folds=config.n_folds,
        n_repeats=config.n_repeats,
        seed=config.seed,
        metric="balanced_accuracy",
        features="genomes",
        model="genome_transformer",
        source=trainer.source,
        early_stopping=config.patience is not None,
    )
    tests = [test for _, test in splits]
    calibration = calibrate(
        [(np.array(fold["probabilities"]), target.labels[test]) for test, fold in zip(tests, results, strict=True)]
    )
    return study, results, accuracy_by_class(target, tests, results), calibration


def divide(
    ids: Iterable[str], columns: pd.DataFrame, group: str | None, held_out: frozenset[str], where: str
) -> tuple[list[str], list[str]]:
    """Divide genomes into those to train on and those of held-out groups.

    Raises:
        InputError: Groups are held out and there is no column with them, or no genome is of one.
    """
    ids = list(ids)
    if not held_out:
        return ids, []
    if group is None or group not in columns.columns:
        raise InputError(f"held_out_genera needs the column with the genera in {where}; name it with --group.")
    groups = columns[group].astype(str)
    is_held_out = [groups.get(name) in held_out for name in ids]
    held_out_ids = [name for name, is_out in zip(ids, is_held_out, strict=True) if is_out]
    if not held_out_ids:
        raise InputError(f"{where}, column {group}: no genome is of a held-out group; give null as held_out_genera.")
    return [name for name, is_out in zip(ids, is_held_out, strict=True) if not is_out], held_out_ids


def select_held_out(target: Target, every: Target, held_out_ids: Sequence[str]) -> Target:
    """Return the target of the genomes of held-out groups that have a class, with the classes of `target`.

    Args:
        target: Classes of the genomes to train on.
        every: Classes of all genomes.
        held_out_ids: Genomes of held-out groups.

    Raises:
        InputError: No held-out genome has a class, or one has a class that is not trained on.
    """
    class_of = {name: every.classes[label] for name, label in zip(every.sample_ids, every.labels, strict=True)}
    names = tuple(name for name in held_out_ids if name in class_of)
    unknown = sorted({class_of[name] for name in names} - set(target.classes))
    if unknown or not names:
        what = f"no genome of class {unknown[0]!r} is left to train on" if unknown else "no held-out genome has a class"
        raise InputError(f"{what}; hold out other groups.")
    labels = np.array([target.classes.index(class_of[name]) for name in names])
    return replace(target, sample_ids=names, labels=labels, groups=None, group_column=None)


def evaluate_held_out(
    trainer: Trainer, model: GenomeTransformerForSequenceClassification, target: Target, temperature: float
) -> dict[str, Any]:
    """Evaluate the final model on the genomes of held-out groups; probabilities are calibrated by the temperature."""
    held_out = Trainer(trainer.config, trainer.run, trainer.genomes, target)
    classes, labels = target.classes, target.labels
    probabilities = scale(held_out.predict(model, np.arange(len(labels))), temperature)
    predicted = probabilities.argmax(1)
    return {
        "n_genomes": len(labels),
        "classes": target.sizes,
        "balanced_accuracy": round(float(recall_score(labels, predicted, average="macro")), 4),
        "accuracy": round(float((predicted == labels).mean()), 4),
        "log_loss": round(negative_log_likelihood(probabilities, labels), 4),
        "genomes": {
            name: {"true": classes[label], **{c: round(float(p), 4) for c, p in zip(classes, row, strict=True)}}
            for name, label, row in zip(target.sample_ids, labels, probabilities, strict=True)
        },
    }


def read_split(file: Path, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Return the training rows and the validation rows of a split, of which a file lists the latter.

    Raises:
        InputError: The file cannot be read, names a genome twice or one that has no class, or a class or group is
            not where it has to be.
    """
    row_of = {name: i for i, name in enumerate(target.sample_ids)}
    names = read_ids(file)
    unknown = [name for name in names if name not in row_of]
    if unknown:
        raise InputError(
            f"--validation {file} lists {len(unknown):,} genomes without a value in column {target.column!r}, such as "
            f"{unknown[0]!r}; leave them out, or give the genomes that the file is of."
        )
    is_validation = np.zeros(len(target.labels), bool)
    is_validation[[row_of[name] for name in names]] = True
    parts = {"training": ~is_validation, "validation": is_validation}
    for part, rows in parts.items():
        lacking = sorted(set(range(len(target.classes))) - set(target.labels[rows].tolist()))
        if lacking:
            raise InputError(
                f"--validation {file} leaves no genome of class {target.classes[lacking[0]]!r} for {part}; list others."
            )
    if target.groups is not None:
        shared = sorted(set(target.groups[is_validation].tolist()) & set(target.groups[~is_validation].tolist()))
        if shared:
            raise InputError(
                f"--validation {file}: {target.group_column} {shared[0]!r} and {len(shared) - 1} others have genomes "
                "on both sides of the split; list whole groups, or leave out --group."
            )
    return np.flatnonzero(~is_validation), np.flatnonzero(is_validation)


def evaluate_split(
    trainer: Trainer, training: np.ndarray, validation: np.ndarray
) -> tuple[GenomeTransformerForSequenceClassification, Study, list[dict[str, Any]], dict[str, Any], Calibration]:
    """Train on one part of the genomes and test on the other; return the model and what `evaluate` returns.

    Early stopping, unless `patience` is null, uses a part of the training genomes, as in cross-validation.
    """
    config, target = trainer.config, trainer.target
    rest, early = split_validation(target, training, config.seed, early_stopping=config.patience is not None)
    model, epoch = trainer.train(rest, early, config.n_epochs, 0)
    probabilities = trainer.predict(model, validation)
    tested = target.take(validation)
    study = study_of_folds(
        tested,
        [(rest, np.arange(len(validation)))],
        [probabilities],
        features="genomes",
        model="genome_transformer",
        n_splits=1,
        n_repeats=1,
        seed=config.seed,
        source=trainer.source,
    )
    results = [{"best_epoch": epoch, "probabilities": probabilities.tolist()}]
    accuracy = accuracy_by_class(target, [validation], results)
    return model, study, results, accuracy, calibrate([(probabilities, tested.labels)])


def write_accuracy(accuracy: dict[str, Any], folder: Path) -> Path:
    """Write the scores of each class, and the accuracy of all genomes, as CSV.

    The columns are `class`, `n_genomes` (tested), `n_correct`, `accuracy` (of a class its recall), `precision`,
    `recall` and `f1`; the last row, `all`, has no precision, recall and F1.
    """
    confusion = pd.DataFrame(accuracy["confusion"]).T
    hits, predicted = pd.Series(np.diagonal(confusion), confusion.index), confusion.sum()
    table = pd.DataFrame({"n_genomes": confusion.sum(axis=1), "n_correct": hits})
    table.loc["all"] = table.sum()
    table["accuracy"] = table["n_correct"] / table["n_genomes"]
    # Of a class that is never predicted there is no precision.
    table["precision"] = hits / predicted.where(predicted > 0)
    table["recall"] = hits / confusion.sum(axis=1)
    table["f1"] = 2 * hits / (confusion.sum(axis=1) + predicted)
    write_spreadsheet(table.rename_axis("class").reset_index(), folder / ACCURACY, index=False)
    return folder / ACCURACY


def parser() -> RecipeParser:
    """Build the argument parser."""
    parser = RecipeParser(__file__, __doc__)
    parser.add_training_options()
    parser.add_argument("--genomes", required=True, help="folder of `biomeformer genome embed`, or a dataset")
    parser.add_argument("--revision", help="branch, tag or commit of a dataset on the Hub")
    parser.add_argument(
        "--streaming", action="store_true", help="stream a dataset from the Hub instead of downloading it"
    )
    parser.add_argument("--target", required=True, help="column with the classes")
    parser.add_argument(
        "--missing", action="append", default=[], help="further word for a missing value; may be given again"
    )
    parser.add_argument(
        "--not-missing", action="append", default=[], help="word that is a class, such as NA; may be given again"
    )
    parser.add_argument("--group", help="column with genus or family, which no two folds share")
    parser.add_argument("--metadata", type=Path, help="CSV or TSV with the columns, instead of the catalog's")
    parser.add_argument(
        "--validation", type=Path, help="file with the ids of the genomes to test on, in place of cross-validation"
    )
    return parser


def run_recipe(args: argparse.Namespace, processes: ProcessGroup | None = None) -> None:
    """Cross-validate, train on all genomes and write the results.

    Raises:
        BiomeformerError: The input is invalid, or a signal was received.
    """
    began = time.monotonic()
    config = RecipeConfig.from_yaml(args.config, args.overrides)
    genomes = open_genomes(args.genomes, revision=args.revision, streaming=args.streaming)
    columns = genomes.metadata if args.metadata is None else read_metadata(args.metadata)
    where = str(args.metadata or args.genomes)
    held_out_groups = read_held_out(args.config, config.held_out_genera)
    ids, held_out_ids = divide(genomes.metadata.index.astype(str), columns, args.group, held_out_groups, where)
    words = missing_words(args.missing, args.not_missing)
    target = make_target(columns, args.target, ids, group_column=args.group, where=where, missing=words)
    if target.n_missing and (processes is None or processes.rank == 0):
        note(f"{args.target}: left out: {target.describe_missing()}")
    held_out_target = None
    if held_out_ids:
        # Of all genomes: those of held-out groups alone may be too few for a target, or of one class.
        every = make_target(columns, args.target, [*ids, *held_out_ids], where=where, missing=words)
        held_out_target = select_held_out(target, every, held_out_ids)
    split = None if args.validation is None else read_split(args.validation, target)
    if split is None:
        list(folds(target, config.n_folds, 1, config.seed))
    accelerator = make_accelerator(config.mixed_precision, cpu=args.cpu, processes=processes)
    labels = [f"{name}\t{label}" for name, label in zip(target.sample_ids, target.labels.tolist(), strict=True)]
    identity = {
        "config": asdict(config),
        "target": target.column,
        "classes": list(target.classes),
        "group": args.group,
        "genomes": hashlib.sha256("\n".join(labels).encode()).hexdigest(),
        "protein_encoder": genomes.preprocessing["weights_sha256"],
        **({"held_out": sorted(held_out_ids)} if held_out_groups else {}),
    }
    if split is not None:
        identity["validation"] = [target.sample_ids[row] for row in split[1]]
    # What the vectors are of; those of a dataset are not compared.
    inputs = [genomes.folder / RESULTS["genes"]] if isinstance(genomes, EmbeddedGenomes) else []
    run = TrainingRun(args.output, identity, accelerator, processes, inputs=inputs, files=[*STUDY_FILES, ACCURACY])
    trainer = Trainer(config, run, genomes, target)
    try:
        with torch.device("meta"):
            trainer.new_model()
    except ValueError as error:
        raise InputError(f"{args.config}: {error}") from error
    with run.open(args.overwrite):
        if run.is_main:
            run.record_inputs()
        if split is None:
            study, results, accuracy, calibration = evaluate(trainer)
            n_epochs = median_epoch(results)
            trained = np.arange(len(target.labels))
            model, _ = trainer.train(trained, trained[:0], n_epochs, len(results))
        else:
            trained, validation = split
            model, study, results, accuracy, calibration = evaluate_split(trainer, trained, validation)
            n_epochs = results[0]["best_epoch"]
        held_out = None
        if held_out_target is not None:
            held_out = evaluate_held_out(trainer, model, held_out_target, calibration["temperature"])
            held_out["groups"] = sorted(held_out_groups)
        if run.is_main:
            encoder = Path(trainer.processor.protein_encoder)
            size = sum(file.stat().st_size for file in encoder.glob("*.safetensors")) if encoder.is_dir() else None
            is_copied = size is not None and size <= MAX_COPIED_BYTES
            if is_copied:
                # A small encoder is included, so that the checkpoint is self-contained.
                trainer.processor.protein_encoder = PROTEIN_ENCODER
            record = {
                "recipe": "recipes/train_genome_transformer.py",
                "config": asdict(config),
                "target": study.record["target"],
                "scores": study.record["scores"],
                "accuracy": accuracy,
                "calibration": dict(calibration),
                "n_epochs": n_epochs,
                "best_epochs": [fold["best_epoch"] for fold in results],
                TRAINING_GENOMES: [target.sample_ids[row] for row in trained],
                "protein_encoder": genomes.preprocessing | {"name": trainer.processor.protein_encoder},
                "device": describe_device(accelerator),
                "wall_time_s": round(time.monotonic() - began, 1),
            }
            if held_out is not None:
                record["held_out"] = held_out
            study.write(args.output)
            write_accuracy(accuracy, args.output)
            model.processor = trainer.processor
            model.config.temperature = calibration["temperature"]
            model.config.training_range = trainer.training_range(trained)
            folder = run.write_model(lambda path: save(model, path, encoder if is_copied else None), record)
            scores = study.evaluations[0].scores
            show(accuracy, target.column)
            out(
                f"{target.column}: accuracy {accuracy['accuracy']:.3f}, balanced accuracy "
                f"{scores['balanced_accuracy']}, ROC-AUC {scores['roc_auc']}"
            )
            out(
                f"log-loss of held-out folds {calibration['log_loss']:.3f}, calibrated "
                f"{calibration['log_loss_calibrated']:.3f} (temperature {calibration['temperature']:.3g})"
            )
            if held_out is not None:
                out(
                    f"{held_out['n_genomes']} genomes of held-out groups: balanced accuracy "
                    f"{held_out['balanced_accuracy']:.3f}, log-loss {held_out['log_loss']:.3f}"
                )
            for warning in study.fit_warnings:
                out(f"warning: {warning}")
            out(f"Wrote {folder}")
        run.delete_states()


def save(model: GenomeTransformerForSequenceClassification, folder: Path, encoder: Path | None) -> None:
    """Write the checkpoint, including its protein encoder if one is given."""
    if encoder is not None:
        load_protein_encoder(encoder).model.save_pretrained(folder / PROTEIN_ENCODER, save_original_format=False)
        if (encoder / RECORD).is_file():
            shutil.copyfile(encoder / RECORD, folder / PROTEIN_ENCODER / RECORD)
    model.save_pretrained(folder)


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit code."""
    args = parser().parse_args(arguments)
    return run_main(run_recipe, args, "the same command resumes after the last finished epoch")


if __name__ == "__main__":
    sys.exit(main())
