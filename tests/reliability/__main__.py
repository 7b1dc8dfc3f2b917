"""Make one trial again: `python -m reliability FORMAT NUMBER SEED [FOLDER]`; its file is left in FOLDER/work."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .trials import formats, run_trial

if __name__ == "__main__":
    name, number, seed, *folder = sys.argv[1:]
    root = Path(folder[0] if folder else tempfile.mkdtemp())
    print(run_trial(name, int(number), int(seed), root))
    print(formats()[name].path(root / "work"))
