"""HTML report of a fine-tuned sequence model: scores, curves, thresholds, calibration, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..sequences.evaluation import SequenceEvaluation
from ..sequences.prediction_table import SplitPredictions
from ..version import __version__
from . import sequence_figures as draw
from .blocks import Block, Cards, DataTable, Figures, Note, Paragraph, Picture, Section
from .page import write_page
from .run_details import command_text
from .style import figure_style

METRIC_NAMES = {
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews correlation",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "micro_f1": "micro-averaged F1",
    "subset_accuracy": "subset accuracy",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "R²",
}
LOWER_IS_BETTER = ("brier", "calibration_error", "rmse", "mae")
# Scores that are macro averages if there are several classes or labels.
MACRO = ("roc_auc", "pr_auc", "f1", "precision", "recall")
TASK_NAMES = {
    "binary": "which of two classes a sequence belongs to",
    "multi_class": "which of several classes a sequence belongs to",
    "multi_label": "which labels a sequence has",
    "regression": "a number for each sequence",
}
HEADLINE_METRICS = {
    "binary": ("roc_auc", "pr_auc", "f1", "recall", "precision"),
    "multi_class": ("roc_auc", "pr_auc", "accuracy", "f1"),
    "multi_label": ("roc_auc", "pr_auc", "f1", "micro_f1"),
    "regression": ("pearson", "spearman", "r2", "rmse"),
}


def sequence_report(
    evaluation: SequenceEvaluation,
    predictions: pd.DataFrame,
    path: str | Path,
    *,
    title: str | None = None,
    training: pd.DataFrame | None = None,
) -> Path:
    """Write a self-contained HTML report of a fine-tuned model.

    Args:
        evaluation: Scores of the model.
        predictions: Table of predictions that the scores were computed from.
        path: HTML file to write.
        title: Heading.
        training: Losses: columns `epoch` or `step`, `training_loss` and `validation_loss`, NaN where
            it was not computed.

    Returns:
        The path written.

    Raises:
        TableError: The predictions do not match the evaluation's task and labels.
    """
    arrays = SplitPredictions.from_table(predictions, evaluation.task, evaluation.label_names)
    name = evaluation.model or "a fine-tuned model"
    heading = title or f"Sequences classified by {name}"
    if evaluation.task == "regression" and not title:
        heading = f"{evaluation.label_names[0]} predicted by {name}"
    unit = "label" if evaluation.task == "multi_label" else "class"
    has_losses = training is not None and len(training) > 0
    with figure_style():
        sections = [
            Section("Scores", _scores(evaluation)),
            Section("Predictive performance", _figures(evaluation, arrays)),
            Section(f"Scores per {unit} against the rest, on test", _classes(evaluation, unit)),
            Section("Training", _training(training) if training is not None and has_losses else []),
            Section("Methods", [Paragraph(_methods(evaluation))]),
        ]
        return write_page(
            path,
            heading,
            _summary(evaluation),
            sections,
            parameters=evaluation.settings,
            next_command=_next_command(Path(path).parent),
        )


def _next_command(folder: Path) -> str:
    model, output = folder / "model", "predictions.tsv"
    return command_text("sequences", "predict", "new.fasta", "--model", model, "--output", output)


def _metric_name(evaluation: SequenceEvaluation, metric: str) -> str:
    averaging = {"multi_class": ", mean over classes", "multi_label": ", mean over labels"}
    return METRIC_NAMES[metric] + (averaging.get(evaluation.task, "") if metric in MACRO else "")


def _number(value: float) -> str:
    """Format with three decimals, or three significant digits if the number is very small or large."""
    if np.isnan(value):
        return "not defined"
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def _span(score: dict[str, float]) -> str:
    if np.isnan(score["low"]):
        return _number(score["value"])
    separator = "-" if score["low"] >= 0 else " to "
    return f"{_number(score['value'])} ({_number(score['low'])}{separator}{_number(score['high'])})"


def _summary(evaluation: SequenceEvaluation) -> list[Block]:
    numbers = {"test sequences": f"{evaluation.n_sequences['test']:,}"}
    if evaluation.task == "binary":
        positive = evaluation.label_names[1]
        numbers[f"class {positive}"] = f"{evaluation.n_by_class['test'][positive]:,}"
    elif evaluation.task != "regression":
        numbers["labels" if evaluation.task == "multi_label" else "classes"] = f"{len(evaluation.label_names):,}"
    for metric in HEADLINE_METRICS[evaluation.task]:
        numbers[_metric_name(evaluation, metric)] = _span(evaluation.scores[metric])
    if evaluation.task == "binary":
        numbers["threshold, chosen on the validation split"] = _number(evaluation.thresholds[0])
    base = f", fine-tuned from {evaluation.base_model}," if evaluation.base_model else ""
    sentence = (
        f"{evaluation.model or 'The model'}{base} predicts {TASK_NAMES[evaluation.task]}. Scores are on the test "
        "split, with 95 % intervals."
    )
    return [Paragraph(sentence), Cards(numbers)]


def _scores(evaluation: SequenceEvaluation) -> list[Block]:
    rows = [
        {
            "score": _metric_name(evaluation, metric) + (" (lower is better)" if metric in LOWER_IS_BETTER else ""),
            "test": _span(score),
            "validation": _span(evaluation.validation_scores[metric]),
        }
        for metric, score in evaluation.scores.items()
    ]
    note = "In parentheses: 95 % bootstrap intervals over sequences."
    if evaluation.thresholds:
        note += " Thresholds were chosen on the validation split, so its F1 is optimistic; judge by the test split."
    sizes = {split: f"{split}, {n:,} sequences" for split, n in evaluation.n_sequences.items()}
    return [DataTable(pd.DataFrame(rows).rename(columns=sizes), "scores"), Paragraph(note)]


def _figures(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> list[Block]:
    task = evaluation.task
    if task == "regression":
        shown = [
            Picture(
                draw.regression_figure(evaluation, predictions),
                "Predicted against true",
                "Test sequences; hexagons show counts if there are many. Dotted line: perfect predictions.",
            ),
            Picture(
                draw.residual_figure(evaluation, predictions),
                "Residuals",
                "Predicted minus true values. A trend or an uneven spread shows where the model is biased.",
            ),
        ]
        return [Figures(shown)]
    shown = _curves(evaluation, predictions)
    notes = [] if shown else [Note("All test sequences belong to one class: there are no curves to draw.")]
    shown.append(
        Picture(
            draw.calibration_figure(evaluation, predictions),
            "Calibration",
            "Test predictions in ten bins of probability, with 95 % Wilson intervals, and the number of predictions "
            "per bin below. Dotted line: perfect calibration.",
        )
    )
    if task != "multi_label":
        rule = "at the threshold chosen on the validation split" if task == "binary" else "as the most probable class"
        shown.append(
            Picture(
                draw.confusion_figure(evaluation, predictions),
                "Confusion matrix",
                f"Test sequences by true and by predicted class, {rule}; percentages are per row.",
            )
        )
    captions = {
        "binary": "By true class. Where the classes overlap, the model cannot separate them. Dotted line: threshold.",
        "multi_class": "Probability of the true class, one ridge per class, each scaled to its own maximum. Best: 1.",
        "multi_label": "All labels pooled. Where the two overlap, the model cannot separate them.",
    }
    shown.append(Picture(draw.histogram_figure(evaluation, predictions), "Probabilities", captions[task]))
    return [*notes, Figures(shown)]


def _curves(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> list[Picture]:
    shown: list[Picture] = []
    n_shown, n_classes = len(draw.shown_classes(evaluation)), len(evaluation.label_names)
    point = "Point: the threshold chosen on the validation split. "
    lines = {"binary": point, "multi_class": "One line per class, one class against the rest. "}.get(
        evaluation.task, "One line per label. "
    )
    if evaluation.task != "binary" and n_shown < n_classes:
        lines += f"The {n_shown} most frequent of {n_classes:,} are drawn. "
    if n_shown:
        shown += [
            Picture(
                draw.roc_figure(evaluation, predictions),
                "ROC",
                f"Test split, with the area under each curve. {lines}Bands: 95 % bootstrap intervals over sequences. "
                "Dotted line: chance.",
            ),
            Picture(
                draw.precision_recall_figure(evaluation, predictions),
                "Precision-recall",
                f"As for ROC, with average precision. {lines}Dotted line: prevalence of the class in the test split, "
                "the precision of chance.",
            ),
        ]
    if evaluation.thresholds and draw.shown_classes(evaluation, "validation"):
        shown.append(
            Picture(
                draw.threshold_figure(evaluation, predictions),
                "Threshold selection",
                "Validation split. A sequence is predicted positive if its probability is at least the threshold; the "
                "threshold with the highest F1 is marked.",
            )
        )
    if evaluation.task == "multi_label" and n_shown:
        note = ""
        if n_classes > draw.MAX_LABELS_SHOWN:
            note = " Only the best and the worst are shown."
        shown.append(
            Picture(
                draw.label_figure(evaluation),
                "Labels",
                f"Scores of each label that some but not all test sequences have.{note}",
            )
        )
    return shown


def _classes(evaluation: SequenceEvaluation, unit: str) -> list[Block]:
    if not evaluation.per_class:
        return []
    rows = []
    for label, scores in evaluation.per_class.items():
        row = {unit: label}
        row |= {f"{split} sequences": f"{n[label]:,}" for split, n in reversed(evaluation.n_by_class.items())}
        row |= {METRIC_NAMES.get(name, name): _number(value) for name, value in scores.items() if name != "n"}
        rows.append(row)
    return [DataTable(pd.DataFrame(rows), "labels" if unit == "label" else "classes")]


def _training(training: pd.DataFrame) -> list[Block]:
    losses = Picture(
        draw.training_figure(training),
        "Losses",
        "If the validation loss rises while the training loss falls, the model overfits.",
    )
    return [Figures([losses])]


def _methods(evaluation: SequenceEvaluation) -> str:
    n, draws = evaluation.n_sequences, evaluation.n_bootstraps
    base = f" was fine-tuned from {evaluation.base_model} and" if evaluation.base_model else ""
    sentences = [
        f"{evaluation.model or 'The model'}{base} was evaluated on {n['test']:,} test sequences; "
        f"{n['validation']:,} others were used for validation."
    ]
    if evaluation.task == "binary":
        sentences.append(
            f"A sequence was predicted as {evaluation.label_names[1]} at a probability of "
            f"{evaluation.thresholds[0]:.4g} or above, the threshold with the highest F1 on the validation sequences "
            "(midpoint between neighbouring probabilities), which was applied to the test sequences unchanged."
        )
    elif evaluation.task == "multi_label":
        sentences.append(
            "Each label had its own threshold, the one with the highest F1 on the validation sequences (midpoint "
            "between neighbouring probabilities), which was applied to the test sequences unchanged."
        )
    elif evaluation.task == "multi_class":
        sentences.append("The most probable class was predicted; curves are one class against the rest.")
    if evaluation.task in ("multi_class", "multi_label"):
        sentences.append(
            "Macro averages leave out classes or labels that no sequence or all sequences of a split have."
        )
    if evaluation.task != "regression":
        sentences.append("PR-AUC is average precision; ROC-AUC counts ties as one half.")
    if "calibration_error" in evaluation.scores:
        sentences.append(
            "The calibration error is the expected calibration error in ten bins of the most probable class's "
            "probability."
        )
    stratified = ", stratified by class," if evaluation.task in ("binary", "multi_class") else ""
    sentences.append(
        f"Intervals are 95 % percentile intervals of a bootstrap over sequences{stratified} with {draws['test']:,} "
        f"draws for test and {draws['validation']:,} for validation (seed {evaluation.seed})."
    )
    sentences.append(f"Computed with biomeformer {__version__}.")
    return " ".join(sentences)


__all__ = ["sequence_report"]
