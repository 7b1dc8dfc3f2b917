"""K-mers against a plain reimplementation, and the encoder over them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from biomeformer import MetagenBertProcessor
from biomeformer.inference.batching import embed_vectors
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderModel, KmerTokenizer
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.reads import ReadBatch

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def reverse_complement(read: str) -> str:
    return read.translate(COMPLEMENT)[::-1]


def canonical_kmers(read: str, k: int) -> list[str]:
    read = read.upper().replace("U", "T")
    windows = (read[i : i + k] for i in range(len(read) - k + 1))
    return [min(w, reverse_complement(w)) for w in windows if set(w) <= set("ACGT")]


def framed_kmers(read: str, k: int) -> list[str]:
    read = read.upper().replace("U", "T")
    windows = [read[i : i + k] for i in range(len(read) - k + 1)]
    kmers = [w if set(w) <= set("ACGT") else "[PAD]" for w in windows]
    return kmers if set(kmers) > {"[PAD]"} or (kmers and "[PAD]" not in kmers) else []


def pack(tokenizer, reads):
    sequence = np.frombuffer("".join(reads).encode(), np.uint8)
    return tokenizer.encode_packed(sequence, np.cumsum([0, *map(len, reads)]))


@settings(max_examples=150, deadline=None)
@given(k=st.integers(1, 9), reads=st.lists(st.text("ACGTACGTacgtuNR", max_size=40), max_size=12))
def test_tokens_are_the_canonical_kmers(k, reads):
    tokenizer = KmerTokenizer(k=k)
    ids, lengths = pack(tokenizer, reads)
    expected = [canonical_kmers(read, k) for read in reads]
    assert lengths.tolist() == [len(kmers) for kmers in expected]
    assert tokenizer.convert_ids_to_tokens(ids.tolist()) == [kmer for kmers in expected for kmer in kmers]
    assert tokenizer.convert_tokens_to_ids([kmer for kmers in expected for kmer in kmers]) == ids.tolist()


@settings(max_examples=150, deadline=None)
@given(k=st.integers(1, 9), reads=st.lists(st.text("ACGTACGTacgtuNR", max_size=40), max_size=12))
def test_tokens_in_frame_are_the_kmers(k, reads):
    tokenizer = KmerTokenizer(k=k, canonical=False)
    ids, lengths = pack(tokenizer, reads)
    expected = [framed_kmers(read, k) for read in reads]
    assert lengths.tolist() == [len(kmers) for kmers in expected]
    kmers = [kmer for read in expected for kmer in read]
    assert tokenizer.convert_ids_to_tokens(ids.tolist()) == kmers
    assert tokenizer.convert_tokens_to_ids(kmers) == ids.tolist()


@pytest.mark.parametrize(("k", "n"), [(1, 2), (2, 10), (3, 32), (4, 136), (8, 32_896)])
def test_vocabulary_holds_every_canonical_kmer(k, n):
    tokenizer = KmerTokenizer(k=k)
    assert tokenizer.vocab_size == n + 1 == KmerEncoderConfig(k=k).vocab_size
    if n < 200:
        vocabulary = tokenizer.get_vocab()
        assert sorted(vocabulary.values()) == list(range(n + 1))
        assert vocabulary["[PAD]"] == 0


def test_vocabulary_in_frame():
    vocabulary = KmerTokenizer(k=2, canonical=False).get_vocab()
    assert len(vocabulary) == 17 == KmerEncoderConfig(k=2, hidden_size=4, num_gate_heads=2).vocab_size
    assert (vocabulary["[PAD]"], vocabulary["AA"], vocabulary["AC"], vocabulary["TT"]) == (0, 1, 2, 16)


def test_kmers_of_ten_bases_are_the_longest():
    read = "ACGTTGCAACGGTTAACC"
    ids, _ = pack(KmerTokenizer(k=10), [read])
    assert KmerTokenizer(k=10).convert_ids_to_tokens(ids.tolist()) == canonical_kmers(read, 10)
    with pytest.raises(ValueError, match="k is 11"):
        KmerTokenizer(k=11)
    with pytest.raises(ValueError, match="k is 0"):
        KmerEncoderConfig(k=0)
    with pytest.raises(ValueError, match="no multiple of num_gate_heads 3"):
        KmerEncoderConfig(num_gate_heads=3)


@pytest.fixture(params=[0, 3], ids=["canonical", "gated"])
def encoder(request):
    torch.manual_seed(0)
    config = KmerEncoderConfig(k=5, hidden_size=12, num_gate_heads=request.param, initializer_range=0.5)
    return KmerEncoderModel(config).eval()


@pytest.fixture
def tokenizer(encoder):
    return KmerTokenizer(k=5, canonical=encoder.gates is None)


def gated_by_hand(encoder, read):
    """Six frames, one k-mer at a time, as the class docstring says."""
    tokenizer, k = KmerTokenizer(k=5, canonical=False), 5
    sums, scores, n = np.zeros((6, 12)), np.zeros((6, 3)), 0
    for i in range(len(read) - k + 1):
        kmer = read[i : i + k]
        if set(kmer) <= set("ACGT"):
            n += 1
            for strand, oriented in enumerate((kmer, reverse_complement(kmer))):
                token = tokenizer.convert_tokens_to_ids(oriented)
                sums[i % 3 + 3 * strand] += encoder.embeddings.weight[token].detach().numpy()
                scores[i % 3 + 3 * strand] += encoder.gates.weight[token].detach().numpy()
    weights = np.exp(scores - scores.max(0))
    weights /= weights.sum(0)
    return (sums.reshape(6, 3, 4) * weights[:, :, None]).sum(0).ravel() * 6 / n


@pytest.mark.parametrize("encoder", [3], indirect=True)
def test_gates_weigh_reading_frames(encoder, tokenizer):
    reads = ["ACGTTGCAACGGTTA", "TTTTTTACG", "ACGTA", "GGGCATTACNGGCATTA", "NNACGTTGCANNNNNNNNNGGCTAT"]
    ids, lengths = pack(tokenizer, reads)
    with torch.no_grad():
        vectors = encoder.embed_packed(torch.from_numpy(ids), torch.from_numpy(lengths))
    expected = np.stack([gated_by_hand(encoder, read) for read in reads])
    np.testing.assert_allclose(vectors.numpy(), expected, atol=1e-5)


def test_padding_is_never_trained(encoder, tokenizer):
    ids, lengths = pack(tokenizer, ["ACGTTGCANCGGTTAGGCATTANGG"])
    encoder.embed_packed(torch.from_numpy(ids), torch.from_numpy(lengths)).sum().backward()
    tables = [encoder.embeddings] + ([encoder.gates] if encoder.gates is not None else [])
    for table in tables:
        assert table.weight.grad[0].abs().max() == 0 and table.weight.grad.abs().max() > 0


def test_padded_and_packed_agree(encoder, tokenizer):
    reads = ["ACGTTGCAACGG", "TTTTTTACG", "ACGTA", "GGGCATTACNGGCATTA"]
    batch = tokenizer(reads, padding=True, return_tensors="pt")
    ids, lengths = pack(tokenizer, reads)
    assert batch["input_ids"][batch["attention_mask"].bool()].tolist() == ids.tolist()
    with torch.no_grad():
        outputs = encoder(**batch)
        packed = encoder.embed_packed(torch.from_numpy(ids), torch.from_numpy(lengths))
        summed = encoder.embed_packed(
            torch.from_numpy(ids), torch.from_numpy(lengths), pooling="mean_over_max_length", max_length=20
        )
    n_kmers = torch.tensor([8, 5, 1, 8])
    torch.testing.assert_close(outputs.pooler_output, packed, atol=1e-5, rtol=0)
    torch.testing.assert_close(summed, packed * n_kmers[:, None] / 20, atol=1e-5, rtol=0)
    assert outputs.last_hidden_state[batch["attention_mask"] == 0].abs().max() == 0
    with pytest.raises(ValueError, match="no \\[CLS\\]"):
        encoder.embed_packed(torch.from_numpy(ids), torch.from_numpy(lengths), pooling="cls")


def test_strands_and_batches_give_one_vector(encoder, tokenizer):
    rng = np.random.default_rng(0)
    reads = ["".join(rng.choice(list("ACGT"), rng.integers(20, 150))) for _ in range(50)]

    def embed(batch):
        ids, lengths = pack(tokenizer, batch)
        with torch.no_grad():
            return encoder.embed_packed(torch.from_numpy(ids), torch.from_numpy(lengths))

    together = embed(reads)
    torch.testing.assert_close(embed([reverse_complement(r) for r in reads]), together, atol=1e-5, rtol=0)
    assert torch.equal(torch.cat([embed([read]) for read in reads]), together)


@pytest.mark.parametrize("encoder", [3], indirect=True)
def test_reads_without_kmers_have_no_vector(encoder, tokenizer):
    reads = ["", "ACGTTGCAACGG", "ACG", "", "TTTNTACGATTACA", "GGCATTAGG", ""]
    ids, lengths = (torch.from_numpy(x) for x in pack(tokenizer, reads))
    with torch.no_grad():
        vectors = encoder.embed_packed(ids, lengths)
        alone = [encoder.embed_packed(ids[:0], lengths[:1]), encoder.embed_packed(ids[:0], lengths[:0])]
    assert [bool(vector.any()) for vector in vectors] == [False, True, False, False, True, True, False]
    assert not alone[0].any() and alone[1].shape == (0, 12)
    for i in (1, 4, 5):
        np.testing.assert_allclose(vectors[i].numpy(), gated_by_hand(encoder, reads[i]), atol=1e-5)


@pytest.mark.parametrize("n_heads", [0, 2])
def test_gradients_are_those_of_the_vectors(n_heads):
    torch.manual_seed(0)
    encoder = KmerEncoderModel(KmerEncoderConfig(k=1, hidden_size=6, num_gate_heads=n_heads)).double()
    ids = torch.randint(1, encoder.config.vocab_size, (2, 10))
    names = [name for name, _ in encoder.named_parameters()]

    def embed(*weights):
        return torch.func.functional_call(encoder, dict(zip(names, weights, strict=True)), (ids,)).pooler_output

    weights = [torch.randn_like(weight).requires_grad_() for weight in encoder.parameters()]
    assert torch.autograd.gradcheck(embed, weights)
    with torch.no_grad():
        vectors = embed(*weights)
    assert torch.equal(embed(*weights), vectors)


def test_mixup_mixes_vectors(encoder, tokenizer):
    ids, lengths = (torch.from_numpy(x) for x in pack(tokenizer, ["ACGTTGCAACGG", "TTTTTTACG", "GGCATTAGG"]))
    with torch.no_grad():
        plain = encoder.embed_packed(ids, lengths)
        mixed = encoder.embed_packed_mixed(ids, lengths, torch.tensor([2, 0, 1]), torch.tensor([1.0, 0.75, 0.5]))
    expected = torch.stack([plain[0], 0.75 * plain[1] + 0.25 * plain[0], 0.5 * plain[2] + 0.5 * plain[1]])
    torch.testing.assert_close(mixed, expected)


def test_saved_and_reloaded_in_a_fresh_process(encoder, tokenizer, tmp_path):
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(again.embeddings.weight, encoder.embeddings.weight)
    assert encoder.embeddings.weight[0].abs().max() == 0
    with torch.device("meta"):
        meta = KmerEncoderModel(encoder.config)
    assert meta.embeddings.weight.shape == encoder.embeddings.weight.shape
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (reloaded.k, reloaded.canonical) == (5, encoder.gates is None)
    script = f"""
import biomeformer
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({str(tmp_path)!r})
model = AutoModel.from_pretrained({str(tmp_path)!r})
print(tokenizer(["ACGTTGCA"])["input_ids"][0], type(model).__name__)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"{tokenizer(['ACGTTGCA'])['input_ids'][0]} KmerEncoderModel"


def test_under_the_contract(encoder, tokenizer):
    processor = MetagenBertProcessor(tokenizer, min_read_length=8, max_length=10)
    model = MetagenBertModel.from_encoder_and_centroids(encoder, np.eye(3, 12), processor=processor)
    reads = ["ACGTTGCAACGG", "ACGTTGC", "NNNNNNNNNN", "ACGNACGNACGN", "acgttgcaacggacgttgcaacgg"]
    vectors, packed = embed_vectors(model, processor, ReadBatch.from_strings(reads))
    assert packed.rows.tolist() == [0, 4] and packed.lengths.tolist() == [8, 10] and vectors.shape == (2, 12)
    outputs = model(**processor([reads[0], reads[4]]))
    np.testing.assert_allclose(outputs.read_embeddings.detach().numpy(), vectors, atol=1e-5)
    assert packed.read_stats == {
        "n_used": 2, "n_too_short": 1, "n_no_tokens": 2, "n_truncated": 1, "n_ambiguous": 0, "n_lower_case": 1,
        "n_windows": 2, "n_tokens": 18, "n_unknown_tokens": 0,
    }  # fmt: skip


def test_kept_tables_follow_the_weights():
    """Tables are kept between batches; however the weights change, the next batch sees it."""
    torch.manual_seed(0)
    model = KmerEncoderModel(KmerEncoderConfig(k=3, hidden_size=64, num_gate_heads=4)).eval()
    lengths = torch.tensor([5, 9, 1, 30])
    ids = torch.randint(0, 65, (int(lengths.sum()),))

    def fresh():
        copy = KmerEncoderModel(model.config).eval()
        copy.load_state_dict(model.state_dict())
        return copy.embed_packed(ids, lengths).detach()

    with torch.inference_mode():
        first = model.embed_packed(ids, lengths)
        assert torch.equal(first, model.embed_packed(ids, lengths))
    changes = [
        lambda: model.embeddings.weight.mul_(2),
        lambda: model.gates.weight.add_(torch.randn_like(model.gates.weight)),
        lambda: model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()}),
        lambda: setattr(model.embeddings, "weight", torch.nn.Parameter(torch.randn_like(model.embeddings.weight))),
        lambda: setattr(model.gates.weight, "data", torch.randn_like(model.gates.weight)),
        lambda: model.double(),
    ]
    for change in changes:
        with torch.no_grad():
            change()
            before = first
            first = model.embed_packed(ids, lengths)
        assert not torch.equal(first.float(), before.float())
        if first.dtype == torch.float32:
            assert torch.equal(first, fresh())
    # With gradients nothing is kept, and the vectors are the same.
    trained = model.embed_packed(ids, lengths)
    assert trained.requires_grad and torch.equal(trained.detach(), first)
    trained.sum().backward()
    assert model.embeddings.weight.grad.abs().sum() > 0 and model.gates.weight.grad.abs().sum() > 0
