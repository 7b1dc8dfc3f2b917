"""Command group that prints errors on one line and sets exit codes."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from ..errors import DEBUG_ADVICE, BiomeformerError, InputError, RankStopped, describe_unexpected
from ..io.limits import LIMITS, Limit
from ..runs.command_line import set_command
from ..runs.debugging import hide_tracebacks, show_tracebacks
from ..runs.progress import logger
from .console import error_line
from .output import release_outputs

INTERRUPTED = 130
# What each option shows of remarks and of the libraries' messages.
VERBOSITY = {"--quiet": logging.WARNING, "--verbose": logging.DEBUG}


class BiomeformerGroup(TyperGroup):
    """Group of commands whose errors are printed as one `error:` line on stderr.

    Exit codes are 2 for invalid input, 1 for failure, and 130 or 143 after Ctrl-C or SIGTERM.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and exit with its code.

        `--debug`, `--quiet`, `--verbose` and limits are accepted at any position.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        set_command(["biomeformer", *arguments])
        options = arguments[: arguments.index("--")] if "--" in arguments else arguments
        debug = "--debug" in options
        if debug:
            arguments.remove("--debug")
            show_tracebacks()
        level = logger.level
        try:
            for option in VERBOSITY.keys() & set(options):
                arguments.remove(option)
                logger.setLevel(VERBOSITY[option])
            for limit in LIMITS:
                _take_limit(arguments, limit)
            code = super().main(arguments, prog_name, complete_var, False, windows_expand_args, **extra)
            if code == INTERRUPTED:
                error_line("interrupted.")
        except BrokenPipeError:
            # The reader of stdout has gone; prevent the interpreter from reporting it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except Exception as error:
            code = self._report(error, debug)
        finally:
            release_outputs()
            logger.setLevel(level)
            if debug:
                hide_tracebacks()
        sys.exit(code if isinstance(code, int) else 0)

    def _report(self, error: Exception, debug: bool) -> int:
        # Click's exceptions, recognized by attribute: typer bundles a copy of click with private names.
        usage = getattr(error, "format_message", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)
            return 2
        if usage is not None:
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "biomeformer"
            error_line(f"{usage().rstrip('.')}; see `{path} --help`.")
            return int(getattr(error, "exit_code", 2))
        if debug:
            traceback.print_exception(error)
        if isinstance(error, RankStopped):
            # The process that stopped the job has reported the reason.
            return error.exit_code
        # Errors of processes other than the main one are prefixed with their rank.
        rank = os.environ.get("RANK", "0")
        prefix = "" if rank == "0" else f"process {rank}: "
        if isinstance(error, BiomeformerError):
            error_line(f"{prefix}{error}")
            return error.exit_code
        from ..io.atomic import describe_error

        explained = describe_error(error)
        if explained is not None:
            error_line(f"{prefix}{explained}")
            return 1
        sentence = describe_unexpected(error)
        hint = "" if debug else f"; {DEBUG_ADVICE}."
        error_line(prefix + (sentence if debug else sentence.rstrip(".")) + hint)
        return 1


def _take_limit(arguments: list[str], limit: Limit) -> None:
    """Remove the option of a limit from the arguments, and set the limit.

    Raises:
        InputError: It has no value, or a bad one.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for position in reversed(range(end)):
        name, equals, value = arguments[position].partition("=")
        if name != limit.option:
            continue
        if not equals:
            if position + 1 == end:
                raise InputError(f"{limit.option} has no value; give a number.")
            value = arguments.pop(position + 1)
        del arguments[position]
        limit.set(value)
