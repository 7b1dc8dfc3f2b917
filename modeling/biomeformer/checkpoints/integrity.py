"""Whether a checkpoint's files are what was published: checksums, and configs that would run foreign code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from ..errors import CheckpointError

CHECKSUMS = "SHA256SUMS"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib")


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file with weights of a checkpoint, those in folders within too, by path."""
    files = sorted(path for path in folder.rglob("*.safetensors") if not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def checksums(hashes: Mapping[str, str]) -> str:
    """What `SHA256SUMS` holds, as `sha256sum --check` reads it.

    Args:
        hashes: What `weight_hashes` gave.
    """
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def verify_weights(name: str | Path, **hub_options: Any) -> None:
    """See that weights are those that `SHA256SUMS` names, where a checkpoint has that file.

    Args:
        name: A folder or a Hub id.
        **hub_options: `revision`, `cache_dir`, `local_files_only` and `token`.

    Raises:
        CheckpointError: They are not.
    """
    sums = _file(name, CHECKSUMS, hub_options)
    if sums is None:
        return
    for line in sums.read_text().splitlines():
        digest, _, file = line.partition("  ")
        # Weights of a part, such as a protein encoder, are seen to where that part is loaded.
        found = None if "/" in file else _file(name, file, hub_options)
        if found is not None and hash_file(found) != digest:
            raise CheckpointError(
                f"{found} is not the file that {CHECKSUMS} of {name} names (SHA-256 {hash_file(found)[:12]}…, not "
                f"{digest[:12]}…): it was damaged or changed; fetch the checkpoint again, or delete {CHECKSUMS} if you "
                "changed the weights yourself."
            )


def refuse_unsafe_config(config: Mapping[str, Any], where: str) -> None:
    """See that a config does not ask for foreign code, at any depth.

    Raises:
        CheckpointError: It holds `trust_remote_code`.
    """
    pending: list[Any] = [config]
    while pending:
        found = pending.pop()
        if isinstance(found, Mapping):
            if "trust_remote_code" in found:
                raise CheckpointError(
                    f"{where} sets trust_remote_code, which would let a checkpoint run its own code; do not use it, or "
                    "delete that line if you know where it came from."
                )
            pending += found.values()
        elif isinstance(found, list):
            pending += found


def verify_checkpoint(name: str | Path, **hub_options: Any) -> None:
    """See that a checkpoint's config asks for no foreign code, and that its weights are those that were published.

    Args:
        name: A folder or a Hub id.
        **hub_options: `revision`, `cache_dir`, `local_files_only` and `token`.

    Raises:
        CheckpointError: One of the two is not so.
    """
    for file in ("config.json", "processor_config.json", "tokenizer_config.json"):
        path = _file(name, file, hub_options)
        if path is not None:
            try:
                refuse_unsafe_config(json.loads(path.read_text(encoding="utf-8")), f"{name}: {file}")
            except ValueError as error:
                if isinstance(error, CheckpointError):
                    raise
                continue  # Whoever loads it says what is wrong with it.
    verify_weights(name, **hub_options)


def _file(name: str | Path, file: str, hub_options: Mapping[str, Any]) -> Path | None:
    try:
        found = cached_file(str(name), file, **hub_options)
    except OSError:
        return None
    return None if found is None else Path(found)


__all__ = [
    "CHECKSUMS",
    "PICKLES",
    "checksums",
    "hash_file",
    "refuse_unsafe_config",
    "verify_checkpoint",
    "verify_weights",
    "weight_hashes",
]
