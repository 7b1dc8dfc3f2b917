"""Run `biomeformer phenotype evaluate`; the folder of the study is that of the first output."""

from pathlib import Path

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
table = snakemake.input.table
# The folder of a run has its metadata and the descriptions of its clusters too.
source = str(Path(table).parent) if Path(table).name == "abundance.parquet" else table
folder = str(Path(snakemake.output[0]).parent)
options = []
if metadata := snakemake.input.get("metadata"):
    options += ["--metadata", metadata]
if species := snakemake.input.get("species"):
    options += ["--species", species]

shell(
    "biomeformer phenotype evaluate {source:q} --target {snakemake.params.target:q} {options:q} --output {folder:q}"
    " --overwrite --threads {snakemake.threads} {extra} {log}"
)
