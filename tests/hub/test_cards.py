"""Cards are generated, current and true."""

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from biomeformer.checkpoints import resolve_checkpoint, shipped_checkpoints
from biomeformer.errors import CheckpointError, InputError
from biomeformer.hub.cards import FIELDS, load_manifest, render_card, stale_cards
from factories import random_contig, random_sequences, write_fastq

FOLDER = Path(__file__).resolve().parents[2] / "model_cards"


def test_every_shipped_checkpoint_has_a_current_card():
    assert set(shipped_checkpoints()) == set(load_manifest(FOLDER)) == {"genome-transformer-mini", "metagenbert-mini"}
    assert stale_cards(FOLDER) == []


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_card_is_true(name, tmp_path, monkeypatch):
    folder = Path(resolve_checkpoint(name))
    card = (folder / "README.md").read_text()
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() in card
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "biomeformer" and front["license"] == "apache-2.0"
    # The code block runs as it stands.
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for mate in (1, 2):
        write_fastq(tmp_path / f"reads_R{mate}.fastq.gz", random_sequences(50, seed=mate), mate=mate)
    with gzip.open(tmp_path / "genome.fna.gz", "wt") as handle:
        handle.write(f">c\n{random_contig(np.random.default_rng(0))}\n")
    names: dict = {}
    exec(code, names)
    if name == "metagenbert-mini":
        assert names["sample"].counts.sum() == 100
    else:
        assert set(names["probabilities"]) == {"aquatic", "host", "soil"}
        assert sum(names["probabilities"].values()) == pytest.approx(1)


def test_stale_and_incomplete(tmp_path):
    entry = load_manifest(FOLDER)["metagenbert-mini"]
    source = Path(resolve_checkpoint("metagenbert-mini"))
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(source, checkpoint)
    template = (FOLDER / "model_card.md").read_text()
    evaluation = json.loads((FOLDER / entry["evaluation"]).read_text())
    card = render_card("metagenbert-mini", entry, checkpoint, template, evaluation)
    assert card == (source / "README.md").read_text()
    changed = {**evaluation, "settings": {**evaluation["settings"], "seeds": [7]}}
    assert render_card("metagenbert-mini", entry, checkpoint, template, changed) != card
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="its evaluation is of other weights"):
        render_card("metagenbert-mini", entry, checkpoint, template, evaluation)
    (checkpoint / "training_record.json").unlink()
    with pytest.raises(CheckpointError, match=r"training_record\.json"):
        render_card("metagenbert-mini", entry, checkpoint, template, evaluation)
    (tmp_path / "models.toml").write_text('[x]\ntitle = "x"\n')
    with pytest.raises(InputError, match="x has no class"):
        load_manifest(tmp_path)
    lines = [f'{field} = "x"' for field in FIELDS]
    (tmp_path / "models.toml").write_text("\n".join(["[x]", *lines]))
    with pytest.raises(InputError, match="there are cards of MetagenBertModel"):
        load_manifest(tmp_path)
