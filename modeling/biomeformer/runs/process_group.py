"""The processes of a job, as `accelerate launch` or torchrun starts them.

A barrier of `torch.distributed` is a collective with one time limit for every cause: a process that works for eleven
minutes and one that was killed look the same to it, and who waits learns no reason. Here each process sends a heartbeat
every few seconds: `barrier`, `broadcast` and `all_gather` wait as long as the others live, and raise with the reason
where one failed. Sums over arrays, which take seconds, are gloo collectives with a time limit.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed

from ..errors import BiomeformerError, InputError, RankError, RankStopped, RunInterrupted
from .devices import AUTO, automatic_device

DEFAULT_TIMEOUT = 600.0
HEARTBEAT_INTERVAL = 2.0
LOOK_INTERVAL = 1.0
LEAVE_TIMEOUT = 10.0
STORE_ERRORS = (RuntimeError, ConnectionError, OSError)
# What the libraries of collectives say when another process is gone.
LOST_CONNECTION = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|timed out", re.IGNORECASE)


class ProcessGroup:
    """The processes of a job; by default one alone.

    Use as a context manager: leaving it tells the others how this process ended, and raises `RankStopped` in place of
    an error that another process caused, or has reported in the same words.

    Args:
        rank: Number of this process.
        size: Number of processes.
        local_rank: Number of this process on its machine.

    Attributes:
        check: Called while waiting; raises where the wait should end.
        report: What the others may know of this process's progress, by name; sent with the heartbeats.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self.check: Callable[[], None] = lambda: None
        self.report: dict[str, float] = {}
        self._timeout = DEFAULT_TIMEOUT
        self._store: Any = None
        self._gloo: Any = None
        self._n_exchanges = 0
        self._last_heartbeat: dict[int, tuple[bytes, float]] = {}
        self._stop_heartbeat = threading.Event()

    @classmethod
    def from_environment(cls, timeout: float = DEFAULT_TIMEOUT) -> ProcessGroup:
        """Connect the processes that `accelerate launch` or torchrun started, before anything else is set up.

        What is exchanged are counts, centroids and figures, which are in CPU memory.

        Args:
            timeout: Seconds without a heartbeat, or in one collective, after which the others are given up.

        Raises:
            RankError: They do not find each other.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size <= 1:
            return cls()
        group = cls(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))
        group._timeout = timeout
        limit = timedelta(seconds=timeout)
        with _default_signals():
            group._connect(limit)
            group.barrier()
        return group

    def _connect(self, limit: timedelta) -> None:
        try:
            # The store that `init_process_group` meets in, too: the launcher's, or one of the main process.
            rendezvous = torch.distributed.rendezvous("env://", self.rank, self.size, timeout=limit)
            store = next(iter(rendezvous))[0]
            # Two connections: the one with the heartbeats must not wait for a caller that waits.
            self._store, heartbeats = (
                torch.distributed.PrefixStore("biomeformer", each) for each in (store, store.clone())
            )
            thread = threading.Thread(
                target=self._send_heartbeats, args=(heartbeats,), daemon=True, name="biomeformer-heartbeat"
            )
            thread.start()
        except STORE_ERRORS as error:
            raise RankError(
                f"the processes of the job do not find each other ({_first_line(error)}); check MASTER_ADDR, the "
                "firewall, and that every machine started."
            ) from error

    def _send_heartbeats(self, store: Any) -> None:
        interval = min(HEARTBEAT_INTERVAL, self._timeout / 5)
        n = 0
        # Without the store nobody listens any more.
        with suppress(*STORE_ERRORS):
            while not self._stop_heartbeat.is_set():
                n += 1
                store.set(f"alive/{self.rank}", json.dumps({"n": n, **self.report}))
                self._stop_heartbeat.wait(interval)

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes common results."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Return the device of this process: `cuda`, and `auto` where it means that, gets this process's local number.

        Raises:
            InputError: A single device is named and there are several processes.
        """
        if name == AUTO:
            name = automatic_device()
        if self.size > 1 and name.startswith("cuda"):
            if ":" in name:
                raise InputError(
                    f"device {name!r} names one GPU for {self.size} processes; give cuda, and each takes its own."
                )
            return f"cuda:{self.local_rank}"
        return name

    def reports(self) -> list[dict[str, float]]:
        """Return what each process last reported, in the order of their ranks; this one's is as it is now."""
        reports = []
        for rank in range(self.size):
            text = b"{}"
            if rank != self.rank:
                with suppress(*STORE_ERRORS):
                    if self._store.check([f"alive/{rank}"]):
                        text = self._store.get(f"alive/{rank}")
            reports.append(self.report if rank == self.rank else json.loads(text))
        return reports

    def all_gather(self, value: Any, among: Sequence[int] | None = None, name: str | None = None) -> list[Any]:
        """Give a value to each other process and get theirs, once all have come.

        Args:
            value: Anything JSON can hold.
            among: Ranks that take part, this one among them; all of them by default.
            name: What tells this exchange from others, where not all processes take part.

        Returns:
            Values in the order of `among`.

        Raises:
            RankStopped: One of them failed, and has said why.
            RankError: One of them does not answer.
        """
        among = range(self.size) if among is None else among
        if len(among) == 1:
            return [value]
        name = self._next_exchange() if name is None else name
        try:
            self._store.set(f"{name}/{self.rank}", json.dumps(value))
            return [json.loads(self._receive(f"{name}/{rank}", rank)) for rank in among]
        except STORE_ERRORS as error:
            raise self._lost(error) from error

    def barrier(self) -> None:
        """Wait until all processes have come.

        Raises:
            RankStopped: One of them failed, and has said why.
            RankError: One of them does not answer.
        """
        self.all_gather(None)

    def broadcast(self, value: Any) -> Any:
        """Return the main process's value, anything JSON can hold, on every process; the main one waits for nobody.

        Raises:
            RankStopped: A process failed, and has said why.
            RankError: The main process does not answer.
        """
        if self.size == 1:
            return value
        name = self._next_exchange()
        try:
            if self.is_main:
                self._store.set(f"{name}/0", json.dumps(value))
                return value
            return json.loads(self._receive(f"{name}/0", 0))
        except STORE_ERRORS as error:
            raise self._lost(error) from error

    def on_main(self, work: Callable[[], Any]) -> Any:
        """Do work on the main process alone, however long it takes; return its value, which JSON can hold, on all."""
        return self.broadcast(work() if self.is_main else None)

    def _next_exchange(self) -> str:
        self._n_exchanges += 1
        return f"exchange/{self._n_exchanges}"

    def _receive(self, key: str, rank: int) -> bytes:
        pause, next_look = 0.005, 0.0
        while not self._store.check([key]):
            self.check()
            if time.monotonic() >= next_look:
                self._look_after(rank)
                next_look = time.monotonic() + min(LOOK_INTERVAL, self._timeout / 10)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)
        return bytes(self._store.get(key))

    def _failure(self, rank: int) -> dict[str, Any] | None:
        """Return what another process said when it failed."""
        if rank == self.rank or not self._store.check([f"failed/{rank}"]):
            return None
        failure: dict[str, Any] = json.loads(self._store.get(f"failed/{rank}"))
        return failure

    def _stopped(self) -> RankStopped | None:
        """Return the error to raise where another process failed."""
        for rank in range(self.size):
            failure = self._failure(rank)
            if failure is not None:
                return RankStopped(f"process {rank} of {self.size} stopped: {failure['reason']}")
        return None

    def _look_after(self, awaited: int) -> None:
        """Raise where some process failed, or the awaited one sends no heartbeat."""
        stopped = self._stopped()
        if stopped is not None:
            raise stopped
        if awaited == self.rank:
            return
        key = f"alive/{awaited}"
        heartbeat = bytes(self._store.get(key)) if self._store.check([key]) else b""
        before, since = self._last_heartbeat.get(awaited, (None, 0.0))
        if heartbeat != before:
            self._last_heartbeat[awaited] = (heartbeat, time.monotonic())
        elif time.monotonic() - since > self._timeout:
            raise RankError(
                f"process {awaited} of {self.size} has sent no heartbeat for {self._timeout:.0f} seconds; it was "
                "killed, or its machine cannot be reached; start the job again, it resumes where it was."
            )

    def all_reduce(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over all processes of an array that each has; every process must call it.

        Raises:
            RankStopped: One of them failed, and has said why.
            RankError: One of them is gone, or does not answer in time.
        """
        return self._collective(torch.distributed.all_reduce, values)

    def broadcast_array(self, values: np.ndarray) -> np.ndarray:
        """Return the main process's array on every process; every process must call it with one of that shape and type.

        Raises:
            RankStopped: One of them failed, and has said why.
            RankError: One of them is gone, or does not answer in time.
        """
        return self._collective(partial(torch.distributed.broadcast, src=0), values)

    def _collective(self, collective: Callable[..., Any], values: np.ndarray) -> np.ndarray:
        """Return the result of a collective on a copy of the array."""
        if self.size == 1:
            return values
        shared = torch.from_numpy(np.array(values, copy=True))
        try:
            collective(shared, group=self._gloo_group())
        except STORE_ERRORS as error:
            raise self._lost(error) from error
        return shared.numpy()

    def _gloo_group(self) -> Any:
        """Return the group of the collectives: the default one, or a second one where that is of GPUs."""
        limit = timedelta(seconds=self._timeout)
        if not torch.distributed.is_initialized():
            store = torch.distributed.PrefixStore("collectives", self._store)
            torch.distributed.init_process_group(
                "gloo", store=store, rank=self.rank, world_size=self.size, timeout=limit
            )
        if self._gloo is None:
            is_gloo = torch.distributed.get_backend() == "gloo"
            self._gloo = (
                torch.distributed.group.WORLD if is_gloo else torch.distributed.new_group(backend="gloo", timeout=limit)
            )
        return self._gloo

    def _lost(self, error: Exception) -> BiomeformerError:
        """Return the error to raise when a connection broke: the reason another process gave, where it gave one."""
        # The signal that stops the others may be on its way here too.
        time.sleep(0.5)
        self.check()
        with suppress(*STORE_ERRORS):
            stopped = self._stopped()
            if stopped is not None:
                return stopped
        return RankError(
            f"process {self.rank} of {self.size} lost another process ({_first_line(error)}); it was killed, or its "
            "machine cannot be reached; start the job again, it resumes where it was."
        )

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self.size == 1:
            return
        try:
            if error is None:
                self._leave()
            else:
                self._fail(error)
        finally:
            self._stop_heartbeat.set()
        if error is None and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def _fail(self, error: BaseException) -> None:
        """Tell the others why this process ends; raise `RankStopped` where that is another's doing, or known."""
        if isinstance(error, RankError):
            with suppress(*STORE_ERRORS):
                self._store.set(f"gone/{self.rank}", "")
            self._wait_for_others_to_leave()
            return
        is_interruption = isinstance(error, RunInterrupted | KeyboardInterrupt)
        is_lost = isinstance(error, STORE_ERRORS) and LOST_CONNECTION.search(str(error)) is not None
        if is_lost and isinstance(error, Exception) and not isinstance(error, BiomeformerError):
            # A collective of the training loop; `_lost` raises where a signal came.
            try:
                raise self._lost(error) from error
            except RunInterrupted as interruption:
                self._fail(interruption)
                raise
        reason = str(error) or type(error).__name__
        with suppress(*STORE_ERRORS):
            if is_interruption:
                failures = [self._failure(rank) for rank in range(self.size)]
                stopped = self._stopped() if any(f and not f["is_interruption"] for f in failures) else None
                if stopped is not None:
                    # The launcher ends the others with a signal when one fails.
                    raise stopped from error
            self._store.set(f"failed/{self.rank}", json.dumps({"reason": reason, "is_interruption": is_interruption}))
            if self.is_main and not is_interruption:
                self._wait_for_others_to_leave()
            elif isinstance(error, BiomeformerError) and self._is_reported(reason):
                # The same bad input, or the same signal, on every process: one of them says so.
                repeated = RankStopped(reason)
                repeated.exit_code = error.exit_code
                raise repeated from error

    def _wait_for_others_to_leave(self, limit: float = 2 * LOOK_INTERVAL) -> None:
        """Let the others leave, or hear the reason, before the main process: the store may go with it."""
        others = [f"gone/{rank}" for rank in range(1, self.size)]
        deadline = time.monotonic() + limit
        with suppress(*STORE_ERRORS):
            while self.is_main and not self._store.check(others) and time.monotonic() < deadline:
                time.sleep(0.02)

    def _is_reported(self, reason: str) -> bool:
        """Return whether a process of lower rank has failed for the same reason, or does in the next second."""
        deadline = time.monotonic() + LOOK_INTERVAL
        while True:
            failures = [self._failure(rank) for rank in range(self.rank)]
            if any(failure is not None and failure["reason"] == reason for failure in failures):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def _leave(self) -> None:
        """Leave together; the main process, which may hold the store, goes last."""
        self.barrier()
        with suppress(*STORE_ERRORS):
            self._store.set(f"gone/{self.rank}", "")
        self._wait_for_others_to_leave(LEAVE_TIMEOUT)


@contextmanager
def _default_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the process at once: torch's connecting does not return for a handler of Python's.

    Nothing has been done yet that could be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A handler that was not installed from Python, which Python gives as None, could not be put back.
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not None]
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_line(error: Exception) -> str:
    """Return a library's error without its source location and advice."""
    lines = re.sub(r"^\[[^\]]*\]\s*", "", str(error).strip()).splitlines()
    return lines[0].partition(". ")[0] if lines else type(error).__name__


__all__ = ["DEFAULT_TIMEOUT", "ProcessGroup"]
