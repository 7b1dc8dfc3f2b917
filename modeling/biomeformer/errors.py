"""Exceptions: each message is one sentence that says what is wrong, where, why, and what to do."""

from __future__ import annotations

from .sinks import terminal

# Ends the reason of an error that is not about the input, so that its traceback is of use.
DEBUG_ADVICE = "re-run with --debug for the traceback"


def reason_of(error: BaseException, limit: int | None = 150) -> str:
    """Return the message of another library's error on one line, cut at a limit, or else the error's type.

    Args:
        error: The error.
        limit: Number of characters; None for all.
    """
    return " ".join(str(error).split())[:limit] or type(error).__name__


class BiomeformerError(Exception):
    """A failure of the package itself; the command line exits with `exit_code`.

    Attributes:
        exit_code: Exit code of the command line.
        ends_run: Whether the error ends a run over items; otherwise it is the failure of one item.
    """

    exit_code = 1
    ends_run = True

    def __str__(self) -> str:
        """Return the message on one line; names from files that it holds cannot steer a terminal."""
        return terminal(super().__str__())


class InputError(BiomeformerError, ValueError):
    """Bad input: a file, table, argument or checkpoint that cannot be used as it is."""

    exit_code = 2
    ends_run = False


class ReadFileError(InputError):
    """A FASTQ or FASTA file that cannot be opened, or breaks at a record."""


class CohortError(InputError):
    """A cohort table that is malformed or names files that are not there."""


class GenomeError(InputError):
    """A genome's file that cannot be read, breaks at a record, or does not fit another."""


class CheckpointError(InputError):
    """A model directory or Hub id that is not a usable checkpoint."""


class CheckpointNotFoundError(CheckpointError, OSError):
    """No checkpoint, or a file of it that is missing; an `OSError` as transformers raises it."""


class CheckpointWeightsError(CheckpointError, RuntimeError):
    """Weights that do not fit their model, or cannot be loaded as asked; a `RuntimeError` as transformers raises it."""


class TableError(InputError):
    """An abundance table that is malformed or does not fit another."""


class MissingDependencyError(BiomeformerError, ImportError):
    """An optional dependency that the requested feature needs is not installed."""

    exit_code = 2


class RunError(BiomeformerError):
    """A run cannot go on for a reason that is no bad input, such as a full disk; it can be taken up again."""


class WriteError(RunError, OSError):
    """A file cannot be written, such as on a full disk or in a read-only folder; an `OSError` as the writers raise it.

    Args:
        message: Which file, why, and what to do.
        reason: Why, alone.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RunInterrupted(BiomeformerError):
    """A signal asked the run to stop; it can be taken up again.

    Args:
        message: What was interrupted.
        signal_number: The signal; the command line exits with 128 more, as shells do.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class RankError(BiomeformerError):
    """Another process of the job failed, or does not answer."""


class RankStopped(RankError):
    """Another process of the job stopped after saying why itself."""


class SamplesFailedError(BiomeformerError):
    """Some samples of a cohort could not be used; the others were.

    Args:
        message: How many, and what to do.
        failed: The reason of each, by sample.
    """

    def __init__(self, message: str, failed: dict[str, str]) -> None:
        super().__init__(message)
        self.failed = failed


class PublishError(BiomeformerError):
    """The Hub refused, could not be reached, or changed meanwhile; nothing was lost and the command can be repeated."""


def describe_unexpected(error: BaseException) -> str:
    """Return an error that is none of this module's as one line: its type and message."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
