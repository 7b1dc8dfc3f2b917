"""Attribution over embedded genomes: the pairs that count in each, and their network; resumable, on many processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Unpack

import numpy as np

from ..checkpoints import public_name
from ..errors import InputError
from ..genomes.embedding import RESULTS, EmbeddedGenomes
from ..genomes.prediction import check_encoder
from ..genomes.training_genomes import training_genomes
from ..io.atomic import wrap_write_errors
from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from ..models.metagenbert.weight_hash import hash_weights
from ..runs.control import RunControl, RunOptions, resolve_control
from ..runs.run_folder import Part, RunFolder
from ..runs.scheduler import ItemResult, run_items
from .collection import ClusterSettings, Explanations, collect
from .explanation import AttributionSettings, Explanation, explain_genome
from .network import FILES, GRAPHML, RECORD, GeneInteractionNetwork
from .pseudo_examples import pseudo_table

# What is drawn of the results later.
DRAWN = ("report.html", "pairs_by_cluster.svg", "pairs_by_class.svg", "network.svg")
# Of the genomes, which to attribute.
Subset = Literal["held_out", "training", "all"]
ARRAYS = ("logits", "genes", "scores", "pseudo", "random_genes", "random_pairs", "random_ablation")


@dataclass(frozen=True)
class _EmbeddedGenome:
    """An item of the run: one genome among the embedded ones, whose genes are in a file of them all."""

    item_id: str
    genes: Path

    def files(self) -> Sequence[Path]:
        return [self.genes]


def attribute(
    model: GenomeTransformerForSequenceClassification,
    genomes: EmbeddedGenomes,
    folder: str | Path | None = None,
    *,
    settings: AttributionSettings | None = None,
    clustering: ClusterSettings | None = None,
    label_column: str | None = None,
    subset: Subset = "held_out",
    control: RunControl | None = None,
    **options: Unpack[RunOptions],
) -> GeneInteractionNetwork:
    """Find the pairs of genes that count for a model's predictions, and the network they make.

    The method of arXiv 2405.05998: the strongest pairs of the last layer's attention in each correctly classified
    genome, clustered by their vectors with DBSCAN; beside it other ways to score the same pairs.

    Args:
        model: In evaluation mode, on the device to use, with its processor.
        genomes: Embedded by the model's protein encoder.
        folder: Where finished genomes and results go, so that a run can be resumed; by default nothing is kept.
        settings: What decides the pairs.
        clustering: What decides clusters and families.
        label_column: Of the genomes' metadata, with the true classes; by default `config.label_name` where there is
            such a column. Without one, every genome counts as correctly classified, and the record says so.
        subset: Which genomes to attribute: `held_out`, those that the model was not trained on, `training`, the others,
            or `all`. The model's training record lists them; if it does not, all are attributed, with a remark.
        control: How the run proceeds; its `check` is called between steps.
        **options: Fields of `RunControl` by keyword: `resume`, `overwrite`, `fail_fast`, `processes`, `observer`,
            `check`; in place of a control, or to change one.

    Returns:
        The network; on the main process alone where there are several.

    Raises:
        CheckpointError: The genomes are of another protein encoder.
        InputError: A label is unknown to the model, no genome is classified correctly or in the subset, or several
            processes have no folder.
        SamplesFailedError: A genome failed and `fail_fast` was asked for.
        RunError: The folder cannot be written to.
        RunInterrupted: A signal came, as `check` noticed.
    """
    control = resolve_control(control, options)
    settings, clustering = settings or AttributionSettings(), clustering or ClusterSettings()
    if folder is not None:
        return _attribute(model, genomes, Path(folder), settings, clustering, label_column, subset, control)
    if control.processes.size > 1:
        raise InputError("several processes need a folder that they share for attribution; give one.")
    with TemporaryDirectory() as temporary:
        return _attribute(model, genomes, Path(temporary), settings, clustering, label_column, subset, control)


def _attribute(
    model: GenomeTransformerForSequenceClassification,
    genomes: EmbeddedGenomes,
    folder: Path,
    settings: AttributionSettings,
    clustering: ClusterSettings,
    label_column: str | None,
    subset: Subset,
    control: RunControl,
) -> GeneInteractionNetwork:
    true_classes, column = _true_classes(model, genomes, label_column)
    check_encoder(model, genomes.preprocessing, genomes.folder)
    digest = hash_weights(model.state_dict())
    fingerprint = {
        "weights_sha256": digest,
        "protein_encoder": genomes.preprocessing["weights_sha256"],
        "settings": settings.record,
        "clustering": clustering.record,
        "label_column": column,
    }
    trained_on = training_genomes(model)
    if trained_on is not None:
        fingerprint["subset"] = subset
    names = _chosen(genomes, subset, trained_on)
    if trained_on is None and subset != "all" and control.processes.is_main:
        control.observer.remark(
            "the model's training record does not list the genomes it was trained on, so all are attributed; results "
            "on training genomes are no evidence for others"
        )
    items = [_EmbeddedGenome(name, genomes.folder / RESULTS["genes"]) for name in names]
    results = (*FILES.values(), GRAPHML, RECORD, *DRAWN)
    run = RunFolder(folder, fingerprint, items, "genomes", results=results, root=genomes.folder)
    classes = [model.config.id2label[i] for i in range(model.config.num_labels)]

    def explain(genome: _EmbeddedGenome, among: Sequence[int]) -> ItemResult:
        vectors, contig_ids = genomes.vectors(genome.item_id), genomes.contig_ids(genome.item_id)
        explanation = explain_genome(model, vectors, contig_ids, settings, control.processes.check)
        arrays = {field: getattr(explanation, field) for field in ARRAYS}
        arrays["n_random_pair_genes"] = np.array([explanation.n_random_pair_genes])
        return arrays, {"n_pseudo_genes": explanation.n_pseudo_genes}

    def gather(parts: dict[str, Part], failed: dict[str, str]) -> GeneInteractionNetwork:
        def explanations() -> Iterator[tuple[str, Explanation]]:
            for name, part in parts.items():
                arrays = part.arrays()
                yield (
                    name,
                    Explanation(
                        **{field: arrays[field] for field in ARRAYS},
                        n_pseudo_genes=part.stats["n_pseudo_genes"],
                        n_random_pair_genes=float(arrays["n_random_pair_genes"][0]),
                    ),
                )

        network = _network(explanations, failed)
        with wrap_write_errors(folder):
            network.save(folder)
        return network

    def _network(explanations: Explanations, failed: dict[str, str]) -> GeneInteractionNetwork:
        collected = collect(explanations, genomes, classes, true_classes, settings, clustering, control.processes.check)
        record = {
            "model": {
                "name": public_name(model.name_or_path),
                "weights_sha256": digest,
                "label": model.config.label_name,
                "classes": classes,
            },
            "genomes": {
                "folder": public_name(genomes.folder),
                "label_column": column,
                "failed": failed,
                "subset": subset if trained_on is not None else "all",
                "n_trained_on": None if trained_on is None else sum(name in trained_on for name in names),
            },
            "settings": settings.record,
            "clustering": clustering.record,
            "figures": collected.figures,
            "pseudo_examples": pseudo_table(collected.genomes, settings.seed),
        }
        tables = {name: getattr(collected, name) for name in FILES}
        if trained_on is not None:
            is_trained_on = tables["genomes"]["genome_id"].isin(trained_on)
            tables["genomes"] = tables["genomes"].assign(trained_on=is_trained_on)
        return GeneInteractionNetwork(**tables, record=record)

    outcome = run_items(run, explain, gather, control=control, share_batches=False)
    return outcome.result  # type: ignore[return-value]


def _chosen(genomes: EmbeddedGenomes, subset: Subset, trained_on: frozenset[str] | None) -> list[str]:
    """Return the ids of the genomes of a subset.

    Raises:
        InputError: There are none.
    """
    names = [str(name) for name in genomes.genomes.index]
    if trained_on is None or subset == "all":
        return names
    chosen = [name for name in names if (name in trained_on) == (subset == "training")]
    if not chosen:
        other = "the model was trained on each of" if subset == "held_out" else "the model was trained on none of"
        raise InputError(
            f"{other} the {len(names):,} genomes of {genomes.folder}; embed other genomes, or attribute these with the "
            "subset all."
        )
    return chosen


def _true_classes(
    model: GenomeTransformerForSequenceClassification, genomes: EmbeddedGenomes, label_column: str | None
) -> tuple[dict[str, str], str | None]:
    """Return the true classes by genome, and the column they come from."""
    columns, known = genomes.metadata, set(model.config.id2label.values())
    column = label_column
    if column is None:
        column = model.config.label_name if model.config.label_name in columns.columns else None
    if column is None:
        return {}, None
    if column not in columns.columns:
        raise InputError(
            f"{genomes.folder} has no column {column!r}; its genomes have "
            f"{', '.join(map(str, columns.columns)) or 'none'}."
        )
    values = {str(name): str(value) for name, value in columns[column].items() if str(value)}
    unknown = sorted(set(values.values()) - known)
    if unknown:
        raise InputError(
            f"{genomes.folder}, column {column}: {unknown[0]!r} is no class of the model, which predicts "
            f"{', '.join(sorted(known))}; leave the genome out, or name another column."
        )
    return values, column


__all__ = ["attribute"]
