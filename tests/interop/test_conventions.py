"""What users of transformers take for granted."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor, pipeline

import biomeformer
from biomeformer.models.dnabert2 import DnaBert2Model
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderModel, KmerTokenizer
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from factories import (
    bpe_tokenizer,
    random_genome_transformer,
    random_sequences,
    tiny_dnabert2,
    tiny_metagenbert,
    write_cohort,
    write_fastq,
)


def kmer_model(**options):
    torch.manual_seed(0)
    return KmerEncoderModel(KmerEncoderConfig(k=3, hidden_size=8, initializer_range=0.5, **options)).eval()


def cnn():
    return SequenceCnnForSequenceClassification(SequenceCnnConfig(n_filters=8, hidden_size=8)).eval()


MODELS = {
    "dnabert2": (tiny_dnabert2, {"input_ids": torch.tensor([[1, 7, 9, 2]])}, 3),
    "k-mers": (kmer_model, {"input_ids": torch.tensor([[1, 7, 9, 2]])}, 1),
    "metagenbert": (tiny_metagenbert, {"input_ids": torch.tensor([[1, 7, 9, 2]])}, 3),
    "genome": (random_genome_transformer, {"proteins": torch.randn(1, 4, 24)}, 4),
    "cnn": (cnn, {"input_ids": torch.tensor([[1, 2, 3, 4]])}, 3),
}


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_come_by_argument_and_by_config_and_have_gradients(name):
    make, inputs, n_states = MODELS[name]
    model = make()
    assert model(**inputs).hidden_states is None
    states = model(**inputs, output_hidden_states=True).hidden_states
    assert len(states) == n_states
    model.config.output_hidden_states = True
    output = model(**inputs)
    assert all(torch.equal(one, other) for one, other in zip(output.hidden_states, states, strict=True))
    output.hidden_states[0].retain_grad()
    output[0].sum().backward()
    assert output.hidden_states[0].grad.abs().sum() > 0


def test_embeddings_may_be_given_in_place_of_tokens():
    ids = torch.tensor([[1, 7, 9, 2], [1, 5, 2, 3]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    for model in (tiny_dnabert2(), kmer_model()):
        table = model.get_input_embeddings()
        by_ids = model(ids, attention_mask=mask)
        by_vectors = model(inputs_embeds=table(ids), attention_mask=mask)
        torch.testing.assert_close(by_vectors.pooler_output, by_ids.pooler_output)
        with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
            model(ids, inputs_embeds=table(ids))
    with pytest.raises(ValueError, match="reverse complement"):
        kmer_model(num_gate_heads=2)(inputs_embeds=torch.zeros(1, 4, 8))
    model = tiny_metagenbert()
    table = model.get_input_embeddings()
    by_ids, by_vectors = model(ids, attention_mask=mask), model(inputs_embeds=table(ids), attention_mask=mask)
    torch.testing.assert_close(by_vectors.read_embeddings, by_ids.read_embeddings)
    assert by_vectors.cluster_ids.tolist() == by_ids.cluster_ids.tolist()
    for wrong in ({}, {"input_ids": ids, "inputs_embeds": table(ids)}):
        with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
            model(**wrong)
    model, ids = cnn(), torch.tensor([[1, 2, 4, 3]])
    one_hot = torch.nn.functional.one_hot(ids - 1, 4).float()
    torch.testing.assert_close(model(inputs_embeds=one_hot).logits, model(ids).logits)


def test_shipped_checkpoints_are_found_by_name():
    assert isinstance(AutoModel.from_pretrained("metagenbert-mini"), MetagenBertModel)
    assert AutoProcessor.from_pretrained("metagenbert-mini").tokenizer.k == 6
    assert pipeline("metagenome-embedding", model="metagenbert-mini").task == "metagenome-embedding"


def test_a_folder_of_a_shipped_name_takes_precedence(tmp_path, monkeypatch):
    tiny_dnabert2().save_pretrained(tmp_path / "metagenbert-mini")
    monkeypatch.chdir(tmp_path)
    assert isinstance(AutoModel.from_pretrained("metagenbert-mini"), DnaBert2Model)


def test_a_sample_may_be_a_list_of_files(tmp_path):
    model = tiny_metagenbert()
    first, second = (write_fastq(tmp_path / f"{i}.fastq.gz", random_sequences(15, seed=i)) for i in (1, 2))
    one = model.embed_sample(first)
    assert (model.embed_sample([str(first)]).counts == one.counts).all()
    both = model.embed_sample([first, second])
    assert (both.counts == one.counts + model.embed_sample(second).counts).all()
    assert (biomeformer.embed_sample(model, [first, second]).counts == both.counts).all()


def test_a_model_that_cannot_be_loaded_again_is_saved_with_a_warning(tmp_path, caplog):
    model = tiny_metagenbert()
    model.save_pretrained(tmp_path / "whole")
    assert "cannot be loaded again" not in caplog.text
    model.processor = None
    model.save_pretrained(tmp_path / "part")
    assert "cannot be loaded again until a processor is saved beside it" in caplog.text


def test_results_print_as_a_few_lines_and_tables_convert(tmp_path):
    model = tiny_metagenbert()
    table = model.embed_cohort(write_cohort(tmp_path))
    sample = model.embed_sample(tmp_path / "s0.fastq.gz")
    for result in (table, sample):
        text = repr(result)
        assert len(text.splitlines()) <= 10 and max(map(len, text.splitlines())) <= 100
        assert text.startswith(f"{type(result).__name__}(") and "int64 " in text
    data, dataset = table.to_anndata(), table.to_dataset()
    assert np.array_equal(data.layers["counts"], table.counts) and list(data.obs["group"]) == ["a", "b", "a"]
    assert np.array_equal(table.to_biom().matrix_data.toarray().T, table.counts)
    assert np.array_equal(np.array(dataset["counts"]), table.counts) and dataset["group"] == ["a", "b", "a"]


def test_added_tokens_are_split_off_by_calls_and_refused_for_reads():
    tokenizer = KmerTokenizer(k=3)
    plain = tokenizer("ACGT")["input_ids"]
    tokenizer.add_tokens(["<gap>"])
    assert tokenizer("ACGT<gap>ACGT")["input_ids"] == [*plain, len(tokenizer) - 1, *plain]
    assert tokenizer.get_vocab()["<gap>"] == len(tokenizer) - 1
    with pytest.raises(ValueError, match=r"added tokens \(<gap>\)"):
        tokenizer.encode_packed(np.frombuffer(b"ACGT", np.uint8), np.array([0, 4]))
    with pytest.raises(ValueError, match="follow from k = 3"):
        kmer_model().resize_token_embeddings(len(tokenizer))


@pytest.mark.parametrize("n_gate_heads", [0, 2])
def test_reads_without_tokens_pass_through_padding_and_model(n_gate_heads):
    tokenizer, model = KmerTokenizer(k=3, canonical=not n_gate_heads), kmer_model(num_gate_heads=n_gate_heads)
    for reads in (["NN", "ACGTTG"], ["ACGTTG", "A"], ["NN", "A"]):
        batch = tokenizer(reads, padding=True, return_tensors="pt")
        output = model(**batch)
        empty = torch.tensor([set(read) == {"N"} or len(read) < 3 for read in reads])
        assert output.pooler_output[empty].abs().sum() == 0
        assert torch.isfinite(output.last_hidden_state).all()


def test_attention_weights_are_in_the_graph_and_zero_on_padding():
    model, tokenizer = tiny_dnabert2(), bpe_tokenizer()
    batch = tokenizer(random_sequences(3, 20, 60), padding=True, return_tensors="pt")
    output = model(batch["input_ids"], attention_mask=batch["attention_mask"], output_attentions=True)
    mask = batch["attention_mask"].bool()
    for weights in output.attentions:
        weights.retain_grad()
        assert weights.transpose(1, 3)[~mask].abs().sum() == 0 and weights.transpose(1, 2)[~mask].abs().sum() == 0
    output.last_hidden_state.sum().backward()
    assert output.attentions[0].grad.abs().sum() > 0


def test_flash_attention_is_refused_where_it_does_not_run():
    for model in (random_genome_transformer(), tiny_dnabert2()):
        with pytest.raises(ValueError, match="does not support Flash Attention"):
            copy.deepcopy(model).set_attn_implementation("flash_attention_2")
