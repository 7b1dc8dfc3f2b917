"""Import of FAISS, and which builds of it are installed.

`faiss-cpu` and `faiss-gpu` are two distributions of one package, `faiss`: the one installed last overwrites the other's
files, and removing either takes files of both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

from ..errors import MissingDependencyError

# faiss-cpu, faiss-gpu, faiss-gpu-cu12, faiss-gpu-cuvs ...; conda's packages call themselves faiss.
DISTRIBUTION = re.compile(r"faiss(-cpu|-gpu(-\w+)?)?")
# A GPU build raises RuntimeError where the CUDA libraries of its wheels are missing.
IMPORT_ERRORS = (ImportError, RuntimeError, OSError, AttributeError)
INSTALL = (
    "install one build: pip install 'biomeformer[cpu]', which serves on every machine, or 'biomeformer[gpu]' for "
    "FAISS's own GPU indexes, never both at once"
)


@dataclass(frozen=True)
class FaissState:
    """FAISS in this environment.

    Attributes:
        state: `none`, `cpu`, `gpu`, `both` (several distributions lie over each other, whether or not the package can
            be imported) or `broken` (installed, and cannot be imported or is an empty package).
        distributions: Versions of the installed distributions by name.
        imports: What `import faiss` gives: `cpu`, `gpu`, or None where it fails.
        version: Of the package that is imported.
        error: Why it cannot be used.
        advice: What to do, empty where nothing need be done.
    """

    state: str
    distributions: dict[str, str]
    imports: str | None
    version: str | None
    error: str | None
    advice: str


def faiss_state() -> FaissState:
    """Look at what is installed and try to import it."""
    distributions: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if DISTRIBUTION.fullmatch(name):
            distributions.setdefault(name, distribution.version)
    distributions = dict(sorted(distributions.items()))
    faiss, error, absent = _try_import()
    imports = version = None
    if faiss is not None:
        imports = "gpu" if hasattr(faiss, "StandardGpuResources") else "cpu"
        version = getattr(faiss, "__version__", None)
    names = ", ".join(distributions)
    if len(distributions) > 1:
        state = "both"
        advice = f"{names} overwrite each other's files; pip uninstall {names.replace(',', '')}, then {INSTALL}."
    elif imports is not None:
        state, advice = imports, ""
    elif absent and not distributions:
        state, advice = "none", f"{INSTALL}."
    else:
        state = "broken"
        removal = f"pip uninstall {names}" if names else "delete the folder faiss that is left in site-packages"
        advice = f"{removal}, then {INSTALL}."
    return FaissState(state, distributions, imports, version, error, advice)


def import_faiss() -> Any:
    """Import FAISS, whichever build is installed.

    Raises:
        MissingDependencyError: None is, or it cannot be imported, or its package is empty (as after removing one of two
            builds).
    """
    faiss, error, _ = _try_import()
    if faiss is None:
        raise MissingDependencyError(f"faiss is needed, and {error}; {faiss_state().advice}")
    return faiss


def _try_import() -> tuple[Any, str | None, bool]:
    """Return FAISS, or why it cannot be used, and whether that is because there is no such package."""
    try:
        faiss = import_module("faiss")
    except IMPORT_ERRORS as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "faiss"
        return None, f"it cannot be imported ({error})", absent
    if not hasattr(faiss, "Clustering"):
        return None, "the package is empty, as after removing one of two builds", False
    return faiss, None, False


__all__ = ["FaissState", "faiss_state", "import_faiss"]
