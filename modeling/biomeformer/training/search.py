"""Hyperparameter search with Optuna over trainings that are shared among processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from ..errors import MissingDependencyError, reason_of
from ..io.records import DamagedFileError, RecordType
from ..runs.progress import out
from .loop import Validation
from .run import START_OVER, TrainingRun
from .weights import load_weights, save_weights

BEST_TRIAL = "search_best"
DATABASE = "search.db"
TRIALS = "search.json"
OnEpoch = Callable[[int, Validation], None]


class _Trial(msgspec.Struct):
    """A finished trial, as far as later ones depend on it.

    Attributes:
        number: Its number.
        state: Optuna's name of its state.
        loss: Its validation loss, or the negative of its score; of a pruned one its last, or None.
        params: Its settings.
        losses: The same after each validation, by the validation's number.
        best_epoch: The validation with the lowest loss; None if pruned.
    """

    number: int
    state: str
    loss: float | None
    params: dict[str, Any]
    losses: dict[str, float]
    best_epoch: int | None


class _Trials(msgspec.Struct):
    trials: list[_Trial]


# SQLite has no checksums of values.
_TRIALS = RecordType(_Trials, START_OVER)


class Search:
    """Hyperparameter search with Optuna; the main process samples settings and broadcasts them.

    Trials are kept in the run's `search.db` (SQLite), so that an interrupted search resumes with its current trial,
    and finished ones in `search.json` too, whose checksum shows damage. Trials that fall behind the median of the
    others are pruned.

    Args:
        run: The training run.
        space: Smallest and largest value of each setting, or a list of three or more values to choose from.
        n_trials: Number of trials.
        integers: Names of the settings that are integers.
        seed: Seed of the sampler.
        score: Name of the validation score that is maximized; by default the validation loss is minimized.
    """

    def __init__(
        self,
        run: TrainingRun,
        space: Mapping[str, Sequence[Any]],
        n_trials: int,
        integers: Sequence[str],
        seed: int,
        score: str | None = None,
    ) -> None:
        self.run, self.space, self.n_trials, self.integers, self.seed = run, space, n_trials, integers, seed
        self.score = score
        self.study: Any = None
        if run.is_main:
            optuna = import_optuna()
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            file = run.path / DATABASE
            try:
                _check_database(file)
                self.study = optuna.create_study(
                    study_name="search",
                    storage=f"sqlite:///{file}",
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
                    load_if_exists=True,
                )
                # Reads all trials.
                self.study.get_trials(deepcopy=False)
            # SQLite, SQLAlchemy and Optuna each have their own.
            except Exception as error:
                reason = reason_of(error)
                raise DamagedFileError(f"{file} cannot be read ({reason}), so it is damaged; {START_OVER}.") from error
            self._check_trials(file)
            self._write_trials()

    def run_trials(self, train: Callable[[int, dict[str, Any], OnEpoch], tuple[nn.Module, int, float]]) -> None:
        """Run the remaining trials. All processes call it.

        Args:
            train: Takes a trial's number and settings and a function to call after each validation; returns the model
                at its best validation, that validation's number, and its loss or the negative of its score.
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
                    self._write_trials()
                    out(f"trial {number}: pruned")
                continue
            if self.run.is_main:
                self._complete(number, model, epoch, loss)
            processes.barrier()

    def best(self) -> tuple[int, dict[str, Any], int]:
        """Return the best trial's number, settings and best validation."""
        number, values, epoch = self.run.processes.on_main(self._best)
        return number, values, epoch

    def load_best(self, model: nn.Module) -> None:
        """Load the weights of the best trial into a model.

        Raises:
            DamagedFileError: They are damaged.
        """
        load_weights(model, self.run.path / BEST_TRIAL)

    @property
    def record(self) -> list[dict[str, Any]]:
        """All trials as JSON values on the main process; empty on others."""
        if self.study is None:
            return []
        return [
            {"number": trial.number, "state": trial.state.name.lower(), **self._criterion(trial.value), **trial.params}
            for trial in self.study.trials
        ]

    def _criterion(self, loss: float | None) -> dict[str, float | None]:
        """Return what is minimized or maximized, by its name."""
        if self.score is None:
            return {"loss": loss}
        return {self.score: None if loss is None else -loss}

    def _finished(self) -> list[dict[str, Any]]:
        """Return the finished trials as the record has them."""
        return [
            {
                "number": trial.number,
                "state": trial.state.name.lower(),
                "loss": trial.value,
                "params": dict(trial.params),
                "losses": {str(epoch): loss for epoch, loss in trial.intermediate_values.items()},
                "best_epoch": trial.user_attrs.get("best_epoch"),
            }
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state.is_finished()
        ]

    def _write_trials(self) -> None:
        _TRIALS.write(self.run.path / TRIALS, {"trials": self._finished()})

    def _check_trials(self, database: Path) -> None:
        """Compare the database with the record of finished trials; after a kill the record may lack the last one.

        Raises:
            DamagedFileError: A recorded trial is missing in the database, or differs there.
        """
        try:
            recorded = _TRIALS.read(self.run.path / TRIALS).trials
        except FileNotFoundError:
            recorded = []
        trials = {trial["number"]: trial for trial in self._finished()}
        for trial in recorded:
            if msgspec.to_builtins(trial) != trials.get(trial.number):
                raise DamagedFileError(
                    f"{database} differs from {TRIALS} in trial {trial.number}, so it is damaged or was edited; "
                    f"{START_OVER}."
                )

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
            if len(values) > 2 or isinstance(values[0], str):
                trial.suggest_categorical(name, values)
                continue
            low, high = min(values), max(values)
            if name in self.integers:
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
                trial.report(-validation.merit, epoch)
                falls_behind = trial.should_prune()
            if self.run.processes.broadcast(falls_behind):
                raise _Pruned

        return on_epoch

    def _complete(self, number: int, model: nn.Module, epoch: int, loss: float) -> None:
        optuna = import_optuna()
        done = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if all(loss < other.value for other in done):
            save_weights(model, self.run.path / BEST_TRIAL)
        optuna.trial.Trial(self.study, self.study.trials[number]._trial_id).set_user_attr("best_epoch", epoch)
        self.study.tell(number, loss)
        self._write_trials()
        ((criterion, value),) = self._criterion(loss).items()
        out(f"trial {number}: validation {criterion} {value:.4f}, the best, at validation {epoch}")

    def _best(self) -> tuple[int, dict[str, Any], int]:
        best = self.study.best_trial
        return best.number, best.params, best.user_attrs["best_epoch"]


def _check_database(file: Path) -> None:
    """Raise an error if SQLite finds the pages of an existing database damaged; it has no checksums of values."""
    if not file.is_file():
        return
    with closing(sqlite3.connect(file)) as connection:
        result = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if result != "ok":
        raise ValueError(result)


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
