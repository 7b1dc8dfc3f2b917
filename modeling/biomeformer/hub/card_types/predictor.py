"""Card of a predictor of phenotypes from feature tables."""

from __future__ import annotations

from ...checkpoints.integrity import ESTIMATOR
from ...phenotypes.predictor import PhenotypePredictor
from ...sinks import markdown, markdown_code
from ..folder import CheckpointFolder
from .card_type import CardType, Rows
from .phenotype import training

ESTIMATORS = {
    "l1": "linear model with an L1 penalty",
    "lasso": "logistic regression with an L1 penalty, the LASSO published with MetagenBERT",
    "forest": "random forest",
    "boosting": "gradient-boosted trees",
}
KINDS = {"regression": " (a number)", "multilabel": " (any of these labels)"}
TRANSFORMS = {"none": "relative abundances", "clr": "centred log-ratios", "ilr": "isometric log-ratios"}


def usage(model_id: str) -> str:
    """Return code that predicts the samples of tables."""
    return f"""\
from biomeformer.phenotypes import PhenotypePredictor

predictor = PhenotypePredictor.from_pretrained("{model_id}")
print(predictor.needs)  # the tables to give: see `biomeformer phenotype predict --help`"""


def facts(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the predictor and the tables that it needs."""
    predictor = PhenotypePredictor.from_pretrained(folder.path, local_files_only=True)
    rows: Rows = {
        "Predicts": ", ".join(map(markdown, predictor.classes)) + KINDS.get(predictor.kind, ""),
        "Estimator": f"{ESTIMATORS[predictor.estimator_name]}, stored by skops",
    }
    for block in predictor.blocks:
        if block.kind == "covariates":
            rows["Needs covariates"] = "; ".join(
                f"{markdown(one.column)} ({', '.join(map(markdown, one.words)) or 'a number'})"
                for one in block.covariates
            )
            continue
        transform = TRANSFORMS[block.transform]
        if block.kind == "clusters":
            base = predictor.base_model or {}
            what = f"{len(block.features):,} clusters of {markdown_code(str(base.get('id')))}, {transform}"
            what += f"; weights SHA-256 {markdown_code(str(base.get('weights_sha256')))}"
        else:
            what = f"{len(block.features):,} features, such as {markdown(block.features[0])}; {transform}"
        rows[f"Needs {block.name}"] = what
    versions = ", ".join(f"{name} {value}" for name, value in folder.config["versions"].items())
    return {**rows, "Written with": markdown(versions), **folder.weight_lines()}


CARD_TYPE = CardType(
    pipeline_tag="other",
    title="Phenotype from feature tables of a microbiome",
    tags=("biology", "metagenomics", "microbiome", "phenotype"),
    papers=(),
    files=(ESTIMATOR,),
    usage=usage,
    usage_note="`predictor.predict(tables, metadata)` returns `frame`, one row per sample with the probability of each "
    "class or label, or with the number; `biomeformer phenotype predict` does the same for files.",
    facts=facts,
    training=training,
    task="phenotype of a sample",
)
