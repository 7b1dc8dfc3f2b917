"""Read encoders of many architectures with random weights, laid out as their checkpoints are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from biomeformer.genomes.proteins import esm_tokenizer
from factories import bpe_tokenizer, random_sequences

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
POSITIONS = {"max_position_embeddings": 64}


@dataclass(frozen=True)
class Layout:
    """A checkpoint of an architecture.

    Attributes:
        write: Writes it to a folder.
        max_length: Of the preprocessing config that it is admitted with.
        preprocessing: Fields asked for.
        kmer_size: Of the preprocessing config that it is admitted with.
    """

    write: Callable[[Path], None]
    max_length: int | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    kmer_size: int | None = None


def nucleotide_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """Single nucleotides, as those of HyenaDNA and Caduceus; without a padding token if none is given."""
    vocabulary = {token: i for i, token in enumerate(["<unk>", *special.values(), *"ACGTN"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if "bos_token" in special:
        bos = special["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, vocabulary[bos])]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special)


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE without an unknown token, as those of GPT-NeoX and Bloom."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(random_sequences(100, seed=7), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="A")


def kmers(k: int) -> list[str]:
    """All DNA of k bases."""
    return ["".join(letters) for letters in product("ACGT", repeat=k)]


def saved(config: hf.PreTrainedConfig, tokenizer: Any, auto: Any = hf.AutoModel) -> Callable[[Path], None]:
    """Return what writes a model of a config with random weights, and a tokenizer."""

    def write(folder: Path) -> None:
        torch.manual_seed(0)
        model = auto.from_config(config)
        # Larger weights than at the start of training, so that reads differ.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter.data, std=0.3)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return write


def write_dnabert1(folder: Path) -> None:
    """As DNABERT (2021): a masked language model without pooler, and a vocabulary of k-mers for BERT's tokenizer."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kmers(4)]
    saved(
        hf.BertConfig(vocab_size=len(vocabulary), pad_token_id=0, **SIZES, **POSITIONS),
        hf.BertTokenizer(vocab=dict(zip(vocabulary, range(len(vocabulary)), strict=True)), do_lower_case=False),
        hf.AutoModelForMaskedLM,
    )(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "model_max_length": 64}))


def write_nucleotide_transformer(folder: Path) -> None:
    """As the first Nucleotide Transformers: an ESM with tokens of six bases, and single ones where six do not fit."""
    vocabulary = ["<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *kmers(6), *"ATCGN"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = hf.EsmTokenizer(str(folder / "vocab.txt"), eos_token=None)
    config = hf.EsmConfig(
        vocab_size=len(vocabulary), pad_token_id=1, mask_token_id=2, token_dropout=False, **SIZES, **POSITIONS
    )
    saved(config, tokenizer, hf.AutoModelForMaskedLM)(folder)


def write_esm2(folder: Path) -> None:
    """As ESM-2: rotary embeddings, and amino acids."""
    config = hf.EsmConfig(
        vocab_size=33, pad_token_id=1, mask_token_id=32, token_dropout=True, position_embedding_type="rotary",
        max_position_embeddings=1026, **SIZES,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    saved(config, esm_tokenizer(folder))(folder)


NUCLEOTIDES = nucleotide_tokenizer(bos_token="<s>")
BPE = {"vocab_size": 120, "pad_token_id": 3, "bos_token_id": None, "eos_token_id": None}
SINGLE = {"vocab_size": 16, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": None}
LAYOUTS: dict[str, Layout] = {
    "BERT": Layout(saved(hf.BertConfig(vocab_size=120, pad_token_id=3, **SIZES, **POSITIONS), bpe_tokenizer()), 64),
    "ModernBERT": Layout(
        saved(
            hf.ModernBertConfig(**BPE, cls_token_id=1, sep_token_id=2, **SIZES, **POSITIONS), bpe_tokenizer()
        ),
        64,
    ),
    # Its first positions are those up to that of padding.
    "RoBERTa": Layout(saved(hf.RobertaConfig(**BPE, **SIZES, **POSITIONS), bpe_tokenizer()), 60),
    "DeBERTa": Layout(
        saved(
            hf.DebertaV2Config(
                vocab_size=120, pad_token_id=3, relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm",
                pos_att_type=["p2c", "c2p"], position_biased_input=False, **SIZES, **POSITIONS,
            ),
            bpe_tokenizer(),
        ),
        64,
    ),
    "BigBird": Layout(saved(hf.BigBirdConfig(**BPE, block_size=4, **SIZES, **POSITIONS), bpe_tokenizer()), 64),
    "T5": Layout(
        saved(
            hf.T5Config(
                vocab_size=120, pad_token_id=3, d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=4,
                decoder_start_token_id=3,
            ),
            bpe_tokenizer(),
        )
    ),
    "Llama": Layout(saved(hf.LlamaConfig(**SINGLE, num_key_value_heads=2, **SIZES, **POSITIONS), NUCLEOTIDES), 64),
    "GPT-NeoX": Layout(
        saved(hf.GPTNeoXConfig(vocab_size=320, **SIZES, **POSITIONS), byte_level_tokenizer()), 64
    ),
    "Mamba": Layout(
        saved(
            hf.MambaConfig(vocab_size=16, hidden_size=24, num_hidden_layers=2, state_size=8, pad_token_id=None),
            nucleotide_tokenizer(),
        )
    ),
    "Bloom": Layout(
        saved(hf.BloomConfig(vocab_size=320, hidden_size=24, n_layer=2, n_head=4), byte_level_tokenizer())
    ),
    "MPT": Layout(
        saved(hf.MptConfig(vocab_size=320, d_model=24, n_layers=2, n_heads=4, max_seq_len=64), byte_level_tokenizer()),
        64,
    ),
    "DNABERT-1": Layout(write_dnabert1, 64, kmer_size=4),
    "Nucleotide Transformer v1": Layout(write_nucleotide_transformer, 62),
    "ESM-2": Layout(write_esm2, 1026, {"translation": "longest_frame"}),
}  # fmt: skip
