"""Initial models of fine-tuning: a pretrained read encoder with a new classifier, or a new convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from ..checkpoints.admission import position_limit, require_admitted
from ..checkpoints.loading import load_read_encoder
from ..errors import CheckpointError, InputError, MissingDependencyError, reason_of
from ..models.kmer_encoder import KmerTokenizer
from ..models.metagenbert import MetagenBertProcessor
from ..models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from .classifier import SequenceClassifier
from .preprocessing import SequencePreprocessing

CNN = "cnn"


def new_classifier(
    base: str,
    label_names: Sequence[str],
    preprocessing: SequencePreprocessing,
    *,
    revision: str | None = None,
    from_scratch: bool = False,
    dropout: float | None = None,
    seed: int = 0,
    **sizes: Any,
) -> SequenceClassifier:
    """Build a model with a new classifier on a pretrained encoder.

    Args:
        base: A shipped checkpoint (`metagenbert-mini`, of which the read encoder is used), a folder, a Hub id
            (`zhihan1996/DNABERT-2-117M`), or `cnn` for a convolutional network over one-hot bases.
        label_names: Names of the labels, in the order of the logits.
        preprocessing: How sequences are encoded and how logits become predictions.
        revision: Branch, tag or commit of a Hub id.
        from_scratch: Initialize the encoder randomly instead of with its pretrained weights.
        dropout: Dropout before the classifier; by default as in the model's config.
        seed: Seed of new weights.
        **sizes: Fields of the model's config that concern new layers, such as `classifier_hidden_size`, or any field
            of `SequenceCnnConfig` for `cnn`.

    Raises:
        CheckpointError: The base cannot be found, is damaged, or transformers has no sequence classifier for it.
        InputError: A size is unknown or out of range.
    """
    labels: dict[str, Any] = {
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: i for i, name in enumerate(label_names)},
    }
    torch.manual_seed(seed)
    if base == CNN:
        if dropout is not None:
            sizes["hidden_dropout_prob"] = dropout
        known = set(SequenceCnnConfig().to_dict())
        _check_sizes(sizes, known, base)
        try:
            cnn = SequenceCnnForSequenceClassification(SequenceCnnConfig(**sizes, **labels))
        except (TypeError, ValueError) as error:
            raise InputError(reason_of(error, None)) from error
        return _finished(cnn, KmerTokenizer(k=1, canonical=False), preprocessing)
    encoder, tokenizer = load_read_encoder(base, revision=revision)
    if preprocessing.max_tokens is None:
        preprocessing = replace(preprocessing, max_tokens=position_limit(encoder).n_tokens)
    try:
        processor = MetagenBertProcessor(tokenizer, max_length=preprocessing.max_tokens)
    except ValueError as error:
        raise InputError(f"max_tokens: {error}") from error
    # Sequences are tokenised as they are, neither as k-mers nor translated.
    require_admitted(encoder, processor)
    config = type(encoder.config).from_dict(encoder.config.to_dict())
    _check_sizes(sizes, set(config.to_dict()), base)
    if dropout is not None:
        sizes["classifier_dropout"] = dropout
    for name, value in (sizes | labels).items():
        setattr(config, name, value)
    torch.manual_seed(seed)
    try:
        model = AutoModelForSequenceClassification.from_config(config)
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{base} is a {config.model_type} model, and transformers has no sequence classifier over one; give an "
            "encoder that has, such as DNABERT-2."
        ) from error
    if not from_scratch:
        body = getattr(model, model.base_model_prefix)
        missing = body.load_state_dict(encoder.state_dict(), strict=False).missing_keys
        # A masked-language-model checkpoint has no pooler; fine-tuning trains one.
        if left := [name for name in missing if not name.startswith("pooler.")]:
            raise CheckpointError(f"{base}: {len(left)} weights of the classifier's encoder are missing ({left[0]}).")
    model.name_or_path = encoder.name_or_path
    model.config._commit_hash = getattr(encoder.config, "_commit_hash", None)
    return _finished(model, tokenizer, preprocessing)


def _check_sizes(sizes: dict[str, Any], known: set[str], base: str) -> None:
    if unknown := sorted(set(sizes) - known):
        raise InputError(f"model_sizes: {base} has no {unknown[0]}; leave it out.")


def _finished(model: PreTrainedModel, tokenizer: Any, preprocessing: SequencePreprocessing) -> SequenceClassifier:
    preprocessing.write_to(model.config)
    return SequenceClassifier(model, tokenizer, preprocessing)


def with_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: Sequence[str] | None) -> Any:
    """Add low-rank adapters to a model's encoder (LoRA, arXiv 2106.09685); new layers are trained in full.

    Args:
        model: A model with an encoder below `base_model_prefix`.
        rank: Rank of the adapters.
        alpha: Numerator of the adapters' scale, `alpha / rank`.
        dropout: Dropout on the input of the adapters.
        targets: Suffixes of the names of the encoder's modules that get an adapter; by default all linear layers, or
            all embedding tables if it has no linear layer.

    Returns:
        The model wrapped by peft.

    Raises:
        MissingDependencyError: peft is not installed.
        InputError: The model has no such modules, or a number is out of range.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingDependencyError("LoRA needs peft; install it: pip install 'biomeformer[tuning]'.") from error
    encoder = getattr(model, model.base_model_prefix, None)
    if encoder is None:
        raise InputError(f"a {model.config.model_type} model has no pretrained encoder that LoRA could adapt.")
    prefix = f"{model.base_model_prefix}."
    if targets is None:
        for kind in (nn.Linear, nn.Embedding):
            targets = [prefix + name for name, module in encoder.named_modules() if type(module) is kind]
            if targets:
                break
    try:
        adapted = get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets or ()))
        )
    except ValueError as error:
        raise InputError(f"LoRA: {' '.join(str(error).split())}") from error
    for name, parameter in adapted.named_parameters():
        own = name.removeprefix("base_model.model.")
        if not own.startswith(prefix) or own.startswith(f"{prefix}pooler."):
            parameter.requires_grad_(True)
    return adapted


__all__ = ["CNN", "new_classifier", "with_lora"]
