"""Fine-tune a read encoder on labelled sequences (arXiv 2509.25274), or train the network it is set against.

* Sequences are those of `biomeformer sequences prepare`: two classes, several, several labels at once, or a number.
* From the published DNABERT-2, a checkpoint, the shipped `metagenbert-mini`, or `cnn`: convolutions over one-hot bases.
* All weights are trained, or with `lora` small adapters, which are merged in the end: checkpoints are whole.
* Training stops early by the loss on the validation split, and thresholds are chosen there; the test split has no part
  in either.
* With `search`, Optuna tries settings, ends those that fall behind, and keeps its trials in RUN/search.db.
* Processes share each batch; gradients are those of one process.

    biomeformer sequences prepare positive=pos.fa negative=neg.fa --output DATA
    accelerate launch recipes/finetune_sequence_classifier.py --data DATA --output RUN \
        --config recipes/configs/finetune_sequence_classifier/mini.yaml
    biomeformer sequences predict new.fa --model RUN/model

RUN gets `model/`, `evaluation.json`, `predictions.parquet`, `report.html`, `history.csv` and `training_record.json`.
The
same command goes on after the last finished epoch.

Exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from accelerate.utils import broadcast_object_list, gather_object
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_model, save_model

from biomeformer.errors import InputError, MissingDependencyError
from biomeformer.files import written_whole
from biomeformer.genomes.translation import reverse_complement
from biomeformer.loading import origin
from biomeformer.recipe_config import build_config, read_yaml
from biomeformer.reports.sequence_report import sequence_report
from biomeformer.runs.interruption import Interruption
from biomeformer.sequences.classifier import SequenceClassifier
from biomeformer.sequences.contract import SequenceContract
from biomeformer.sequences.scores import SequenceEvaluation, prediction_table, write_predictions
from biomeformer.sequences.starting_points import new_classifier, with_lora
from biomeformer.sequences.training_data import LabelledSequences, TrainingData, read_training_data
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training_run import (
    TrainingRun,
    bucketed_batches,
    exit_code_of,
    share_of_peak_rate,
)

transformers.utils.logging.disable_progress_bar()
SEARCHED = ("learning_rate", "weight_decay", "warmup", "dropout", "batch_sequences", "n_epochs")
WHOLE = ("batch_sequences", "n_epochs")
BEST_TRIAL = "search_best.safetensors"


@dataclass
class RecipeConfig:
    """Fields of the YAML file.

    Attributes:
        base: `metagenbert-mini`, a folder, a Hub id such as `zhihan1996/DNABERT-2-117M`, or `cnn`.
        revision: Of a Hub id.
        from_scratch: Leave out what the encoder learnt before.
        model_sizes: Fields of the model's config for its new layers; of `cnn` any.
        lora: `rank`, and `alpha`, `dropout` and `targets` if wanted; without it all weights are trained.
        max_tokens: Tokens of a sequence at most; the dataset's report proposes a number.
        augment_strands: Whether a training step sees a sequence's reverse complement half of the time.
        average_strands: Whether answers are means over both strands.
        n_epochs: At most; the learning rate falls to zero over them.
        patience: Epochs without a lower loss on the validation split after which training stops.
        batch_sequences: Sequences a step, shared among processes.
        learning_rate: Peak.
        warmup: Share of the steps with a rising learning rate.
        weight_decay: Of AdamW.
        dropout: Before the classifier; the model's own by default.
        max_grad_norm: Gradients are clipped to this norm.
        class_weights: Whether each class counts as much as any other.
        mixed_precision: `auto` (bf16 on a GPU that has it), `bf16` or `no`.
        search: `n_trials`, and for each of learning_rate, weight_decay, warmup, dropout, batch_sequences and n_epochs
            that is searched its least and largest value; batch_sequences may be a list of more.
        seed: Of everything.
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
    batch_sequences: int = 32
    learning_rate: float = 3e-5
    warmup: float = 0.06
    weight_decay: float = 0.01
    dropout: float | None = None
    max_grad_norm: float = 1.0
    class_weights: bool = False
    mixed_precision: str = "auto"
    search: dict[str, Any] | None = None
    seed: int = 0

    @classmethod
    def from_yaml(cls, path: Path) -> RecipeConfig:
        """Read and check a config.

        Raises:
            InputError: It cannot be read, has a field that is not known, or a value is out of range.
        """
        config = build_config(cls, read_yaml(path), str(path))
        for name in ("n_epochs", "patience", "batch_sequences"):
            if getattr(config, name) < 1:
                raise InputError(f"{path}: {name} is {getattr(config, name)}; it must be at least 1.")
        if config.lora is not None and not (isinstance(config.lora, dict) and int(config.lora.get("rank", 0)) > 0):
            raise InputError(f"{path}: lora is {config.lora!r}; give a mapping with a rank of at least 1.")
        if config.search is not None:
            _check_search(config.search, path)
        return config


def _check_search(search: dict[str, Any], path: Path) -> None:
    known = (*SEARCHED, "n_trials")
    if not isinstance(search, dict) or not isinstance(search.get("n_trials"), int) or search["n_trials"] < 1:
        raise InputError(f"{path}: search needs n_trials, a whole number of at least 1.")
    for name, values in search.items():
        if name not in known:
            raise InputError(f"{path}: search: unknown field {name}; known are {', '.join(known)}.")
        if name != "n_trials" and not (isinstance(values, list) and len(values) >= 2):
            raise InputError(f"{path}: search: {name} is {values!r}; give a list of the least and the largest value.")


class Trainer:
    """Trains one model after the other on the same sequences."""

    def __init__(self, config: RecipeConfig, run: TrainingRun, data: TrainingData, check: Callable[[], None]) -> None:
        self.config, self.run, self.data, self.check = config, run, data, check
        self.accelerator = run.accelerator
        scale: dict[str, float] = {}
        if data.task == "regression":
            truth = data.splits["train"].truth
            scale = {"mean": float(truth.mean()), "spread": float(truth.std()) or 1.0}
        # Thresholds are not known yet.
        self.contract = SequenceContract(data.task, config.max_tokens, config.average_strands, **scale)

    def new(self, config: RecipeConfig) -> SequenceClassifier:
        """The model that a training begins with."""
        return new_classifier(
            config.base,
            self.data.label_names,
            self.contract,
            revision=config.revision,
            from_scratch=config.from_scratch,
            dropout=config.dropout,
            seed=config.seed,
            **config.model_sizes,
        )

    def batches(self, config: RecipeConfig, *key: int) -> list[np.ndarray]:
        """An epoch's batches."""
        lengths, rng = self.data.splits["train"].lengths, np.random.default_rng([config.seed, *key])
        return bucketed_batches(np.arange(len(lengths)), lengths, config.batch_sequences, 64, rng)

    def losses(self, logits: torch.Tensor, rows: np.ndarray, split: LabelledSequences, weights: Any) -> torch.Tensor:
        """Of each sequence, `(n,)`."""
        truth = torch.from_numpy(split.truth[rows]).to(logits.device)
        contract = self.contract
        if contract.task == "regression":
            return (logits[:, 0].float() - ((truth - contract.mean) / contract.spread).float()) ** 2
        if contract.task == "multi_label":
            return torch.nn.functional.binary_cross_entropy_with_logits(
                logits.float(), truth.float(), pos_weight=weights, reduction="none"
            ).mean(1)
        return torch.nn.functional.cross_entropy(logits.float(), truth, weight=weights, reduction="none")

    def weights(self, config: RecipeConfig) -> torch.Tensor | None:
        """Of classes, or of the presence of labels."""
        if not config.class_weights or self.data.task == "regression":
            return None
        truth = self.data.splits["train"].truth
        if self.data.task == "multi_label":
            present = truth.sum(0).clip(1)
            found = (len(truth) - present).clip(1) / present
        else:
            sizes = np.bincount(truth, minlength=len(self.data.label_names)).clip(1)
            found = len(truth) / (len(sizes) * sizes)
        return torch.from_numpy(found).float().to(self.accelerator.device)

    def train(
        self, config: RecipeConfig, stage: int, on_epoch: Callable[[int, float], None] | None = None
    ) -> tuple[SequenceClassifier, int, float]:
        """Train, or go on; gives the classifier after its best epoch, that epoch, and its loss on validation.

        Args:
            config: Of this training.
            stage: Number of this training.
            on_epoch: Called after each epoch with its number and loss; what it raises ends the training.
        """
        accelerator, run, split = self.accelerator, self.run, self.data.splits["train"]
        classifier = self.new(config)
        # Batches are made with the tokenizer and device of the model below, whatever wraps it.
        model: Any = classifier.model
        if config.lora is not None:
            options = {"alpha": config.lora["rank"], "dropout": 0.0, "targets": None} | config.lora
            model = with_lora(model, options["rank"], options["alpha"], options["dropout"], options["targets"])
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        weights = self.weights(config)
        n_steps = config.n_epochs * len(self.batches(config, stage, 0))
        optimizer: Any = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        wrapped, optimizer = accelerator.prepare(model, optimizer)
        position = run.load_state(stage) or {"step": 0, "best": None, "best_epoch": 0, "steps": 0}
        if position["step"] == 0:
            run.forget(stage)
        best, best_epoch, step = position["best"], position["best_epoch"], position["steps"]
        for epoch in range(position["step"] + 1, config.n_epochs + 1):
            if epoch - 1 - best_epoch >= config.patience:
                break
            wrapped.train()
            torch.manual_seed(int(np.random.default_rng([config.seed, 3, stage, epoch]).integers(2**31)))
            flips = np.random.default_rng([config.seed, 4, stage, epoch]).random(len(split)) < 0.5
            total = 0.0
            for batch in self.batches(config, stage, epoch):
                mine = batch[accelerator.process_index :: accelerator.num_processes]
                # A process without a sequence of a batch reads another's, and adds nothing.
                here = mine if len(mine) else batch[:1]
                rate = share_of_peak_rate(step, n_steps, config.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * rate
                sequences = split.sequences(here)
                if config.augment_strands:
                    pairs = zip(sequences, flips[here].tolist(), strict=True)
                    sequences = [reverse_complement(one) if flip else one for one, flip in pairs]
                with accelerator.autocast():
                    logits = wrapped(**classifier.batch(sequences)).logits
                summed = self.losses(logits, here, split, weights).sum() * (1.0 if len(mine) else 0.0)
                whole = float(len(batch))
                if weights is not None and self.data.task != "multi_label":
                    whole = float(weights[torch.from_numpy(split.truth[batch]).to(weights.device)].sum())
                # Processes average their gradients.
                accelerator.backward(summed * accelerator.num_processes / whole)
                accelerator.clip_grad_norm_(trained, config.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                total += float(accelerator.reduce(summed.detach(), "sum")) / whole * len(batch)
                step += 1
                self.check()
            loss = self.validation_loss(classifier)
            if best is None or loss < best:
                best, best_epoch = loss, epoch
                run.save_best(model)
            row = {"stage": stage, "step": epoch, "training_loss": f"{total / len(split):.6f}"}
            if accelerator.is_main_process:
                run.append("history.csv", row | {"validation_loss": f"{loss:.6f}"})
            run.save_state(stage, epoch, {"best": best, "best_epoch": best_epoch, "steps": step})
            if on_epoch is not None:
                on_epoch(epoch, loss)
        run.load_best(model)
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        if config.lora is not None:
            model = model.merge_and_unload()
        accelerator.free_memory()
        return replace(classifier, model=model.eval()), best_epoch, float(best)

    def logits(self, classifier: SequenceClassifier, split: LabelledSequences) -> torch.Tensor:
        """Of all sequences as they stand, `(n, n_labels)`, which the processes share."""
        accelerator = self.accelerator
        was_training = classifier.model.training
        classifier.model.eval()
        mine: list[tuple[int, list[float]]] = []
        places = np.arange(accelerator.process_index, len(split), accelerator.num_processes)
        for part in np.array_split(places, max(len(places) // 2048, 1)):
            if len(part):
                with accelerator.autocast():
                    found = classifier.logits(split.sequences(part))
                mine += zip(part.tolist(), found.tolist(), strict=True)
            self.check()
        classifier.model.train(was_training)
        return torch.tensor([values for _, values in sorted(gather_object(mine))])

    def validation_loss(self, classifier: SequenceClassifier) -> float:
        """Mean over the validation split, each class as often as it is there."""
        split = self.data.splits["validation"]
        logits = self.logits(classifier, split)
        return float(self.losses(logits, np.arange(len(split)), split, None).double().mean())


class Search:
    """Settings tried by Optuna; the main process decides, and tells the others."""

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self.trainer, self.folder, self.accelerator = trainer, folder, trainer.accelerator
        assert trainer.config.search is not None
        self.space = {name: values for name, values in trainer.config.search.items() if name != "n_trials"}
        self.n_trials: int = trainer.config.search["n_trials"]
        self.study: Any = None
        if self.accelerator.is_main_process:
            optuna = import_optuna()
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self.study = optuna.create_study(
                study_name="search",
                storage=f"sqlite:///{folder / 'search.db'}",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
                load_if_exists=True,
            )

    def shared(self, value: Any) -> Any:
        """The main process's value, on all processes."""
        values = [value]
        broadcast_object_list(values)
        return values[0]

    def best_classifier(self) -> tuple[SequenceClassifier, RecipeConfig, int, int]:
        """Try what is left to try; gives the best classifier, its settings, the trial's number and its best epoch."""
        while True:
            number, values = self.shared(self._next() if self.accelerator.is_main_process else None)
            if number is None:
                break
            self._try(number, values)
        number, values, epoch = self.shared(self._best() if self.accelerator.is_main_process else None)
        config = replace(self.trainer.config, **values)
        classifier = self.trainer.new(config)
        model: Any = classifier.model
        load_model(model, self.folder / BEST_TRIAL)
        model.to(self.accelerator.device).eval()
        return classifier, config, number, epoch

    def _next(self) -> tuple[int | None, dict[str, Any]]:
        """Number and settings of a trial that was begun, or a new one; none when enough are done."""
        optuna = import_optuna()
        states = optuna.trial.TrialState
        begun = self.study.get_trials(deepcopy=False, states=(states.RUNNING,))
        if begun:
            return begun[0].number, begun[0].params
        if len(self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))) >= self.n_trials:
            return None, {}
        # By its number, so that a resumed search goes on as one that was not interrupted.
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = optuna.samplers.TPESampler(seed=self.trainer.config.seed + number, n_startup_trials=5)
        trial = self.study.ask()
        for name, values in self.space.items():
            low, high = min(values), max(values)
            if len(values) > 2:
                trial.suggest_categorical(name, values)
            elif name in WHOLE:
                trial.suggest_int(name, int(low), int(high))
            else:
                trial.suggest_float(name, float(low), float(high), log=low > 0 and high / low >= 10)
        return trial.number, trial.params

    def _try(self, number: int, values: dict[str, Any]) -> None:
        main = self.accelerator.is_main_process
        config = replace(self.trainer.config, **values)
        self.accelerator.print(f"trial {number}: " + ", ".join(f"{k} {_short(v)}" for k, v in values.items()))
        optuna = import_optuna() if main else None
        trial = optuna.trial.Trial(self.study, self.study.trials[number]._trial_id) if main else None

        def on_epoch(epoch: int, loss: float) -> None:
            worse = False
            if trial is not None:
                trial.report(loss, epoch)
                worse = trial.should_prune()
            if self.shared(worse):
                raise Pruned

        try:
            classifier, epoch, loss = self.trainer.train(config, number, on_epoch)
        except Pruned:
            self.accelerator.free_memory()
            if main:
                self.study.tell(number, state=optuna.trial.TrialState.PRUNED)
            self.accelerator.print(f"trial {number}: ended early, it fell behind")
            return
        if main:
            done = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
            if all(loss < other.value for other in done):
                with written_whole(self.folder / BEST_TRIAL) as partial:
                    save_model(classifier.model, str(partial))
            trial.set_user_attr("best_epoch", epoch)
            self.study.tell(number, loss)
        self.accelerator.print(f"trial {number}: loss {loss:.4f} on validation after epoch {epoch}")
        self.accelerator.wait_for_everyone()

    def _best(self) -> tuple[int, dict[str, Any], int]:
        best = self.study.best_trial
        return best.number, best.params, best.user_attrs["best_epoch"]

    @property
    def record(self) -> list[dict[str, Any]]:
        """Every trial."""
        return [
            {"number": trial.number, "state": trial.state.name.lower(), "loss": trial.value, **trial.params}
            for trial in self.study.trials
        ]


class Pruned(Exception):
    """A trial fell behind."""


def import_optuna() -> Any:
    """Optuna.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("search needs optuna; install it: pip install 'biomeformer[tuning]'.") from error
    return optuna


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--data", required=True, help="folder of `biomeformer sequences prepare`, or a dataset's Hub id"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--base", help="another one than the config's")
    parser.add_argument("--cpu", action="store_true", help="leave GPUs alone")
    parser.add_argument("--overwrite", action="store_true", help="replace what the output folder holds")
    return parser


def run_recipe(args: argparse.Namespace) -> None:
    """Search if asked to, train, evaluate, write.

    Raises:
        BiomeformerError: Input is bad, or a signal came.
    """
    began = time.monotonic()
    config = RecipeConfig.from_yaml(args.config)
    if args.base is not None:
        config = replace(config, base=args.base)
    data = read_training_data(args.data)
    accelerator = make_accelerator(config.mixed_precision, cpu=args.cpu)
    identity = {"config": asdict(config), "sequences": data.fingerprint, "labels": list(data.label_names)}
    run = TrainingRun(args.output, identity, accelerator)
    trainer = Trainer(config, run, data, lambda: None)
    if config.search is not None:
        import_optuna()
    trainer.new(config)
    run.open(args.overwrite)
    trials: list[dict[str, Any]] = []
    with Interruption() as interruption:
        trainer.check = interruption.check
        if config.search is None:
            stage = 0
            classifier, epoch, _ = trainer.train(config, stage)
        else:
            search = Search(trainer, args.output)
            classifier, config, stage, epoch = search.best_classifier()
            trials = search.record if accelerator.is_main_process else []
        judged = {name: data.splits[name] for name in ("validation", "test")}
        answers = [classifier.contract.answers(trainer.logits(classifier, split)) for split in judged.values()]
    if not accelerator.is_main_process:
        return
    predicted = np.concatenate(answers)
    table = prediction_table(
        data.task,
        data.label_names,
        [name for split in judged.values() for name in split.ids],
        [name for name, split in judged.items() for _ in range(len(split))],
        np.concatenate([split.truth for split in judged.values()]),
        predicted[:, 0] if data.task == "regression" else predicted,
    )
    settings = {key: value for key, value in asdict(config).items() if value not in (None, {})}
    evaluation = SequenceEvaluation.from_predictions(
        table,
        data.task,
        data.label_names,
        model=str(args.output.name),
        base_model=config.base,
        settings=settings,
        seed=config.seed,
    )
    classifier = replace(classifier, contract=replace(classifier.contract, thresholds=list(evaluation.thresholds)))
    record = {
        "recipe": "recipes/finetune_sequence_classifier.py",
        "base_model": origin(classifier.model),
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
    history = pd.read_csv(args.output / "history.csv")
    evaluation.save(args.output)
    write_predictions(table, args.output)
    folder = run.write_model(classifier.save, record)
    curve = history[history["stage"] == stage].rename(columns={"step": "epoch"})
    report = sequence_report(evaluation, table, args.output / "report.html", training=curve)
    shutil.rmtree(args.output / "state", ignore_errors=True)
    show(evaluation)
    print(f"model {folder}\nreport {report}")


def show(evaluation: SequenceEvaluation) -> None:
    """Print scores on both splits."""
    table = Table("", "validation", "test")
    for name in evaluation.validation_scores:
        cells = []
        for scores in (evaluation.validation_scores, evaluation.scores):
            found = scores.get(name)
            cells.append("" if found is None else f"{found['value']:.3f} ({found['low']:.3f}-{found['high']:.3f})")
        table.add_row(name, *cells)
    Console().print(table)


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; gives the exit code."""
    args = parser().parse_args(arguments)
    return exit_code_of(lambda: run_recipe(args), "the same command goes on after the last finished epoch")


if __name__ == "__main__":
    sys.exit(main())
