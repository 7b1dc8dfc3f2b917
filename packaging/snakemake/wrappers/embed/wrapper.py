"""Run `biomeformer embed`; the folder of the run is that of the table."""

from pathlib import Path

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
device = snakemake.params.get("device", "auto")
model = snakemake.input.get("model") or snakemake.params.model
folder = str(Path(snakemake.output.table).parent)

shell(
    "biomeformer embed {snakemake.input.cohort:q} --model {model:q} --output {folder:q} --device {device:q}"
    " --threads {snakemake.threads} {extra} {log}"
)
