"""Blocks of features as a model was fitted with them: what is needed to give it the same columns of new samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.tables import MISSING_VALUES
from ..metagenomes.abundance_table import SAME_CLUSTERS, check_agreement
from .covariates import encode_covariates
from .features import LEFT_OUT_WARNING, FeatureTable
from .metadata_columns import Covariate
from .transforms import design_matrix, resolve_zeros, transform_shares

BlockKind = Literal["clusters", "profile", "covariates"]
# What of a table's provenance identifies its clusters, and where the model is that makes them.
IDENTITY = (*SAME_CLUSTERS, "model", "revision")


class CovariateRecord(TypedDict):
    """A covariate: its words, empty for numbers, and the median that replaces missing numbers, if it was fitted."""

    column: str
    words: list[str]
    median: NotRequired[float]


class BlockRecord(TypedDict):
    """A fitted block as JSON values."""

    name: str
    kind: BlockKind
    n_columns: int
    transform: str
    zeros: str
    provenance: NotRequired[dict[str, Any]]
    features: NotRequired[list[str]]
    prior_counts: NotRequired[list[float]]
    covariates: NotRequired[list[CovariateRecord]]
    impute: NotRequired[bool]


@dataclass(frozen=True)
class FittedBlock:
    """A block of features with its transform as fitted.

    Attributes:
        name: Name of the block: `vectors`, `features`, `species` or `covariates`.
        kind: `clusters` of a checkpoint, a `profile` of named taxa or genes, or `covariates`.
        features: Names of the features before the transform.
        n_columns: Number of columns after it.
        transform: `none`, `clr` or `ilr`; empty for covariates.
        zeros: Rule for zeros of log-ratios; empty without.
        provenance: Of clusters, the checkpoint and settings that made them.
        prior_counts: For the rule `gbm`, summed counts of the training samples, float64 `(n_features,)`.
        covariates: How metadata columns become features.
        medians: Medians of the training samples, which replace missing covariates, float64 `(n_features,)`; None if
            none was missing and none may be.
    """

    name: str
    kind: BlockKind
    features: tuple[str, ...]
    n_columns: int
    transform: str = ""
    zeros: str = ""
    provenance: dict[str, Any] | None = None
    prior_counts: np.ndarray | None = None
    covariates: tuple[Covariate, ...] = ()
    medians: np.ndarray | None = None

    @classmethod
    def fit(cls, name: str, table: FeatureTable, transform: str, zeros: str, impute: bool = False) -> FittedBlock:
        """Fit a block to its training samples.

        Args:
            name: Name of the block.
            table: Features of the training samples.
            transform: Transform of compositions.
            zeros: Rule for their zeros, as `block_rules` resolved it; empty without logarithms.
            impute: Whether missing covariates of new samples are replaced.
        """
        if not table.is_composition:
            medians = None
            if impute:
                medians = np.array([np.nanmedian(column) for column in table.values.T])
            return cls(
                name,
                "covariates",
                table.names,
                len(table.names),
                covariates=table.covariates,
                medians=medians,
            )
        n_columns = len(table.names) - (transform == "ilr")
        prior_counts = table.values.sum(0) if zeros == "gbm" else None
        if not table.provenance:
            return cls(name, "profile", table.names, n_columns, transform, zeros, prior_counts=prior_counts)
        provenance = {key: table.provenance[key] for key in IDENTITY if key in table.provenance}
        return cls(name, "clusters", table.names, n_columns, transform, zeros, provenance, prior_counts)

    def select(self, table: FeatureTable, where: str) -> tuple[FeatureTable, list[str], list[str]]:
        """Return a table with exactly the features of this block, and notes and warnings of what that changed.

        Samples that have none of the features become `unusable`.

        Raises:
            TableError: The clusters are those of another checkpoint.
            InputError: A table of another kind was given, or it shares no feature with the model.
        """
        if self.kind == "clusters":
            if not table.provenance:
                raise InputError(
                    f"{where} is no table of `biomeformer embed`, and the model was fitted on the clusters of "
                    f"{(self.provenance or {}).get('model')!r}; give such a table, a cohort's sheet or reads."
                )
            check_agreement(self.provenance or {}, table.provenance, "the model's training table", where)
        elif self.kind == "profile" and table.provenance:
            raise InputError(f"{where} holds clusters, and the model was fitted on a table of taxa or genes; give one.")
        if self.kind != "profile":
            return table, [], []
        return self._select_profile(table, where)

    def _select_profile(self, table: FeatureTable, where: str) -> tuple[FeatureTable, list[str], list[str]]:
        shared = set(self.features) & set(table.names)
        if not shared:
            raise InputError(
                f"{where} has none of the {len(self.features)} features of the model (such as {self.features[0]!r}; it "
                f"has {table.names[0]!r}); give a table of the same profiler."
            )
        usable = np.array([name not in table.unusable for name in table.sample_ids])
        alike = table.with_features(self.features)
        totals = table.values.sum(1)
        kept = np.divide(alike.values.sum(1), totals, out=np.zeros(len(totals)), where=totals > 0)
        unusable = dict(table.unusable)
        for i in np.flatnonzero(usable & (kept == 0)):
            sample = table.sample_ids[i]
            unusable[sample] = f"{where}, sample {sample!r}: it has none of the features of the model; leave it out."
        notes: list[str] = []
        warnings: list[str] = []
        if lacking := len(self.features) - len(shared):
            notes.append(f"{lacking} of the model's {len(self.features)} features are not in the table and count as 0")
        if others := len(table.names) - len(shared):
            lost = 1 - kept[usable].mean() if usable.any() else 0.0
            text = f"left out: {others} features that the model does not have, {100 * lost:.2g} % of the abundance"
            (warnings if lost > LEFT_OUT_WARNING else notes).append(text)
        return replace(alike, unusable=unusable), notes, warnings

    def encode(
        self, metadata: pd.DataFrame, sample_ids: Sequence[str], where: str, missing: Collection[str] = ()
    ) -> FeatureTable:
        """Return the covariates of new samples, of which those without usable values are `unusable`.

        Raises:
            InputError: The metadata lacks a column.
        """
        return encode_covariates(
            metadata,
            self.covariates,
            sample_ids,
            impute=self.medians is not None,
            where=where,
            missing=missing or MISSING_VALUES,
        )

    def columns(self, table: FeatureTable) -> np.ndarray:
        """Return the model's columns of samples, float64 `(n_samples, n_columns)`, from their selected features.

        Raises:
            InputError: The rule for zeros needs counts and the table has shares.
        """
        if self.kind == "covariates":
            return (
                table.values if self.medians is None else np.where(np.isnan(table.values), self.medians, table.values)
            )
        if self.zeros:
            resolve_zeros(table.values, self.zeros)
        return transform_shares(
            table.values, self.transform, self.zeros or "fixed", names=self.features, prior_counts=self.prior_counts
        )

    @property
    def record(self) -> BlockRecord:
        """The block as JSON values; the features of clusters are their numbers."""
        record: BlockRecord = {
            "name": self.name,
            "kind": self.kind,
            "n_columns": self.n_columns,
            "transform": self.transform,
            "zeros": self.zeros,
        }
        if self.kind == "clusters":
            record["provenance"] = self.provenance or {}
        elif self.kind == "profile":
            record["features"] = list(self.features)
        else:
            record["covariates"] = self._covariate_records()
            record["impute"] = self.medians is not None
        if self.prior_counts is not None:
            record["prior_counts"] = self.prior_counts.tolist()
        return record

    def _covariate_records(self) -> list[CovariateRecord]:
        records: list[CovariateRecord] = []
        first = 0
        for covariate in self.covariates:
            one: CovariateRecord = {"column": covariate.column, "words": list(covariate.words)}
            if self.medians is not None and not covariate.words:
                one["median"] = float(self.medians[first])
            records.append(one)
            first += len(covariate.names)
        return records

    @classmethod
    def from_record(cls, record: BlockRecord) -> FittedBlock:
        """Return the block of a record.

        Raises:
            ValueError: Its fields do not agree with each other.
        """
        kind, n_columns = record["kind"], record["n_columns"]
        if kind == "covariates":
            covariates = tuple(Covariate(one["column"], tuple(one["words"])) for one in record["covariates"])
            names = tuple(name for covariate in covariates for name in covariate.names)
            medians = None
            if record["impute"]:
                # Words are never NaN.
                each = [[0.0] * len(one["words"]) or [one["median"]] for one in record["covariates"]]
                medians = np.array([value for values in each for value in values])
            block = cls(record["name"], kind, names, n_columns, covariates=covariates, medians=medians)
        else:
            n_features = n_columns + (record["transform"] == "ilr")
            features = tuple(record["features"] if kind == "profile" else (f"cluster_{i}" for i in range(n_features)))
            prior_counts = np.array(record["prior_counts"]) if record["zeros"] == "gbm" else None
            provenance = record["provenance"] if kind == "clusters" else None
            block = cls(
                record["name"],
                kind,
                features,
                n_columns,
                record["transform"],
                record["zeros"],
                provenance,
                prior_counts,
            )
        n_features = n_columns + (block.transform == "ilr")
        if len(block.features) != n_features or (
            block.prior_counts is not None and block.prior_counts.shape != (n_features,)
        ):
            raise ValueError(f"block {block.name!r} has not as many features as it says")
        return block


def fitted_design(
    blocks: dict[str, FeatureTable], transform: str, rules: Sequence[str], impute: bool
) -> tuple[list[FittedBlock], np.ndarray]:
    """Return the fitted blocks of training samples, and their design matrix `(n_samples, n_columns)`."""
    fitted = [
        FittedBlock.fit(name, table, transform, rule, impute)
        for (name, table), rule in zip(blocks.items(), rules, strict=True)
    ]
    return fitted, design_matrix(list(blocks.values()), transform, [rule or "fixed" for rule in rules])


__all__ = ["BlockKind", "BlockRecord", "CovariateRecord", "FittedBlock", "fitted_design"]
