"""Batch protein vectors of genomes, under the preprocessing config that is saved with a checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import BatchFeature, ProcessorMixin

from .configuration_genome_transformer import GenomeTransformerConfig

PREPROCESSING_FIELDS = (
    "protein_encoder",
    "protein_encoder_sha256",
    "protein_size",
    "max_residues",
    "protein_pooling",
    "translation_table",
    "max_genes",
    "truncation",
)
PROTEIN_POOLING = ("mean over residues", "mean over residues of all windows")
CHOICES = {"protein_pooling": PROTEIN_POOLING, "truncation": ("keep_first_contigs",)}


@dataclass(frozen=True)
class NoTokenizer:
    """What transformers' Trainer reads of the tokenizer that it takes every processor to have."""

    bos_token_id: None = None
    eos_token_id: None = None
    pad_token_id: None = None


class GenomeTransformerProcessor(ProcessorMixin):
    r"""Preprocessing config of a `GenomeTransformerModel`: how genomes become its inputs.

    Args:
        protein_encoder: Origin of the protein encoder: `protein_encoder` if it is part of the checkpoint, or a Hub id.
        protein_encoder_sha256: SHA-256 of its weights; vectors of another encoder are refused.
        protein_size: Width of a protein's vector.
        max_residues: Most residues that the protein encoder reads at once.
        protein_pooling: How residues are pooled to one vector: `mean over residues`, of the first `max_residues`, or
            `mean over residues of all windows` of that length.
        translation_table: Number of NCBI's translation table, of genes without one of their own.
        max_genes: Largest number of genes of a genome.
        truncation: How larger genomes are truncated: `keep_first_contigs` keeps the first genes in the order of
            contigs.
        **kwargs: Options of `ProcessorMixin`.

    Raises:
        ValueError: A value is unknown to this version.
    """

    def __init__(
        self,
        protein_encoder: str = "protein_encoder",
        protein_encoder_sha256: str = "",
        protein_size: int = 2560,
        max_residues: int = 1022,
        protein_pooling: str = "mean over residues",
        translation_table: int = 11,
        max_genes: int = 4096,
        truncation: str = "keep_first_contigs",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.protein_encoder = protein_encoder
        self.protein_encoder_sha256 = protein_encoder_sha256
        self.protein_size = protein_size
        self.max_residues = max_residues
        self.protein_pooling = protein_pooling
        self.translation_table = translation_table
        self.max_genes = max_genes
        self.truncation = truncation
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f"{field} is {getattr(self, field)!r}; this version knows {', '.join(choices)}.")

    @property
    def tokenizer(self) -> NoTokenizer:
        """A tokenizer without any token, for `Trainer(processing_class=...)`: the inputs are vectors of proteins."""
        return NoTokenizer()

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Everything that determines a genome's inputs, for fingerprints."""
        return {field: getattr(self, field) for field in PREPROCESSING_FIELDS}

    @property
    def contract(self) -> dict[str, Any]:
        """Deprecated: the old name of `preprocessing`."""
        warnings.warn(
            f"{type(self).__name__}.contract is now called preprocessing. The old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.preprocessing

    def check_agrees(self, config: GenomeTransformerConfig) -> None:
        """Check that the preprocessing config and a model's config agree.

        Raises:
            ValueError: They do not.
        """
        for field in ("protein_size", "max_genes"):
            if getattr(self, field) != getattr(config, field):
                raise ValueError(
                    f"The preprocessing config says {field} {getattr(self, field)} and the model's config "
                    f"{getattr(config, field)}; processor_config.json and config.json must come from one checkpoint."
                )

    def n_dropped_genes(self, n_genes: int) -> int:
        """Return how many genes of a genome of `n_genes` are beyond `max_genes`, and dropped."""
        return max(n_genes - self.max_genes, 0)

    def n_cut(self, n_genes: int) -> int:
        """Deprecated: the old name of `n_dropped_genes`."""
        warnings.warn(
            f"{type(self).__name__}.n_cut is now called n_dropped_genes. The old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.n_dropped_genes(n_genes)

    def __call__(
        self,
        vectors: np.ndarray | Sequence[np.ndarray],
        contig_ids: np.ndarray | Sequence[np.ndarray] | None = None,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Pad genomes into a batch for `GenomeTransformerModel.forward`.

        Args:
            vectors: Protein vectors `(n_genes, protein_size)` of one genome, or a list of those of several.
            contig_ids: Contig index of each gene, `(n_genes,)`, of one genome or a list; one contig by default.
            return_tensors: `pt` for tensors, `np` for arrays.
            **kwargs: There are no other options; any is an error.

        Returns:
            `proteins` float32 `(n_genomes, longest, protein_size)`, `attention_mask` and `contig_ids`
            `(n_genomes, longest)`. Genomes with more than `max_genes` genes keep the first; see `n_dropped_genes`.

        Raises:
            ValueError: A genome has no gene, or shapes do not match.
        """
        if kwargs:
            raise ValueError(f"{', '.join(kwargs)}: not an option here; the preprocessing config decides.")
        genomes = [vectors] if isinstance(vectors, np.ndarray) and vectors.ndim == 2 else list(vectors)
        if contig_ids is None:
            contigs = [np.zeros(len(genome), np.int64) for genome in genomes]
        else:
            is_single = isinstance(contig_ids, np.ndarray) and contig_ids.ndim == 1 and len(genomes) == 1
            contigs = [contig_ids] if is_single else list(contig_ids)  # type: ignore[list-item]
        for i, (genome, ids) in enumerate(zip(genomes, contigs, strict=True)):
            if genome.ndim != 2 or genome.shape[1] != self.protein_size or not len(genome) or len(ids) != len(genome):
                raise ValueError(
                    f"Genome {i} has vectors of shape {genome.shape} and {len(ids)} contig numbers; give "
                    f"(n_genes, {self.protein_size}) with at least one gene, and one number per gene."
                )
        lengths = [min(len(genome), self.max_genes) for genome in genomes]
        longest = max(lengths)
        proteins = np.zeros((len(genomes), longest, self.protein_size), np.float32)
        mask = np.zeros((len(genomes), longest), np.int64)
        padded_ids = np.zeros((len(genomes), longest), np.int64)
        for i, n in enumerate(lengths):
            proteins[i, :n], mask[i, :n], padded_ids[i, :n] = genomes[i][:n], 1, contigs[i][:n]
        batch = {"proteins": proteins, "attention_mask": mask, "contig_ids": padded_ids}
        return BatchFeature(batch, tensor_type=return_tensors)


__all__ = ["PREPROCESSING_FIELDS", "GenomeTransformerProcessor"]
