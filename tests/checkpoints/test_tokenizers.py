"""A checkpoint's tokenizer is what its `tokenizer.json` says, whatever class an Auto class picks."""

import json

import pytest
from tokenizers import Tokenizer

from biomeformer.checkpoints.loader import load_tokenizer
from biomeformer.checkpoints.source import open_checkpoint
from biomeformer.errors import CheckpointError
from factories import bpe_tokenizer, random_sequences, tiny_bert

READS = random_sequences(20)


def folder_of(tmp_path, **tokenizer_config):
    """Make a folder as DNABERT-2 is published: model_type bert, weights, and tokenizer.json."""
    tiny_bert().save_pretrained(tmp_path)
    bpe_tokenizer().backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    if tokenizer_config:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return tmp_path


@pytest.mark.parametrize(
    "tokenizer_config",
    [
        {},
        {"model_max_length": 512},
        {"tokenizer_class": "BertTokenizer"},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
    ],
    ids=["no config", "no class", "another class", "its class"],
)
def test_dna_is_tokenised_as_the_file_says(tmp_path, tokenizer_config):
    folder = folder_of(tmp_path, **tokenizer_config)
    tokenizer = load_tokenizer(open_checkpoint(str(folder)))
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer(READS, add_special_tokens=False).input_ids
    assert ids == [backend.encode(read, add_special_tokens=False).ids for read in READS]
    assert min(map(len, ids)) > 10
    assert tokenizer.pad_token_id == backend.token_to_id("[PAD]")
    assert tokenizer.unk_token_id == backend.token_to_id("[UNK]")


def test_a_damaged_tokenizer_is_refused_by_one_sentence(tmp_path):
    folder = folder_of(tmp_path)
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(CheckpointError, match=r"its tokenizer cannot be loaded \(.*give it tokenizer.json"):
        load_tokenizer(open_checkpoint(str(folder)))
