"""Locks of folders: who holds one is named, and a killed process leaves none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from biomeformer.io.atomic import atomic_directory
from biomeformer.io.locks import FolderInUseError, FolderLock, is_locked, locked_folder

HOLDER = """
import sys, time
from biomeformer.io.atomic import atomic_directory
with atomic_directory(sys.argv[1]) as partial:
    (partial / "half").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_second_holder_is_refused_with_the_name_of_the_first(tmp_path):
    lock = FolderLock(tmp_path, tmp_path / "lock", keep=True)
    lock.acquire()
    assert is_locked(tmp_path / "lock")
    expected = f"is in use by the run that process {os.getpid()} on {socket.gethostname()} started at 20"
    with pytest.raises(FolderInUseError, match=expected):
        FolderLock(tmp_path, tmp_path / "lock", keep=True).acquire(timeout=0)
    lock.release()
    assert not is_locked(tmp_path / "lock") and (tmp_path / "lock").read_text() == ""
    with FolderLock(tmp_path, tmp_path / "lock", keep=True) as other:
        assert other.is_held


def test_a_lock_beside_a_folder_leaves_nothing(tmp_path):
    with locked_folder(tmp_path / "deep" / "folder"):
        assert [path.name for path in (tmp_path / "deep").iterdir()] == [".folder.lock"]
        with pytest.raises(FolderInUseError):
            FolderLock.beside(tmp_path / "deep" / "folder").acquire(timeout=0)
    assert not list(tmp_path.iterdir())


def test_two_names_of_a_folder_are_one_lock(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with locked_folder(tmp_path / "folder"), pytest.raises(FolderInUseError), locked_folder(tmp_path / "link"):
        pass


def test_a_lock_whose_file_was_deleted_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """The holder before deletes the file between opening and locking: what was locked is no longer there."""
    lock = FolderLock(tmp_path, tmp_path / "lock")
    opened = os.open
    n_opened = []

    def open_and_delete(path, *options):
        descriptor = opened(path, *options)
        n_opened.append(path)
        if len(n_opened) == 1:
            Path(path).unlink()
        return descriptor

    monkeypatch.setattr("biomeformer.io.locks.os.open", open_and_delete)
    with lock:
        assert len(n_opened) == 2 and is_locked(tmp_path / "lock")


def test_a_folder_that_is_being_written_is_refused_until_its_writer_is_killed(tmp_path):
    folder = tmp_path / "folder"
    writer = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        with pytest.raises(FolderInUseError, match=f"process {writer.pid} on "), atomic_directory(folder):
            pass
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        # One of another host cannot be writing either, since the lock is held.
        (tmp_path / ".7-0123abcd-0.partial.folder").mkdir()
        with atomic_directory(folder) as partial:
            (partial / "whole").write_text("whole")
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["folder", "folder/whole"]
