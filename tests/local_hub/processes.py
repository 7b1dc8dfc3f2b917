"""Processes whose Hub clients talk to a local Hub: each has its environment before it imports the client."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .forkserver import HOME

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DESCRIPTORS = Path("/proc/self/fd")
FOREIGN = ("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "DATASETS_", "PYTEST_")


@dataclass
class ProcessResult:
    """How a process ended.

    Attributes:
        exit_code: Negative for a signal; None where it was ended for its time.
        output: What it printed, errors among it.
        value: What the function returned.
        error: `TypeName: message` of the exception that ended the function, or None.
        cache: Its `HF_HOME`: hand it to another process as `cache` to go on with what this one downloaded.
    """

    exit_code: int | None
    output: str
    value: Any
    error: str | None
    cache: Path

    def check(self) -> Any:
        """The function's value.

        Raises:
            AssertionError: With the output, where the process failed.
        """
        assert self.exit_code == 0, f"exit code {self.exit_code}: {self.error}\n{self.output}"
        return self.value


class RunningProcess:
    """A function at work in a process of its own."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        if not (self.folder / "exit").exists():
            _await(self.folder / "pid", 60)
            os.kill(int((self.folder / "pid").read_text()), number)

    def wait(self, timeout: float = 120) -> ProcessResult:
        """Wait for its end; after `timeout` seconds it is killed."""
        late = not _await(self.folder / "exit", timeout)
        if late:
            self.kill()
            _await(self.folder / "exit", 60)
        output = self.folder / "output.txt"
        text = output.read_text(errors="replace") if output.exists() else ""
        left = self.folder / "result.pickle"
        result = pickle.loads(left.read_bytes()) if left.exists() else {"value": None, "error": None}
        code = None if late else int((self.folder / "exit").read_text())
        return ProcessResult(code, text, result["value"], result["error"], self.cache)


def _await(path: Path, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not path.exists() or not path.stat().st_size:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class HubProcesses:
    """Runs functions and command lines as clients of one Hub.

    Functions run in processes forked from one that has loaded what is slow to load (see `forkserver`); no constant of a
    client is patched. A function has to be one of a module's own names; its module is imported in the process as well.

    Args:
        url: Of the Hub.
        folder: For outputs and caches.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self._numbers = itertools.count()
        self._servers: dict[tuple[bool, bool], subprocess.Popen[str]] = {}

    def environment(
        self,
        cache: Path,
        token: str | None = None,
        offline: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """The environment of a client.

        Args:
            cache: `HF_HOME`.
            token: Becomes `HF_TOKEN`; None for nobody.
            offline: `HF_HUB_OFFLINE`.
            more: Further variables.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(FOREIGN) and not name.lower().endswith("_proxy")
        }
        paths = [str(HERE / "loopback"), kept.get("PYTHONPATH", "")]
        return {
            **kept,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "TOKENIZERS_PARALLELISM": "false",
            **({"HF_TOKEN": token} if token else {}),
            **({"HF_HUB_OFFLINE": "1"} if offline else {}),
            **(more or {}),
        }

    def start(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        token: str | None = None,
        cache: Path | None = None,
        offline: bool = False,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        **keywords: Any,
    ) -> RunningProcess:
        """Start `function(*arguments, **keywords)` in a process and return at once.

        Args:
            function: Of a module's own names.
            *arguments: Picklable.
            token: Of the Hub; None for nobody.
            cache: `HF_HOME`; an empty one unless given.
            offline: Without the Hub.
            environment: Further variables.
            cwd: Working folder; an empty one unless given.
            **keywords: Picklable.
        """
        folder, cache, cwd = self._folders(cache, cwd)
        job = {
            "environment": self.environment(cache, token, offline, environment),
            "path": sys.path,
            "cwd": str(cwd),
            "module": function.__module__,
            "file": getattr(sys.modules[function.__module__], "__file__", None),
            "name": function.__qualname__,
            "arguments": pickle.dumps((arguments, keywords)),
        }
        (folder / "job.pickle").write_bytes(pickle.dumps(job))
        # What the environment changes beyond the user is read when a client is imported.
        server = self._server(clients=not environment and DESCRIPTORS.is_dir(), offline=offline)
        assert server.stdin is not None
        server.stdin.write(f"{folder}\n")
        server.stdin.flush()
        return RunningProcess(folder, cache)

    def run(self, function: Callable[..., Any], *arguments: Any, timeout: float = 120, **options: Any) -> ProcessResult:
        """As `start`, and wait for the end, `timeout` seconds at most."""
        return self.start(function, *arguments, **options).wait(timeout)

    __call__ = run

    def command(
        self,
        argv: Sequence[str | Path],
        *,
        token: str | None = None,
        cache: Path | None = None,
        offline: bool = False,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        text: str | None = None,
        timeout: float = 120,
    ) -> ProcessResult:
        """Run a command line, which is a fresh interpreter where it names one.

        Args:
            argv: The words; a first word that ends in `.py` is run by this interpreter, from the project's folder.
            token: Of the Hub; None for nobody.
            cache: `HF_HOME`; an empty one unless given.
            offline: Without the Hub.
            environment: Further variables.
            cwd: Working folder; an empty one unless given.
            text: Its input.
            timeout: Seconds after which it is ended.
        """
        _, cache, cwd = self._folders(cache, cwd)
        words = [str(word) for word in argv]
        if words[0].endswith(".py"):
            words = [sys.executable, str(ROOT / words[0]), *words[1:]]
        variables = self.environment(cache, token, offline, environment)
        code: int | None = None
        said: bytes | None
        try:
            done = subprocess.run(
                words,
                cwd=cwd,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                input=None if text is None else text.encode(),
                stdin=subprocess.DEVNULL if text is None else None,
            )
            code, said = done.returncode, done.stdout
        except subprocess.TimeoutExpired as late:
            said = late.stdout
        return ProcessResult(code, (said or b"").decode(errors="replace"), None, None, cache)

    def _folders(self, cache: Path | None, cwd: Path | None) -> tuple[Path, Path, Path]:
        folder = self.folder / f"process{next(self._numbers)}"
        made = [folder, cache or folder / "home", cwd or folder / "work"]
        for path in made:
            path.mkdir(parents=True, exist_ok=True)
        return made[0], made[1], made[2]

    def _server(self, clients: bool, offline: bool) -> subprocess.Popen[str]:
        """The process that forks the others: with the clients loaded, online or offline, or without them."""
        kind = (clients, clients and offline)
        if kind not in self._servers:
            home = Path(HOME) if clients else self.folder
            self._servers[kind] = subprocess.Popen(
                [sys.executable, str(HERE / "forkserver.py"), *(["--clients"] if clients else [])],
                stdin=subprocess.PIPE,
                text=True,
                env=self.environment(home, offline=clients and offline),
            )
        return self._servers[kind]

    def close(self) -> None:
        """End the processes that fork the others."""
        for server in self._servers.values():
            server.communicate()
