"""The training loop against a plain loop of torch, and what its processes draw."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from biomeformer.errors import BiomeformerError
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.training.accelerator import make_accelerator
from biomeformer.training.batches import Epochs, evaluate_rows
from biomeformer.training.loop import Plan, Validation, train
from biomeformer.training.run import TrainingRun
from biomeformer.training.schedules import linear_warmup_decay
from processes import Job

N_STEPS, WIDTH = 12, 5


@pytest.fixture(autouse=True)
def new_accelerator():
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def examples(step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A global batch: inputs, truth, and which examples count (as masked tokens do)."""
    rng = np.random.default_rng(step)
    counts = torch.from_numpy(rng.random(23) < 0.3)
    counts[0] = True
    values = torch.from_numpy(rng.normal(size=(23, WIDTH)).astype(np.float32))
    return values, values.sum(1).sin(), counts


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, 1))


def draw(step: int, micro: int, n_micro_batches: int) -> dict[str, torch.Tensor] | None:
    values, truth, counts = (part[micro::n_micro_batches] for part in examples(step))
    return {"values": values, "truth": truth, "counts": counts} if len(values) else None


def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    errors = (model(batch["values"])[:, 0] - batch["truth"]) ** 2 * batch["counts"]
    return errors.sum(), batch["counts"].sum()


def reference(n_steps: int = N_STEPS) -> tuple[list[float], nn.Module]:
    """A plain loop over whole batches."""
    model = new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = linear_warmup_decay(N_STEPS, 0.25)
    losses = []
    for step in range(n_steps):
        values, truth, counts = examples(step)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * schedule(step)
        optimizer.zero_grad()
        value = nn.functional.mse_loss(model(values)[counts, 0], truth[counts])
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(float(value.detach()))
    return losses, model


def run_loop(folder: Path, processes: ProcessGroup | None = None, **options) -> tuple[nn.Module, list[dict]]:
    model = new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    plan = Plan(N_STEPS, linear_warmup_decay(N_STEPS, 0.25), max_grad_norm=0.5, **options)
    accelerator = make_accelerator("no", cpu=True, processes=processes)
    with TrainingRun(folder, {}, accelerator, processes).open(False) as run:
        train(run, 0, model, optimizer, plan, draw, loss)
    with (folder / "history.csv").open() as handle:
        return model, list(csv.DictReader(handle))


@pytest.mark.parametrize("micro_batches", [1, 2, 4, 30])
def test_micro_batches_are_one_batch(tmp_path, micro_batches):
    """Weights and losses are those of a plain loop, though micro-batches count differently many examples."""
    losses, expected = reference()
    model, rows = run_loop(tmp_path / "run", micro_batches=micro_batches)
    assert [float(row["training_loss"]) for row in rows] == pytest.approx(losses, abs=1e-5)
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def loop_on_processes(folder: Path, micro_batches: int | None) -> int:
    with ProcessGroup.from_environment() as processes:
        model, _ = run_loop(folder / "run", processes, micro_batches=micro_batches)
        if processes.is_main:
            torch.save(model.state_dict(), folder / "model.pt")
    return 0


@pytest.mark.parametrize(("n_ranks", "micro_batches"), [(3, None), (3, 2), (2, 5)])
def test_processes_are_one(tmp_path, n_ranks, micro_batches):
    losses, expected = reference()
    job = Job(tmp_path / "text", n_ranks, loop_on_processes, tmp_path, micro_batches)
    assert job.wait(60) == [0] * n_ranks, job.text()
    with (tmp_path / "run" / "history.csv").open() as handle:
        assert [float(row["training_loss"]) for row in csv.DictReader(handle)] == pytest.approx(losses, abs=1e-5)
    model = torch.load(tmp_path / "model.pt")
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model[name], value, atol=1e-5, rtol=0)


def test_rows_validation_and_early_stopping(tmp_path):
    """Rows are means over steps; the best weights are kept, and a resumed run knows that it had stopped."""
    losses, _ = reference()
    scores = iter([0.5, 0.7, 0.6, 0.7])
    model = new_model()
    kept = {}

    def validate() -> Validation:
        assert not model.training and not torch.is_grad_enabled()
        score = next(scores)
        kept.setdefault(score, {name: value.clone() for name, value in model.state_dict().items()})
        return Validation(score=score)

    plan = Plan.of_epochs(
        N_STEPS + 6, 3, schedule=linear_warmup_decay(N_STEPS, 0.25), micro_batches=2, patience=2, max_grad_norm=0.5
    )
    for attempt in range(2):
        AcceleratorState._reset_state(True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        with TrainingRun(tmp_path / "run", {}, make_accelerator("no", cpu=True)).open(False) as run:
            outcome = train(run, 0, model, optimizer, plan, draw, loss, validate)
            rows = run.history(0)
        # An equal score is no improvement.
        assert (outcome.n_steps, outcome.best_step, outcome.validation) == (12, 6, Validation(score=0.7)), attempt
        assert [row["epoch"] for row in rows] == list("1234") and [row["step"] for row in rows] == ["3", "6", "9", "12"]
        assert [row["validation_score"] for row in rows] == ["0.500000", "0.700000", "0.600000", "0.700000"]
        weights = [sum(int(examples(step)[2].sum()) for step in range(i, i + 3)) for i in range(0, 12, 3)]
        sums = [losses[step] * int(examples(step)[2].sum()) for step in range(12)]
        expected = [sum(sums[3 * i : 3 * i + 3]) / weight for i, weight in enumerate(weights)]
        assert [float(row["training_loss"]) for row in rows] == pytest.approx(expected, abs=1e-5)
        assert all(torch.equal(value, kept[0.7][name]) for name, value in model.state_dict().items())


def test_a_loss_that_is_not_finite_stops(tmp_path):
    model = new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    with TrainingRun(tmp_path / "run", {}, make_accelerator("no", cpu=True)).open(False) as run:
        with pytest.raises(BiomeformerError, match=r"loss of stage 3 is (inf|nan) at step \d; lower the learning_rate"):
            train(run, 3, model, optimizer, Plan(5), draw, loss)


class Masks(nn.Module):
    """Keeps what dropout made of ones."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.dropout, self.seen = nn.Parameter(torch.ones(64)), nn.Dropout(0.5), []

    def forward(self, key: list[int]) -> torch.Tensor:
        values = self.dropout(self.weight)
        self.seen.append([key, (values != 0).int().tolist()])
        return values.sum()


def dropout_masks(folder: Path, micro_batches: int | None) -> int:
    with ProcessGroup.from_environment() as processes:
        model = Masks()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        run = TrainingRun(folder / "run", {}, make_accelerator("no", cpu=True, processes=processes), processes)
        with run.open(False):
            plan = Plan(3, micro_batches=micro_batches)
            train(run, 0, model, optimizer, plan, lambda step, micro, n: [step, micro], lambda m, key: (m(key), 1.0))
        (folder / f"{processes.rank}.json").write_text(json.dumps(model.seen))
    return 0


@pytest.mark.parametrize("micro_batches", [None, 2])
def test_processes_drop_out_independently(tmp_path, micro_batches):
    seen = {}
    for n_ranks in (1, 2):
        folder = tmp_path / str(n_ranks)
        job = Job(folder / "text", n_ranks, dropout_masks, folder, micro_batches)
        assert job.wait(60) == [0] * n_ranks, job.text()
        parts = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(n_ranks)]
        seen[n_ranks] = {tuple(key): tuple(mask) for part in parts for key, mask in part}
    assert len(seen[2]) == len(set(seen[2].values())) == 6
    # With a fixed number of micro-batches they are those of one process.
    assert len(seen[1]) == (3 if micro_batches is None else 6)
    assert all(seen[2][key] == mask for key, mask in seen[1].items())


def test_epochs_and_rows_of_processes():
    epochs = Epochs(3, lambda epoch: np.array_split(np.arange(10) * epoch, 4))
    assert (epochs.n_steps, epochs.steps_per_epoch) == (12, 4)
    epoch, rows = epochs.rows(5)
    assert epoch == 2 and rows.tolist() == [6, 8, 10]
    values = evaluate_rows(ProcessGroup(), 3, 2, lambda own: ([[i, i * i]] for i in own))
    assert values.tolist() == [[0, 0], [1, 1], [2, 4]]
    assert Accelerator(cpu=True).num_processes == 1


def test_nested_work_shares_one_progress_display(tmp_path, capsys):
    with TrainingRun(tmp_path, {}, make_accelerator("no", cpu=True)).open(False) as run:
        displays = []
        for fold in run.track(range(3), "folds"):
            with run.showing_progress() as display:
                display.update("training", fold, 3)
                displays.append(display)
        assert displays[0] is displays[1] is displays[2]
        with run.showing_progress() as display:
            assert display is not displays[0]
    # Not a terminal: one line when a task begins.
    assert capsys.readouterr().err.splitlines() == ["folds", "training"]
