"""Strict loading: the base class of every model of the package, which refuses weights that do not fit."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from logging import LogRecord
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME, PROCESSOR_NAME, cached_file, extract_commit_hash, logging

logger = logging.get_logger(__name__)

HUB_OPTIONS = ("revision", "cache_dir", "local_files_only", "token", "subfolder")
LABEL_OPTIONS = ("num_labels", "id2label", "label2id")
# Names of weights listed in a message.
N_NAMED = 3


@dataclass(frozen=True)
class WeightRules:
    """Which weights a checkpoint of a model class may lack, and which additional ones it may have.

    Weights are selected by prefixes of their names.

    Attributes:
        head: Prefixes of the head's weights.
        no_head: What a checkpoint without a head lacks and where to get it, for the message.
        new_with_head: Prefixes of groups of weights that may be new if the head is new.
        optional: Prefixes of groups of weights that a checkpoint may lack, either all of a group or none.
        ignored: Prefixes of additional weights that a checkpoint may have.
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
        """Describe how the weights of a checkpoint do not fit a model.

        Args:
            class_name: Name of the model's class.
            expected: Names of the model's weights.
            missing: Names of those that the checkpoint lacks.
            unexpected: Names of weights that the model does not have.
            mismatched: Names of weights of another shape.
            asks_for_head: Returns whether a new head was asked for; called if the checkpoint has none.

        Returns:
            A sentence with `{name}` in place of the checkpoint's name, or None if the weights fit.
        """
        expected, missing, mismatched = set(expected), set(missing), set(mismatched)
        unexpected = {key for key in unexpected if not key.startswith(self.ignored)}
        missing -= complete_groups(expected, missing, self.optional)
        head = {key for key in expected if key.startswith(self.head)}
        if head and head <= missing:
            # The checkpoint has no part of the head: is anything else missing?
            missing_elsewhere = missing - head - complete_groups(expected, missing, self.new_with_head)
            if not (missing_elsewhere or unexpected or mismatched or asks_for_head()):
                return f"{{name}} holds no {self.no_head}, or train a new one with new_head=True."
            if asks_for_head():
                missing = missing_elsewhere
        problems = {"missing": missing, "unexpected": unexpected, "of another shape": mismatched}
        parts = [
            f"{len(keys)} {problem} ({', '.join(sorted(keys)[:N_NAMED])}{', …' if len(keys) > N_NAMED else ''})"
            for problem, keys in problems.items()
            if keys
        ]
        if not parts:
            return None
        return (
            f"The weights in {{name}} do not fit the config of a {class_name}: {'; '.join(parts)}; check that config "
            "and weights come from one checkpoint."
        )


class WeightMismatchError(ValueError, RuntimeError):
    """Weights that do not fit a model; a `RuntimeError` as transformers raises it."""


class StrictPreTrainedModel(PreTrainedModel):
    """A model that never predicts with weights that its checkpoint does not have.

    `from_pretrained` raises an error if a weight is missing, unexpected or of another shape. If the checkpoint has no
    head, a new one, to be trained, is made only if `new_head=True` or the labels (`num_labels`, `id2label`) are given;
    a checkpoint with part of a head is damaged. The processor is loaded and saved with the weights.

    Attributes:
        bridge: `biomeformer.bridge`, set by the package when it registers the models; None if this file came with a
            checkpoint as remote code. Through it models reach what is not beside them: the verification of files, and
            the readers of reads and genomes.
        weight_rules: Weights that may be missing or additional.
        processor_class: Class of the processor, or None.
        processor_required: Whether a checkpoint must have a processor.
        input_kinds: What the model takes without the package, and what it needs the package for; for messages.
        processor: The preprocessing config, with the tokenizer if there is one.
    """

    bridge: ClassVar[Any] = None
    weight_rules: ClassVar[WeightRules] = WeightRules()
    processor_class: ClassVar[Any] = None
    processor_required: ClassVar[bool] = False
    input_kinds: ClassVar[tuple[str, str]] = ("tokens", "files")
    processor: Any = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint, with its processor if it has one, from a folder, a Hub id or a shipped name.

        Args:
            pretrained_model_name_or_path: Folder, Hub id, or name of a checkpoint that ships in the package.
            *args: Positional arguments of `PreTrainedModel.from_pretrained`.
            **kwargs: Its options, such as `revision` and `dtype`; and `new_head=True`, which gives a checkpoint without
                a head a new one with random weights, to be trained. Labels (`num_labels`, `id2label`) other than the
                checkpoint's do the same.

        Returns:
            The model, in evaluation mode; with `output_loading_info=True` the model and the loading info of
            transformers.

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
        # transformers is told to go on at weights of another shape, so that all problems are reported in one message.
        accepts_other_shapes = kwargs.pop("ignore_mismatched_sizes", False)
        asks_for_head = new_head_request(cls, path, new_head, kwargs)
        if path is not None:
            kwargs.setdefault("use_safetensors", True)
            # Pinned: all files come from one commit, also if another is published in the meantime.
            commit = extract_commit_hash(find_file(path, CONFIG_NAME, **hub_options(kwargs)), None)
            if commit is not None:
                kwargs["revision"] = commit
        options = hub_options(kwargs)
        has_processor = path is not None and cls._has_processor(path, options)
        # Problems are an error below, so transformers' table of them is of use only where it is an answer.
        with nullcontext() if accepts_other_shapes else _without_load_report():
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
            raise WeightMismatchError(problem.format(name=path))
        head = cls.weight_rules.head
        is_new = sorted(key for key in info["missing_keys"] if head and key.startswith(head))
        if is_new and path is not None:
            logger.warning(
                f"The head of this {cls.__name__} is new: {path} has none, so {len(is_new)} weights "
                f"({', '.join(is_new[:N_NAMED])}) are random; train it before you predict with it."
            )
        if path is not None:
            model.config._commit_hash = commit
        if has_processor:
            # Without the package, this file is remote code itself, so the user has trusted the checkpoint's code.
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
        """Return whether a checkpoint has a processor.

        Raises:
            OSError: It has none, and the class requires one.
        """
        if cls.processor_class is None:
            return False
        has_processor = find_file(path, PROCESSOR_NAME, **options) is not None
        if cls.processor_required and not has_processor:
            raise OSError(
                f"{path} has no {PROCESSOR_NAME}, the preprocessing config, so it is unknown what its inputs must "
                "become; fetch the checkpoint again, or save the model with its processor."
            )
        return has_processor

    def _finish_loading(self, info: dict[str, Any], options: dict[str, Any]) -> None:
        """Adjust a model after its weights have been loaded; for subclasses.

        Args:
            info: Loading info of transformers.
            options: Options that select the files, such as `revision` as a commit.
        """

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save config, weights and the processor, if there is one, in one folder.

        A model without the processor that its checkpoints must have is saved with a warning: its weights may be all
        that is left of a training, but `from_pretrained` will refuse them.
        """
        if self.processor_required and self.processor is None:
            logger.warning(
                f"This {type(self).__name__} is saved without {PROCESSOR_NAME}, the preprocessing config, and cannot "
                f"be loaded again until a processor is saved beside it; set model.processor before saving."
            )
        # Under the names of the weights in memory: transformers would write those of encoders such as ESM under the
        # names of older checkpoints, which strict loading does not translate.
        self._weight_conversions: list[Any] = []
        super().save_pretrained(save_directory, **kwargs)
        open_weights(save_directory)
        if self.processor is not None:
            self.processor.save_pretrained(save_directory)

    def _package(self) -> Any:
        """Return `biomeformer.bridge`, for methods that need more than the model.

        Raises:
            ImportError: This file came with a checkpoint as remote code, without the package.
        """
        if self.bridge is None:
            takes, needs = self.input_kinds
            raise ImportError(
                f"The code of this model came with its checkpoint and takes {takes} only; to read {needs} run "
                "`pip install biomeformer`, then `import biomeformer` and load the model again."
            )
        return self.bridge


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Drop transformers' table of missing and unexpected weights from the log."""

    def is_other(record: LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    reporter = logging.get_logger("transformers.modeling_utils")
    reporter.addFilter(is_other)
    try:
        yield
    finally:
        reporter.removeFilter(is_other)


def new_head_request(cls: Any, path: Any, new_head: bool | None, kwargs: dict[str, Any]) -> Callable[[], bool]:
    """Return a function that tells whether arguments of `from_pretrained` ask for a new head.

    The arguments are evaluated now, since `from_pretrained` consumes them; the stored config is read only if need be.

    Args:
        cls: Class of the model.
        path: Folder or Hub id.
        new_head: Value of the argument `new_head`, None if it was not given.
        kwargs: The other arguments.
    """
    has_labels = any(option in kwargs for option in LABEL_OPTIONS)
    config, options = kwargs.get("config"), hub_options(kwargs)

    def asks() -> bool:
        if new_head is not None or has_labels:
            return bool(new_head if new_head is not None else has_labels)
        if path is None or not isinstance(config, PreTrainedConfig):
            return False
        # An Auto class turns `num_labels` into a config before it calls `from_pretrained`.
        stored = cls.config_class.from_pretrained(path, **options)
        return bool(config.id2label != stored.id2label)

    return asks


def open_weights(folder: Any) -> None:
    """Give the weight files of a saved checkpoint the permissions of its config, which are those of the umask.

    safetensors writes files that nobody else may read.
    """
    config = Path(folder, CONFIG_NAME)
    if config.is_file():
        for path in Path(folder).glob("*.safetensors"):
            path.chmod(stat.S_IMODE(config.stat().st_mode))


def untied_weights(model: PreTrainedModel) -> set[str]:
    """Return the names of the weights that a checkpoint must have: all but those tied to others."""
    return model.state_dict().keys() - getattr(model, "all_tied_weights_keys", {}).keys()


def complete_groups(expected: set[str], missing: set[str], prefixes: Iterable[str]) -> set[str]:
    """Return the missing weights of those groups, given by their prefixes, of which every weight is missing."""
    groups = [{key for key in expected if key.startswith(prefix)} for prefix in prefixes]
    return set().union(*(group for group in groups if group <= missing))


def hub_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments of `from_pretrained` that select the files."""
    return {key: kwargs[key] for key in HUB_OPTIONS if kwargs.get(key) is not None}


def find_file(path: Any, name: str, **options: Any) -> str | None:
    """Return the local path of a checkpoint's file, or None if it has no such file."""
    try:
        file: str | None = cached_file(path, name, **options)
    except OSError:
        return None
    return file


__all__ = [
    "HUB_OPTIONS",
    "StrictPreTrainedModel",
    "WeightMismatchError",
    "WeightRules",
    "complete_groups",
    "find_file",
    "hub_options",
    "new_head_request",
    "open_weights",
    "untied_weights",
]
