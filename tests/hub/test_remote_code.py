"""Checkpoints that bring their code, in an interpreter that has the package and in one that has not."""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer
from transformers.dynamic_module_utils import custom_object_save, get_imports, get_relative_imports

import biomeformer
from biomeformer import (
    GenomeTransformerForSequenceClassification,
    GenomeTransformerProcessor,
    MetagenBertConfig,
    MetagenBertForPhenotypeClassification,
    MetagenBertModel,
    MetagenBertProcessor,
)
from biomeformer.checkpoints import resolve_checkpoint
from biomeformer.errors import CheckpointError, InputError
from biomeformer.hub.remote_code import export_remote_code, exported_files, remote_code
from biomeformer.models.dnabert2 import DnaBert2ForMaskedLM, DnaBert2ForSequenceClassification
from biomeformer.models.kmer_encoder import (
    KmerEncoderConfig,
    KmerEncoderForSequenceClassification,
    KmerEncoderModel,
    KmerTokenizer,
)
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from factories import bpe_tokenizer, random_genome_transformer, tiny_bert, tiny_dnabert2, tiny_metagenbert

# Auto class by which each exported checkpoint is loaded, and how its inputs are made.
KINDS = {
    "metagenbert-mini": ("AutoModel", "reads"),
    "metagenbert-dnabert2": ("AutoModel", "reads"),
    "metagenbert-bert": ("AutoModel", "reads"),
    "phenotype": ("AutoModelForSequenceClassification", "counts"),
    "genome-transformer-mini": ("AutoModelForSequenceClassification", "genomes"),
    "genome-transformer": ("AutoModel", "genomes"),
    "dnabert2": ("AutoModel", "sequences"),
    "dnabert2-mlm": ("AutoModelForMaskedLM", "sequences"),
    "dnabert2-classifier": ("AutoModelForSequenceClassification", "sequences"),
    "kmer": ("AutoModel", "sequences"),
    "kmer-classifier": ("AutoModelForSequenceClassification", "sequences"),
    "cnn": ("AutoModelForSequenceClassification", "sequences"),
}
REVISION = "0123456789abcdef0123456789abcdef01234567"
STANDARD_OR_NEEDED = {*sys.stdlib_module_names, "torch", "numpy", "transformers", "huggingface_hub", "tokenizers"}
MODEL_FOLDERS = ("dnabert2", "genome_transformer", "kmer_encoder", "metagenbert", "sequence_cnn")


def outputs(kinds, trust):
    """What checkpoints give for the same inputs; runs here, and as text in an interpreter without the package."""
    import numpy as np
    import torch
    import transformers

    rng = np.random.default_rng(0)
    reads = ["".join(rng.choice(list("ACGT"), n)) for n in rng.integers(60, 120, 12)]
    arrays, modules = {}, {}
    for name, (folder, auto, inputs) in kinds.items():
        model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=trust).eval()
        modules[name] = [type(model).__module__, type(model.config).__module__]
        if inputs in ("reads", "genomes"):
            processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=trust)
            modules[name].append(type(processor).__module__)
            size = getattr(processor, "protein_size", 0)
            genomes = [rng.normal(size=(n, size)).astype(np.float32) for n in (5, 9)]
            batch = processor(reads if inputs == "reads" else genomes)
        elif inputs == "counts":
            batch = {"counts": torch.arange(1, 2 * model.config.n_clusters + 1).view(2, -1)}
        else:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
            modules[name].append(type(tokenizer).__module__)
            batch = tokenizer(reads, padding=True, return_tensors="pt")
            batch = {key: batch[key] for key in ("input_ids", "attention_mask")}
        with torch.no_grad():
            found = model(**batch)
        for key, value in found.items():
            if isinstance(value, torch.Tensor):
                arrays[f"{name}/{key}"] = value.numpy()
    return arrays, modules


WITHOUT_PACKAGE = """
import importlib.util, json, sys
given = json.loads(sys.argv[1])
sys.path.extend(given["packages"])
assert importlib.util.find_spec("biomeformer") is None
import torch
torch.set_num_threads(given["threads"])
{outputs}
arrays, modules = outputs(given["kinds"], True)
assert "biomeformer" not in sys.modules
import numpy as np, transformers
np.savez(given["output"], **arrays)
errors = {{}}
for name, method in given["methods"].items():
    folder, auto, _ = given["kinds"][name]
    try:
        getattr(getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True), method)("a.fastq")
    except ImportError as error:
        errors[method] = str(error)
try:
    transformers.AutoModel.from_pretrained(given["kinds"]["kmer"][0], trust_remote_code=False)
except ValueError as error:
    errors["trust_remote_code=False"] = str(error)
folder, auto, _ = given["kinds"]["metagenbert-mini"]
model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True)
model.save_pretrained(given["saved"])
again = getattr(transformers, auto).from_pretrained(given["saved"], trust_remote_code=True)
errors["saved again"] = str(torch.equal(model.centroids, again.centroids))
print(json.dumps([modules, errors]))
"""


def save_kmer_tokenizer(folder: Path, **options) -> None:
    KmerTokenizer(**options).save_pretrained(folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, Path]:
    """A checkpoint of each kind, with its code."""
    folders = {name: tmp_path_factory.mktemp("exported") / name for name in KINDS}
    torch.manual_seed(0)
    for name in ("metagenbert-mini", "genome-transformer-mini"):
        export_remote_code(name, folders[name])
    tiny_metagenbert().save_pretrained(folders["metagenbert-dnabert2"])
    tiny_metagenbert(tiny_bert()).save_pretrained(folders["metagenbert-bert"])
    phenotype = MetagenBertForPhenotypeClassification.from_pretrained(folders["metagenbert-dnabert2"], new_head=True)
    phenotype.save_pretrained(folders["phenotype"])
    genome = random_genome_transformer()
    genome.processor = GenomeTransformerProcessor(protein_size=24, max_genes=60)
    genome.genome_transformer.processor = genome.processor
    genome.genome_transformer.save_pretrained(folders["genome-transformer"])
    dnabert2 = tiny_dnabert2()
    models = {
        "dnabert2": dnabert2,
        "dnabert2-mlm": DnaBert2ForMaskedLM(dnabert2.config),
        "dnabert2-classifier": DnaBert2ForSequenceClassification(dnabert2.config),
        "kmer": KmerEncoderModel(KmerEncoderConfig(k=4, hidden_size=8)),
        "kmer-classifier": KmerEncoderForSequenceClassification(
            KmerEncoderConfig(k=4, hidden_size=8, num_gate_heads=2, num_labels=12)
        ),
        "cnn": SequenceCnnForSequenceClassification(SequenceCnnConfig(n_filters=8, hidden_size=8)),
    }
    for name, model in models.items():
        model.save_pretrained(folders[name])
    for name in ("dnabert2", "dnabert2-mlm", "dnabert2-classifier"):
        bpe_tokenizer().save_pretrained(folders[name])
    save_kmer_tokenizer(folders["kmer"], k=4)
    save_kmer_tokenizer(folders["kmer-classifier"], k=4, canonical=False)
    save_kmer_tokenizer(folders["cnn"], k=1, canonical=False)
    for name, folder in folders.items():
        if not name.endswith("-mini"):
            export_remote_code(folder)
    return folders


@pytest.fixture(scope="module")
def with_package(exported) -> tuple[dict, dict]:
    return outputs({name: (str(exported[name]), *how) for name, how in KINDS.items()}, None)


@pytest.fixture(scope="module")
def without_package(exported, tmp_path_factory) -> tuple[dict, dict, dict]:
    """Outputs, modules of the classes, and errors, in an interpreter that does not find the package."""
    home = tmp_path_factory.mktemp("home")
    # As the cache of a Hub from which a checkpoint is loaded by its id.
    repository = home / "hub" / "models--someone--some-model.v1"
    shutil.copytree(exported["metagenbert-mini"], repository / "snapshots" / REVISION)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    kinds = {name: (str(exported[name]), *how) for name, how in KINDS.items()}
    given = {
        "packages": sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}),
        "threads": torch.get_num_threads(),
        "kinds": kinds | {"by id": ("someone/some-model.v1", "AutoModel", "reads")},
        "methods": {"metagenbert-mini": "embed_sample", "phenotype": "predict", "genome-transformer-mini": "predict"},
        "output": str(home / "outputs.npz"),
        "saved": str(home / "saved"),
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(home / "modules")}
    code = WITHOUT_PACKAGE.format(outputs=inspect.getsource(outputs))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, json.dumps(given)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules, errors = json.loads(done.stdout.splitlines()[-1])
    with np.load(given["output"]) as arrays:
        return dict(arrays), modules, errors | {"stderr": done.stderr}


def test_same_outputs_without_the_package(with_package, without_package):
    expected, found = with_package[0], without_package[0]
    assert {name.split("/")[0] for name in expected} == set(KINDS)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    for key in ("read_embeddings", "cluster_ids"):
        np.testing.assert_array_equal(found[f"by id/{key}"], expected[f"metagenbert-mini/{key}"])
    assert len(set(expected["metagenbert-mini/cluster_ids"].tolist())) > 1


def test_classes_come_from_the_checkpoint_or_the_package(with_package, without_package):
    for name, modules in without_package[1].items():
        # A stock tokenizer is transformers' own.
        assert all(module.startswith(("transformers_modules.", "transformers.")) for module in modules), (name, modules)
        assert modules[0].startswith("transformers_modules.") and modules[1].startswith("transformers_modules.")
    for name, modules in with_package[1].items():
        assert all(module.startswith(("biomeformer.", "transformers.")) for module in modules), (name, modules)
        assert modules[0].startswith("biomeformer.") and modules[1].startswith("biomeformer.")


def test_what_needs_the_package_says_so(without_package):
    errors = without_package[2]
    assert "pip install biomeformer" in errors["embed_sample"] and "FASTQ" in errors["embed_sample"]
    assert "genomes" in errors["predict"]
    assert "trust_remote_code=True" in errors["trust_remote_code=False"]
    assert errors["saved again"] == "True"


@pytest.mark.parametrize("trust", [None, False, True])
def test_the_package_goes_first(exported, trust):
    mini = exported["metagenbert-mini"]
    assert type(AutoConfig.from_pretrained(mini, trust_remote_code=trust)) is MetagenBertConfig
    assert type(AutoModel.from_pretrained(mini, trust_remote_code=trust)) is MetagenBertModel
    assert type(AutoModel.from_pretrained(exported["kmer"], trust_remote_code=trust)) is KmerEncoderModel
    processor = AutoProcessor.from_pretrained(mini, trust_remote_code=trust)
    assert type(processor) is MetagenBertProcessor and type(processor.tokenizer) is KmerTokenizer
    # Where transformers knows a tokenizer by the config's class, True still takes the checkpoint's own.
    for name in ("kmer", "cnn") if trust is not True else ():
        assert type(AutoTokenizer.from_pretrained(exported[name], trust_remote_code=trust)) is KmerTokenizer


def test_saved_again_has_no_code(exported, tmp_path):
    for name, cls in (("metagenbert-mini", MetagenBertModel), ("kmer", KmerEncoderModel)):
        cls.from_pretrained(exported[name]).save_pretrained(tmp_path / name)
    KmerTokenizer.from_pretrained(exported["kmer"]).save_pretrained(tmp_path / "kmer")
    GenomeTransformerForSequenceClassification.from_pretrained(exported["genome-transformer-mini"]).save_pretrained(
        tmp_path / "genome"
    )
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 8 and not [path for path in written if path.suffix == ".py"]
    assert not [path for path in written if path.suffix == ".json" and "auto_map" in path.read_text()]


def test_weights_are_left_alone_and_repeating_changes_nothing(tmp_path):
    shipped = Path(resolve_checkpoint("metagenbert-mini"))
    weights = (shipped / "model.safetensors").read_bytes()
    before = {path.name: path.stat().st_mtime_ns for path in shipped.iterdir()}
    written = export_remote_code("metagenbert-mini", tmp_path / "copy")
    assert {path.name: path.stat().st_mtime_ns for path in shipped.iterdir()} == before
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == weights
    content = {path: path.read_bytes() for path in (tmp_path / "copy").iterdir()}
    stamp = (tmp_path / "copy" / "model.safetensors").stat().st_mtime_ns
    assert export_remote_code(tmp_path / "copy") == written == export_remote_code(tmp_path / "copy", tmp_path / "copy")
    assert (tmp_path / "copy" / "model.safetensors").stat().st_mtime_ns == stamp
    assert export_remote_code("metagenbert-mini", tmp_path / "copy") == written
    assert {path: path.read_bytes() for path in (tmp_path / "copy").iterdir()} == content
    assert set(written) == {path for path in content if path.suffix == ".py" or "auto_map" in path.read_text("latin-1")}


def test_exported_files_say_where_they_are_from(exported):
    for folder in exported.values():
        assert exported_files(folder) == {path.name: path.read_text() for path in folder.glob("*.py")}
    files = [path for folder in exported.values() for path in folder.glob("*.py")]
    assert {path.name for path in files} >= {"read_encoder.py", "modeling_sequence_cnn.py", "modeling_dnabert2.py"}
    for path in files:
        first, second = path.read_text().splitlines()[:2]
        assert first.startswith(f"# Exported from biomeformer {biomeformer.__version__} ") and second.startswith('"""')
        assert {f"{name}.py" for name in get_relative_imports(path)} <= {other.name for other in path.parent.iterdir()}


def test_labels_keep_their_order(exported):
    labels = json.loads((exported["kmer-classifier"] / "config.json").read_text())["id2label"]
    assert list(labels) == [str(i) for i in range(12)]


def test_only_what_a_checkpoint_needs(exported):
    assert not (exported["metagenbert-bert"] / "read_encoder.py").exists()
    assert "read_encoder" not in (exported["metagenbert-bert"] / "configuration_metagenbert.py").read_text()
    assert "auto_map" not in (exported["metagenbert-bert"] / "tokenizer_config.json").read_text()
    assert {path.name for path in exported["cnn"].glob("*.py")} == {
        "configuration_kmer_encoder.py",
        "configuration_sequence_cnn.py",
        "head_loss.py",
        "modeling_sequence_cnn.py",
        "strict_loading.py",
        "tokenization_kmer_encoder.py",
    }


def test_a_converted_checkpoint_names_no_class(tmp_path):
    tiny_dnabert2().config.save_pretrained(tmp_path)
    assert "architectures" not in json.loads((tmp_path / "config.json").read_text())
    assert remote_code(tmp_path).auto_maps == {
        "config.json": {
            "AutoConfig": "configuration_dnabert2.DnaBert2Config",
            "AutoModel": "modeling_dnabert2.DnaBert2Model",
            "AutoModelForMaskedLM": "modeling_dnabert2.DnaBert2ForMaskedLM",
            "AutoModelForSequenceClassification": "modeling_dnabert2.DnaBert2ForSequenceClassification",
        }
    }


def test_like_transformers_own_export(exported, tmp_path, monkeypatch):
    model = GenomeTransformerForSequenceClassification.from_pretrained("genome-transformer-mini")
    monkeypatch.setattr(type(model), "_auto_class", "AutoModelForSequenceClassification")
    monkeypatch.setattr(type(model.config), "_auto_class", "AutoConfig")
    auto_map: dict = {}
    for part in (model, model.config):
        config: dict = {}
        custom_object_save(part, tmp_path, config=config)
        auto_map |= config["auto_map"]
    ours = exported["genome-transformer-mini"]
    assert auto_map.items() <= json.loads((ours / "config.json").read_text())["auto_map"].items()
    for path in tmp_path.glob("*.py"):
        assert (ours / path.name).read_text().split("\n", 1)[1] == path.read_text()


def test_export_refuses_a_folder_without_a_readable_config(tmp_path, exported):
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        export_remote_code(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        export_remote_code(tmp_path)
    tiny_bert().save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match=r"a checkpoint of BertModel, whose code.*MetagenBertModel"):
        export_remote_code(tmp_path / "bert")
    folder = shutil.copytree(exported["metagenbert-mini"], tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    for changed, message in (
        ({"architectures": ["MyModel"]}, "a checkpoint of MyModel"),
        ({"encoder_config": {"model_type": "their_model"}}, "the read encoder is a their_model model"),
    ):
        (folder / "config.json").write_text(json.dumps(config | changed))
        with pytest.raises(InputError, match=message):
            remote_code(folder)
    with pytest.raises(InputError, match="lies in the package"):
        export_remote_code("metagenbert-mini")
    with pytest.raises(InputError, match="lies within"):
        export_remote_code(exported["cnn"], exported["cnn"] / "inside")
    with pytest.raises(InputError, match=r"holds .*, which is not of the checkpoint"):
        export_remote_code("metagenbert-mini", tmp_path)


@pytest.mark.parametrize("folder", MODEL_FOLDERS)
def test_model_folders_stand_alone(folder):
    files = sorted((Path(biomeformer.__file__).parent / "models" / folder).glob("*.py"))
    # A folder's __init__.py belongs to the package and is never exported.
    files = [path for path in files if path.name != "__init__.py"]
    assert len(files) >= 2
    for path in files:
        assert set(get_imports(path)) <= STANDARD_OR_NEEDED, path.name
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert all(node.level <= 1 for node in imports), path.name
        for name in get_relative_imports(path):
            assert (path.parent / f"{name}.py").is_file(), (path.name, name)
