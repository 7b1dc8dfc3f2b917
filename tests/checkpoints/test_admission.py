"""Read encoders that cannot embed DNA are refused when they are loaded, each with the reason."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

import biomeformer
from biomeformer import load_encoder_with_processor, load_read_encoder
from biomeformer.checkpoints.admission import position_limit, require_admitted
from biomeformer.errors import CheckpointError, InputError
from biomeformer.metagenomes import fit_centroids
from biomeformer.models.metagenbert import MetagenBertModel, MetagenBertProcessor
from biomeformer.sequences.preprocessing import SequencePreprocessing
from biomeformer.sequences.starting_points import new_classifier
from factories import bpe_tokenizer, random_sequences, tiny_bert, tiny_metagenbert, write_cohort, write_fastq
from read_encoders import LAYOUTS, POSITIONS, SIZES, saved

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of", "gut", *"acgt", "##a", "##c", "##g", "##t"]


def word_tokenizer(words: list[str], **options) -> hf.BertTokenizer:
    return hf.BertTokenizer(vocab={word: i for i, word in enumerate(words)}, **options)


def bert_config(**changes) -> hf.BertConfig:
    return hf.BertConfig(**{"vocab_size": 120, "pad_token_id": 0, **SIZES, **POSITIONS, **changes})


def letters_tokenizer(letters: str) -> PreTrainedTokenizerFast:
    """A BPE of single letters without an unknown token: others are dropped."""
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        # Of more than 100 letters, BERT's tokenizer makes one unknown token; such reads had all one vector.
        (word_tokenizer(WORDS), r"does not know DNA: \d% of the letters .*random reads"),
        (word_tokenizer(WORDS[:8]), r"does not know DNA: 0% .*ACGTTGCA becomes \[UNK\]"),
        (letters_tokenizer("xyz"), "does not know DNA: 0% .*ACGTTGCA becomes nothing"),
        (letters_tokenizer("A"), r"does not know DNA: 2\d% of the letters"),
    ],
    ids=["long words", "words", "no letter", "one letter"],
)
def test_a_tokenizer_that_does_not_know_dna_is_refused_at_every_door(tokenizer, words, tmp_path):
    saved(bert_config(), tokenizer)(tmp_path / "encoder")
    for load in (load_read_encoder, load_encoder_with_processor):
        with pytest.raises(CheckpointError, match=words):
            load(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=words):
        new_classifier(str(tmp_path / "encoder"), ["a", "b"], SequencePreprocessing("binary"))
    # A checkpoint that was made with it, by an earlier version.
    encoder = hf.AutoModel.from_pretrained(tmp_path / "encoder")
    processor = MetagenBertProcessor(tokenizer, max_length=64)
    with pytest.raises(CheckpointError, match=words):
        fit_centroids(write_cohort(tmp_path / "cohort"), encoder, processor, n_clusters=2)
    model = MetagenBertModel.from_encoder_and_centroids(encoder, np.eye(3, 24), processor=processor)
    with pytest.raises(CheckpointError, match=words):
        model.embed_cohort(tmp_path / "cohort" / "cohort.csv")
    model.save_pretrained(tmp_path / "model")
    for load in (biomeformer.load, MetagenBertModel.from_pretrained, hf.AutoModel.from_pretrained):
        with pytest.raises(ValueError, match=words):
            load(tmp_path / "model")
    with pytest.raises(ValueError, match=words):
        hf.pipeline("metagenome-embedding", model=str(tmp_path / "model"))


def test_a_protein_encoder_is_refused_without_translation_and_a_dna_encoder_with_it(tmp_path):
    LAYOUTS["ESM-2"].write(tmp_path / "esm")
    with pytest.raises(CheckpointError, match=r"esm is an encoder of proteins: .*translate the reads \(--translate"):
        load_encoder_with_processor(tmp_path / "esm")
    assert load_encoder_with_processor(tmp_path / "esm", translation="longest_frame")[1].translation == "longest_frame"
    LAYOUTS["DNABERT-1"].write(tmp_path / "dna")
    with pytest.raises(CheckpointError, match="does not know translated DNA"):
        load_encoder_with_processor(tmp_path / "dna", translation="longest_frame")


def test_sequences_are_not_tokenised_as_kmers_so_dnabert1_is_refused_for_them(tmp_path):
    LAYOUTS["DNABERT-1"].write(tmp_path / "dna")
    with pytest.raises(CheckpointError, match="does not know DNA"):
        new_classifier(str(tmp_path / "dna"), ["a", "b"], SequencePreprocessing("binary"))


def test_a_classifier_is_limited_to_the_positions_of_its_encoder(tmp_path):
    saved(bert_config(), bpe_tokenizer())(tmp_path / "encoder")
    classifier = new_classifier(str(tmp_path / "encoder"), ["a", "b"], SequencePreprocessing("binary"))
    assert classifier.preprocessing.max_tokens == 64
    assert classifier.logits(random_sequences(2, 2000, 2000)).isfinite().all()
    with pytest.raises(InputError, match=r"takes at most 64 tokens .* says max_length 65"):
        new_classifier(str(tmp_path / "encoder"), ["a", "b"], SequencePreprocessing("binary", max_tokens=65))


@pytest.mark.parametrize(("asked", "said"), [(65, "says max_length 65"), (10_000, "says max_length 10000")])
def test_more_tokens_than_positions_are_refused(asked, said, tmp_path):
    saved(bert_config(), bpe_tokenizer())(tmp_path / "encoder")
    with pytest.raises(InputError, match=f"takes at most 64 tokens .*{said}"):
        load_encoder_with_processor(tmp_path / "encoder", max_length=asked)
    assert load_encoder_with_processor(tmp_path / "encoder", max_length=20)[1].max_length == 20


def test_more_tokens_than_a_rotary_encoder_was_made_for_are_possible(tmp_path):
    LAYOUTS["Llama"].write(tmp_path / "encoder")
    encoder, processor = load_encoder_with_processor(tmp_path / "encoder", max_length=500)
    assert processor.max_length == 500 and position_limit(encoder).n_tokens == 64
    model = MetagenBertModel.from_encoder_and_centroids(encoder, np.zeros((1, 24)), processor=processor)
    with torch.no_grad():
        assert model(**processor(random_sequences(1, 400, 400))).read_embeddings.isfinite().all()


@pytest.mark.parametrize(
    ("make", "n_tokens"),
    [
        (lambda: hf.BertModel(bert_config()), 64),
        (lambda: hf.RobertaModel(hf.RobertaConfig(vocab_size=120, pad_token_id=1, **SIZES, **POSITIONS)), 62),
        (lambda: hf.EsmModel(hf.EsmConfig(vocab_size=33, pad_token_id=1, mask_token_id=32, **SIZES, **POSITIONS)), 62),
        (lambda: hf.GPT2Model(hf.GPT2Config(vocab_size=120, n_positions=48, n_embd=24, n_layer=2, n_head=4)), 48),
        (
            lambda: hf.BartModel(
                hf.BartConfig(
                    vocab_size=120, d_model=24, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=32,
                    decoder_ffn_dim=32, encoder_attention_heads=4, decoder_attention_heads=4, **POSITIONS,
                )
            ).encoder,
            64,
        ),
    ],
    ids=["BERT", "RoBERTa", "ESM", "GPT-2", "BART"],
)  # fmt: skip
def test_position_limit_is_the_most_tokens_that_run(make, n_tokens):
    encoder = make().eval()
    limit = position_limit(encoder)
    assert (limit.n_tokens, limit.is_hard) == (n_tokens, True)
    run = lambda n: encoder(input_ids=torch.full((1, n), 5), attention_mask=torch.ones(1, n))  # noqa: E731
    with torch.no_grad():
        assert run(n_tokens).last_hidden_state.shape[1] == n_tokens
        with pytest.raises((IndexError, RuntimeError)):
            run(n_tokens + 1)


def test_an_old_checkpoint_without_max_length_truncates_and_counts_where_it_failed_before(tmp_path):
    model = tiny_metagenbert(tiny_bert())
    assert model.processor.max_length is None and model.encoder.config.max_position_embeddings == 512
    model.save_pretrained(tmp_path / "model")
    loaded = biomeformer.load(tmp_path / "model")
    path = write_fastq(tmp_path / "long.fastq", [*random_sequences(3), *random_sequences(1, 20_000, 20_000)])
    sample = loaded.embed_sample(path)
    assert sample.read_stats["n_truncated"] == 1 and sample.counts.sum() == 4
    # Its tables join those made before.
    assert loaded.processor.preprocessing == model.processor.preprocessing


class Noisy(hf.BertModel):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state + torch.randn_like(output.last_hidden_state)
        return output


class Pooled(hf.BertModel):
    def forward(self, *args, **kwargs):
        return SimpleNamespace(pooler_output=super().forward(*args, **kwargs).pooler_output)


class Shortened(hf.BertModel):
    def forward(self, *args, **kwargs):
        return SimpleNamespace(last_hidden_state=super().forward(*args, **kwargs).last_hidden_state[:, :3])


class Constant(hf.BertModel):
    def forward(self, input_ids, **kwargs):
        return SimpleNamespace(last_hidden_state=torch.ones(*input_ids.shape, 24))


class Broken(hf.BertModel):
    def forward(self, input_ids, **kwargs):
        return SimpleNamespace(last_hidden_state=torch.full((*input_ids.shape, 24), torch.nan))


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Noisy, "other vectors by itself than beside others"),
        (Pooled, "gives no hidden state per token"),
        (Shortened, r"is \(2, 3, 24\) for \(2, \d+\) tokens, not a hidden state of 24 numbers per token"),
        (Constant, "different reads have equal hidden states"),
        (Broken, "its hidden states are NaN or infinite in float32"),
    ],
)
def test_an_output_that_is_no_hidden_state_of_the_read_is_refused(cls, words):
    torch.manual_seed(0)
    with pytest.raises(CheckpointError, match=words):
        require_admitted(cls(bert_config()).eval(), MetagenBertProcessor(bpe_tokenizer(), max_length=64))


@pytest.mark.parametrize(
    "config",
    [
        hf.ViTConfig(image_size=16, patch_size=8, **SIZES),
        hf.ReformerConfig(vocab_size=120, is_decoder=False, axial_pos_embds=False, max_position_embeddings=128),
    ],
    ids=["ViT", "Reformer"],
)
def test_models_of_other_inputs_and_outputs_are_refused(config, tmp_path):
    saved(config, bpe_tokenizer())(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="give an encoder of sequences"):
        load_read_encoder(tmp_path / "encoder")


def test_pooling_the_first_token_of_a_causal_encoder_is_refused(tmp_path):
    LAYOUTS["Llama"].write(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="equal hidden states, of which pooling 'cls' takes the first"):
        load_encoder_with_processor(tmp_path / "encoder", pooling="cls")


def test_bigbird_attends_to_all_blocks_so_that_no_batch_changes_the_next(tmp_path):
    LAYOUTS["BigBird"].write(tmp_path / "encoder")
    encoder, processor = load_encoder_with_processor(tmp_path / "encoder")
    assert encoder.config.attention_type == "original_full"
    model = MetagenBertModel.from_encoder_and_centroids(encoder, np.zeros((1, 24)), processor=processor)
    long, short = processor(random_sequences(1, 150, 150)), processor(random_sequences(1, 20, 20))
    with torch.no_grad():
        first, _, again = (model(**batch).read_embeddings for batch in (long, short, long))
    assert torch.equal(first, again)


def test_the_encoder_of_an_encoder_decoder_has_no_decoder(tmp_path):
    LAYOUTS["T5"].write(tmp_path / "encoder")
    encoder, _ = load_read_encoder(tmp_path / "encoder")
    assert not any("decoder" in name for name, _ in encoder.named_modules())
    assert encoder.name_or_path == str(tmp_path / "encoder")


PLUGIN = """
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutput

class MadeConfig(PreTrainedConfig):
    model_type = "{model_type}"
    def __init__(self, hidden_size=8, vocab_size=120, **kwargs):
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
        super().__init__(**kwargs)

class MadeModel(PreTrainedModel):
    config_class = MadeConfig
    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()
    def forward(self, input_ids, attention_mask=None, **kwargs):
        return BaseModelOutput(last_hidden_state=self.table(input_ids).cumsum(1))

CLASSES = {classes}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package with a read encoder of a model type, and registers it as an import of transformers does."""
    from transformers.models.auto import configuration_auto

    from biomeformer.registration import _register_auto_classes

    installed = []

    def install(model_type: str, classes: str = "{'AutoConfig': MadeConfig, 'AutoModel': MadeModel}") -> None:
        site = tmp_path / "site"
        info = site / f"{model_type}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{model_type}.py").write_text(PLUGIN.replace("{model_type}", model_type).replace("{classes}", classes))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {model_type}\nVersion: 1.0\n")
        group = f"[biomeformer.read_encoders]\n{model_type} = {model_type}:CLASSES\n"
        (info / "entry_points.txt").write_text(group)
        monkeypatch.syspath_prepend(site)
        installed.append(model_type)
        _register_auto_classes(configuration_auto)

    yield install
    for model_type in installed:
        del configuration_auto.CONFIG_MAPPING._extra_content[model_type]


def with_remote_code(folder, model_type):
    """A checkpoint whose code lies beside it, as on the Hub; it raises an error where it is run."""
    folder.mkdir()
    torch.manual_seed(0)
    hf_weights = {"table.weight": nn.init.normal_(torch.empty(120, 8))}
    from safetensors.torch import save_file

    save_file(hf_weights, folder / "model.safetensors", {"format": "pt"})
    code = {"AutoConfig": "modeling_made.MadeConfig", "AutoModel": "modeling_made.MadeModel"}
    config = {"model_type": model_type, "hidden_size": 8, "vocab_size": 120, "auto_map": code}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_made.py").write_text("raise RuntimeError('remote code ran')\n")
    bpe_tokenizer().save_pretrained(folder)
    return folder


def test_an_installed_package_registers_the_classes_of_an_encoder_with_remote_code(install, tmp_path):
    folder = with_remote_code(tmp_path / "encoder", "made_encoder")
    words = (
        "model_type 'made_encoder', which neither .* the code beside it is not run; install a package .*entry points"
    )
    with pytest.raises(CheckpointError, match=words):
        load_read_encoder(folder)
    install("made_encoder")
    encoder, processor = load_encoder_with_processor(folder)
    assert type(encoder).__module__ == "made_encoder"
    fit = fit_centroids(write_cohort(tmp_path / "cohort"), encoder, processor, n_clusters=3, reads_per_sample=20)
    fit.save(tmp_path / "model")
    table = biomeformer.load(tmp_path / "model").embed_cohort(tmp_path / "cohort" / "cohort.csv")
    assert table.counts.sum(1).tolist() == [60, 60, 60]


@pytest.mark.parametrize(
    ("name", "classes", "words"),
    [
        ("made_broken", "1 / 0", "ZeroDivisionError"),
        ("made_without_config", "{'AutoModel': MadeModel}", "KeyError"),
        ("made_nothing", "None", "TypeError"),
    ],
)
def test_a_package_with_a_broken_encoder_is_named(name, classes, words, install, tmp_path):
    folder = with_remote_code(tmp_path / "encoder", name)
    install(name, classes)
    with pytest.raises(CheckpointError, match=f"installed package {name} .*cannot be used: {words}"):
        load_read_encoder(folder)
