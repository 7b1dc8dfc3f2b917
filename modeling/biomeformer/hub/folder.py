"""A checkpoint's folder, as cards and checks read it."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from ..checkpoints.integrity import weight_hashes
from ..errors import CheckpointError

CONFIG, CONTRACT, RECORD, CARD = "config.json", "processor_config.json", "training_record.json", "README.md"


class CheckpointFolder:
    """Files of a checkpoint, read when asked for.

    Args:
        path: The folder.

    Raises:
        CheckpointError: It has no `config.json`, or no weights as safetensors.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / CONFIG).is_file():
            raise CheckpointError(f"{self.path} has no {CONFIG}, so it is no checkpoint; give the folder of one.")
        if not self.weight_files:
            raise CheckpointError(
                f"{self.path} has no model.safetensors, and no other kind of weights is published; save the model with "
                "save_pretrained."
            )

    def json(self, name: str) -> dict[str, Any]:
        """What a JSON file of it holds; empty where there is none.

        Raises:
            CheckpointError: It is not JSON.
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
        """What `config.json` holds."""
        return self.json(CONFIG)

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """What `processor_config.json` holds; empty where there is none."""
        return self.json(CONTRACT)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What `training_record.json` holds; empty where there is none."""
        return self.json(RECORD)

    @property
    def class_name(self) -> str:
        """Class of the model."""
        found = self.config.get("architectures") or [""]
        return str(found[0])

    @property
    def labels(self) -> list[str]:
        """Names of what a classifier tells."""
        return list(self.config.get("id2label", {}).values())

    @property
    def weight_files(self) -> list[Path]:
        """Files with weights of the model itself."""
        return sorted(self.path.glob("*.safetensors"))

    @cached_property
    def sha256(self) -> dict[str, str]:
        """SHA-256 of each file with weights, those in folders within too, by path."""
        return weight_hashes(self.path)

    def weight_lines(self) -> dict[str, str]:
        """Size and SHA-256 of each file with weights, for a card."""
        return {
            f"`{name}`": f"{(self.path / name).stat().st_size / 1e6:.1f} MB, SHA-256 `{digest}`"
            for name, digest in self.sha256.items()
        }


__all__ = ["CARD", "CONFIG", "CONTRACT", "RECORD", "CheckpointFolder"]
