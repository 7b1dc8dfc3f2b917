"""Hyperparameter search with Optuna over trainings that are shared among processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from safetensors.torch import load_model, save_model
from torch import nn

from ..errors import MissingDependencyError
from ..io.atomic import atomic_write
from ..runs.progress import out
from .loop import Validation
from .run import TrainingRun

BEST_TRIAL = "search_best.safetensors"
OnEpoch = Callable[[int, Validation], None]


class Search:
    """Hyperparameter search with Optuna; the main process samples settings and broadcasts them.

    Trials are kept in the run's `search.db` (SQLite), so that an interrupted search resumes with its current trial.
    Trials that fall behind the median of the others are pruned.

    Args:
        run: The training run.
        space: Smallest and largest value of each setting, or a list of three or more values to choose from.
        n_trials: Number of trials.
        integers: Names of the settings that are integers.
        seed: Seed of the sampler.
    """

    def __init__(
        self, run: TrainingRun, space: Mapping[str, Sequence[Any]], n_trials: int, integers: Sequence[str], seed: int
    ) -> None:
        self.run, self.space, self.n_trials, self.integers, self.seed = run, space, n_trials, integers, seed
        self.study: Any = None
        if run.is_main:
            optuna = import_optuna()
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self.study = optuna.create_study(
                study_name="search",
                storage=f"sqlite:///{run.path / 'search.db'}",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
                load_if_exists=True,
            )

    def run_trials(self, train: Callable[[int, dict[str, Any], OnEpoch], tuple[nn.Module, int, float]]) -> None:
        """Run the remaining trials. All processes call it.

        Args:
            train: Takes a trial's number and settings and a function to call after each epoch; returns the model after
                its best epoch, that epoch and its validation loss.
        """
        processes = self.run.processes
        while True:
            number, values = processes.on_main(self._next)
            if number is None:
                return
            if self.run.is_main:
                out(f"trial {number}: " + ", ".join(f"{k} {_short(v)}" for k, v in values.items()))
            try:
                model, epoch, loss = train(number, values, self._pruner(number))
            except _Pruned:
                if self.run.is_main:
                    self.study.tell(number, state=import_optuna().trial.TrialState.PRUNED)
                    out(f"trial {number}: pruned")
                continue
            if self.run.is_main:
                self._complete(number, model, epoch, loss)
            processes.barrier()

    def best(self) -> tuple[int, dict[str, Any], int]:
        """Return the best trial's number, settings and best epoch."""
        number, values, epoch = self.run.processes.on_main(self._best)
        return number, values, epoch

    def load_best(self, model: nn.Module) -> None:
        """Load the weights of the best trial into a model."""
        load_model(model, self.run.path / BEST_TRIAL)

    @property
    def record(self) -> list[dict[str, Any]]:
        """All trials as JSON values on the main process; empty on others."""
        if self.study is None:
            return []
        return [
            {"number": trial.number, "state": trial.state.name.lower(), "loss": trial.value, **trial.params}
            for trial in self.study.trials
        ]

    def _next(self) -> tuple[int | None, dict[str, Any]]:
        """Return number and settings of an unfinished trial, or else of a new one, or None if enough are done."""
        optuna = import_optuna()
        states = optuna.trial.TrialState
        unfinished = self.study.get_trials(deepcopy=False, states=(states.RUNNING,))
        if unfinished:
            return unfinished[0].number, unfinished[0].params
        if len(self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))) >= self.n_trials:
            return None, {}
        # Seeded by the trial's number, so that a resumed search continues like one that was not interrupted.
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + number, n_startup_trials=5)
        trial = self.study.ask()
        for name, values in self.space.items():
            low, high = min(values), max(values)
            if len(values) > 2:
                trial.suggest_categorical(name, values)
            elif name in self.integers:
                trial.suggest_int(name, int(low), int(high))
            else:
                trial.suggest_float(name, float(low), float(high), log=low > 0 and high / low >= 10)
        return trial.number, trial.params

    def _pruner(self, number: int) -> OnEpoch:
        """Return the callback that prunes a trial that falls behind."""
        trial: Any = None
        if self.run.is_main:
            trial = import_optuna().trial.Trial(self.study, self.study.trials[number]._trial_id)

        def on_epoch(epoch: int, validation: Validation) -> None:
            falls_behind = False
            if trial is not None:
                trial.report(validation.loss, epoch)
                falls_behind = trial.should_prune()
            if self.run.processes.broadcast(falls_behind):
                raise _Pruned

        return on_epoch

    def _complete(self, number: int, model: nn.Module, epoch: int, loss: float) -> None:
        optuna = import_optuna()
        done = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if all(loss < other.value for other in done):
            with atomic_write(self.run.path / BEST_TRIAL) as partial:
                save_model(model, str(partial))
        optuna.trial.Trial(self.study, self.study.trials[number]._trial_id).set_user_attr("best_epoch", epoch)
        self.study.tell(number, loss)
        out(f"trial {number}: validation loss {loss:.4f} after epoch {epoch}")

    def _best(self) -> tuple[int, dict[str, Any], int]:
        best = self.study.best_trial
        return best.number, best.params, best.user_attrs["best_epoch"]


class _Pruned(Exception):
    """The trial is pruned."""


def import_optuna() -> Any:
    """Import Optuna.

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


__all__ = ["Search", "import_optuna"]
