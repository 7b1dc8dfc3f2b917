"""Execute the notebooks and convert them to Markdown with their outputs, for the site.

    python packaging/site/notebooks.py [NAME ...]

Notebooks are committed without outputs. Each is executed in an empty folder, two at a time; one that fails, or takes
longer than its limit, ends the command with exit code 1.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "notebooks"
N_AT_ONCE = 2
# Of one cell, in seconds: enough for a slow machine; notebooks take less than 30 on two cores.
TIMEOUT = 240
# A table of pandas, and the title of a result above it.
TABLE = re.compile(r"(?:<p><b>[^\n]*</p>\s*)?<div>\s*<table.*?</table>\s*</div>", re.DOTALL)


def execute(path: Path) -> str:
    """Execute a notebook, write its pages, and return a line about it.

    Raises:
        CellExecutionError: A cell failed.
    """
    start = time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            startup_timeout=TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            extra_arguments=["--IPKernelApp.log_level=40"],
        )
        client.execute()
    exporter = MarkdownExporter(exclude_input_prompt=True, exclude_output_prompt=True)
    text, resources = exporter.from_notebook_node(notebook, {"output_files_dir": "."})
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name, data in resources["outputs"].items():
        file = f"{path.stem}_{Path(name).name}"
        (OUTPUT / file).write_bytes(data)
        text = text.replace(f"({name})", f"({file})").replace(f"({Path(name).name})", f"({file})")
    (OUTPUT / f"{path.stem}.md").write_text(_for_the_site(text), encoding="utf-8")
    return f"{path.name}: {time.monotonic() - start:.0f} s"


def _for_the_site(text: str) -> str:
    """Return Markdown in which tables scroll in a frame, and the code's language is known."""
    text = re.sub(r"<style scoped>.*?</style>\n?", "", text, flags=re.DOTALL)
    text = TABLE.sub(lambda found: _framed(found[0]), text)
    return re.sub(r"```ipython3?", "```python", text)


def _framed(html: str) -> str:
    # A blank line ends HTML in Markdown, and indented lines would be code.
    lines = [line.strip() for line in html.splitlines() if line.strip()]
    return "\n".join(['<div class="notebook-output">', *lines, "</div>", ""])


def main() -> None:
    """Execute all notebooks, or those that are named."""
    wanted = sys.argv[1:]
    paths = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if not wanted or path.stem in wanted]
    os.environ.setdefault("PYTHONPATH", str(ROOT / "modeling"))
    # Commands in cells are those of this interpreter's environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", PYTHONWARNINGS="ignore")
    failed = False
    with ThreadPoolExecutor(N_AT_ONCE) as executor:
        runs = [(path, executor.submit(execute, path)) for path in paths]
        for path, run in runs:
            error = run.exception()
            failed = failed or error is not None
            print(f"{path.name} failed: {error}" if error is not None else run.result())
    sys.exit(failed)


if __name__ == "__main__":
    main()
