"""A reference to a checkpoint, for pipelines that load their models themselves."""

from __future__ import annotations

from typing import Any


class CheckpointReference:
    """A reference to a checkpoint that a pipeline is to load; it stands in for the model's class in transformers.

    If `transformers.pipeline` loaded the model, it would retry a failed loading in float32, and then raise an error
    made of the tracebacks of all attempts.

    Args:
        name: Folder, Hub id, or name of a checkpoint that ships in the package.
        **options: Options of `from_pretrained`.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> CheckpointReference:
        """Return the reference; `transformers.pipeline` calls this to load a model."""
        return cls(name, **options)


__all__ = ["CheckpointReference"]
