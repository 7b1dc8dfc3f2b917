"""Base class of the pipelines: loading with clear errors, and validation of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Pipeline, PreTrainedModel

from ..checkpoints.errors import READ_BY
from ..checkpoints.loader import load_strict
from ..errors import InputError
from .checkpoint_reference import CheckpointReference


class CheckpointPipeline(Pipeline):
    """A pipeline that loads its model itself, with every check of the package.

    Args:
        model: Model with its processor, or a `CheckpointReference`.
        *args: Positional arguments of `transformers.Pipeline`.
        device: As for every pipeline; a device that is not available is an error.
        **kwargs: Options of `transformers.Pipeline`, and default options of its calls.

    Attributes:
        model_class: Class of the model.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or is of another model type.
        InputError: The device is not available, or an option is unknown.
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
        # It is among the options of the checkpoint already, and `Pipeline` does not know it.
        kwargs.pop("local_files_only", None)
        if isinstance(model, CheckpointReference):
            model = self.load(model)
        check_model(model, self.model_class)
        super().__init__(model, *args, device=device, **kwargs)

    def load(self, reference: CheckpointReference) -> PreTrainedModel:
        """Load the model of a checkpoint.

        Raises:
            CheckpointError: The checkpoint cannot be found, is damaged, or is of another model type.
        """
        model: PreTrainedModel = load_strict(self.model_class, reference.name, **reference.options)
        return model

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save the model with its processor; unlike in transformers, no code of the pipeline is added to be trusted."""
        self.model.save_pretrained(save_directory, **kwargs)


class FilePipeline(CheckpointPipeline):
    """A pipeline whose inputs are files, of which one is processed at a time."""

    def __init__(self, model: PreTrainedModel | CheckpointReference, *args: Any, **kwargs: Any) -> None:
        check_batch_size(kwargs.get("batch_size"))
        super().__init__(model, *args, **kwargs)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Process an input, or a list of inputs.

        Args:
            inputs: An input, or a list of inputs; results of a generator or dataset are yielded one by one.
            *args: There are no further positional arguments.
            **kwargs: Options of the pipeline.

        Returns:
            The result of the input, or a list of results.

        Raises:
            InputError: An option is unknown or out of range, or a file cannot be used.
        """
        check_batch_size(kwargs.get("batch_size"))
        if isinstance(inputs, list | tuple) and not inputs:
            # transformers would fail on the missing first element.
            return [] if isinstance(inputs, list) else self.preprocess(inputs)
        return super().__call__(inputs, *args, **kwargs)


def check_model(model: Any, wanted: type) -> None:
    """Check that a pipeline can run a model.

    Args:
        model: The model.
        wanted: Class that the model, or its base model, must be of.

    Raises:
        InputError: It is of another class.
    """
    if not isinstance(model, wanted) and not isinstance(getattr(model, "base_model", None), wanted):
        advice = READ_BY.get(getattr(getattr(model, "config", None), "model_type", ""), "give another model")
        raise InputError(f"the model is a {type(model).__name__} and the pipeline runs a {wanted.__name__}; {advice}.")


def check_device(device: int | str | torch.device | None) -> int | str | torch.device | None:
    """Return the device in the form that transformers takes, after checking that it is available.

    Raises:
        InputError: The device is not available.
    """
    from ..runs.devices import resolve_device

    if isinstance(device, int):
        # In transformers, a number is a CUDA device or Apple's GPU, and below 0 the CPU.
        if device >= 0 and not torch.backends.mps.is_available():
            resolve_device(f"cuda:{device}")
        return device
    return None if device is None else resolve_device(str(device))


def check_batch_size(batch_size: int | None) -> None:
    """Refuse batches of several inputs: the batches of a pipeline here are of reads or proteins.

    Raises:
        InputError: `batch_size` is above 1.
    """
    if batch_size not in (None, 1):
        raise InputError(f"batch_size is {batch_size}; one file is run at a time here: give batch_tokens, or leave it.")


def check_top_k(top_k: int | None) -> None:
    """Check the number of labels to return.

    Raises:
        InputError: It is below 1.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; it must be at least 1 label.")


def refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], what: str = "options of this pipeline") -> None:
    """Refuse unknown names.

    Args:
        given: Mapping whose keys are checked.
        known: The known names.
        what: What the names are, for the message.

    Raises:
        InputError: A name is unknown.
    """
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no {what}; known are {', '.join(known)}.")


__all__ = [
    "CheckpointPipeline",
    "CheckpointReference",
    "FilePipeline",
    "check_top_k",
    "refuse_unknown",
]
