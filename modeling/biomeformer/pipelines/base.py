"""What pipelines of metagenomes and genomes share: loading with errors that say what to do, and checks of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Pipeline, PreTrainedModel

from ..checkpoints.errors import READ_BY
from ..checkpoints.loader import load_strict
from ..errors import InputError
from .checkpoint_reference import CheckpointReference


class FilePipeline(Pipeline):
    """A pipeline from files to results, which loads its model by itself and runs one input at a time.

    Args:
        model: With its processor, or a `CheckpointReference`.
        device: As for every pipeline; one that is not there is an error.
        **kwargs: Of `transformers.Pipeline`, and options of a call that hold for all of them.

    Attributes:
        model_class: Of the model.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or is of another kind.
        InputError: The device is not there, or an option is unknown.
    """

    model_class: type[PreTrainedModel]
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
            model = load_strict(self.model_class, model.name, **model.options)
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


def check_model(model: Any, wanted: type) -> None:
    """See that a model is one that a pipeline can run.

    Raises:
        InputError: It is not, or has no head.
    """
    if not isinstance(model, wanted) and not isinstance(getattr(model, "base_model", None), wanted):
        advice = READ_BY.get(getattr(getattr(model, "config", None), "model_type", ""), "give another model")
        raise InputError(f"the model is a {type(model).__name__} and the pipeline runs a {wanted.__name__}; {advice}.")


def check_device(device: int | str | torch.device | None) -> int | str | torch.device | None:
    """The device to give to transformers, once it is seen to be there.

    Raises:
        InputError: It is not.
    """
    from ..runs.devices import resolve_device

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
    "CheckpointReference",
    "FilePipeline",
    "check_top_k",
    "refuse_unknown",
]
