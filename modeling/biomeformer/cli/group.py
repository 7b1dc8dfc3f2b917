"""Command group that prints errors on one line and sets exit codes."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import DEBUG_ADVICE, BiomeformerError, InputError, RankStopped, describe_unexpected
from ..io.limits import LIMITS
from ..runs import log_file, results
from ..runs.command_line import set_command
from ..runs.debugging import hide_tracebacks, show_tracebacks
from ..runs.progress import logger
from ..sinks import terminal
from .console import error_line
from .output import release_outputs

INTERRUPTED = 130
# What each option shows of remarks and of the libraries' messages.
VERBOSITY = {"--quiet": logging.WARNING, "--verbose": logging.DEBUG}
JSON = "--json"
# What these print is no result.
HELP = {"-h", "--help", "--install-completion", "--show-completion"}


class BiomeformerGroup(TyperGroup):
    """Group of commands whose errors are printed as one `error:` line on stderr.

    Exit codes are 2 for invalid input, 1 for failure, and 130 or 143 after Ctrl-C or SIGTERM.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for command in self.commands.values():
            _show_json_option(command)

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

        `--debug`, `--quiet`, `--verbose`, `--json`, `--log-file` and limits are accepted at any position. With `--json`
        stdout gets one JSON document, also if the command fails, and all else goes to stderr.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        set_command(["biomeformer", *arguments])
        options = arguments[: arguments.index("--")] if "--" in arguments else arguments
        debug = "--debug" in options
        if debug:
            arguments.remove("--debug")
            show_tracebacks()
        level, stdout = logger.level, sys.stdout
        code: Any = 1
        document = None
        with ExitStack() as stack:
            if JSON in options:
                arguments.remove(JSON)
                if not HELP & set(options):
                    document = results.start_document()
                    stack.callback(results.end_document)
                    stack.enter_context(redirect_stdout(sys.stderr))
            try:
                for option in VERBOSITY.keys() & set(options):
                    arguments.remove(option)
                    logger.setLevel(VERBOSITY[option])
                for limit in LIMITS:
                    if (value := _take_option(arguments, limit.option)) is not None:
                        limit.set(value)
                if (path := _take_option(arguments, log_file.OPTION)) is not None:
                    log_file.open_log_file(path)
                    log_file.logger.info("%s", terminal(shlex.join(["biomeformer", *arguments])))
                code = super().main(arguments, prog_name, complete_var, False, windows_expand_args, **extra)
                if code == INTERRUPTED:
                    error_line("interrupted.")
            except BrokenPipeError:
                # The reader of stdout has gone; prevent the interpreter from reporting it at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
                code = 1
            except SystemExit as stop:
                # Of a recipe.
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            except Exception as error:
                code = self._report(error, debug)
            finally:
                release_outputs()
                code = code if isinstance(code, int) else 0
                log_file.logger.info("exit code %d", code)
                log_file.close_log_file()
                logger.setLevel(level)
                if debug:
                    hide_tracebacks()
        # Of several processes, the main one has the result.
        if document is not None and os.environ.get("RANK", "0") == "0":
            print(document.to_json(self._name_of(arguments), code), file=stdout)
        sys.exit(code)

    def _name_of(self, arguments: Sequence[str]) -> str:
        """Return the name of the command of some arguments, such as `phenotype evaluate`."""
        group: Any = self
        names: list[str] = []
        for word in arguments:
            command = getattr(group, "commands", {}).get(word)
            if command is not None:
                names.append(word)
                group = command
            elif not word.startswith("-"):
                break
        return " ".join(names)

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
        log_file.logger.debug("traceback of an unexpected error", exc_info=error)
        sentence = describe_unexpected(error)
        hint = "" if debug else f"; {DEBUG_ADVICE}."
        error_line(prefix + (sentence if debug else sentence.rstrip(".")) + hint)
        return 1


@cache
def _json_option() -> Any:
    """Return the option `--json`, made as those of commands are."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def _command(
        as_json: Annotated[
            bool, typer.Option(JSON, expose_value=False, help="Print the result as one JSON document.")
        ] = False,
    ) -> None:
        pass

    return next(parameter for parameter in typer.main.get_command(app).params if JSON in parameter.opts)


def _show_json_option(command: Any) -> None:
    """List `--json` in the help of a command, and of those in a group."""
    for each in getattr(command, "commands", {}).values():
        _show_json_option(each)
    if not hasattr(command, "commands") and _json_option() not in command.params:
        command.params.append(_json_option())


def _take_option(arguments: list[str], option: str) -> str | None:
    """Remove an option from the arguments, and return its value; the first, if it is given several times.

    Raises:
        InputError: It has no value.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    taken = None
    for position in reversed(range(end)):
        name, equals, value = arguments[position].partition("=")
        if name != option:
            continue
        if not equals:
            if position + 1 == end:
                raise InputError(f"{option} has no value; give one.")
            value = arguments.pop(position + 1)
            end -= 1
        del arguments[position]
        end -= 1
        taken = value
    return taken
