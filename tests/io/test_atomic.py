"""Atomic writes: complete or absent, with the umask's permissions, and without touching what others write."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from biomeformer.errors import InputError
from biomeformer.io import atomic
from biomeformer.io.atomic import (
    atomic_directory,
    atomic_write,
    is_partial,
    publish_directory,
    remove_stale_partials,
    write_json,
)

WRITER = """
import os, sys, time
from pathlib import Path
from biomeformer.io.atomic import atomic_directory, atomic_write
target = Path(sys.argv[1])
with atomic_write(target / "file") as file, atomic_directory(
    target / "folder", existing="replace", locked=True
) as folder:
    file.write_text("half")
    (folder / "a").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_json_is_written_completely_or_not_at_all(tmp_path):
    file = tmp_path / "record.json"
    write_json(file, {"name": "Escherichia", "shares": [0.25, None]})
    assert json.loads(file.read_text()) == {"name": "Escherichia", "shares": [0.25, None]}
    before = file.read_bytes()
    assert before.endswith(b"\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"score": float("nan")}, allow_nan=False)
    with pytest.raises(TypeError):
        write_json(file, {"array": np.zeros(2)})
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.fixture
def umask(request):
    previous = os.umask(request.param)
    yield request.param
    os.umask(previous)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002], indirect=True)
def test_files_get_the_mode_of_the_umask_whatever_wrote_them(tmp_path, umask):
    """safetensors writes through a temporary file of mode 0600."""
    weights = {"w": np.ones(3, np.float32)}
    with atomic_write(tmp_path / "one.safetensors") as partial:
        save_file(weights, partial)
    with atomic_directory(tmp_path / "model") as partial:
        save_file(weights, partial / "model.safetensors")
        (partial / "script").write_text("#!/bin/sh\n")
        (partial / "script").chmod(0o700)
        (partial / "sub").mkdir()
        (partial / "sub" / "text").write_text("x")
    for path in (tmp_path / "one.safetensors", tmp_path / "model/model.safetensors", tmp_path / "model/sub/text"):
        assert mode(path) == 0o666 & ~umask
    assert mode(tmp_path / "model" / "script") == 0o777 & ~umask
    assert mode(tmp_path / "model") == mode(tmp_path / "model" / "sub") == 0o777 & ~umask


def test_a_failure_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "file") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "file"):
        pass
    for existing in ("replace", "merge"):
        with pytest.raises(KeyboardInterrupt), atomic_directory(tmp_path / "folder", existing=existing) as partial:
            (partial / "a").write_text("half")
            raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "new" / "deep" / "folder") as partial:
        raise ZeroDivisionError
    assert tree(tmp_path) == before and sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_an_existing_folder_is_replaced_only_when_told_so(tmp_path):
    folder = tmp_path / "f"
    with atomic_directory(folder) as partial:
        (partial / "a").write_text("1")
        (partial / "b").mkdir()
        (partial / "b" / "x").write_text("1")
    entered = False
    with pytest.raises(InputError, match="not empty"), atomic_directory(folder):
        entered = True
    assert not entered
    with atomic_directory(folder, existing="merge") as partial:
        (partial / "a").write_text("2")
        (partial / "b").mkdir()
        (partial / "b" / "y").write_text("2")
        (partial / "c").write_text("2")
    (folder / "mine").write_text("mine")
    assert tree(folder) == {"a": "2", "b/y": "2", "c": "2", "mine": "mine"}
    with atomic_directory(folder, existing="replace") as partial:
        (partial / "a").write_text("3")
    assert tree(folder) == {"a": "3"} and os.listdir(tmp_path) == ["f"]
    (tmp_path / "empty").mkdir()
    with atomic_directory(tmp_path / "empty") as partial:
        (partial / "a").write_text("4")
    assert tree(tmp_path / "empty") == {"a": "4"}
    for existing in ("refuse", "replace", "merge"):
        with pytest.raises(InputError, match="is a file"), atomic_directory(folder / "a", existing=existing):
            pass
    # Somebody else fills the target meanwhile.
    with pytest.raises(InputError, match="not empty"), atomic_directory(tmp_path / "race") as partial:
        (tmp_path / "race").mkdir()
        (tmp_path / "race" / "theirs").write_text("theirs")
    assert tree(tmp_path / "race") == {"theirs": "theirs"}


def test_content_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    events, replace, fsync = [], os.replace, os.fsync

    def record_fsync(descriptor):
        events.append(
            ("fsync", re.sub(r"^\.\d+-\w+-\d+\.", ".", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        )
        fsync(descriptor)

    def record_replace(source, target):
        events.append(("rename", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    with atomic_directory(tmp_path / "folder") as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "a").write_text("1")
    steps = ["a", "sub", ".partial.folder"]
    assert events == [*(("fsync", name) for name in steps), ("rename", "folder"), ("fsync", tmp_path.name)]
    events.clear()
    with atomic_write(tmp_path / "file") as partial:
        partial.write_text("1")
    assert events == [("fsync", ".partial.file"), ("rename", "file"), ("fsync", tmp_path.name)]


def test_a_killed_writer_is_cleaned_up_and_a_running_one_left_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("old")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        partials = {path for path in tmp_path.iterdir() if is_partial(path)}
        assert len(partials) == 4
        remove_stale_partials(tmp_path)
        remove_stale_partials(tmp_path, exclusive=True)
        assert {path for path in tmp_path.iterdir() if is_partial(path)} == partials
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        atomic._swept.discard(tmp_path)
        with atomic_write(tmp_path / "other") as partial:
            partial.write_text("1")
        left = {path for path in tmp_path.iterdir() if is_partial(path)}
        assert len(left) == 2 and all(path.name.startswith(f".{writers[1].pid}-") for path in left)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    with atomic_directory(tmp_path / "folder", existing="replace") as partial:
        (partial / "b").write_text("new")
    assert tree(tmp_path) == {"folder/b": "new", "other": "1"}


def test_what_is_not_ours_is_never_deleted(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    pid, host = int(ended.stdout), atomic._host()
    other = "0" * 8
    kept = [
        f".{pid}-{other}-0.partial.x",
        f".{pid}.partial.x",
        f"{pid}-{host}-0.partial.x",
        f".{pid}-{host}-0.partial",
        ".x.partial.y",
        ".x.partial",
        f".{os.getppid()}-{host}-3.partial.x",
    ]
    stale = [f".{pid}-{host}-0.partial.x", f".{pid}-{host}-12.partial.a.b c\n", f".{pid}-{host}-1.replaced.there"]
    for name in (*kept, *stale, "there"):
        (tmp_path / name).write_text(name)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("1")
    (tmp_path / f".{pid}-{host}-7.partial.link").symlink_to(outside)
    (tmp_path / f".{pid}-{host}-8.partial.folder").mkdir()
    (tmp_path / f".{pid}-{host}-8.partial.folder" / "link").symlink_to(outside)
    remove_stale_partials(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "there", "outside"])
    assert tree(outside) == {"precious": "1"}
    # Under a lock, other hosts' and earlier versions' go too.
    remove_stale_partials(tmp_path, exclusive=True)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept[2:], "there", "outside"])


def test_a_replacement_that_was_interrupted_is_undone(tmp_path, monkeypatch):
    """Killed between the two renames: the former folder gets its name back at the next start."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    former = tmp_path / f".{int(ended.stdout)}-{atomic._host()}-1.replaced.model"
    former.mkdir()
    (former / "weights").write_text("old")
    remove_stale_partials(tmp_path)
    assert tree(tmp_path) == {"model/weights": "old"}
    # A rename that fails puts it back at once.
    replace = os.replace

    def failing(source, target):
        if ".partial." in str(source):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="No space"), atomic_directory(tmp_path / "model", existing="replace") as new:
            (new / "weights").write_text("new")
    assert tree(tmp_path) == {"model/weights": "old"}


def test_a_folder_written_by_several_processes_is_published_by_one(tmp_path):
    (tmp_path / "states").mkdir()
    shared = tmp_path / "states" / ".shared"
    for step in (1, 2):
        shared.mkdir()
        save_file({"w": np.full(2, step, np.float32)}, shared / "w.safetensors")
        publish_directory(shared, tmp_path / "states" / "last", existing="replace")
    assert os.listdir(tmp_path / "states") == ["last"]
    assert mode(tmp_path / "states" / "last" / "w.safetensors") & 0o400


def test_long_names_and_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "s" * 200 + ".safetensors"
    with atomic_write(atomic.Path(name)) as partial:
        partial.write_text("1")
        with atomic_write(atomic.Path("other")) as second:
            second.write_text("2")
            atomic._swept.clear()
            remove_stale_partials(tmp_path)
            assert partial.exists() and second.exists()
    assert sorted(os.listdir()) == sorted([name, "other"])


def test_hosts_and_process_namespaces_differ(monkeypatch):
    here = atomic._host()
    assert re.fullmatch("[0-9a-f]{8}", here)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert atomic._host.__wrapped__() != here
    monkeypatch.setattr(os, "readlink", lambda path: "pid:[1]")
    assert atomic._host.__wrapped__() not in (here, "")


def test_a_folder_of_many_files_is_searched_once(tmp_path, monkeypatch):
    searched = []
    monkeypatch.setattr(atomic, "remove_stale_partials", searched.append)
    for i in range(3):
        with atomic_write(tmp_path / f"s{i}") as partial:
            partial.touch()
    assert searched == [tmp_path]
