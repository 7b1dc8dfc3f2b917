"""Verify a checkpoint's files before loading: safetensors only, undamaged, and equal to what was published."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open
from transformers.utils import (
    ADAPTER_CONFIG_NAME,
    ADAPTER_SAFE_WEIGHTS_NAME,
    ADAPTER_WEIGHTS_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
)

from ..errors import CheckpointError, CheckpointNotFoundError, reason_of
from .source import (
    CONFIG,
    PROCESSOR,
    TOKENIZER,
    TOKENIZER_FILE,
    CheckpointSource,
    existing_file,
    read_json,
    refuse_unsafe_config,
)

CHECKSUMS = "SHA256SUMS"
# Of checkpoints whose weights are no tensors: estimators of scikit-learn, as skops writes them.
ESTIMATOR = "estimator.skops"
WEIGHT_PATTERNS = ("*.safetensors", "*.skops")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib", "*.distcp")
# transformers prefers a distributed checkpoint to the weights next to it, and its index is a pickle.
DISTRIBUTED_INDEX = ".metadata"
ADAPTER_FILES = (ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME, ADAPTER_WEIGHTS_NAME)
ENDS = (".safetensors", ".safetensors.index.json")
CHECKSUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")

Shapes = dict[str, tuple[int, ...]]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each weight file of a checkpoint, including those in subfolders, by relative path."""
    paths = (path for pattern in WEIGHT_PATTERNS for path in folder.rglob(pattern))
    files = sorted(path for path in paths if not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def checksums(hashes: Mapping[str, str]) -> str:
    """Format the content of a `SHA256SUMS` file, as `sha256sum --check` reads it.

    Args:
        hashes: SHA-256 by path, from `weight_hashes`.
    """
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def parse_checksums(text: str, where: str) -> dict[str, str]:
    """Parse a `SHA256SUMS` file, as `sha256sum` writes it in text or binary mode.

    Args:
        text: Content of the file.
        where: Name of the file, for messages.

    Returns:
        SHA-256 by path.

    Raises:
        CheckpointError: The file is empty, a line is malformed, or a file has two checksums.
    """
    digests: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not line.strip():
            continue
        match = CHECKSUM_LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            raise CheckpointError(f"{where}, line {number} is no SHA-256 and file name; fetch the checkpoint again.")
        name, digest = PurePosixPath(match[2]).as_posix(), match[1].lower()
        if digests.setdefault(name, digest) != digest:
            raise CheckpointError(f"{where} names {name} twice, with two checksums; fetch the checkpoint again.")
    if not digests:
        raise CheckpointError(
            f"{where} is empty; fetch the checkpoint again, or delete it if nothing is to be verified."
        )
    return digests


def weight_files(source: CheckpointSource, variant: str | None = None) -> list[str]:
    """Return the names of the files whose weights are loaded.

    Args:
        source: The checkpoint.
        variant: Variant of the weights, as in `from_pretrained`.

    Raises:
        CheckpointNotFoundError: The checkpoint has no weights as safetensors.
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
        _refuse_link_out(source, file, shard)
    if not files:
        raise CheckpointError(f"{file} names no weights; fetch the checkpoint again.")
    return files


def _is_inside(name: str) -> bool:
    """Tell whether a file name from a checkpoint cannot lead out of it, on any operating system."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in name


def _refuse_link_out(source: CheckpointSource, index: Path, name: str) -> None:
    """Refuse a file of a local checkpoint that is, or lies behind, a link to outside of the checkpoint.

    In the cache of the Hub's client, files are links to `blobs` beside `snapshots`, which are the checkpoint's own.

    Raises:
        CheckpointError: It is such a link.
    """
    if source.folder is None:
        return
    path, root = (source.folder / name).resolve(), Path(source.path).resolve()
    repository = next((parent.parent for parent in (root, *root.parents) if parent.name == "snapshots"), None)
    own = [root] if repository is None else [root, repository / "blobs"]
    if not any(path.is_relative_to(folder) for folder in own):
        raise CheckpointError(
            f"{index} names {name!r}, which is a link to {path}, outside of the checkpoint; put the file itself there."
        )


def _no_weights(source: CheckpointSource, name: str) -> CheckpointNotFoundError:
    """Return the error of a checkpoint without the weight file `name`; of a pickle it says how to convert it."""
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
    """Read the shape of each weight from the headers of the files; no weight is loaded.

    Args:
        source: The checkpoint.
        names: Names of its weight files.

    Returns:
        Shape by name of the weight.

    Raises:
        CheckpointNotFoundError: A file is missing.
        CheckpointError: A file is damaged or not a safetensors file.
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
            reason = reason_of(error, None)
            raise CheckpointError(
                f"{file} is damaged or no safetensors file ({reason}); fetch the checkpoint again."
            ) from error
    return shapes


def verify_checksums(source: CheckpointSource, names: list[str]) -> bool:
    """Compare weight files with `SHA256SUMS`, if the checkpoint, or the checkpoint it is a part of, has that file.

    Args:
        source: The checkpoint.
        names: Names of its weight files.

    Returns:
        Whether there is a `SHA256SUMS`.

    Raises:
        CheckpointError: A file differs from its checksum, or has none.
    """
    sums, part = checksum_file(source)
    if sums is None:
        return False
    where = f"{CHECKSUMS} of {source.name.removesuffix(f'/{part}'.rstrip('/')) if part else source.name}"
    digests = parse_checksums(sums.read_text(encoding="utf-8", errors="replace"), where)
    own_digests = {path.removeprefix(part): digest for path, digest in digests.items() if path.startswith(part)}
    for name in names:
        if name not in own_digests:
            raise CheckpointError(
                f"{where} does not name {part}{name}, whose weights would be loaded unverified; "
                f"fetch the checkpoint again, or delete {CHECKSUMS} if you added them yourself."
            )
    for name, digest in own_digests.items():
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
    """Find the `SHA256SUMS` of a checkpoint, which for a part of another checkpoint is the other's.

    Returns:
        Path of the file, or None; and the prefix, with a slash, of the checkpoint's paths within it.

    Raises:
        CheckpointError: There is one that cannot be read, so that nothing could be verified.
    """
    own = source.file(CHECKSUMS, required=True)
    if own is not None:
        return own, ""
    if source.subfolder:
        return source.file(CHECKSUMS, subfolder="", required=True), f"{source.subfolder}/"
    parent = None if source.folder is None else source.folder.absolute().parent
    if parent is not None and source.folder is not None and (parent / CONFIG).is_file():
        # A part of a checkpoint, such as its protein encoder, opened by its own folder.
        return existing_file(parent / CHECKSUMS), f"{source.folder.absolute().name}/"
    return None, ""


def verify_files(source: CheckpointSource, *, variant: str | None = None, with_adapter: bool = False) -> Shapes:
    """Verify a checkpoint's files before any of them is loaded.

    Args:
        source: The checkpoint.
        variant: Variant of the weights, as in `from_pretrained`.
        with_adapter: Whether an adapter next to the weights is to be loaded too.

    Returns:
        Shape of each weight, by its name.

    Raises:
        CheckpointNotFoundError: A file is missing.
        CheckpointError: A config asks for foreign code; weights are damaged, pickled, or differ from their checksums;
            or there is an adapter that was not asked for.
    """
    for name in (PROCESSOR, TOKENIZER):
        file = source.file(name)
        if file is not None:
            refuse_unsafe_config(read_json(file), f"{source.name}: {name}")
    tokenizer = source.file(TOKENIZER_FILE)
    if tokenizer is not None:
        # Of a key that stands twice, libraries take one or the other.
        read_json(tokenizer)
    names = weight_files(source, variant)
    if source.folder is not None and (source.folder / DISTRIBUTED_INDEX).exists():
        raise CheckpointError(
            f"{source.folder} holds a distributed checkpoint ({DISTRIBUTED_INDEX}), whose index is a pickle, beside "
            "its weights; remove it."
        )
    adapter = None if with_adapter else _adapter_file(source)
    if adapter is not None:
        raise CheckpointError(
            f"{source.name} has an adapter ({adapter}) beside its weights, which would change them; remove it, or ask "
            "for it with adapter_name."
        )
    shapes = read_shapes(source, names)
    verify_checksums(source, names)
    return shapes


def _adapter_file(source: CheckpointSource) -> str | None:
    """Return the name of a file of an adapter beside the weights; None if there is none."""
    if source.folder is not None:
        return min((path.name for path in source.folder.glob("adapter_*")), default=None)
    return next((name for name in ADAPTER_FILES if source.file(name) is not None), None)


__all__ = [
    "CHECKSUMS",
    "ESTIMATOR",
    "PICKLES",
    "WEIGHT_PATTERNS",
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
