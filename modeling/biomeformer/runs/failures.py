"""Failures of single items of a run, told from errors that end the run."""

from __future__ import annotations

import logging
import re

from ..errors import DEBUG_ADVICE, BiomeformerError, RunError, describe_unexpected
from ..io.atomic import disk_error, write_error
from .devices import is_out_of_memory

logger = logging.getLogger(__name__)

LONGEST_REASON = 500
# After these, a device refuses all further work of the process.
DEVICE_ERROR = re.compile(r"CUDA error|HIP error|device-side assert|CUDNN_STATUS|CUBLAS_STATUS|NCCL error")


def failure_reason(error: Exception, item: str) -> str:
    """Return why an item failed, where its error is its own; else raise the error that ends the run.

    Any exception is an item's own, except lack of memory, of disk space or of a working device, the errors whose
    `ends_run` is true, and those of a run's `check`. The traceback of an unexpected one is logged for `--debug`.

    Args:
        error: What processing the item raised.
        item: Kind and name of the item, for messages.

    Returns:
        The message of an `InputError`; of other errors type and message, and advice.

    Raises:
        BiomeformerError: The error ends the run.
        Exception: The same, of a run's `check`.
    """
    if getattr(error, "ends_run", False):
        raise error
    if isinstance(error, BiomeformerError):
        logger.debug("%s failed", item, exc_info=error)
        return str(error)
    full_disk = disk_error(error)
    if full_disk is not None:
        raise write_error(getattr(error, "filename", None) or item, full_disk) from error
    if is_out_of_memory(error):
        raise RunError(
            f"{item}: out of memory ({_short(describe_unexpected(error))}); give a lower --batch-tokens, or use a "
            "machine with more memory; what is finished is kept."
        ) from error
    if isinstance(error, RuntimeError) and DEVICE_ERROR.search(str(error)):
        raise RunError(
            f"{item}: the device failed ({_short(describe_unexpected(error))}); give the same command again, what is "
            "finished is kept."
        ) from error
    logger.debug("%s failed", item, exc_info=error)
    return f"{_short(describe_unexpected(error)).rstrip('.')}; {DEBUG_ADVICE}"


def all_failed_alike(failed: dict[str, str], n_items: int) -> str | None:
    """Return the reason for which each of several items failed, if it is the same and not about their content."""
    reasons = set(failed.values())
    if n_items < 2 or len(failed) < n_items or len(reasons) > 1:
        return None
    reason = next(iter(reasons))
    return reason if reason.endswith(DEBUG_ADVICE) else None


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


__all__ = ["all_failed_alike", "failure_reason"]
