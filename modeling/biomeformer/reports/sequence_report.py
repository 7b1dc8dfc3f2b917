"""A fine-tuned sequence model as one HTML file: how well it predicts, at which threshold, and where it errs."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from ..io.atomic import atomic_write
from ..sequences.evaluation import SequenceEvaluation
from ..sequences.prediction_table import SplitPredictions
from ..version import __version__
from . import page
from . import sequence_figures as draw

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
    "micro_f1": "F1 over all labels together",
    "subset_accuracy": "share with all labels right",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "R²",
}
LOWER_IS_BETTER = ("brier", "calibration_error", "rmse", "mae")
# Scores that are means over classes or labels where there are several.
MACRO = ("roc_auc", "pr_auc", "f1", "precision", "recall")
TASK_NAMES = {
    "binary": "which of two classes a sequence is of",
    "multi_class": "which of several classes a sequence is of",
    "multi_label": "which of several labels a sequence has",
    "regression": "a value of each sequence",
}
FIRST = {
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
        evaluation: Its scores.
        predictions: The table they were computed from.
        path: HTML file to write.
        title: Heading.
        training: Losses: columns `epoch` or `step`, `training_loss` and `validation_loss`, NaN where one was not taken.

    Returns:
        The path written.

    Raises:
        TableError: The predictions are not those of the evaluation's task and labels.
    """
    arrays = SplitPredictions.from_table(predictions, evaluation.task, evaluation.label_names)
    # Names are text: a $ in one does not begin a formula.
    with matplotlib.rc_context({"text.parse_math": False}):
        parts = [
            _summary(evaluation),
            f"<h2>Scores</h2>{_scores(evaluation)}",
            _figures(evaluation, arrays),
            _classes(evaluation),
            _training(training) if training is not None and len(training) else "",
            f"<h2>Methods</h2><p>{escape(_methods(evaluation))}</p>",
            _settings(evaluation),
        ]
    heading = title or f"Sequences classified by {evaluation.model or 'a fine-tuned model'}"
    if evaluation.task == "regression" and not title:
        heading = f"{evaluation.label_names[0]} predicted by {evaluation.model or 'a fine-tuned model'}"
    path = Path(path)
    with atomic_write(path) as partial:
        partial.write_text(page.page(heading, "\n".join(parts)), encoding="utf-8")
    return path


def _metric_name(evaluation: SequenceEvaluation, metric: str) -> str:
    several = {"multi_class": ", mean over classes", "multi_label": ", mean over labels"}
    return METRIC_NAMES[metric] + (several.get(evaluation.task, "") if metric in MACRO else "")


def _number(value: float) -> str:
    """Three decimals, more where the number is small."""
    if np.isnan(value):
        return "not defined"
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def _span(score: dict[str, float]) -> str:
    if np.isnan(score["low"]):
        return _number(score["value"])
    between = "-" if score["low"] >= 0 else " to "
    return f"{_number(score['value'])} ({_number(score['low'])}{between}{_number(score['high'])})"


def _summary(evaluation: SequenceEvaluation) -> str:
    numbers = {"test sequences": f"{evaluation.n_sequences['test']:,}"}
    if evaluation.task == "binary":
        positive = evaluation.label_names[1]
        numbers[f"are {positive}"] = f"{evaluation.n_by_class['test'][positive]:,}"
    elif evaluation.task != "regression":
        numbers["labels" if evaluation.task == "multi_label" else "classes"] = f"{len(evaluation.label_names):,}"
    for metric in FIRST[evaluation.task]:
        numbers[_metric_name(evaluation, metric)] = _span(evaluation.scores[metric])
    if evaluation.task == "binary":
        numbers["threshold, chosen on validation"] = _number(evaluation.thresholds[0])
    base = f", fine-tuned from {evaluation.base_model}," if evaluation.base_model else ""
    sentence = (
        f"{evaluation.model or 'The model'}{base} predicts {TASK_NAMES[evaluation.task]}. Scores are those of test, "
        "with 95 % intervals."
    )
    return f"<p>{escape(sentence)}</p>{page.cards(numbers)}"


def _scores(evaluation: SequenceEvaluation) -> str:
    rows = [
        {
            "score": _metric_name(evaluation, metric) + (" (lower is better)" if metric in LOWER_IS_BETTER else ""),
            "test": _span(score),
            "validation": _span(evaluation.validation_scores[metric]),
        }
        for metric, score in evaluation.scores.items()
    ]
    note = "In brackets 95 % intervals of a bootstrap over sequences."
    if evaluation.thresholds:
        note += " Thresholds were chosen on validation, so its F1 is flattered; judge the model by test."
    sizes = {split: f"{split}, {n:,} sequences" for split, n in evaluation.n_sequences.items()}
    return f"{page.table(pd.DataFrame(rows).rename(columns=sizes))}<p>{escape(note)}</p>"


def _figures(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> str:
    task = evaluation.task
    if task == "regression":
        shown = [
            page.figure(
                draw.regression_figure(evaluation, predictions),
                "Predicted against true",
                "Test sequences; where they are many, hexagons tell how many lie there. Perfect predictions would lie "
                "on the dotted line.",
            ),
            page.figure(
                draw.residual_figure(evaluation, predictions),
                "Errors",
                "Predicted less true values. Errors that lean to one side, or spread more at one end, show where the "
                "model is off.",
            ),
        ]
        return f'<h2>How well it predicts</h2><div class="figures">{"".join(shown)}</div>'
    shown, note = _curves(evaluation, predictions), ""
    if not shown:
        note = '<p class="note">All test sequences are of one class: there are no curves to draw.</p>'
    shown.append(
        page.figure(
            draw.calibration_figure(evaluation, predictions),
            "Calibration",
            "Test predictions in ten groups of similar probability, with 95 % Wilson intervals; below, how many are "
            "in each. On the dotted line, probabilities mean what they say.",
        )
    )
    if task != "multi_label":
        how = "by the threshold chosen on validation" if task == "binary" else "the likeliest class being predicted"
        shown.append(
            page.figure(
                draw.confusion_figure(evaluation, predictions),
                "Confusion",
                f"Test sequences by their class and by what is predicted, {how}; shares are of each row.",
            )
        )
    spread = {
        "binary": "Where the two classes overlap, the model cannot tell them apart. Dotted: the threshold.",
        "multi_class": "The probability of the true class, by class; each ridge has its own height. The best is 1.",
        "multi_label": "All labels together. Where the two overlap, the model cannot tell them apart.",
    }
    shown.append(page.figure(draw.histogram_figure(evaluation, predictions), "Probabilities", spread[task]))
    return f'<h2>How well it predicts</h2>{note}<div class="figures">{"".join(shown)}</div>'


def _curves(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> list[str]:
    shown = []
    n_shown, n_classes = len(draw.shown_classes(evaluation)), len(evaluation.label_names)
    point = "The point is at the threshold chosen on validation. "
    lines = {"binary": point, "multi_class": "One line a class against all others. "}.get(
        evaluation.task, "One line a label. "
    )
    if evaluation.task != "binary" and n_shown < n_classes:
        lines += f"Of {n_classes:,} the {n_shown} most frequent are drawn. "
    if n_shown:
        shown += [
            page.figure(
                draw.roc_figure(evaluation, predictions),
                "ROC",
                f"Of test, with the area under each curve. {lines}Bands: 95 % over bootstraps of the sequences. The "
                "dotted line is chance.",
            ),
            page.figure(
                draw.precision_recall_figure(evaluation, predictions),
                "Precision and recall",
                f"As for ROC, with average precision. {lines}A dotted line is the share of the class in test, which "
                "chance reaches.",
            ),
        ]
    if evaluation.thresholds and draw.shown_classes(evaluation, "validation"):
        shown.append(
            page.figure(
                draw.threshold_figure(evaluation, predictions),
                "Choice of the threshold",
                "On validation. A sequence is predicted positive where its probability is at the threshold or above; "
                "the one of the highest F1 is marked.",
            )
        )
    if evaluation.task == "multi_label" and n_shown:
        part = ""
        if n_classes > draw.MAX_LABELS_SHOWN:
            part = " The best and the worst are shown."
        shown.append(
            page.figure(
                draw.label_figure(evaluation),
                "Labels",
                f"Scores of each label that some test sequences have and some have not.{part}",
            )
        )
    return shown


def _classes(evaluation: SequenceEvaluation) -> str:
    if not evaluation.per_class:
        return ""
    rows = []
    for name, scores in evaluation.per_class.items():
        row = {"class": name}
        row |= {f"{split} sequences": f"{n[name]:,}" for split, n in reversed(evaluation.n_by_class.items())}
        row |= {METRIC_NAMES.get(one, one): _number(value) for one, value in scores.items() if one != "n"}
        rows.append(row)
    what = "label" if evaluation.task == "multi_label" else "class"
    frame = pd.DataFrame(rows).rename(columns={"class": what})
    return f"<h2>Each {what} against the rest, on test</h2>{page.table(frame)}"


def _training(training: pd.DataFrame) -> str:
    drawn = page.figure(
        draw.training_figure(training),
        "Losses",
        "Where the loss of validation rises while that of training falls, the model learns its training sequences by "
        "heart.",
    )
    return f'<h2>Training</h2><div class="figures">{drawn}</div>'


def _methods(evaluation: SequenceEvaluation) -> str:
    n, draws = evaluation.n_sequences, evaluation.n_bootstraps
    base = f" was fine-tuned from {evaluation.base_model} and" if evaluation.base_model else ""
    sentences = [
        f"{evaluation.model or 'The model'}{base} was evaluated on {n['test']:,} test sequences; "
        f"{n['validation']:,} others were for validation."
    ]
    if evaluation.task == "binary":
        sentences.append(
            f"A sequence was predicted {evaluation.label_names[1]} at a probability of {evaluation.thresholds[0]:.4g} "
            "or above, the threshold of the highest F1 on the validation sequences (half-way between neighbouring "
            "probabilities), which was applied to test unchanged."
        )
    elif evaluation.task == "multi_label":
        sentences.append(
            "Each label had its own threshold, that of the highest F1 on the validation sequences (half-way between "
            "neighbouring probabilities), which was applied to test unchanged."
        )
    elif evaluation.task == "multi_class":
        sentences.append("The likeliest class was predicted; curves are of each class against the others.")
    if evaluation.task in ("multi_class", "multi_label"):
        sentences.append("Means over classes or labels leave out those that no or all sequences of a split have.")
    if evaluation.task != "regression":
        sentences.append("PR-AUC is average precision; the ROC-AUC counts ties half.")
    if "calibration_error" in evaluation.scores:
        sentences.append("The calibration error is the expected one, in ten bins of the likeliest class's probability.")
    stratified = ", which kept the number of each class," if evaluation.task in ("binary", "multi_class") else ""
    sentences.append(
        f"Intervals are 95 % percentile intervals of a bootstrap over sequences{stratified} with {draws['test']:,} "
        f"draws of test and {draws['validation']:,} of validation (seed {evaluation.seed})."
    )
    sentences.append(f"All with biomeformer {__version__}.")
    return " ".join(sentences)


def _settings(evaluation: SequenceEvaluation) -> str:
    if not evaluation.settings:
        return ""
    values = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in evaluation.settings.items()
    }
    return f"<h2>Settings</h2>{page.pairs(values)}"


__all__ = ["sequence_report"]
