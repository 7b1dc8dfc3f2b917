"""The page to try the models: what it computes, keeps and fetches, through its endpoints and in a browser."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

import biomeformer
from biomeformer.app import Analyses, Limits, serve
from biomeformer.app.sessions import GENOME_SUFFIXES, READ_SUFFIXES, Sessions
from biomeformer.errors import InputError, TableError
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.metagenomes import AbundanceTable, run_cohort
from biomeformer.phenotypes import FeatureTable, make_target, predict_table, train_checkpoint, train_predictor
from browser import chromium
from devtools import browser
from factories import (
    random_genome_transformer,
    random_sequences,
    tiny_esm,
    tiny_metagenbert,
    write_cohort,
    write_fastq,
    write_protein_genomes,
)

gradio_client = pytest.importorskip("gradio_client")
pytest.importorskip("gradio_client.exceptions")
EMBED = "[...document.querySelectorAll('button')].find(b => b.innerText.includes('Embed')).click()"
DOWNLOAD = "[...document.querySelectorAll('a')].some(link => link.href.endsWith('abundance.parquet'))"
HOSTILE = "<img src=x onerror=alert(1)>\u202e.fastq"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Checkpoints, a cohort with its run, reads and genomes."""
    folder = tmp_path_factory.mktemp("app")
    model = tiny_metagenbert(min_read_length=20)
    model.save_pretrained(folder / "model")
    model = biomeformer.load(folder / "model")
    run_cohort(model, write_cohort(folder / "cohort", n_samples=12, n_reads=30), folder / "run").raise_for_failures()
    table = AbundanceTable.read(folder / "run")
    target = make_target(table.metadata, "group", table.sample_ids)
    trained, _ = train_checkpoint(model, table, target, n_splits=2, n_jobs=1, force=True)
    trained.save_pretrained(folder / "head")
    features = FeatureTable.from_abundance(table)
    base = {"weights_sha256": model.weights_sha256}
    options = {"base_model": base, "n_splits": 2, "n_jobs": 1, "force": True}
    predictor, _ = train_predictor({"vectors": features}, target, "forest", **options)
    predictor.save_pretrained(folder / "predictor")
    encoder = load_protein_encoder(tiny_esm(folder / "esm"))
    genome_model = random_genome_transformer()
    tiny_esm(folder / "genome" / "protein_encoder")
    genome_model.processor = biomeformer.GenomeTransformerProcessor(
        "protein_encoder", encoder.weights_sha256, protein_size=24, max_genes=60
    )
    genome_model.save_pretrained(folder / "genome")
    write_protein_genomes(folder, 2, 8)
    write_fastq(folder / "r1.fastq.gz", random_sequences(40, seed=5))
    write_fastq(folder / "r2.fastq.gz", random_sequences(40, seed=6))
    write_fastq(folder / "many.fastq", random_sequences(300, seed=7))
    return folder


@pytest.fixture(scope="module")
def analyses(place) -> Analyses:
    return Analyses.load(
        str(place / "model"),
        phenotype_model=str(place / "head"),
        genome_model=str(place / "genome"),
        cohort=place / "run",
        device="cpu",
        limits=Limits(upload_bytes=200_000, reads=200),
    )


@pytest.fixture(scope="module")
def served(analyses):
    """The page's address, and its sessions."""
    page, sessions = serve(analyses, block=False)
    yield page.local_url, sessions
    page.close(verbose=False)
    sessions.close()
    assert not sessions.root.exists()


@pytest.fixture
def client(served, tmp_path):
    made = gradio_client.Client(
        served[0], verbose=False, analytics_enabled=False, download_files=str(tmp_path / "downloads")
    )
    yield made
    made.close()


def kept(sessions: Sessions) -> list[Path]:
    """What lies in the folders of uploads and sessions; Gradio makes empty files too."""
    return [path for path in sessions.root.rglob("*") if path.is_file() and path.stat().st_size]


def predict(client, *paths: Path):
    return client.predict([gradio_client.handle_file(str(path)) for path in paths], api_name="/embed")


def test_a_sample_is_embedded_as_the_command_does(place, client, served):
    _, status, statistics, drawing, phenotype, downloads = predict(client, place / "r1.fastq.gz", place / "r2.fastq.gz")
    model = biomeformer.load(place / "model")
    expected = model.embed_sample(place / "r1.fastq.gz", place / "r2.fastq.gz")
    frame, table = (Path(path) for path in downloads["value"])
    assert pd.read_csv(frame)["count"].tolist() == expected.counts.tolist()
    read = AbundanceTable.read(table)
    assert read.counts[0].tolist() == expected.counts.tolist()
    joined = AbundanceTable.join([AbundanceTable.read(place / "run"), read])
    assert len(joined.sample_ids) == 13
    stats = dict(statistics["value"]["data"])
    assert stats["reads"] == stats["used"] == 80
    head = biomeformer.MetagenBertForPhenotypeClassification.from_pretrained(place / "head")
    probabilities = predict_table(head, read).iloc[0]
    shown = {one["label"]: one["confidence"] for one in phenotype["value"]["confidences"]}
    assert shown == pytest.approx(dict(probabilities))
    assert "80 of 80 reads" in status and "data:image/svg+xml" in drawing["value"]
    # The reads are deleted already.
    assert {path.name for path in kept(served[1])} <= {"abundance.csv", "abundance.parquet"}


def test_the_sample_lies_where_it_should(place, analyses):
    """A sample of the cohort is its own nearest neighbour, and has the same coordinates."""
    result = analyses.sample([next((place / "cohort").glob("s3*"))])
    name, distance = result.nearest[0]
    assert name == "s3" and distance == 0
    axes = result.figure().axes[0]
    star = axes.collections[-1].get_offsets()[0]
    others = np.vstack([np.asarray(each.get_offsets()) for each in axes.collections[:-1]])
    assert np.abs(others - star).max(axis=1).min() < 1e-9


def test_a_genome_is_predicted_as_the_command_does(place, client, analyses, served):
    genome = place / "g0.faa"
    _, status, probabilities, downloads = client.predict(
        gradio_client.handle_file(str(genome)), api_name="/predict_genome"
    )
    expected = analyses.genome(genome)
    shown = {one["label"]: one["confidence"] for one in probabilities["value"]["confidences"]}
    assert shown == pytest.approx(expected.probabilities)
    row, genes = (pd.read_csv(path, sep="\t") for path in downloads["value"])
    assert row.loc[0, "genome"] == "g0.faa" and len(genes) == len(expected.genome)
    assert f"g0.faa: {expected.label}" in status
    assert not any(path.name.startswith("genome.") for path in kept(served[1]))


def test_what_is_wrong_is_said_in_one_sentence_and_names_are_text(place, client, served, tmp_path):
    hostile = tmp_path / HOSTILE
    hostile.write_text("@a\nACGT\n")
    other = tmp_path / "notes.docx"
    other.write_text("x")
    cases = [
        ([], "no file was chosen"),
        ([hostile], "record 1"),
        ([place / "many.fastq"], "more than 200 reads"),
        ([place / "r1.fastq.gz"] * 3, "3 files were given"),
    ]
    for paths, words in cases:
        _, status, *shown = predict(client, *paths)
        assert 'class="status error"' in status and words in status and status.count("<") == 2, status
        assert str(served[1].root) not in status and "\u202e" not in status
        assert not any(one.get("visible") for one in shown)
    with pytest.raises(gradio_client.exceptions.AppError, match="Invalid file type"):
        predict(client, other)
    # What was not taken stays until its session ends.
    assert not [path for path in kept(served[1]) if path.suffix not in (".csv", ".parquet", ".tsv", ".docx", ".gz")]


def test_large_uploads_are_refused(place, client, served, tmp_path):
    large = write_fastq(tmp_path / "large.fastq", random_sequences(2400, seed=1))
    assert large.stat().st_size > 200_000
    before = {path.name for path in kept(served[1])}
    with pytest.raises(Exception, match=r"(?i)size|large|413"):
        predict(client, large)
    assert {path.name for path in kept(served[1])} - before == set()


def test_the_page_is_served_on_this_machine_alone(served):
    assert served[0].startswith("http://127.0.0.1:")
    port = int(served[0].rstrip("/").rpartition(":")[2])
    listening = [one.laddr for one in psutil.Process().net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert [address.ip for address in listening if address.port == port] == ["127.0.0.1"]


def test_models_that_do_not_fit_are_refused_at_the_start(place, tmp_path, analyses):
    with pytest.raises((TableError, InputError)):
        Analyses.load("metagenbert-mini", cohort=place / "run", genome_model=str(place / "genome"), device="cpu")
    by_forest = Analyses.load(
        str(place / "model"),
        phenotype_model=str(place / "predictor"),
        genome_model=str(place / "genome"),
        cohort=place / "run",
        device="cpu",
    )
    shown = by_forest.sample([place / "r1.fastq.gz"]).probabilities
    assert shown is not None and sum(shown.values()) == pytest.approx(1)


def test_folders_of_sessions(tmp_path):
    sessions = Sessions()
    upload = sessions.root / "upload" / "a.FASTQ.GZ"
    upload.parent.mkdir()
    upload.write_text("x")
    taken = sessions.take("one", upload, "reads_1", READ_SUFFIXES)
    assert taken.name == "reads_1.fastq.gz" and not upload.parent.exists()
    outside = tmp_path / "secret.fastq"
    outside.write_text("x")
    with pytest.raises(InputError, match="not on the server"):
        sessions.take("one", outside, "reads_1", READ_SUFFIXES)
    with pytest.raises(InputError, match="kind of file"):
        sessions.take("one", outside, "genome", GENOME_SUFFIXES[3:])
    unused = sessions.root / "other" / "b.fastq"
    unused.parent.mkdir()
    unused.write_text("x")
    sessions.uploaded("one", [unused, outside])
    sessions.folder("two")
    sessions.end("one")
    assert not unused.exists() and not taken.exists() and outside.exists() and sessions.folder("two").is_dir()
    sessions.close()
    assert not sessions.root.exists()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_in_a_browser(width, place, served, tmp_path):
    url, sessions = served

    async def visit() -> None:
        async with browser(tmp_path) as tab:
            await tab.open(url, width)
            await tab.wait_for("document.querySelector('input[type=file]') !== null")
            await tab.choose_files("input[type=file]", place / "r1.fastq.gz")
            await tab.wait_for("document.body.innerText.includes('r1.fastq')")
            await tab.evaluate(EMBED)
            status = await tab.wait_for("document.querySelector('#sample-status .status')?.innerText")
            assert "40 of 40 reads" in status
            await tab.wait_for("document.querySelector('.ordination img')?.naturalWidth")
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width
            await tab.wait_for(DOWNLOAD)
            elsewhere = [one for one in tab.requests if not one.startswith((url.rstrip("/"), "data:", "blob:"))]
            assert (elsewhere, tab.complaints) == ([], [])
            assert any(path.name == "abundance.parquet" for path in kept(sessions))
            # Another page: the session ends.
            n_before = len(kept(sessions))
            await tab.call("Page.navigate", url="about:blank")
            deadline = time.monotonic() + 60
            while len(kept(sessions)) >= n_before:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)

    chromium()
    asyncio.run(visit())


def test_the_command_serves_until_it_is_interrupted(place, tmp_path):
    command = [sys.executable, "-m", "biomeformer", "app", "--model", place / "model", "--cohort", place / "run"]
    command += ["--genome-model", place / "genome", "--device", "cpu", "--threads", "1"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*map(str, command)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert re.fullmatch(r"page  http://127\.0\.0\.1:\d+/\n", line), (line, process.communicate())
    assert list(tmp_path.glob("biomeformer-app-*"))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0 and "next: biomeformer embed" in stderr
    assert not list(tmp_path.glob("biomeformer-app-*"))
