"""Program that loads slow libraries once and forks a process for each job it reads from its input.

A line of the input is the folder of a job, holding `job.pickle`: what to run and in which environment. The process has
that environment before it imports huggingface_hub, transformers or datasets, which read theirs when they are imported
(`HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_HOME` and folders derived from it): so none of them may be loaded here.

With `--clients` they are loaded here nevertheless, which saves each process seconds. Then all processes are online at
the Hub that this program was started for, or offline if it is, and `HF_HOME` is the name of a file descriptor, which
each process opens on a folder of its own before it does anything.

It leaves `result.pickle`, what it printed in `output.txt`, and `exit` with its exit code.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

READ_AT_IMPORT = ("huggingface_hub", "transformers", "datasets", "accelerate", "biomeformer")
DESCRIPTOR = 200
HOME = f"/proc/self/fd/{DESCRIPTOR}"


def open_home(folder: Path) -> None:
    """Let `HOME` be a folder, for this process alone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(descriptor, DESCRIPTOR)
    os.close(descriptor)


def load(module: str, file: str | None) -> Any:
    """The module that holds a job's function, from its file, for test modules have names that are not on the path."""
    if module in sys.modules:
        return sys.modules[module]
    if file is None:
        return importlib.import_module(module)
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def run(folder: Path) -> int:
    """Run a job in this process; its exit code."""
    with (folder / "output.txt").open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    with open(os.devnull) as file:
        os.dup2(file.fileno(), 0)
    result: dict[str, Any] = {"value": None, "error": None}
    code = 0
    try:
        job = pickle.loads((folder / "job.pickle").read_bytes())
        os.environ.clear()
        os.environ.update(job["environment"])
        if "huggingface_hub" in sys.modules:
            open_home(Path(job["environment"]["HF_HOME"]))
        os.chdir(job["cwd"])
        sys.path[:] = job["path"]
        sys.modules["torch"].set_num_threads(1)
        value: Any = load(job["module"], job["file"])
        for name in job["name"].split("."):
            value = getattr(value, name)
        arguments, keywords = pickle.loads(job["arguments"])
        result["value"] = value(*arguments, **keywords)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException as error:
        traceback.print_exc()
        result["error"], code = f"{type(error).__name__}: {error}", 1
    try:
        text = pickle.dumps(result)
    except Exception as error:
        text, code = pickle.dumps({"value": None, "error": f"the result cannot be pickled: {error}"}), 1
    (folder / "result.pickle").write_bytes(text)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def watch(folder: Path) -> None:
    """Fork the job's process, wait for it, and write down how it ended."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = 1
        try:
            code = run(folder)
        finally:
            # Not sys.exit: the exit handlers of the libraries loaded before the fork are not this process's.
            os._exit(code)
    (folder / "pid").write_text(str(child))
    _, status = os.waitpid(child, 0)
    (folder / "exit.part").write_text(str(os.waitstatus_to_exitcode(status)))
    (folder / "exit.part").rename(folder / "exit")


def main() -> None:
    """Serve until the input ends."""
    # Instead of this folder, whose modules are not to be found by their bare names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from slow_imports import CLIENTS, LIBRARIES, freeze, preload

    preload(LIBRARIES, forbidden=READ_AT_IMPORT)
    if "--clients" in sys.argv:
        # Libraries make sure, when they are imported, that their folders can be written to.
        with tempfile.TemporaryDirectory() as folder:
            open_home(Path(folder))
            preload(CLIENTS)
    freeze()
    # Whoever ends is forgotten; `watch` needs the default to learn an exit code.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while line := sys.stdin.readline():
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                watch(Path(line.rstrip("\n")))
            finally:
                os._exit(0)
    # Nothing is left to do, and tidying up all these libraries takes seconds.
    os._exit(0)


if __name__ == "__main__":
    main()
