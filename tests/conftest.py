"""No network, few threads, and the shared data where it lies beside the checkout."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
# A worker has its environment from the process that started it, which has read this file too.
os.environ["OMP_NUM_THREADS"] = "1" if "PYTEST_XDIST_WORKER" in os.environ else os.environ.get("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import functools
import socket
from pathlib import Path

import pytest
import typer.testing

import slow_imports

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LOOPBACK = ("127.", "::1", "localhost")
# A file goes to one worker as a whole: begun last, these would keep one at work while the others have nothing left.
FIRST = ("test_workflows.py", "test_end_to_end.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest of the files that would come last."""
    items.sort(key=lambda item: item.path.name not in FIRST)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from the libraries that are loaded; visiting them takes a tenth of the tests' time."""
    slow_imports.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Refuse every connection that leaves this machine."""
    real = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to connect to {address}")
        return real(self, address)

    socket.socket.connect = guarded
    yield
    socket.socket.connect = real


@pytest.fixture(autouse=True, scope="session")
def commands_are_built_once():
    """Keep the command tree that `CliRunner` would build from annotations at each call: ten times what a test runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", functools.cache(typer.testing._get_command))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data, which is not part of the project."""
    if not SHARED_DATA.is_dir():
        reason = "the shared data is not beside this checkout"
        if os.environ.get("BIOMEFORMER_REQUIRE_SHARED_DATA"):
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED_DATA
