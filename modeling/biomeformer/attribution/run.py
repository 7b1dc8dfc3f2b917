"""A run over embedded genomes: what counts in each, and what it comes to; on one process or many, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import InputError
from ..genomes.embedding import RESULTS, EmbeddedGenomes
from ..genomes.prediction import check_encoder
from ..io.atomic import wrap_write_errors
from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from ..models.metagenbert.modeling_metagenbert import hash_weights
from ..runs.process_group import ProcessGroup
from ..runs.run_folder import Part, RunFolder
from ..runs.scheduler import RunOutcome, SampleResult, run_samples
from .collection import ClusterSettings, Explanations, collect
from .explanation import AttributionSettings, Explanation, explain_genome
from .network import FILES, GRAPHML, RECORD, GeneInteractionNetwork
from .pseudo_examples import pseudo_table

ARRAYS = ("logits", "genes", "scores", "pseudo", "random_genes", "random_pairs", "random_ablation")


@dataclass(frozen=True)
class _Genome:
    sample_id: str
    source: Path

    def files(self) -> Sequence[Path]:
        return [self.source]


@dataclass(frozen=True)
class _Genomes:
    samples: list[_Genome]


def attribute(
    model: GenomeTransformerForSequenceClassification,
    genomes: EmbeddedGenomes,
    folder: str | Path | None = None,
    *,
    settings: AttributionSettings | None = None,
    clustering: ClusterSettings | None = None,
    label_column: str | None = None,
    processes: ProcessGroup | None = None,
    resume: bool = True,
    overwrite: bool = False,
    on_plan: Callable[[int, int], None] | None = None,
    on_genome: Callable[[str, str | None], None] | None = None,
    check: Callable[[], None] | None = None,
) -> GeneInteractionNetwork:
    """Find the pairs of genes that count for a model's predictions, and the network they make.

    The method of arXiv 2405.05998: the strongest pairs of the last layer's attention in each correctly classified
    genome, clustered by their vectors with DBSCAN; beside it other ways to score the same pairs.

    Args:
        model: In evaluation mode, on the device to use, with its processor.
        genomes: Embedded by the model's protein encoder.
        folder: Where finished genomes and results go, so that a run can be resumed; nowhere by default.
        settings: What decides the pairs.
        clustering: What decides clusters and families.
        label_column: Of the genomes' metadata, with the true classes; by default `config.label_name` where there is
            such a column. Without one, every genome counts as correctly classified, and the record says so.
        processes: The processes of the job; this one alone by default.
        resume: Whether to go on with a run found in the folder; otherwise it is refused.
        overwrite: Delete a run found in the folder.
        on_plan: Called once with how many genomes an earlier attempt finished, and how many this process will do.
        on_genome: Called for each genome that this process finishes, with its id and, if it failed, the reason.
        check: Called between steps; what it raises ends the run.

    Returns:
        The network; on the main process alone where there are several.

    Raises:
        CheckpointError: The genomes are of another protein encoder.
        InputError: A label is unknown to the model, or no genome is classified correctly.
        RunError: The folder cannot be written to.
        RunInterrupted: `check` said so.
    """
    if folder is None:
        with TemporaryDirectory() as place:
            options: dict[str, Any] = {"settings": settings, "clustering": clustering, "label_column": label_column}
            return attribute(model, genomes, place, **options, on_plan=on_plan, on_genome=on_genome, check=check)
    settings, clustering = settings or AttributionSettings(), clustering or ClusterSettings()
    processes = processes or ProcessGroup()
    if check is not None:
        processes.check = check
    folder = Path(folder)
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
    source = genomes.folder / RESULTS["genes"]
    cohort = _Genomes([_Genome(str(name), source) for name in genomes.genomes.index])
    results = (*FILES.values(), GRAPHML, RECORD, "report.html")
    run = RunFolder(folder, fingerprint, cohort, results=results)
    classes = [model.config.id2label[i] for i in range(model.config.num_labels)]

    def explain(entry: Any, among: Sequence[int]) -> SampleResult:
        name = entry.sample_id
        found = explain_genome(model, genomes.vectors(name), genomes.contig_ids(name), settings, processes.check)
        arrays = {field: getattr(found, field) for field in ARRAYS}
        arrays["n_random_pair_genes"] = np.array([found.n_random_pair_genes])
        return arrays, {"n_pseudo_genes": found.n_pseudo_genes}

    def gather(parts: dict[str, Part], failed: dict[str, str]) -> GeneInteractionNetwork:
        def found() -> Iterator[tuple[str, Explanation]]:
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

        network = _network(found, failed)
        with wrap_write_errors(folder):
            network.save(folder)
        return network

    def _network(found: Explanations, failed: dict[str, str]) -> GeneInteractionNetwork:
        collected = collect(found, genomes, classes, true_classes, settings, clustering, processes.check)
        record = {
            "model": {
                "name": str(model.name_or_path),
                "weights_sha256": digest,
                "label": model.config.label_name,
                "classes": classes,
            },
            "genomes": {"folder": str(genomes.folder), "label_column": column, "failed": failed},
            "settings": settings.record,
            "clustering": clustering.record,
            "figures": collected.figures,
            "pseudo_examples": pseudo_table(collected.genomes, settings.seed),
        }
        tables = {name: getattr(collected, name) for name in FILES}
        return GeneInteractionNetwork(**tables, record=record)

    outcome: RunOutcome[GeneInteractionNetwork] = run_samples(
        run,
        explain,
        gather,
        processes=processes,
        share_batches=False,
        resume=resume,
        overwrite=overwrite,
        on_plan=on_plan,
        on_sample=on_genome,
    )
    return outcome.result  # type: ignore[return-value]


def _true_classes(
    model: GenomeTransformerForSequenceClassification, genomes: EmbeddedGenomes, label_column: str | None
) -> tuple[dict[str, str], str | None]:
    """Classes by genome, and the column they come from."""
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
    strange = sorted(set(values.values()) - known)
    if strange:
        raise InputError(
            f"{genomes.folder}, column {column}: {strange[0]!r} is no class of the model, which tells "
            f"{', '.join(sorted(known))}; leave the genome out, or name another column."
        )
    return values, column


__all__ = ["attribute"]
