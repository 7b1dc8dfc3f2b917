"""The genome transformer: order, padding, batches, kernels, saving; what it refuses."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from biomeformer import GenomeTransformerConfig, GenomeTransformerForSequenceClassification
from biomeformer.models.genome_transformer import GenomeTransformerModel
from biomeformer.models.genome_transformer.configuration_genome_transformer import POOLING_MODES, POSITIONS
from biomeformer.models.genome_transformer.processing_genome_transformer import GenomeTransformerProcessor

SIZES = {"protein_size": 20, "hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48, "num_labels": 3}


def tiny(**options):
    torch.manual_seed(0)
    model = GenomeTransformerForSequenceClassification(GenomeTransformerConfig(**(SIZES | options))).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return model


@pytest.fixture
def genomes():
    """Two genomes of nine genes on three contigs."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 9, 20, generator=generator), torch.tensor([[0] * 4 + [1] * 3 + [2] * 2] * 2)


@pytest.mark.parametrize("pooling", POOLING_MODES)
@pytest.mark.parametrize("positions", POSITIONS)
def test_order_padding_batch_and_kernel(genomes, pooling, positions):
    model = tiny(pooling=pooling, positions=positions)
    proteins, contigs = genomes
    logits = model(proteins, contig_ids=contigs).logits
    other_contigs = [7, 8, 0, 1, 2, 3, 4, 5, 6]
    moved = model(proteins[:, other_contigs], contig_ids=contigs[:, other_contigs]).logits
    assert ((moved - logits).abs().max() < 1e-5) == (positions != "genome")
    other_genes = [3, 2, 1, 0, 4, 5, 6, 7, 8]
    stirred = model(proteins[:, other_genes], contig_ids=contigs).logits
    assert ((stirred - logits).abs().max() < 1e-5) == (positions == "none")
    mask = torch.ones(2, 12)
    mask[:, 9:] = 0
    padded = torch.cat([proteins, torch.full((2, 3, 20), 7.0)], 1)
    more = torch.cat([contigs, torch.full((2, 3), 2)], 1)
    torch.testing.assert_close(model(padded, mask, more).logits, logits, atol=1e-5, rtol=0)
    for i in range(2):
        alone = model(proteins[i : i + 1], contig_ids=contigs[i : i + 1]).logits
        torch.testing.assert_close(alone, logits[i : i + 1], atol=1e-5, rtol=0)
    eager = model(padded, mask, more, output_attentions=True, output_hidden_states=True)
    torch.testing.assert_close(eager.logits, logits, atol=1e-5, rtol=0)
    n = 13 if pooling == "cls" else 12
    assert len(eager.attentions) == 3 and eager.attentions[0].shape == (2, 1, n, n)
    torch.testing.assert_close(eager.attentions[1].sum(-1), torch.ones(2, 1, n))
    assert eager.attentions[2][..., -3:].max() == 0 and len(eager.hidden_states) == 4


def test_saved_and_loaded(genomes, tmp_path):
    model = tiny(id2label={0: "aquatic", 1: "host", 2: "soil"}, label2id={"aquatic": 0, "host": 1, "soil": 2})
    proteins, contigs = genomes
    logits = model(proteins, contig_ids=contigs).logits
    model.save_pretrained(tmp_path)
    for cls in (GenomeTransformerForSequenceClassification, AutoModelForSequenceClassification):
        again, info = cls.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"] and again.config.id2label[2] == "soil"
        assert torch.equal(again(proteins, contig_ids=contigs).logits, logits)
    eager = AutoModelForSequenceClassification.from_pretrained(tmp_path, attn_implementation="eager")
    torch.testing.assert_close(eager(proteins, contig_ids=contigs).logits, logits, atol=1e-5, rtol=0)
    base = AutoModel.from_pretrained(tmp_path)
    assert isinstance(base, GenomeTransformerModel) and AutoConfig.from_pretrained(tmp_path).positions == "contig"
    found = base(proteins, contig_ids=contigs)
    torch.testing.assert_close(model.classifier(found.pooler_output), logits)
    assert found.last_hidden_state.shape == (2, 9, 32)


def test_the_papers_size_on_the_meta_device():
    with torch.device("meta"):
        model = GenomeTransformerModel(GenomeTransformerConfig())
    assert (model.config.num_hidden_layers, model.config.hidden_size, model.config.num_attention_heads) == (15, 640, 1)
    assert model.config.max_genes == 4096 and 70e6 < sum(value.numel() for value in model.parameters()) < 80e6


@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_gradients(genomes, checkpointing):
    model = tiny(hidden_dropout_prob=0.0).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    labels, weights = torch.tensor([0, 2]), torch.tensor([1.0, 1.0, 3.0])
    found = model(*genomes[:1], contig_ids=genomes[1], labels=labels)
    found.loss.backward()
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in model.parameters())
    each = torch.nn.functional.cross_entropy(found.logits, labels, reduction="none").detach()
    torch.testing.assert_close(found.loss.detach(), each.mean())
    weighted = model(*genomes[:1], contig_ids=genomes[1], labels=labels, class_weights=weights).loss.detach()
    torch.testing.assert_close(weighted, (each[0] + 3 * each[1]) / 4)
    smooth = model(*genomes[:1], contig_ids=genomes[1], labels=labels, smoothing=0.3).loss.detach()
    assert smooth != found.loss.detach()


def test_several_heads_and_odd_widths(genomes):
    model = tiny(hidden_size=33, num_attention_heads=3, positions="genome")
    found = model(genomes[0], output_attentions=True)
    assert found.attentions[0].shape == (2, 3, 9, 9) and torch.isfinite(found.logits).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "spiral"}, "positions 'spiral' is not one of none, contig, genome"),
        ({"pooling": "max"}, "pooling 'max'"),
        ({"max_genes": 0}, "max_genes is 0"),
        ({"hidden_size": 32, "num_attention_heads": 3}, "hidden_size is 32 and num_attention_heads 3"),
    ],
)
def test_bad_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GenomeTransformerConfig(**options)


def test_inputs_of_a_wrong_shape_are_refused(genomes):
    model = tiny(max_genes=8)
    with pytest.raises(ValueError, match="9 genes was given and the model reads 8"):
        model(genomes[0])
    with pytest.raises(ValueError, match=r"shape \(2, 9, 19\); this model reads \(batch, n_genes, 20\)"):
        model(genomes[0][..., 1:])


def test_genes_beyond_the_limit_are_counted():
    processor = GenomeTransformerProcessor(max_genes=8)
    assert [processor.n_dropped_genes(n) for n in (1, 8, 11)] == [0, 0, 3]
    with pytest.warns(DeprecationWarning, match="n_dropped_genes"):
        assert processor.n_cut(11) == 3
