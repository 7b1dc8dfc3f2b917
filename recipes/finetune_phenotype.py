"""Train a DeepSets head on a cohort's phenotype, or the whole stack end to end, and say how good it is.

A sample is a set of vectors: its own centroids (MetagenBERT-Local) or some of its reads (MetagenBERT-Sub; arXiv
2601.03295). The head pools them by mean, sum, maximum or attention.

* Samples are split into folds, stratified, and by `--group` so that no subject or batch is in two. Within the training
  folds a part is set aside, on which training stops early; the test fold has no part in it. What is reported are the
  test folds' scores.
* The checkpoint is then trained on all samples, for as many epochs as the folds took in the median.
* With `train_encoder` the read encoder learns too, from the reads' tokens on. Sets must be of reads; the checkpoint's
  centroids, which its head does not use, stay those of the encoder as it was.
* Processes share each batch of samples: gradients, and with `dropout: 0` results, are those of one process.

    accelerate launch recipes/finetune_phenotype.py --config recipes/configs/finetune_phenotype/local.yaml \
        --cohort cohort.csv --target disease --output RUN

RUN gets `model/`, which `MetagenBertForPhenotypeClassification.from_pretrained` and `biomeformer phenotype predict`
load, with `scores.csv`, `predictions.csv` and `study.json` as of `biomeformer phenotype evaluate`, `history.csv` and
`training_record.json`. Sets and finished folds are kept in `sets/` and `folds/`: the same command goes on with what is
left.

Exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import copy
import csv
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import gather_object
from safetensors.numpy import load_file, save_file
from torch import nn

import biomeformer
from biomeformer import MetagenBertForPhenotypeClassification
from biomeformer.clustering import read_set
from biomeformer.errors import BiomeformerError, InputError, RankStopped
from biomeformer.files import written_whole
from biomeformer.loading import origin
from biomeformer.metagenbert import MetagenBertModel
from biomeformer.phenotypes import Study, Target, make_target, read_metadata, with_deep_sets_head
from biomeformer.phenotypes.evaluation import folds
from biomeformer.phenotypes.study import study_of_folds
from biomeformer.phenotypes.trained_folds import median_epoch, tracked, train_folds
from biomeformer.reads import Cohort, draw_reads, read_cohort
from biomeformer.reads.cohort import CohortSample
from biomeformer.recipe_config import build_config, read_yaml
from biomeformer.runs.interruption import Interruption
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training_run import TrainingRun, exit_code_of

transformers.utils.logging.disable_progress_bar()
CACHE_BYTES = 2_000_000_000


@dataclass
class RecipeConfig:
    """Fields of the YAML file.

    Attributes:
        model: Folder, shipped name or Hub id of a MetagenBERT checkpoint.
        elements: Of a sample's set: `centroids` of its own reads, or `reads`.
        set_size: Elements of a set.
        reads_per_sample: Reads drawn from each sample: for its centroids, or to make sets of `set_size` of; training
            takes other ones in each epoch, and predictions are averaged over sets of all of them.
        pooling: `mean`, `sum`, `max` or `attention`.
        hidden_size: Width of the head.
        dropout: In the head.
        train_encoder: Whether the read encoder learns too.
        n_epochs: At most.
        patience: Epochs without a loss on the part set aside that is lower by `min_improvement` after which training
            stops.
        min_improvement: In nats a sample.
        batch_samples: Samples a step, shared among processes.
        learning_rate: Of the head.
        encoder_learning_rate: Of the read encoder.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm.
        gradient_checkpointing: Whether to recompute the encoder's activations instead of keeping them.
        mixed_precision: `auto` (bf16 on a GPU that has it), `bf16` or `no`.
        n_folds: Of the cross-validation.
        n_repeats: Of the cross-validation.
        revision: Of a model from the Hub.
        seed: Of everything.
    """

    model: str
    elements: str = "centroids"
    set_size: int = 64
    reads_per_sample: int = 10_000
    pooling: str = "attention"
    hidden_size: int = 64
    dropout: float = 0.1
    train_encoder: bool = False
    n_epochs: int = 100
    patience: int = 15
    min_improvement: float = 0.01
    batch_samples: int = 8
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

    @classmethod
    def from_yaml(cls, path: Path) -> RecipeConfig:
        """Read and check a config.

        Raises:
            InputError: It cannot be read, lacks a field, has one that is not known, or a value is out of range.
        """
        config = build_config(cls, read_yaml(path), str(path))
        for name in ("n_epochs", "patience", "batch_samples", "n_repeats"):
            if getattr(config, name) < 1:
                raise InputError(f"{path}: {name} is {getattr(config, name)}; it must be at least 1.")
        if config.train_encoder and config.elements != "reads":
            raise InputError(f"{path}: train_encoder needs elements: reads; k-means passes no gradient on.")
        return config


class Sets:
    """A cohort's sets, a part a sample on disk, made by all processes."""

    def __init__(self, folder: Path, config: RecipeConfig, model: MetagenBertModel, accelerator: Accelerator) -> None:
        self.folder, self.config, self.model, self.accelerator = folder, config, model, accelerator
        self._read = self._load

    def make(self, samples: Sequence[CohortSample], check: Callable[[], None]) -> None:
        """Make the sets that are not there yet.

        Raises:
            InputError: A sample cannot be used.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        left = [sample for sample in samples if not self._path(sample.sample_id).is_file()]
        self.accelerator.wait_for_everyone()
        failed: list[str] = []
        mine = left[self.accelerator.process_index :: self.accelerator.num_processes]
        for sample in tracked(mine, "sets", self.accelerator):
            try:
                arrays = self._tokens(sample) if self.config.train_encoder else self._vectors(sample, check)
            except BiomeformerError as error:
                if not isinstance(error, InputError):
                    raise
                failed.append(str(error))
                break
            with written_whole(self._path(sample.sample_id)) as partial:
                save_file(arrays, partial)
            check()
        reasons = gather_object(failed)
        if reasons:
            raise InputError(reasons[0]) if self.accelerator.is_main_process else RankStopped(reasons[0])
        size = max(self._path(sample.sample_id).stat().st_size for sample in samples)
        self._read = lru_cache(maxsize=max(CACHE_BYTES // size, 1))(self._load)

    def _vectors(self, sample: CohortSample, check: Callable[[], None]) -> dict[str, np.ndarray]:
        found = read_set(
            self.model,
            sample.reads,
            elements=self.config.elements,
            size=self.config.set_size,
            n_reads=self.config.reads_per_sample,
            seed=self.config.seed,
            check=check,
        )
        return {"vectors": found.vectors, "weights": found.weights}

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
        return load_file(self._path(sample_id))

    def n_elements(self, sample_id: str) -> int:
        """Elements of a sample: reads or centroids."""
        arrays = self._read(sample_id)
        return len(arrays["lengths" if "lengths" in arrays else "weights"])

    def parts(self, sample_id: str) -> list[np.ndarray]:
        """The sets a prediction is averaged over, as places of elements."""
        n = self.n_elements(sample_id)
        n_sets = -(-n // self.config.set_size)
        return [np.arange(i, n, n_sets) for i in range(n_sets)]

    def drawn(self, sample_id: str, *key: int) -> np.ndarray:
        """The elements of one training step: all centroids, or as many reads as a set takes."""
        n, size = self.n_elements(sample_id), self.config.set_size
        if n <= size:
            return np.arange(n)
        number = int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:4], "little")
        return np.sort(np.random.default_rng([self.config.seed, number, *key]).choice(n, size, replace=False))

    def batch(self, sets: Sequence[tuple[str, np.ndarray]], device: torch.device) -> dict[str, torch.Tensor]:
        """Sets as arguments of the model's `forward`."""
        sizes = [len(places) for _, places in sets]
        if self.config.train_encoder:
            ids, lengths = [], []
            for name, places in sets:
                arrays = self._read(name)
                ends = np.cumsum(arrays["lengths"])
                ids += [arrays["input_ids"][ends[i] - arrays["lengths"][i] : ends[i]] for i in places]
                lengths.append(arrays["lengths"][places])
            return {
                "input_ids": torch.from_numpy(np.concatenate(ids)).to(device),
                "lengths": torch.from_numpy(np.concatenate(lengths)),
                "set_sizes": torch.tensor(sizes),
            }
        elements = np.zeros((len(sets), max(sizes), self.model.config.hidden_size), np.float32)
        weights = np.zeros((len(sets), max(sizes)), np.float32)
        for row, (name, places) in enumerate(sets):
            arrays = self._read(name)
            elements[row, : len(places)] = arrays["vectors"][places]
            weights[row, : len(places)] = arrays["weights"][places]
        return {"elements": torch.from_numpy(elements).to(device), "weights": torch.from_numpy(weights).to(device)}


def new_model(
    config: RecipeConfig, start: MetagenBertModel, classes: Sequence[str], *key: int
) -> MetagenBertForPhenotypeClassification:
    """The encoder as it was, and a new head whose weights `key` decides.

    Raises:
        ValueError: The config is out of range.
    """
    torch.manual_seed(int(np.random.default_rng([config.seed, *key]).integers(2**31)))
    model = with_deep_sets_head(
        copy.deepcopy(start) if config.train_encoder else start,
        classes,
        set_elements=config.elements,
        set_size=config.set_size,
        set_reads=config.reads_per_sample,
        set_seed=config.seed,
        set_pooling=config.pooling,
        head_hidden_size=config.hidden_size,
        head_dropout=config.dropout,
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
    """Trains one head, and the encoder where that is asked for, from the same start every time."""

    def __init__(
        self,
        config: RecipeConfig,
        accelerator: Accelerator,
        sets: Sets,
        target: Target,
        start: MetagenBertModel,
        check: Callable[[], None],
    ) -> None:
        self.config, self.accelerator, self.sets, self.target, self.check = config, accelerator, sets, target, check
        self.start = start

    def train(
        self, rows: np.ndarray, judged: np.ndarray, n_epochs: int, key: tuple[int, ...]
    ) -> tuple[MetagenBertForPhenotypeClassification, int, list[list[float]]]:
        """Train on some samples.

        Args:
            rows: Samples to train on.
            judged: Samples whose loss says when to stop; none trains all epochs.
            n_epochs: At most.
            key: What distinguishes this training's random numbers.

        Returns:
            The model after its best epoch, that epoch, and losses of each epoch.
        """
        config, accelerator = self.config, self.accelerator
        model = new_model(config, self.start, self.target.classes, *key).to(accelerator.device)
        self._fit_scale(model, rows, key)
        encoder = [value for value in model.metagenbert.parameters() if value.requires_grad]
        optimizer: Any = torch.optim.AdamW(
            [
                {"params": list(model.head.parameters()), "lr": config.learning_rate},
                *([{"params": encoder, "lr": config.encoder_learning_rate}] if encoder else []),
            ],
            weight_decay=config.weight_decay,
        )
        wrapped, optimizer = accelerator.prepare(model, optimizer)
        best, best_epoch, best_state, history = float("inf"), 0, None, []
        for epoch in range(1, n_epochs + 1):
            wrapped.train()
            total = 0.0
            order = np.random.default_rng([config.seed, *key, epoch]).permutation(rows)
            for batch in np.array_split(order, max(-(-len(order) // config.batch_samples), 1)):
                total += self._step(wrapped, optimizer, batch, epoch, key)
                self.check()
            history.append([epoch, total / len(rows)])
            if len(judged):
                probabilities = self.predict(model, judged)
                chosen = probabilities[np.arange(len(judged)), self.target.labels[judged]]
                loss = float(-np.log(chosen.clip(1e-12)).mean())
                history[-1].append(loss)
                if loss < best - config.min_improvement:
                    best, best_epoch, best_state = loss, epoch, _trained_state(model)
                elif epoch - best_epoch >= config.patience:
                    break
        if best_state is not None:
            model.load_state_dict(best_state, strict=False)
        accelerator.free_memory()
        return model.eval(), best_epoch or n_epochs, history

    def _step(self, wrapped: nn.Module, optimizer: Any, batch: np.ndarray, epoch: int, key: tuple[int, ...]) -> float:
        """One step on this process's share of a batch; gives the whole batch's summed loss."""
        accelerator = self.accelerator
        mine = batch[accelerator.process_index :: accelerator.num_processes]
        labels = torch.from_numpy(self.target.labels[mine]).to(accelerator.device)
        drawn = [(name, self.sets.drawn(name, *key, epoch)) for name in (self.target.sample_ids[i] for i in mine)]
        with accelerator.autocast():
            found = wrapped(**self.sets.batch(drawn, accelerator.device), labels=labels)
        # Processes average their gradients, and shares of a batch may differ by one sample.
        summed = found.loss * len(mine)
        accelerator.backward(summed * accelerator.num_processes / len(batch))
        accelerator.clip_grad_norm_(wrapped.parameters(), self.config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        return float(accelerator.reduce(summed.detach(), "sum"))

    @torch.no_grad()
    def _fit_scale(self, model: MetagenBertForPhenotypeClassification, rows: np.ndarray, key: tuple[int, ...]) -> None:
        """Standardise by the training samples' vectors."""
        accelerator = self.accelerator
        sums = torch.zeros(3, model.config.hidden_size, dtype=torch.float64)
        for i in rows[accelerator.process_index :: accelerator.num_processes]:
            name = self.target.sample_ids[i]
            batch = self.sets.batch([(name, self.sets.drawn(name, *key))], accelerator.device)
            if "elements" in batch:
                vectors = batch["elements"][0]
            else:
                vectors = model.metagenbert.embed_packed(batch["input_ids"], batch["lengths"])
            exact = vectors.double().cpu()
            sums += torch.stack([exact.sum(0), exact.square().sum(0), torch.full_like(exact[0], len(exact))])
        total, squares, n = accelerator.reduce(sums.to(accelerator.device), "sum").cpu()
        mean = total / n
        model.head.set_scale(mean, (squares / n - mean.square()).clamp_min(0).sqrt())  # type: ignore[operator]

    @torch.no_grad()
    def predict(self, model: MetagenBertForPhenotypeClassification, rows: np.ndarray) -> np.ndarray:
        """Probabilities `(n_rows, n_classes)` of samples, which the processes share."""
        accelerator = self.accelerator
        was_training = model.training
        model.eval()
        mine = []
        for place in range(accelerator.process_index, len(rows), accelerator.num_processes):
            name = self.target.sample_ids[rows[place]]
            logits = []
            for part in self.sets.parts(name):
                with accelerator.autocast():
                    logits.append(model(**self.sets.batch([(name, part)], accelerator.device)).logits)
            mine.append((place, torch.cat(logits).double().softmax(1).mean(0).cpu().tolist()))
            self.check()
        model.train(was_training)
        return np.array([values for _, values in sorted(gather_object(mine))]).reshape(-1, len(self.target.classes))


def cross_validate(trainer: Trainer, folder: Path) -> tuple[Study, int, list[dict[str, Any]]]:
    """Train and test on every fold; finished ones are read from `folder`."""
    config, target = trainer.config, trainer.target

    def train(i: int, rest: np.ndarray, aside: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        model, epoch, history = trainer.train(rest, aside, config.n_epochs, (1, i))
        probabilities = trainer.predict(model, test).tolist()
        return {"best_epoch": epoch, "history": history, "probabilities": probabilities}

    splits, done = train_folds(
        target,
        train,
        folder,
        trainer.accelerator,
        n_folds=config.n_folds,
        n_repeats=config.n_repeats,
        seed=config.seed,
        shown="roc_auc",
    )
    study = study_of_folds(
        target,
        splits,
        [np.array(fold["probabilities"]) for fold in done],
        features="end-to-end" if config.train_encoder else f"own {config.elements}",
        model="deep_sets",
        n_splits=config.n_folds,
        n_repeats=config.n_repeats,
        seed=config.seed,
        source=f"{config.set_size} of each sample's {config.elements}",
    )
    return study, median_epoch(done), done


def _trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the weights that learn."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def identity_of(
    config: RecipeConfig, cohort: Cohort, target: Target, model: MetagenBertModel, group: str | None
) -> dict[str, Any]:
    """What decides a run's results."""
    assert model.processor is not None
    labels = [f"{name}\t{label}" for name, label in zip(target.sample_ids, target.labels.tolist(), strict=True)]
    return {
        "config": asdict(config),
        "target": target.column,
        "classes": list(target.classes),
        "group": group,
        "samples": hashlib.sha256("\n".join(labels).encode()).hexdigest(),
        "reads": [[str(path) for path in sample.reads.paths()] for sample in cohort],
        "weights_sha256": model.weights_sha256,
        "contract": model.processor.contract,
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, required=True, help="CSV or TSV: sample_id, fastq, phenotypes")
    parser.add_argument("--target", required=True, help="column with the classes")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--metadata", type=Path, help="CSV or TSV with the classes, instead of the cohort")
    parser.add_argument("--positive", action="append", help="value to predict against all others; may be given again")
    parser.add_argument("--group", help="column with subjects or batches, which no two folds share")
    parser.add_argument("--model", help="instead of the config's")
    parser.add_argument("--cpu", action="store_true", help="leave GPUs alone")
    parser.add_argument("--overwrite", action="store_true", help="replace what the output folder holds")
    return parser


def run_recipe(args: argparse.Namespace) -> None:
    """Make sets, cross-validate, train on all samples, write.

    Raises:
        BiomeformerError: Input is bad, a sample cannot be used, or a signal came.
    """
    began = time.monotonic()
    config = RecipeConfig.from_yaml(args.config)
    if args.model is not None:
        config.model = args.model
    cohort = read_cohort(args.cohort)
    columns = cohort.metadata() if args.metadata is None else read_metadata(args.metadata)
    ids = [sample.sample_id for sample in cohort]
    where = str(args.metadata or args.cohort)
    target = make_target(columns, args.target, ids, positive=args.positive, group_column=args.group, where=where)
    list(folds(target, config.n_folds, 1, config.seed))
    # One process may make sets for much longer than another.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    accelerator = make_accelerator(config.mixed_precision, cpu=args.cpu, kwargs_handlers=[patience])
    start = biomeformer.load(config.model, revision=config.revision, device=str(accelerator.device))
    try:
        new_model(config, start, target.classes)
    except ValueError as error:
        raise InputError(f"{args.config}: {error}") from error
    run = TrainingRun(args.output, identity_of(config, cohort, target, start, args.group), accelerator)
    run.open(args.overwrite)
    with Interruption() as interruption:
        sets = Sets(args.output / "sets", config, start, accelerator)
        wanted = set(target.sample_ids)
        sets.make([sample for sample in cohort if sample.sample_id in wanted], interruption.check)
        trainer = Trainer(config, accelerator, sets, target, start, interruption.check)
        study, n_epochs, done = cross_validate(trainer, args.output / "folds")
        every = np.arange(len(target.labels))
        model, _, last = trainer.train(every, every[:0], n_epochs, (2,))
    if not accelerator.is_main_process:
        return
    record = {
        "recipe": "recipes/finetune_phenotype.py",
        "config": asdict(config),
        "target": study.record["target"],
        "scores": study.record["scores"],
        "n_epochs": n_epochs,
        "best_epochs": [fold["best_epoch"] for fold in done],
        "base_model": origin(start) | {"weights_sha256": start.weights_sha256},
        "device": describe_device(accelerator),
        "n_processes": accelerator.num_processes,
        "wall_time_s": round(time.monotonic() - began, 1),
    }
    study.write(args.output)
    histories = [*((str(i), fold["history"]) for i, fold in enumerate(done)), ("all", last)]
    with (args.output / "history.csv").open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["fold", "epoch", "training_loss", "loss_set_aside"])
        for name, history in histories:
            writer.writerows([name, *values, *[""] * (3 - len(values))] for values in history)
    folder = run.write_model(model.save_pretrained, record)
    found = study.evaluations[0]
    print(f"{target.column}: ROC-AUC {found.scores['roc_auc']}, PR-AUC {found.scores['pr_auc']}")
    print(f"Wrote {folder}")


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; gives the exit code."""
    args = parser().parse_args(arguments)
    return exit_code_of(partial(run_recipe, args), "the same command goes on with what is left")


if __name__ == "__main__":
    sys.exit(main())
