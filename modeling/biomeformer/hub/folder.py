"""Access to the files of a checkpoint folder, for cards and checks."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from ..checkpoints.integrity import WEIGHT_PATTERNS, weight_hashes
from ..errors import CheckpointError
from ..sinks import markdown_code

CONFIG, PREPROCESSING, RECORD, CARD = "config.json", "processor_config.json", "training_record.json", "README.md"


class CheckpointFolder:
    """Files of a checkpoint, read on first access.

    Args:
        path: The folder.

    Raises:
        CheckpointError: The folder has no `config.json`, or neither safetensors weights nor an estimator of skops.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / CONFIG).is_file():
            raise CheckpointError(f"{self.path} has no {CONFIG}, so it is not a checkpoint; give the folder of one.")
        if not self.weight_files:
            raise CheckpointError(
                f"{self.path} has no safetensors weights, and of other formats none but skops is published; save the "
                "model with save_pretrained."
            )

    def json(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file; empty if the file does not exist.

        Raises:
            CheckpointError: The file is not JSON.
        """
        try:
            values = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CheckpointError(f"{self.path / name} is not valid JSON ({error}); save the model again.") from error
        return values if isinstance(values, dict) else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of `config.json`."""
        return self.json(CONFIG)

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """Content of `processor_config.json`; empty if the file does not exist."""
        return self.json(PREPROCESSING)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Content of `training_record.json`; empty if the file does not exist."""
        return self.json(RECORD)

    @property
    def class_name(self) -> str:
        """Model class that the config names."""
        architectures = self.config.get("architectures") or [""]
        return str(architectures[0])

    @property
    def labels(self) -> list[str]:
        """Class names of a classifier, in the order of their ids."""
        return list(self.config.get("id2label", {}).values())

    @property
    def weight_files(self) -> list[Path]:
        """Weight files of the model itself."""
        return sorted(path for pattern in WEIGHT_PATTERNS for path in self.path.glob(pattern))

    @cached_property
    def sha256(self) -> dict[str, str]:
        """SHA-256 of each weight file, including those in subfolders, by relative path."""
        return weight_hashes(self.path)

    def weight_lines(self) -> dict[str, str]:
        """Return the rows of a card with size and SHA-256 of each weight file."""
        return {
            markdown_code(name): f"{(self.path / name).stat().st_size / 1e6:.1f} MB, SHA-256 `{digest}`"
            for name, digest in self.sha256.items()
        }


__all__ = ["CARD", "CONFIG", "PREPROCESSING", "RECORD", "CheckpointFolder"]
