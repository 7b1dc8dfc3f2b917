"""Train a DeepSets head on a cohort's phenotype, or the read encoder with it end to end, and cross-validate it.

A sample is a set of vectors: its own centroids (MetagenBERT-Local) or some of its reads (MetagenBERT-Sub; arXiv
2601.03295). The head pools them by mean, sum, maximum or attention. The phenotype is a class, a number, or labels of
which a sample may have several.

* Samples are split into stratified folds; with `--group` no subject or batch is in two folds. Part of the training
  folds is held out for validation, on which training stops early; the test fold is not involved. Scores are those of
  the test folds.
* The checkpoint is then trained on all samples, for the median number of epochs of the folds.
* With `train_encoder` the read encoder is trained too, from the reads' tokens. Sets must be of reads; the checkpoint's
  centroids, which its head does not use, stay those of the original encoder.
* Processes share each batch of samples: gradients, and with `dropout: 0` or `micro_batches` results, equal those of one
  process.

    accelerate launch recipes/finetune_phenotype.py --config recipes/configs/finetune_phenotype/local.yaml \
        --cohort cohort.csv --target disease --output RUN

RUN gets `model/`, which `MetagenBertForPhenotypeClassification.from_pretrained` and `biomeformer phenotype predict`
load, with `scores.csv`, `predictions.csv` and `study.json` as from `biomeformer phenotype evaluate`, `history.csv` (one
stage per fold, and the last for all samples) and `training_record.json`. Sets and finished folds are kept in `sets/`
and `folds/`, and the same command resumes after the last finished epoch.

Exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import biomeformer
from biomeformer import MetagenBertForPhenotypeClassification
from biomeformer.checkpoints.source import model_source
from biomeformer.errors import InputError
from biomeformer.io.file_identity import InputFile, compare_files, identify_files
from biomeformer.io.records import DamagedFileError
from biomeformer.io.tables import missing_words
from biomeformer.metagenomes import read_set
from biomeformer.metrics.targets import metric_name, shown_metrics
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.models.metagenbert.configuration_metagenbert import HEAD_LAYOUTS, SET_ELEMENTS, SET_POOLING_MODES
from biomeformer.models.shared.head_loss import head_loss
from biomeformer.phenotypes import Study, Target, make_target, read_metadata, with_deep_sets_head
from biomeformer.phenotypes.checkpoint import PROBLEM_TYPES
from biomeformer.phenotypes.evaluation import folds
from biomeformer.phenotypes.study import STUDY_FILES
from biomeformer.phenotypes.target import KINDS
from biomeformer.phenotypes.trained_folds import evaluate_folds
from biomeformer.reads import draw_reads, read_cohort
from biomeformer.reads.cohort import CohortSample
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.runs.progress import note, out
from biomeformer.runs.records import read_part, write_part
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training.batches import Epochs, evaluate_rows, to_device
from biomeformer.training.command import RecipeParser, run_main
from biomeformer.training.config import (
    AT_LEAST_ONE,
    DROPOUT,
    MIXED_PRECISION,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Config,
    Range,
)
from biomeformer.training.folds import median_epoch
from biomeformer.training.loop import Plan, Validation, train
from biomeformer.training.losses import prediction_loss
from biomeformer.training.run import TrainingRun

transformers.utils.logging.disable_progress_bar()
CACHE_BYTES = 2_000_000_000
SETS, SET = "sets", "set"


@dataclass
class RecipeConfig(Config):
    """Fields of the YAML file.

    Attributes:
        model: Folder, shipped name or Hub id of a MetagenBERT checkpoint.
        elements: Elements of a sample's set: `centroids` of its own reads, or `reads`.
        set_size: Elements per set.
        reads_per_sample: Reads drawn from each sample, for its centroids or to form sets of `set_size` reads; training
            uses other reads in each epoch, and predictions are averaged over sets of all of them.
        pooling: `mean`, `sum`, `max` or `attention`.
        head_layout: Layers of the head: `default`, or `published`: those of the MetagenBERT scripts.
        hidden_size: Hidden size of the head; of the network for each element (Phi) in the published layout.
        dropout: Dropout in the head, or in Phi.
        pooled_hidden_size: Hidden size of the network for the pooled vector (Rho) in the published layout.
        pooled_dropout: Dropout in Rho.
        train_encoder: Whether to train the read encoder too.
        n_epochs: Maximum number of epochs.
        patience: Epochs without a validation loss that is lower by `min_improvement` after which training stops.
        min_improvement: Minimum improvement, in nats per sample; of numbers, in variances of the training samples.
        batch_samples: Samples per step, shared among processes.
        micro_batches: Parts of a step's batch, each of which is one forward pass; one per process by default. With
            dropout, losses do not depend on the number of processes only if this is set.
        learning_rate: Learning rate of the head.
        encoder_learning_rate: Learning rate of the read encoder.
        weight_decay: Weight decay of AdamW.
        max_grad_norm: Gradients are clipped to this norm.
        gradient_checkpointing: Whether to recompute the encoder's activations instead of keeping them.
        mixed_precision: `auto` (bf16 on a GPU that supports it), `bf16` or `no`.
        n_folds: Folds per repeat of the cross-validation.
        n_repeats: Repeats of the cross-validation.
        revision: Branch, tag or commit of a model from the Hub.
        seed: Seed of all random choices.
    """

    model: str
    elements: str = "centroids"
    set_size: int = 64
    reads_per_sample: int = 10_000
    pooling: str = "attention"
    head_layout: str = "default"
    hidden_size: int = 64
    dropout: float = 0.1
    pooled_hidden_size: int = 256
    pooled_dropout: float = 0.2
    train_encoder: bool = False
    n_epochs: int = 100
    patience: int = 15
    min_improvement: float = 0.01
    batch_samples: int = 8
    micro_batches: int | None = None
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 1e-5
    weight_decay: float = 1e-2
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    mixed_precision: str = "auto"
    n_folds: int = 5
    n_repeats: int = 1
    revision: str | None = None
    seed: int = 0

    ranges = {
        "elements": SET_ELEMENTS,
        "set_size": AT_LEAST_ONE,
        "reads_per_sample": AT_LEAST_ONE,
        "pooling": SET_POOLING_MODES,
        "head_layout": HEAD_LAYOUTS,
        "hidden_size": AT_LEAST_ONE,
        "dropout": DROPOUT,
        "pooled_hidden_size": AT_LEAST_ONE,
        "pooled_dropout": DROPOUT,
        "n_epochs": AT_LEAST_ONE,
        "patience": AT_LEAST_ONE,
        "min_improvement": NOT_NEGATIVE,
        "batch_samples": AT_LEAST_ONE,
        "micro_batches": AT_LEAST_ONE,
        "learning_rate": POSITIVE,
        "encoder_learning_rate": POSITIVE,
        "weight_decay": NOT_NEGATIVE,
        "max_grad_norm": POSITIVE,
        "mixed_precision": MIXED_PRECISION,
        "n_folds": Range(2),
        "n_repeats": AT_LEAST_ONE,
        "seed": SEED,
    }

    def check(self, where: str) -> None:
        """Raise `InputError` if values contradict each other."""
        if self.train_encoder and self.elements != "reads":
            raise InputError(f"{where}: train_encoder needs elements: reads; k-means propagates no gradient.")


class Sets:
    """The sets of a cohort, one file per sample, made by all processes."""

    def __init__(self, config: RecipeConfig, run: TrainingRun, model: MetagenBertModel) -> None:
        self.config, self.run, self.model = config, run, model
        self.folder = run.path / SETS
        self._read = self._load

    def make(self, samples: Sequence[CohortSample]) -> None:
        """Make the sets that do not exist yet.

        Raises:
            InputError: A sample cannot be used.
        """
        processes = self.run.processes
        self.folder.mkdir(parents=True, exist_ok=True)
        names = processes.on_main(lambda: [sample.sample_id for sample in samples if not self._is_made(sample)])
        missing = [sample for sample in samples if sample.sample_id in set(names)]
        for sample in self.run.track(missing[processes.rank :: processes.size], "sets"):
            files = [InputFile.from_path(path) for path in sample.files()]
            arrays = self._tokens(sample) if self.config.train_encoder else self._vectors(sample)
            inputs = identify_files(files)
            path = self._path(sample.sample_id)
            write_part(path, arrays, item_id=sample.sample_id, fingerprint=SET, inputs=inputs, stats={})
            self.run.check()
        # A barrier has no timeout while heartbeats arrive: one process may take much longer than another.
        processes.barrier()
        processes.on_main(
            lambda: self.run.record_inputs(
                lambda: [file for sample in samples for file in read_part(self._path(sample.sample_id))[0].inputs]
            )
        )
        size = max(self._path(sample.sample_id).stat().st_size for sample in samples)
        self._read = lru_cache(maxsize=max(CACHE_BYTES // size, 1))(self._load)

    def _is_made(self, sample: CohortSample) -> bool:
        """Tell whether there is a sample's set, made from its files as they are."""
        try:
            part, _ = read_part(self._path(sample.sample_id))
        except FileNotFoundError:
            return False
        except DamagedFileError:
            note(f"note: the set of {sample.sample_id} is damaged, so it is made again")
            return False
        if (part.item_id, part.fingerprint) != (sample.sample_id, SET):
            return False
        files = [InputFile.from_path(path) for path in sample.files()]
        if compare_files(part.inputs, files, self.run.check) == "changed":
            note(f"note: the reads of {sample.sample_id} have changed, so its set is made again")
            return False
        return True

    def _vectors(self, sample: CohortSample) -> dict[str, np.ndarray]:
        elements = read_set(
            self.model,
            sample.reads,
            elements=self.config.elements,
            size=self.config.set_size,
            n_reads=self.config.reads_per_sample,
            seed=self.config.seed,
            check=self.run.check,
        )
        return {"vectors": elements.vectors, "weights": elements.weights}

    def _tokens(self, sample: CohortSample) -> dict[str, np.ndarray]:
        batch, _ = draw_reads(sample.reads, self.config.reads_per_sample, seed=self.config.seed)
        assert self.model.processor is not None
        packed = self.model.processor.encode_reads(batch.sequence, batch.offsets)
        if not len(packed.lengths):
            where = ", ".join(map(str, sample.reads.paths()))
            raise InputError(f"{where}: none of {len(batch)} reads drawn can be used; is this the right file?")
        return {"input_ids": packed.input_ids, "lengths": packed.lengths}

    def _path(self, sample_id: str) -> Path:
        return self.folder / f"{sample_id}.safetensors"

    def _load(self, sample_id: str) -> dict[str, np.ndarray]:
        path = self._path(sample_id)
        try:
            part, arrays = read_part(path)
        except FileNotFoundError as error:
            raise DamagedFileError(f"{path} is missing; give the same command again, which makes it.") from error
        if part.item_id != sample_id:
            raise DamagedFileError(f"{path} is that of another sample; delete it, and the same command makes it again.")
        return arrays

    def n_elements(self, sample_id: str) -> int:
        """Return the number of elements (reads or centroids) of a sample."""
        arrays = self._read(sample_id)
        return len(arrays["lengths" if "lengths" in arrays else "weights"])

    def parts(self, sample_id: str) -> list[np.ndarray]:
        """Return the sets that a prediction is averaged over, as indices of elements."""
        n = self.n_elements(sample_id)
        n_sets = -(-n // self.config.set_size)
        return [np.arange(i, n, n_sets) for i in range(n_sets)]

    def drawn(self, sample_id: str, *key: int) -> np.ndarray:
        """Draw the indices of the elements of one training step: all centroids, or `set_size` reads."""
        n, size = self.n_elements(sample_id), self.config.set_size
        if n <= size:
            return np.arange(n)
        number = int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:4], "little")
        return np.sort(np.random.default_rng([self.config.seed, number, *key]).choice(n, size, replace=False))

    def batch(self, sets: Sequence[tuple[str, np.ndarray]]) -> dict[str, torch.Tensor]:
        """Return sets as arguments of the model's `forward`: tokens, or `elements` and `weights`.

        Args:
            sets: Sample id and indices of elements of each set.
        """
        sizes = [len(indices) for _, indices in sets]
        if self.config.train_encoder:
            ids, lengths = [], []
            for name, indices in sets:
                arrays = self._read(name)
                ends = np.cumsum(arrays["lengths"])
                ids += [arrays["input_ids"][ends[i] - arrays["lengths"][i] : ends[i]] for i in indices]
                lengths.append(arrays["lengths"][indices])
            return {
                "input_ids": torch.from_numpy(np.concatenate(ids)),
                "lengths": torch.from_numpy(np.concatenate(lengths)),
                "set_sizes": torch.tensor(sizes),
            }
        elements = np.zeros((len(sets), max(sizes), self.model.config.hidden_size), np.float32)
        weights = np.zeros((len(sets), max(sizes)), np.float32)
        for row, (name, indices) in enumerate(sets):
            arrays = self._read(name)
            elements[row, : len(indices)] = arrays["vectors"][indices]
            weights[row, : len(indices)] = arrays["weights"][indices]
        return {"elements": torch.from_numpy(elements), "weights": torch.from_numpy(weights)}


def new_model(
    config: RecipeConfig, start: MetagenBertModel, target: Target, *key: int
) -> MetagenBertForPhenotypeClassification:
    """Build a model from the original encoder and a new head initialized from the seed and `key`.

    Raises:
        ValueError: The config is out of range.
    """
    torch.manual_seed(int(np.random.default_rng([config.seed, *key]).integers(2**31)))
    model = with_deep_sets_head(
        copy.deepcopy(start) if config.train_encoder else start,
        target.classes,
        problem_type=PROBLEM_TYPES[target.kind],
        set_elements=config.elements,
        set_size=config.set_size,
        set_reads=config.reads_per_sample,
        set_seed=config.seed,
        set_pooling=config.pooling,
        head_layout=config.head_layout,
        head_hidden_size=config.hidden_size,
        head_dropout=config.dropout,
        pooled_hidden_size=config.pooled_hidden_size,
        pooled_dropout=config.pooled_dropout,
    )
    encoder = model.metagenbert.requires_grad_(False).encoder
    if config.train_encoder:
        for name, value in encoder.named_parameters():
            # No read's vector passes through a pooler.
            value.requires_grad_(not name.startswith("pooler."))
        if config.gradient_checkpointing:
            encoder.gradient_checkpointing_enable()
    return model


class Trainer:
    """Trains heads, and encoders if requested, each time from the same initial model."""

    def __init__(self, config: RecipeConfig, run: TrainingRun, sets: Sets, target: Target) -> None:
        self.config, self.run, self.sets, self.target = config, run, sets, target
        self.start, self.accelerator = sets.model, run.accelerator

    def train(
        self, rows: np.ndarray, validation: np.ndarray, n_epochs: int, stage: int, key: tuple[int, ...]
    ) -> tuple[MetagenBertForPhenotypeClassification, int]:
        """Train on the given samples, or resume; return the model after its best epoch, and that epoch.

        Args:
            rows: Samples to train on.
            validation: Samples for early stopping; if empty, all epochs are trained.
            n_epochs: Maximum number of epochs.
            stage: Number of this training in the run.
            key: Key of this training's random numbers.
        """
        config, task, labels = self.config, self.target.task, self.target.labels
        mean, spread = 0.0, 1.0
        if task == "regression":
            # The head learns standardised numbers, and is rescaled at the end.
            mean, spread = float(labels[rows].mean()), float(labels[rows].std()) or 1.0
            labels = (labels - mean) / spread
        model = new_model(config, self.start, self.target, *key).to(self.accelerator.device)
        self._fit_scale(model, rows, key)
        # Frozen weights are neither saved nor distributed.
        trained = model if config.train_encoder else model.head
        encoder = [value for value in model.metagenbert.parameters() if value.requires_grad]
        groups: list[dict[str, Any]] = [{"params": list(model.head.parameters()), "lr": config.learning_rate}]
        if encoder:
            groups.append({"params": encoder, "lr": config.encoder_learning_rate})

        def batches(epoch: int) -> list[np.ndarray]:
            order = np.random.default_rng([config.seed, *key, epoch]).permutation(rows)
            return np.array_split(order, max(-(-len(order) // config.batch_samples), 1))

        epochs = Epochs(n_epochs, batches)

        def draw(step: int, micro: int, n_micro_batches: int) -> dict[str, Any] | None:
            epoch, batch = epochs.rows(step)
            own = batch[micro::n_micro_batches]
            if not len(own):
                return None
            names = [self.target.sample_ids[i] for i in own]
            inputs = self.sets.batch([(name, self.sets.drawn(name, *key, epoch)) for name in names])
            return {"inputs": inputs, "labels": torch.from_numpy(labels[own])}

        def loss(wrapped: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, float]:
            outputs = wrapped(**batch["inputs"])
            logits = outputs.logits if config.train_encoder else outputs
            # Divided by one: the sum.
            return head_loss(logits, batch["labels"], model.config, num_items_in_batch=1), float(len(logits))

        def validate() -> Validation:
            return Validation(loss=prediction_loss(task, self.predict(model, validation), labels[validation]))

        early_stopping = len(validation) > 0
        plan = Plan.of_epochs(
            epochs.n_steps,
            epochs.steps_per_epoch,
            micro_batches=config.micro_batches,
            patience=config.patience if early_stopping else None,
            min_improvement=config.min_improvement,
            max_grad_norm=config.max_grad_norm,
            seed=config.seed,
        )
        optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        outcome = train(
            self.run, stage, trained, optimizer, plan, draw, loss, validate if early_stopping else None, name="sets"
        )
        with torch.no_grad():
            last = model.head.whole[-1]
            last.weight.mul_(spread)
            last.bias.mul_(spread).add_(mean)
        return model.eval(), outcome.best_step // epochs.steps_per_epoch

    @torch.no_grad()
    def _fit_scale(self, model: MetagenBertForPhenotypeClassification, rows: np.ndarray, key: tuple[int, ...]) -> None:
        """Fit the head's standardization to the training samples' vectors."""
        processes = self.run.processes
        sums = torch.zeros(3, model.config.hidden_size, dtype=torch.float64)
        for i in rows[processes.rank :: processes.size]:
            name = self.target.sample_ids[i]
            batch = to_device(self.sets.batch([(name, self.sets.drawn(name, *key))]), self.accelerator.device)
            if "elements" in batch:
                vectors = batch["elements"][0]
            else:
                vectors = model.metagenbert.embed_packed(batch["input_ids"], batch["lengths"])
            exact = vectors.double().cpu()
            sums += torch.stack([exact.sum(0), exact.square().sum(0), torch.full_like(exact[0], len(exact))])
            self.run.check()
        processes.barrier()
        total, squares, n = torch.from_numpy(processes.all_reduce(sums.numpy()))
        mean = total / n
        model.head.set_scale(mean, (squares / n - mean.square()).clamp_min(0).sqrt())  # type: ignore[operator]

    @torch.no_grad()
    def predict(self, model: MetagenBertForPhenotypeClassification, rows: np.ndarray) -> np.ndarray:
        """Predict probabilities `(n_rows, n_classes)`, or numbers, of samples, which are divided among processes."""

        def compute(own: np.ndarray) -> Iterator[np.ndarray]:
            for i in own:
                name, logits = self.target.sample_ids[rows[i]], []
                for part in self.sets.parts(name):
                    with self.accelerator.autocast():
                        batch = to_device(self.sets.batch([(name, part)]), self.accelerator.device)
                        logits.append(model(**batch).logits)
                yield model.probabilities(torch.cat(logits).double()).mean(0, keepdim=True).cpu().numpy()

        return evaluate_rows(self.run.processes, len(rows), len(self.target.classes), compute)


def evaluate(trainer: Trainer) -> tuple[Study, list[dict[str, Any]]]:
    """Train and test on every fold; return the study, and the results of each fold."""
    config = trainer.config

    def train_fold(i: int, rest: np.ndarray, validation: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        model, epoch = trainer.train(rest, validation, config.n_epochs, i, (1, i))
        return {"best_epoch": epoch, "probabilities": trainer.predict(model, test).tolist()}

    study, _, results = evaluate_folds(
        trainer.run,
        trainer.target,
        train_fold,
        n_folds=config.n_folds,
        n_repeats=config.n_repeats,
        seed=config.seed,
        features="end-to-end" if config.train_encoder else f"own {config.elements}",
        model="deep_sets",
        source=f"{config.set_size} of each sample's {config.elements}",
    )
    return study, results


def identity_of(config: RecipeConfig, target: Target, model: MetagenBertModel, group: str | None) -> dict[str, Any]:
    """Return what determines a run's results, as JSON values."""
    assert model.processor is not None
    labels = [f"{name}\t{label}" for name, label in zip(target.sample_ids, target.labels.tolist(), strict=True)]
    # Runs of classes are those of version 0.1, which knew no other task.
    kind = {} if target.kind == "classification" else {"kind": target.kind}
    return kind | {
        "config": asdict(config),
        "target": target.column,
        "classes": list(target.classes),
        "group": group,
        "samples": hashlib.sha256("\n".join(labels).encode()).hexdigest(),
        "weights_sha256": model.weights_sha256,
        "contract": model.processor.preprocessing,
    }


def parser() -> RecipeParser:
    """Build the argument parser."""
    parser = RecipeParser(__file__, __doc__)
    parser.add_training_options()
    parser.add_argument("--cohort", type=Path, required=True, help="CSV or TSV: sample_id, fastq, phenotypes")
    parser.add_argument("--target", required=True, help="column with the classes, numbers or labels")
    parser.add_argument(
        "--task",
        choices=("auto", *KINDS),
        default="auto",
        help="what the column holds: classes, numbers, or labels joined by ';'; auto: numbers if more than 20 differ",
    )
    parser.add_argument("--metadata", type=Path, help="CSV or TSV with the target, instead of the cohort")
    parser.add_argument("--positive", action="append", help="value to predict against all others; may be given again")
    parser.add_argument(
        "--missing", action="append", default=[], help="further word for a missing value; may be given again"
    )
    parser.add_argument(
        "--not-missing", action="append", default=[], help="word that is a class, such as NA; may be given again"
    )
    parser.add_argument("--allow-shared-files", action="store_true", help="accept samples with a file in common")
    parser.add_argument("--group", help="column with subjects or batches, which no two folds share")
    return parser


def run_recipe(args: argparse.Namespace, processes: ProcessGroup | None = None) -> None:
    """Make the sets, cross-validate, train on all samples and write the results.

    Raises:
        BiomeformerError: The input is invalid, a sample cannot be used, or a signal was received.
    """
    began = time.monotonic()
    config = RecipeConfig.from_yaml(args.config, args.overrides)
    cohort = read_cohort(args.cohort, allow_shared_files=args.allow_shared_files)
    columns = cohort.metadata() if args.metadata is None else read_metadata(args.metadata)
    ids = [sample.sample_id for sample in cohort]
    where = str(args.metadata or args.cohort)
    words = missing_words(args.missing, args.not_missing)
    target = make_target(
        columns,
        args.target,
        ids,
        positive=args.positive,
        group_column=args.group,
        where=where,
        missing=words,
        task=args.task,
    )
    if target.n_missing and (processes is None or processes.rank == 0):
        note(f"{args.target}: left out: {target.describe_missing()}")
    list(folds(target, config.n_folds, 1, config.seed))
    accelerator = make_accelerator(config.mixed_precision, cpu=args.cpu, processes=processes)
    start = biomeformer.load(config.model, revision=config.revision, device=str(accelerator.device))
    try:
        new_model(config, start, target)
    except ValueError as error:
        raise InputError(f"{args.config}: {error}") from error
    identity = identity_of(config, target, start, args.group)
    with_label = set(target.sample_ids)
    labelled = [sample for sample in cohort if sample.sample_id in with_label]
    run_options: dict[str, Any] = {
        "inputs": [path for sample in labelled for path in sample.files()],
        "files": [SETS, *STUDY_FILES],
    }
    with TrainingRun(args.output, identity, accelerator, processes, **run_options).open(args.overwrite) as run:
        sets = Sets(config, run, start)
        sets.make(labelled)
        trainer = Trainer(config, run, sets, target)
        study, results = evaluate(trainer)
        n_epochs = median_epoch(results)
        all_rows = np.arange(len(target.labels))
        model, _ = trainer.train(all_rows, all_rows[:0], n_epochs, len(results), (2,))
        if run.is_main:
            record = {
                "recipe": "recipes/finetune_phenotype.py",
                "config": asdict(config),
                "target": study.record["target"],
                "scores": study.record["scores"],
                "n_epochs": n_epochs,
                "best_epochs": [fold["best_epoch"] for fold in results],
                "base_model": model_source(start) | {"weights_sha256": start.weights_sha256},
                "device": describe_device(accelerator),
                "n_processes": accelerator.num_processes,
                "wall_time_s": round(time.monotonic() - began, 1),
            }
            study.write(args.output)
            folder = run.write_model(model.save_pretrained, record)
            scores = study.evaluations[0].scores
            shown = ", ".join(f"{metric_name(metric)} {scores[metric]}" for metric in shown_metrics(target.task))
            out(f"{target.column}: {shown}")
            for warning in study.fit_warnings:
                out(f"warning: {warning}")
            out(f"Wrote {folder}")
        run.delete_states()


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit code."""
    args = parser().parse_args(arguments)
    return run_main(run_recipe, args, "the same command resumes after the last finished epoch")


if __name__ == "__main__":
    sys.exit(main())
