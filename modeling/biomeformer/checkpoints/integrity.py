"""Whether a checkpoint's weights are whole, plain numbers, and those that were published."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open
from transformers.utils import ADAPTER_CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ..errors import CheckpointError, CheckpointNotFoundError
from .source import CONFIG, PROCESSOR, TOKENIZER, CheckpointSource, read_json, refuse_unsafe_config

CHECKSUMS = "SHA256SUMS"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib", "*.distcp")
# transformers prefers a distributed checkpoint beside the weights, whose index is a pickle.
DISTRIBUTED_INDEX = ".metadata"
ENDS = (".safetensors", ".safetensors.index.json")
CHECKSUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")

Shapes = dict[str, tuple[int, ...]]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file with weights of a checkpoint, those in folders within too, by path."""
    files = sorted(path for path in folder.rglob("*.safetensors") if not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def checksums(hashes: Mapping[str, str]) -> str:
    """Write what `SHA256SUMS` holds, as `sha256sum --check` reads it.

    Args:
        hashes: What `weight_hashes` gave.
    """
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def parse_checksums(text: str, where: str) -> dict[str, str]:
    """Read a `SHA256SUMS`: digests by path, as `sha256sum` writes them in text or binary mode.

    Raises:
        CheckpointError: It is empty, or a line is malformed.
    """
    digests: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = CHECKSUM_LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            raise CheckpointError(f"{where}, line {number} is no SHA-256 and file name; fetch the checkpoint again.")
        digests[PurePosixPath(match[2]).as_posix()] = match[1].lower()
    if not digests:
        raise CheckpointError(
            f"{where} is empty; fetch the checkpoint again, or delete it if nothing is to be verified."
        )
    return digests


def weight_files(source: CheckpointSource, variant: str | None = None) -> list[str]:
    """Return the names of the files whose weights are loaded.

    Args:
        source: The checkpoint.
        variant: Of the weights, as `from_pretrained` takes it.

    Raises:
        CheckpointNotFoundError: It has no weights as safetensors.
        CheckpointError: An index or the config names a file outside the checkpoint.
    """
    name, index = source.config.get("transformers_weights"), SAFE_WEIGHTS_INDEX_NAME
    if name is not None and (not str(name).endswith(".safetensors") or not _is_inside(str(name))):
        raise CheckpointError(
            f"{source.name}: {CONFIG} names {name!r} as its weights, which is no safetensors file beside it; fetch the "
            "checkpoint again."
        )
    names = [str(name or SAFE_WEIGHTS_NAME), index]
    if variant is not None:
        names = [f"{each.removesuffix(end)}.{variant}{end}" for each, end in zip(names, ENDS, strict=True)]
    if source.file(names[0]) is not None:
        return names[:1]
    file = source.file(names[1])
    if name is not None or file is None:
        raise _no_weights(source, names[0])
    weight_map = read_json(file).get("weight_map")
    files = sorted({str(shard) for shard in weight_map.values()}) if isinstance(weight_map, dict) else []
    for shard in files:
        if not shard.endswith(".safetensors") or not _is_inside(shard):
            raise CheckpointError(
                f"{file} names {shard!r}, which is no safetensors file beside it; fetch the checkpoint again."
            )
    if not files:
        raise CheckpointError(f"{file} names no weights; fetch the checkpoint again.")
    return files


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in name


def _no_weights(source: CheckpointSource, name: str) -> CheckpointNotFoundError:
    folder = source.folder
    if folder is None:
        return CheckpointNotFoundError(
            f"{source.name} has no weights as safetensors, and a pickle is never loaded; ask its makers for them, or "
            f"convert a DNABERT-2 checkpoint once with: biomeformer convert {source.name} FOLDER"
        )
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        return CheckpointNotFoundError(
            f"{folder} holds its weights as a pickle ({pickles[0]}) and no safetensors, and a pickle is never loaded; "
            f"convert a DNABERT-2 checkpoint once with: biomeformer convert {folder} {folder}-safetensors"
        )
    return CheckpointNotFoundError(f"{folder} has no {name}, so it has no weights; fetch the checkpoint again.")


def read_shapes(source: CheckpointSource, names: list[str]) -> Shapes:
    """Return the shape of each weight, by its name, from the files' headers.

    Raises:
        CheckpointNotFoundError: A file is missing.
        CheckpointError: A file is damaged or no safetensors file.
    """
    shapes: Shapes = {}
    for name in names:
        file = source.file(name)
        if file is None:
            raise CheckpointNotFoundError(f"{source.name} has no {name}; fetch the checkpoint again.")
        try:
            with safe_open(file, "pt") as weights:
                shapes |= {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}
        except (SafetensorError, OSError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{file} is damaged or no safetensors file ({reason}); fetch the checkpoint again."
            ) from error
    return shapes


def verify_checksums(source: CheckpointSource, names: list[str]) -> bool:
    """Compare weights with `SHA256SUMS`, where the checkpoint, or the one that it is a part of, has that file.

    Args:
        source: The checkpoint.
        names: Of the files with weights.

    Returns:
        Whether there is such a file.

    Raises:
        CheckpointError: A file is not the one named, or is not named at all.
    """
    sums, part = checksum_file(source)
    if sums is None:
        return False
    where = f"{CHECKSUMS} of {source.name.removesuffix(f'/{part}'.rstrip('/')) if part else source.name}"
    digests = parse_checksums(sums.read_text(encoding="utf-8", errors="replace"), where)
    here = {path.removeprefix(part): digest for path, digest in digests.items() if path.startswith(part)}
    for name in names:
        if name not in here:
            raise CheckpointError(
                f"{where} does not name {part}{name}, whose weights would be loaded unverified; "
                f"fetch the checkpoint again, or delete {CHECKSUMS} if you added them yourself."
            )
    for name, digest in here.items():
        # Weights of a part, such as a protein encoder, are verified where that part is loaded.
        file = None if "/" in name and name not in names else source.file(name)
        if file is not None and (actual := hash_file(file)) != digest:
            raise CheckpointError(
                f"{file} is not the file that {where} names (SHA-256 {actual[:12]}…, not "
                f"{digest[:12]}…): it was damaged or changed; fetch the checkpoint again, or delete {CHECKSUMS} if you "
                "changed the weights yourself."
            )
    return True


def checksum_file(source: CheckpointSource) -> tuple[Path | None, str]:
    """Return `SHA256SUMS` and the folder, with a slash, that its paths begin with for this checkpoint."""
    own = source.file(CHECKSUMS)
    if own is not None:
        return own, ""
    if source.subfolder:
        return source.file(CHECKSUMS, subfolder=""), f"{source.subfolder}/"
    parent = None if source.folder is None else source.folder.absolute().parent
    if parent is not None and source.folder is not None and (parent / CONFIG).is_file():
        # A part of a checkpoint that was named by its own folder.
        sums = parent / CHECKSUMS
        return (sums if sums.is_file() else None), f"{source.folder.absolute().name}/"
    return None, ""


def verify_files(source: CheckpointSource, *, variant: str | None = None, with_adapter: bool = False) -> Shapes:
    """Verify a checkpoint's files before anything of it is loaded.

    Args:
        source: The checkpoint.
        variant: Of the weights, as `from_pretrained` takes it.
        with_adapter: Whether an adapter beside the weights is to be loaded with them.

    Returns:
        Shapes of the weights, by their names.

    Raises:
        CheckpointNotFoundError: A file is missing.
        CheckpointError: A config asks for foreign code, weights are damaged, pickled, or not those that were
            published, or an adapter lies beside them that nobody asked for.
    """
    for name in (PROCESSOR, TOKENIZER):
        file = source.file(name)
        if file is not None:
            refuse_unsafe_config(read_json(file), f"{source.name}: {name}")
    names = weight_files(source, variant)
    if source.folder is not None and (source.folder / DISTRIBUTED_INDEX).exists():
        raise CheckpointError(
            f"{source.folder} holds a distributed checkpoint ({DISTRIBUTED_INDEX}), whose index is a pickle, beside "
            "its weights; remove it."
        )
    if not with_adapter and source.file(ADAPTER_CONFIG_NAME) is not None:
        raise CheckpointError(
            f"{source.name} has an adapter ({ADAPTER_CONFIG_NAME}) beside its weights, which would change them; remove "
            "it, or ask for it with adapter_name."
        )
    shapes = read_shapes(source, names)
    verify_checksums(source, names)
    return shapes


__all__ = [
    "CHECKSUMS",
    "PICKLES",
    "Shapes",
    "checksum_file",
    "checksums",
    "hash_file",
    "parse_checksums",
    "read_shapes",
    "verify_checksums",
    "verify_files",
    "weight_files",
    "weight_hashes",
]
