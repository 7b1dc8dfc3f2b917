"""A Hub on this machine, users of it, and processes that are its clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from biomeformer.errors import CheckpointError
from local_hub import HubProcesses, LocalHub, ProcessResult

# `ada` writes as herself and for the organisation `lab`; `bob` writes, but not there; the third is ada's, for reading.
ADA, BOB, READER = "hf_ada", "hf_bob", "hf_reader"


@pytest.fixture(scope="session")
def hub_server() -> Iterator[LocalHub]:
    """The server, for fixtures that keep a repository over several tests; tests take `hub`."""
    with LocalHub() as server:
        server.add_user("ada", ADA, orgs=["lab"])
        server.add_user("ada", READER, can_write=False, orgs=["lab"])
        server.add_user("bob", BOB)
        yield server


@pytest.fixture
def hub(hub_server: LocalHub) -> LocalHub:
    """A Hub without repositories, with the users `ada` (of `lab`; tokens `hf_ada`, `hf_reader`) and `bob`."""
    hub_server.reset()
    return hub_server


@pytest.fixture(scope="session")
def hub_process(hub_server: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcesses]:
    """`hub_process(function, *arguments, token=, cache=, offline=)` runs it in a process, a client of the Hub."""
    processes = HubProcesses(hub_server.url, tmp_path_factory.mktemp("hub-processes"))
    yield processes
    processes.close()


def load_checked(folder: str) -> None:
    """The load check, in a process of its own."""
    from biomeformer.hub.load_check import load_check

    load_check(folder)


@pytest.fixture
def forked_load_check(hub_process: HubProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    """`model_contents` loads checkpoints in a process forked from one that has imported the libraries.

    A new interpreter, which needs seconds for them, loads them in tests of `biomeformer publish model`, of shipped
    checkpoints and of checkpoints that do not load.
    """

    def check(folder: Path) -> None:
        done = hub_process(load_checked, str(folder))
        if done.error is not None:
            raise CheckpointError(f"{folder} does not load in a fresh process: {done.error}")

    monkeypatch.setattr("biomeformer.hub.contents.check_loads", check)


@pytest.fixture
def hub_command(hub_process: HubProcesses) -> Callable[..., ProcessResult]:
    """`hub_command([sys.executable, "-m", "biomeformer", ...], token=, cache=, offline=)` runs a command line."""
    return hub_process.command
