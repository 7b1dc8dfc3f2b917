"""Control of a run: whether it resumes, which processes share it, who observes it, and what stops it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypedDict

from .process_group import ProcessGroup


class RunObserver(Protocol):
    """What a run reports to, on each process.

    Any object with these methods will do; a subclass overrides those it needs, since the others do nothing.
    """

    def plan(self, n_before: int, n_mine: int, /) -> None:
        """Take note of how many items an earlier attempt finished, and how many this process will do; called once."""

    def advance(self, item_id: str, n_units: int, n_done: int, n_total: int, /) -> None:
        """Take note of a batch of an item: units so far, such as reads, and how much of it is done, such as bytes."""

    def finish(self, item_id: str, reason: str | None, /) -> None:
        """Take note of an item that this process finished, and of the reason if it failed."""

    def remark(self, text: str, /) -> None:
        """Take note of something about the run, such as items that are done again; by default it is a warning."""
        _warn(text)


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=2)


def _ignore(*values: Any) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class CallbackObserver(RunObserver):
    """A `RunObserver` made of functions; one that is left out does nothing, but remarks become warnings."""

    on_plan: Callable[[int, int], None] = _ignore
    on_advance: Callable[[str, int, int, int], None] = _ignore
    on_finish: Callable[[str, str | None], None] = _ignore
    on_remark: Callable[[str], None] = _warn

    def plan(self, n_before: int, n_mine: int, /) -> None:
        """Call `on_plan`."""
        self.on_plan(n_before, n_mine)

    def advance(self, item_id: str, n_units: int, n_done: int, n_total: int, /) -> None:
        """Call `on_advance`."""
        self.on_advance(item_id, n_units, n_done, n_total)

    def finish(self, item_id: str, reason: str | None, /) -> None:
        """Call `on_finish`."""
        self.on_finish(item_id, reason)

    def remark(self, text: str, /) -> None:
        """Call `on_remark`."""
        self.on_remark(text)


@dataclass(frozen=True)
class RunControl:
    """How a run over items, such as samples or genomes, proceeds; none of it changes the results.

    Attributes:
        resume: Whether to resume a run that the folder holds; otherwise it is refused.
        overwrite: Delete a run that the folder holds, and start over.
        fail_fast: Stop at the first item that fails, instead of continuing with the others.
        processes: The processes of the job; by default this one alone.
        observer: What the run reports its progress to.
        check: Called after each batch and while waiting for other processes; what it raises ends the run. It becomes
            the `check` of `processes`; None leaves that as it is.
    """

    resume: bool = True
    overwrite: bool = False
    fail_fast: bool = False
    processes: ProcessGroup = field(default_factory=ProcessGroup)
    observer: RunObserver = field(default_factory=CallbackObserver)
    check: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        if self.check is not None:
            self.processes.check = self.check


class RunOptions(TypedDict, total=False):
    """The fields of `RunControl` as keyword arguments; None stands for the default."""

    resume: bool
    overwrite: bool
    fail_fast: bool
    processes: ProcessGroup | None
    observer: RunObserver | None
    check: Callable[[], None] | None


# Keyword arguments of version 0.1, by those of `CallbackObserver`.
CALLBACKS = {"on_plan": "on_plan", "progress": "on_advance", "on_sample": "on_finish", "on_genome": "on_finish"}


def resolve_control(control: RunControl | None, options: Mapping[str, Any]) -> RunControl:
    """Return a control (the default one for None), with the fields changed that are given as keyword arguments.

    The callbacks of version 0.1 (`progress`, `on_plan`, `on_sample`, `on_genome`) become an observer, with a
    DeprecationWarning.

    Raises:
        TypeError: An option is no field of `RunControl`, or there are both callbacks and an observer.
    """
    fields: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    callbacks = {CALLBACKS[name]: fields.pop(name) for name in list(fields) if name in CALLBACKS}
    if callbacks:
        if control is not None or "observer" in fields:
            raise TypeError("progress, on_plan, on_sample and on_genome are deprecated: give an observer alone.")
        warnings.warn(
            "progress, on_plan, on_sample and on_genome are now the methods of an observer: give "
            "observer=CallbackObserver(...) of biomeformer.runs. The old names go with the next version.",
            DeprecationWarning,
            stacklevel=3,
        )
        fields["observer"] = CallbackObserver(**callbacks)
    unknown = sorted(fields.keys() - RunOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"{unknown[0]!r} is no option of a run; give {', '.join(RunOptions.__annotations__)}.")
    return replace(control or RunControl(), **fields)


__all__ = ["CallbackObserver", "RunControl", "RunObserver", "RunOptions", "resolve_control"]
