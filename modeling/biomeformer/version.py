"""The version, apart from the package's `__init__`, so that every module may import it."""

from __future__ import annotations

__version__ = "0.2.0"


def versions(*names: str) -> dict[str, str]:
    """Return the version of biomeformer, and then those of others, by name, as records and reports hold them.

    Args:
        names: Distributions that are installed, and `python`.
    """
    import platform
    from importlib import metadata

    others = {name: platform.python_version() if name == "python" else metadata.version(name) for name in names}
    return {"biomeformer": __version__} | others
