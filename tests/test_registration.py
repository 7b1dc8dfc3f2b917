"""transformers knows the models and pipelines, whatever is imported first and whatever the script is called."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from transformers.pipelines import PIPELINE_REGISTRY

import biomeformer
from biomeformer.models.dnabert2 import DnaBert2ForMaskedLM, DnaBert2ForSequenceClassification
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderForSequenceClassification, KmerTokenizer
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from biomeformer.registration import AUTO_MAPPINGS, MODELS, PIPELINES, ClassReference, LazyClasses
from factories import tiny_dnabert2

AUTO_CLASSES = sorted(auto_class for names in AUTO_MAPPINGS.values() for auto_class in names)
SHIPPED = Path(biomeformer.__file__).parent / "checkpoints"
# By which Auto class each checkpoint is loaded, and as what.
DOORS = [
    ("metagenbert-mini", "AutoConfig", "models.metagenbert.configuration_metagenbert.MetagenBertConfig"),
    ("metagenbert-mini", "AutoModel", "models.metagenbert.modeling_metagenbert.MetagenBertModel"),
    ("metagenbert-mini", "AutoProcessor", "models.metagenbert.processing_metagenbert.MetagenBertProcessor"),
    (
        "genome-transformer-mini",
        "AutoModelForSequenceClassification",
        "models.genome_transformer.modeling_genome_transformer.GenomeTransformerForSequenceClassification",
    ),
    (
        "genome-transformer-mini",
        "AutoProcessor",
        "models.genome_transformer.processing_genome_transformer.GenomeTransformerProcessor",
    ),
    ("dnabert2", "AutoModelForMaskedLM", "models.dnabert2.modeling_dnabert2.DnaBert2ForMaskedLM"),
    (
        "dnabert2-classifier",
        "AutoModelForSequenceClassification",
        "models.dnabert2.modeling_dnabert2.DnaBert2ForSequenceClassification",
    ),
    (
        "kmer",
        "AutoModelForSequenceClassification",
        "models.kmer_encoder.modeling_kmer_encoder.KmerEncoderForSequenceClassification",
    ),
    ("kmer", "AutoTokenizer", "models.kmer_encoder.tokenization_kmer_encoder.KmerTokenizer"),
    (
        "cnn",
        "AutoModelForSequenceClassification",
        "models.sequence_cnn.modeling_sequence_cnn.SequenceCnnForSequenceClassification",
    ),
    ("cnn", "AutoTokenizer", "models.kmer_encoder.tokenization_kmer_encoder.KmerTokenizer"),
]
OPEN_DOORS = """
import json, sys
import transformers
loaded = []
for folder, auto_class, _ in json.loads(sys.argv[1]):
    cls = type(getattr(transformers, auto_class).from_pretrained(folder))
    loaded.append(f"{cls.__module__}.{cls.__qualname__}")
for task, folder in json.loads(sys.argv[2]).items():
    pipeline = transformers.pipeline(task, model=folder)
    loaded.append(f"{type(pipeline).__module__}.{type(pipeline).__qualname__}")
print(json.dumps(loaded))
"""
TASKS = {"metagenome-embedding": "metagenbert-mini", "genome-classification": "genome-transformer-mini"}
EXPECTED_PIPELINES = [
    "biomeformer.pipelines.metagenome.MetagenomeEmbeddingPipeline",
    "biomeformer.pipelines.genome.GenomeClassificationPipeline",
]
ORDERS = {
    "the package first": "import biomeformer",
    "the Auto classes first": "from transformers import AutoModel, AutoProcessor, pipeline\nimport biomeformer",
    # transformers imports modeling_auto in the midst of a module that our models need.
    "a module of transformers that imports the Auto classes": (
        "import biomeformer\nimport transformers.modeling_layers, transformers.processing_utils"
    ),
    "a configuration of ours": "from biomeformer.models.metagenbert.configuration_metagenbert import MetagenBertConfig",
    "a pipeline of ours": "from biomeformer.pipelines.metagenome import MetagenomeEmbeddingPipeline",
    "a model of ours": "from biomeformer.models.dnabert2.modeling_dnabert2 import DnaBert2Model",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """A checkpoint of each kind, by name."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("dnabert2", "dnabert2-classifier", "kmer", "cnn")}
    config = tiny_dnabert2().config
    DnaBert2ForMaskedLM(config).save_pretrained(made["dnabert2"])
    DnaBert2ForSequenceClassification(config).save_pretrained(made["dnabert2-classifier"])
    KmerEncoderForSequenceClassification(KmerEncoderConfig(k=3, hidden_size=8)).save_pretrained(made["kmer"])
    SequenceCnnForSequenceClassification(SequenceCnnConfig(n_filters=8, hidden_size=8)).save_pretrained(made["cnn"])
    KmerTokenizer(k=3).save_pretrained(made["kmer"])
    KmerTokenizer(k=1, canonical=False).save_pretrained(made["cnn"])
    shipped = {name: SHIPPED / name for name in ("metagenbert-mini", "genome-transformer-mini")}
    return {name: str(path) for name, path in (made | shipped).items()}


def open_doors(script: Path, imports: str, folders: dict[str, str]) -> list[str]:
    """Classes that an interpreter of its own loads, after `imports`, in a script of that name."""
    script.write_text(f"{imports}\n{OPEN_DOORS}")
    doors = [(folders[name], auto_class, expected) for name, auto_class, expected in DOORS]
    tasks = {task: folders[name] for task, name in TASKS.items()}
    # -P: the script's folder is not searched for modules, as that of an installed command is not.
    done = subprocess.run(
        [sys.executable, "-P", script, json.dumps(doors), json.dumps(tasks)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SHIPPED.parents[1])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stdout.splitlines()[-1])
    return loaded


@pytest.mark.parametrize("order", ORDERS)
def test_all_doors_open_in_any_order(order, folders, tmp_path):
    # The name of the command's own script, which once made a difference.
    loaded = open_doors(tmp_path / "biomeformer.py", ORDERS[order], folders)
    assert loaded == [f"biomeformer.{expected}" for _, _, expected in DOORS] + EXPECTED_PIPELINES


def test_registered_classes_belong_together():
    n_models = 0
    for model_type, names in MODELS.items():
        classes = {auto_class: ClassReference(path).load() for auto_class, path in names.items()}
        config_class = classes["AutoConfig"]
        assert config_class.model_type == model_type
        assert transformers.CONFIG_MAPPING[model_type] is config_class
        for auto_class, mapping in (
            ("AutoModel", transformers.MODEL_MAPPING),
            ("AutoModelForMaskedLM", transformers.MODEL_FOR_MASKED_LM_MAPPING),
            ("AutoModelForSequenceClassification", transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING),
            ("AutoTokenizer", transformers.TOKENIZER_MAPPING),
            ("AutoProcessor", transformers.PROCESSOR_MAPPING),
        ):
            assert (config_class in mapping) == (auto_class in classes)
            if auto_class in classes:
                assert mapping[config_class] is classes[auto_class]
            if auto_class in classes and auto_class.startswith("AutoModel"):
                assert classes[auto_class].config_class is config_class
                n_models += 1
    assert n_models == 10
    types = {auto: {model_type for model_type, names in MODELS.items() if auto in names} for auto in AUTO_CLASSES}
    everyone = {"dnabert2", "genome_transformer", "kmer_encoder", "metagenbert", "sequence_cnn"}
    assert types == {
        "AutoConfig": everyone,
        "AutoModel": everyone - {"sequence_cnn"},
        "AutoModelForMaskedLM": {"dnabert2"},
        "AutoModelForSequenceClassification": everyone,
        "AutoProcessor": {"genome_transformer", "metagenbert"},
        "AutoTokenizer": {"kmer_encoder", "sequence_cnn"},
    }


def test_every_model_is_registered():
    """Each model with a head or without, of each folder, is one of those that an Auto class gives."""
    registered = {path for names in MODELS.values() for path in names.values()}
    for model_type in MODELS:
        package = importlib.import_module(f"biomeformer.models.{model_type}")
        for name in package.__all__:
            cls = getattr(package, name)
            if isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel) and "PreTrained" not in name:
                assert f"biomeformer.models.{model_type}.{name}" in registered, name


def test_pipelines_name_their_class_and_default():
    for task, (path, checkpoint) in PIPELINES.items():
        entry = PIPELINE_REGISTRY.supported_tasks[task]
        assert issubclass(ClassReference(path).load(), transformers.Pipeline) and entry["impl"] == path
        default = entry.get("default", {}).get("model", (None,))[0]
        assert default == (None if checkpoint is None else str(SHIPPED / checkpoint))


def test_registering_again_changes_nothing():
    before = dict(transformers.MODEL_MAPPING._extra_content), dict(PIPELINE_REGISTRY.supported_tasks)
    length = len(transformers.MODEL_MAPPING)
    biomeformer.registration.register()
    importlib.reload(biomeformer)
    assert (dict(transformers.MODEL_MAPPING._extra_content), dict(PIPELINE_REGISTRY.supported_tasks)) == before
    assert len(transformers.MODEL_MAPPING) == length


def test_others_can_register_too():
    class TheirConfig(transformers.PreTrainedConfig):
        model_type = "theirs"

    class TheirModel(transformers.PreTrainedModel):
        config_class = TheirConfig

    transformers.AutoConfig.register("theirs", TheirConfig)
    transformers.AutoModel.register(TheirConfig, TheirModel)
    try:
        assert transformers.CONFIG_MAPPING["theirs"] is TheirConfig
        assert transformers.MODEL_MAPPING[TheirConfig] is TheirModel
    finally:
        del transformers.CONFIG_MAPPING._extra_content["theirs"]
        del transformers.MODEL_MAPPING._extra_content[TheirConfig]


def test_references_are_imported_when_read_however_that_is():
    def lazy() -> LazyClasses:
        return LazyClasses({"k": ClassReference("collections.OrderedDict"), "int": int})

    cls = importlib.import_module("collections").OrderedDict
    assert lazy()["k"] is cls and lazy().get("k") is cls
    assert list(lazy().values()) == [cls, int] and next(iter(lazy().items())) == ("k", cls)
    assert dict(lazy()) == {"k": cls, "int": int} == {**lazy()}
    assert "k" in lazy() and len(lazy()) == 2 and "gone" not in lazy()
    assert copy.deepcopy(lazy())["k"] is cls
    # A mapping of transformers pickles a plain dictionary.
    restored = pickle.loads(pickle.dumps(transformers.CONFIG_MAPPING))
    assert restored["metagenbert"] is biomeformer.MetagenBertConfig
    shared: dict = {}
    LazyClasses(shared)["a"] = ClassReference("builtins.int")
    assert list(shared) == ["a"]
    with pytest.raises(KeyError):
        lazy()["gone"]
