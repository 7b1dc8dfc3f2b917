"""Loading that refuses weights which do not fit: the base class of every model of the package."""

# Copied from biomeformer/checkpoints/strict_loading.py

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME, PROCESSOR_NAME, cached_file, extract_commit_hash

HUB_OPTIONS = ("revision", "cache_dir", "local_files_only", "token", "subfolder")
LABEL_OPTIONS = ("num_labels", "id2label", "label2id")
N_NAMED = 3


@dataclass(frozen=True)
class WeightRules:
    """Which weights a checkpoint of a class may lack, and which it may have beyond the class's own.

    Attributes:
        head: Beginnings of the names of the head's weights.
        no_head: What a checkpoint without a head lacks, and where to get it.
        new_with_head: Groups of weights, by the beginning of their names, that may be new along with a new head.
        optional: Groups of weights that a checkpoint may lack, each as a whole.
        ignored: Beginnings of the names of weights that a checkpoint may have beyond the model's own.
    """

    head: tuple[str, ...] = ()
    no_head: str = "head"
    new_with_head: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def problem(
        self,
        class_name: str,
        expected: Iterable[str],
        missing: Iterable[str],
        unexpected: Iterable[str],
        mismatched: Iterable[str],
        asks_for_head: Callable[[], bool],
    ) -> str | None:
        """Describe how weights do not fit a model.

        Args:
            class_name: Of the model.
            expected: Names of the model's weights.
            missing: Those that the checkpoint lacks.
            unexpected: Names of weights that the model does not have.
            mismatched: Names of weights of another shape.
            asks_for_head: Whether a new head was asked for; called where the checkpoint has none.

        Returns:
            A sentence with `{name}` in the place of the checkpoint's name, or None where they fit.
        """
        expected, lost, mismatched = set(expected), set(missing), set(mismatched)
        unexpected = {key for key in unexpected if not key.startswith(self.ignored)}
        lost -= whole_groups(expected, lost, self.optional)
        head = {key for key in expected if key.startswith(self.head)}
        if head and head <= lost:
            rest = lost - head - whole_groups(expected, lost, self.new_with_head)
            if not (rest or unexpected or mismatched or asks_for_head()):
                return f"{{name}} holds no {self.no_head}, or train a new one with new_head=True."
            if asks_for_head():
                lost = rest
        problems = {"missing": lost, "unexpected": unexpected, "of another shape": mismatched}
        parts = [
            f"{len(keys)} {what} ({', '.join(sorted(keys)[:N_NAMED])}{', …' if len(keys) > N_NAMED else ''})"
            for what, keys in problems.items()
            if keys
        ]
        if not parts:
            return None
        return (
            f"The weights in {{name}} do not fit the config of a {class_name}: {'; '.join(parts)}; check that config "
            "and weights come from one checkpoint."
        )


class StrictPreTrainedModel(PreTrainedModel):
    """A model that never predicts with weights which its checkpoint does not have.

    `from_pretrained` raises an error where a weight is missing, unexpected or of another shape. A checkpoint without
    a head gets a new one, to be trained, where `new_head=True` or the labels (`num_labels`, `id2label`) are given; one
    that has part of a head is damaged. A processor is loaded and saved with the weights.

    Attributes:
        bridge: `biomeformer.bridge` in the package, which sets it when it registers the models; None where this file
            came with a checkpoint as remote code. The package's checks of files, and what reads files of reads and of
            genomes, are reached through it.
        weight_rules: Weights that may be missing or left over.
        processor_class: Class of the processor, of a model that has one.
        processor_required: Whether a checkpoint must have a processor.
        input_kinds: What the model takes without the package, and what it needs the package for.
        processor: The preprocessing config with its tokenizer.
    """

    bridge: ClassVar[Any] = None
    weight_rules: ClassVar[WeightRules] = WeightRules()
    processor_class: ClassVar[Any] = None
    processor_required: ClassVar[bool] = False
    input_kinds: ClassVar[tuple[str, str]] = ("tokens", "files")
    processor: Any = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint, with its processor where it has one, from a folder, a Hub id or a shipped name.

        Args:
            pretrained_model_name_or_path: Folder, Hub id, or name of a checkpoint that ships in the package.
            *args: Passed on to `PreTrainedModel.from_pretrained`.
            **kwargs: Passed on, `revision` and `dtype` among them; and `new_head=True`, which gives a checkpoint
                without a head a new one with random weights, to be trained. Labels (`num_labels`, `id2label`) other
                than the checkpoint's ask for the same.

        Returns:
            The model, in evaluation mode; with `output_loading_info=True` a pair of it and the loading record.

        Raises:
            ValueError: The checkpoint is of another model type or damaged, lacks the head, has weights that are
                missing, unexpected or of another shape, or its processor contradicts its config. With the package it
                is a `CheckpointError`.
            OSError: The checkpoint or a file of it is missing.
        """
        if cls.bridge is None or pretrained_model_name_or_path is None:
            return cls.load_checkpoint(pretrained_model_name_or_path, *args, **kwargs)
        return cls.bridge.load_strict(cls, pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def load_checkpoint(cls, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load as `from_pretrained` does, without the package's checks of the files."""
        new_head = kwargs.pop("new_head", None)
        wants_info = kwargs.pop("output_loading_info", False)
        # Without this, transformers stops at the first weight of another shape and refers to a report elsewhere.
        accepts_other_shapes = kwargs.pop("ignore_mismatched_sizes", False)
        asks_for_head = new_head_request(cls, path, new_head, kwargs)
        if path is not None:
            kwargs.setdefault("use_safetensors", True)
            # From here on all files are of one commit, whatever is published meanwhile.
            commit = extract_commit_hash(find_file(path, CONFIG_NAME, **hub_options(kwargs)), None)
            if commit is not None:
                kwargs["revision"] = commit
        options = hub_options(kwargs)
        has_processor = path is not None and cls._has_processor(path, options)
        model, info = super().from_pretrained(
            path, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
        )
        problem = cls.weight_rules.problem(
            cls.__name__,
            untied_weights(model),
            info["missing_keys"],
            info["unexpected_keys"],
            () if accepts_other_shapes else [key[0] for key in info["mismatched_keys"]],
            asks_for_head,
        )
        if problem is not None:
            raise ValueError(problem.format(name=path))
        if path is not None:
            model.config._commit_hash = commit
        if has_processor:
            # Whoever runs this file as remote code has agreed to the checkpoint's code.
            processor = cls.processor_class.from_pretrained(path, trust_remote_code=cls.bridge is None, **options)
            processor.check_agrees(model.config)
            model.processor = model.base_model.processor = processor
        model._finish_loading(info, options)
        return (model, info) if wants_info else model

    @classmethod
    def reads_config(cls, config: dict[str, Any]) -> bool:
        """Return whether a `config.json` is of this class's model type."""
        return bool(config.get("model_type") == cls.config_class.model_type)

    @classmethod
    def _has_processor(cls, path: Any, options: dict[str, Any]) -> bool:
        if cls.processor_class is None:
            return False
        is_there = find_file(path, PROCESSOR_NAME, **options) is not None
        if cls.processor_required and not is_there:
            raise OSError(
                f"{path} has no {PROCESSOR_NAME}, the preprocessing config, so it is unknown what its inputs must "
                "become; fetch the checkpoint again, or save the model with its processor."
            )
        return is_there

    def _finish_loading(self, info: dict[str, Any], options: dict[str, Any]) -> None:
        """Adjust a model whose weights have been loaded; for subclasses."""

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save config, weights and, where there is one, the processor, in one folder."""
        super().save_pretrained(save_directory, **kwargs)
        if self.processor is not None:
            self.processor.save_pretrained(save_directory)

    def _package(self) -> Any:
        """Return `biomeformer.bridge`, for what is more than the model.

        Raises:
            ImportError: This file came with a checkpoint.
        """
        if self.bridge is None:
            takes, needs = self.input_kinds
            raise ImportError(
                f"The code of this model came with its checkpoint and takes {takes} only; to read {needs} run "
                "`pip install biomeformer`, then `import biomeformer` and load the model again."
            )
        return self.bridge


def new_head_request(cls: Any, path: Any, new_head: bool | None, kwargs: dict[str, Any]) -> Callable[[], bool]:
    """Return a function that tells whether arguments of `from_pretrained` ask for a new head.

    Args:
        cls: Class of the model.
        path: Folder or Hub id.
        new_head: What was given as `new_head`.
        kwargs: The other arguments, as they are now.
    """
    has_labels = any(option in kwargs for option in LABEL_OPTIONS)
    config, options = kwargs.get("config"), hub_options(kwargs)

    def asks() -> bool:
        if new_head is not None or has_labels:
            return bool(new_head if new_head is not None else has_labels)
        if path is None or not isinstance(config, PreTrainedConfig):
            return False
        # An Auto class turns `num_labels` into a config.
        stored = cls.config_class.from_pretrained(path, **options)
        return bool(config.id2label != stored.id2label)

    return asks


def untied_weights(model: PreTrainedModel) -> set[str]:
    """Return the names of a model's weights that a checkpoint must have: all but those that are others' copies."""
    return model.state_dict().keys() - getattr(model, "all_tied_weights_keys", {}).keys()


def whole_groups(expected: set[str], missing: set[str], prefixes: Iterable[str]) -> set[str]:
    """Return the missing weights of those groups, given by the beginning of their names, of which all are missing."""
    groups = [{key for key in expected if key.startswith(prefix)} for prefix in prefixes]
    return set().union(*(group for group in groups if group <= missing))


def hub_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments of `from_pretrained` that say where files come from."""
    return {key: kwargs[key] for key in HUB_OPTIONS if kwargs.get(key) is not None}


def find_file(path: Any, name: str, **options: Any) -> str | None:
    """Return the path of a checkpoint's file, None where it has none of that name."""
    try:
        file: str | None = cached_file(path, name, **options)
    except OSError:
        return None
    return file


__all__ = [
    "HUB_OPTIONS",
    "StrictPreTrainedModel",
    "WeightRules",
    "find_file",
    "hub_options",
    "new_head_request",
    "untied_weights",
    "whole_groups",
]
