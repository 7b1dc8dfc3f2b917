"""What pipelines of metagenomes and genomes share: loading with errors that say what to do, and checks of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Pipeline, PreTrainedConfig, PreTrainedModel

from .checkpoint_reference import CheckpointReference
from .checkpoints import resolve_checkpoint
from .errors import CheckpointError, InputError

HUB_OPTIONS = ("revision", "cache_dir", "local_files_only", "token")
TASKS = {
    "metagenbert": 'reads are its input: pipeline("metagenome-embedding") or, with a head, "metagenome-classification"',
    "genome_transformer": 'genomes are its input: pipeline("genome-classification")',
}


class FilePipeline(Pipeline):
    """A pipeline from files to results, which loads its model by itself and runs one input at a time.

    Args:
        model: With its processor, or a `CheckpointReference`.
        device: As for every pipeline; one that is not there is an error.
        **kwargs: Of `transformers.Pipeline`, and options of a call that hold for all of them.

    Attributes:
        model_class: Of the model.
        head: Words for what that class has beside the base model, and what to do where a checkpoint has none.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or is of another kind.
        InputError: The device is not there, or an option is unknown.
    """

    model_class: type[PreTrainedModel]
    head: str | None = None
    _load_processor = False
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_video_processor = False

    def __init__(
        self,
        model: PreTrainedModel | CheckpointReference,
        *args: Any,
        device: int | str | torch.device | None = None,
        **kwargs: Any,
    ) -> None:
        device = check_device(device)
        kwargs.pop("local_files_only", None)  # It is in the checkpoint's options.
        if isinstance(model, CheckpointReference):
            model = load_whole(self.model_class, model.name, model.options, head=self.head)
        check_model(model, self.model_class)
        check_batch_size(kwargs.get("batch_size"))
        super().__init__(model, *args, device=device, **kwargs)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The result of an input, or a list of results of a list of inputs.

        Args:
            inputs: An input, or a list of them (a generator or dataset of them gives its results one by one).
            *args: None are known.
            **kwargs: Options of the pipeline.

        Raises:
            InputError: An option is unknown or out of range, or a file cannot be used.
        """
        check_batch_size(kwargs.get("batch_size"))
        if isinstance(inputs, list | tuple) and not inputs:
            # transformers would look at the first.
            return [] if isinstance(inputs, list) else self.preprocess(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save the model as `save_pretrained` of the model does, with no code to be trusted when it is loaded."""
        self.model.save_pretrained(save_directory, **kwargs)


def load_whole(cls: Any, name: str, options: Mapping[str, Any], *, head: str | None = None) -> Any:
    """Load a model of which every weight is in the checkpoint.

    Args:
        cls: Its class.
        name: Folder, Hub id, or name of a shipped checkpoint.
        options: Of `from_pretrained`.
        head: Words for what the class has beside the base model, and what to do where a checkpoint has none.

    Raises:
        CheckpointError: It cannot be found, is damaged, of another kind, or has no head.
    """
    from .loading import MODEL_ERRORS, check_weights, one_sentence

    path = str(resolve_checkpoint(name))
    hub_options = {key: options[key] for key in HUB_OPTIONS if key in options}
    wanted = cls.config_class.model_type
    try:
        config, _ = PreTrainedConfig.get_config_dict(path, **hub_options)
        if config.get("model_type") != wanted:
            advice = TASKS.get(config.get("model_type", ""), f"give a checkpoint of {wanted}")
            raise CheckpointError(
                f"{name} is a checkpoint of model_type {config.get('model_type')!r}, not {wanted}; {advice}."
            )
        if head is not None and cls.__name__ not in (config.get("architectures") or ()):
            raise CheckpointError(f"{name} holds no {head}.")
        check_weights(path)
        model, info = cls.from_pretrained(path, output_loading_info=True, **options)
    except CheckpointError:
        raise
    except MODEL_ERRORS as error:
        raise CheckpointError(one_sentence(name, error)) from error
    lost = [*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])]
    if lost:
        raise CheckpointError(
            f"{name} lacks {len(lost)} weights of a {cls.__name__}, or has them in another shape (such as "
            f"{sorted(lost)[0]}); fetch the checkpoint again."
        )
    return model


def check_model(model: Any, wanted: type) -> None:
    """See that a model is one that a pipeline can run.

    Raises:
        InputError: It is not, or has no head.
    """
    if not isinstance(model, wanted) and not isinstance(getattr(model, "base_model", None), wanted):
        advice = TASKS.get(getattr(getattr(model, "config", None), "model_type", ""), "give another model")
        raise InputError(f"the model is a {type(model).__name__} and the pipeline runs a {wanted.__name__}; {advice}.")


def check_device(device: int | str | torch.device | None) -> int | str | torch.device | None:
    """The device to give to transformers, once it is seen to be there.

    Raises:
        InputError: It is not.
    """
    from .devices import resolve_device

    if isinstance(device, int):
        # Numbers are CUDA devices to transformers, or else Apple's, and below 0 the CPU.
        if device >= 0 and not torch.backends.mps.is_available():
            resolve_device(f"cuda:{device}")
        return device
    return None if device is None else resolve_device(str(device))


def check_batch_size(batch_size: int | None) -> None:
    """Refuse batches of samples.

    Raises:
        InputError: One was asked for.
    """
    if batch_size not in (None, 1):
        raise InputError(f"batch_size is {batch_size}; one file is run at a time here: give batch_tokens, or leave it.")


def check_top_k(top_k: int | None) -> None:
    """See that some labels were asked for.

    Raises:
        InputError: None were.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; it must be at least 1 label.")


def refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], what: str = "options of this pipeline") -> None:
    """Refuse options by name.

    Raises:
        InputError: One is unknown.
    """
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no {what}; known are {', '.join(known)}.")


__all__ = [
    "HUB_OPTIONS",
    "CheckpointReference",
    "FilePipeline",
    "check_top_k",
    "refuse_unknown",
]
