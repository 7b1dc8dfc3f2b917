"""Fetch the common test suites: the `tests/` of transformers' source distribution, from the package index."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers

# Within the virtual environment, so that `make clean` removes it and git ignores it.
CACHE = Path(sys.prefix) / "conformance"
# Text that the tokenizer suite reads from a file which the source distribution lacks.
SAMPLE_TEXT = "fixtures/sample_text.txt"


def suites(cache: Path = CACHE) -> Path:
    """Return the folder `tests` of the installed version's source distribution, downloaded once.

    Args:
        cache: Folder in which it is kept.

    Raises:
        OSError: The source distribution cannot be downloaded.
    """
    name = f"transformers-{transformers.__version__}"
    folder = cache / name / "tests"
    if (folder / SAMPLE_TEXT).is_file():
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", "transformers", f"transformers=={transformers.__version__}", "--dest", temporary]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(temporary).glob("*.tar.gz"))
        if done.returncode or not archives:
            reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no archive")
            raise OSError(f"the source distribution of {name} cannot be downloaded from the package index ({reason})")
        with tarfile.open(archives[0]) as archive:
            members = [member for member in archive.getmembers() if member.name.startswith(f"{name}/tests/")]
            archive.extractall(cache, members, filter="data")
    (folder / SAMPLE_TEXT).parent.mkdir(exist_ok=True)
    (folder / SAMPLE_TEXT).write_text("ACGTTGCA " * 20)
    return folder
