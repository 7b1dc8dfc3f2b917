"""Fine-tune a read encoder on labelled sequences (arXiv 2509.25274), or train a convolutional baseline.

* Sequences are prepared by `biomeformer sequences prepare`: binary, multi-class, multi-label or regression.
* The initial model is the published DNABERT-2, any checkpoint, the shipped `metagenbert-mini`, or `cnn`: convolutions
  over one-hot bases.
* All weights are trained, or with `lora` low-rank adapters, which are merged in the end, so that checkpoints are
  complete.
* Early stopping and decision thresholds use the validation split; the test split is used for neither.
* With `search`, Optuna samples settings, prunes trials that fall behind, and keeps its trials in RUN/search.db. Trials
  may be shortened to a part of the sequences and a number of steps; a model with the best settings is then trained in
  full.
* Processes share each batch: gradients, and without dropout or with `micro_batches` results, equal those of one
  process.

    biomeformer sequences prepare positive=pos.fa negative=neg.fa --output DATA
    accelerate launch recipes/finetune_sequence_classifier.py --data DATA --output RUN \
        --config recipes/configs/finetune_sequence_classifier/mini.yaml
    biomeformer sequences predict new.fa --model RUN/model

RUN gets `model/`, `evaluation.json`, `predictions.parquet`, `report.html`, `history.csv` and `training_record.json`.
The same command resumes after the last finished epoch.

Exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import transformers
from rich.console import Console
from rich.table import Table

from biomeformer.checkpoints import public_name
from biomeformer.checkpoints.source import model_source, public_record
from biomeformer.errors import InputError
from biomeformer.io.nucleotides import reverse_complement
from biomeformer.metrics.scorers import Task, make_scorer
from biomeformer.reports.sequence_report import sequence_report
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.runs.progress import cell, out
from biomeformer.sequences.classifier import SequenceClassifier
from biomeformer.sequences.evaluation import SequenceEvaluation
from biomeformer.sequences.prediction_table import prediction_table, write_predictions
from biomeformer.sequences.preprocessing import SequencePreprocessing
from biomeformer.sequences.starting_points import new_classifier, with_lora
from biomeformer.sequences.training_data import LabelledSequences, TrainingData, read_training_data
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training.batches import Epochs, bucketed_batches, evaluate_rows
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
from biomeformer.training.loop import Plan, Validation, train
from biomeformer.training.losses import class_weights
from biomeformer.training.run import TrainingRun
from biomeformer.training.schedules import WARMUP_SCHEDULES
from biomeformer.training.search import BEST_TRIAL, DATABASE, TRIALS, OnEpoch, Search, import_optuna

transformers.utils.logging.disable_progress_bar()
# What the recipe writes beside what every run writes.
FILES = ("evaluation.json", "predictions.parquet", "report.html", DATABASE, TRIALS, BEST_TRIAL)
SEARCHED = (
    "learning_rate",
    "schedule",
    "weight_decay",
    "warmup",
    "dropout",
    "label_smoothing",
    "max_grad_norm",
    "batch_sequences",
    "n_epochs",
)
INTEGERS = ("batch_sequences", "n_epochs")
# Fields of `search` that shorten its trials.
SHORTENED = ("n_sequences", "n_validation", "n_steps", "evaluate_every")
SELECT_BY = ("loss", "pr_auc")


@dataclass
class RecipeConfig(Config):
    """Fields of the YAML file.

    Attributes:
        base: `metagenbert-mini`, a folder, a Hub id such as `zhihan1996/DNABERT-2-117M`, or `cnn`.
        revision: Branch, tag or commit of a Hub id.
        from_scratch: Initialize the encoder randomly instead of with its pretrained weights.
        model_sizes: Fields of the model's config for its new layers; any field for `cnn`.
        lora: `rank`, and optionally `alpha`, `dropout` and `targets`; without it all weights are trained.
        max_tokens: Maximum number of tokens per sequence; the dataset's card proposes a number.
        augment_strands: Whether to replace a sequence by its reverse complement with probability 1/2 in training.
        average_strands: Whether predictions are means over both strands.
        n_epochs: Maximum number of epochs, over which the learning rate decays to zero.
        patience: Epochs without an improvement on the validation split after which training stops.
        select_by: Criterion of early stopping, of the best epoch and of a search, on the validation split: `loss`, or
            `pr_auc`, the area under the precision-recall curve, which ignores how probabilities are scaled.
        batch_sequences: Sequences per step, shared among processes.
        micro_batches: Parts of a step's batch, each of which is one forward pass; one per process by default. With
            dropout, losses do not depend on the number of processes only if this is set.
        learning_rate: Peak learning rate.
        schedule: Decay of the learning rate after the warm-up, `linear` or `cosine`.
        warmup: Share of the steps with a rising learning rate.
        weight_decay: Of AdamW.
        adam_beta2: Decay of AdamW's mean of squared gradients.
        adam_epsilon: Constant that AdamW adds to the root of that mean.
        dropout: Before the classifier; the model's own by default.
        label_smoothing: Share of a label that is spread over all classes.
        max_grad_norm: Gradients are clipped to this norm.
        class_weights: Whether each class counts as much as any other.
        mixed_precision: `auto` (bf16 on a GPU that has it), `bf16` or `no`.
        search: `n_trials`, and for each searched field of learning_rate, schedule, weight_decay, warmup, dropout,
            label_smoothing, max_grad_norm, batch_sequences and n_epochs its smallest and largest value, or a list of
            words or of three or more values to choose from. Trials are shortened by `n_sequences` and `n_validation`,
            numbers of training and validation sequences, `n_steps`, which replaces `n_epochs`, and `evaluate_every`,
            steps between validations.
        seed: Seed of all random choices.
    """

    base: str = "metagenbert-mini"
    revision: str | None = None
    from_scratch: bool = False
    model_sizes: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] | None = None
    max_tokens: int | None = None
    augment_strands: bool = True
    average_strands: bool = True
    n_epochs: int = 10
    patience: int = 3
    select_by: str = "loss"
    batch_sequences: int = 32
    micro_batches: int | None = None
    learning_rate: float = 3e-5
    schedule: str = "linear"
    warmup: float = 0.06
    weight_decay: float = 0.01
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    dropout: float | None = None
    label_smoothing: float = 0.0
    max_grad_norm: float = 1.0
    class_weights: bool = False
    mixed_precision: str = "auto"
    search: dict[str, Any] | None = None
    seed: int = 0

    ranges = {
        "max_tokens": AT_LEAST_ONE,
        "n_epochs": AT_LEAST_ONE,
        "patience": AT_LEAST_ONE,
        "select_by": SELECT_BY,
        "batch_sequences": AT_LEAST_ONE,
        "micro_batches": AT_LEAST_ONE,
        "learning_rate": POSITIVE,
        "schedule": tuple(WARMUP_SCHEDULES),
        "warmup": FRACTION,
        "weight_decay": NOT_NEGATIVE,
        "adam_beta2": DROPOUT,
        "adam_epsilon": POSITIVE,
        "dropout": DROPOUT,
        "label_smoothing": DROPOUT,
        "max_grad_norm": POSITIVE,
        "mixed_precision": MIXED_PRECISION,
        "seed": SEED,
    }

    def check(self, where: str) -> None:
        """Raise `InputError` if a section is incomplete or unknown."""
        if self.lora is not None and not int(self.lora.get("rank", 0)) > 0:
            raise InputError(f"{where}: lora is {self.lora!r}; give a mapping with a rank of at least 1.")
        if self.search is not None:
            _check_search(self.search, where)


def _check_search(search: dict[str, Any], where: str) -> None:
    known = (*SEARCHED, "n_trials", *SHORTENED)
    if "n_trials" not in search:
        raise InputError(f"{where}: search needs n_trials, a whole number of at least 1.")
    for name, values in search.items():
        if name not in known:
            raise InputError(f"{where}: search: unknown field {name}; known are {', '.join(known)}.")
        if name not in SEARCHED:
            if not isinstance(values, int) or isinstance(values, bool) or values < 1:
                raise InputError(f"{where}: search: {name} is {values!r}; give a whole number of at least 1.")
            continue
        if not (isinstance(values, list) and len(values) >= 2):
            raise InputError(f"{where}: search: {name} is {values!r}; give a list of the least and the largest value.")
        allowed = RecipeConfig.ranges[name]
        for value in values:
            kinds: tuple[type, ...] = (int, float) if isinstance(allowed, Range) else (str,)
            is_of_type = isinstance(value, kinds) and not isinstance(value, bool)
            if not is_of_type or value not in allowed:
                must = f"must be {allowed}" if isinstance(allowed, Range) else f"is one of {', '.join(allowed)}"
                raise InputError(f"{where}: search: {name} has {value!r}; each value {must}.")
    if "evaluate_every" in search and "n_steps" not in search:
        raise InputError(f"{where}: search: evaluate_every needs n_steps, the number of steps of a trial.")


class Trainer:
    """Trains models on the same sequences, one after the other.

    Args:
        config: Config of the run.
        run: The training run.
        data: The sequences.
        n_steps: Steps of a training; by default those of the config's epochs.
        evaluate_every: Steps between validations; by default those of an epoch.
    """

    def __init__(
        self,
        config: RecipeConfig,
        run: TrainingRun,
        data: TrainingData,
        *,
        n_steps: int | None = None,
        evaluate_every: int | None = None,
    ) -> None:
        self.config, self.run, self.data = config, run, data
        self.n_steps, self.evaluate_every = n_steps, evaluate_every
        self.accelerator = run.accelerator
        scale: dict[str, Any] = {}
        if data.task == "regression":
            truth = data.splits["train"].truth
            scale = {"mean": float(truth.mean()), "spread": float(truth.std()) or 1.0}
        # Thresholds are chosen after training.
        self.preprocessing = SequencePreprocessing(data.task, config.max_tokens, config.average_strands, **scale)

    def new(self, config: RecipeConfig) -> SequenceClassifier:
        """Build the initial model of a training."""
        return new_classifier(
            config.base,
            self.data.label_names,
            self.preprocessing,
            revision=config.revision,
            from_scratch=config.from_scratch,
            dropout=config.dropout,
            seed=config.seed,
            **config.model_sizes,
        )

    def batches(self, config: RecipeConfig, *key: int) -> list[np.ndarray]:
        """Return the batches of an epoch."""
        lengths, rng = self.data.splits["train"].lengths, np.random.default_rng([config.seed, *key])
        return bucketed_batches(np.arange(len(lengths)), lengths, config.batch_sequences, 64, rng)

    def losses(
        self, logits: torch.Tensor, rows: np.ndarray, split: LabelledSequences, weights: Any, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Compute the loss of each sequence, `(n,)`."""
        truth = torch.from_numpy(split.truth[rows]).to(logits.device)
        preprocessing = self.preprocessing
        if preprocessing.task == "regression":
            return (logits[:, 0].float() - ((truth - preprocessing.mean) / preprocessing.spread).float()) ** 2
        if preprocessing.task == "multi_label":
            return torch.nn.functional.binary_cross_entropy_with_logits(
                logits.float(), truth.float(), pos_weight=weights, reduction="none"
            ).mean(1)
        return torch.nn.functional.cross_entropy(
            logits.float(), truth, weight=weights, reduction="none", label_smoothing=smoothing
        )

    def weights(self, config: RecipeConfig) -> torch.Tensor | None:
        """Return the weights of classes, or of positive labels in a multi-label task, or None."""
        if not config.class_weights or self.data.task == "regression":
            return None
        truth = self.data.splits["train"].truth
        if self.data.task == "multi_label":
            n_positive = truth.sum(0).clip(1)
            weights = (len(truth) - n_positive).clip(1) / n_positive
        else:
            weights = class_weights(truth, len(self.data.label_names))
        return torch.from_numpy(weights).float().to(self.accelerator.device)

    def train(
        self, config: RecipeConfig, stage: int, on_epoch: OnEpoch | None = None
    ) -> tuple[SequenceClassifier, int, float]:
        """Train, or resume; return the classifier at its best validation, the number of that validation, and its loss.

        Validations are numbered from 1; one follows each epoch unless `evaluate_every` was given. The loss is the
        negative score where the config selects by a score.

        Args:
            config: Config of this training.
            stage: Number of this training in the run.
            on_epoch: Called after each validation with its number; an exception it raises ends the training.
        """
        split = self.data.splits["train"]
        classifier = self.new(config)
        # Batches use the tokenizer and device of the unwrapped model.
        model: Any = classifier.model
        if config.lora is not None:
            options = {"alpha": config.lora["rank"], "dropout": 0.0, "targets": None} | config.lora
            model = with_lora(model, options["rank"], options["alpha"], options["dropout"], options["targets"])
        weights = self.weights(config)
        epochs = Epochs(config.n_epochs, lambda epoch: self.batches(config, stage, epoch))

        def draw(step: int, micro: int, n_micro_batches: int) -> dict[str, Any] | None:
            epoch, batch = epochs.rows(step)
            rows = batch[micro::n_micro_batches]
            if not len(rows):
                return None
            sequences = split.sequences(rows)
            if config.augment_strands:
                flips = np.random.default_rng([config.seed, 4, stage, epoch]).random(len(split)) < 0.5
                pairs = zip(sequences, flips[rows].tolist(), strict=True)
                sequences = [reverse_complement(sequence) if flip else sequence for sequence, flip in pairs]
            return {"inputs": classifier.batch(sequences), "rows": rows}

        def loss(wrapped: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor | float]:
            logits = wrapped(**batch["inputs"]).logits
            losses = self.losses(logits, batch["rows"], split, weights, config.label_smoothing)
            weight: torch.Tensor | float = float(len(batch["rows"]))
            if weights is not None and self.data.task != "multi_label":
                weight = weights[torch.from_numpy(split.truth[batch["rows"]]).to(weights.device)].sum()
            return losses.sum(), weight

        n_steps = self.n_steps or epochs.n_steps
        every = min(self.evaluate_every or epochs.steps_per_epoch, n_steps)
        plan = Plan(
            n_steps,
            WARMUP_SCHEDULES[config.schedule](n_steps, config.warmup),
            micro_batches=config.micro_batches,
            log_every=every,
            evaluate_every=every,
            save_every=every,
            steps_per_epoch=epochs.steps_per_epoch,
            patience=config.patience,
            max_grad_norm=config.max_grad_norm,
            seed=config.seed,
        )
        outcome = train(
            self.run,
            stage,
            model,
            torch.optim.AdamW(
                [parameter for parameter in model.parameters() if parameter.requires_grad],
                lr=config.learning_rate,
                betas=(0.9, config.adam_beta2),
                eps=config.adam_epsilon,
                weight_decay=config.weight_decay,
            ),
            plan,
            draw,
            loss,
            lambda: self.validate(classifier),
            on_validation=on_epoch and (lambda step, result: on_epoch(-(-step // every), result)),
            name="sequences",
        )
        if config.lora is not None:
            model = model.merge_and_unload()
        assert outcome.validation is not None
        return replace(classifier, model=model.eval()), -(-outcome.best_step // every), -outcome.validation.merit

    def logits(self, classifier: SequenceClassifier, split: LabelledSequences) -> torch.Tensor:
        """Compute the logits `(n, n_labels)` of all sequences of a split, which are divided among the processes."""

        def compute(own: np.ndarray) -> Iterator[np.ndarray]:
            for part in np.array_split(own, max(len(own) // 2048, 1)):
                with self.accelerator.autocast():
                    yield classifier.logits(split.sequences(part)).numpy()

        n_labels = classifier.model.config.num_labels
        return torch.from_numpy(evaluate_rows(self.run.processes, len(split), n_labels, compute)).float()

    def validate(self, classifier: SequenceClassifier) -> Validation:
        """Compute the mean loss over the validation split, without class weights, and the score that selects."""
        split, task = self.data.splits["validation"], self.data.task
        logits = self.logits(classifier, split)
        loss = float(self.losses(logits, np.arange(len(split)), split, None).double().mean())
        if self.config.select_by == "loss":
            return Validation(loss=loss)
        predicted = self.preprocessing.predictions(logits)
        # Thresholds do not affect the area.
        scorer = make_scorer(cast(Task, task), split.truth, predicted, [0.5] * len(self.data.label_names))
        score = float(scorer(np.ones((1, len(split))))[self.config.select_by][0])
        if math.isnan(score):
            raise InputError(
                f"{self.data.name} has validation sequences of one class only, of which there is no "
                f"{self.config.select_by}; give select_by=loss."
            )
        return Validation(loss=loss, score=score)

    def shortened(self, options: dict[str, Any]) -> Trainer:
        """Return a trainer of a search's trials: on a part of the sequences or for fewer steps, if options say so."""
        if not any(name in options for name in SHORTENED):
            return self
        splits = dict(self.data.splits)
        for split, name in (("train", "n_sequences"), ("validation", "n_validation")):
            splits[split] = splits[split].sample(options.get(name), self.config.seed)
        steps = {name: options.get(name) for name in ("n_steps", "evaluate_every")}
        return Trainer(self.config, self.run, replace(self.data, splits=splits), **steps)

    def search(self) -> tuple[SequenceClassifier, RecipeConfig, int, int, list[dict[str, Any]]]:
        """Search settings; return the best classifier, its config, trial number and best epoch, and all trials."""
        assert self.config.search is not None
        options = self.config.search
        space = {name: values for name, values in options.items() if name in SEARCHED}
        score = None if self.config.select_by == "loss" else self.config.select_by
        search = Search(self.run, space, options["n_trials"], INTEGERS, self.config.seed, score)
        trainer = self.shortened(options)

        def train_trial(number: int, values: dict[str, Any], on_epoch: OnEpoch) -> tuple[Any, int, float]:
            classifier, epoch, loss = trainer.train(replace(self.config, **values), number, on_epoch)
            return classifier.model, epoch, loss

        search.run_trials(train_trial)
        number, values, epoch = search.best()
        config = replace(self.config, **values)
        if trainer is not self:
            if self.run.is_main:
                out(f"trial {number} is the best; training with its settings in full")
            stage = options["n_trials"]
            classifier, epoch, _ = self.train(config, stage)
            return classifier, config, stage, epoch, search.record
        classifier = self.new(config)
        model: Any = classifier.model
        search.load_best(model)
        model.to(self.accelerator.device).eval()
        return classifier, config, number, epoch, search.record


def _check_task(config: RecipeConfig, task: str) -> None:
    """Raise `InputError` if a field does not suit the task."""
    if task == "regression" and config.select_by != "loss":
        raise InputError(f"select_by is {config.select_by}, which a regression does not have; give loss.")
    smooths = config.label_smoothing or "label_smoothing" in (config.search or {})
    if smooths and task in ("regression", "multi_label"):
        raise InputError(f"label_smoothing is for tasks with one class per sequence, and this one is {task}; give 0.")


def parser() -> RecipeParser:
    """Build the argument parser."""
    parser = RecipeParser(__file__, __doc__)
    parser.add_training_options()
    parser.add_argument(
        "--data", required=True, help="folder of `biomeformer sequences prepare`, or a dataset's Hub id"
    )
    return parser


def run_recipe(args: argparse.Namespace, processes: ProcessGroup | None = None) -> None:
    """Train, after a search if requested, evaluate and write the results.

    Raises:
        BiomeformerError: The input is invalid, or a signal was received.
    """
    began = time.monotonic()
    config = RecipeConfig.from_yaml(args.config, args.overrides)
    data = read_training_data(args.data)
    accelerator = make_accelerator(config.mixed_precision, cpu=args.cpu, processes=processes)
    identity = {"config": asdict(config), "sequences": data.fingerprint, "labels": list(data.label_names)}
    run = TrainingRun(args.output, identity, accelerator, processes, files=FILES)
    trainer = Trainer(config, run, data)
    _check_task(config, data.task)
    if config.search is not None:
        import_optuna()
    trainer.new(config)
    with run.open(args.overwrite):
        trials: list[dict[str, Any]] = []
        if config.search is None:
            stage = 0
            classifier, epoch, _ = trainer.train(config, stage)
        else:
            classifier, config, stage, epoch, trials = trainer.search()
        evaluated = {name: data.splits[name] for name in ("validation", "test")}
        logits = [trainer.logits(classifier, split) for split in evaluated.values()]
        if run.is_main:
            task: Any = data.task
            predicted = np.concatenate([classifier.preprocessing.predictions(part) for part in logits])
            table = prediction_table(
                task,
                data.label_names,
                [name for split in evaluated.values() for name in split.ids],
                [name for name, split in evaluated.items() for _ in range(len(split))],
                np.concatenate([split.truth for split in evaluated.values()]),
                predicted[:, 0] if data.task == "regression" else predicted,
            )
            evaluation = SequenceEvaluation.from_predictions(
                table,
                task,
                data.label_names,
                model=str(args.output.name),
                base_model=public_name(config.base),
                settings=public_record(
                    {key: value for key, value in asdict(config).items() if value not in (None, {})}
                ),
                seed=config.seed,
            )
            preprocessing = replace(classifier.preprocessing, thresholds=list(evaluation.thresholds))
            record = {
                "recipe": "recipes/finetune_sequence_classifier.py",
                "base_model": model_source(classifier.model),
                "config": asdict(config),
                "task": data.task,
                "labels": list(data.label_names),
                "n_sequences": {name: len(split) for name, split in data.splits.items()},
                "sequences_sha256": identity["sequences"],
                "best_epoch": epoch,
                "trials": trials,
                "scores": evaluation.scores,
                "thresholds": list(evaluation.thresholds),
                "device": describe_device(accelerator),
                "wall_time_s": round(time.monotonic() - began, 1),
            }
            evaluation.save(args.output)
            write_predictions(table, args.output)
            folder = run.write_model(replace(classifier, preprocessing=preprocessing).save, record)
            rows = pd.DataFrame(run.history(stage))
            curve = rows[["epoch", "training_loss", "validation_loss"]].apply(pd.to_numeric)
            report = sequence_report(evaluation, table, args.output / "report.html", training=curve)
            show(evaluation)
            out(f"model {folder}")
            out(f"report {report}")
        run.delete_states()


def show(evaluation: SequenceEvaluation) -> None:
    """Print the scores on both splits."""
    table = Table("", "validation", "test")
    for name in evaluation.validation_scores:
        cells = []
        for scores in (evaluation.validation_scores, evaluation.scores):
            score = scores.get(name)
            cells.append("" if score is None else f"{score['value']:.3f} ({score['low']:.3f}-{score['high']:.3f})")
        table.add_row(cell(name), *cells)
    Console().print(table)


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit code."""
    args = parser().parse_args(arguments)
    return run_main(run_recipe, args, "the same command resumes after the last finished epoch")


if __name__ == "__main__":
    sys.exit(main())
