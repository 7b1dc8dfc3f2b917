"""Phenotype checkpoints: a MetagenBERT model with a fitted linear classifier, or with a new DeepSets head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..errors import InputError, TableError
from ..metagenomes import AbundanceTable
from ..metagenomes.sample import require_processor
from ..models.metagenbert import MetagenBertConfig, MetagenBertForPhenotypeClassification, MetagenBertModel
from ..models.metagenbert.configuration_metagenbert import ZERO_REPLACEMENTS
from ..models.metagenbert.deep_sets import make_deep_sets
from .features import FeatureTable
from .fitting import fit_and_evaluate
from .multi_label import OneVsRest
from .study import Study
from .target import Kind, Target
from .transforms import TRANSFORMS, block_rules

SINGLE_LABEL = "single_label_classification"
# Of transformers.
PROBLEM_TYPES: dict[Kind, str] = {
    "classification": SINGLE_LABEL,
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


def with_linear_head(
    model: MetagenBertModel,
    fitted: Any,
    classes: Sequence[str],
    transform: str,
    zeros: str = "fixed",
    problem_type: str = SINGLE_LABEL,
) -> MetagenBertForPhenotypeClassification:
    """Build a checkpoint from a model and a linear model of its abundance vectors, with the same predictions.

    Args:
        model: Read encoder, centroids and processor, which the checkpoint shares rather than copies.
        fitted: A fitted logistic or linear regression, alone, behind a `StandardScaler` in a pipeline, or in a
            `GridSearchCV`; of several labels, a `OneVsRest` of them.
        classes: Names of the classes, in the order of the classifier's labels; of a regression, of its number.
        transform: Transform that the classifier was fitted with: `none`, `clr` or `ilr`.
        zeros: Rule for zeros that it was fitted with: `fixed`, `sq` or `epsilon`.
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`, as in transformers.

    Returns:
        The checkpoint, in evaluation mode. A head on `ilr` is rewritten as the same function of `clr`.

    Raises:
        InputError: The classifier is not linear, or has another number of features or classes.
    """
    if transform not in TRANSFORMS:
        raise InputError(f"transform is {transform!r}; give {', '.join(TRANSFORMS)}.")
    if zeros not in ZERO_REPLACEMENTS:
        raise InputError(
            f"a checkpoint replaces zeros sample by sample, which the rule {zeros!r} does not; give "
            f"{' or '.join(ZERO_REPLACEMENTS)}."
        )
    weight, bias = _linear(fitted)
    n_clusters = model.config.n_clusters
    if transform == "ilr":
        from skbio.stats.composition import ilr

        # The ilr coordinates of the unit vectors: ilr is clr in this basis.
        basis = np.asarray(ilr(np.exp(np.eye(n_clusters))))
        weight = weight @ basis.T if weight.shape[1] == basis.shape[1] else weight
    if weight.shape[1] != n_clusters:
        raise InputError(
            f"the classifier has {weight.shape[1]} features and the model {n_clusters} clusters; fit it on abundance "
            "vectors of this model."
        )
    if len(weight) == 1 and problem_type == SINGLE_LABEL:
        weight, bias = np.stack([np.zeros_like(weight[0]), weight[0]]), np.array([0.0, bias[0]])
    if len(weight) != len(classes):
        raise InputError(f"the classifier has {len(weight)} classes and {len(classes)} names were given; give as many.")
    config = _config(
        model,
        classes,
        head="linear",
        abundance_transform="none" if transform == "none" else "clr",
        zero_replacement=zeros,
        problem_type=problem_type,
    )
    with torch.device("meta"):
        checkpoint = MetagenBertForPhenotypeClassification(config)
    checkpoint.metagenbert = model
    checkpoint.head = torch.nn.Linear(n_clusters, len(classes), device=model.device)
    with torch.no_grad():
        checkpoint.head.weight.copy_(torch.from_numpy(weight))
        checkpoint.head.bias.copy_(torch.from_numpy(bias))
    checkpoint.processor = model.processor
    return checkpoint.eval()


def with_deep_sets_head(
    model: MetagenBertModel, classes: Sequence[str], **options: Any
) -> MetagenBertForPhenotypeClassification:
    """Build a checkpoint from a model and a new, untrained DeepSets head.

    Args:
        model: Read encoder, centroids and processor, which the checkpoint shares rather than copies.
        classes: Names of the labels.
        **options: `set_elements`, `set_size`, `set_reads`, `set_seed`, `set_pooling`, `head_layout`,
            `head_hidden_size`, `head_dropout`, `pooled_hidden_size` and `pooled_dropout` of `MetagenBertConfig`, and
            `problem_type` of transformers.

    Raises:
        ValueError: An option is out of range.
    """
    config = _config(model, classes, head="deep_sets", **options)
    with torch.device("meta"):
        checkpoint = MetagenBertForPhenotypeClassification(config)
    checkpoint.metagenbert = model
    head = make_deep_sets(config)
    head.init_weights()
    checkpoint.head = head.to(model.device)
    checkpoint.processor = model.processor
    return checkpoint.eval()


def _config(model: MetagenBertModel, classes: Sequence[str], **options: Any) -> MetagenBertConfig:
    values = model.config.to_dict() | {
        "problem_type": SINGLE_LABEL,
        "id2label": dict(enumerate(classes)),
        "label2id": {name: i for i, name in enumerate(classes)},
        **options,
    }
    return MetagenBertConfig.from_dict(values)


def train_checkpoint(
    model: MetagenBertModel,
    table: AbundanceTable,
    target: Target,
    *,
    estimator: str = "l1",
    transform: str = "clr",
    zeros: str = "auto",
    n_splits: int = 10,
    seed: int = 0,
    n_jobs: int | None = -1,
    force: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[MetagenBertForPhenotypeClassification, Study]:
    """Fit an L1-penalized model on all samples, and cross-validate it to estimate its performance.

    It is a logistic regression of classes, one of each label if samples have several, or a linear one of numbers.

    Args:
        model: Model that embedded the table.
        table: Abundance vectors of the target's samples.
        target: Classes, numbers or labels of the samples.
        estimator: `l1`, or `lasso` of two classes.
        transform: Transform of the vectors: `none`, `clr` or `ilr`.
        zeros: Rule for zeros of log-ratios: `auto` (which is `sq` for counts), `fixed`, `sq` or `epsilon`.
        n_splits: Folds of the cross-validation.
        seed: Seed of folds and classifier.
        n_jobs: Number of parallel jobs, as in scikit-learn.
        force: Whether to return a checkpoint even if nothing was learned.
        progress: Called after each fold with what is evaluated, the number of folds done and their total number.

    Returns:
        The checkpoint, and the cross-validation of the same procedure.

    Raises:
        TableError: The table was embedded by another model.
        InputError: There are too few samples for the folds, the rule for zeros is unknown or not one of a checkpoint,
            or the fit learned nothing and `force` is not set.
    """
    check_same_model(model, table)
    features = FeatureTable.from_abundance(table)
    rule = block_rules([features], transform, zeros)[0] or "fixed"
    if rule not in ZERO_REPLACEMENTS:
        raise InputError(
            f"a checkpoint replaces zeros sample by sample, which the rule {rule!r} does not; give auto or "
            f"{' or '.join(ZERO_REPLACEMENTS)}."
        )
    fitted, _, study = fit_and_evaluate(
        {"vectors": features},
        target,
        estimator,
        transform=transform,
        zeros=rule,
        n_splits=n_splits,
        seed=seed,
        n_jobs=n_jobs,
        force=force,
        progress=progress,
    )
    return with_linear_head(model, fitted, target.classes, transform, rule, PROBLEM_TYPES[target.kind]), study


def predict_table(model: MetagenBertForPhenotypeClassification, table: AbundanceTable) -> pd.DataFrame:
    """Predict the probabilities of the labels, or a number: one row per sample, one column per label.

    Raises:
        TableError: The table was embedded by another model.
        InputError: The model's head takes sets of vectors, not abundance vectors.
    """
    if model.config.head != "linear":
        raise InputError(
            "the model's head takes sets of read vectors, which an abundance table does not hold; predict from the "
            "samples' reads."
        )
    check_same_model(model.metagenbert, table)
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    return pd.DataFrame(model.predict_counts(table.counts), index=table.read_stats.index, columns=labels)


def check_same_model(model: MetagenBertModel, table: AbundanceTable) -> None:
    """Check that a table was embedded by a model.

    Raises:
        TableError: Weights or preprocessing config differ.
    """
    check_same_provenance(model, table.provenance)


def check_same_provenance(model: MetagenBertModel, record: dict[str, Any]) -> None:
    """Check that a table with this provenance was embedded by a model.

    Raises:
        TableError: Weights or preprocessing config differ.
    """
    preprocessing = require_processor(model).preprocessing
    weights = str(record.get("weights_sha256"))
    if weights != model.weights_sha256 or record.get("contract") != preprocessing:
        raise TableError(
            f"the table was embedded by {record.get('model')!r} (weights {weights[:12]}…) and the model's weights are "
            f"{model.weights_sha256[:12]}…, or its preprocessing config differs; give the model that embedded "
            "the table."
        )


def _linear(fitted: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights `(n_outputs, n_features)` and biases of a linear model, with its scaling folded in."""
    if isinstance(fitted, OneVsRest):
        return _linear_per_label(fitted)
    fitted = getattr(fitted, "best_estimator_", fitted)
    steps = [step for _, step in fitted.steps] if hasattr(fitted, "steps") else [fitted]
    classifier = steps[-1]
    if not hasattr(classifier, "coef_") or len(steps) > 2 or (len(steps) == 2 and not hasattr(steps[0], "mean_")):
        raise InputError(
            f"a {type(classifier).__name__} is not a linear classifier of scaled features, the only kind that a "
            "head can hold; fit the model l1, or save a predictor of it (train_predictor)."
        )
    weight, bias = np.atleast_2d(classifier.coef_), np.atleast_1d(classifier.intercept_)
    if len(steps) == 2:
        bias = bias - weight @ (steps[0].mean_ / steps[0].scale_)
        weight = weight / steps[0].scale_
    return weight, bias


def _linear_per_label(fitted: OneVsRest) -> tuple[np.ndarray, np.ndarray]:
    """Return the stacked weights and biases of the models of each label; of a label that never varies, its log odds."""
    parts = {i: _linear(model) for i, model in enumerate(fitted.models) if model is not None}
    weight = np.zeros((len(fitted.models), next(iter(parts.values()))[0].shape[1]))
    odds = fitted.frequencies.clip(1e-6, 1 - 1e-6)
    bias = np.log(odds / (1 - odds))
    for i, (part, intercept) in parts.items():
        weight[i], bias[i] = part[0], intercept[0]
    return weight, bias


__all__ = [
    "check_same_model",
    "check_same_provenance",
    "predict_table",
    "train_checkpoint",
    "with_deep_sets_head",
    "with_linear_head",
]
