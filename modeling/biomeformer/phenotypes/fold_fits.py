"""Fits of the folds of a cross-validation, side by side in processes that compute with one thread each.

One thread per fit makes sums independent of the number of cores, and lets fits share the cores without competing for
them. Worker processes import this module, so it imports neither torch nor transformers.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from time import process_time
from typing import Any

import numpy as np
from joblib import effective_n_jobs, parallel_config
from threadpoolctl import threadpool_limits

from ..metrics.scorers import Task
from .models import learned_nothing, predict_target, selected

# Seconds of computing left from which processes are worth their start, which takes about two seconds of each.
WORTH_PROCESSES = 8.0
# Parameters of glibc's mallopt, from malloc.h, and what a worker sets them to, in bytes.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MALLOC_OPTIONS = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 1 << 30, M_TOP_PAD: 64 << 20}
# Folds per process that are handed over at once; fewer if each has features of its own, which are copied.
AT_ONCE, COPIES_AT_ONCE = 64, 4


@dataclass(frozen=True)
class FoldFit:
    """A fold's model, as far as it is needed.

    Attributes:
        predicted: Predictions of the test samples, as of `predict_target`.
        is_empty: Whether the model learned nothing.
        selected: Which features have a weight other than zero, bool `(n_features,)`; None if it is no L1 model.
        model: The fitted model, if it was to be kept.
    """

    predicted: np.ndarray
    is_empty: bool
    selected: np.ndarray | None
    model: Any = None


@dataclass(frozen=True)
class FoldJob:
    """A fold to fit.

    Attributes:
        model: The untrained model, which computes with one job.
        labels: Labels of all samples.
        train: Rows of the training samples.
        test: Rows of the test samples.
        task: What is predicted.
        n_classes: Number of classes or labels.
        keep: Whether the fitted model is returned.
    """

    model: Any
    labels: np.ndarray
    train: np.ndarray
    test: np.ndarray
    task: Task
    n_classes: int
    keep: bool = False


def fit_fold(job: FoldJob, rows: np.ndarray) -> FoldFit:
    """Fit a fold's training samples and predict its test samples, with one thread.

    Args:
        job: The fold.
        rows: Features of all samples, float64 `(n_samples, n_features)`.
    """
    with threadpool_limits(1):
        fitted = job.model.fit(rows[job.train], job.labels[job.train])
        predicted = predict_target(fitted, rows[job.test], job.task, job.n_classes)
    return FoldFit(predicted, learned_nothing(fitted), selected(fitted), fitted if job.keep else None)


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, where its C library is glibc; return whether it does.

    Boosting allocates and frees small tables for every node. By default these go back to the system each time, and a
    third to half of the processor time is spent on page faults.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in MALLOC_OPTIONS.items())


def fit_fold_in_worker(job: FoldJob, rows: np.ndarray) -> FoldFit:
    """Fit a fold as `fit_fold` does, in a process that does nothing else."""
    keep_freed_memory()
    return fit_fold(job, rows)


def fit_folds(
    jobs: Iterable[FoldJob],
    n_jobs_in_all: int,
    rows: Callable[[FoldJob], np.ndarray],
    *,
    rows_are_shared: bool,
    n_jobs: int | None,
) -> Iterator[tuple[FoldJob, FoldFit]]:
    """Yield folds with their fits, in their order.

    The fits do not depend on the number of processes. The first folds are fitted in this process, and all of them if
    that takes a few seconds only.

    Args:
        jobs: The folds.
        n_jobs_in_all: Their number.
        rows: Maps a fold to the features of all samples.
        rows_are_shared: Whether these are the same array for all folds.
        n_jobs: Number of processes, as in scikit-learn.
    """
    # Of scikit-learn, since it hands on its configuration and the filters of warnings.
    from sklearn.utils.parallel import Parallel, delayed

    n_processes, jobs = effective_n_jobs(n_jobs), iter(jobs)
    n_done, seconds = 0, 0.0
    while n_processes == 1 or seconds / max(n_done, 1) * (n_jobs_in_all - n_done) <= WORTH_PROCESSES:
        job = next(jobs, None)
        if job is None:
            return
        # Without what `next` takes, which imports scikit-learn for the first one.
        began = process_time()
        fit = fit_fold(job, rows(job))
        seconds, n_done = seconds + process_time() - began, n_done + 1
        yield job, fit
    n_at_once = n_processes * (AT_ONCE if rows_are_shared else COPIES_AT_ONCE)
    while part := list(islice(jobs, n_at_once)):
        with parallel_config(backend="loky", inner_max_num_threads=1):
            # Dispatched by this thread alone, in which features of a fold's own are computed.
            parallel = Parallel(n_jobs=min(n_processes, len(part)), return_as="generator", pre_dispatch="all")
        yield from zip(part, parallel(delayed(fit_fold_in_worker)(job, rows(job)) for job in part), strict=True)


__all__ = ["FoldFit", "FoldJob", "fit_fold", "fit_folds"]
