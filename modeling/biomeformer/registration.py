"""Registration of the package's models and pipelines with transformers.

Registering imports neither transformers nor torch: post-import hooks fill transformers' registries when its modules are
imported (immediately if they already are). Classes are registered as references and imported on first use. This is also
necessary: the hooks run during transformers' own imports, when modules that a model needs may be partially loaded.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from wrapt import ObjectProxy, register_post_import_hook, wrap_function_wrapper

# Classes by model type and Auto class.
MODELS: dict[str, dict[str, str]] = {
    "dnabert2": {
        "AutoConfig": "biomeformer.models.dnabert2.DnaBert2Config",
        "AutoModel": "biomeformer.models.dnabert2.DnaBert2Model",
        "AutoModelForMaskedLM": "biomeformer.models.dnabert2.DnaBert2ForMaskedLM",
        "AutoModelForSequenceClassification": "biomeformer.models.dnabert2.DnaBert2ForSequenceClassification",
    },
    "genome_transformer": {
        "AutoConfig": "biomeformer.models.genome_transformer.GenomeTransformerConfig",
        "AutoModel": "biomeformer.models.genome_transformer.GenomeTransformerModel",
        "AutoModelForSequenceClassification": (
            "biomeformer.models.genome_transformer.GenomeTransformerForSequenceClassification"
        ),
        "AutoProcessor": "biomeformer.models.genome_transformer.GenomeTransformerProcessor",
    },
    "kmer_encoder": {
        "AutoConfig": "biomeformer.models.kmer_encoder.KmerEncoderConfig",
        "AutoModel": "biomeformer.models.kmer_encoder.KmerEncoderModel",
        "AutoModelForSequenceClassification": "biomeformer.models.kmer_encoder.KmerEncoderForSequenceClassification",
        "AutoTokenizer": "biomeformer.models.kmer_encoder.KmerTokenizer",
    },
    "metagenbert": {
        "AutoConfig": "biomeformer.models.metagenbert.MetagenBertConfig",
        "AutoModel": "biomeformer.models.metagenbert.MetagenBertModel",
        "AutoModelForSequenceClassification": "biomeformer.models.metagenbert.MetagenBertForPhenotypeClassification",
        "AutoProcessor": "biomeformer.models.metagenbert.MetagenBertProcessor",
    },
    "sequence_cnn": {
        "AutoConfig": "biomeformer.models.sequence_cnn.SequenceCnnConfig",
        "AutoModelForSequenceClassification": "biomeformer.models.sequence_cnn.SequenceCnnForSequenceClassification",
        # Its tokens are single bases.
        "AutoTokenizer": "biomeformer.models.kmer_encoder.KmerTokenizer",
    },
}
# Pipeline class and default checkpoint by task.
PIPELINES: dict[str, tuple[str, str | None]] = {
    "read-embedding": ("biomeformer.pipelines.reads.ReadEmbeddingPipeline", "metagenbert-mini"),
    "metagenome-embedding": ("biomeformer.pipelines.metagenome.MetagenomeEmbeddingPipeline", "metagenbert-mini"),
    "metagenome-classification": ("biomeformer.pipelines.metagenome.MetagenomeClassificationPipeline", None),
    "genome-classification": ("biomeformer.pipelines.genome.GenomeClassificationPipeline", "genome-transformer-mini"),
}
# Tasks of transformers whose class is replaced by a subclass, which differs for models of the package only.
REPLACED_PIPELINES: dict[str, str] = {
    "feature-extraction": "biomeformer.pipelines.reads.ReadFeatureExtractionPipeline",
}
# Where transformers keeps the classes of each Auto class.
AUTO_MAPPINGS: dict[str, dict[str, str]] = {
    "transformers.models.auto.configuration_auto": {"AutoConfig": "CONFIG_MAPPING"},
    "transformers.models.auto.modeling_auto": {
        "AutoModel": "MODEL_MAPPING",
        "AutoModelForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING",
        "AutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    },
    "transformers.models.auto.tokenization_auto": {"AutoTokenizer": "TOKENIZER_MAPPING"},
    "transformers.models.auto.processing_auto": {"AutoProcessor": "PROCESSOR_MAPPING"},
}


# Functions by which a module of transformers looks a checkpoint up on the Hub. `pipeline` may have been imported before
# this package, and Auto classes have copies of methods, but both look these up in their module when called.
HUB_LOOKUPS = ("resolve_revision", "find_adapter_config_file")
# Functions of transformers that take the name of a checkpoint, by module.
TAKE_NAMES: dict[str, tuple[str, ...]] = {
    "transformers.models.auto.configuration_auto": ("AutoConfig.from_pretrained",),
    "transformers.models.auto.auto_factory": ("_BaseAutoModelClass.from_pretrained", *HUB_LOOKUPS),
    "transformers.models.auto.tokenization_auto": ("AutoTokenizer.from_pretrained",),
    "transformers.models.auto.processing_auto": ("AutoProcessor.from_pretrained",),
    "transformers.pipelines": HUB_LOOKUPS,
}


@dataclass(frozen=True)
class ClassReference:
    """A class of this package that is imported on first use.

    Attributes:
        path: Path of the class, `module.Class`.
    """

    path: str

    def load(self) -> type:
        """Import the class."""
        module, name = self.path.rsplit(".", 1)
        cls: type = getattr(import_module(module), name)
        return cls


@dataclass(frozen=True)
class ReadEncoderPlugin:
    """A read encoder of another installed package, whose classes are imported and registered on first use.

    Its entry point is in the group `biomeformer.read_encoders`, has the model type as its name, and names a mapping of
    Auto classes to classes, such as `{"AutoConfig": MyConfig, "AutoModel": MyModel, "AutoTokenizer": MyTokenizer}`.

    Attributes:
        entry_point: The entry point.
    """

    entry_point: EntryPoint

    def load(self) -> type:
        """Register the classes with transformers; return the config class.

        Raises:
            CheckpointError: The package cannot be imported, or its entry point is something else.
        """
        from .errors import CheckpointError, reason_of

        name, dist = self.entry_point.name, getattr(self.entry_point.dist, "name", self.entry_point.value)
        where = f"the read encoder {name!r} of the installed package {dist} (entry point {self.entry_point.value})"
        try:
            classes = dict(self.entry_point.load())
            config = classes["AutoConfig"]
            if config.model_type != name:
                raise ValueError(f"its config's model_type is {config.model_type!r}")
        except Exception as error:
            reason = reason_of(error, None)
            raise CheckpointError(
                f"{where} cannot be used: {type(error).__name__}: {reason}; update or remove that package."
            ) from error
        for module, mappings in AUTO_MAPPINGS.items():
            for auto_class, mapping_name in mappings.items():
                if auto_class in classes and auto_class != "AutoConfig":
                    getattr(import_module(module), mapping_name).register(config, classes[auto_class], exist_ok=True)
        loaded: type = config
        return loaded


class LazyClasses(UserDict[Any, Any]):
    """Registered classes; references among them are imported on access.

    Args:
        registered: Dictionary of registered classes, which is used and extended in place.
    """

    def __init__(self, registered: dict[Any, Any]) -> None:
        # Not `super().__init__`, which copies.
        self.data = registered

    def __getitem__(self, key: Any) -> Any:
        value = self.data[key]
        if isinstance(value, ClassReference | ReadEncoderPlugin):
            value = self.data[key] = value.load()
        return value


class LazyModule:
    """A module that is imported on first access to an attribute.

    Args:
        name: Name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


def register() -> None:
    """Register all models and pipelines when transformers is imported; a second call does nothing."""
    for model_type in MODELS:
        register_post_import_hook(_set_bridge, f"biomeformer.models.{model_type}.strict_loading")
    register_post_import_hook(_set_tokenizer_bridge, "biomeformer.models.kmer_encoder.tokenization_kmer_encoder")
    for module in AUTO_MAPPINGS:
        register_post_import_hook(_after_import(_register_auto_classes), module)
    for module in TAKE_NAMES:
        register_post_import_hook(_after_import(_resolve_shipped_names), module)
    register_post_import_hook(_after_import(_register_pipelines), "transformers.pipelines")


def _after_import(hook: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    """Wrap a hook so that it waits for a module that another thread is importing."""

    def called(module: ModuleType) -> None:
        hook(import_module(module.__name__))

    return called


def _set_bridge(module: ModuleType) -> None:
    module.StrictPreTrainedModel.bridge = LazyModule("biomeformer.bridge")


def _set_tokenizer_bridge(module: ModuleType) -> None:
    module.KmerTokenizer.bridge = LazyModule("biomeformer.bridge")


def _register_auto_classes(module: ModuleType) -> None:
    for auto_class, mapping_name in AUTO_MAPPINGS[module.__name__].items():
        mapping = getattr(module, mapping_name)
        # The registry has no public interface for classes that are not imported yet.
        if not isinstance(mapping._extra_content, LazyClasses):
            mapping._extra_content = LazyClasses(mapping._extra_content)
        if auto_class == "AutoConfig":
            from .checkpoints import READ_ENCODERS

            for entry_point in entry_points(group=READ_ENCODERS):
                if entry_point.name not in MODELS and entry_point.name not in mapping:
                    mapping.register(entry_point.name, ReadEncoderPlugin(entry_point), exist_ok=True)
        for model_type, classes in MODELS.items():
            if auto_class in classes:
                key = model_type if auto_class == "AutoConfig" else ClassReference(classes["AutoConfig"]).load()
                mapping.register(key, ClassReference(classes[auto_class]), exist_ok=True)


def _resolve_shipped_names(module: ModuleType) -> None:
    """Let functions of transformers find the checkpoints that ship in the package by name, as its classes do."""
    from .checkpoints import resolve_checkpoint

    def resolved(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        argument = "pretrained_model_name_or_path"
        if args:
            args = (resolve_checkpoint(args[0]), *args[1:])
        elif argument in kwargs:
            kwargs = {**kwargs, argument: resolve_checkpoint(kwargs[argument])}
        return wrapped(*args, **kwargs)

    for path in TAKE_NAMES[module.__name__]:
        holder_name, _, name = path.rpartition(".")
        holder = getattr(module, holder_name) if holder_name else module
        # A second call, after a reload of the package, finds it wrapped.
        if not isinstance(vars(holder)[name], ObjectProxy):
            wrap_function_wrapper(module, path, resolved)


def _register_pipelines(module: ModuleType) -> None:
    from .checkpoints import resolve_checkpoint
    from .pipelines.checkpoint_reference import CheckpointReference

    for task, (path, checkpoint) in PIPELINES.items():
        # Not `register_pipeline`, which needs the imported class; `pipeline` itself does not.
        entry: dict[str, Any] = {"impl": path, "pt": (CheckpointReference,), "type": "multimodal"}
        if checkpoint is not None:
            entry["default"] = {"model": (resolve_checkpoint(checkpoint), "main")}
        module.PIPELINE_REGISTRY.supported_tasks[task] = entry
    for task, path in REPLACED_PIPELINES.items():
        module.PIPELINE_REGISTRY.supported_tasks[task]["impl"] = path


__all__ = [
    "AUTO_MAPPINGS",
    "MODELS",
    "PIPELINES",
    "ClassReference",
    "LazyClasses",
    "LazyModule",
    "ReadEncoderPlugin",
    "register",
]
