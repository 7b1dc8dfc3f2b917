"""The one loader of checkpoints: locate, verify, load strictly.

Every function that loads a model, and `from_pretrained` of the package's own models, ends in `load_from`. So a damaged
checkpoint is refused with the same message everywhere, and a model never predicts with weights that its checkpoint
does not have.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ..errors import CheckpointError, CheckpointWeightsError
from ..models.metagenbert.modeling_metagenbert import UNUSED_PARTS, MetagenBertPreTrainedModel
from ..models.shared.strict_loading import HUB_OPTIONS, WeightRules, new_head_request, untied_weights
from . import READ_ENCODERS
from .admission import admit_model
from .errors import LOAD_ERRORS, format_load_error, is_load_error, wrong_model_type
from .integrity import Shapes, verify_files
from .source import CONFIG, TOKENIZER_FILE, CheckpointSource, open_checkpoint

# Sequences by which tokenizers are compared.
TOKENIZER_PROBES = ("ACGTTGCAAGGCTTATCCGATTACAGCATGCCGTAANTTGC", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ")
# Prefixes of the weights of parts that hidden states do not need.
UNUSED = tuple(f"{name}." for name in UNUSED_PARTS)
POOLER = "pooler."


def load_strict(cls: Any, name: str | Path, *args: Any, **kwargs: Any) -> Any:
    """Load a model strictly: every weight must be in the checkpoint. The models' `from_pretrained` calls it.

    Args:
        cls: Class of the model, of this package or of transformers.
        name: Folder, Hub id, or name of a checkpoint that ships in the package.
        *args: Positional arguments of `PreTrainedModel.from_pretrained`.
        **kwargs: Options of `load_from`, and `revision`, `cache_dir`, `local_files_only`, `token` and `subfolder`.

    Returns:
        As for `load_from`.

    Raises:
        CheckpointNotFoundError: The checkpoint or one of its files is missing.
        CheckpointError: The checkpoint is damaged, unsafe, of another model type, or its weights do not fit its config.
    """
    options = {key: kwargs.pop(key) for key in HUB_OPTIONS if key in kwargs}
    return load_from(open_checkpoint(name, **options), cls, *args, **kwargs)


def load_from(source: CheckpointSource, cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Load a model strictly from a checkpoint that has been opened.

    Args:
        source: The checkpoint.
        cls: Class of the model, of this package or of transformers.
        *args: Positional arguments of `PreTrainedModel.from_pretrained`.
        **kwargs: Its options: `dtype`, `new_head` and so on.

    Returns:
        The model, in evaluation mode; with `output_loading_info=True` the model and the loading info of transformers.

    Raises:
        CheckpointNotFoundError: A file is missing.
        CheckpointError: The checkpoint is damaged, unsafe, of another model type, or its weights do not fit its config.
    """
    is_own = hasattr(cls, "load_checkpoint")
    if is_own and not cls.reads_config(dict(source.config)):
        raise wrong_model_type(source.name, source.model_type, cls.config_class.model_type)
    if kwargs.pop("use_safetensors", None) is False:
        raise CheckpointError(f"{source.name}: use_safetensors=False asks for a pickle, which is never loaded.")
    shapes = verify_files(source, variant=kwargs.get("variant"), with_adapter="adapter_name" in kwargs)
    _check_layers(source, shapes)
    kwargs |= source.load_options | {"use_safetensors": True}
    try:
        if is_own:
            _check_shapes(source, cls, shapes, args, kwargs)
            loaded = cls.load_checkpoint(source.path, *args, **kwargs)
        else:
            loaded = _load_foreign(source, cls, *args, **kwargs)
    except CheckpointError:
        raise
    except Exception as error:
        if not is_load_error(error):
            raise
        kind = CheckpointWeightsError if isinstance(error, RuntimeError) else CheckpointError
        raise kind(format_load_error(source.name, error)) from error
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    _check_finite(source, model)
    if isinstance(model, MetagenBertPreTrainedModel):
        admit_model(source.name, model)
    return loaded


def _check_layers(source: CheckpointSource, shapes: Shapes) -> None:
    """Refuse a config with more layers than there are weights, before a model of that many is built.

    Raises:
        CheckpointError: There are more.
    """
    for config in (source.config, *(value for value in source.config.values() if isinstance(value, dict))):
        n_layers = config.get("num_hidden_layers")
        if isinstance(n_layers, int) and n_layers > len(shapes):
            raise CheckpointError(
                f"{source.name}: {CONFIG} says {n_layers:,} layers, and there are {len(shapes):,} weights; check that "
                "config and weights come from one checkpoint."
            )


def _check_shapes(
    source: CheckpointSource, cls: Any, shapes: Shapes, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Compare the shapes of the weights with those of the config's model, before memory is allocated for either.

    Raises:
        CheckpointError: They do not match.
    """
    config, options = kwargs.get("config"), {key: value for key, value in kwargs.items() if key != "new_head"}
    if isinstance(config, PreTrainedConfig):
        config = copy.deepcopy(config)
    else:
        config, _ = cls.config_class.from_pretrained(source.path, return_unused_kwargs=True, **options)
    if args or "quantization_config" in kwargs or getattr(config, "quantization_config", None) is not None:
        # The layout then depends on more than the config: `from_pretrained` compares it later.
        return
    with torch.device("meta"):
        model = cls(config)
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    stored = {_own_name(key, expected, cls.base_model_prefix): shape for key, shape in shapes.items()}
    needed = untied_weights(model)
    problem = cls.weight_rules.problem(
        cls.__name__,
        needed,
        needed - stored.keys(),
        stored.keys() - expected.keys(),
        ()
        if kwargs.get("ignore_mismatched_sizes")
        else {key for key in expected.keys() & stored.keys() if expected[key] != stored[key]},
        new_head_request(cls, source.path, kwargs.get("new_head"), kwargs),
    )
    if problem is not None:
        raise CheckpointWeightsError(problem.format(name=source.name))


def _own_name(key: str, expected: Shapes, prefix: str) -> str:
    """Map a stored weight's name to the model's: encoders within a model with a head have a prefix, others have not."""
    inside = key.removeprefix(f"{prefix}.")
    if inside in expected:
        return inside
    return f"{prefix}.{key}" if f"{prefix}.{key}" in expected else key


def _load_foreign(source: CheckpointSource, cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Load a model of transformers under the rules of `StrictPreTrainedModel`."""
    kwargs.pop("ignore_mismatched_sizes", None)
    new_head = kwargs.pop("new_head", None)
    wants_info = kwargs.pop("output_loading_info", False)
    asks_for_head = new_head_request(cls, source.path, new_head, kwargs)
    model, info = cls.from_pretrained(
        source.path,
        *args,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **kwargs,
    )
    prefix, base = model.base_model_prefix, model.base_model
    inside = (f"{prefix}.", *(f"{name}." for name, _ in base.named_children()))
    rules = WeightRules(optional=UNUSED)
    unexpected = info["unexpected_keys"]
    if base is not model:
        heads = tuple(f"{name}." for name, _ in model.named_children() if name != prefix)
        pooler = f"{prefix}.{POOLER}"
        rules = WeightRules(
            heads, f"head of a {cls.__name__}; give a checkpoint that was trained with one", new_with_head=(pooler,)
        )
    if base is model or asks_for_head():
        # Weights of a pretraining head may be left over; weights of the encoder may not.
        unexpected = [key for key in unexpected if key.startswith(inside)]
    problem = rules.problem(
        cls.__name__,
        untied_weights(model),
        info["missing_keys"],
        unexpected,
        [key[0] for key in info["mismatched_keys"]],
        asks_for_head,
    )
    if problem is not None:
        raise CheckpointWeightsError(problem.format(name=source.name))
    for name in UNUSED_PARTS if base is model else ():
        if any(key.startswith(f"{name}.") for key in info["missing_keys"]):
            # Its weights are random: better no pooled output than a meaningless one.
            setattr(model, name, None)
    model.config._commit_hash = source.options.get("revision") if source.folder is None else None
    return (model, info) if wants_info else model


@torch.no_grad()
def _check_finite(source: CheckpointSource, model: PreTrainedModel) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        CheckpointError: A weight does; it is named.
    """
    for name, value in model.state_dict().items():
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            # A quantised tensor of torchao or quanto has few operations of its own.
            value = value.dequantize()
        if value.is_floating_point() and value.itemsize > 1 and value.numel() and not value.is_meta:
            low, high = torch.aminmax(value.detach())
            if not (torch.isfinite(low) and torch.isfinite(high)):
                raise CheckpointError(
                    f"{source.name}: {name} holds NaN or infinity as {str(value.dtype).removeprefix('torch.')}; fetch "
                    "the checkpoint again, or load it in float32."
                )


def mapped_class(source: CheckpointSource, mapping: Any) -> Any:
    """Return the class with which an Auto class would load a checkpoint.

    Args:
        source: The checkpoint.
        mapping: Mapping of transformers, such as `MODEL_MAPPING`.

    Raises:
        CheckpointError: Neither transformers nor this package has a class for its model type.
    """
    if source.model_type not in CONFIG_MAPPING:
        has_code = "; the code beside it is not run" if "auto_map" in source.config else ""
        raise CheckpointError(
            f"{source.name} is a checkpoint of model_type {source.model_type!r}, which neither transformers nor an "
            f"installed package has{has_code}; install a package that registers it under the entry points "
            f"{READ_ENCODERS}, or give another checkpoint."
        )
    try:
        config_class = type(AutoConfig.from_pretrained(source.path, trust_remote_code=False, **source.load_options))
        classes = mapping[config_class]
    except KeyError as error:
        raise CheckpointError(
            f"{source.name} is a checkpoint of model_type {source.model_type!r}, which has no such model in "
            "transformers; give another checkpoint."
        ) from error
    except CheckpointError:
        raise
    except LOAD_ERRORS as error:
        raise CheckpointError(format_load_error(source.name, error)) from error
    if not isinstance(classes, tuple | list):
        return classes
    names = source.config.get("architectures") or ()
    return next((cls for cls in classes if cls.__name__ in names), classes[0])


def load_tokenizer(source: CheckpointSource) -> Any:
    """Load a checkpoint's tokenizer: what its `tokenizer.json` says, if it has one.

    An Auto class that finds no name of a class picks one by the model type, and that class makes its own tokenizer from
    the vocabulary alone: WordPiece for published DNABERT-2 folders, whose BPE becomes one unknown token per read.

    Raises:
        CheckpointError: The checkpoint has no tokenizer, or a damaged one.
    """
    file = source.file(TOKENIZER_FILE)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.path, trust_remote_code=False, **source.load_options)
        if file is None or _tokenises_as(tokenizer, file):
            return _with_special_tokens(tokenizer)
        error: Exception = CheckpointError(f"{type(tokenizer).__name__} does not tokenise as {TOKENIZER_FILE} says")
    except Exception as damage:
        if not is_load_error(damage):
            raise
        error = damage
    try:
        if file is not None:
            return _load_tokenizer_file(file)
    except Exception as damage:  # The tokenizers library raises plain exceptions.
        error = CheckpointError(str(damage))
    raise CheckpointError(
        f"{source.name}: its tokenizer cannot be loaded ({type(error).__name__}); give it tokenizer.json, or a "
        "tokenizer_config.json that names a class transformers knows."
    ) from error


def _tokenises_as(tokenizer: Any, file: Path) -> bool:
    """Return whether a tokenizer splits DNA and protein as a `tokenizer.json` says."""
    backend = Tokenizer.from_file(str(file))
    backend.no_truncation()
    backend.no_padding()
    return all(
        tokenizer(probe, add_special_tokens=False).input_ids == backend.encode(probe, add_special_tokens=False).ids
        for probe in TOKENIZER_PROBES
    )


def _load_tokenizer_file(file: Path) -> PreTrainedTokenizerFast:
    """Load a `tokenizer.json` as it is."""
    return _with_special_tokens(PreTrainedTokenizerFast(tokenizer_file=str(file)))


def _with_special_tokens(tokenizer: Any) -> Any:
    """Name the special tokens that a tokenizer has in its vocabulary and nobody has named."""
    vocabulary = tokenizer.get_vocab()
    for name in ("unk", "cls", "sep", "pad", "mask"):
        for token in (f"[{name.upper()}]", f"<{name}>"):
            if token in vocabulary and getattr(tokenizer, f"{name}_token", None) is None:
                setattr(tokenizer, f"{name}_token", token)
    return tokenizer


__all__ = ["load_from", "load_strict", "load_tokenizer", "mapped_class"]
