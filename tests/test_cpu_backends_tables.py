"""The tables of ESM-2 and DNABERT-2 on a CPU in the documentation are those of the committed results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHAPES = {"ESM-2 8M": "esm2-8m", "ESM-2 650M": "esm2-650m", "DNABERT-2": "dnabert2"}
MEASURED = json.loads((BENCHMARKS / "results/cpu_backends.json").read_text())


def table(number):
    """Return the header and the rows of a table of the section, each row a label and its cells."""
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## ESM-2 and DNABERT-2 on a CPU\n")[1].split("\n## ")[0]
    blocks = [block for block in section.split("\n\n") if block.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in blocks[number].splitlines()]
    return header, rows


def test_products_are_those_measured():
    header, rows = table(0)
    shapes = [MEASURED["shapes"][SHAPES[name]]["products"] for name in header[:3]]
    assert {label for label, *_ in rows} == set(shapes[0])
    for label, *cells in rows:
        assert [int(cell) for cell in cells[:3]] == [round(shape[label]["gflops"]) for shape in shapes]
        assert float(cells[3]) == pytest.approx(max(shape[label]["relative_error"] for shape in shapes), rel=0.01)
        assert all(shape[label]["batch_invariant"] for shape in shapes)


def test_whole_encoders_are_those_measured():
    _, rows = table(1)
    for shape, column in (("esm2-8m", 0), ("dnabert2", 3)):
        encoders = MEASURED["shapes"][shape]["encoders"]
        assert {label for label, *_ in rows} == set(encoders)
        for label, *cells in rows:
            milliseconds, speed_up, error = cells[column : column + 3]
            assert float(milliseconds) == pytest.approx(encoders[label]["ms"], abs=0.51)
            assert float(speed_up) == pytest.approx(encoders[label]["speed_up"], abs=0.0051)
            assert float(error) == pytest.approx(encoders[label]["relative_error"], rel=0.01)
            assert encoders[label]["batch_invariant"]


def test_shares_of_the_peak_are_those_measured():
    _, rows = table(2)
    assert len(rows) == 2 * len(MEASURED["sizes"])
    for label, *cells in rows:
        size, dtype = label.removeprefix("ESM-2 ").split(", ")
        share = MEASURED["sizes"][size][dtype]["share_of_peak"]
        names = ("encoder", "attention in float32", "plain attention", "no attention")
        expected = [f"{100 * share[name]:.0f} %" if name in share else "-" for name in names]
        assert cells == [f"{MEASURED['sizes'][size][dtype]['peak_gflops']:.0f}", *expected]


def test_shares_of_a_layer_are_those_measured():
    _, rows = table(3)
    for label, *cells in rows:
        name, dtype = label.split(", ")
        part = MEASURED["shapes"][SHAPES[name]][dtype]["shares"]
        expected = [part["products"], part["attention"], part["gelu"], part["two_rotations"]]
        expected.append(part["two_norms"] + part["two_residuals"])
        assert cells == [f"{100 * value:.0f} %" for value in expected]
