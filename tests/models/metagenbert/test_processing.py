"""The preprocessing config, read by read."""

import itertools

import numpy as np
import pytest

from biomeformer.models.kmer_encoder import KmerTokenizer
from biomeformer.models.metagenbert import MetagenBertProcessor
from biomeformer.models.metagenbert.packed_tokenizer import spaced_kmers
from biomeformer.models.metagenbert.processing_metagenbert import PREPROCESSING_FIELDS
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
        "n_used": 30, "n_too_short": 0, "n_no_tokens": 0, "n_truncated": 0, "n_ambiguous": 0, "n_lower_case": 0,
        "n_windows": 30, "n_tokens": sum(len(i) - 2 for i in ids), "n_unknown_tokens": 0,
    }  # fmt: skip


def test_folding_and_tallies():
    reads = [READ, READ.lower(), READ.replace("T", "U"), READ[:10] + "N" + READ[11:], READ[:10] + "r" + READ[11:]]
    reads += ["", "ACG", "N" * 40]
    ids, packed = encode(reads, min_read_length=5)
    assert packed.rows.tolist() == [0, 1, 2, 3, 4]
    assert ids[0] == ids[1] == ids[2] and ids[3] == ids[4] and ids[0] != ids[3]
    assert 0 in ids[3]
    assert packed.read_stats == {
        "n_used": 5, "n_too_short": 2, "n_no_tokens": 1, "n_truncated": 0, "n_ambiguous": 2, "n_lower_case": 2,
        "n_windows": 5, "n_tokens": sum(len(i) - 2 for i in ids), "n_unknown_tokens": 2,
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


@pytest.mark.parametrize("max_length", [7, 30])
def test_windows_hold_all_tokens_of_a_read_in_equal_parts(max_length):
    reads = [*random_sequences(6, 100, 400), "", "ACG", *random_sequences(2, 10, 20)]
    ids, packed = encode(reads, max_length=max_length, truncation="windows")
    tokenizer = bpe_tokenizer()
    for row, read in enumerate(reads):
        whole = tokenizer(read, add_special_tokens=False)["input_ids"]
        windows = [window for window, of in zip(ids, packed.rows, strict=True) if of == row]
        assert [token for window in windows for token in window[1:-1]] == whole
        assert all(window[0] == 1 and window[-1] == 2 and len(window) <= max_length for window in windows)
        assert len(windows) == -(-len(whole) // (max_length - 2))
        sizes = [len(window) for window in windows]
        assert not sizes or max(sizes) - min(sizes) <= 1
    stats = packed.read_stats
    assert (stats["n_used"], stats["n_too_short"], stats["n_truncated"]) == (9, 1, 0)
    assert stats["n_windows"] == len(ids) > 9


def test_windows_of_a_kmer_tokenizer_hold_all_of_its_tokens():
    (read,) = random_sequences(1, 500, 500)
    tokenizer = KmerTokenizer(k=4)
    processor = MetagenBertProcessor(tokenizer, max_length=64, truncation="windows")
    packed = processor.encode_reads(np.frombuffer(read.encode(), np.uint8), np.array([0, 500]))
    assert packed.lengths.tolist() == [62, 62, 62, 62, 62, 62, 62, 63] and packed.rows.tolist() == [0] * 8
    assert packed.input_ids.tolist() == tokenizer(read)["input_ids"]


def test_windows_without_a_length_are_an_error():
    with pytest.raises(ValueError, match="'windows' needs max_length"):
        MetagenBertProcessor(bpe_tokenizer(), truncation="windows")


@pytest.mark.parametrize("k", [1, 3, 6])
def test_spaced_kmers_equal_those_of_a_loop(k):
    reads = [*random_sequences(10, 1, 40), "", "AC"]
    text, offsets = spaced_kmers(np.frombuffer("".join(reads).encode(), np.uint8), np.cumsum([0, *map(len, reads)]), k)
    written = [text[begin:end].tobytes().decode() for begin, end in itertools.pairwise(offsets)]
    assert written == ["".join(f"{read[i : i + k]} " for i in range(len(read) - k + 1)) for read in reads]


def test_fields_of_later_versions_are_in_the_preprocessing_config_only_if_used():
    old = MetagenBertProcessor(bpe_tokenizer()).preprocessing
    assert set(old) == set(PREPROCESSING_FIELDS)
    new = MetagenBertProcessor(bpe_tokenizer(), kmer_size=3, translation="longest_frame").preprocessing
    assert new == old | {"kmer_size": 3, "translation": "longest_frame"}


def test_saved_processor_keeps_windows_kmers_and_translation(tmp_path):
    fields = {"kmer_size": 3, "translation": "longest_frame", "truncation": "windows", "max_length": 12}
    processor = MetagenBertProcessor(bpe_tokenizer(), **fields)
    processor.save_pretrained(tmp_path)
    assert MetagenBertProcessor.from_pretrained(tmp_path).preprocessing == processor.preprocessing
    assert processor.replace(max_length=20).preprocessing == processor.preprocessing | {"max_length": 20}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("case", "lower"),
        ("ambiguous_bases", "drop"),
        ("truncation", "tail"),
        ("min_read_length", 0),
        ("max_length", 2),
        ("translation", "all"),
        ("kmer_size", 0),
        ("kmer_size", "3"),
    ],
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
