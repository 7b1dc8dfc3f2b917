"""The comparison with other tools measures, skips and reports what is there: with scripts in place of the tools."""

from __future__ import annotations

import gzip
import json
import resource
import sys

import pytest
from benchmarks import peers
from benchmarks.peers import Inputs, Peer, compare, main, measure, missing, render


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder on PATH, alone but for the system's shell, and how a script gets there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(name, text):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    return write


@pytest.fixture
def inputs(tmp_path):
    reads, genome = tmp_path / "reads.fastq.gz", tmp_path / "genomes" / "g.fna.gz"
    genome.parent.mkdir()
    (tmp_path / "work").mkdir()
    reads.write_bytes(gzip.compress(b"@r\nACGT\n+\nIIII\n" * 3))
    genome.write_bytes(gzip.compress(b">c\nACGTACGT\n"))
    return Inputs(reads, (genome,), tmp_path / "work", 2)


def one(name, **options):
    return Peer(name, "reads", lambda inputs: [[name, inputs.reads]], (name,), (name, "--version"), **options)


def test_processor_time_and_memory_are_those_of_the_processes_started(tmp_path):
    # Of a process that a process starts; its sleep is wall time alone.
    work = "import time, resource; x = bytearray(80_000_000); time.sleep(0.3)\nwhile time.process_time() < 0.5: pass"
    result = measure([["sh", "-c", 'exec_() { "$@"; }; exec_ "$0" -c "$1"; true', sys.executable, work]], tmp_path, 1)
    # Until it starts the tool, a process counts the memory of this one, which ran other tests.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert result["cpu_s"] >= 0.5 and result["wall_s"] >= 0.8 and 80 <= result["memory_mib"] < 2000 + own
    assert result["others_share"] is None or 0 <= result["others_share"] <= 1


def test_tools_are_measured_skipped_and_reported(tools, inputs):
    tools("good", 'if [ "$1" = --version ]; then echo; echo good 1.2; else echo run >> "$0.runs"; cat "$1"; fi')
    tools("broken", 'if [ "$1" = --version ]; then echo 9 >&2; else echo no space left >&2; exit 3; fi')
    prepared = {"prepare": lambda inputs: [["sh", "-c", 'echo made >> "$0"', inputs.work / "made"]]}
    pythonic = Peer("pythonic", "reads", lambda inputs: [], ("python:no_such_module",))
    results = compare([one("good", **prepared), one("broken"), one("absent"), pythonic], inputs, rounds=3)
    good = results["good"]
    assert good["version"] == "good 1.2" and len(good["rounds"]) == 3 and good["preparation"]["wall_s"] > 0
    assert good["cpu_s"] == sorted(measured["cpu_s"] for measured in good["rounds"])[1]
    assert results["broken"]["failed"] == "broken ended with 3: no space left" and results["broken"]["version"] == "9"
    assert results["absent"] == {"task": "reads", "skipped": "absent is not on PATH"}
    assert results["pythonic"]["skipped"] == "the Python module no_such_module is not installed"
    # A second run uses the database of the first.
    again = compare([one("good", **prepared)], inputs, rounds=1)
    assert again["good"]["preparation"] == good["preparation"]
    assert (inputs.work / "made").read_text() == "made\n"


def test_without_any_tool_everything_is_skipped_with_its_reason(tools, inputs, tmp_path, monkeypatch):
    tools("mash", 'echo "$@"')
    # Ours and those in Python are left out of this test.
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    monkeypatch.setattr(peers.shutil, "which", lambda name: "there" if name == "mash" else None)
    output = tmp_path / "peers.json"
    options = ["--reads", str(inputs.reads), "--genomes", str(inputs.genomes[0].parent), "--output", str(output)]
    options += ["--work", str(inputs.work), "--threads", "2", "--rounds", "1", "--tasks"]
    assert main([*options, "reads"]) == 0
    record = json.loads(output.read_text())
    assert record["n_reads"] == 3 and record["n_genomes"] == 1
    assert {name for name, tool in record["tools"].items() if "skipped" not in tool} == {"Mash"}
    assert record["tools"]["Kraken 2"]["skipped"] == "kraken2 is not on PATH"
    # Another task is added, and the first one's results stay.
    assert main([*options, "genomes"]) == 0
    both = json.loads(output.read_text())
    assert both["tools"]["Mash"] == record["tools"]["Mash"] and "Prodigal and MMseqs2" in both["tools"]
    inputs.reads.write_bytes(gzip.compress(b"@r\nACGT\n+\nIIII\n"))
    with pytest.raises(SystemExit):
        main([*options, "genomes"])
    document = render(both)
    assert "| Mash |" in document and "sylph: skipped, sylph is not on PATH." in document
    assert "## From 2 genomes" in document and "nan" not in document


def test_every_command_can_be_made(inputs):
    for peer in peers.PEERS:
        for command in [*peer.prepare(inputs), *peer.commands(inputs)]:
            assert command and all(str(part) for part in command)
    assert missing(peers.PEERS[0]) is None


def test_the_document_is_that_of_the_results():
    assert peers.DOCS.read_text() == peers.page()
