"""Windows of long reads, with a model that was fitted on reads as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checkpoints.admission import require_admitted
from ..errors import InputError
from ..models.metagenbert import MetagenBertModel
from .sample import require_processor


def use_windows(model: MetagenBertModel, max_length: int | None = None) -> None:
    """Let a model cut reads of more than `max_length` tokens into windows, each counted by itself, in place.

    The preprocessing config in the provenance of tables says so, so that they join only tables of the same windows.

    Args:
        model: Model with its processor.
        max_length: Length of a window in tokens, special ones included; by default that of the preprocessing config.

    Raises:
        InputError: There is no length, it is more than the encoder takes, or the scale of vectors depends on it.
    """
    processor = require_processor(model)
    length = processor.max_length if max_length is None else max_length
    if length is None:
        raise InputError(
            "the checkpoint's preprocessing config has no max_length, so windows have no length; give one in tokens "
            "(--max-length)."
        )
    if processor.pooling == "mean_over_max_length" and length != processor.max_length:
        raise InputError(
            f"the checkpoint's vectors are sums over max_length {processor.max_length}, which {length} would rescale; "
            "leave it out."
        )
    try:
        windowed = processor.replace(truncation="windows", max_length=length)
    except ValueError as error:
        raise InputError(str(error)) from error
    require_admitted(model.encoder, windowed)
    model.processor, model.config.max_length = windowed, length


def adopt_windows(model: MetagenBertModel, provenance: Mapping[str, Any]) -> None:
    """Let a model cut reads into the windows of a table that was embedded with it, if the table has windows, in place.

    Args:
        model: Model with its processor.
        provenance: Provenance of the table.

    Raises:
        InputError: As for `use_windows`.
    """
    preprocessing = provenance.get("contract") or {}
    if preprocessing.get("truncation") == "windows":
        use_windows(model, preprocessing.get("max_length"))


__all__ = ["adopt_windows", "use_windows"]
