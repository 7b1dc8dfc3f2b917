"""A crash or a power cut at any moment of an atomic write leaves what was there before, or what was written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from biomeformer.io.atomic import (
    atomic_directory,
    atomic_write,
    is_partial,
    publish_directory,
    remove_stale_partials,
    write_json,
)

OPERATIONS = ("replace", "rename", "fsync", "mkdir", "rmdir", "unlink")
OLD, NEW = b"old content, all of it", b"new content, all of it and more"
Tree = dict[str, bytes]


@dataclass
class Disk:
    """What a folder holds, in memory and on the disk, at each operation.

    Only what was flushed is certain to survive: of a file the content at its last fsync, of a folder the names at its
    last fsync. Names given since may survive or not; the content of a file that was not flushed is then cut.

    Attributes:
        root: The folder.
        names: After each operation the inode by path, None for a folder.
        content: Content by inode, as of now.
        flushed: After each operation the content on the disk, by inode.
        operations: Name of each operation, with the path it is about.
        n_certain: Number of operations, of those so far, whose effect on names is certain to survive.
    """

    root: Path
    names: list[dict[str, int | None]] = field(default_factory=list)
    content: dict[int, bytes] = field(default_factory=dict)
    flushed: list[dict[int, bytes]] = field(default_factory=list)
    operations: list[tuple[str, str]] = field(default_factory=list)
    n_certain: list[int] = field(default_factory=list)

    def look(self, operation: str, path: str) -> None:
        """Take note of an operation that was done."""
        names: dict[str, int | None] = {}
        for entry in sorted(self.root.rglob("*")):
            name = entry.relative_to(self.root).as_posix()
            names[name] = None if entry.is_dir() else entry.stat().st_ino
            if entry.is_file():
                self.content[entry.stat().st_ino] = entry.read_bytes()
        flushed = dict(self.flushed[-1]) if self.flushed else dict(self.content)
        if operation == "fsync" and (inode := names.get(path)) is not None:
            flushed[inode] = self.content[inode]
        is_root = operation == "fsync" and path == "."
        self.names.append(names)
        self.flushed.append(flushed)
        self.operations.append((operation, path))
        self.n_certain.append(len(self.names) - 1 if is_root or not self.n_certain else self.n_certain[-1])

    @contextmanager
    def recorded(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Record each operation of a block."""
        self.look("start", ".")
        with monkeypatch.context() as patch:
            for operation in OPERATIONS:
                patch.setattr(os, operation, self._recording(operation, getattr(os, operation)))
            yield

    def _recording(self, operation: str, original: Callable[..., None]) -> Callable[..., None]:
        def call(path: object, *args: object, **options: object) -> None:
            name = os.readlink(f"/proc/self/fd/{path}") if operation == "fsync" else os.fsdecode(path)
            original(path, *args, **options)
            target = os.fsdecode(args[0]) if operation in ("replace", "rename") else name
            self.look(operation, os.path.relpath(target, self.root))

        return call

    def crashes(self) -> Iterator[tuple[str, Tree]]:
        """Yield each state that a crash may leave: the moment, and the content by path."""
        for moment, flushed in enumerate(self.flushed):
            for survived in range(self.n_certain[moment], moment + 1):
                tree = {}
                for name, inode in self.names[survived].items():
                    if inode is not None:
                        whole = self.content[inode]
                        tree[name] = whole if flushed.get(inode) == whole else whole[: len(whole) // 2]
                yield f"after {self.operations[moment]}, names as after {self.operations[survived]}", tree


def recovered(tree: Tree, folder: Path) -> Tree:
    """Return what a reader sees in a state, after the next process has begun to write there."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folder.mkdir(exist_ok=True)
    remove_stale_partials(folder, exclusive=True)
    assert not any(is_partial(path) for path in folder.iterdir())
    # A lock that nobody holds is of no meaning.
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def check(disk: Disk, outside: Path, before: Tree, after: Tree, mixes: bool = False) -> None:
    """Check that every crash leaves the content before or after, and that the end is certain to be the latter."""
    n_before = n_after = 0
    for moment, tree in disk.crashes():
        seen = recovered(tree, outside)
        n_before += seen == before
        n_after += seen == after
        if mixes:
            assert all(content in (before.get(name), after.get(name)) for name, content in seen.items()), (moment, seen)
            assert set(before) & set(after) <= set(seen), (moment, seen)
        else:
            assert seen in (before, after), (moment, seen)
    assert n_before and n_after
    end = disk.n_certain[-1]
    last = {name: disk.flushed[-1].get(inode) for name, inode in disk.names[end].items() if inode is not None}
    assert recovered({name: content for name, content in last.items() if content is not None}, outside) == after
    assert {name for name in disk.names[-1] if not name.endswith(".lock")} <= disk.names[end].keys()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize("before", [{}, {"file": OLD}])
def test_a_file_is_old_or_new_after_a_crash(root, tmp_path, monkeypatch, before):
    for name, content in before.items():
        (root / name).write_bytes(content)
    disk = Disk(root)
    with disk.recorded(monkeypatch), atomic_write(root / "file") as partial:
        partial.write_bytes(NEW)
    check(disk, tmp_path / "outside", before, {"file": NEW})
    # The content is flushed before it gets its name, and the name before the call returns.
    kinds = [(operation, is_partial(root / path)) for operation, path in disk.operations]
    renamed = kinds.index(("replace", False))
    assert kinds.index(("fsync", True)) < renamed < kinds.index(("fsync", False))
    assert disk.operations[renamed] == ("replace", "file") and disk.operations[renamed + 1] == ("fsync", ".")


def test_a_record_is_old_or_new_after_a_crash(root, tmp_path, monkeypatch):
    write_json(root / "run.json", {"attempt": 1})
    before = {"run.json": (root / "run.json").read_bytes()}
    disk = Disk(root)
    with disk.recorded(monkeypatch):
        write_json(root / "run.json", {"attempt": 2})
    check(disk, tmp_path / "outside", before, {"run.json": (root / "run.json").read_bytes()})


def write_model(folder: Path) -> None:
    (folder / "weights").write_bytes(NEW)
    (folder / "part").mkdir()
    (folder / "part" / "config").write_bytes(NEW)


MODEL = {"model/weights": NEW, "model/part/config": NEW}


@pytest.mark.parametrize("before", [{}, {"model/weights": OLD, "model/more": OLD}])
def test_a_folder_is_old_or_new_after_a_crash(root, tmp_path, monkeypatch, before):
    for name, content in before.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    disk = Disk(root)
    with disk.recorded(monkeypatch), atomic_directory(root / "model", existing="replace") as partial:
        write_model(partial)
    check(disk, tmp_path / "outside", before, dict(sorted(MODEL.items())))
    operations = disk.operations
    named = operations.index(("replace", "model"))
    flushed = [path for operation, path in operations[:named] if operation == "fsync"]
    # Each file and each folder of files, the innermost first.
    assert [path.partition("/")[2] for path in flushed] == ["part/config", "part", "weights", ""]
    assert ("fsync", ".") in operations[named:]


def test_merged_entries_are_old_or_new_after_a_crash(root, tmp_path, monkeypatch):
    for name in ("weights", "more"):
        (root / "model").mkdir(exist_ok=True)
        (root / "model" / name).write_bytes(OLD)
    before = {"model/more": OLD, "model/weights": OLD}
    partial = root / ".partial-by-hand"
    partial.mkdir()
    write_model(partial)
    disk = Disk(root)
    with disk.recorded(monkeypatch):
        publish_directory(partial, root / "model", existing="merge")
    outside = tmp_path / "outside"
    for moment, tree in disk.crashes():
        seen = {name: content for name, content in recovered(tree, outside).items() if name.startswith("model/")}
        assert seen["model/more"] == OLD and seen["model/weights"] in (OLD, NEW), moment
        assert seen.get("model/part/config", NEW) == NEW and before.keys() <= seen.keys(), moment


def test_a_write_without_fsync_would_be_found_out(root, tmp_path, monkeypatch):
    (root / "file").write_bytes(OLD)
    disk = Disk(root)
    with disk.recorded(monkeypatch):
        (root / "new").write_bytes(NEW)
        os.replace(root / "new", root / "file")
    with pytest.raises(AssertionError):
        check(disk, tmp_path / "outside", {"file": OLD}, {"file": NEW})
