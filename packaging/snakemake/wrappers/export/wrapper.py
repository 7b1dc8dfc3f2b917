"""Run `biomeformer export`; the folder is that of the first output."""

from pathlib import Path

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
source = str(Path(snakemake.input.table).parent)
folder = str(Path(snakemake.output[0]).parent)

shell(
    "biomeformer export {source:q} --format {snakemake.params.format:q} --output {folder:q} --overwrite {extra} {log}"
)
