"""`biomeformer recipes`: the training scripts that come with the package."""

from __future__ import annotations

import ast
import difflib
import logging
import os
import runpy
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..runs.results import record_files
from .console import error_line, is_recording, next_command, out, out_lines, record
from .group import BiomeformerGroup

FOLDER = Path(__file__).resolve().parents[1] / "recipes"

app = typer.Typer(
    cls=BiomeformerGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="List, show and run the training recipes, on one process or several.",
)

Name = Annotated[str, typer.Argument(help="Recipe, as `biomeformer recipes list` names it.")]


def recipe_names() -> list[str]:
    """Return the names of the recipes."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def config_names(name: str) -> list[str]:
    """Return the names of a recipe's configs."""
    return sorted(path.stem for path in (FOLDER / "configs" / name).glob("*.yaml"))


def find(kind: str, name: str, names: list[str], path: Path) -> Path:
    """Return the path of a recipe or config.

    Raises:
        InputError: There is none of this name.
    """
    if name not in names:
        nearest = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(names) or 'none'}."
        raise InputError(f"no {kind} is called {name}; {hint}")
    return path


@app.command("list")
def list_recipes() -> None:
    """List the recipes and their configs."""
    listed = [
        {"name": name, "description": _docstring(name).splitlines()[0], "configs": config_names(name)}
        for name in recipe_names()
    ]
    for recipe in listed:
        configs = ", ".join(recipe["configs"])
        out(f"{recipe['name']}: {recipe['description']}" + (f" Configs: {configs}." if configs else ""))
    record(recipes=listed)
    next_command("recipes", "show", recipe_names()[0])


@app.command()
def show(
    name: Name, config: Annotated[str | None, typer.Option(help="Print this config instead, such as `smoke`.")] = None
) -> None:
    """Show a recipe's description, file and configs, or one of its configs."""
    script = find("recipe", name, recipe_names(), FOLDER / f"{name}.py")
    if config is not None:
        stem = config.removesuffix(".yaml")
        path = find("config", stem, config_names(name), FOLDER / "configs" / name / f"{stem}.yaml")
        out_lines(path.read_text().rstrip())
        record(recipe=name, config=path, text=path.read_text())
        next_command("recipes", "run", name, "--config", stem, "--help")
        return
    out_lines(f"{_docstring(name).rstrip()}\n")
    out(f"File: {script}")
    configs = {each: FOLDER / "configs" / name / f"{each}.yaml" for each in config_names(name)}
    for path in configs.values():
        out(f"Config: {path}")
    record(recipe=name, description=_docstring(name), script=script, configs=configs)
    next_command("recipes", "run", name, "--help")


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="""**Examples**

    biomeformer recipes run finetune_sequence_classifier --config smoke --data prepared --output run n_epochs=3

    biomeformer recipes run pretrain_read_encoder --processes 4 --cpu --config smoke --genomes GENOMES --output run
""",
)
def run(
    context: typer.Context,
    name: Name,
    processes: Annotated[int, typer.Option(min=1, help="Processes to share the work, each with a GPU or --cpu.")] = 1,
) -> None:
    """Run a recipe, with its own options and `key=value` for any field of its config; NAME --help shows them.

    Exits with the recipe's code; with several processes, that of the process that failed first.
    """
    if name in ("-h", "--help"):
        print(context.get_help())
        return
    find("recipe", name, recipe_names(), FOLDER / f"{name}.py")
    module = f"biomeformer.recipes.{name}"
    record(recipe=name, processes=processes, arguments=context.args)
    if processes > 1:
        with _stdout_of_processes():
            code = launch(["-m", module, *context.args], processes)
    else:
        sys.argv = [f"biomeformer recipes run {name}", *context.args]
        # In place of this command as `__main__`, where the types of the config's fields are looked up.
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if code == 0 and (output := _output_of(context.args)) is not None:
        record_files({"output": output})
        if (output / "model").is_dir():
            next_command("inspect", output / "model")
    raise typer.Exit(code)


def _output_of(arguments: list[str]) -> Path | None:
    """Return the folder that a recipe wrote."""
    for argument, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, joined = argument.partition("=")
        if name == "--output":
            return Path(joined if equals else value)
    return None


@contextmanager
def _stdout_of_processes() -> Iterator[None]:
    """Let processes that are started print to stderr where stdout is for the result as JSON."""
    if not is_recording():
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def launch(arguments: list[str], n_processes: int) -> int:
    """Run Python in several processes on this machine, like torchrun; return the exit code of the first to fail."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Each process reports the reason of its own failure.
    for library in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // n_processes, 1)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_processes,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        run_id=uuid.uuid4().hex,
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        if code < 0:
            error_line(f"process {rank} was terminated by {signal.Signals(-code).name}; give the command again.")
    except SignalException as error:
        code = -error.sigval
    else:
        return 0
    return code if code >= 0 else 128 - code


def _docstring(name: str) -> str:
    return ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or ""
