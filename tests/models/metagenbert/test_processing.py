"""The preprocessing config, read by read."""

import numpy as np
import pytest

from biomeformer.models.metagenbert import MetagenBertProcessor
from factories import bpe_tokenizer, random_sequences

READ = "ACGTTGCAACGGTTAACCGATAGCATCGACTG"


def encode(reads, **preprocessing):
    processor = MetagenBertProcessor(bpe_tokenizer(), **preprocessing)
    sequence = np.frombuffer("".join(reads).encode(), np.uint8)
    packed = processor.encode_reads(sequence, np.cumsum([0, *map(len, reads)]))
    ends = np.cumsum(packed.lengths)
    return [packed.input_ids[e - n : e].tolist() for e, n in zip(ends, packed.lengths, strict=True)], packed


def test_equals_the_tokenizer():
    reads = random_sequences(30, 10, 200)
    ids, packed = encode(reads)
    assert ids == bpe_tokenizer()(reads)["input_ids"]
    assert packed.read_stats == {
        "n_used": 30, "n_too_short": 0, "n_no_tokens": 0, "n_truncated": 0, "n_ambiguous": 0, "n_lower_case": 0
    }  # fmt: skip


def test_folding_and_tallies():
    reads = [READ, READ.lower(), READ.replace("T", "U"), READ[:10] + "N" + READ[11:], READ[:10] + "r" + READ[11:]]
    reads += ["", "ACG", "N" * 40]
    ids, packed = encode(reads, min_read_length=5)
    assert packed.rows.tolist() == [0, 1, 2, 3, 4]
    assert ids[0] == ids[1] == ids[2] and ids[3] == ids[4] and ids[0] != ids[3]
    assert 0 in ids[3]
    assert packed.read_stats == {
        "n_used": 5, "n_too_short": 2, "n_no_tokens": 1, "n_truncated": 0, "n_ambiguous": 2, "n_lower_case": 2
    }  # fmt: skip


def test_keeping_what_the_file_says():
    tokenizer = bpe_tokenizer()
    reads = [READ.lower(), READ.replace("T", "U"), READ[:10] + "r" + READ[11:]]
    ids, _ = encode(reads, case="keep", uracil="keep", ambiguous_bases="keep")
    assert ids == tokenizer(reads)["input_ids"]


@pytest.mark.parametrize("max_length", [4, 12, 30])
def test_truncation_keeps_head_and_special_tokens(max_length):
    reads = random_sequences(20, 10, 300)
    ids, packed = encode(reads, max_length=max_length)
    tokenizer = bpe_tokenizer()
    expected = tokenizer(reads, truncation=True, max_length=max_length)["input_ids"]
    assert ids == expected
    n_longer = sum(len(i) > max_length for i in tokenizer(reads)["input_ids"])
    assert packed.read_stats["n_truncated"] == n_longer > 0


def test_two_megabase_read_is_cut_before_it_is_tokenised():
    (read,) = random_sequences(1, 2_000_000, 2_000_000)
    ids, packed = encode([read, READ], max_length=64)
    assert ids[0] == bpe_tokenizer()([read[:2000]], truncation=True, max_length=64)["input_ids"][0]
    assert packed.read_stats["n_truncated"] == 1 and packed.read_stats["n_used"] == 2


def test_call_pads_with_the_tokenizers_pad():
    processor = MetagenBertProcessor(bpe_tokenizer())
    batch = processor([READ, READ[:12]])
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 3).all()
    with pytest.raises(ValueError, match=r"Read 1 \(0 bases\) gives no token"):
        processor([READ, ""])
    with pytest.raises(ValueError, match="padding: not an option"):
        processor([READ], padding=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("case", "lower"), ("ambiguous_bases", "drop"), ("truncation", "tail"), ("min_read_length", 0), ("max_length", 2)],
)
def test_unknown_choices_are_errors(field, value):
    with pytest.raises(ValueError, match=field):
        MetagenBertProcessor(bpe_tokenizer(), **{field: value})


def test_published_tokenizer_gives_the_authors_ids(shared_data):
    """The published DNABERT-2 vocabulary gives the ids its authors print."""
    import json

    from transformers import PreTrainedTokenizerFast

    folder = shared_data / "tokenizer"
    known = json.loads((folder / "known_outputs.json").read_text())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "dnabert2_tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]"
    )
    batch = MetagenBertProcessor(tokenizer)(known["sequence"])
    assert batch["input_ids"][0].tolist() == known["input_ids"]
