"""Run `biomeformer genome predict`."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
device = snakemake.params.get("device", "auto")
model = snakemake.input.get("model") or snakemake.params.get("model", "genome-transformer-mini")

shell(
    "biomeformer genome predict {snakemake.input.genomes:q} --model {model:q} --output {snakemake.output.predictions:q}"
    " --device {device:q} --threads {snakemake.threads} {extra} {log}"
)
