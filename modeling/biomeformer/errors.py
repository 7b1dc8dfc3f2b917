"""Exceptions: each message is one sentence that says what is wrong, where, why, and what to do."""

from __future__ import annotations


class BiomeformerError(Exception):
    """A failure of the package itself; the command line exits with `exit_code`."""

    exit_code = 1


class InputError(BiomeformerError, ValueError):
    """Bad input: a file, table, argument or checkpoint that cannot be used as it is."""

    exit_code = 2


class ReadFileError(InputError):
    """A FASTQ or FASTA file that cannot be opened, or breaks at a record."""


class CohortError(InputError):
    """A cohort table that is malformed or names files that are not there."""


class CheckpointError(InputError):
    """A model directory or Hub id that is not a usable checkpoint."""


class TableError(InputError):
    """An abundance table that is malformed or does not fit another."""


class MissingDependencyError(BiomeformerError, ImportError):
    """An optional dependency that the requested feature needs is not installed."""

    exit_code = 2
