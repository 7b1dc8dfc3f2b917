"""The processes of a job, as `accelerate launch` starts them.

Processes reach a meeting point at very different times when each works through samples of its own, so a meeting is no
collective with a time limit: each process leaves a sign of life every few seconds, and whoever waits, waits as long as
the others live. Sums over arrays, which take seconds, are collectives of `torch.distributed` with a time limit.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed

from .devices import AUTO, automatic_device
from .errors import BiomeformerError, InputError, RankError, RankStopped, RunInterrupted

DEFAULT_TIMEOUT = 600.0
BEAT_INTERVAL = 2.0
LOOK_INTERVAL = 1.0
LONGEST_GOODBYE = 10.0
STORE_ERRORS = (RuntimeError, ConnectionError, OSError)


class Ranks:
    """The processes of a job; by default one alone.

    Use as a context manager: leaving it tells the others how this process ended.

    Args:
        rank: Number of this process.
        size: Processes in all.
        local_rank: Number of this process on its machine.

    Attributes:
        check: Called while waiting; raises where the wait should end.
        report: What the others may know of this process's progress, by name; sent with the signs of life.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self.check: Callable[[], None] = lambda: None
        self.report: dict[str, float] = {}
        self._timeout = DEFAULT_TIMEOUT
        self._store: Any = None
        self._n_meetings = 0
        self._last_sign: dict[int, tuple[bytes, float]] = {}
        self._stop_beating = threading.Event()

    @classmethod
    def from_environment(cls, timeout: float = DEFAULT_TIMEOUT) -> Ranks:
        """The processes that `accelerate launch` (or torchrun) started, found and connected through Accelerate.

        The connection is over CPU memory (gloo) on every machine: what is exchanged are counts and centroids, which
        lie there.

        Args:
            timeout: Seconds without a sign of life, or in one collective, after which the others are given up.

        Raises:
            RankError: They do not find each other.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
            return cls()
        from accelerate import PartialState

        try:
            state = PartialState(cpu=True, backend="gloo", timeout=timedelta(seconds=timeout))
            ranks = cls(state.process_index, state.num_processes, state.local_process_index)
            ranks._connect(timeout)
        except STORE_ERRORS as error:
            raise RankError(
                f"the processes of the job do not find each other ({_first_line(error)}); check MASTER_ADDR, the "
                "firewall, and that every machine started."
            ) from error
        return ranks

    def _connect(self, timeout: float) -> None:
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        limit = timedelta(seconds=timeout)
        port: list[Any] = [None]
        if self.is_main:
            # Two of them: the one with the signs of life must not wait for a caller that waits.
            self._store = torch.distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=limit)
            port = [self._store.port]
        torch.distributed.broadcast_object_list(port, src=0)
        if not self.is_main:
            self._store = torch.distributed.TCPStore(host, port[0], is_master=False, timeout=limit)
        beats = torch.distributed.TCPStore(host, port[0], is_master=False, timeout=limit)
        self._timeout = timeout
        thread = threading.Thread(target=self._beat, args=(beats,), daemon=True, name="biomeformer-sign-of-life")
        thread.start()

    def _beat(self, store: Any) -> None:
        interval = min(BEAT_INTERVAL, self._timeout / 5)
        n = 0
        # Without the store nobody listens any more.
        with suppress(*STORE_ERRORS):
            while not self._stop_beating.is_set():
                n += 1
                store.set(f"alive/{self.rank}", json.dumps({"n": n, **self.report}))
                self._stop_beating.wait(interval)

    @property
    def is_main(self) -> bool:
        """Whether this process writes what belongs to all."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device of this process: `cuda`, and `auto` where it means that, becomes the one with its local number.

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
        """What each process last reported, in the order of their ranks; this one's is as it is now."""
        found = []
        for rank in range(self.size):
            text = b"{}"
            if rank != self.rank:
                with suppress(*STORE_ERRORS):
                    if self._store.check([f"alive/{rank}"]):
                        text = self._store.get(f"alive/{rank}")
            found.append(self.report if rank == self.rank else json.loads(text))
        return found

    def exchange(self, value: Any, among: Sequence[int] | None = None, name: str | None = None) -> list[Any]:
        """Give a value to each other process and get theirs, once all have come.

        Args:
            value: Anything JSON can hold.
            among: Ranks that meet, this one among them; all of them by default.
            name: What tells this meeting from others, where not all processes take part.

        Returns:
            Values in the order of `among`.

        Raises:
            RankStopped: One of them failed, and has said why.
            RankError: One of them does not answer.
        """
        among = range(self.size) if among is None else among
        if len(among) == 1:
            return [value]
        if name is None:
            name = f"all/{self._n_meetings}"
            self._n_meetings += 1
        try:
            self._store.set(f"{name}/{self.rank}", json.dumps(value))
            return [json.loads(self._receive(f"{name}/{rank}", rank)) for rank in among]
        except STORE_ERRORS as error:
            raise self._lost(error) from error

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

    def _look_after(self, awaited: int) -> None:
        """Raise where some process failed, or the awaited one gives no sign of life."""
        for rank in range(self.size):
            if rank != self.rank and self._store.check([f"failed/{rank}"]):
                reason = self._store.get(f"failed/{rank}").decode()
                raise RankStopped(f"process {rank} of {self.size} stopped: {reason}")
        if awaited == self.rank:
            return
        key = f"alive/{awaited}"
        sign = bytes(self._store.get(key)) if self._store.check([key]) else b""
        before, since = self._last_sign.get(awaited, (None, 0.0))
        if sign != before:
            self._last_sign[awaited] = (sign, time.monotonic())
        elif time.monotonic() - since > self._timeout:
            raise RankError(
                f"process {awaited} of {self.size} has given no sign of life for {self._timeout:.0f} seconds; it was "
                "killed, or its machine cannot be reached; start the job again, it goes on where it was."
            )

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over all processes of an array that each has; every process must call it.

        Raises:
            RankStopped: One of them failed, and has said why.
            RankError: One of them is gone, or does not answer in time.
        """
        return self._together(torch.distributed.all_reduce, values)

    def from_main(self, values: np.ndarray) -> np.ndarray:
        """The main process's array, on every process; every process must call it with one of that shape and type.

        Raises:
            RankStopped: One of them failed, and has said why.
            RankError: One of them is gone, or does not answer in time.
        """
        return self._together(partial(torch.distributed.broadcast, src=0), values)

    def _together(self, collective: Callable[[torch.Tensor], Any], values: np.ndarray) -> np.ndarray:
        """What a collective makes of a copy of the array."""
        if self.size == 1:
            return values
        shared = torch.from_numpy(np.array(values, copy=True))
        try:
            collective(shared)
        except STORE_ERRORS as error:
            raise self._lost(error) from error
        return shared.numpy()

    def _lost(self, error: Exception) -> BiomeformerError:
        """What to raise when a connection broke: the reason another process gave, where it gave one."""
        # The signal that stops the others may be on its way here too.
        time.sleep(0.5)
        self.check()
        with suppress(*STORE_ERRORS):
            for rank in range(self.size):
                if rank != self.rank and self._store.check([f"failed/{rank}"]):
                    reason = self._store.get(f"failed/{rank}").decode()
                    return RankStopped(f"process {rank} of {self.size} stopped: {reason}")
        return RankError(
            f"process {self.rank} of {self.size} lost another process ({_first_line(error)}); it was killed, or its "
            "machine cannot be reached; start the job again, it goes on where it was."
        )

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self.size == 1:
            return
        try:
            if error is None:
                self._part()
            else:
                if not isinstance(error, RankError):
                    with suppress(*STORE_ERRORS):
                        self._store.set(f"failed/{self.rank}", str(error) or type(error).__name__)
                if self.is_main and not isinstance(error, RunInterrupted):
                    # The store goes with this process: leave the others the time to hear the reason.
                    time.sleep(2 * LOOK_INTERVAL)
        finally:
            self._stop_beating.set()
        if error is None:
            torch.distributed.destroy_process_group()

    def _part(self) -> None:
        """Leave together; the main process, which holds the store, goes last."""
        self.exchange("done")
        with suppress(*STORE_ERRORS):
            self._store.set(f"gone/{self.rank}", "")
            others = [f"gone/{rank}" for rank in range(self.size)]
            deadline = time.monotonic() + LONGEST_GOODBYE
            while self.is_main and not self._store.check(others) and time.monotonic() < deadline:
                time.sleep(0.01)


def _first_line(error: Exception) -> str:
    """A library's error, without the place in its source and its advice."""
    lines = re.sub(r"^\[[^\]]*\]\s*", "", str(error).strip()).splitlines()
    return lines[0].partition(". ")[0] if lines else type(error).__name__


__all__ = ["DEFAULT_TIMEOUT", "Ranks"]
