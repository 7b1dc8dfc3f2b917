"""What the page computes, without the page: a sample beside a cohort, predictions, and a genome."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from transformers import PreTrainedModel

from ..checkpoints.loading import load, load_genome_model, load_phenotype_model
from ..checkpoints.source import open_checkpoint
from ..errors import InputError
from ..genomes.prediction import GenomePrediction, predict_genome, protein_encoder_of
from ..metagenomes import AbundanceTable
from ..metagenomes.quality import table_remarks
from ..metagenomes.sample import embed_sample
from ..phenotypes import FeatureTable, PhenotypePredictor, predict_table
from ..phenotypes.checkpoint import check_same_provenance
from ..phenotypes.predictor import MODEL_TYPE as PREDICTOR
from ..reads import SampleReads
from ..reports.colouring import Colouring, default_colour_column
from ..reports.ordination import bray_curtis_pcoa, draw_ordination
from ..reports.style import figure_style, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..genomes.proteins import ProteinEncoder
    from ..models.genome_transformer import GenomeTransformerForSequenceClassification
    from ..models.metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel

SAMPLE = "your sample"
EXAMPLE = "the example cohort (simulated reads)"
N_NEAREST = 3


@dataclass(frozen=True)
class Limits:
    """Limits of what may be uploaded.

    Attributes:
        upload_bytes: Largest size of a file.
        reads: Most reads of a sample.
    """

    upload_bytes: int = 200_000_000
    reads: int = 500_000


@dataclass(frozen=True)
class SampleResult:
    """What is shown of a sample.

    Attributes:
        table: Its abundance table, of one row.
        cohort: The cohort and the sample, which is the last row.
        probabilities: Probability of each class, or the predicted number, by name; None without a phenotype model.
        remarks: Remarks on reads and prediction.
    """

    table: AbundanceTable
    cohort: AbundanceTable
    probabilities: dict[str, float] | None
    remarks: tuple[str, ...]

    @property
    def read_stats(self) -> pd.DataFrame:
        """Statistics of the reads that are not zero, one per row."""
        row = self.table.read_stats.iloc[0]
        shown = row[(row != 0) | row.index.isin(["n_reads", "n_used"])]
        return pd.DataFrame(
            {"statistic": [str(name).removeprefix("n_").replace("_", " ") for name in shown.index], "n": shown.values}
        )

    @property
    def clusters(self) -> pd.DataFrame:
        """One row per cluster: its number, reads and abundance."""
        counts, abundance = self.table.counts[0], self.table.abundance[0]
        return pd.DataFrame({"cluster": range(len(counts)), "count": counts, "abundance": abundance})

    @property
    def nearest(self) -> list[tuple[str, float]]:
        """The most similar samples of the cohort, with their Bray-Curtis dissimilarities."""
        abundance = self.cohort.abundance
        distances = cdist(abundance[-1:], abundance[:-1], "braycurtis")[0]
        rows = np.argsort(distances, kind="stable")[:N_NEAREST]
        return [(self.cohort.sample_ids[row], float(distances[row])) for row in rows]

    def figure(self) -> Figure:
        """Draw the sample among those of the cohort: principal coordinates of Bray-Curtis dissimilarities."""
        points, shares = bray_curtis_pcoa(self.cohort.abundance)
        metadata = self.cohort.metadata.iloc[:-1]
        column = default_colour_column(metadata)
        colouring = None if column is None else Colouring.of_column(column, metadata[column])
        with figure_style():
            figure, axes = make_figure((6.4, 5.0))
            draw_ordination(axes, points[:-1], shares, colouring)
            axes.scatter(*points[-1], marker="*", s=320, color="black", edgecolor="white", linewidth=0.9, zorder=6)
            offset: dict[str, Any] = {"xytext": (0, 11), "textcoords": "offset points", "ha": "center", "zorder": 7}
            axes.annotate(SAMPLE, points[-1], weight="bold", **offset)
        return figure


@dataclass
class Analyses:
    """Loaded models and the cohort that samples are shown beside.

    Attributes:
        model: Embeds samples.
        cohort: Abundance table by the same model.
        cohort_name: What the cohort is, in words.
        phenotype: Predicts a phenotype from a table of one sample; None for no prediction.
        genome_model: Predicts the label of a genome.
        protein_encoder: The encoder of the genome model.
        limits: Limits of uploads.
    """

    model: MetagenBertModel
    cohort: AbundanceTable
    cohort_name: str
    phenotype: MetagenBertForPhenotypeClassification | PhenotypePredictor | None
    genome_model: GenomeTransformerForSequenceClassification
    protein_encoder: ProteinEncoder
    limits: Limits = Limits()

    @classmethod
    def load(
        cls,
        model: str = "metagenbert-mini",
        *,
        phenotype_model: str | None = None,
        genome_model: str = "genome-transformer-mini",
        cohort: Path | None = None,
        device: str = "auto",
        limits: Limits | None = None,
    ) -> Analyses:
        """Load the models and check that they fit each other.

        Args:
            model: Checkpoint that embeds samples.
            phenotype_model: Checkpoint of `biomeformer phenotype train`.
            genome_model: Checkpoint of a genome transformer.
            cohort: Folder of `biomeformer embed` by the same model; by default the example cohort is embedded.
            device: Device of the models.
            limits: Limits of uploads.

        Raises:
            CheckpointError: A checkpoint cannot be loaded.
            InputError: The phenotype model needs more than the reads of a sample.
            TableError: The cohort or the phenotype model is of another checkpoint than `model`.
        """
        loaded = load(model, device=device)
        if cohort is None:
            with as_file(files("biomeformer") / "example_cohort") as folder:
                table, name = loaded.embed_cohort(folder / "cohort.csv"), EXAMPLE
        else:
            table, name = AbundanceTable.read(cohort), f"the cohort {cohort.name}"
            check_same_provenance(loaded, table.provenance)
        phenotype = None if phenotype_model is None else _load_phenotype(phenotype_model, device)
        genome = load_genome_model(genome_model, device=device)
        analyses = cls(loaded, table, name, phenotype, genome, protein_encoder_of(genome), limits or Limits())
        # Refuses a phenotype model of another checkpoint now, not at the first upload.
        analyses._predict(table)
        return analyses

    def sample(self, paths: Sequence[Path]) -> SampleResult:
        """Embed a sample's reads, in one file or the two of a pair, and predict its phenotype.

        Raises:
            InputError: A file cannot be read, or has more reads than the limit.
        """
        if len(paths) not in (1, 2):
            raise InputError(f"{len(paths)} files were given; give one file of reads, or the two of a pair.")

        def check(sample: str, n_reads: int, n_done: int, n_total: int) -> None:
            if n_reads > self.limits.reads:
                raise InputError(
                    f"the sample has more than {self.limits.reads:,} reads, the limit of this page; embed it with "
                    "`biomeformer embed`, or give a part of its reads."
                )

        reads = SampleReads.single(*paths) if len(paths) == 1 else SampleReads.paired(*paths)
        # As the cohort was, or they could not be compared.
        of_cohort = {name: self.cohort.provenance[name] for name in ("read_fraction", "seed")}
        embedded = embed_sample(self.model, reads, sample_id=SAMPLE, progress=check, **of_cohort)
        table = AbundanceTable.from_samples([embedded], pd.DataFrame(index=[SAMPLE]), self.cohort.provenance)
        probabilities, remarks = self._predict(table)
        return SampleResult(
            table,
            AbundanceTable.join([self.cohort, table]),
            probabilities,
            (*table_remarks(table.counts, table.read_stats), *remarks),
        )

    def _predict(self, table: AbundanceTable) -> tuple[dict[str, float] | None, list[str]]:
        if self.phenotype is None:
            return None, []
        remarks: list[str] = []
        if isinstance(self.phenotype, PreTrainedModel):
            frame = predict_table(self.phenotype, table)
        else:
            predictor = cast(PhenotypePredictor, self.phenotype)
            predicted = predictor.predict({predictor.blocks[0].name: FeatureTable.from_abundance(table)})
            frame, remarks = predicted.frame, [*predicted.notes, *predicted.warnings]
        row = frame.select_dtypes("number").iloc[0]
        return {str(name): float(value) for name, value in row.items()}, remarks

    def genome(self, path: Path) -> GenomePrediction:
        """Predict the label of a genome.

        Raises:
            GenomeError: The file cannot be read, or has no gene.
        """
        return predict_genome(
            self.genome_model, path, protein_encoder=self.protein_encoder, threads=os.cpu_count() or 1
        )


def gene_table(prediction: GenomePrediction) -> pd.DataFrame:
    """Return one row per gene: its place, length in residues and annotations."""
    rows = [
        {
            "gene": gene.gene_id,
            "contig": gene.contig,
            "start": gene.start,
            "end": gene.end,
            "strand": gene.strand,
            "residues": len(gene.protein),
            "source": gene.source,
        }
        for gene in prediction.genome.genes
    ]
    return pd.DataFrame(rows)


def _load_phenotype(name: str, device: str) -> MetagenBertForPhenotypeClassification | PhenotypePredictor:
    source = open_checkpoint(name)
    if source.model_type != PREDICTOR:
        head = load_phenotype_model(name, device=device)
        if head.config.head != "linear":
            raise InputError(f"{name} predicts from sets of read vectors; give a model of abundance vectors.")
        return head
    predictor = PhenotypePredictor.from_source(source)
    if [block.kind for block in predictor.blocks] != ["clusters"]:
        raise InputError(f"{name} was fitted on {predictor.needs}; give a model of abundance vectors alone.")
    return predictor


__all__ = ["SAMPLE", "Analyses", "Limits", "SampleResult", "gene_table"]
