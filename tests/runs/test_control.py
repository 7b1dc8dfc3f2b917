"""How a run is controlled: options, observers, and the names of version 0.1."""

from __future__ import annotations

import json

import numpy as np
import pytest

from biomeformer.errors import InputError, RunInterrupted, SamplesFailedError
from biomeformer.metagenomes import embed_cohort, run_cohort
from biomeformer.runs.control import CallbackObserver, RunControl, RunObserver, resolve_control
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.runs.run_folder import RunFolder, run_status
from biomeformer.runs.scheduler import run_items
from factories import tiny_metagenbert, write_cohort


class Recorder(RunObserver):
    """Keeps what it is told; takes no note of batches."""

    def __init__(self):
        self.events = []

    def plan(self, n_before, n_mine, /):
        self.events.append((n_before, n_mine))

    def finish(self, item_id, reason, /):
        self.events.append((item_id, reason))


class Plant:
    """An item that is neither a sample nor a genome."""

    def __init__(self, folder, name):
        self.item_id, self.path = name, folder / name
        self.path.write_text(name)

    def files(self):
        return [self.path]


def grow(tmp_path, control, bad=()):
    run = RunFolder(tmp_path / "run", {"soil": 1}, [Plant(tmp_path, name) for name in ("ash", "elm", "oak")], "plants")

    def make_part(plant, among):
        control.observer.advance(plant.item_id, 1, 1, 1)
        if plant.item_id in bad:
            raise InputError(f"{plant.path} has wilted")
        return {"leaves": np.arange(3)}, {"n_leaves": 3}

    def gather(parts, failed):
        return {name: int(part.arrays()["leaves"].sum()) + part.stats["n_leaves"] for name, part in parts.items()}

    return run_items(run, make_part, gather, control=control, share_batches=False)


def test_a_run_over_items_speaks_of_them_by_their_noun(tmp_path):
    recorder = Recorder()
    outcome = grow(tmp_path, RunControl(observer=recorder), bad=["elm"])
    assert outcome.result == {"ash": 6, "oak": 6} and outcome.n_items == 3
    assert recorder.events[:2] == [(0, 3), ("ash", None)] and "has wilted" in recorder.events[2][1]
    with pytest.raises(SamplesFailedError, match=r"1 of 3 plants failed \(elm\)"):
        outcome.raise_for_failures()
    status = run_status(tmp_path / "run")
    assert (status.noun, status.n_items, status.attempts[-1]["status"]) == ("plants", 3, "1 of 3 plants failed")
    with pytest.raises(SamplesFailedError, match="plant elm failed: "):
        grow(tmp_path, RunControl(fail_fast=True), bad=["elm"])
    assert grow(tmp_path, RunControl(observer=recorder)).n_resumed == 2 and recorder.events[-2:] == [
        (2, 1),
        ("elm", None),
    ]
    with pytest.raises(InputError, match="holds a run already"):
        grow(tmp_path, RunControl(resume=False))
    assert grow(tmp_path, RunControl(overwrite=True)).n_resumed == 0


def test_the_record_keeps_the_keys_of_the_first_version(tmp_path):
    grow(tmp_path, RunControl())
    path = tmp_path / "run" / "run" / "run.json"
    record = json.loads(path.read_text())
    assert record["samples"] == {"ash": 3, "elm": 3, "oak": 3}
    assert record["attempts"][0]["how_it_ended"] == "finished" and "status" not in record["attempts"][0]
    # One of that version has no noun; one that says `status` is read too.
    del record["noun"], record["checksum"]
    record["format_version"] = 1
    record["attempts"][0]["status"] = record["attempts"][0].pop("how_it_ended")
    path.write_text(json.dumps(record))
    status = run_status(tmp_path / "run")
    assert status.noun == "samples" and status.attempts[0]["status"] == "finished"
    with pytest.warns(DeprecationWarning, match="now called n_items"):
        assert status.n_samples == 3


def test_check_is_that_of_the_processes():
    processes, other = ProcessGroup(), ProcessGroup()

    def check():
        raise RunInterrupted("stop", 15)

    control = RunControl(processes=processes, check=check)
    assert processes.check is check
    assert RunControl(processes=processes).processes.check is check
    assert resolve_control(control, {"processes": other}).processes.check is check
    assert resolve_control(control, {"fail_fast": True, "check": None}) == RunControl(
        fail_fast=True, processes=processes, observer=control.observer, check=check
    )


def test_options_by_keyword(tmp_path):
    cohort, model = write_cohort(tmp_path / "cohort", n_samples=2), tiny_metagenbert()
    recorder, batches = Recorder(), []
    table = embed_cohort(model, cohort, output=tmp_path / "run", observer=recorder)
    assert recorder.events == [(0, 2), ("s0", None), ("s1", None)]
    again = embed_cohort(
        model, cohort, output=tmp_path / "run", overwrite=True, progress=lambda *values: batches.append(values)
    )
    assert np.array_equal(again.counts, table.counts) and {batch[0] for batch in batches} == {"s0", "s1"}
    with pytest.raises(InputError, match="holds a run already"):
        embed_cohort(model, cohort, output=tmp_path / "run", control=RunControl(resume=False))
    with pytest.raises(TypeError, match="'overwrites' is no option of a run; give resume, overwrite"):
        run_cohort(model, cohort, tmp_path / "run", overwrites=True)
    with pytest.raises(TypeError, match="resume: of use only with output"):
        embed_cohort(model, cohort, resume=False)
    with pytest.raises(TypeError, match="control: of use only with output"):
        embed_cohort(model, cohort, control=RunControl())


def test_callbacks_of_the_first_version(tmp_path):
    cohort, model, events = write_cohort(tmp_path / "cohort", n_samples=1), tiny_metagenbert(), []
    with pytest.warns(DeprecationWarning, match="now the methods of an observer") as caught:
        run_cohort(
            model,
            cohort,
            tmp_path / "run",
            on_plan=lambda *values: events.append(values),
            on_sample=lambda *values: events.append(values),
            progress=lambda *values: events.append(values[:2]),
        )
    assert list(dict.fromkeys(events)) == [(0, 1), ("s0", 60), ("s0", None)] and caught[0].filename == __file__
    for options in ({"control": RunControl()}, {"observer": CallbackObserver()}):
        with pytest.raises(TypeError, match="give an observer alone"):
            run_cohort(model, cohort, tmp_path / "run", on_sample=print, **options)
