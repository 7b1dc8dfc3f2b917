"""ONNX files, run by onnxruntime; `torch.compile` without graph breaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import biomeformer
from biomeformer.checkpoints.onnx_export import export_onnx
from biomeformer.cli.app import app
from biomeformer.errors import InputError
from biomeformer.models.dnabert2 import DnaBert2ForSequenceClassification
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderForSequenceClassification, KmerEncoderModel
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from factories import random_genome_transformer, random_sequences, tiny_dnabert2, tiny_metagenbert

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def kmers(**options):
    torch.manual_seed(0)
    return KmerEncoderConfig(k=3, hidden_size=8, initializer_range=0.5, **options)


def sequence_classifier():
    config = tiny_dnabert2().config
    config.num_hidden_layers = 1
    return DnaBert2ForSequenceClassification(config)


MODELS = {
    "read encoder": sequence_classifier,
    "k-mer encoder": lambda: KmerEncoderModel(kmers()),
    "gated k-mer classifier": lambda: KmerEncoderForSequenceClassification(kmers(num_gate_heads=2)),
    "genome transformer": lambda: random_genome_transformer(num_attention_heads=2, num_hidden_layers=1),
}


def padded(lengths, vocab_size):
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.randint(1, vocab_size, mask.shape, generator=generator) * mask, "attention_mask": mask}


def genomes(lengths, size):
    inputs = padded(lengths, 5)
    proteins = torch.randn(*inputs.pop("input_ids").shape, size, generator=torch.Generator().manual_seed(2))
    contigs = torch.arange(proteins.shape[1]) // 5
    return {"proteins": proteins, **inputs, "contig_ids": contigs.repeat(len(lengths), 1)}


def inputs_of(model, lengths):
    if model.main_input_name == "proteins":
        return genomes(lengths, model.config.protein_size)
    return padded(lengths, model.config.get_text_config().vocab_size)


def run(path, inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {key: value.numpy() for key, value in inputs.items()})
    return dict(zip([output.name for output in session.get_outputs()], outputs, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_computes_what_the_model_does(name, tmp_path):
    model = MODELS[name]().eval()
    path = export_onnx(model, tmp_path / "model.onnx")
    inputs = inputs_of(model, [30, 7, 19, 30, 3])
    with torch.no_grad():
        # Computed on packed tokens, where the file has padding.
        expected = {key: value.numpy() for key, value in model(**inputs).items()}
    outputs = run(path, inputs)
    assert outputs.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(outputs[key], value, atol=1e-5, rtol=1e-5)


def test_the_shipped_read_model_is_converted_by_the_command(tmp_path):
    done = CliRunner().invoke(app, ["convert", "metagenbert-mini", str(tmp_path / "mini.onnx")])
    assert done.exit_code == 0, done.output
    model = biomeformer.load("metagenbert-mini")
    batch = model.processor(random_sequences(40))
    with torch.no_grad():
        expected = model(**batch)
    outputs = run(tmp_path / "mini.onnx", batch)
    assert (outputs["cluster_ids"] == expected.cluster_ids.numpy()).all()
    np.testing.assert_allclose(outputs["read_embeddings"], expected.read_embeddings.numpy(), atol=1e-5)


def test_what_cannot_be_exported_is_refused(tmp_path):
    cnn = SequenceCnnForSequenceClassification(SequenceCnnConfig(n_filters=8, hidden_size=8))
    with pytest.raises(InputError, match="cannot be exported to ONNX"):
        export_onnx(cnn, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="in bfloat16; load it in float32"):
        export_onnx(tiny_dnabert2().bfloat16(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [tiny_metagenbert, MODELS["gated k-mer classifier"], MODELS["genome transformer"]])
def test_models_compile_without_a_graph_break(make):
    model = make().eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    inputs = inputs_of(model, [12, 7, 9])
    with torch.no_grad():
        expected, output = model(**inputs), compiled(**inputs)
    for key, value in expected.items():
        torch.testing.assert_close(output[key], value, atol=1e-5, rtol=1e-5)
