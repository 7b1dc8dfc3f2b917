"""Errors on one line, and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from ..errors import BiomeformerError, RankStopped
from .console import error_line

INTERRUPTED = 130


class BiomeformerGroup(TyperGroup):
    """Commands whose errors are one `error:` line on stderr.

    They exit with 2 for bad input, 1 for failure, and 130 or 143 where Ctrl-C or SIGTERM interrupted them.
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
        """Run the command line and leave the process with its exit code; `--debug` is taken anywhere."""
        arguments = list(sys.argv[1:] if args is None else args)
        options = arguments[: arguments.index("--")] if "--" in arguments else arguments
        debug = "--debug" in options
        if debug:
            arguments.remove("--debug")
        try:
            code = super().main(arguments, prog_name, complete_var, False, windows_expand_args, **extra)
            if code == INTERRUPTED:
                error_line("interrupted.")
        except BrokenPipeError:
            # Whoever reads our output has gone; keep the interpreter from complaining about it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except Exception as error:
            code = self._report(error, debug)
        sys.exit(code if isinstance(code, int) else 0)

    def _report(self, error: Exception, debug: bool) -> int:
        # Click's own exceptions; typer carries a copy of click whose names are private.
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
            # The process that stopped the job has said why.
            return error.exit_code
        # Of several processes the first speaks for all.
        rank = os.environ.get("RANK", "0")
        who = "" if rank == "0" else f"process {rank}: "
        if isinstance(error, BiomeformerError):
            error_line(f"{who}{error}")
            return error.exit_code
        what = " ".join(str(error).split())
        sentence = f"{type(error).__name__}: {what}" if what else type(error).__name__
        error_line(who + sentence if debug else f"{who}{sentence.rstrip('.')}; re-run with --debug for the traceback.")
        return 1
