"""Jobs of several real processes, as `accelerate launch` starts them, forked from one that has imported torch."""

from __future__ import annotations

import importlib.util
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# A new interpreter would need seconds for its imports; these are processes of their own all the same.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["preloaded"])


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def recipe(name: str) -> Any:
    """A recipe as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run_recipe(name: str, arguments: Sequence[str]) -> int:
    """Run a recipe's `main`."""
    return recipe(name).main(list(arguments))


def _start_server() -> None:
    """Start the server, unless it runs, where it can import `preloaded`: Python hands it no path before 3.14."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "modeling"), str(ROOT / "tests"), before]))
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _child(function: Callable[..., int | None], arguments: tuple, environment: dict[str, str], output: Path) -> None:
    os.environ.update(environment)
    with output.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # The server passes over in silence what it cannot import.
    assert "preloaded" in sys.modules
    sys.modules["torch"].set_num_threads(1)
    code = function(*arguments)
    sys.stdout.flush()
    sys.exit(code)


class Job:
    """Processes that run one function with the environment of `n` ranks.

    Args:
        folder: For what they print.
        n_ranks: How many.
        function: Importable; its result is the exit code.
        *arguments: Of it.
    """

    def __init__(self, folder: Path, n_ranks: int, function: Callable[..., int | None], *arguments: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _start_server()
        port = str(free_port())
        self.outputs = [folder / f"rank{rank}.{time.monotonic_ns()}.txt" for rank in range(n_ranks)]
        self.processes = []
        for rank, output in enumerate(self.outputs):
            environment = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(n_ranks),
                "LOCAL_WORLD_SIZE": str(n_ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
            }
            process = CONTEXT.Process(target=_child, args=(function, arguments, environment, output))
            process.start()
            self.processes.append(process)

    def wait(self, timeout: float = 120) -> list[int | None]:
        """Exit codes, negative for a signal; whoever is still there after `timeout` seconds is killed and has None."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0))
        codes = [process.exitcode for process in self.processes]
        self.kill()
        return codes

    def signal(self, number: int, ranks: Sequence[int] | None = None) -> None:
        """Send a signal to some ranks, or all."""
        for rank in range(len(self.processes)) if ranks is None else ranks:
            if self.processes[rank].is_alive():
                os.kill(self.processes[rank].pid, number)

    def kill(self) -> None:
        """End whoever is left."""
        self.signal(signal.SIGKILL)
        for process in self.processes:
            process.join()

    def text(self) -> str:
        """What all of them printed."""
        return "\n".join(output.read_text() for output in self.outputs if output.exists())
