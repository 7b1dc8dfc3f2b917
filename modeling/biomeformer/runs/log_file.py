"""The log of a command in a file: remarks, progress, results and errors with time stamps, also with `--quiet`."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..errors import InputError
from ..sinks import terminal_lines

OPTION, VARIABLE = "--log-file", "BIOMEFORMER_LOG_FILE"
# Warnings of these go into the file too.
LIBRARIES = ("biomeformer", "transformers", "huggingface_hub", "py.warnings")

# Lines of the terminal are messages of this logger too, which has a handler only while a file is open.
logger = logging.getLogger("biomeformer.log")
logger.propagate = False
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.NullHandler())


class _Formatter(logging.Formatter):
    """Time, level, process and message, with control characters of names escaped."""

    def format(self, record: logging.LogRecord) -> str:
        return terminal_lines(super().format(record))


FORMAT = _Formatter("%(asctime)s %(levelname)-7s [%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%S%z")
_handler: logging.FileHandler | None = None


def open_log_file(path: str | Path) -> None:
    """Append what follows to a file, in this process and those it starts.

    Raises:
        InputError: The file cannot be written.
    """
    global _handler
    close_log_file()
    try:
        _handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(
            f"{OPTION} {path} cannot be written: {error.strerror}; give the name of a file in a folder that exists."
        ) from error
    _handler.setFormatter(FORMAT)
    os.environ[VARIABLE] = str(Path(path).absolute())
    for name in (logger.name, *LIBRARIES):
        logging.getLogger(name).addHandler(_handler)


def open_log_file_of_parent() -> None:
    """Open the file that the process which started this one had open, if there is one and none is open yet."""
    if _handler is None and os.environ.get(VARIABLE):
        open_log_file(os.environ[VARIABLE])


def close_log_file() -> None:
    """Close the file, if one is open."""
    global _handler
    if _handler is None:
        return
    for name in (logger.name, *LIBRARIES):
        logging.getLogger(name).removeHandler(_handler)
    _handler.close()
    _handler = None
    os.environ.pop(VARIABLE, None)


__all__ = ["OPTION", "close_log_file", "logger", "open_log_file", "open_log_file_of_parent"]
