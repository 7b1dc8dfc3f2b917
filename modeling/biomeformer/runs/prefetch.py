"""Reading ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(
    items: Iterable[Item], depth: int = 2, check: Callable[[], None] | None = None
) -> Generator[Item, None, None]:
    """Run an iterator in a thread of its own, at most `depth` items ahead; its exception is raised here.

    While waiting for an item, `check` is called several times a second; what it raises ends the iteration.
    """
    done = object()
    buffer: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                buffer.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:
            failure.append(error)
        finally:
            put(done)

    thread = threading.Thread(target=work, daemon=True, name="biomeformer-prefetch")
    thread.start()

    def get() -> object:
        while check is not None:
            try:
                return buffer.get(timeout=0.2)
            except queue.Empty:
                check()
        return buffer.get()

    try:
        while (item := get()) is not done:
            yield item  # type: ignore[misc]
        if failure:
            raise failure[0]
    finally:
        stop.set()
        # A thread that waits on a file system that does not answer must not hold up an interruption.
        thread.join(timeout=2)


__all__ = ["prefetch"]
