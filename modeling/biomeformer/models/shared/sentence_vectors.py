"""Let sentence-transformers take a sequence's vector from a model that pools tokens itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Files of a checkpoint that sentence-transformers reads: its modules, and how the first one is called.
SENTENCE_TRANSFORMERS_FILES = ("modules.json", "sentence_bert_config.json")


def write_sentence_transformers_files(folder: Any, output: str) -> None:
    """Write the files by which sentence-transformers takes an output of `forward` as the vector of a sequence.

    Without them it averages token vectors, whatever pooling the model has.

    Args:
        folder: Folder of the checkpoint.
        output: Name of the output, `(n_sequences, hidden_size)`.
    """
    module = "sentence_transformers.base.modules.transformer.Transformer"
    contents: tuple[Any, ...] = (
        [{"idx": 0, "name": "0", "path": "", "type": module}],
        {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": output}},
            "module_output_name": "sentence_embedding",
        },
    )
    for name, content in zip(SENTENCE_TRANSFORMERS_FILES, contents, strict=True):
        Path(folder, name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


__all__ = ["SENTENCE_TRANSFORMERS_FILES", "write_sentence_transformers_files"]
