"""Import the suites, with stand-ins for the modules that the source distribution lacks."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from functools import cache
from typing import Any

from biomeformer.registration import MODELS

from .download import suites

PACKAGE = "transformers_tests"
# Values that `ConfigTester` gives to every config and reads back; its own list is not part of the distribution.
CONFIG_VALUES: dict[str, Any] = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["BertModel"],
    "id2label": {0: "label"},
    "label2id": {"label": "0"},
    "problem_type": "regression",
}


STAND_INS: dict[str, dict[str, Any]] = {
    f"{PACKAGE}.exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    f"{PACKAGE}.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    f"{PACKAGE}.utils.test_configuration_utils": {"config_common_kwargs": CONFIG_VALUES},
    # Maps addresses of images and videos to local copies; the package has no such inputs.
    "fetch_hub_objects_for_ci": {"url_to_local_path": lambda url, *_: url},
}
# Which Auto class a table of names in the suite of models belongs to.
NAME_TABLES = {
    "MODEL_MAPPING_NAMES": "AutoModel",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "AutoModelForMaskedLM",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "AutoModelForSequenceClassification",
}


@cache
def suite(name: str) -> types.ModuleType:
    """Import a module of the suites, such as `test_modeling_common`."""
    if PACKAGE not in sys.modules:
        folder = suites()
        spec = importlib.util.spec_from_loader(PACKAGE, loader=None, is_package=True)
        assert spec is not None
        package = importlib.util.module_from_spec(spec)
        package.__path__ = [str(folder)]
        sys.modules[PACKAGE] = package
        # Imported by suites that mean transformers itself, which is imported already.
        (folder / "__init__.py").touch()
        (folder.parent / "src/transformers").mkdir(parents=True, exist_ok=True)
        (folder.parent / "src/transformers/__init__.py").touch()
        for module_name, contents in STAND_INS.items():
            parent = module_name.rpartition(".")[0]
            if parent and parent not in sys.modules:
                sys.modules[parent] = types.ModuleType(parent)
            module = sys.modules[module_name] = types.ModuleType(module_name)
            vars(module).update(contents)
    module = importlib.import_module(f"{PACKAGE}.{name}")
    for table, auto_class in NAME_TABLES.items():
        if hasattr(module, table):
            own = {
                model_type: classes[auto_class].rpartition(".")[2]
                for model_type, classes in MODELS.items()
                if auto_class in classes
            }
            # Some tests run only for the classes named in these tables, whatever is registered.
            setattr(module, table, {**getattr(module, table), **own})
    return module
