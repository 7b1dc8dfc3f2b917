"""The commands of docs/transfer.md and docs/publishing.md, run as they stand against a Hub on this machine."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard, ModelCard

from biomeformer import AbundanceTable
from biomeformer.io.dataset_files import shards
from factories import write_fastq
from hub_factories import fill_in

DOCS = Path(__file__).resolve().parents[2] / "docs"
N_READS = 60


def sections(document):
    """Code blocks of a document by its headings: pairs of language and text."""
    found = {}
    for part in re.split(r"^## ", (DOCS / document).read_text(), flags=re.MULTILINE):
        heading, _, text = part.partition("\n")
        found[heading] = re.findall(r"```(bash|python|toml)\n(.*?)```", text, flags=re.DOTALL)
    return found


def cohort(folder, seed, n_samples=12):
    """Samples of two groups, whose reads differ in composition."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    rows = ["sample_id,fastq_1,fastq_2,disease,age"]
    for i in range(n_samples):
        shares = (0.32, 0.18, 0.18, 0.32) if i % 2 else (0.18, 0.32, 0.32, 0.18)
        for mate in (1, 2):
            reads = ["".join(rng.choice(list("ACGT"), 100, p=shares)) for _ in range(N_READS)]
            write_fastq(folder / f"s{seed}_{i}_R{mate}.fastq.gz", reads, mate=mate)
        disease = ("ill", "well")[i % 2]
        rows.append(f"s{seed}_{i},s{seed}_{i}_R1.fastq.gz,s{seed}_{i}_R2.fastq.gz,{disease},{30 + i}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    return folder


def run_block(lines):
    """Command lines one after another, in one process."""
    import shlex

    import torch

    from biomeformer.cli.app import app

    torch.manual_seed(0)
    for line in lines:
        words = shlex.split(line)
        if words[0] == "$EDITOR":
            fill_in(Path(words[1]).parent)
            continue
        try:
            app(words[1:], prog_name=words[0])
        except SystemExit as end:
            assert not end.code, line


def run_code(code, names):
    """Python of a document; gives what it calls by these names."""
    space = {}
    exec(code, space)
    return [space[name] for name in names]


def lines_of(block):
    return [line for line in block.splitlines() if line.strip()]


@pytest.fixture
def laboratory(hub, hub_process, tmp_path):
    """Runs a section's commands as a user with a cache of its own."""

    def work(blocks, token, cache):
        hub.add_user(token.removeprefix("hf_"), token)
        lines = [line for language, block in blocks if language == "bash" for line in lines_of(block)]
        return hub_process(run_block, lines, token=token, cache=tmp_path / cache, cwd=tmp_path, timeout=300)

    return work


def test_the_transfer_story(hub, hub_process, laboratory, tmp_path):
    cohort(tmp_path / "cohort_a", 1), cohort(tmp_path / "cohort_b", 2)
    told = sections("transfer.md")
    (lab_a, lab_b, anyone) = (blocks for heading, blocks in told.items() if ":" in heading)
    for mate in (1, 2):
        source = tmp_path / "cohort_b" / f"s2_4_R{mate}.fastq.gz"
        (tmp_path / f"sample_R{mate}.fastq.gz").write_bytes(source.read_bytes())

    laboratory(lab_a, "hf_lab-a", "cache_a").check()
    commit = hub.head("lab-a/gut-centroids", revision="v1")
    published = hub.files("lab-a/gut-abundance", repo_type="dataset")
    assert set(published) >= {"README.md", "provenance.json"} and len(shards(published, "train")) == 1
    assert not [name for name in published if "fastq" in name] and b"`age`" not in published["README.md"]
    assert DatasetCard(published["README.md"].decode()).data.license == "cc-by-4.0"

    # Lab B has nothing of lab A but names.
    done = laboratory(lab_b, "hf_lab-b", "cache_b")
    done.check()
    ours = AbundanceTable.read(tmp_path / "abundance_b")
    assert ours.provenance["model"] == "lab-a/gut-centroids" and ours.provenance["revision"] == commit
    (joining,) = [block for language, block in lab_b if language == "python"]
    names = ["theirs", "ours", "both"]
    theirs, _, both = hub_process(
        run_code, joining, names, token="hf_lab-b", cache=tmp_path / "cache_b", cwd=tmp_path
    ).check()
    assert len(theirs.sample_ids) == 12 and len(both.sample_ids) == 24 and "age" not in theirs.metadata
    assert np.array_equal(both.counts, np.concatenate([theirs.counts, ours.counts]))
    # The checkpoint that lab A kept gives lab B's counts, bit for bit.
    local = hub_process(run_block, ["biomeformer embed cohort_b/cohort.csv -m gut-centroids -o again"], cwd=tmp_path)
    local.check()
    assert np.array_equal(AbundanceTable.read(tmp_path / "again").counts, ours.counts)
    card = ModelCard(hub.files("lab-b/disease-head")["README.md"].decode())
    assert card.data.base_model == ["lab-a/gut-centroids"] and f"at `{commit}`" in card.text
    assert card.data.eval_results[0].metric_type == "roc_auc"

    # A third party has the reads of a sample and the name of the head.
    (command,) = [block for language, block in anyone if language == "bash"]
    (code,) = [block for language, block in anyone if language == "python"]
    cache = tmp_path / "cache_c"
    (remote,) = hub_process(run_code, code, ["probabilities"], cache=cache, cwd=tmp_path).check()
    (kept,) = hub_process(
        run_code, code.replace("lab-b/disease-head", "disease-head"), ["probabilities"], cwd=tmp_path
    ).check()
    assert remote == kept and set(remote) == {"ill", "well"} and remote["ill"] > 0.5
    hub.requests.clear()
    offline = hub_process(run_block, lines_of(command), cache=cache, cwd=tmp_path, offline=True)
    offline.check()
    assert not hub.requests and f"{remote['ill']:.6g}" in offline.output


def test_publishing_in_five_commands(hub, hub_command, hub_process, tmp_path):
    """As a new user would, from a finished run; `hf auth login` keeps its token in the cache's folder."""
    blocks = sections("publishing.md")
    (bash,), (loading,) = (
        [block for language, block in blocks["# Publishing a model"] if language == wanted]
        for wanted in ("bash", "python")
    )
    hub.add_user("my-lab", "hf_mine")
    folder, cache = tmp_path / "my-model", tmp_path / "cache"
    from factories import tiny_metagenbert

    tiny_metagenbert().save_pretrained(folder)
    commands = [line for line in lines_of(bash) if not line.startswith("$EDITOR")]
    assert len(commands) == 5 and commands[0] == "hf auth login"
    hf = Path(sys.executable).parent / "hf"
    login = hub_command([hf, "auth", "login", "--token", "hf_mine"], cache=cache, cwd=tmp_path)
    assert login.exit_code == 0, login.output
    hub_process(run_block, lines_of(bash)[1:], cache=cache, cwd=tmp_path).check()
    head = hub.head("my-lab/my-model")
    assert hub.head("my-lab/my-model", revision="v1") == head and "model.safetensors" in hub.files("my-lab/my-model")
    assert b"Words of whoever made it" in hub.files("my-lab/my-model")["README.md"]
    loaded = hub_process(run_loading, loading).check()
    assert loaded == head


def run_loading(code):
    (model,) = run_code(code, ["model"])
    return model.config._commit_hash
