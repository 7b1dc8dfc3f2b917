"""Export a model's code beside its weights, so that the checkpoint loads without the package.

`AutoModel.from_pretrained(id, trust_remote_code=True)` reads `auto_map` in `config.json`, fetches the file that it
names and the files which that one imports by relative imports. With the package imported, the same checkpoint loads as
the package's own class.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PROCESSOR_MAPPING,
)
from transformers.dynamic_module_utils import get_relative_import_files
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name
from transformers.utils import CONFIG_NAME, PROCESSOR_NAME

from ..checkpoints import FOLDER, resolve_checkpoint
from ..errors import CheckpointError, InputError
from ..io.atomic import atomic_write
from ..models.dnabert2 import DnaBert2Config
from ..models.genome_transformer import GenomeTransformerConfig
from ..models.kmer_encoder import KmerEncoderConfig
from ..models.metagenbert import MetagenBertConfig
from ..models.sequence_cnn import SequenceCnnConfig
from ..version import __version__

TOKENIZER_CONFIG = "tokenizer_config.json"
MODELS = {
    "AutoModel": MODEL_MAPPING,
    "AutoModelForMaskedLM": MODEL_FOR_MASKED_LM_MAPPING,
    "AutoModelForSequenceClassification": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
}
CONFIGS = (DnaBert2Config, GenomeTransformerConfig, KmerEncoderConfig, MetagenBertConfig, SequenceCnnConfig)
EXPORTED = "# Exported from biomeformer"
READ_ENCODER = "read_encoder"
IMPORT_READ_ENCODER = f"""
# The read encoder's code came with the checkpoint too.
from .{READ_ENCODER} import READ_ENCODERS  # noqa: E402
"""
READ_ENCODER_CODE = '''"""The read encoder of this checkpoint, for `configuration_metagenbert`."""

from transformers import AutoModel

{imports}

READ_ENCODERS = {{{config}.model_type: {config}}}
AutoModel.register({config}, {model}, exist_ok=True)
'''


@dataclass
class RemoteCode:
    """Files that a checkpoint needs to load without the package.

    Attributes:
        files: Text of each Python file, by file name.
        auto_maps: The `auto_map` of each JSON file, by file name: class references by Auto class.
    """

    files: dict[str, str] = field(default_factory=dict)
    auto_maps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def exported(self) -> dict[str, str]:
        """Return the text of each exported Python file by name, with a header that names its origin."""
        header = f"{EXPORTED} {__version__} (https://www.apache.org/licenses/LICENSE-2.0).\n"
        return {name: header + text for name, text in sorted(self.files.items())}

    def add(self, cls: type) -> str:
        """Add the file of a class and the files it imports, and return the reference `module.Class`."""
        file = Path(str(sys.modules[cls.__module__].__file__))
        for path in (file, *map(Path, get_relative_import_files(file))):
            self.files.setdefault(path.name, path.read_text(encoding="utf-8"))
        return f"{file.stem}.{cls.__name__}"

    def add_read_encoder(self, config_class: type, container: type) -> None:
        """Add a read encoder of the package to the code of the model that contains it.

        Its `model_type` is not registered with transformers, which would then load every checkpoint of that type with
        the code of this one.

        Args:
            config_class: Config class of the read encoder.
            container: Config class whose `encoder_config` it is.
        """
        model_class = MODEL_MAPPING[config_class]
        imports = []
        for cls in (config_class, model_class):
            module, name = self.add(cls).split(".")
            imports.append(f"from .{module} import {name}")
        self.files[f"{READ_ENCODER}.py"] = READ_ENCODER_CODE.format(
            imports="\n".join(imports), config=config_class.__name__, model=model_class.__name__
        )
        self.files[f"{container.__module__.split('.')[-1]}.py"] += IMPORT_READ_ENCODER


def export_remote_code(checkpoint: str | Path, output: str | Path | None = None) -> list[Path]:
    """Add the model's code to a checkpoint, so that `trust_remote_code=True` loads it without the package.

    Weights do not change, and exporting twice gives the same files. `auto_map` names all Auto classes of the model
    type, so that a base model can be fine-tuned with a new classifier.

    Args:
        checkpoint: Folder of a checkpoint of one of the package's models, or, with `output`, the name of a shipped one.
        output: Folder for a copy of the checkpoint; by default the files are added to the checkpoint itself.

    Returns:
        Paths of the files written: Python files, then the JSON files that name their classes.

    Raises:
        CheckpointError: The folder holds no checkpoint.
        InputError: The model is not one of the package's, or `output` contains other files.
    """
    source = Path(resolve_checkpoint(str(checkpoint)))
    code = remote_code(source)
    folder = source if output is None else Path(output)
    if folder.resolve().is_relative_to(FOLDER.resolve()):
        raise InputError(f"{folder} lies in the package, which is not changed; give another folder as output.")
    if folder.resolve() != source.resolve():
        _copy(source, folder)
    written = [_write(folder / name, text) for name, text in code.exported().items()]
    for name, auto_map in code.auto_maps.items():
        # Keys are sorted, as transformers writes them; labels within stay in the order of their ids.
        content = dict(sorted({**_read_json(folder / name), "auto_map": auto_map}.items()))
        written.append(_write(folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n"))
    return written


def exported_files(folder: str | Path) -> dict[str, str]:
    """Return the text of each Python file that `export_remote_code` would write, by name; raises the same errors."""
    return remote_code(Path(folder)).exported()


def remote_code(folder: Path) -> RemoteCode:
    """Collect the files that a checkpoint needs to load without the package.

    Args:
        folder: Folder of the checkpoint.

    Raises:
        CheckpointError: The folder holds no checkpoint.
        InputError: The model, or the read encoder in it, belongs to neither the package nor transformers.
    """
    config = _read_json(folder / CONFIG_NAME)
    config_class = next((known for known in CONFIGS if known.model_type == config.get("model_type")), None)
    models = {auto: mapping[config_class] for auto, mapping in MODELS.items() if config_class in mapping}
    architecture = (config.get("architectures") or [None])[0]
    if config_class is None or architecture not in (None, *(cls.__name__ for cls in models.values())):
        known = sorted({m[c].__name__ for c in CONFIGS for m in MODELS.values() if c in m})
        raise InputError(
            f"{folder} is a checkpoint of {architecture or config.get('model_type')}, whose code is not the package's "
            f"to export; give one of {', '.join(known)}."
        )
    code = RemoteCode()
    code.auto_maps[CONFIG_NAME] = {
        "AutoConfig": code.add(config_class),
        **{auto: code.add(cls) for auto, cls in models.items()},
    }
    if config_class in PROCESSOR_MAPPING and (folder / PROCESSOR_NAME).is_file():
        code.auto_maps[PROCESSOR_NAME] = {"AutoProcessor": code.add(PROCESSOR_MAPPING[config_class])}
    if (folder / TOKENIZER_CONFIG).is_file():
        tokenizer = tokenizer_class_from_name(_read_json(folder / TOKENIZER_CONFIG).get("tokenizer_class") or "")
        if tokenizer is not None and _is_ours(tokenizer):
            # The second entry would be a fast tokenizer class.
            code.auto_maps[TOKENIZER_CONFIG] = {"AutoTokenizer": [code.add(tokenizer), None]}
    if (encoder := config.get("encoder_config")) is not None:
        model_type = encoder.get("model_type")
        if model_type not in CONFIG_MAPPING:
            raise InputError(
                f"{folder / CONFIG_NAME}: the read encoder is a {model_type} model, which neither transformers nor the "
                "package knows, so its code cannot be exported; give a checkpoint with another encoder."
            )
        encoder_class = CONFIG_MAPPING[model_type]
        if _is_ours(encoder_class):
            code.add_read_encoder(encoder_class, config_class)
    return code


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("biomeformer.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); give the folder of a checkpoint, with its {path.name}."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); fetch the checkpoint again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object; fetch the checkpoint again.")
    return content


def _write(path: Path, text: str) -> Path:
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return path


def _copy(source: Path, folder: Path) -> None:
    """Copy a checkpoint into a folder that is new, empty, or an earlier copy of it."""
    if folder.resolve().is_relative_to(source.resolve()) or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is a file or lies within {source}; give another folder as output.")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not (source / path.relative_to(folder)).is_file() and not _is_exported(path):
            raise InputError(
                f"{folder} holds {path.relative_to(folder)}, which is not of the checkpoint {source}; give an empty "
                "folder as output."
            )
    shutil.copytree(source, folder, dirs_exist_ok=True)


def _is_exported(path: Path) -> bool:
    return path.suffix == ".py" and path.read_text(encoding="utf-8", errors="replace").startswith(EXPORTED)


__all__ = ["RemoteCode", "export_remote_code", "exported_files", "remote_code"]
