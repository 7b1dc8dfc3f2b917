"""The pages of the Python reference: one per package, with the names that its `__init__.pyi` makes public."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "modeling" / "biomeformer"
# What a page is called and is about; pages whose names are listed take those instead of a stub's.
PAGES = {
    "metagenomes": "Reads to abundance vectors; centroids and k-means.",
    "phenotypes": "Feature tables, classifiers, cross-validation, transfer and statistics.",
    "genomes": "Genes, protein vectors, and predictions of genomes.",
    "attribution": "Gene pairs that a genome's prediction depends on, and their network.",
    "sequences": "Labelled sequences and their classifiers.",
    "reads": "FASTQ and FASTA, pairing, subsampling, cohorts.",
    "models": "Model, config and processor classes of transformers.",
    "metrics": "Scores, curves and the bootstrap.",
    "runs": "Runs over many items: resuming, processes, progress.",
    "reports": "Figures and HTML reports.",
    "errors": "Exceptions; all messages are one sentence.",
}
ALSO = {"sequences": ["classifier.SequenceClassifier"], "attribution": ["attribute"]}
LOADING = ("load", "load_read_encoder", "load_encoder_with_processor")
INTRODUCTION = """# Python reference

```python
import biomeformer
```

registers the models with transformers (`AutoModel`, `AutoConfig`, `AutoProcessor`) and imports neither torch nor
transformers before a name needs it. Names of this page are at the root; pages list all public names of a package.

"""


def public_names(stub: Path) -> dict[str, str]:
    """Return the module of each public name of a stub, relative to the stub's package; "" for submodules."""
    found = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found.update({name.asname or name.name: node.module or "" for name in node.names})
    return found


def api_pages() -> dict[str, str]:
    """Return the pages by name, `index.md` first."""
    root = {name: module for name, module in public_names(PACKAGE / "__init__.pyi").items() if module}
    targets = {name: _target(module, name) for name, module in sorted(root.items())}
    rows = [f"| [`biomeformer.{name}`][{target}] | {_first_line(target)} |" for name, target in targets.items()]
    packages = [f"| [`biomeformer.{name}`]({name}.md) | {text} |" for name, text in PAGES.items()]
    loading = "\n\n".join(f"::: biomeformer.checkpoints.loading.{name}" for name in LOADING)
    lines = [
        INTRODUCTION,
        "| package | |",
        "|---|---|",
        *packages,
        "",
        "## Names at the root",
        "",
        "| name | |",
        "|---|---|",
    ]
    pages = {"index.md": "\n".join([*lines, *rows, "", "## Load a model", "", loading])}
    for page, text in PAGES.items():
        pages[f"{page}.md"] = "\n".join([f"# biomeformer.{page}", "", text, "", *_entries(page)])
    return pages


def _target(module: str, name: str) -> str:
    """Return the path by which a name of the root is documented."""
    stub = PACKAGE / module.replace(".", "/") / "__init__.pyi"
    if stub.is_file():
        module = f"{module}.{public_names(stub)[name]}"
    return f"biomeformer.{module}.{name}"


def _first_line(target: str) -> str:
    """Return the first line of the docstring of what a path names."""
    *module, name = target.split(".")[1:]
    tree = ast.parse(PACKAGE.joinpath(*module).with_suffix(".py").read_text(encoding="utf-8"))
    node = next(node for node in tree.body if getattr(node, "name", None) == name)
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    return (ast.get_docstring(node) or "").split("\n")[0]


def _entries(page: str) -> list[str]:
    if page == "errors":
        return ["::: biomeformer.errors", "    options: {show_root_heading: false, show_root_toc_entry: false}"]
    if page == "models":
        stubs = sorted((PACKAGE / "models").glob("*/__init__.pyi"))
        names = [f"models.{stub.parent.name}.{module}.{name}" for stub in stubs for name, module in _classes(stub)]
    else:
        names = [f"{page}.{module}.{name}" for name, module in public_names(PACKAGE / page / "__init__.pyi").items()]
        names += [f"{page}.{name}" for name in ALSO.get(page, ()) if "." in name]
    return [line for name in names for line in (f"::: biomeformer.{name}", "")]


def _classes(stub: Path) -> list[tuple[str, str]]:
    return [(name, module) for name, module in public_names(stub).items() if module]
