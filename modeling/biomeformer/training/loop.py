"""The training loop that all recipes share.

A step is one optimizer step on one global batch. The batch is a number of micro-batches, each of which goes through
the model at once; processes share them in turn, and a process without one passes another's through the model and adds
nothing, so that any number of processes can train on any batch. Losses come as a sum and a weight: gradients and losses
are means over the global batch, whatever its division.

Random numbers of a forward pass (dropout) are seeded by stage, step and micro-batch. With a fixed number of
micro-batches losses therefore do not depend on the number of processes. With one micro-batch per process, the
default of recipes that divide batches of examples, they do not either without dropout; with dropout each process draws
masks of its own.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.progress import Progress, TextColumn
from torch import nn

from ..errors import BiomeformerError
from ..runs.prefetch import prefetch
from .batches import to_device
from .run import TrainingRun
from .schedules import Schedule, constant


@dataclass(frozen=True)
class Plan:
    """How long a stage trains, and how often it looks up.

    Attributes:
        n_steps: Optimizer steps at most.
        schedule: Factor of the peak learning rates at a step.
        micro_batches: Micro-batches per step; one per process by default.
        log_every: Steps between rows of the history, whose training loss is the mean over these steps.
        evaluate_every: Steps between validations; 0 validates after the last step only.
        save_every: Steps between saved states; a multiple of `log_every`.
        steps_per_epoch: Of a training in epochs; the history then counts them.
        patience: Validations without an improvement after which training stops and takes its best weights; None
            trains all steps and keeps the last weights.
        min_improvement: What the validation loss must fall, or the score rise, to count as an improvement.
        max_grad_norm: Gradients are clipped to this norm; None does not clip.
        seed: Of the random numbers in forward passes.
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
        """Log, validate and save after every epoch."""
        names = ("log_every", "evaluate_every", "save_every", "steps_per_epoch")
        every: dict[str, Any] = dict.fromkeys(names, steps_per_epoch)
        return cls(n_steps, **every, **options)


@dataclass(frozen=True)
class Validation:
    """Result of a validation, equal on all processes.

    Attributes:
        loss: Mean validation loss; decides unless there is a score.
        score: Any score that is better the higher it is.
    """

    loss: float | None = None
    score: float | None = None

    @property
    def merit(self) -> float:
        """What is to become higher."""
        if self.score is not None:
            return self.score
        assert self.loss is not None
        return -self.loss


@dataclass(frozen=True)
class Outcome:
    """What a stage of training came to.

    Attributes:
        n_steps: Steps trained.
        best_step: Step whose weights the model has.
        validation: Of these weights; None without validation.
        seconds: Wall time, earlier attempts included.
    """

    n_steps: int
    best_step: int
    validation: Validation | None
    seconds: float


# Gets step, micro-batch and their number; gives a batch on the CPU, or None where the step's batch has none left.
Draw = Callable[[int, int, int], Any]
# Gets the model, wrapped for its processes, and a batch on the device; gives the summed loss and its weight.
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
        run: The folder, with Accelerator and processes; all processes call this.
        stage: Number of the stage.
        model: Trained in place.
        optimizer: Over the trained parameters, with their peak learning rates.
        plan: Steps, schedule, and what happens when.
        draw: Makes a micro-batch, in a thread; must depend on its arguments alone. A step's first is never None.
        loss: Summed loss of a micro-batch, and the weight that the global mean divides by, such as its examples.
        validate: Called on all processes with the model in evaluation mode, without gradients.
        on_validation: Called after each with the step; what it raises ends the training.
        name: For the progress bar and trackers.

    Raises:
        BiomeformerError: The loss is not finite.
        RunInterrupted: A signal came; the last saved state is kept.
        RankError: Another process failed.
    """
    accelerator, processes = run.accelerator, run.processes
    rank, size = processes.rank, processes.size
    n_micro_batches = plan.micro_batches or size
    rates = [group["lr"] for group in optimizer.param_groups]
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    wrapped, prepared = accelerator.prepare(model, optimizer)
    position = run.load_state(stage) or {"step": 0, "best_step": 0, "best": None, "stale": 0, "seconds": 0.0}
    step, best_step, stale = position["step"], position["best_step"], position["stale"]
    best = None if position["best"] is None else Validation(**position["best"])
    began = time.monotonic() - position["seconds"]
    # MPS has no float64.
    exact = torch.float32 if accelerator.device.type == "mps" else torch.float64

    def own_micro_batches(first: int, end: int) -> Iterator[list[tuple[int, Any, float]]]:
        """This process's micro-batches of each step: number, batch, and whether it counts."""
        for at in range(first, end):
            drawn = [(micro, draw(at, micro, n_micro_batches)) for micro in range(rank, n_micro_batches, size)]
            own = [(micro, batch, 1.0) for micro, batch in drawn if batch is not None]
            yield own or [(0, draw(at, 0, n_micro_batches), 0.0)]

    def optimize(own: list[tuple[int, Any, float]]) -> torch.Tensor:
        """One step; gives summed loss and weight of the global batch."""
        for group, rate in zip(prepared.param_groups, rates, strict=True):
            group["lr"] = rate * plan.schedule(step)
        totals = torch.zeros(2, dtype=exact, device=accelerator.device)
        for i, (micro, batch, counts) in enumerate(own):
            torch.manual_seed(torch_seed(plan.seed, stage, step, micro))
            # Processes add up their gradients with the last one.
            with nullcontext() if i == len(own) - 1 else accelerator.no_sync(wrapped):
                summed, weight = loss(wrapped, to_device(batch, accelerator.device))
                accelerator.backward(summed * counts)
            totals += counts * torch.stack([summed.detach().to(totals), torch.as_tensor(weight).to(totals)])
        totals = accelerator.reduce(totals, "sum")
        # Processes average their gradients; what is wanted is the mean over the global batch.
        scale = size / totals[1].clamp_min(torch.finfo(torch.float32).tiny)
        for value in parameters:
            if value.grad is not None:
                value.grad.mul_(scale.to(value.grad.dtype))
        if plan.max_grad_norm is not None:
            accelerator.clip_grad_norm_(parameters, plan.max_grad_norm)
        prepared.step()
        prepared.zero_grad()
        return totals

    def validated() -> Validation:
        """The model as it is now."""
        assert validate is not None
        model.eval()
        with torch.no_grad(), accelerator.autocast():
            result = validate()
        wrapped.train()
        accelerator.log({f"{name}/validation": -result.merit if result.score is None else result.score}, step=step)
        return result

    columns = (*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.4f}"))
    shown = run.is_main and sys.stderr.isatty()
    stopped = plan.patience is not None and stale >= plan.patience
    try:
        wrapped.train()
        with Progress(*columns, disable=not shown, transient=True) as progress:
            bar = progress.add_task(name, total=plan.n_steps, completed=step, loss=math.nan)
            sums = torch.zeros(2, dtype=exact, device=accelerator.device)
            while step < plan.n_steps and not stopped:
                # Nothing is read ahead while validation reads.
                end = plan.n_steps
                if plan.evaluate_every:
                    end = min(end, (step // plan.evaluate_every + 1) * plan.evaluate_every)
                with closing(prefetch(own_micro_batches(step, end), check=run.check)) as ahead:
                    for own in ahead:
                        sums += optimize(own)
                        step += 1
                        validation = None
                        if step == end and validate is not None:
                            validation = validated()
                            if plan.patience is None or best is None or _is_better(validation, best, plan):
                                best, best_step, stale = validation, step, 0
                                if plan.patience is not None:
                                    run.save_best(model)
                            else:
                                stale += 1
                            stopped = plan.patience is not None and stale >= plan.patience
                        if step % plan.log_every == 0 or step == plan.n_steps:
                            value = float(sums[0] / sums[1].clamp_min(torch.finfo(torch.float32).tiny))
                            if not math.isfinite(value):
                                raise BiomeformerError(
                                    f"the loss of stage {stage} is {value} at step {step}; lower the learning_rate. "
                                    f"The last saved state is in {run.path / 'state'}."
                                )
                            sums.zero_()
                            if run.is_main:
                                row = {"stage": stage, "step": step, "training_loss": f"{value:.6f}"}
                                row["learning_rate"] = f"{prepared.param_groups[0]['lr']:.6g}"
                                if plan.steps_per_epoch is not None:
                                    row["epoch"] = step // plan.steps_per_epoch
                                if validation is not None and validation.loss is not None:
                                    row["validation_loss"] = f"{validation.loss:.6f}"
                                if validation is not None and validation.score is not None:
                                    row["validation_score"] = f"{validation.score:.6f}"
                                run.append(row)
                            accelerator.log({f"{name}/loss": value}, step=step)
                            progress.update(bar, completed=step, loss=value)
                        if step % plan.save_every == 0 or step == plan.n_steps or stopped:
                            state = {"best_step": best_step, "best": None if best is None else vars(best)}
                            state |= {"stale": stale, "seconds": time.monotonic() - began}
                            run.save_state(stage, step, state)
                        if validation is not None and on_validation is not None:
                            on_validation(step, validation)
                        run.check()
        if plan.patience is not None and best is not None:
            run.load_best(model)
    finally:
        accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
        accelerator.free_memory()
    model.eval()
    keeps_best = plan.patience is not None and best is not None
    return Outcome(step, best_step if keeps_best else step, best, round(time.monotonic() - began, 1))


def _is_better(validation: Validation, best: Validation, plan: Plan) -> bool:
    return validation.merit > best.merit + plan.min_improvement


def torch_seed(*key: int) -> int:
    """Return a seed of torch that depends on all numbers of a key."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


__all__ = ["Outcome", "Plan", "Validation", "torch_seed", "train"]
