"""What the verbs do when all is well, and how they end when it is not their user's fault."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import biomeformer
from biomeformer.cli import app
from biomeformer.cli.units import duration, parse_bytes, size
from biomeformer.errors import MissingDependencyError
from biomeformer.metagenomes import AbundanceTable
from biomeformer.runs.records import RUN as RUN_RECORD
from factories import tiny_dnabert2, write_cohort

RESULTS = ["abundance.parquet", "cohort.png", "report.html"]
RUN = [*RESULTS, "run"]
SCRIPT = "import sys; sys.argv[0] = 'biomeformer'; from biomeformer.cli import main; main()"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", SCRIPT, *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(biomeformer.__file__).parents[1]), "COLUMNS": "40"}


def test_embed_twice_gives_the_same_integers(tmp_path, model_dir, run):
    cohort = write_cohort(tmp_path / "cohort")
    tables = []
    for name, tokens in (("one", 100_000), ("two", 300)):
        output = tmp_path / "deep" / name
        result = run(["embed", cohort, "--model", model_dir, "--output", output, "--batch-tokens", tokens])
        assert result.exit_code == 0, result.output
        assert names(output) == RUN
        assert result.stdout.splitlines() == [
            f"table   {output / RESULTS[0]}",
            f"figure  {output / RESULTS[1]}",
            f"report  {output / RESULTS[2]}",
        ]
        assert re.findall(r"^(\d/3 s\d: 60 reads) \(.*reads/s\)$", result.stderr, re.M) == [
            f"{i + 1}/3 s{i}: 60 reads" for i in range(3)
        ]
        tables.append(AbundanceTable.read(output / "abundance.parquet"))
    first, second = tables
    assert first.sample_ids == second.sample_ids == ("s0", "s1", "s2")
    assert np.array_equal(first.counts, second.counts) and first.counts.sum() == 180
    assert first.read_stats.equals(second.read_stats)
    assert first.metadata["group"].tolist() == ["a", "b", "a"]
    # Also what the library gives.
    assert np.array_equal(biomeformer.load(model_dir).embed_cohort(cohort).counts, first.counts)


def test_read_fraction_and_seed(tmp_path, model_dir, run):
    cohort = write_cohort(tmp_path / "cohort", n_samples=1, n_reads=300)

    def selected(name, *options):
        output = tmp_path / name
        arguments = ["embed", cohort, "--model", model_dir, "--output", output, "--no-report", *options]
        assert run(arguments).exit_code == 0
        table = AbundanceTable.read(output / "abundance.parquet")
        return table.counts.tolist(), int(table.read_stats["n_selected"].iloc[0]), table.provenance

    counts, n_selected, provenance = selected("a", "--read-fraction", 0.2, "--seed", 5)
    again, n_again, _ = selected("b", "--read-fraction", 0.2, "--seed", 5)
    assert 30 < n_selected < 90 and sum(counts[0]) == n_selected
    assert (provenance["read_fraction"], provenance["seed"]) == (0.2, 5)
    assert (counts, n_selected) == (again, n_again)
    assert selected("c", "--read-fraction", 0.2, "--seed", 6)[0] != counts


def test_embed_draws_after_the_table_is_written_and_only_if_asked_to(tmp_path, model_dir, run):
    output = tmp_path / "out"
    arguments = ["embed", write_cohort(tmp_path / "cohort", n_samples=2), "--model", model_dir, "--output", output]
    result = run([*arguments, "--no-report"])
    assert result.exit_code == 0 and "may show" not in result.stderr
    assert result.stdout == f"table  {output / 'abundance.parquet'}\n"
    assert names(output) == ["abundance.parquet", "run"]
    assert run(arguments).exit_code == 0 and names(output) == RUN
    result = run([*arguments, "--no-report"])
    assert "cohort.png and report.html in" in result.stderr and "may show an earlier table" in result.stderr
    assert result.stdout == f"table  {output / 'abundance.parquet'}\n" and names(output) == RUN


def test_embed_imports_no_library_of_analyses_or_figures_before_the_table_is_written(tmp_path, model_dir):
    drawing = ("matplotlib", "adjustText", "biomeformer.reports.page")
    unused = ("sklearn", "skbio", "scipy.stats", "statsmodels", "numba", "networkx", "plotly", "faiss", "datasets")
    script = f"""import sys
from biomeformer.metagenomes.abundance_table import AbundanceTable
write = AbundanceTable.write
def recorded(table, path):
    print("loaded:", *[name for name in {drawing + unused} if name in sys.modules])
    return write(table, path)
AbundanceTable.write = recorded
from biomeformer.cli.app import app
try:
    app(sys.argv[1:], prog_name="biomeformer")
finally:
    print("loaded:", *[name for name in {drawing} if name in sys.modules])
"""
    output = tmp_path / "out"
    arguments = ["embed", write_cohort(tmp_path / "cohort", n_samples=2), "--model", model_dir, "--output", output]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = [line for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert loaded == ["loaded:", " ".join(("loaded:", *drawing))]


def test_overwrite_replaces_results_alone(tmp_path, model_dir, run):
    output = tmp_path / "out"
    output.mkdir()
    (output / "abundance.parquet").write_text("mine")
    arguments = ["embed", write_cohort(tmp_path / "cohort"), "--model", model_dir, "--output", output]
    assert run(arguments).exit_code == 2
    # Without a record of what a run wrote there, nothing is deleted.
    refused = run([*arguments, "--overwrite"])
    assert refused.exit_code == 2 and "has no record of what a run wrote" in refused.stderr
    assert (output / "abundance.parquet").read_text() == "mine" and names(output) == ["abundance.parquet"]
    (output / "abundance.parquet").unlink()
    assert run(arguments).exit_code == 0
    (output / "notes.txt").write_text("mine")
    assert run([*arguments, "--overwrite"]).exit_code == 0
    assert names(output) == sorted([*RUN, "notes.txt"])
    assert (output / "notes.txt").read_text() == "mine"
    assert len(AbundanceTable.read(output / "abundance.parquet").sample_ids) == 3
    assert names(tmp_path) == ["cohort", "out"]


@pytest.mark.parametrize("encoder", ["encoder_dir", "model_dir"])
def test_fit_centroids_inspect_embed(tmp_path, run, request, encoder):
    cohort, output = write_cohort(tmp_path / "cohort"), tmp_path / "model"
    arguments = ["fit-centroids", cohort, "--read-encoder", request.getfixturevalue(encoder), "--n-clusters", 4]
    options = ["--reads-per-sample", 40, "--n-iterations", 3, "--output", output, "--spherical"]
    result = run([*arguments, *options])
    assert result.exit_code == 0, result.output
    objective = [float(value) for value in re.findall(r"iteration +\d: objective (\S+)", result.stdout)]
    assert len(objective) == 3 and all(value >= 0 for value in objective)
    assert "4 clusters of 120 reads, 0 empty" in result.stdout and "k-means ran on cpu" in result.stdout
    assert result.stdout.splitlines()[-1] == f"checkpoint  {output}"

    record = json.loads(run(["inspect", output, "--json"]).stdout)
    assert record["model"]["n_clusters"] == 4 and record["model"]["read_encoder"] == "dnabert2"
    assert record["model"]["normalize_embeddings"] is True
    # A MetagenBERT checkpoint hands its preprocessing config on; an encoder alone has the default one.
    assert record["preprocessing"]["min_read_length"] == (20 if encoder == "model_dir" else 1)
    assert record["provenance"]["training"]["n_reads_used"] == 120
    assert len(record["provenance"]["weights_sha256"]) == 64
    shown = run(["inspect", output]).stdout
    assert "min_read_length" in shown and record["provenance"]["weights_sha256"][:20] in shown

    assert run(["embed", cohort, "--model", output, "--output", tmp_path / "out", "--no-report"]).exit_code == 0
    table = AbundanceTable.read(tmp_path / "out" / "abundance.parquet")
    assert table.counts.shape == (3, 4) and table.counts.sum() == 180


def test_several_numbers_of_clusters(tmp_path, model_dir, run):
    cohort, output = write_cohort(tmp_path / "cohort"), tmp_path / "deep" / "models"
    fit = ["fit-centroids", cohort, "--read-encoder", model_dir, "-k", 3, "-k", 5, "--n-iterations", 2]
    result = run([*fit, "--output", output, "--vectors", tmp_path / "vectors", "--max-memory", "300MB"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-2:] == [f"K = 3  {output / 'k3'}", f"K = 5  {output / 'k5'}"]
    assert "K = 5, iteration   2: objective" in result.stdout
    assert "each process takes at most 0.30 GB beside the model" in result.stderr
    assert [len(biomeformer.load(output / f"k{k}").centroids) for k in (3, 5)] == [3, 5]
    # The vectors asked for by name are kept, and serve another fit.
    result = run([*fit[:-6], "-k", 4, "--output", tmp_path / "four", "--vectors", tmp_path / "vectors"])
    assert result.exit_code == 0 and "3 of 3 samples are done" in result.stderr
    assert run(
        [*fit[:-6], "-k", 4, "--output", tmp_path / "no", "--vectors", tmp_path / "vectors", "--seed", 1]
    ).exit_code


def test_status_lists_failed_samples_and_their_reasons(tmp_path, model_dir, run):
    cohort, output = write_cohort(tmp_path / "cohort"), tmp_path / "out"
    (tmp_path / "cohort" / "s1.fastq.gz").write_bytes(b"")
    assert run(["embed", cohort, "--model", model_dir, "--output", output]).exit_code == 1
    text = (output / "report.html").read_text()
    assert "Samples that failed" in text and "s1.fastq.gz holds no reads" in text
    result = run(["status", output])
    assert result.exit_code == 0
    first, done, failed, left, last, why = result.stdout.splitlines()
    assert first == "samples  3" and done.startswith("done     2 (") and failed == "failed   1"
    assert left == "left     0 (0 B of files)" and last.endswith("with 1 process: 1 of 3 samples failed")
    assert why.startswith("failed   s1: ") and why.endswith(
        "holds no reads; remove it from the sample or copy it again"
    )
    record = json.loads(run(["status", output, "--json"]).stdout)
    assert record["n_done"] == 2 and list(record["failed"]) == ["s1"] and record["seconds_to_go"] == 0
    # As after a power cut, and with a sample more.
    path = output / "run" / "run.json"
    run_record = json.loads(path.read_text())
    run_record["attempts"][-1]["how_it_ended"] = None
    run_record["samples"]["s9"] = 10**9
    del run_record["checksum"]
    RUN_RECORD.write(path, run_record)
    lines = run(["status", output]).stdout.splitlines()
    assert "left     1 (1.0 GB of files)" in lines and lines[4].startswith("to go    ")
    assert "ended without a record" in lines[5]


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("4GB", 4 * 10**9),
        ("512 MiB", 512 << 20),
        ("1.5g", 15 * 10**8),
        ("1000", 1000),
        ("2 kB", 2000),
        ("3TiB", 3 << 40),
    ],
)
def test_amounts_of_memory(text, n_bytes):
    assert parse_bytes(text, "--max-memory") == n_bytes


def test_amounts_for_people():
    assert [size(n) for n in (0, 999, 1000, 1_234_567, 10**12)] == ["0 B", "999 B", "1.0 kB", "1.2 MB", "1.0 TB"]
    assert [duration(s) for s in (5, 120, 7200, 300_000)] == ["5 s", "2 min", "2.0 h", "3.5 days"]


def test_inspect_of_a_read_encoder(encoder_dir, run):
    record = json.loads(run(["inspect", encoder_dir, "--json"]).stdout)
    assert record["model"]["model_type"] == "dnabert2" and record["model"]["hidden_size"] == 24
    assert "preprocessing" not in record


def test_convert_then_fit(tmp_path, encoder_dir, run):
    """A folder laid out like the published repository, all the way."""
    source, converted = tmp_path / "published", tmp_path / "deep" / "converted"
    source.mkdir()
    model = tiny_dnabert2()
    config = model.config.to_dict() | {"model_type": "bert", "auto_map": {"AutoModel": "bert_layers.BertModel"}}
    (source / "config.json").write_text(json.dumps(config))
    (source / "bert_layers.py").write_text("raise RuntimeError('remote code ran')\n")
    (source / "tokenizer.json").write_bytes((encoder_dir / "tokenizer.json").read_bytes())
    torch.save({f"bert.{key}": value for key, value in model.state_dict().items()}, source / "pytorch_model.bin")
    result = run(["convert", source, converted])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"checkpoint  {converted}\n"
    assert not list(converted.glob("*.py")) and not list(converted.glob("*.bin"))
    cohort = write_cohort(tmp_path / "cohort")
    fit = ["fit-centroids", cohort, "--read-encoder", converted, "--n-clusters", 3, "--output", tmp_path / "model"]
    assert run(fit).exit_code == 0
    embed = ["embed", cohort, "--model", tmp_path / "model", "--output", tmp_path / "out", "--no-report"]
    assert run(embed).exit_code == 0
    assert AbundanceTable.read(tmp_path / "out" / "abundance.parquet").counts.sum() == 180


def test_demo_runs_twice_and_tells_groups_apart(tmp_path, run, monkeypatch):
    # The command of `make demo`, as it stands there.
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text()
    (line,) = re.findall(r"^\t\$\(BIN\)/biomeformer (demo .*)$", makefile, flags=re.MULTILINE)
    command = line.split()
    monkeypatch.chdir(tmp_path)
    output = tmp_path / command[command.index("--output") + 1]
    for _ in range(2):
        result = run(command)
        assert result.exit_code == 0, result.output
        assert names(output) == RUN
        assert result.stdout.count(output.name) == 3
    assert "simulated" in (output / "report.html").read_text()
    table = AbundanceTable.read(output / "abundance.parquet")
    assert len(table.sample_ids) == 12 and (table.read_stats["n_reads"] == 5000).all()
    # The nearest other sample, by Bray-Curtis, is of the same group.
    gaps = np.abs(table.abundance[:, None] - table.abundance[None]).sum(2)
    np.fill_diagonal(gaps, np.inf)
    group = table.metadata["group"].to_numpy()
    assert (group[gaps.argmin(1)] == group).all()


def test_demo_leaves_other_content_alone(tmp_path, run):
    (tmp_path / "thesis.tex").write_text("mine")
    result = run(["demo", "--output", tmp_path])
    assert result.exit_code == 2 and "not empty" in result.stderr
    assert names(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("verb", ["embed", "status", "export", "fit-centroids", "inspect", "convert", "demo"])
def test_help_has_an_example(verb):
    result = CliRunner().invoke(app, [verb, "--help"], prog_name="biomeformer", env={"COLUMNS": "120"})
    assert result.exit_code == 0
    text = result.stdout
    assert re.search(rf"Examples?\W[\s\S]*biomeformer {verb}", text), text


def test_version_option_prints_the_version(run):
    assert run(["--version"]).stdout == f"biomeformer {biomeformer.__version__}\n"


def test_help_does_not_import_torch():
    script = """import sys
sys.argv = ["biomeformer", "--help"]
from biomeformer.cli import main
try:
    main()
finally:
    print(sorted({"torch", "transformers", "pandas"} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert result.returncode == 0, result.stderr
    assert "fit-centroids" in result.stdout and result.stdout.splitlines()[-1] == "[]"


def test_a_process_of_its_own_ends_as_promised(tmp_path, model_dir):
    """Also what C libraries and the interpreter itself print, in a narrow terminal."""
    missing = tmp_path / ("a long folder name " * 8).strip() / "cohort.csv"
    result = subprocess.run(
        command("embed", missing, "--model", model_dir, "--output", tmp_path / "out"),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == f"error: {missing}: there is no such cohort table; check the path\n"
    result = subprocess.run(
        command("inspect", tmp_path / "gone"), capture_output=True, text=True, env=environment(), check=False
    )
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupted_embed_exits_with_130_and_keeps_finished_samples(tmp_path, model_dir):
    cohort = write_cohort(tmp_path / "cohort", n_samples=2, n_reads=20)
    pipe = tmp_path / "cohort" / "s1.fastq.gz"
    pipe.unlink()
    os.mkfifo(pipe)  # The second sample never comes, so the run is under way when it is interrupted.
    process = subprocess.Popen(
        command("embed", cohort, "--model", model_dir, "--output", tmp_path / "out"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        deadline = time.monotonic() + 120
        writer = None
        while writer is None and time.monotonic() < deadline:
            try:
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
        assert writer is not None
        time.sleep(2)  # Past the start of the reader's thread, where an interruption may be lost.
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        os.close(writer)
    finally:
        process.kill()
    assert process.returncode == 130, err
    line = err.splitlines()[-1]
    assert line.startswith("error: interrupted by SIGINT: 1 of 2 samples are done and kept") and "Traceback" not in err
    assert out == "" and names(tmp_path / "out") == ["run"]
    assert names(tmp_path / "out" / "run" / "parts") == ["s0.safetensors"]


def test_a_report_that_cannot_be_written(tmp_path, model_dir, run, monkeypatch):
    """One clear error; the same command then goes on where it was."""
    cohort, output = write_cohort(tmp_path / "cohort"), tmp_path / "out"
    arguments = ["embed", cohort, "--model", model_dir, "--output", output]

    def fail(*args, **kwargs):
        raise OSError(28, "No space left\non device")

    with monkeypatch.context() as patch:
        patch.setattr("biomeformer.reports.cohort_report", fail)
        result = run(arguments)
    assert result.exit_code == 1 and "Traceback" not in result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f"error: {output} cannot be written to: No space left on device; finished samples are kept")
    assert names(output) == ["abundance.parquet", "cohort.png", "run"]
    result = run(arguments)
    assert result.exit_code == 0 and "3 of 3 samples are done" in result.stderr
    assert names(output) == RUN


def test_failures_that_are_no_bad_input(tmp_path, model_dir, run, monkeypatch):
    cohort = write_cohort(tmp_path / "cohort")
    arguments = ["embed", cohort, "--model", model_dir, "--output", tmp_path / "out"]

    def fail(*args, **kwargs):
        raise RuntimeError("CUDA error:\nan illegal memory access")

    monkeypatch.setattr("biomeformer.models.metagenbert.MetagenBertModel.nearest_packed", fail)
    result = run(arguments)
    assert result.exit_code == 1 and "Traceback" not in result.output
    last = result.stderr.splitlines()[-1]
    assert last == (
        "error: sample s0: the device failed (RuntimeError: CUDA error: an illegal memory access); give the same "
        "command again, what is finished is kept."
    )
    assert names(tmp_path / "out") == ["run"] and not names(tmp_path / "out" / "run" / "failed")
    result = run([*arguments, "--debug"])
    assert result.exit_code == 1 and "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == last


def test_missing_dependency_is_named_on_one_line(tmp_path, model_dir, run, monkeypatch):
    def absent():
        raise MissingDependencyError("K-means needs faiss; install it.")

    monkeypatch.setattr("biomeformer.metagenomes.kmeans.import_faiss", absent)
    cohort = write_cohort(tmp_path / "cohort")
    fit = ["fit-centroids", cohort, "--read-encoder", model_dir, "--n-clusters", 3, "--output", tmp_path / "out"]
    result = run(fit)
    assert result.exit_code == 2 and result.stderr.splitlines()[-1] == "error: K-means needs faiss; install it."
    assert names(tmp_path) == ["cohort"]
