"""The main job through the command line: a published-style encoder, real reads, memory."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import biomeformer
from biomeformer.cli import app
from biomeformer.metagenomes import AbundanceTable
from factories import bpe_tokenizer, random_sequences, tiny_dnabert2, write_cohort, write_fastq

PUBLISHED_CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "auto_map": {"AutoConfig": "configuration_bert.BertConfig", "AutoModel": "bert_layers.BertModel"},
    "alibi_starting_size": 512,
    "attention_probs_dropout_prob": 0.0,
    "vocab_size": 120,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "pad_token_id": 0,
}


def run(*arguments):
    """The command line in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="biomeformer")
    assert result.exit_code == 0, result.output


def run_in_a_new_process(*arguments):
    command = [sys.executable, "-m", "biomeformer", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def published_repository(folder: Path) -> Path:
    """Laid out like the DNABERT-2 repository: config with auto_map, remote code, a pickle, tokenizer.json."""
    encoder = tiny_dnabert2()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PUBLISHED_CONFIG))
    (folder / "bert_layers.py").write_text("raise RuntimeError('remote code ran')\n")
    state = {f"bert.{key}": value for key, value in encoder.state_dict().items() if not key.startswith("pooler.")}
    state["cls.predictions.decoder.bias"] = torch.zeros(120)
    torch.save(state, folder / "pytorch_model.bin")
    bpe_tokenizer().backend_tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_published_repository_to_abundance_table(tmp_path):
    upstream = published_repository(tmp_path / "upstream")
    cohort = write_cohort(tmp_path / "cohort")
    run("convert", upstream, tmp_path / "encoder")
    assert not (tmp_path / "encoder" / "bert_layers.py").exists()
    fit = ["fit-centroids", cohort, "--read-encoder", tmp_path / "encoder", "--n-clusters", 5]
    run(*fit, "--reads-per-sample", 40, "--output", tmp_path / "model")
    embed = ["embed", cohort, "--model", tmp_path / "model", "--output", tmp_path / "results", "--no-report"]
    run_in_a_new_process(*embed)
    table = AbundanceTable.read(tmp_path / "results" / "abundance.parquet")
    assert table.counts.shape == (3, 5) and (table.counts.sum(1) == 60).all()
    model = biomeformer.load(tmp_path / "model")
    expected = tiny_dnabert2()
    with torch.no_grad():
        batch = model.processor(["ACGTTGCATGCATTTGACA"])
        got, wanted = model.encoder(**batch), expected(**batch)
    assert torch.equal(got.last_hidden_state, wanted.last_hidden_state)
    assert np.array_equal(model.embed_cohort(cohort).counts, table.counts)


@pytest.fixture(scope="module")
def mini():
    return biomeformer.load("metagenbert-mini")


def test_shipped_checkpoint_is_small_and_trained(mini):
    folder = Path(mini.name_or_path)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 16_000_000
    record = json.loads((folder / "training_record.json").read_text())
    losses = record["metrics"]["1 species"]
    assert losses["final_loss"] < 0.5 * losses["first_loss"]
    table = mini.embed_cohort(Path(biomeformer.__file__).parent / "example_cohort" / "cohort.csv")
    case = (table.metadata["group"] == "case").to_numpy()
    # Every sample is nearer to the mean of the others of its group than to the other group's.
    for i, row in enumerate(table.abundance):
        others = np.arange(len(case)) != i
        own, other = (table.abundance[others & (case == group)].mean(0) for group in (case[i], not case[i]))
        assert np.abs(row - own).sum() < np.abs(row - other).sum()


def test_real_paired_sample(shared_data, mini):
    r1, r2 = (shared_data / "reads" / f"metawibele_sample1_R{mate}.fastq.gz" for mate in (1, 2))
    sample = mini.embed_sample(r1, r2)
    texts = [line for path in (r1, r2) for line in gzip.decompress(path.read_bytes()).decode().splitlines()[1::4]]
    assert sample.read_stats["n_reads"] == sample.read_stats["n_selected"] == len(texts) == 40_000
    assert sample.read_stats["n_too_short"] == sum(len(text) < 32 for text in texts)
    assert sample.read_stats["n_ambiguous"] == sum(len(text) >= 32 and bool(set(text) - set("ACGT")) for text in texts)
    assert sample.counts.sum() == sample.read_stats["n_used"] == 40_000 - sample.read_stats["n_too_short"]
    assert np.array_equal(sample.counts, mini.embed_sample(r1, r2).counts)
    assert np.array_equal(sample.counts, mini.embed_sample(r1, r2, batch_tokens=5_000).counts)
    tenth = mini.embed_sample(r1, r2, read_fraction=0.1)
    assert 3_600 < tenth.read_stats["n_selected"] < 4_400 and tenth.read_stats["n_selected"] % 2 == 0


def test_memory_does_not_grow_with_reads(tmp_path):
    """Peak memory of the whole process at 20 k and 400 k reads, within 10 %."""
    block = random_sequences(2_000, 150, 150)
    write_fastq(tmp_path / "block.fastq.gz", block)
    raw = (tmp_path / "block.fastq.gz").read_bytes()
    peaks = []
    for n_blocks in (10, 200):
        path = tmp_path / f"{n_blocks}.fastq.gz"
        path.write_bytes(raw * n_blocks)
        script = (
            "import biomeformer, resource; model = biomeformer.load('metagenbert-mini'); "
            f"sample = model.embed_sample({str(path)!r}); "
            "print(sample.tallies['n_used'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
        n_used, peak = map(int, output.split())
        assert n_used == 2_000 * n_blocks
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0]


def test_wheel_holds_checkpoint_and_cohort():
    folder = Path(biomeformer.__file__).parent
    assert (folder / "py.typed").is_file() and (folder / "example_cohort" / "cohort.csv").is_file()
    size = sum(path.stat().st_size for path in (folder / "example_cohort").rglob("*") if path.is_file())
    assert size <= 4_000_000
