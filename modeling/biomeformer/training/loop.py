"""The training loop that all recipes share.

A step is one optimizer step on one global batch. The batch consists of micro-batches, each of which is one forward
pass; they are dealt to the processes in turn, and a process without one runs another's with weight zero, so that any
number of processes can train on any batch. Losses are given as a sum and a weight: gradients and losses are means over
the global batch, however it is divided.

The random numbers of a forward pass (dropout) are seeded by stage, step and micro-batch. With a fixed number of
micro-batches, losses therefore do not depend on the number of processes. With one micro-batch per process, the
default of recipes that divide batches of examples, the same holds without dropout; with dropout each process draws
its own masks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import BiomeformerError
from ..runs.prefetch import prefetch
from .batches import to_device
from .run import TrainingRun
from .schedules import Schedule, constant
from .states import Position

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Plan:
    """How long a stage trains, and how often it logs, validates and saves.

    Attributes:
        n_steps: Maximum number of optimizer steps.
        schedule: Factor of the peak learning rates, as a function of the step.
        micro_batches: Micro-batches per step; one per process by default.
        log_every: Steps between rows of the history, whose training loss is the mean over these steps.
        evaluate_every: Steps between validations; 0 validates after the last step only.
        save_every: Steps between saved states; a multiple of `log_every`.
        steps_per_epoch: Steps per epoch; if given, the history has epoch numbers.
        patience: Validations without an improvement after which training stops and restores the best weights; None
            trains all steps and keeps the last weights.
        min_improvement: Minimum decrease of the validation loss, or increase of the score, that is an improvement.
        max_grad_norm: Norm to which gradients are clipped; None does not clip.
        seed: Seed of the random numbers in forward passes.
    """

    n_steps: int
    schedule: Schedule = constant
    micro_batches: int | None = None
    log_every: int = 1
    evaluate_every: int = 0
    save_every: int = 1000
    steps_per_epoch: int | None = None
    patience: int | None = None
    min_improvement: float = 0.0
    max_grad_norm: float | None = None
    seed: int = 0

    @classmethod
    def of_epochs(cls, n_steps: int, steps_per_epoch: int, **options: Any) -> Plan:
        """Return a plan that logs, validates and saves after every epoch."""
        names = ("log_every", "evaluate_every", "save_every", "steps_per_epoch")
        every: dict[str, Any] = dict.fromkeys(names, steps_per_epoch)
        return cls(n_steps, **every, **options)


@dataclass(frozen=True)
class Validation:
    """Result of a validation, equal on all processes.

    Attributes:
        loss: Mean validation loss; the criterion if there is no score.
        score: Any score of which higher values are better.
    """

    loss: float | None = None
    score: float | None = None

    @property
    def merit(self) -> float:
        """The criterion of early stopping: the score, or the negative loss."""
        if self.score is not None:
            return self.score
        assert self.loss is not None
        return -self.loss


@dataclass(frozen=True)
class Outcome:
    """Result of a stage of training.

    Attributes:
        n_steps: Number of steps trained.
        best_step: Step of the weights that the model has.
        validation: Validation of these weights; None without validation.
        seconds: Wall time, earlier attempts included.
    """

    n_steps: int
    best_step: int
    validation: Validation | None
    seconds: float


# Takes step, micro-batch and number of micro-batches; returns a batch on the CPU, or None if the micro-batch is empty.
Draw = Callable[[int, int, int], Any]
# Takes the model, wrapped for its processes, and a batch on the device; returns the summed loss and its weight.
Loss = Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor | float]]


def train(
    run: TrainingRun,
    stage: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    draw: Draw,
    loss: Loss,
    validate: Callable[[], Validation] | None = None,
    *,
    on_validation: Callable[[int, Validation], None] | None = None,
    name: str = "training",
) -> Outcome:
    """Train a stage, or resume it, and leave the model with its final weights, in evaluation mode.

    Args:
        run: The training run, with Accelerator and processes; all processes call this.
        stage: Number of the stage.
        model: The model, trained in place.
        optimizer: Optimizer of the trained parameters, with their peak learning rates.
        plan: Steps and schedule, and when to log, validate and save.
        draw: Makes a micro-batch, in a thread; must depend only on its arguments. The first of a step is never None.
        loss: Returns the summed loss of a micro-batch and its weight in the global mean, such as its examples.
        validate: Called on all processes with the model in evaluation mode, without gradients.
        on_validation: Called after each validation with the step; an exception it raises ends the training.
        name: Name in the progress display and trackers.

    Returns:
        Steps, best validation and wall time.

    Raises:
        BiomeformerError: The loss is not finite.
        RunInterrupted: A signal was received; the last saved state is kept.
        RankError: Another process failed.
    """
    return _Stage(run, stage, model, optimizer, plan, draw, loss, validate, on_validation, name).run_to_end()


class _Stage:
    """A stage in progress: the arguments of `train` and the current position."""

    def __init__(
        self,
        run: TrainingRun,
        stage: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        draw: Draw,
        loss: Loss,
        validate: Callable[[], Validation] | None,
        on_validation: Callable[[int, Validation], None] | None,
        name: str,
    ) -> None:
        self.run, self.stage, self.model, self.plan, self.name = run, stage, model, plan, name
        self.draw, self.loss, self.validate, self.on_validation = draw, loss, validate, on_validation
        self.accelerator = run.accelerator
        self.n_micro_batches = plan.micro_batches or run.processes.size
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.parameters = [value for group in optimizer.param_groups for value in group["params"]]
        wrapped: Any
        prepared: Any
        wrapped, prepared = self.accelerator.prepare(model, optimizer)
        self.wrapped, self.optimizer = wrapped, prepared
        self.step, position = run.load_state(stage) or (0, Position(0, None, 0, 0.0))
        self.best_step, self.stale = position.best_step, position.stale
        self.best = None if position.best is None else Validation(**_numbers(position.best))
        self.began = time.monotonic() - position.seconds
        # Summed loss and weight since the last row; MPS has no float64.
        exact = torch.float32 if self.accelerator.device.type == "mps" else torch.float64
        self.totals = torch.zeros(2, dtype=exact, device=self.accelerator.device)

    @property
    def has_stopped_early(self) -> bool:
        """Whether validation has not improved for as long as the plan's patience."""
        return self.plan.patience is not None and self.stale >= self.plan.patience

    def run_to_end(self) -> Outcome:
        """Train the remaining steps."""
        plan = self.plan
        try:
            self.wrapped.train()
            with self.run.showing_progress() as progress:
                progress.update(self.name, self.step, plan.n_steps)
                while self.step < plan.n_steps and not self.has_stopped_early:
                    # Prefetch only up to the next validation, which reads data of its own.
                    end = plan.n_steps
                    if plan.evaluate_every:
                        end = min(end, (self.step // plan.evaluate_every + 1) * plan.evaluate_every)
                    with closing(prefetch(self._own_micro_batches(end), check=self.run.check)) as ahead:
                        for own in ahead:
                            self._optimize(own)
                            value = self._record(self._validate() if self.step == end else None)
                            if value is not None:
                                figure = f"{self.step:,} of {plan.n_steps:,}, loss {value:.4f}"
                                progress.update(self.name, self.step, plan.n_steps, figure)
                            self.run.check()
            if plan.patience is not None and self.best is not None:
                self.run.load_best(self.model)
        finally:
            self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
            self.accelerator.free_memory()
        self.model.eval()
        has_best = plan.patience is not None and self.best is not None
        seconds = round(time.monotonic() - self.began, 1)
        return Outcome(self.step, self.best_step if has_best else self.step, self.best, seconds)

    def _own_micro_batches(self, end: int) -> Iterator[list[tuple[int, Any, float]]]:
        """Yield this process's micro-batches of each step before `end`: number, batch and weight (0 or 1)."""
        rank, size = self.run.processes.rank, self.run.processes.size
        for step in range(self.step, end):
            drawn = [
                (micro, self.draw(step, micro, self.n_micro_batches))
                for micro in range(rank, self.n_micro_batches, size)
            ]
            own = [(micro, batch, 1.0) for micro, batch in drawn if batch is not None]
            yield own or [(0, self.draw(step, 0, self.n_micro_batches), 0.0)]

    def _optimize(self, own: list[tuple[int, Any, float]]) -> None:
        """Take one step."""
        accelerator, plan = self.accelerator, self.plan
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * plan.schedule(self.step)
        totals = torch.zeros_like(self.totals)
        for i, (micro, batch, counts) in enumerate(own):
            torch.manual_seed(torch_seed(plan.seed, self.stage, self.step, micro))
            # Gradients are synchronized with the last micro-batch.
            with nullcontext() if i == len(own) - 1 else accelerator.no_sync(self.wrapped):
                summed, weight = self.loss(self.wrapped, to_device(batch, accelerator.device))
                accelerator.backward(summed * counts)
            totals += counts * torch.stack([summed.detach().to(totals), torch.as_tensor(weight).to(totals)])
        totals = accelerator.reduce(totals, "sum")
        # Synchronization averages gradients over processes; rescale to the mean over the global batch.
        scale = self.run.processes.size / totals[1].clamp_min(TINY)
        for value in self.parameters:
            if value.grad is not None:
                value.grad.mul_(scale.to(value.grad.dtype))
        if plan.max_grad_norm is not None:
            accelerator.clip_grad_norm_(self.parameters, plan.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.totals += totals
        self.step += 1

    def _validate(self) -> Validation | None:
        """Validate the model, and keep its weights if they are the best so far."""
        if self.validate is None:
            return None
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            validation = self.validate()
        self.wrapped.train()
        for kind, value in vars(validation).items():
            if value is not None:
                self.accelerator.log({f"{self.name}/validation {kind}": value}, step=self.step)
        # Without patience the last weights and their validation are kept.
        is_better = self.best is None or validation.merit > self.best.merit + self.plan.min_improvement
        if is_better or self.plan.patience is None:
            self.best, self.best_step, self.stale = validation, self.step, 0
            if self.plan.patience is not None:
                self.run.save_best(self.model)
        else:
            self.stale += 1
        return validation

    def _record(self, validation: Validation | None) -> float | None:
        """Write a history row and a state if they are due; return the row's training loss."""
        plan, value = self.plan, None
        is_last = self.step == plan.n_steps or self.has_stopped_early
        if self.step % plan.log_every == 0 or is_last:
            value = float(self.totals[0] / self.totals[1].clamp_min(TINY))
            self.totals.zero_()
            if not math.isfinite(value):
                raise BiomeformerError(
                    f"the loss of stage {self.stage} is {value} at step {self.step}; lower the learning_rate. The last "
                    f"saved state is in {self.run.path / 'state'}."
                )
            if self.run.is_main:
                self.run.append(self._row(value, validation))
            self.accelerator.log({f"{self.name}/loss": value}, step=self.step)
        if self.step % plan.save_every == 0 or is_last:
            state: dict[str, Any] = {"best_step": self.best_step, "best": None}
            if self.best is not None:
                # As text, since JSON has no NaN.
                values = vars(self.best).items()
                state["best"] = {kind: None if value is None else repr(float(value)) for kind, value in values}
            state |= {"stale": self.stale, "seconds": time.monotonic() - self.began}
            self.run.save_state(self.stage, self.step, state)
        if validation is not None and self.on_validation is not None:
            self.on_validation(self.step, validation)
        return value

    def _row(self, training_loss: float, validation: Validation | None) -> dict[str, Any]:
        row: dict[str, Any] = {"stage": self.stage, "step": self.step, "training_loss": f"{training_loss:.6f}"}
        row["learning_rate"] = f"{self.optimizer.param_groups[0]['lr']:.6g}"
        if self.plan.steps_per_epoch is not None:
            row["epoch"] = self.step // self.plan.steps_per_epoch
        for kind, value in vars(validation).items() if validation is not None else ():
            if value is not None:
                row[f"validation_{kind}"] = f"{value:.6f}"
        return row


def _numbers(values: dict[str, str | None]) -> dict[str, float | None]:
    return {kind: None if value is None else float(value) for kind, value in values.items()}


def torch_seed(*key: int) -> int:
    """Derive a seed for torch from all numbers of a key."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


__all__ = ["Outcome", "Plan", "Validation", "torch_seed", "train"]
