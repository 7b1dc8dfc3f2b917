"""Estimators of scikit-learn as files of a checkpoint, written by skops and never as a pickle.

skops rebuilds objects only of types that it was told to trust, and runs no code of the file. What it cannot know is
whether the node tables of trees lead out of the tree, where compiled code would read foreign memory; that is checked
here before anything is predicted.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, CheckpointNotFoundError, reason_of
from ..io.atomic import atomic_write
from ..io.limits import EXPANDED_BYTES, MAX_RATIO, RATIO_FLOOR, expands_too_far
from .integrity import ESTIMATOR, verify_checksums
from .source import CheckpointSource

SCHEMA = "schema.json"
# Beside the estimators of scikit-learn and NumPy's arrays, which skops trusts by itself.
TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)


def write_estimator(folder: Path, estimator: Any) -> Path:
    """Write a fitted estimator, or a container of several, to a checkpoint folder; return the file's path."""
    from skops.io import dumps

    path = folder / ESTIMATOR
    with atomic_write(path) as partial:
        partial.write_bytes(_reproducible(dumps(estimator)))
    return path


def _reproducible(content: bytes) -> bytes:
    """Return an archive of skops without what differs from process to process: times and addresses in memory.

    Objects are known by their addresses, which also name the files of arrays; here they are numbered instead.
    """
    numbers: dict[Any, int] = {}
    names: dict[str, str] = {}

    def renumber(value: Any) -> Any:
        if isinstance(value, list):
            return [renumber(item) for item in value]
        if not isinstance(value, dict):
            return value
        changed = {key: renumber(item) for key, item in value.items()}
        if "__id__" in value:
            # Which numbers and short texts are one object in memory is chance.
            key = object() if value.get("__loader__") == "JsonNode" else value["__id__"]
            changed["__id__"] = numbers.setdefault(key, len(numbers))
        if isinstance(value.get("file"), str):
            old = value["file"]
            changed["file"] = names.setdefault(old, f"{len(names)}{Path(old).suffix}")
        return changed

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w") as written:
        schema = renumber(json.loads(archive.read(SCHEMA)))
        contents = {names[name]: archive.read(name) for name in names} | {SCHEMA: json.dumps(schema).encode()}
        for name, data in contents.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            written.writestr(member, data)
    return buffer.getvalue()


def load_estimator(source: CheckpointSource, trusted: Collection[str] = ()) -> Any:
    """Load what `write_estimator` wrote, after its checksum in `SHA256SUMS`, if there is one, was verified.

    Args:
        source: The checkpoint.
        trusted: Names of further types that the file may hold.

    Raises:
        CheckpointNotFoundError: The checkpoint has no estimator.
        CheckpointError: The file differs from its checksum, is damaged, holds a type that is not trusted, expands too
            far, or has a tree whose nodes lead out of it.
    """
    from skops.io import get_untrusted_types, load

    file = source.file(ESTIMATOR, required=True)
    if file is None:
        raise CheckpointNotFoundError(f"{source.name} has no {ESTIMATOR}; fetch the checkpoint again.")
    verify_checksums(source, [ESTIMATOR])
    allowed = sorted({*TRUSTED, *trusted})
    try:
        _check_size(file)
        unknown = sorted(set(get_untrusted_types(file=file)) - set(allowed))
        if unknown:
            raise CheckpointError(
                f"{file} holds objects of types that no predictor of this package has ({', '.join(unknown[:3])}), so "
                "nothing of it was loaded; do not use it, or ask its maker for a file without them."
            )
        estimator = load(file, trusted=allowed)
        _check_trees(estimator)
    except CheckpointError:
        raise
    # A damaged file makes skops, zipfile, NumPy or scikit-learn raise any exception.
    except Exception as error:
        reason = reason_of(error, 200)
        raise CheckpointError(
            f"{file} is damaged or no skops file of estimators ({reason}); fetch the checkpoint again."
        ) from error
    return estimator


def estimators_in(value: Any) -> Iterator[Any]:
    """Yield the estimators in nested containers, pipelines and ensembles."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from estimators_in(item)
    elif hasattr(value, "steps"):
        yield from estimators_in([step for _, step in value.steps])
    elif hasattr(value, "get_params"):
        yield value
        yield from estimators_in(getattr(value, "estimators_", []))


def _check_size(file: Path) -> None:
    """Refuse an archive that expands too far, before it is read."""
    with zipfile.ZipFile(file) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    limit = EXPANDED_BYTES.get()
    if n_bytes > limit or (n_bytes > RATIO_FLOOR and n_bytes > MAX_RATIO * file.stat().st_size):
        raise CheckpointError(f"{file}: {expands_too_far(n_bytes, limit)}.")


def _check_trees(value: Any) -> None:
    """Check that the nodes of all trees lead to later nodes of the tree and ask for features that there are.

    Raises:
        ValueError: They do not.
    """
    for estimator in estimators_in(value):
        n_features = int(getattr(estimator, "n_features_in_", 0))
        tree = getattr(estimator, "tree_", None)
        if tree is not None:
            # Before its arrays are looked at, which are as long as it says.
            if not 0 < tree.node_count == tree.capacity:
                raise ValueError("a tree has another number of nodes than it says")
            is_leaf = tree.children_left == -1
            _check_nodes(is_leaf, tree.children_left, tree.children_right, tree.feature, n_features)
        for stage in getattr(estimator, "_predictors", []):
            for predictor in stage:
                nodes = predictor.nodes
                if not len(nodes) or nodes["is_categorical"].any():
                    raise ValueError("a tree has no nodes, or categories")
                _check_nodes(nodes["is_leaf"] == 1, nodes["left"], nodes["right"], nodes["feature_idx"], n_features)


def _check_nodes(is_leaf: np.ndarray, left: np.ndarray, right: np.ndarray, feature: np.ndarray, n: int) -> None:
    """Check the node tables of one tree, `(n_nodes,)` each, of `n` features."""
    numbers = np.arange(len(is_leaf))
    for child in (left, right):
        child = child.astype(np.int64)
        if ((child <= numbers) | (child >= len(numbers)))[~is_leaf].any():
            raise ValueError("a node of a tree leads to none after it")
    used = feature[~is_leaf].astype(np.int64)
    if ((used < 0) | (used >= n)).any():
        raise ValueError("a node of a tree asks for a feature that there is not")


__all__ = ["ESTIMATOR", "TRUSTED", "estimators_in", "load_estimator", "write_estimator"]
