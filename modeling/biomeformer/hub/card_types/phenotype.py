"""Card of a classifier of phenotypes."""

from __future__ import annotations

from ...sinks import markdown
from ..folder import CheckpointFolder
from .card_type import CardType, Rows, started_from, target, versions
from .metagenbert import TOKENIZER_FILES, encoder_facts


def usage(model_id: str) -> str:
    """Return code that predicts the probability of each class from reads."""
    return f"""\
from biomeformer import MetagenBertForPhenotypeClassification

model = MetagenBertForPhenotypeClassification.from_pretrained("{model_id}")
probabilities = model.predict("reads_R1.fastq.gz", "reads_R2.fastq.gz")"""


def facts(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the model."""
    config = folder.config
    if config["head"] == "linear":
        transform = {"none": "relative abundances", "clr": "centred log-ratios"}[config["abundance_transform"]]
        head = f"linear, on {transform}"
    else:
        elements = {"centroids": "centroids of the sample's own reads", "reads": "reads of the sample"}
        head = f"DeepSets, on {config['set_size']} {elements[config['set_elements']]}"
    kind = {"regression": " (a number)", "multi_label_classification": " (any of these labels)"}
    return {
        "Predicts": ", ".join(map(markdown, folder.labels)) + kind.get(str(config.get("problem_type")), ""),
        "Head": head,
        **encoder_facts(folder),
        **folder.weight_lines(),
    }


def training(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe how the head was trained."""
    record = folder.record
    rows = started_from(record) | target(record)
    if "n_splits" in record:
        repeats = f", {record['n_repeats']} repeats" if record["n_repeats"] > 1 else ""
        rows["Cross-validation"] = f"{record['n_splits']} folds{repeats}, seed {record['seed']}"
    if (record.get("target") or {}).get("group_column"):
        rows["Groups kept together"] = markdown(record["target"]["group_column"])
    return rows | versions(record)


CARD_TYPE = CardType(
    pipeline_tag="other",
    title="Phenotype from a metagenome",
    tags=("biology", "dna", "metagenomics", "microbiome", "phenotype"),
    papers=("2601.03295",),
    files=TOKENIZER_FILES,
    usage=usage,
    usage_note="`probabilities` maps each class to its probability, or the predicted number to its value.",
    facts=facts,
    training=training,
    task="phenotype of a sample",
)
