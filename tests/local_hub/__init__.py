"""A small Hugging Face Hub on 127.0.0.1 for tests, and processes whose Hub clients talk to it."""

from .processes import HubProcesses, ProcessResult, RunningProcess
from .repositories import Commit
from .server import LocalHub, Request

__all__ = ["Commit", "HubProcesses", "LocalHub", "ProcessResult", "Request", "RunningProcess"]
