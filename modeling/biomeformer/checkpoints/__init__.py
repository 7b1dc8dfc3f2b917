"""Checkpoints that ship in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def shipped_checkpoints() -> list[str]:
    """Return the names of the checkpoints that ship in the package, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def resolve_checkpoint(name: Any) -> Any:
    """Return the folder of a shipped checkpoint for its name, and anything else unchanged.

    A local folder of that name takes precedence, as in `from_pretrained`.
    """
    if isinstance(name, str) and name in shipped_checkpoints() and not Path(name).is_dir():
        return str(FOLDER / name)
    return name


def checkpoint_name(name_or_path: str) -> str:
    """Return the name of a shipped checkpoint for its folder, and anything else unchanged."""
    path = Path(name_or_path)
    return path.name if path.parent == FOLDER else name_or_path


__all__ = ["checkpoint_name", "resolve_checkpoint", "shipped_checkpoints"]
