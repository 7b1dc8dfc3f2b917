"""What starting over deletes: what the folder's own record names, and nothing behind a link."""

from __future__ import annotations

import json

import pytest

from biomeformer.errors import InputError
from biomeformer.io.records import DamagedFileError
from biomeformer.runs.output_folder import OWNERSHIP, RECORD, OutputFolder, delete_entries
from biomeformer.training.run import TrainingRun


def publish(folder, names, writer="study"):
    output = OutputFolder(folder, writer)
    output.check(overwrite=True)
    with output.publish(locked=False) as partial:
        for name in names:
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text("new")


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_without_a_record_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="has no record of what a run wrote there"):
        publish(tmp_path, ["scores.csv"])
    with pytest.raises(InputError, match="not empty; give a new one, or --overwrite"):
        OutputFolder(tmp_path, "study").check()
    assert tree(tmp_path) == ["notes.txt"]


def test_what_was_written_before_is_replaced_and_other_files_stay(tmp_path):
    folder = tmp_path / "out"
    publish(folder, ["scores.csv", "figures/a.svg", "old.csv"])
    (folder / "notes.txt").write_text("mine")
    publish(folder, ["scores.csv", "report.html"])
    assert tree(folder) == [RECORD, "notes.txt", "report.html", "scores.csv"]
    assert not (folder / "figures").exists()
    assert OutputFolder(folder, "study").require_own().entries == ["report.html", "scores.csv"]


def test_a_file_of_the_same_name_that_was_not_written_by_the_command_is_refused(tmp_path):
    folder = tmp_path / "out"
    publish(folder, ["scores.csv"])
    (folder / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report.html exists and was not written by this command"):
        publish(folder, ["scores.csv", "report.html"])
    assert (folder / "report.html").read_text() == "mine"


def test_a_folder_of_another_command_is_refused(tmp_path):
    publish(tmp_path / "out", ["scores.csv"])
    with pytest.raises(InputError, match="was written by `study` and is not overwritten by `export`"):
        publish(tmp_path / "out", ["scores.csv"], writer="export")


def test_a_damaged_record_deletes_nothing(tmp_path):
    publish(tmp_path / "out", ["scores.csv"])
    text = (tmp_path / "out" / RECORD).read_text()
    (tmp_path / "out" / RECORD).write_text(text.replace("scores.csv", "../../home"))
    with pytest.raises(DamagedFileError, match="does not match its checksum"):
        publish(tmp_path / "out", ["scores.csv"])
    assert (tmp_path / "out" / "scores.csv").exists()


def test_links_are_deleted_and_never_what_they_point_to(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    folder = tmp_path / "out"
    (folder / "state").mkdir(parents=True)
    (folder / "model").symlink_to(elsewhere)
    (folder / "report.html").symlink_to(elsewhere / "precious")
    (folder / "state" / "link").symlink_to(elsewhere)
    delete_entries(folder, ["model", "report.html", "state", "absent"])
    assert not list(folder.iterdir()) and (elsewhere / "precious").read_text() == "mine"


@pytest.mark.parametrize("name", ["../elsewhere/precious", "/etc/passwd", "link/precious", ".", ""])
def test_nothing_outside_is_deleted(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "own").write_text("own")
    with pytest.raises(InputError, match="nothing is deleted"):
        delete_entries(tmp_path / "out", ["own", name])
    assert (tmp_path / "elsewhere" / "precious").exists() and (tmp_path / "out" / "own").exists()


def test_a_folder_that_is_a_link_is_what_it_points_to(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "scratch")
    publish(tmp_path / "out", ["scores.csv", "old.csv"])
    publish(tmp_path / "out", ["scores.csv"])
    assert tree(tmp_path / "scratch") == [RECORD, "scores.csv"] and (tmp_path / "out").is_symlink()


def train(folder, overwrite=False, **options):
    """A training run that is only opened: that does not use its Accelerator."""
    with TrainingRun(folder, {"config": 1}, None, **options).open(overwrite):  # type: ignore[arg-type]
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "weights").write_text("weights")


def test_training_into_a_home_deletes_nothing(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / "model").mkdir()
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not empty" if not overwrite else "has no record of what a run wrote"):
            train(tmp_path, overwrite)
    assert tree(tmp_path) == ["thesis.tex"]


def test_training_that_starts_over_deletes_its_own_files_alone(tmp_path):
    folder = tmp_path / "run"
    train(folder, files=["sets"])
    (folder / "sets").mkdir()
    (folder / "thesis.tex").write_text("mine")
    (folder / "state").symlink_to(tmp_path)
    train(folder, overwrite=True, files=["sets"])
    assert (
        tree(folder) == [RECORD, "lock", "model/weights", "run.json", "thesis.tex"] and not (folder / "sets").exists()
    )
    assert tmp_path.is_dir()


def test_a_state_that_was_half_written_is_removed(tmp_path):
    folder = tmp_path / "run"
    train(folder)
    for name in (".partial", ".7-0123abcd-0.partial.0-2"):
        (folder / "state" / name).mkdir(parents=True)
    (folder / ".7-0123abcd-0.partial.run.json").write_text("half")
    train(folder)
    assert not list((folder / "state").iterdir())
    assert sorted(path.name for path in folder.glob(".*")) == [RECORD]


def test_training_on_files_with_another_content_is_refused(tmp_path):
    genome, folder = tmp_path / "g.fna", tmp_path / "run"
    genome.write_text("ACGT")
    with TrainingRun(folder, {}, None, inputs=[genome]).open(False) as run:  # type: ignore[arg-type]
        run.record_inputs()
    other = tmp_path / "copy.fna"
    other.write_text("ACGT")
    with TrainingRun(folder, {}, None, inputs=[other]).open(False):  # type: ignore[arg-type]
        pass
    other.write_text("TTTT")
    with pytest.raises(InputError, match=r"holds a run with another content of .*copy.fna; give a new folder"):
        TrainingRun(folder, {}, None, inputs=[other]).open(False)  # type: ignore[arg-type]


def test_the_record_is_read_back(tmp_path):
    OutputFolder(tmp_path, "study").claim(["a"])
    assert json.loads((tmp_path / RECORD).read_text())["entries"] == ["a"]
    assert OWNERSHIP.read(tmp_path / RECORD).writer == "study"
