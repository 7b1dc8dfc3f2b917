"""Kinds of checkpoints with the doors that take them, and ways to break a checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    EsmModel,
    pipeline,
)
from typer.testing import CliRunner

import biomeformer
from biomeformer import GenomeTransformerProcessor, SequenceClassifier, load_read_encoder
from biomeformer.checkpoints.integrity import checksums, weight_hashes
from biomeformer.checkpoints.loading import load_genome_model, load_phenotype_model
from biomeformer.cli import app
from biomeformer.errors import CheckpointError
from biomeformer.genomes.proteins import esm_config, esm_tokenizer, load_protein_encoder
from biomeformer.hub.load_check import load_check
from biomeformer.models.dnabert2 import (
    DnaBert2Config,
    DnaBert2ForMaskedLM,
    DnaBert2ForSequenceClassification,
    DnaBert2Model,
)
from biomeformer.models.genome_transformer import GenomeTransformerForSequenceClassification, GenomeTransformerModel
from biomeformer.models.kmer_encoder import (
    KmerEncoderConfig,
    KmerEncoderForSequenceClassification,
    KmerEncoderModel,
    KmerTokenizer,
)
from biomeformer.models.metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from biomeformer.phenotypes import with_deep_sets_head
from biomeformer.sequences.preprocessing import SequencePreprocessing
from factories import bpe_tokenizer, random_genome_transformer, tiny_metagenbert

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Inputs:
    """Files that the commands read."""

    cohort: Path
    reads: Path
    sequences: Path
    proteins: Path
    catalog: Path
    embedded: Path


@dataclass(frozen=True)
class Door:
    """A way to load a checkpoint.

    Attributes:
        open: Takes the checkpoint's folder, the inputs of commands, and a new folder for results.
        has_head: Whether the head is loaded.
        chooses_class: Whether the config decides which class is loaded.
        is_command: Whether it is a command.
    """

    open: Callable[[Path, Inputs, Path], object]
    has_head: bool = True
    chooses_class: bool = False
    is_command: bool = False


@dataclass(frozen=True)
class CardType:
    """A kind of checkpoint.

    Attributes:
        make: Writes one with random weights; `larger` gives it another size.
        doors: By name.
        head: Beginnings of the names of the head's weights.
        part: Folder of the checkpoint whose files are broken.
        base: Writes the model without its head.
    """

    make: Callable[[Path, bool], None]
    doors: dict[str, Door]
    head: tuple[str, ...] = ()
    part: str = ""
    base: Callable[[Path], None] | None = None
    excluded: tuple[str, ...] = field(default=())


def command(*arguments: object) -> None:
    """Run a command in this process; an error line is raised as a `CheckpointError`."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exit_code:
        assert result.exit_code == 2, result.output
        line = result.stderr.splitlines()[-1]
        assert line.startswith("error: "), result.output
        raise CheckpointError(line.removeprefix("error: "))


def python(load: Callable[[Path], object], **options: bool) -> Door:
    """A function that takes the folder."""
    return Door(lambda folder, inputs, output: load(folder), **options)


def cli(*arguments: str, **options: bool) -> Door:
    """A command, with `MODEL`, `OUT` and names of inputs in the place of paths."""

    def run(folder: Path, inputs: Inputs, output: Path) -> None:
        paths = {"MODEL": folder, "OUT": output} | {name.upper(): path for name, path in vars(inputs).items()}
        command(*(paths.get(argument, argument) for argument in arguments))

    return Door(run, is_command=True, **options)


def classes(*auto_and_class: type, **options: bool) -> dict[str, Door]:
    """`from_pretrained` of classes."""
    return {f"{cls.__name__}.from_pretrained": python(cls.from_pretrained, **options) for cls in auto_and_class}


INSPECT = {"inspect": cli("inspect", "MODEL", chooses_class=True)}
PUBLISH = {"publish load check": python(lambda folder: load_check(str(folder)))}
FIT = {
    "fit-centroids": cli(
        *("fit-centroids", "COHORT", "--read-encoder", "MODEL", "--n-clusters", "2", "--output", "OUT"),
        chooses_class=True,
    )
}
EMBED = {"embed": cli("embed", "COHORT", "--model", "MODEL", "--output", "OUT", "--no-report")}
READ_ENCODER = {"load_read_encoder": python(load_read_encoder, chooses_class=True)}


def task(name: str) -> dict[str, Door]:
    """A pipeline."""
    return {f"pipeline({name})": python(lambda folder: pipeline(name, model=str(folder)))}


def without_head(doors: dict[str, Door]) -> dict[str, Door]:
    """The same doors to a checkpoint whose head they do not load."""
    return {name: Door(door.open, False, door.chooses_class, door.is_command) for name, door in doors.items()}


METAGENBERT = (
    {"load": python(biomeformer.load)}
    | classes(MetagenBertModel)
    | classes(AutoModel, chooses_class=True)
    | task("metagenome-embedding")
    | EMBED
    | READ_ENCODER
    | FIT
)
PHENOTYPE = (
    {"load_phenotype_model": python(load_phenotype_model)}
    | classes(MetagenBertForPhenotypeClassification)
    | classes(AutoModelForSequenceClassification, chooses_class=True)
    | task("metagenome-classification")
    | {"phenotype predict": cli("phenotype", "predict", "MODEL", "READS")}
    | INSPECT
    | PUBLISH
    | without_head(METAGENBERT)
)
GENOME = (
    {"load_genome_model": python(load_genome_model)}
    | classes(GenomeTransformerForSequenceClassification)
    | classes(AutoModelForSequenceClassification, chooses_class=True)
    | task("genome-classification")
    | {
        "genome predict": cli("genome", "predict", "PROTEINS", "--model", "MODEL"),
        "genome attribute": cli("genome", "attribute", "EMBEDDED", "--model", "MODEL", "--output", "OUT"),
    }
    | INSPECT
    | PUBLISH
    | without_head(classes(GenomeTransformerModel) | classes(AutoModel, chooses_class=True))
)
SEQUENCES = {
    "SequenceClassifier.load": python(SequenceClassifier.load, chooses_class=True),
    "sequences predict": cli("sequences", "predict", "SEQUENCES", "--model", "MODEL", chooses_class=True),
} | INSPECT
PROTEINS = {
    "load_protein_encoder": python(load_protein_encoder),
    "genome embed": cli("genome", "embed", "CATALOG", "--protein-encoder", "MODEL", "--output", "OUT"),
}
AUTO_CLASSIFIER = classes(AutoModelForSequenceClassification, chooses_class=True)
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 120}
LABELS = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}}


def dnabert2_config(larger: bool, **options: object) -> DnaBert2Config:
    """A small DNABERT-2."""
    return DnaBert2Config(hidden_size=16 if larger else 8, **SIZES, **options)


def save_metagenbert(folder: Path, larger: bool) -> None:
    """Read encoder and centroids."""
    encoder = DnaBert2Model(dnabert2_config(larger)).eval()
    tiny_metagenbert(encoder, n_clusters=5 if larger else 4).save_pretrained(folder)


def save_linear(folder: Path, larger: bool) -> None:
    """A phenotype's linear head."""
    save_metagenbert(folder, larger)
    MetagenBertForPhenotypeClassification.from_pretrained(folder, new_head=True).save_pretrained(folder)


def save_deep_sets(folder: Path, larger: bool) -> None:
    """A phenotype's DeepSets head."""
    save_metagenbert(folder, larger)
    with_deep_sets_head(MetagenBertModel.from_pretrained(folder), ["ill", "well"], set_size=4).save_pretrained(folder)


def save_genome(folder: Path, larger: bool) -> None:
    """A genome transformer beside its protein encoder."""
    esm = folder / "protein_encoder"
    save_esm(esm, False)
    (esm / "vocab.txt").unlink()
    model = random_genome_transformer(hidden_size=20 if larger else 16, protein_size=8)
    digest = load_protein_encoder(esm).weights_sha256
    model.processor = GenomeTransformerProcessor("protein_encoder", digest, protein_size=8, max_genes=60)
    model.save_pretrained(folder)


def save_genome_base(folder: Path) -> None:
    """The genome transformer without a classifier, its config still naming the labels."""
    GenomeTransformerForSequenceClassification.from_pretrained(folder).genome_transformer.save_pretrained(folder)


def save_phenotype_base(folder: Path) -> None:
    """Read encoder and centroids of a checkpoint with a head."""
    biomeformer.load(folder).save_pretrained(folder)


def save_esm(folder: Path, larger: bool) -> None:
    """A protein encoder."""
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    EsmModel(esm_config(hidden_size=16 if larger else 8, **sizes), add_pooling_layer=False).save_pretrained(folder)
    esm_tokenizer(folder)


def save_dnabert2(folder: Path, larger: bool) -> None:
    """An encoder in our layout."""
    DnaBert2Model(dnabert2_config(larger)).save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)


def save_published(folder: Path, larger: bool) -> None:
    """An encoder as DNABERT-2's authors publish it: no pooler, names with a prefix, a language-model head."""
    config = dnabert2_config(larger)
    model = DnaBert2ForMaskedLM(config)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state["bert.embeddings.position_ids"] = torch.arange(512)[None]
    folder.mkdir(exist_ok=True)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    values = {key: getattr(config, key) for key in (*SIZES, "hidden_size", "alibi_starting_size")}
    published = {"model_type": "bert", "auto_map": {"AutoModel": "bert_layers.BertModel"}, **values}
    (folder / CONFIG).write_text(json.dumps(published))
    bpe_tokenizer().backend_tokenizer.save(str(folder / "tokenizer.json"))


def save_masked_lm(folder: Path, larger: bool) -> None:
    """An encoder with its language-model head."""
    DnaBert2ForMaskedLM(dnabert2_config(larger)).save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)


def save_kmer(folder: Path, larger: bool) -> None:
    """A k-mer encoder."""
    KmerEncoderModel(KmerEncoderConfig(k=3, hidden_size=16 if larger else 8)).save_pretrained(folder)
    KmerTokenizer(k=3).save_pretrained(folder)


def classifier(
    make: Callable[[bool], torch.nn.Module], tokenizer: Callable[[], object]
) -> Callable[[Path, bool], None]:
    """Save a fine-tuned classifier of sequences."""

    def save(folder: Path, larger: bool) -> None:
        preprocessing = SequencePreprocessing("multi_class", max_tokens=100)
        SequenceClassifier(make(larger).eval(), tokenizer(), preprocessing).save(folder)

    return save


def save_base(folder: Path) -> None:
    """The encoder of a classifier of sequences, the config still with its preprocessing config."""
    SequenceClassifier.load(folder).model.base_model.save_pretrained(folder)


KINDS = {
    "metagenbert": CardType(save_metagenbert, METAGENBERT | INSPECT | PUBLISH),
    "phenotype, linear": CardType(save_linear, PHENOTYPE, ("head.",), base=save_phenotype_base),
    "phenotype, deep sets": CardType(save_deep_sets, PHENOTYPE, ("head.",), base=save_phenotype_base),
    "genome": CardType(save_genome, GENOME, ("classifier.",), base=save_genome_base),
    "genome, its protein encoder": CardType(
        save_genome,
        PROTEINS
        | {
            "predict": Door(
                lambda folder, inputs, output: load_genome_model(folder).predict(inputs.proteins), chooses_class=True
            ),
            "genome predict": cli("genome", "predict", "PROTEINS", "--model", "MODEL"),
        }
        | task("genome-classification")
        | PUBLISH,
        part="protein_encoder",
    ),
    "protein encoder": CardType(save_esm, PROTEINS),
    "dnabert2": CardType(
        save_dnabert2,
        classes(DnaBert2Model) | classes(AutoModel, chooses_class=True) | READ_ENCODER | FIT | INSPECT | PUBLISH,
    ),
    "dnabert2, published": CardType(save_published, classes(DnaBert2Model) | READ_ENCODER | FIT | INSPECT),
    "dnabert2, language model": CardType(
        save_masked_lm,
        classes(DnaBert2ForMaskedLM) | classes(AutoModelForMaskedLM, chooses_class=True) | PUBLISH,
        ("cls.",),
    ),
    "k-mer encoder": CardType(
        save_kmer,
        classes(KmerEncoderModel) | classes(AutoModel, chooses_class=True) | READ_ENCODER | FIT | INSPECT | PUBLISH,
    ),
    "sequences, dnabert2": CardType(
        classifier(lambda larger: DnaBert2ForSequenceClassification(dnabert2_config(larger, **LABELS)), bpe_tokenizer),
        SEQUENCES | classes(DnaBert2ForSequenceClassification) | AUTO_CLASSIFIER | PUBLISH,
        ("classifier.", "bert.pooler."),
        base=save_base,
    ),
    "sequences, k-mer encoder": CardType(
        classifier(
            lambda larger: KmerEncoderForSequenceClassification(
                KmerEncoderConfig(k=3, hidden_size=16 if larger else 8, **LABELS)
            ),
            lambda: KmerTokenizer(k=3),
        ),
        SEQUENCES | classes(KmerEncoderForSequenceClassification) | AUTO_CLASSIFIER | PUBLISH,
        ("norm.", "classifier."),
        base=save_base,
    ),
    "sequences, cnn": CardType(
        classifier(
            lambda larger: SequenceCnnForSequenceClassification(
                SequenceCnnConfig(n_filters=12 if larger else 8, hidden_size=8, **LABELS)
            ),
            lambda: KmerTokenizer(k=1, canonical=False),
        ),
        SEQUENCES | classes(SequenceCnnForSequenceClassification) | AUTO_CLASSIFIER | PUBLISH,
        ("classifier.",),
    ),
    "sequences, bert": CardType(
        classifier(
            lambda larger: BertForSequenceClassification(
                BertConfig(hidden_size=16 if larger else 8, pad_token_id=3, **SIZES, **LABELS)
            ),
            bpe_tokenizer,
        ),
        SEQUENCES,
        ("classifier.",),
        base=save_base,
    ),
}


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Edit a checkpoint's weights."""
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder: Path, **values: object) -> None:
    """Edit a checkpoint's config."""
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | values))


def a_weight(kind: CardType, state: dict[str, torch.Tensor]) -> str:
    """A weight of more than one dimension that is of no head, and that no checkpoint may lack."""
    spared = (*kind.head, "pooler.", "cls.", "contact_head.")
    return next(
        key for key in sorted(state) if state[key].ndim > 1 and "position" not in key and not key.startswith(spared)
    )


def remove_weight(kind: CardType, folder: Path) -> None:
    """Take one weight away."""
    change_weights(folder, lambda state: state.pop(a_weight(kind, state)))


def reshape_weight(kind: CardType, folder: Path) -> None:
    """Give one weight another shape."""

    def change(state: dict[str, torch.Tensor]) -> None:
        key = a_weight(kind, state)
        state[key] = torch.cat([state[key], state[key]]).contiguous()

    change_weights(folder, change)


def spoil_weight(kind: CardType, folder: Path) -> None:
    """Make one number NaN."""

    def change(state: dict[str, torch.Tensor]) -> None:
        state[a_weight(kind, state)].flatten()[-1] = float("nan")

    change_weights(folder, change)


def remove_head(kind: CardType, folder: Path) -> None:
    """Take the head's weights away."""

    def change(state: dict[str, torch.Tensor]) -> None:
        for key in [key for key in state if key.startswith(kind.head)]:
            del state[key]

    change_weights(folder, change)


def remove_part_of_head(kind: CardType, folder: Path) -> None:
    """Take one of the head's weights away."""
    change_weights(folder, lambda state: state.pop(max(key for key in state if key.startswith(kind.head))))


def take_other_weights(kind: CardType, folder: Path) -> None:
    """Put weights of another size in the place of its own."""
    other = folder.with_name(f"{folder.name}-larger")
    root = other if not kind.part else other / "root"
    if kind.part:
        save_esm(other, True)
    else:
        kind.make(root, True)
    shutil.copy(other / WEIGHTS, folder / WEIGHTS)


def change_model_type(kind: CardType, folder: Path) -> None:
    """Say that it is of another model type."""
    is_esm = json.loads((folder / CONFIG).read_text())["model_type"] == "esm"
    change_config(folder, model_type="bert" if is_esm else "esm", auto_map={}, alibi_starting_size=None)
    values = json.loads((folder / CONFIG).read_text())
    del values["auto_map"], values["alibi_starting_size"]
    (folder / CONFIG).write_text(json.dumps(values))


def cut_weights(kind: CardType, folder: Path) -> None:
    """Cut the file's end off."""
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-40])


def pickle_weights(kind: CardType, folder: Path) -> None:
    """Leave a pickle only."""
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def point_outside(kind: CardType, folder: Path) -> None:
    """Leave an index whose weights lie outside the folder."""
    names = list(load_file(folder / WEIGHTS))
    (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "../outside.safetensors")}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


def add_adapter(kind: CardType, folder: Path) -> None:
    """Put an adapter beside the weights."""
    values = {"peft_type": "LORA", "base_model_name_or_path": "lab/other", "r": 2, "target_modules": ["query"]}
    (folder / "adapter_config.json").write_text(json.dumps(values))


def ask_for_code(kind: CardType, folder: Path) -> None:
    """Ask for foreign code."""
    change_config(folder, nested=[{"trust_remote_code": True}])


def sums(kind: CardType, folder: Path, text: Callable[[str], str]) -> None:
    """Write the checkpoint's `SHA256SUMS`, changed."""
    root = folder.parent if kind.part else folder
    (root / "SHA256SUMS").write_bytes(text(checksums(weight_hashes(root))).encode())


def change_after_sums(kind: CardType, folder: Path) -> None:
    """Change a weight that `SHA256SUMS` names."""
    sums(kind, folder, str)

    def change(state: dict[str, torch.Tensor]) -> None:
        state[a_weight(kind, state)].flatten()[-1] += 1

    change_weights(folder, change)


def name_no_weights(kind: CardType, folder: Path) -> None:
    """Name another file than the weights in `SHA256SUMS`."""
    name = f"{kind.part}/{WEIGHTS}" if kind.part else f"  {WEIGHTS}"
    sums(kind, folder, lambda text: text.replace(name, name.replace("model.", "other.")))


def empty_sums(kind: CardType, folder: Path) -> None:
    """Write an empty `SHA256SUMS`."""
    sums(kind, folder, lambda text: "\n")


def spoil_sums(kind: CardType, folder: Path) -> None:
    """Write a `SHA256SUMS` with a line that is none."""
    sums(kind, folder, lambda text: "not a digest\n" + text)


@dataclass(frozen=True)
class Breakage:
    """A way to break a checkpoint.

    Attributes:
        apply: Takes the kind and the folder of the files.
        says: What the error must say.
        of_head: Whether only the head is broken.
    """

    apply: Callable[[CardType, Path], None]
    says: str
    of_head: bool = False


BREAKAGES = {
    "one weight removed": Breakage(remove_weight, "1 missing"),
    "one weight of another shape": Breakage(reshape_weight, "1 of another shape"),
    "one number is NaN": Breakage(spoil_weight, "holds NaN or infinity"),
    "head removed": Breakage(remove_head, "holds no", of_head=True),
    "part of the head removed": Breakage(remove_part_of_head, "1 missing", of_head=True),
    "base model": Breakage(lambda kind, folder: kind.base(folder), "holds no", of_head=True),
    "weights of another config": Breakage(take_other_weights, "of another shape"),
    "another model type": Breakage(change_model_type, ""),
    "weights cut": Breakage(cut_weights, "is damaged or no safetensors file"),
    "weights pickled": Breakage(pickle_weights, "a pickle is never loaded"),
    "index points outside": Breakage(point_outside, "is no safetensors file beside it"),
    "adapter beside the weights": Breakage(add_adapter, "has an adapter"),
    "config asks for code": Breakage(ask_for_code, "sets trust_remote_code"),
    "weights changed after SHA256SUMS": Breakage(change_after_sums, "is not the file that SHA256SUMS"),
    "SHA256SUMS names no weights": Breakage(name_no_weights, "does not name"),
    "SHA256SUMS empty": Breakage(empty_sums, "is empty"),
    "SHA256SUMS malformed": Breakage(spoil_sums, "line 1 is no SHA-256"),
}
