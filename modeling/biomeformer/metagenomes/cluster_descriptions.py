"""What the clusters of a model are: the taxa and functions of reference genomes whose reads they receive."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa

from ..checkpoints import FOLDER, public_name, resolve_checkpoint, shipped_checkpoints
from ..checkpoints.source import open_checkpoint
from ..errors import TableError
from ..io.html_repr import count, html_table
from ..io.parquet import CheckedParquet, write_parquet
from ..io.records import DamagedFileError, RecordType
from ..io.short_repr import short_repr
from ..models.metagenbert import MetagenBertModel

NAME = "cluster_descriptions.parquet"
METADATA_KEY = b"biomeformer"
FORMAT_VERSION = 1
ADVICE = "fetch it again, or make it with: biomeformer clusters describe"
# A rank names a cluster if its largest taxon has this share of the reads.
MIN_PURITY = 0.5
# A cluster with fewer reads of the reference has no name.
MIN_READS = 10


class DescriptionRecord(TypedDict):
    """What the descriptions were computed from.

    Attributes:
        contract: Preprocessing config of the model.
        ranks: Columns of the catalog that name taxa, from the narrowest rank.
        catalog: `name`, `n_genomes`, and `sha256` over ids, taxa, sequences and genes.
        settings: Length and number of simulated reads, errors, seed, and the kind of annotations.
    """

    format_version: int
    model: str
    revision: str | None
    weights_sha256: str
    contract: dict[str, Any]
    n_clusters: int
    ranks: list[str]
    catalog: dict[str, Any]
    settings: dict[str, Any]
    n_reads: int
    n_not_used: int
    dtype: str
    device: str
    versions: dict[str, str]


RECORD = RecordType(DescriptionRecord, ADVICE)


@dataclass(frozen=True)
class ClusterDescriptions:
    """Descriptions of all clusters of a model.

    Attributes:
        frame: One row per cluster, see `describe_by_genomes` for the columns.
        record: What they were computed from.
    """

    frame: pd.DataFrame
    record: DescriptionRecord

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        purities = (f"{rank}_purity" for rank in self.ranks)
        frame = self.frame.assign(name=self.names)[["name", "n_reads", *self.ranks, *purities]]
        return html_table(self, f"{count(len(self), 'cluster')} by {self.record['catalog']['name']}", frame)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks of the taxa, from the narrowest."""
        return tuple(self.record["ranks"])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Short description of each cluster.

        `Bacteroides, 82 % of reads`, of the narrowest rank at which a taxon has at least half of the reads; otherwise
        `mixed, 9 % Bacteroides`, the largest taxon of the broadest rank; of clusters with fewer than 10 reads of the
        reference, `too few reads of the reference`.
        """
        return tuple(self._name(row) for row in self.frame.to_dict("records"))

    def label(self, cluster: int) -> str:
        """Return number and short description of a cluster, such as `cluster 408 (Bacteroides, 82 % of reads)`."""
        return f"cluster {cluster} ({self.names[cluster]})"

    def short_label(self, cluster: int) -> str:
        """Return number and short description of a cluster for figures, such as `408 Bacteroides, 82 %`."""
        return f"{cluster} {self.names[cluster].removesuffix(' of reads').removesuffix(' of the reference')}"

    def agrees_with(self, provenance: Mapping[str, Any]) -> bool:
        """Return whether numbers of this provenance are of these clusters: same weights and preprocessing config."""
        return (
            provenance.get("weights_sha256") == self.record["weights_sha256"]
            and provenance.get("contract", self.record["contract"]) == self.record["contract"]
        )

    def summary(self) -> str:
        """Return a sentence on what the descriptions were computed from."""
        settings, catalog = self.record["settings"], self.record["catalog"]
        sharing = "in proportion to their lengths" if settings["proportional"] else "the same number from each"
        return (
            f"Clusters are described by {self.record['n_reads']:,} reads of {settings['read_length']} bases simulated "
            f"from the {catalog['n_genomes']:,} genomes of {catalog['name']} ({sharing}); shares are of these reads, "
            "so they depend on which genomes the catalog has. Taxa that it lacks are not named."
        )

    def write(self, path: str | Path) -> Path:
        """Write Parquet atomically, with checksums; return the path."""
        table = pa.Table.from_pandas(self.frame, preserve_index=False).replace_schema_metadata(
            {METADATA_KEY: RECORD.serialize(dict(self.record))}
        )
        write_parquet(Path(path), table)
        return Path(path)

    @classmethod
    def read(cls, path: str | Path) -> ClusterDescriptions:
        """Read what `write` wrote.

        Args:
            path: The file, or a folder with `cluster_descriptions.parquet`.

        Raises:
            TableError: There is no such file.
            DamagedFileError: It is damaged, or of another kind.
        """
        path = Path(path) / NAME if Path(path).is_dir() else Path(path)
        try:
            file = CheckedParquet(path, ADVICE, ("cluster", "n_reads"))
        except FileNotFoundError as error:
            raise TableError(f"{path}: there is no such file; {ADVICE}.") from error
        metadata = file.schema.metadata or {}
        if METADATA_KEY not in metadata or file.checksum is None:
            raise DamagedFileError(
                f"{path} does not say what it describes, so it is damaged or another file; {ADVICE}."
            )
        record = RECORD.parse(metadata[METADATA_KEY], path)
        frame = file.read_frame()
        if record["format_version"] != FORMAT_VERSION:
            raise TableError(
                f"{path} has format {record['format_version']} and this version reads {FORMAT_VERSION}; {ADVICE}."
            )
        complete = all(rank in frame and f"{rank}_purity" in frame for rank in record["ranks"])
        if not complete or not np.array_equal(frame["cluster"].to_numpy(), np.arange(record["n_clusters"])):
            raise DamagedFileError(f"{path} lacks clusters or ranks that its record names; {ADVICE}.")
        return cls(frame, record)

    def _name(self, row: Mapping[Hashable, Any]) -> str:
        if row["n_reads"] < MIN_READS:
            return "too few reads of the reference"
        named = [rank for rank in self.ranks if row[rank]]
        if not named:
            return "no named taxon"
        for rank in named:
            if row[f"{rank}_purity"] >= MIN_PURITY:
                return f"{row[rank]}, {100 * row[f'{rank}_purity']:.0f} % of reads"
        return f"mixed, {100 * row[f'{named[-1]}_purity']:.0f} % {row[named[-1]]}"


def descriptions_of(model: MetagenBertModel) -> tuple[ClusterDescriptions | None, str | None]:
    """Return the descriptions that lie beside a loaded model, in its folder or Hub repository.

    Returns:
        The descriptions, or None; and what to say about a file that is there and describes other weights, or None.

    Raises:
        DamagedFileError: The file is damaged.
    """
    name, commit = model.name_or_path, getattr(model.config, "_commit_hash", None)
    path: Path | None = Path(resolve_checkpoint(name)) / NAME
    if commit is not None and not Path(name).is_dir():
        path = open_checkpoint(name, revision=commit).file(NAME)
    if not name or path is None or not path.is_file():
        return None, None
    descriptions = ClusterDescriptions.read(path)
    preprocessing = getattr(model.processor, "preprocessing", descriptions.record["contract"])
    if descriptions.agrees_with({"weights_sha256": model.weights_sha256, "contract": preprocessing}):
        return descriptions, None
    return None, (
        f"{NAME} of {public_name(name)} describes the clusters of other weights, or of another dtype or preprocessing "
        "config, so clusters are shown by their numbers; describe them with: biomeformer clusters describe"
    )


def find_descriptions(provenance: Mapping[str, Any], *folders: str | Path | None) -> ClusterDescriptions | None:
    """Find the descriptions of the clusters that numbers are of.

    Args:
        provenance: Of a table: `weights_sha256`, and `contract` if it is known.
        *folders: Where to look before the shipped checkpoints, such as the table's folder; None is left out.

    Returns:
        Descriptions of the same weights; None if there are none. Those of other weights are never returned.

    Raises:
        DamagedFileError: A file of descriptions is damaged.
    """
    if not provenance.get("weights_sha256"):
        return None
    given = [Path(folder) for folder in folders if folder is not None]
    for folder in (*given, *(FOLDER / name for name in shipped_checkpoints())):
        if (folder / NAME).is_file():
            descriptions = ClusterDescriptions.read(folder)
            if descriptions.agrees_with(provenance):
                return descriptions
    return None


__all__ = ["NAME", "ClusterDescriptions", "DescriptionRecord", "descriptions_of", "find_descriptions"]
