"""Locate a checkpoint's files: in a folder, in the package, or in a Hub repository at one commit."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from huggingface_hub import is_offline_mode
from transformers import PreTrainedModel
from transformers.utils import cached_file, extract_commit_hash

from ..errors import CheckpointError, CheckpointNotFoundError
from ..io.limits import parse_config
from ..sinks import terminal
from . import checkpoint_name, is_machine_path, public_name, resolve_checkpoint, shipped_checkpoints
from .errors import no_checkpoint
from .esm2 import hub_name

logger = logging.getLogger(__name__)

CONFIG, PROCESSOR, TOKENIZER = "config.json", "processor_config.json", "tokenizer_config.json"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class CheckpointSource:
    """A checkpoint that has been located and whose configs are safe to read.

    Attributes:
        name: Name as the user gave it, for messages; of an ESM-2 by fair-esm's name, its Hub id.
        path: Folder, or Hub id.
        subfolder: Subfolder with the checkpoint's files; empty if they are at the top.
        options: `revision` (of a Hub id, its commit), `cache_dir`, `local_files_only` and `token`, if given.
        config: Content of `config.json`.
    """

    name: str
    path: str
    subfolder: str
    options: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def model_type(self) -> str | None:
        """`model_type` of the config."""
        return self.config.get("model_type")

    @property
    def folder(self) -> Path | None:
        """The local folder; None for a Hub id."""
        folder = Path(self.path) / self.subfolder
        return folder if folder.is_dir() else None

    @property
    def load_options(self) -> dict[str, Any]:
        """Arguments of `from_pretrained` that select the files."""
        return dict(self.options) | ({"subfolder": self.subfolder} if self.subfolder else {})

    def file(self, name: str, subfolder: str | None = None, *, required: bool = False) -> Path | None:
        """Return the local path of a file, downloaded if need be; None if the checkpoint has no such file.

        Args:
            name: Name of the file.
            subfolder: Subfolder to look in, instead of the checkpoint's own.
            required: Whether the checkpoint may not be used without that file, if it has one.

        Raises:
            CheckpointError: The file is required, and whether the checkpoint has it could not be found out, or it is
                there and is no file.
        """
        subfolder = self.subfolder if subfolder is None else subfolder
        if required and Path(self.path).is_dir():
            return existing_file(Path(self.path) / subfolder / name)
        options = {"subfolder": subfolder, "_raise_exceptions_for_missing_entries": False, **self.options}
        try:
            file = cached_file(self.path, name, **options)
        except OSError as error:
            if not (is_offline_mode() or self.options.get("local_files_only")):
                if required:
                    raise CheckpointError(
                        f"{name} of {self.name} could not be fetched ({type(error).__name__}), so its files could not "
                        "be verified; try again once the Hub answers."
                    ) from error
                # Whether the repository has that file is unknown, so this must be said.
                reason = terminal(str(error))
                logger.warning("%s of %s could not be fetched (%s); going on without it.", name, self.name, reason)
            return None
        return None if file is None else Path(file)

    def part(self, subfolder: str) -> CheckpointSource:
        """Open a checkpoint in a subfolder of this one, at the same commit."""
        return open_checkpoint(f"{self.name}/{subfolder}", self.path, subfolder=subfolder, **self.options)


def open_checkpoint(
    name: str | Path,
    path: str | None = None,
    *,
    revision: str | None = None,
    subfolder: str | None = "",
    **options: Any,
) -> CheckpointSource:
    """Locate a checkpoint, pin its commit, and read its config.

    Args:
        name: Folder, Hub id, name of a checkpoint that ships in the package, or fair-esm's name of an ESM-2
            (`esm2_t36_3B_UR50D`), which stands for the one on the Hub.
        path: Folder or Hub id, if `name` is for messages only.
        revision: Branch, tag or commit of a Hub id.
        subfolder: Subfolder of the folder or repository.
        **options: `cache_dir`, `local_files_only` and `token` of the Hub's client.

    Raises:
        CheckpointNotFoundError: There is no such checkpoint, or it has no config.
        CheckpointError: Its config is not a JSON object, or asks for foreign code.
    """
    name, subfolder = hub_name(str(name)), subfolder or ""
    path = str(resolve_checkpoint(hub_name(str(path or name))))
    options = {key: value for key, value in options.items() if value is not None}
    if revision is not None:
        options["revision"] = revision
    file: Any = Path(path) / subfolder / CONFIG
    if Path(path).is_dir():
        if not file.is_file():
            raise CheckpointNotFoundError(
                f"{file.parent} has no {CONFIG}, so it is not a checkpoint; give the folder that holds one."
            )
    elif Path(path).exists():
        raise CheckpointError(f"{path} is a file; give the checkpoint's folder.")
    elif "/" not in path and get_close_matches(path, shipped_checkpoints(), n=1, cutoff=0.8):
        # A misspelt name of a shipped checkpoint: no need to ask the Hub.
        raise no_checkpoint(name)
    else:
        try:
            file = cached_file(path, CONFIG, subfolder=subfolder, **options)
        except (OSError, ValueError) as error:
            raise no_checkpoint(name, error) from error
        commit = extract_commit_hash(file, None)
        if commit is not None:
            # Pinned: all files come from one commit, also if another is published in the meantime.
            options["revision"] = commit
    config = read_json(Path(file))
    refuse_unsafe_config(config, f"{name}: {CONFIG}")
    return CheckpointSource(name, path, subfolder, options, config)


def existing_file(path: Path) -> Path | None:
    """Return the path of a local file; None if there is nothing of that name.

    Raises:
        CheckpointError: There is something else of that name, such as a broken link.
    """
    if path.is_file():
        return path
    if path.exists() or path.is_symlink():
        raise CheckpointError(f"{path} is no file or a broken link, so it cannot be read; fetch the checkpoint again.")
    return None


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object from a checkpoint's file.

    Raises:
        CheckpointError: The file cannot be read, is not JSON or not an object, holds a key twice or a number that is
            not finite, or is too large or nested too deeply.
    """
    try:
        values = parse_config(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}; check its permissions.") from error
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON ({error}); fetch the checkpoint again.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} is not a config: it holds no JSON object; fetch the checkpoint again.")
    return values


def refuse_unsafe_config(config: Mapping[str, Any], where: str) -> None:
    """Refuse a config that asks for foreign code, at any depth.

    Args:
        config: Content of a config.
        where: Name of its file, for the message.

    Raises:
        CheckpointError: `trust_remote_code` is one of its keys.
    """
    pending: list[Any] = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            if "trust_remote_code" in value:
                raise CheckpointError(
                    f"{where} sets trust_remote_code, which would let a checkpoint run its own code; do not use it, or "
                    "delete that line if you know where it came from."
                )
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def resolve_commit(name: str, revision: str | None = None) -> str | None:
    """Return the current commit of a revision of a Hub id; for a folder, return the revision unchanged."""
    return open_checkpoint(name, revision=revision).options.get("revision")


def model_source(model: PreTrainedModel) -> dict[str, Any]:
    """Return where a loaded model came from, for the records of what is computed with it.

    Args:
        model: Model loaded by `from_pretrained` or one of the package's functions.

    Returns:
        `id`: a shipped name, a Hub id, or the name of a folder without its path, empty for a new model; `revision`: the
        commit of a Hub id; and of a folder `weights_sha256`, the hash of its weights.
    """
    name = checkpoint_name(model.name_or_path)
    source = {"id": public_name(name), "revision": getattr(model.config, "_commit_hash", None)}
    digest = hash_checkpoint(name)
    return source if digest is None else source | {"weights_sha256": digest}


def public_record(value: Any) -> Any:
    """Return JSON values without paths of this machine, for records that others read.

    Absolute paths become names, as by `public_name`; that of a checkpoint's folder has a hash of its weights, so that
    two of one name differ.
    """
    if isinstance(value, Mapping):
        return {key: public_record(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public_record(item) for item in value]
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not is_machine_path(value):
        return value
    digest = hash_checkpoint(value)
    return public_name(value) if digest is None else f"{public_name(value)} (weights {digest[:12]})"


def hash_checkpoint(name: str) -> str | None:
    """Return the SHA-256 of a local checkpoint's weights: of its file, or of the checksums of several; else None."""
    folder = Path(name).expanduser()
    if not name or not (folder / CONFIG).is_file():
        return None
    digests = []
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.skops")]):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if digests else None


__all__ = [
    "CONFIG",
    "PROCESSOR",
    "TOKENIZER",
    "TOKENIZER_FILE",
    "CheckpointSource",
    "existing_file",
    "hash_checkpoint",
    "model_source",
    "open_checkpoint",
    "public_record",
    "read_json",
    "refuse_unsafe_config",
    "resolve_commit",
]
