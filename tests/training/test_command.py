"""Exit codes and messages of recipes: one sentence for each failure, with the traceback on request."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

import pytest

from biomeformer.errors import DEBUG_ADVICE, InputError
from biomeformer.io.atomic import atomic_directory, atomic_write
from biomeformer.runs.debugging import hide_tracebacks
from biomeformer.training.command import RecipeParser, run_main


@pytest.fixture(autouse=True)
def no_debugging():
    """Leave logging as it was."""
    yield
    hide_tracebacks()


def run(error: BaseException | None = None, work=None, **options) -> int:
    def fail(args, processes):
        raise error

    return run_main(work or fail, argparse.Namespace(**options), "give the same command again")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("the table is empty."), 2, "error: the table is empty.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/x"),
            1,
            "error: run/x cannot be written: No space left o",
        ),
        (
            RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"),
            1,
            "cannot be written: PytorchStreamWr",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "run"),
            1,
            "error: run cannot be read or written: Permission",
        ),
        (KeyError("step"), 1, f"error: KeyError: 'step'; {DEBUG_ADVICE}.\n"),
        (ValueError("two\nlines"), 1, f"error: ValueError: two lines; {DEBUG_ADVICE}.\n"),
    ],
    ids=["input", "full disk", "full disk in torch", "no permission", "unexpected", "lines"],
)
def test_a_recipe_that_fails_says_why_on_one_line(capsys, error, code, message):
    assert run(error) == code
    text = capsys.readouterr().err
    assert message in text and text.count("\n") == 1


def test_the_traceback_is_shown_on_request(capsys):
    assert run(KeyError("step"), debug=True) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text and text.endswith("error: KeyError: 'step'\n")
    options = ["--config", "x.yaml", "--output", "run"]
    assert RecipeParser(__file__, "").parse_args([*options, "--debug"]).debug
    assert not RecipeParser(__file__, "").parse_args(options).debug


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("fault", ["open", "fsync", "replace", "mkdir"])
def test_a_disk_that_is_full_at_any_step_of_a_write(tmp_path, monkeypatch, capsys, kind, fault):
    name = {"open": "os.open", "fsync": "os.fsync", "replace": "os.replace", "mkdir": "Path.mkdir"}[fault]
    if (kind, fault) == ("file", "mkdir"):
        pytest.skip("no folder is made for a file")

    real_open = os.open

    def full(*arguments, **options):
        if fault == "open" and not arguments[1] & os.O_CREAT:
            return real_open(*arguments, **options)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def work(args, processes):
        monkeypatch.setattr(f"biomeformer.io.atomic.{name}", full)
        if kind == "file":
            with atomic_write(tmp_path / "result") as partial:
                partial.write_text("x")
        else:
            with atomic_directory(tmp_path / "result") as partial:
                (partial / "x").write_text("x")

    code = run(work=work)
    monkeypatch.undo()
    text = capsys.readouterr().err
    assert code == 1 and text.startswith(f"error: {tmp_path / 'result'} cannot be written: No space left on device;")
    assert text.count("\n") == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", [True, False])
def test_folders_that_cannot_be_written_to(tmp_path, monkeypatch, capsys, missing):
    """A read-only file system; for root no permissions are missing."""

    def refuse(path, *arguments, **options):
        number = errno.EROFS if missing else errno.EACCES
        raise OSError(number, os.strerror(number), str(path))

    def work(args, processes):
        monkeypatch.setattr("biomeformer.io.atomic.os.open", refuse)
        with atomic_write(tmp_path / "result") as partial:
            Path(partial).write_text("x")

    code = run(work=work)
    monkeypatch.undo()
    reason = "Read-only file system" if missing else "Permission denied"
    assert code == 1 and f"result cannot be written: {reason}; fix the cause" in capsys.readouterr().err


def test_errors_of_other_files_pass_through_a_write_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "result") as partial:
        partial.write_text((tmp_path / "input").read_text())
    with pytest.raises(RuntimeError, match="no encoder"), atomic_write(tmp_path / "result"):
        raise RuntimeError("no encoder")
