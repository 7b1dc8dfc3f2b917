"""Parity with the published DNABERT-2 code, whose outputs are stored as reference vectors."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from biomeformer.models.dnabert2 import DnaBert2ForMaskedLM, DnaBert2Model

NAMES = ("dnabert2_tiny", "dnabert2_pow2_heads")


@pytest.fixture(params=NAMES)
def golden(request, shared_data, tmp_path):
    """Reference outputs and two folders laid out as DNABERT-2's and DNABERT-S's repositories are."""
    root = shared_data / "golden"
    spec = json.loads((root / f"{request.param}.json").read_text())
    folders = {}
    for layout in ("masked_lm_layout", "model_layout"):
        folders[layout] = tmp_path / layout
        folders[layout].mkdir()
        (folders[layout] / "config.json").write_text(json.dumps(spec["config"]))
        shutil.copyfile(root / f"{request.param}.{layout}.safetensors", folders[layout] / "model.safetensors")
    return spec, load_file(root / f"{request.param}.outputs.safetensors"), folders


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_equals_published_code(golden, attention):
    spec, expected, folders = golden
    inputs = {"input_ids": expected["input_ids"], "attention_mask": expected["attention_mask"]}
    model = DnaBert2Model.from_pretrained(folders["model_layout"], attn_implementation=attention).eval()
    bare = DnaBert2Model.from_pretrained(folders["masked_lm_layout"], attn_implementation=attention).eval()
    masked_lm = DnaBert2ForMaskedLM.from_pretrained(folders["masked_lm_layout"], attn_implementation=attention).eval()
    assert model.config._attn_implementation == attention
    assert bare.pooler is None and bare.config.pad_token_id == 3
    with torch.no_grad():
        outputs = model(**inputs)
        torch.testing.assert_close(outputs.last_hidden_state, expected["last_hidden_state"], atol=1e-5, rtol=0)
        torch.testing.assert_close(outputs.pooler_output, expected["pooler_output"], atol=1e-5, rtol=0)
        torch.testing.assert_close(bare(**inputs).last_hidden_state, expected["last_hidden_state"], atol=1e-5, rtol=0)
        logits = masked_lm(**inputs).logits
        n = expected["masked_lm_logits"].shape[1]
        torch.testing.assert_close(logits[:, :n], expected["masked_lm_logits"], atol=1e-5, rtol=0)
        mask = inputs["attention_mask"].bool()
        packed, lengths = inputs["input_ids"][mask], mask.sum(1)
        mean = model.embed_packed(packed, lengths, "mean")
        over = model.embed_packed(packed, lengths, "mean_over_max_length", max_length=spec["max_length"])
    torch.testing.assert_close(mean, expected["mean_masked"], atol=1e-5, rtol=0)
    torch.testing.assert_close(over, expected["mean_over_max_length"], atol=1e-5, rtol=0)
