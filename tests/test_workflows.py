"""Nextflow modules, Snakemake wrappers, content for MultiQC and QIIME 2, run by these tools where they are installed.

`make test` installs Snakemake, MultiQC and reftrace in `.venv/workflows`. Nextflow is not on PyPI: the scripts of its
modules are rendered as Nextflow would, and run by bash.
"""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import typer.main
import yaml

from biomeformer import sinks
from biomeformer.cli import app
from biomeformer.errors import TableError
from biomeformer.metagenomes import READ_STATS, AbundanceTable
from biomeformer.metagenomes.export import export_table
from biomeformer.metagenomes.multiqc import CLUSTERS_FILE, FATES_FILE, N_BARS, READS_FILE, VERSIONS_FILE
from biomeformer.phenotypes import read_feature_table, read_metadata
from biomeformer.version import __version__
from factories import random_contig, random_sequences, write_fastq

ROOT = Path(__file__).resolve().parent.parent
PACKAGING = ROOT / "packaging"
MODULES = PACKAGING / "nextflow" / "modules" / "biomeformer"
WRAPPERS = PACKAGING / "snakemake" / "wrappers"
MODULE_NAMES = ["embed", "genome_predict", "phenotype_evaluate"]
COMMANDS = typer.main.get_command(app)
QUICK_STUDY = "--folds 2 --repeats 1 --estimator l1 --confounders none"


def tool(name: str) -> str:
    """Path of a program of the workflows' environment."""
    path = shutil.which(name) or shutil.which(name, path=str(ROOT / ".venv" / "workflows" / "bin"))
    if path is None:
        pytest.skip(f"{name} is not installed: pip install -r packaging/workflows.txt in an environment of its own")
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """An environment whose `biomeformer` is this checkout's, by this interpreter."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "biomeformer"
    source = shlex.quote(str(ROOT / "modeling"))
    command.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {shlex.quote(sys.executable)} -m biomeformer "$@"\n')
    command.chmod(0o755)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    home = tmp_path_factory.mktemp("home")
    # No look-up of newer versions, and no configuration or cache of the user.
    return variables | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "MULTIQC_NO_VERSION_CHECK": "true",
    }


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def write_reads(folder: Path, n_samples: int = 10) -> Path:
    """A cohort whose reads lie in `reads/`, with a phenotype."""
    rows = ["sample_id,fastq,disease"]
    for i in range(n_samples):
        write_fastq(folder / "reads" / f"s{i}.fastq.gz", random_sequences(20, seed=i))
        rows.append(f"s{i},reads/s{i}.fastq.gz,{'case' if i % 2 else 'control'}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    return folder / "cohort.csv"


# --- options of the command line


def unknown_options(words: list[str]) -> set[str]:
    """Options in a call of `biomeformer` that its command does not have; the command itself, if there is none."""
    command, rest = COMMANDS, list(words)
    while subcommands := getattr(command, "commands", None):
        name = rest.pop(0) if rest else ""
        if name not in subcommands:
            return {name}
        command = subcommands[name]
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    return {word for word in rest if word.startswith("-")} - known


def test_the_check_of_options_notices_what_the_command_does_not_have():
    assert unknown_options("embed cohort.csv --model x --output y".split()) == set()
    assert unknown_options("embed cohort.csv --modell x".split()) == {"--modell"}
    assert unknown_options("phenotype asses table".split()) == {"asses"}


def calls_of_wrapper(name: str) -> list[list[str]]:
    """Calls of `biomeformer` in a wrapper, with all options that it may add."""
    text = (WRAPPERS / name / "wrapper.py").read_text(encoding="utf-8")
    calls = re.findall(r'"biomeformer ([^{-]+)', text)
    return [[*call.split(), *re.findall(r"--[a-z][a-z-]*", text)] for call in calls]


@pytest.mark.parametrize("name", sorted(path.name for path in WRAPPERS.iterdir()))
def test_wrappers_call_commands_with_options_that_exist(name):
    calls = calls_of_wrapper(name)
    assert len(calls) == 1 and len(calls[0]) > 2
    assert [unknown_options(call) for call in calls] == [set()]
    meta = yaml.safe_load((WRAPPERS / name / "meta.yaml").read_text(encoding="utf-8"))
    assert {"name", "description", "authors", "input", "output", "params"} <= set(meta)
    assert meta["name"] == f"biomeformer {name.replace('_', ' ')}"
    dependencies = yaml.safe_load((WRAPPERS / name / "environment.yaml").read_text(encoding="utf-8"))["dependencies"]
    assert dependencies == [f"biomeformer ={__version__}"]


# --- Nextflow


def module_text(name: str) -> str:
    return (MODULES / name / "main.nf").read_text(encoding="utf-8")


def render(name: str, block: str, **values: str) -> str:
    """Return the bash script of a module's block, with variables replaced as Groovy does; all must be given."""
    script = re.search(rf'\n    {block}:\n.*?"""\n(.*?)\n    """', module_text(name), re.DOTALL)
    assert script is not None

    def replaced(match: re.Match[str]) -> str:
        return match[1] if match[1] else values[match[2]]

    return textwrap.dedent(re.sub(r"\\([$\\])|\$\{([\w.]+)\}", replaced, script[1]))


def channels(text: str, section: str) -> list[list[str]]:
    """Return the elements of each channel of `input:` or `output:`."""
    block = re.search(rf"\n    {section}:\n((?:    .+\n)+)", text)
    assert block is not None
    elements = r"(?:val|path)[ (]\s*\"?([^\s\",)]+)"
    return [re.findall(elements, line) for line in block[1].splitlines()]


def described(channel: list | dict) -> list[str]:
    """Return the names of the elements of a channel in meta.yml."""
    return [name for element in (channel if isinstance(channel, list) else [channel]) for name in element]


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_modules_have_the_layout_of_nf_core(name):
    text, meta = module_text(name), yaml.safe_load((MODULES / name / "meta.yml").read_text(encoding="utf-8"))
    assert re.findall(r"^process (\w+) \{", text, re.MULTILINE) == [f"BIOMEFORMER_{name.upper()}"]
    assert meta["name"] == f"biomeformer_{name}"
    required = {"name", "description", "keywords", "tools", "input", "output", "authors", "maintainers"}
    assert required <= set(meta) and len(set(meta["keywords"])) >= 3
    assert meta["tools"][0]["biomeformer"]["licence"] == ["Apache-2.0"]
    assert [described(channel) for channel in meta["input"]] == channels(text, "input")
    emitted = re.findall(r"emit: (\w+)", text)
    assert list(meta["output"]) == emitted and emitted[-1] == "versions"
    outputs = [described(channel[0]) for channel in meta["output"].values()]
    assert outputs == channels(text, "output")
    kinds = {"map", "file", "directory", "string", "integer", "float", "boolean", "list"}
    elements = [
        e
        for channel in [*meta["input"], *(c[0] for c in meta["output"].values())]
        for e in ([channel] if isinstance(channel, dict) else channel)
    ]
    assert all(kind["type"] in kinds and kind["description"] for element in elements for kind in element.values())
    environment = yaml.safe_load((MODULES / name / "environment.yml").read_text(encoding="utf-8"))
    assert environment["dependencies"] == [f"bioconda::biomeformer={__version__}"]
    assert f'container "biomeformer:{__version__}"' in text


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_tests_of_modules_name_the_process_and_files_that_exist(name):
    folder = MODULES / name / "tests"
    text = (folder / "main.nf.test").read_text(encoding="utf-8")
    assert f'process "BIOMEFORMER_{name.upper()}"' in text and text.count('options "-stub"') == 1
    paths = re.findall(r'(?:script|config) "(\.[^"]+)"', text)
    paths += [path.lstrip("/") for path in re.findall(r"\$\{moduleTestDir\}([^\"]+)", text)]
    assert len(paths) >= 2 and all((folder / path).exists() for path in paths)
    emitted = re.findall(r"emit: (\w+)", module_text(name))
    assert set(re.findall(r"process\.out\.(\w+)", text)) <= set(emitted)
    # As many inputs as the process takes, in each test.
    n_inputs = len(channels(module_text(name), "input"))
    for test in text.split("    test(")[1:]:
        assert sorted(set(re.findall(r"input\[(\d)\]", test))) == [str(i) for i in range(n_inputs)]


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_modules_are_groovy(name):
    """reftrace parses Groovy by its grammar, and Nextflow's directives."""
    code = (
        "import sys; from reftrace import Module; result = Module.from_file(sys.argv[1]); "
        "print([process.name for process in result.processes])"
    )
    path = MODULES / name / "main.nf"
    # The interpreter of the environment that Snakemake is installed in.
    python = Path(tool("snakemake")).read_text(encoding="utf-8").splitlines()[0].removeprefix("#!")
    done = subprocess.run([python, "-c", code, path], capture_output=True, text=True, check=False)
    if "No module named 'reftrace'" in done.stderr:
        pytest.skip("reftrace is not installed beside Snakemake")
    assert done.stdout.strip() == f"['BIOMEFORMER_{name.upper()}']", done.stderr


NEXTFLOW_VALUES = {
    "embed": {"samplesheet": "cohort.csv", "weights": "metagenbert-mini", "device": "cpu"},
    "phenotype_evaluate": {"table": "embedded", "target": "disease", "metadata_option": "", "species_option": ""},
    "genome_predict": {"genomes": "g0.fna", "weights": "genome-transformer-mini", "device": "cpu"},
}
EXT_ARGS = {"embed": "--seed 1", "phenotype_evaluate": QUICK_STUDY, "genome_predict": ""}


def rendered(name: str, block: str = "script") -> str:
    values = NEXTFLOW_VALUES[name] | {"prefix": "out put", "args": EXT_ARGS[name]}
    return render(name, block, **values, **{"task.process": f"BIOMEFORMER_{name.upper()}", "task.cpus": "1"})


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_modules_call_commands_with_options_that_exist(name):
    lines = rendered(name).replace("\\\n", " ").splitlines()
    calls = [shlex.split(line)[1:] for line in lines if line.startswith("biomeformer ")]
    assert calls and [unknown_options(call) for call in calls] == [set()] * len(calls)
    conditional = re.findall(r'"(--[a-z-]+) ', module_text(name))
    assert unknown_options([*calls[0], *conditional]) == set()


@pytest.mark.parametrize("block", ["script", "stub"])
def test_scripts_of_modules_write_their_outputs(tmp_path, environment, block):
    """In the folder of a task: what is staged, the script, and each path of `output:`."""
    folder = tmp_path / "task"
    folder.mkdir()
    write_reads(folder)
    contig = random_contig(np.random.default_rng(0), n_genes=6)
    (folder / "g0.fna").write_text(f">contig\n{contig}\n")
    for name in MODULE_NAMES:
        if name == "phenotype_evaluate":
            # The folder of `embed` is staged as a link, under its own name.
            (tmp_path / "embedded").mkdir(exist_ok=True)
            shutil.move(folder / "out put", tmp_path / "embedded" / "run")
            (folder / "embedded").symlink_to(tmp_path / "embedded" / "run")
        done = run(["bash", "-euo", "pipefail", "-c", rendered(name, block)], folder, environment)
        assert done.returncode == 0, done.stdout + done.stderr
        for output in {path for channel in channels(module_text(name), "output") for path in channel} - {"meta"}:
            assert list(folder.glob(output.replace("${prefix}", "out put"))), f"{name}: {output}"
        versions = yaml.safe_load((folder / "versions.yml").read_text())
        assert versions == {f"BIOMEFORMER_{name.upper()}": {"biomeformer": __version__}}


# --- Snakemake


def test_the_example_workflow_runs_resumes_and_has_nothing_left_to_do(tmp_path, environment):
    snakemake, multiqc = tool("snakemake"), tool("multiqc")
    write_reads(tmp_path)
    reads = tmp_path / "reads" / "s9.fastq.gz"
    content = reads.read_bytes()
    reads.write_bytes(content[:-20])
    config = {
        "cohort": "cohort.csv", "device": "cpu", "threads": 1, "phenotype": QUICK_STUDY,
        "embed": "--title 'ten samples'",
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [snakemake, "--snakefile", str(PACKAGING / "snakemake" / "workflow" / "Snakefile")]
    command += ["--configfile", "config.yaml", "--cores", "1"]
    programs = environment | {"PATH": os.pathsep.join([environment["PATH"], str(Path(multiqc).parent)])}
    results = tmp_path / "results"

    failed = run(command, tmp_path, programs)
    assert failed.returncode != 0 and "Error in rule embed" in failed.stdout + failed.stderr
    assert "s9" in (results / "logs" / "embed.log").read_text()
    assert not (results / "embedded" / "abundance.parquet").exists()
    parts = {path.name: path.stat().st_mtime_ns for path in (results / "embedded").rglob("s?.safetensors")}
    assert len(parts) == 9

    reads.write_bytes(content)
    done = run([*command, "--rerun-incomplete"], tmp_path, programs)
    assert done.returncode == 0, done.stdout + done.stderr
    again = {path.name: path.stat().st_mtime_ns for path in (results / "embedded").rglob("s?.safetensors")}
    assert len(again) == 10 and parts.items() <= again.items()
    table = AbundanceTable.read(results / "embedded")
    assert table.sample_ids == tuple(f"s{i}" for i in range(10)) and table.read_stats["n_used"].tolist() == [20] * 10
    scores = pd.read_csv(results / "phenotype" / "scores.csv")
    assert len(scores) and "ten samples" in (results / "embedded" / "report.html").read_text()
    data = json.loads((results / "multiqc_data" / "multiqc_data.json").read_text())
    assert sorted(data["report_general_stats_data"]["custom_content"]) == list(table.sample_ids)

    idle = run([*command, "--dry-run"], tmp_path, programs)
    assert idle.returncode == 0 and "Nothing to be done" in idle.stdout + idle.stderr


# --- MultiQC

NAMES = (
    "P1_counts", "P1.fastq.gz", "#hash", "007", "1e5", "=1+1", '"quoted"', "'q'", "a&b", "p 3", "x: y", "Zürich 日本",
    "<script>alert(1)<∕script>", '"><img src=x onerror=alert(1)>', "\x1b[31mred",
)  # fmt: skip


def abundance_table(ids: tuple[str, ...] = NAMES, n_clusters: int = 30, **stats: list[int]) -> AbundanceTable:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 50, (len(ids), n_clusters)) * (rng.random((len(ids), n_clusters)) < 0.7)
    index = pd.Index(ids, name="sample_id")
    read_stats = pd.DataFrame(0, index=index, columns=list(READ_STATS), dtype=np.int64)
    read_stats["n_used"] = counts.sum(axis=1)
    read_stats["n_too_short"], read_stats["n_no_tokens"] = rng.integers(1, 99, (2, len(ids)))
    read_stats["n_selected"] = read_stats[["n_used", "n_too_short", "n_no_tokens"]].sum(axis=1)
    read_stats["n_reads"] = 2 * read_stats["n_selected"]
    read_stats["n_truncated"] = read_stats["n_used"] // 3
    metadata = pd.DataFrame({"disease": ["a", "b"] * (len(ids) // 2) + ["a"] * (len(ids) % 2)}, index=index)
    provenance = {"model": "m", "weights_sha256": "ab", "n_clusters": n_clusters, "versions": {"biomeformer": "0.1.0"}}
    return AbundanceTable(ids, counts, read_stats.assign(**stats), metadata, provenance)


def export(table: AbundanceTable, folder: Path, file_format: str) -> Path:
    folder.mkdir()
    return export_table(table, folder, file_format)


def read_content(path: Path) -> tuple[dict, pd.DataFrame]:
    """Configuration and table of a file of custom content."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("#")]
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    frame = pd.DataFrame(rows[1:], columns=rows[0]).set_index("Sample")
    return yaml.safe_load("\n".join(line[2:] for line in comments)), frame.apply(pd.to_numeric)


def test_multiqc_renders_the_numbers_of_every_sample(tmp_path, environment):
    multiqc = tool("multiqc")
    table = abundance_table()
    export(table, tmp_path / "content", "multiqc")
    done = run([multiqc, "--strict", "--outdir", "out", "content"], tmp_path, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((tmp_path / "out" / "multiqc_data" / "multiqc_data.json").read_text(encoding="utf-8"))
    shown = data["report_general_stats_data"]["custom_content"]
    # Shown in HTML, a name reads as it does in a terminal.
    assert [html.unescape(name) for name in shown] == [sinks.terminal(name) for name in table.sample_ids]
    reads = table.read_stats
    for row, (_, stats), counts in zip(shown.values(), reads.iterrows(), table.counts, strict=True):
        assert row["reads"] == stats["n_reads"] and row["reads_used"] == stats["n_used"]
        assert row["percent_used"] == pytest.approx(100 * stats["n_used"] / stats["n_selected"])
        assert row["percent_too_short"] == pytest.approx(100 * stats["n_too_short"] / stats["n_selected"])
        assert row["percent_no_tokens"] == pytest.approx(100 * stats["n_no_tokens"] / stats["n_selected"])
        assert row["percent_truncated"] == pytest.approx(100 * stats["n_truncated"] / stats["n_used"])
        assert row["clusters"] == np.count_nonzero(counts)
        assert row["entropy"] == pytest.approx(scipy.stats.entropy(counts, base=2))
    titles = [
        header["title"] for columns in data["report_general_stats_headers"].values() for header in columns.values()
    ]
    assert {"Reads", "% used", "% too short", "Clusters", "Entropy"} <= set(titles)

    plots = data["report_plot_data"]
    assert {"biomeformer_reads_plot", "biomeformer_clusters_plot"} <= set(plots)
    bars = plots["biomeformer_clusters_plot"]["datasets"][0]
    assert len(bars["cats"]) == N_BARS + 1 and bars["cats"][-1]["name"] == "other clusters"
    assert len({cat["color"] for cat in bars["cats"]}) == N_BARS + 1
    assert len(bars["samples"]) == len(table.sample_ids)
    assert sum(sum(cat["data"]) for cat in bars["cats"]) == table.counts.sum()
    fates = plots["biomeformer_reads_plot"]["datasets"][0]["cats"]
    assert {cat["name"]: sum(cat["data"]) for cat in fates} == {
        "Used": reads["n_used"].sum(), "Too short": reads["n_too_short"].sum(), "No tokens": reads["n_no_tokens"].sum(),
        "Not selected": (reads["n_reads"] - reads["n_selected"]).sum(),
    }  # fmt: skip
    page = (tmp_path / "out" / "multiqc_report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<img src=x" not in page and "\x1b" not in page
    versions = (tmp_path / "out" / "multiqc_data" / "multiqc_software_versions.txt").read_text()
    assert "biomeformer\t0.1.0" in versions


def test_multiqc_content_is_valid_without_multiqc(tmp_path):
    table = abundance_table()
    folder = export(table, tmp_path / "content", "multiqc")
    for file, kind in ((READS_FILE, "generalstats"), (FATES_FILE, "bargraph"), (CLUSTERS_FILE, "bargraph")):
        configuration, frame = read_content(folder / file)
        assert configuration["plot_type"] == kind and re.fullmatch(r"[a-z_]+", configuration["id"])
        assert len(frame) == len(table.sample_ids) and frame.index.is_unique
    configuration, clusters = read_content(folder / CLUSTERS_FILE)
    assert list(configuration["categories"]) == list(clusters.columns)
    assert clusters.sum(axis=1).tolist() == table.counts.sum(axis=1).tolist()
    means = table.abundance.mean(axis=0)
    assert configuration["categories"][clusters.columns[0]]["name"] == f"cluster {means.argmax()}"
    assert yaml.safe_load((folder / VERSIONS_FILE).read_text()) == {"biomeformer": "0.1.0"}


def test_multiqc_content_has_unknown_tokens_where_they_were_counted(tmp_path):
    table = abundance_table(("a", "b"), n_tokens=[200, 0], n_unknown_tokens=[50, 0])
    configuration, frame = read_content(export(table, tmp_path / "content", "multiqc") / READS_FILE)
    assert frame.loc["a", "percent_unknown_tokens"] == 25 and np.isnan(frame.loc["b", "percent_unknown_tokens"])
    assert list(frame.columns) == [key for header in configuration["pconfig"] for key in header]


def test_samples_that_multiqc_would_merge_are_refused(tmp_path):
    with pytest.raises(TableError, match=r"'a b' and 'a\\tb' look the same"):
        export(abundance_table(("a b", "c", "a\tb")), tmp_path / "content", "multiqc")


# --- QIIME 2


def test_qiime2_metadata_is_read_back_by_scikit_bio(tmp_path):
    from skbio.metadata import SampleMetadata

    table = abundance_table(("s1", "s 2", "3"))
    columns = {
        "subject": ["007", "010", "11"],
        "age": ["34", "", "1"],
        "id": ["x", "y", "z"],
        "land": ["", 'a "b"', "ä\tb"],
    }
    table.metadata[list(columns)] = pd.DataFrame(columns, index=table.metadata.index)
    folder = export(table, tmp_path / "biom", "biom")
    lines = (folder / "sample-metadata.tsv").read_text(encoding="utf-8").splitlines()
    types = dict(zip(lines[0].split("\t"), lines[1].split("\t"), strict=True))
    assert types["sample-id"] == "#q2:types"
    read = SampleMetadata.load(str(folder / "sample-metadata.tsv"))
    assert read.ids == table.sample_ids
    kinds = {name: column.type for name, column in read.columns.items()}
    assert kinds == {name: kind for name, kind in types.items() if name != "sample-id"}
    assert {name: kinds[name] for name in ("n_used", "age", "subject", "disease", "metadata.id", "land")} == {
        "n_used": "numeric", "age": "numeric", "subject": "categorical", "disease": "categorical",
        "metadata.id": "categorical", "land": "categorical",
    }  # fmt: skip
    # And by ours, to which the types are a comment.
    metadata = read_metadata(folder / "sample-metadata.tsv")
    assert list(metadata.index) == list(table.sample_ids)
    features = read_feature_table(folder / "counts.biom", list(metadata.index))
    assert list(features.sample_ids) == list(table.sample_ids)
    frame = read.to_dataframe()
    assert frame["subject"].tolist() == columns["subject"] and frame["n_used"].tolist() == table.counts.sum(1).tolist()
    assert frame["land"].tolist()[1:] == columns["land"][1:] and pd.isna(frame["land"].iloc[0])


@pytest.mark.parametrize("name", ["#1", "sample-id", "SampleID"])
def test_ids_that_qiime2_does_not_allow_are_refused(tmp_path, name):
    with pytest.raises(TableError, match=r"sample-metadata\.tsv cannot be written: QIIME 2 does not allow it"):
        export(abundance_table(("a", name)), tmp_path / "biom", "biom")


def test_biom_table_is_valid_to_biom_format(tmp_path, environment):
    pytest.importorskip("biom")
    folder = export(abundance_table(("s1", "s 2", "3")), tmp_path / "biom", "biom")
    code = "from biom.cli import cli; cli()"
    command = [sys.executable, "-c", code, "validate-table", "-i", "counts.biom"]
    done = run(command, folder, environment)
    assert done.returncode == 0 and "The input file is a valid BIOM-formatted file" in done.stdout, done.stderr


def test_qiime2_imports_the_table_and_metadata(tmp_path):
    """QIIME 2 is on conda alone, so this runs in its environments."""
    reason = "QIIME 2 is not installed; it is distributed by conda alone"
    qiime2 = pytest.importorskip("qiime2", reason=reason)
    feature_table = pytest.importorskip("q2_types.feature_table", reason=reason)
    import biom

    table = abundance_table(("s1", "s 2", "3"))
    folder = export(table, tmp_path / "biom", "biom")
    metadata = qiime2.Metadata.load(str(folder / "sample-metadata.tsv"))
    kind = feature_table.BIOMV210Format
    artifact = qiime2.Artifact.import_data("FeatureTable[Frequency]", str(folder / "counts.biom"), view_type=kind)
    artifact.save(str(tmp_path / "table.qza"))
    read = qiime2.Artifact.load(str(tmp_path / "table.qza")).view(biom.Table)
    assert tuple(read.ids()) == metadata.ids == table.sample_ids
    assert np.array_equal(read.matrix_data.toarray().T, table.counts)
