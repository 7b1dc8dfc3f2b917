"""Checkpoints that ship in the package."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath
from typing import Any

FOLDER = Path(__file__).parent
# Group of the entry points of read encoders in other installed packages.
READ_ENCODERS = "biomeformer.read_encoders"


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


def public_name(name_or_path: str | Path) -> str:
    """Return the name of a checkpoint or table for records that others read, which hold no paths of this machine.

    Args:
        name_or_path: A shipped name or Hub id, which is returned unchanged, or a path.

    Returns:
        Of a path, the name of its last folder; of a part of a checkpoint, and of a file, with that of the folder around
        it; of a folder in the cache of the Hub's client, the Hub id.
    """
    name = checkpoint_name(str(name_or_path))
    windows = PureWindowsPath(name)
    is_path = name.startswith(("/", ".", "~")) or bool(windows.drive and windows.root) or os.path.exists(name)
    if not name or not is_path:
        return name
    path = Path(windows.name) if windows.drive else Path(name).expanduser().absolute()
    if path.parent.name == "snapshots" and path.parents[1].name.startswith("models--"):
        return path.parents[1].name.removeprefix("models--").replace("--", "/")
    if path.is_file() or (path.parent / "config.json").is_file():
        return f"{path.parent.name}/{path.name}"
    return path.name


def is_machine_path(text: str) -> bool:
    """Return whether a text is an absolute path of this machine: one that begins with a folder that exists."""
    path = Path(os.path.expanduser(text))
    return path.is_absolute() and len(path.parts) > 2 and os.path.exists(Path(*path.parts[:2]))


__all__ = ["checkpoint_name", "is_machine_path", "public_name", "resolve_checkpoint", "shipped_checkpoints"]
