"""The command line and exit codes of recipes."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ..errors import DEBUG_ADVICE, BiomeformerError, RankStopped, describe_unexpected
from ..io.atomic import describe_error
from ..runs.command_line import current_command, set_command
from ..runs.debugging import show_tracebacks, shows_tracebacks
from ..runs.interruption import Interruption
from ..runs.log_file import open_log_file_of_parent
from ..runs.process_group import DEFAULT_TIMEOUT, ProcessGroup
from ..runs.progress import error_line, note
from ..runs.scheduler import RunOutcome
from .config import Config

Fields = TypeVar("Fields", bound=Config)
CONFIGS = "configs"
OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.\w+)*=")


class RecipeParser(argparse.ArgumentParser):
    """Argument parser with the options of all recipes: `--config`, `--output`, and `key=value` for any config field.

    Args:
        script: The recipe's file, beside which `configs/NAME/` is.
        description: Its docstring.
    """

    def __init__(self, script: str, description: str | None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.script = Path(script)
        self.add_argument("--config", type=Path, required=True, help="YAML file, or the name of a shipped config")
        self.add_argument("--output", type=Path, required=True, help="folder of the run")
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")
        self.add_argument(
            "overrides", nargs="*", default=[], metavar="key=value", help="a field of the config, in YAML"
        )

    def add_training_options(self) -> None:
        """Add the options of recipes that train with Accelerate."""
        self.add_argument("--cpu", action="store_true", help="run on CPU only")
        self.add_argument("--overwrite", action="store_true", help="delete the run that the output folder holds")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse options and overrides in any order, and resolve the name of a shipped config."""
        arguments = list(sys.argv[1:] if args is None else args)
        # `biomeformer recipes run` has set its own.
        if not current_command():
            set_command(["python", sys.argv[0], *arguments])
        # Overrides are removed first, since options with several values would consume them.
        is_override = [
            OVERRIDE.match(argument) is not None and not previous.startswith("--")
            for previous, argument in zip(["", *arguments], arguments, strict=False)
        ]
        options = [argument for argument, override in zip(arguments, is_override, strict=True) if not override]
        parsed = self.parse_intermixed_args(options, namespace)
        parsed.overrides += [argument for argument, override in zip(arguments, is_override, strict=True) if override]
        shipped = self.script.parent / CONFIGS / self.script.stem / f"{parsed.config.name.removesuffix('.yaml')}.yaml"
        if not parsed.config.exists() and parsed.config.parent == Path() and shipped.is_file():
            parsed.config = shipped
        return parsed

    def error(self, message: str) -> NoReturn:
        """Exit with a one-line error, which only the main process prints, since all have the same options."""
        if os.environ.get("RANK", "0") == "0":
            error_line(f"{message}; see --help.")
        sys.exit(2)


def run_main(
    work: Callable[[Any, ProcessGroup], RunOutcome[Any] | None],
    args: argparse.Namespace,
    advice: str,
    timeout: float = DEFAULT_TIMEOUT,
) -> int:
    """Run a recipe on the processes of the job; print the reason of a failure and return the exit code.

    Each process prints its own reason, but a process that stopped because another did prints nothing, and a reason
    common to several processes is printed once.

    Args:
        work: The recipe; takes the options and the processes. The main process raises the failures of the outcome that
            it returns, once all processes have finished: they did what they could.
        args: The parsed options.
        advice: Advice to print after an interruption.
        timeout: Seconds without a heartbeat after which another process is considered dead.
    """
    if getattr(args, "debug", False):
        show_tracebacks()
    open_log_file_of_parent()
    processes = ProcessGroup()
    try:
        with Interruption() as interruption, ProcessGroup.from_environment(timeout) as processes:
            processes.check = interruption.check
            outcome = work(args, processes)
        if outcome is not None and processes.is_main:
            outcome.raise_for_failures()
    except RankStopped as error:
        return error.exit_code
    except BiomeformerError as error:
        if shows_tracebacks():
            traceback.print_exception(error)
        prefix = f"process {processes.rank}: " if processes.rank else ""
        error_line(f"{prefix}{error}{f'; {advice}' if error.exit_code >= 130 else ''}")
        for name, reason in getattr(error, "failed", {}).items():
            note(f"failed  {name}: {reason}")
        return error.exit_code
    except KeyboardInterrupt:
        # A second signal stops the process at once.
        error_line(f"interrupted; {advice}")
        return 130
    except Exception as error:
        debug = shows_tracebacks()
        if debug:
            traceback.print_exception(error)
        prefix = f"process {processes.rank}: " if processes.rank else ""
        reason = describe_error(error)
        if reason is None:
            reason = describe_unexpected(error) + ("" if debug else f"; {DEBUG_ADVICE}.")
        error_line(f"{prefix}{reason}")
        return 1
    return 0


__all__ = ["RecipeParser", "run_main"]
