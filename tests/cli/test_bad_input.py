"""Bad input of every kind: one sentence on stderr, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import gzip
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from biomeformer.runs.run_folder import run_status

CASES = {}
FAILING_SAMPLES = {}
RUN_FILES = ("run.json", "output.json", "lock", "parts", "failed", "failed/s0.json")
RECORD = '{"format_version": 1, "fingerprint": {}, "samples": {}, "attempts": []}'


def case(function):
    CASES[function.__name__] = function
    return function


def failing_sample(function):
    FAILING_SAMPLES[function.__name__] = function
    return function


def gzipped_reads(work):
    return gzip.compress(work.reads(n_reads=200).read_bytes())


def edit_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_weights(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


# Each case spoils something and returns the arguments and what the message must hold. Where a sample turns out bad
# while it is read, the run goes on with the others.

# Cohort tables


@case
def csv_missing(work):
    return work.embed(cohort=work.folder / "nowhere.csv"), ["nowhere.csv", "no such"]


@case
def csv_empty(work):
    return work.embed(cohort=work.table("")), ["cohort.csv", "empty"]


@case
def csv_header_only(work):
    return work.embed(cohort=work.table("sample_id,fastq\n")), ["cohort.csv", "no samples"]


@case
def csv_without_header(work):
    return work.embed(cohort=work.table("s0,r.fastq\ns1,r.fastq\n")), ["cohort.csv", "header", "sample_id"]


@case
def csv_without_fastq_column(work):
    return work.embed(cohort=work.table("sample_id,reads\ns0,r.fastq\n")), ["cohort.csv", "fastq"]


@case
def csv_with_one_mate_column(work):
    return work.embed(cohort=work.table("sample_id,fastq_1\ns0,r.fastq\n")), ["cohort.csv", "fastq_2"]


@case
def csv_with_both_layouts(work):
    table = work.table("sample_id,fastq,fastq_1\ns0,r.fastq,r.fastq\n")
    return work.embed(cohort=table), ["cohort.csv", "fastq_1"]


@case
def csv_duplicate_sample(work):
    table = work.table("sample_id,fastq\ns0,r.fastq\ns0,r.fastq\n")
    return work.embed(cohort=table), ["cohort.csv", "line 3", "'s0'"]


@case
def csv_ragged_row(work):
    return work.embed(cohort=work.table("sample_id,fastq\ns0,r.fastq,surplus\n")), ["cohort.csv", "line 2", "3 fields"]


@case
def csv_unsafe_sample_id(work):
    return work.embed(cohort=work.table("sample_id,fastq\n../s0,r.fastq\n")), ["line 2", "'../s0'"]


@case
def csv_newline_in_sample_id(work):
    return work.embed(cohort=work.table('sample_id,fastq\n"a\nb",r.fastq\n')), ["line 2", "sample_id"]


@case
def csv_semicolons(work):
    return work.embed(cohort=work.table("sample_id;fastq\ns0;r.fastq\n")), ["cohort.csv", "sample_id"]


@case
def csv_not_utf8(work):
    table = work.raw("cohort.csv", "sample_id,fastq,land\ns0,r.fastq,Österreich\n".encode("latin-1"))
    return work.embed(cohort=table), ["cohort.csv", "line 2", "UTF-8"]


@case
def csv_is_a_folder(work):
    return work.embed(cohort=work.folder), [str(work.folder), "directory"]


@case
def csv_is_a_fastq_file(work):
    return work.embed(cohort=work.reads()), ["r.fastq", "FASTQ"]


@case
def csv_is_gzipped(work):
    return work.embed(cohort=work.raw("c.csv.gz", gzip.compress(b"sample_id,fastq\n"))), ["c.csv.gz", "gzip"]


# Read files


@case
def fastq_missing(work):
    return work.embed(cohort=work.cohort(fastq="gone.fastq.gz")), ["cohort.csv", "line 2", "gone.fastq.gz"]


@case
def fastq_is_a_folder(work):
    return work.embed(cohort=work.cohort(fastq=".")), ["cohort.csv", "directory"]


@failing_sample
def fastq_empty(work):
    work.raw("e.fastq", b"")
    return work.embed(cohort=work.cohort(fastq="e.fastq")), ["e.fastq"]


@failing_sample
def fastq_gzip_of_nothing(work):
    work.raw("e.fastq.gz", gzip.compress(b""))
    return work.embed(cohort=work.cohort(fastq="e.fastq.gz")), ["e.fastq.gz"]


@failing_sample
def fastq_truncated_gzip(work):
    whole = gzipped_reads(work)
    work.raw("t.fastq.gz", whole[: len(whole) // 2])
    return work.embed(cohort=work.cohort(fastq="t.fastq.gz")), ["t.fastq.gz", "record"]


@failing_sample
def fastq_flipped_checksum(work):
    whole = bytearray(gzipped_reads(work))
    whole[-8] ^= 1
    work.raw("c.fastq.gz", bytes(whole))
    return work.embed(cohort=work.cohort(fastq="c.fastq.gz")), ["c.fastq.gz"]


@failing_sample
def fastq_trailing_garbage(work):
    work.raw("g.fastq.gz", gzipped_reads(work) + b"garbage after the end")
    return work.embed(cohort=work.cohort(fastq="g.fastq.gz")), ["g.fastq.gz"]


@failing_sample
def fastq_cut_record(work):
    work.raw("c.fastq", b"@a\nACGTACGTACGTACGTACGTACGT\n+\nIIIIIIIIIIIIIIIIIIIIIIII\n@b\nACGT\n")
    return work.embed(cohort=work.cohort(fastq="c.fastq")), ["c.fastq", "record 2"]


@failing_sample
def fastq_quality_of_another_length(work):
    work.raw("q.fastq", b"@a\nACGT\n+\nIII\n")
    return work.embed(cohort=work.cohort(fastq="q.fastq")), ["q.fastq", "record 1"]


@failing_sample
def fastq_is_html(work):
    work.raw("h.fastq.gz", b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n")
    return work.embed(cohort=work.cohort(fastq="h.fastq.gz")), ["h.fastq.gz", "web page"]


@failing_sample
def fasta_of_proteins(work):
    work.raw("p.fasta", b">p1\nMKVLAAGIVGLLLAQPEFWHERTYIPASDFGHKLMNE\n")
    return work.embed(cohort=work.cohort(fastq="p.fasta")), ["p.fasta", "record 1"]


@failing_sample
def mates_of_other_names(work):
    work.reads("r1.fastq", mate=1)
    work.reads("r2.fastq", mate=2, name="other")
    return work.embed(cohort=work.cohort(fastq_1="r1.fastq", fastq_2="r2.fastq")), ["r1.fastq", "r2.fastq", "record 1"]


@failing_sample
def mates_of_unequal_number(work):
    work.reads("r1.fastq", mate=1)
    work.reads("r2.fastq", mate=2, n_reads=29)
    return work.embed(cohort=work.cohort(fastq_1="r1.fastq", fastq_2="r2.fastq")), ["r2.fastq", "29 records"]


@case
def mates_in_one_file(work):
    work.reads("r1.fastq")
    return work.embed(cohort=work.cohort(fastq_1="r1.fastq", fastq_2="r1.fastq")), ["r1.fastq", "twice"]


@failing_sample
def reads_too_short(work):
    work.raw("s.fastq", b"@a\nACGT\n+\nIIII\n")
    return work.embed(cohort=work.cohort(fastq="s.fastq")), ["s.fastq", "under 20 bases"]


# Arguments of embed


@case
def read_fraction_zero(work):
    return work.embed("--read-fraction", 0), ["fraction", "0"]


@case
def read_fraction_above_one(work):
    return work.embed("--read-fraction", 1.5), ["fraction", "1.5"]


@case
def read_fraction_nan(work):
    return work.embed("--read-fraction", "nan"), ["fraction", "nan"]


@case
def read_fraction_text(work):
    return work.embed("--read-fraction", "half"), ["--read-fraction", "number"]


@failing_sample
def read_fraction_that_keeps_nothing(work):
    return work.embed("--read-fraction", 1e-9), ["r.fastq", "none of 30 reads"]


@case
def device_unknown(work):
    return work.embed("--device", "abacus"), ["'abacus'"]


@case
def device_cuda_absent(work):
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    return work.embed("--device", "cuda"), ["'cuda'", "--device cpu"]


@case
def device_not_supported(work):
    return work.embed("--device", "meta"), ["'meta'"]


@case
def dtype_unknown(work):
    return work.embed("--dtype", "float4"), ["'float4'", "bfloat16"]


@case
def batch_tokens_zero(work):
    return work.embed("--batch-tokens", 0), ["--batch-tokens", "1"]


@case
def seed_negative(work):
    return work.embed("--seed", -1), ["--seed", "0"]


@case
def threads_zero(work):
    return work.embed("--threads", 0), ["--threads", "1"]


@case
def colour_by_unknown_column(work):
    return work.embed("--colour-by", "diagnosis"), ["--colour-by", "'diagnosis'", "group"]


@case
def option_unknown(work):
    return work.embed("--read-fractoin", 0.5), ["--read-fractoin"]


@case
def verb_unknown(work):
    return ["embedd"], ["'embedd'"]


@case
def model_not_given(work):
    return ["embed", work.cohort(), "--output", work.output], ["--model"]


@case
def output_is_a_file(work):
    work.output.write_text("mine")
    return work.embed(), [str(work.output), "file"]


@case
def output_is_not_empty(work):
    work.output.mkdir()
    (work.output / "notes.txt").write_text("mine")
    return work.embed(), [str(work.output), "not empty", "--overwrite"]


@case
def output_holds_a_run_and_is_not_to_be_resumed(work):
    (work.output / "run").mkdir(parents=True)
    (work.output / "run" / "run.json").write_text(RECORD)
    (work.output / "run" / "lock").touch()
    return work.embed("--no-resume"), [str(work.output), "holds a run already", "--no-resume"]


@case
def output_holds_a_run_of_another_version(work):
    (work.output / "run").mkdir(parents=True)
    (work.output / "run" / "run.json").write_text('{"format_version": 99}')
    (work.output / "run" / "lock").touch()
    return work.embed(), ["run.json", "format 99", "--overwrite"]


@case
def status_of_nothing(work):
    return ["status", work.folder], [str(work.folder), "no run"]


@case
def output_under_a_file(work):
    work.raw("file", b"")
    arguments = work.embed()
    arguments[arguments.index("--output") + 1] = str(work.folder / "file" / "out")
    return arguments, [str(work.folder / "file"), "is a file"]


# Checkpoints


@case
def model_name_misspelt(work):
    return work.embed(model="metagenbert-mino"), ["'metagenbert-mino'", "did you mean metagenbert-mini"]


@case
def model_path_missing(work):
    return work.embed(model=work.folder / "gone" / "model"), [str(work.folder / "gone" / "model"), "no such folder"]


@case
def model_is_a_file(work):
    return work.embed(model=work.raw("model.safetensors", b"x")), ["model.safetensors", "file"]


@case
def model_without_config(work):
    model = work.model()
    (model / "config.json").unlink()
    return work.embed(model=model), [str(model), "config.json"]


@case
def model_config_not_json(work):
    model = work.model()
    (model / "config.json").write_text('{"model_type": ')
    return work.embed(model=model), [str(model / "config.json"), "JSON"]


@case
def model_config_out_of_range(work):
    model = work.model()
    edit_json(model / "config.json", pooling="median")
    return work.embed(model=model), [str(model), "median"]


@case
def model_without_weights(work):
    model = work.model()
    (model / "model.safetensors").unlink()
    return work.embed(model=model), [str(model), "model.safetensors"]


@case
def model_with_only_a_bin(work):
    model = work.model()
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    return work.embed(model=model), [str(model)]


@case
def model_lacks_weights(work):
    model = work.model()
    edit_weights(model / "model.safetensors", lambda tensors: tensors.pop("centroids"))
    return work.embed(model=model), [str(model), "missing", "centroids"]


@case
def model_has_surplus_weights(work):
    model = work.model()
    edit_weights(model / "model.safetensors", lambda tensors: tensors.update(surplus=torch.zeros(2)))
    return work.embed(model=model), [str(model), "unexpected", "surplus"]


@case
def model_weights_of_another_shape(work):
    model = work.model()
    edit_json(model / "config.json", n_clusters=9)
    return work.embed(model=model), [str(model), "centroids"]


@case
def model_weights_truncated(work):
    model = work.model()
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return work.embed(model=model), [str(weights), "damaged"]


@case
def model_weights_are_a_pickle(work):
    model = work.model()
    torch.save({"centroids": torch.zeros(2, 2)}, model / "model.safetensors")
    return work.embed(model=model), [str(model)]


@case
def model_of_another_type(work):
    model = work.model()
    edit_json(model / "config.json", model_type="bert")
    return work.embed(model=model), [str(model), "'bert'", "fit-centroids"]


@case
def model_with_another_contract(work):
    model = work.model()
    edit_json(model / "processor_config.json", pooling="cls")
    return work.embed(model=model), [str(model), "pooling", "'cls'"]


@case
def model_with_an_unknown_contract(work):
    model = work.model()
    edit_json(model / "processor_config.json", case="camel")
    return work.embed(model=model), [str(model), "camel"]


@case
def model_without_contract(work):
    model = work.model()
    (model / "processor_config.json").unlink()
    return work.embed(model=model), [str(model), "processor_config.json"]


@case
def model_without_tokenizer(work):
    model = work.model()
    (model / "tokenizer.json").unlink()
    return work.embed(model=model), [str(model), "tokenizer.json"]


@case
def inspect_of_nothing(work):
    return ["inspect", work.folder / "gone"], [str(work.folder / "gone")]


@case
def inspect_of_a_damaged_checkpoint(work):
    model = work.model()
    (model / "model.safetensors").write_bytes(b"")
    return ["inspect", model], [str(model)]


# fit-centroids


@case
def clusters_zero(work):
    return work.fit("--n-clusters", 0), ["--n-clusters"]


@case
def clusters_given_twice(work):
    return work.fit("--n-clusters", 3, "--n-clusters", 3), ["--n-clusters", "twice"]


@case
def memory_that_is_none(work):
    return work.fit("--max-memory", "plenty"), ["--max-memory", "'plenty'", "4GB"]


@case
def reads_per_sample_zero(work):
    return work.fit("--reads-per-sample", 0), ["--reads-per-sample"]


@case
def pooling_unknown(work):
    return work.fit("--pooling", "median"), ["--pooling", "median"]


@case
def pooling_without_max_length(work):
    return work.fit("--pooling", "mean_over_max_length"), ["--pooling", "--max-length"]


@case
def max_length_without_room(work):
    return work.fit("--max-length", 2), ["max_length", "2"]


@case
def centroids_output_not_empty(work):
    work.output.mkdir()
    (work.output / "notes.txt").write_text("mine")
    return work.fit(), [str(work.output), "not empty"]


@failing_sample
def centroids_of_a_damaged_sample(work):
    work.raw("c.fastq", b"@a\nACGT\n+\nIII\n")
    return work.fit(cohort=work.cohort(fastq="c.fastq")), ["c.fastq", "record 1"]


@case
def centroids_of_an_encoder_that_is_missing(work):
    return work.fit(encoder=work.folder / "gone"), [str(work.folder / "gone")]


@case
def centroids_of_an_encoder_with_only_a_bin(work):
    source = published_layout(work)
    torch.save({"weight": torch.zeros(2)}, source / "pytorch_model.bin")
    return work.fit(encoder=source), [str(source), "biomeformer convert"]


@case
def centroids_seed_too_large(work):
    return work.fit("--seed", 2**40), ["seed"]


# convert


def published_layout(work):
    folder = work.folder / "published"
    folder.mkdir()
    config = {"model_type": "bert", "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3}
    auto_map = {"AutoModel": "bert_layers.BertModel"}
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 120, "auto_map": auto_map}))
    return folder


@case
def convert_missing_source(work):
    return ["convert", work.folder / "gone", work.output], [str(work.folder / "gone")]


@case
def convert_source_without_bin(work):
    return ["convert", published_layout(work), work.output], ["pytorch_model.bin"]


@case
def convert_source_without_config(work):
    source = published_layout(work)
    (source / "config.json").unlink()
    return ["convert", source, work.output], ["config.json"]


@case
def convert_bin_with_code(work):
    source = published_layout(work)
    torch.save({"weight": shutil.rmtree}, source / "pytorch_model.bin")
    return ["convert", source, work.output], [str(source / "pytorch_model.bin"), "code"]


@case
def convert_bin_that_is_text(work):
    source = published_layout(work)
    (source / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    return ["convert", source, work.output], [str(source / "pytorch_model.bin")]


@case
def convert_to_a_folder_with_content(work):
    source = published_layout(work)
    torch.save({"weight": torch.zeros(2)}, source / "pytorch_model.bin")
    work.output.mkdir()
    (work.output / "notes.txt").write_text("mine")
    return ["convert", source, work.output], [str(work.output), "empty"]


@case
def convert_another_model(work):
    source = published_layout(work)
    (source / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 24}))
    torch.save({"weight": torch.zeros(2)}, source / "pytorch_model.bin")
    return ["convert", source, work.output], [str(source)]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_on_one_line_and_changes_no_file(name, work, run):
    arguments, fragments = CASES[name](work)
    before = work.contents()
    result = run(arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: "), result.stderr
    missing = [fragment for fragment in fragments if fragment not in line]
    assert not missing, f"{missing} not in {line}"
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert work.contents() == before


@pytest.mark.parametrize("name", FAILING_SAMPLES)
def test_failing_sample_is_reported_and_leaves_no_result(name, work, run):
    """Recorded with its reason; nothing of it is kept, and nothing else is made or changed."""
    arguments, fragments = FAILING_SAMPLES[name](work)
    before = work.contents()
    result = run(arguments)
    assert result.exit_code == 1, result.output
    listed, line = result.stderr.splitlines()[-2:]
    assert line.startswith("error: 1 of 1 samples failed (s0); "), result.stderr
    assert any(re.fullmatch("1/1 s0: failed", other) for other in result.stderr.splitlines())
    missing = [fragment for fragment in ["failed  s0: ", *fragments] if fragment not in listed]
    assert not missing, f"{missing} not in {listed}"
    assert "Traceback" not in result.output and result.stdout == ""
    folder = work.output if arguments[0] == "embed" else work.folder / "out.vectors"
    after = work.contents()
    assert {path: after[path] for path in before} == before
    assert {path for path in after if path not in before} == {
        str((folder / path).relative_to(work.folder)) for path in (".", "run", *(f"run/{name}" for name in RUN_FILES))
    }
    assert run_status(folder).failed["s0"] in listed


def test_a_damaged_record_of_a_run_says_how_to_go_on(work, run):
    (work.output / "run").mkdir(parents=True)
    (work.output / "run" / "run.json").write_text('{"format_version"')
    (work.output / "run" / "lock").touch()
    commands = (work.embed(), ["status", work.output])
    before = work.contents()
    for arguments in commands:
        result = run(arguments)
        assert result.exit_code == 1 and result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert "run.json is not JSON, so it is damaged" in line and "delete it and give the same command again" in line
    assert work.contents() == before


def test_more_clusters_than_reads(work, run):
    """Found out when reads have been drawn; they are kept for another number of clusters."""
    result = run(work.fit("--n-clusters", 31))
    assert result.exit_code == 2 and result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: 31 clusters were asked for and the cohort gives 30 usable reads")
    assert not work.output.exists()
    result = run(work.fit("--n-clusters", 4))
    assert result.exit_code == 0 and "resuming an earlier run: 1 of 1 samples are done" in result.stderr
    assert work.output.is_dir() and not (work.folder / "out.vectors").exists()


def test_convert_gives_no_dangerous_advice(work, run):
    result = run(convert_bin_that_is_text(work)[0])
    assert result.exit_code == 2 and "arbitrary code" not in result.stderr and "2.6" not in result.stderr


def test_there_are_many_kinds():
    assert len(CASES) + len(FAILING_SAMPLES) >= 30
