"""What a card says of a classifier of phenotypes."""

from __future__ import annotations

from ..folder import CheckpointFolder
from .kind import CardType, Rows, started_from, target, versions
from .metagenbert import TOKENIZER_FILES, encoder_facts


def usage(model_id: str) -> str:
    """From reads to the probability of each class."""
    return f"""\
from biomeformer import MetagenBertForPhenotypeClassification

model = MetagenBertForPhenotypeClassification.from_pretrained("{model_id}")
probabilities = model.predict("reads_R1.fastq.gz", "reads_R2.fastq.gz")"""


def facts(folder: CheckpointFolder) -> Rows:
    """Rows on the model."""
    config = folder.config
    if config["head"] == "linear":
        transform = {"none": "shares of reads", "clr": "centred log-ratios"}[config["abundance_transform"]]
        head = f"linear, on {transform}"
    else:
        what = {"centroids": "centroids of the sample's own reads", "reads": "reads of the sample"}
        head = f"DeepSets, on {config['set_size']} {what[config['set_elements']]}"
    return {
        "Says of a sample": ", ".join(folder.labels),
        "Head": head,
        **encoder_facts(folder),
        **folder.weight_lines(),
    }


def training(folder: CheckpointFolder) -> Rows:
    """Rows on how the head was fitted."""
    record = folder.record
    rows = started_from(record) | target(record)
    if "n_splits" in record:
        repeats = f", {record['n_repeats']} times" if record["n_repeats"] > 1 else ""
        rows["Cross-validation"] = f"{record['n_splits']} folds{repeats}, seed {record['seed']}"
    if (record.get("target") or {}).get("group_column"):
        rows["Groups kept together"] = record["target"]["group_column"]
    return rows | versions(record)


KIND = CardType(
    pipeline_tag="other",
    title="Phenotype from a metagenome",
    tags=("biology", "dna", "metagenomics", "microbiome", "phenotype"),
    papers=("2601.03295",),
    files=TOKENIZER_FILES,
    usage=usage,
    usage_note="`probabilities` holds the probability of each class by its name.",
    facts=facts,
    training=training,
    task="phenotype of a sample",
)
