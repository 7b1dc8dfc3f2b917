"""Arguments that are best kept on the CPU may be on the card: DistributedDataParallel moves every one of them there."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain, combinations

import numpy as np
import pytest
import torch

from biomeformer import GenomeTransformerConfig, GenomeTransformerForSequenceClassification
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.inference.packed_esm import mean_residue_vectors
from biomeformer.models.dnabert2 import (
    DnaBert2Config,
    DnaBert2ForMaskedLM,
    DnaBert2ForSequenceClassification,
    DnaBert2Model,
)
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderModel
from biomeformer.models.kmer_encoder.modeling_kmer_encoder import KmerEncoderForSequenceClassification
from biomeformer.models.metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from biomeformer.training.objectives.modules import ContrastiveLearning, SpeciesClassification
from emulated_card import CARD, CardTensor, EmulatedCard, install, put_on_card
from factories import tiny_bert, tiny_dnabert2, tiny_esm, tiny_metagenbert

# Unsorted, with equal ones, one token alone, and one at a multiple of the kernels' sizes.
LENGTHS = torch.tensor([9, 3, 17, 1, 9, 64, 2])


@pytest.fixture(autouse=True)
def card(monkeypatch):
    install(monkeypatch)
    with torch.no_grad():
        yield


def tokens(n: int, high: int = 120, seed: int = 0) -> torch.Tensor:
    return torch.randint(5, high, (n,), generator=torch.Generator().manual_seed(seed))


def eager(model):
    """Kernels that need no card: the fused ones would be asked for theirs on CUDA."""
    model.set_attn_implementation("eager")
    return model


def kmer(gates: int) -> KmerEncoderModel:
    torch.manual_seed(0)
    return KmerEncoderModel(KmerEncoderConfig(k=3, hidden_size=16, num_gate_heads=gates)).eval()


def every_choice(names: list[str]) -> list[set[str]]:
    return [set(some) for some in chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))]


def agree(call, model, moved: dict[str, torch.Tensor], stays: dict[str, torch.Tensor]) -> None:
    """A call with any of the arguments `stays` on the card, and all of `moved`, equals the one on the CPU."""
    want = call(model, **moved, **stays)
    for choice in every_choice(list(stays)):
        with EmulatedCard():
            on_card = put_on_card(deepcopy(model))
            arguments = {name: value.to(CARD) for name, value in moved.items()}
            arguments |= {name: value.to(CARD) if name in choice else value for name, value in stays.items()}
            got = call(on_card, **arguments)
            assert isinstance(got, CardTensor)
            got = got.cpu()
        torch.testing.assert_close(got, want, msg=lambda text, c=choice: f"{c} on the card: {text}")


ENCODERS = {"dnabert2": tiny_dnabert2, "kmer": lambda: kmer(0), "gated kmer": lambda: kmer(2)}


@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS.sort().values], ids=["unsorted", "sorted"])
@pytest.mark.parametrize("pooling", ["mean", "mean_over_max_length"])
@pytest.mark.parametrize("name", ENCODERS)
def test_embed_packed_takes_its_arguments_on_the_card(name, pooling, lengths):
    model = ENCODERS[name]()
    model = eager(model) if name == "dnabert2" else model
    ids = tokens(int(lengths.sum()), 33)
    agree(
        lambda model, **arguments: model.embed_packed(**arguments, pooling=pooling, max_length=70),
        model,
        {"input_ids": ids},
        {"lengths": lengths},
    )


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", ENCODERS)
def test_embed_packed_mixed(name, layer):
    model = ENCODERS[name]()
    model = eager(model) if name == "dnabert2" else model
    agree(
        lambda model, **arguments: model.embed_packed_mixed(**arguments, layer=layer),
        model,
        {"input_ids": tokens(int(LENGTHS.sum()), 33)},
        {
            "lengths": LENGTHS,
            "partners": torch.tensor([3, 0, 1, 5, 6, 2, 4]),
            "weights": torch.linspace(0.5, 1, len(LENGTHS)),
        },
    )


@pytest.mark.parametrize("encoder", [tiny_dnabert2, tiny_bert, lambda: kmer(2)], ids=["dnabert2", "bert", "kmer"])
@pytest.mark.parametrize("what", ["embed_packed", "assign_packed", "nearest_packed"])
def test_metagenbert_takes_its_arguments_on_the_card(what, encoder):
    encoder = encoder()
    hidden = encoder.config.hidden_size
    centroids = np.random.default_rng(0).normal(size=(5, hidden)).astype(np.float32)
    # Two equal centroids make near ties, which are settled on another path.
    centroids[3] = centroids[1]
    model = MetagenBertModel.from_encoder_and_centroids(encoder, centroids)
    if not isinstance(encoder, KmerEncoderModel):
        eager(model.encoder)

    def call(model, **arguments):
        result = getattr(model, what)(**arguments)
        return result[0] if what == "nearest_packed" else result

    agree(call, model, {"input_ids": tokens(int(LENGTHS.sum()), 33)}, {"lengths": LENGTHS})


def test_phenotype_model_over_sets_of_reads():
    base = tiny_metagenbert(n_clusters=2)
    config = base.config
    config.head, config.head_hidden_size, config.num_labels = "deep_sets", 8, 2
    torch.manual_seed(0)
    model = MetagenBertForPhenotypeClassification(config).eval()
    eager(model.metagenbert.encoder)
    agree(
        lambda model, **arguments: model(**arguments).logits,
        model,
        {"input_ids": tokens(int(LENGTHS.sum()))},
        {"lengths": LENGTHS, "set_sizes": torch.tensor([4, 3])},
    )


def test_protein_vectors_take_their_arguments_on_the_card(tmp_path):
    encoder = load_protein_encoder(tiny_esm(tmp_path / "esm")).model
    lengths = torch.tensor([3, 7, 7, 40])
    agree(
        lambda model, **arguments: mean_residue_vectors(model, **arguments),
        eager(encoder),
        {"input_ids": tokens(57, 20)},
        {"lengths": lengths},
    )


def test_objectives_take_their_arguments_on_the_card():
    """What DistributedDataParallel wraps: it moves lengths and partners too, nested in a dict as they are."""
    batch = {
        "input_ids": tokens(int(LENGTHS.sum())),
        "lengths": LENGTHS,
        "second_input_ids": tokens(int(LENGTHS.sum()), seed=1),
        "second_lengths": LENGTHS.flip(0),
        "species": torch.tensor([0, 1, 2, 0, 1, 2, 3]),
    }
    torch.manual_seed(0)
    for objective in (SpeciesClassification(eager(tiny_dnabert2()), 4), ContrastiveLearning(eager(tiny_dnabert2()), 8)):
        objective.eval()
        prepared = [batch]
        if isinstance(objective, ContrastiveLearning):
            prepared.append(objective.prepare(dict(batch), np.random.default_rng(0)))
        for arguments in prepared:
            want, want_weight = objective(arguments)
            with EmulatedCard():
                on_card = put_on_card(deepcopy(objective))
                moved = {k: v.to(CARD) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
                got, weight = (torch.as_tensor(value).cpu() for value in on_card(moved))
            torch.testing.assert_close(got, want)
            assert float(weight) == float(want_weight) > 0


def padded(high: int) -> dict[str, torch.Tensor]:
    ids = tokens(40, high).view(4, 10)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    mask[3, :4] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def forward_models():
    torch.manual_seed(0)
    bert = DnaBert2Config(
        vocab_size=120, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40
    )
    genome = GenomeTransformerConfig(
        protein_size=6, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, num_labels=3
    )
    dna = padded(120)
    kmers = padded(33)
    bases = {name: value % 5 if name == "input_ids" else value for name, value in dna.items()}
    classes = {"labels": torch.tensor([0, 1, 1, 0])}
    yield "dnabert2", eager(DnaBert2Model(bert)), dna, "last_hidden_state"
    yield "mlm", eager(DnaBert2ForMaskedLM(bert)), dna | {"labels": dna["input_ids"]}, "loss"
    yield "classifier", eager(DnaBert2ForSequenceClassification(bert)), dna | classes, "loss"
    yield "kmer", kmer(2), kmers, "pooler_output"
    gated = KmerEncoderForSequenceClassification(KmerEncoderConfig(k=3, hidden_size=16, num_gate_heads=2, num_labels=2))
    yield "kmer classifier", gated, kmers | classes, "loss"
    yield "cnn", SequenceCnnForSequenceClassification(SequenceCnnConfig(num_labels=2)), bases | classes, "loss"
    proteins = torch.randn(4, 10, 6)
    contigs = torch.arange(10).expand(4, 10) // 4
    inputs = {"proteins": proteins, "attention_mask": dna["attention_mask"], "contig_ids": contigs, **classes}
    yield "genome", eager(GenomeTransformerForSequenceClassification(genome)), inputs, "loss"
    metagenbert = tiny_metagenbert()
    eager(metagenbert.encoder)
    yield "metagenbert", metagenbert, {k: v for k, v in dna.items()}, "squared_distances"


@pytest.mark.parametrize("name", [name for name, *_ in forward_models()])
def test_forward_takes_its_arguments_on_the_card(name):
    """All arguments are on the card, as `forward` has them in training."""
    _, model, inputs, wanted = next(row for row in forward_models() if row[0] == name)
    if name == "metagenbert":
        # Tokens in the middle of nothing are no reads to it.
        inputs["attention_mask"][3] = 1
        inputs["input_ids"][3] = inputs["input_ids"][0]
    agree(lambda model, **arguments: getattr(model(**arguments), wanted), model.eval(), inputs, {})
