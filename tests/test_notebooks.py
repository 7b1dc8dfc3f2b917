"""Notebooks as they are committed; `make docs` executes them."""

from __future__ import annotations

import ast
import importlib
import json
import re

import pytest

from processes import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPOSITORY = re.search(r"^  repository: (\S+)$", (ROOT / "packaging/site/mkdocs.yml").read_text(), re.M)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_of(cell):
    """A cell's Python, without magic commands."""
    lines = "".join(cell["source"]).splitlines()
    return "\n".join(re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in lines)


def test_every_notebook_is_on_the_index():
    listed = re.findall(r"\]\((\w+)\.md\)", (ROOT / "docs" / "notebooks" / "index.md").read_text())
    assert sorted(listed) == [path.stem for path in NOTEBOOKS] and len(listed) == 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_its_own_link_and_an_install_cell(path):
    cells = read(path)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    link = f"https://colab.research.google.com/github/{REPOSITORY[1]}/blob/main/notebooks/{path.name}"
    first = "".join(cells[0]["source"])
    assert f"]({link})" in first and first.startswith("# ")
    install = "".join(code[0]["source"])
    assert "except ImportError:\n    %pip install" in install and "import biomeformer" in install


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_what_exists(path):
    names = 0
    for cell in read(path)["cells"]:
        if cell["cell_type"] != "code":
            continue
        for node in ast.walk(ast.parse(code_of(cell))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("biomeformer"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names)
                names += len(node.names)
    assert names
