"""Measure each stage from reads to cluster counts and from proteins to vectors, relative to the machine's peak.

One run measures one shape on one device:

* the matrix peak of the machine by precision, and the instructions for bfloat16 it has;
* reads per second of each stage alone (parse, tokenise, batch and copy, encode, assign) and end to end, from FASTQ.gz
  to counts; the share of the matrix peak; peak memory; the first small sample separately, as warm-up;
* reads whose nearest centroid differs from float32;
* with --reference and --reference-model the published scripts on the same weights and reads, in turn with ours;
* with --flatness samples of growing size, for memory and throughput.

Reads are random and new in every round, since a tokenizer remembers reads. Stages are the best of the rounds. The JSON
goes to results/speed.SHAPE.DEVICE.json; --write-docs makes docs/performance.md of all of them.

    python benchmarks/speed.py --shape metagenbert-mini
    python benchmarks/speed.py --shape dnabert2 --device cuda --reads 200000
    python benchmarks/speed.py --write-docs
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from hardware import describe, stolen_time
from rich.console import Console
from rich.table import Table
from speed_docs import write_docs
from speed_proteins import measure_proteins
from speed_reads import build, flatness, made, measure_reads, warm_up
from speed_reference import Reference, compare
from speed_settings import HOST_READS, Settings
from speed_shapes import PROTEIN_SHAPES, READ_SHAPES, SHAPES

from biomeformer.checkpoints.loading import resolve_device

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs" / "performance.md"


def measure(settings: Settings) -> dict[str, Any]:
    """All of a shape's figures but the comparison with the published scripts and the growing samples.

    Args:
        settings: What and how.

    Returns:
        What the JSON holds; see `measure_reads` and `measure_proteins`.
    """
    torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    result = {"shape": settings.shape, "settings": settings.as_json(), **describe(device, settings.threads)}
    with stolen_time(result):
        result |= (measure_proteins if settings.shape in PROTEIN_SHAPES else measure_reads)(settings)
    return result


def against_reference(settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """The published scripts beside ours; see `speed_reference.compare`."""
    model = build(settings)
    assert model.processor is not None and settings.max_length is not None
    batch = args.reference_batch or (64 if settings.device == "cpu" else 2048)
    reference = Reference(
        args.reference, args.reference_model, model.encoder, model.processor.tokenizer, settings.max_length, batch
    )
    models = {dtype: made(model, dtype, settings)[0] for dtype in settings.dtypes}
    with tempfile.TemporaryDirectory() as name:
        for other in models.values():
            warm_up(other, settings, Path(name))
        return compare(
            reference,
            models,
            n_reads=args.reference_reads or settings.n_reads,
            lengths=settings.lengths,
            rounds=settings.rounds,
            folder=Path(name),
        )


def report(result: dict[str, Any]) -> None:
    """Print a result."""
    console = Console()
    thing = "proteins" if result["kind"] == "proteins" else "reads"
    for dtype, timings in result["dtypes"].items():
        peak = result["matrix_peak"][dtype]["tflops"]
        title = f"{result['shape']}, {dtype}, {result['device']}, {result['threads']} threads; peak {peak} TFLOP/s"
        table = Table("stage", f"{thing}/s", "tokens/s", "share", title=title)
        for stage, rates in timings["stages"].items():
            each = f"{rates['reads_per_second']:,.4g}", f"{rates['tokens_per_second']:,.4g}"
            table.add_row(stage.replace("_", " "), *each, f"{rates['share']:.1%}")
        whole = timings["end_to_end"]
        table.add_row("end to end", f"{whole['reads_per_second']:,.4g}", f"{whole['tokens_per_second']:,.4g}", "")
        console.print(table)
        console.print({k: v for k, v in timings.items() if k not in ("stages", "end_to_end")})
    for part in ("reference", "flatness"):
        if result.get(part):
            console.print({part: result[part]})


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="metagenbert-mini", choices=SHAPES)
    parser.add_argument("--model", help="a checkpoint's name or folder, instead of a shape")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="precisions, by commas; float8 is one on a GPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reads", type=int, default=0, help="reads (proteins) of a round; 0: some seconds' worth")
    parser.add_argument("--host-reads", type=int, default=HOST_READS, help="least reads to parse and tokenise")
    parser.add_argument("--lengths", default="150", help="bases of a read; several by commas")
    parser.add_argument("--clusters", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--compile", action="store_true", help="compile the read encoder first")
    parser.add_argument(
        "--tokenizer", type=Path, help="tokenizer.json of DNABERT-2, instead of one learnt on random DNA"
    )
    parser.add_argument("--reference", type=Path, help="folder of the published embed_assign.py")
    parser.add_argument("--reference-model", type=Path, help="folder of the published bert_layers.py")
    parser.add_argument("--reference-max-length", type=int, default=60, help="tokens that they pad every read to")
    parser.add_argument("--reference-batch", type=int, help="reads a batch of theirs: 64 on a CPU, 2048 on a GPU")
    parser.add_argument("--reference-reads", type=int, help="reads of a paired round; as --reads by default")
    parser.add_argument(
        "--flatness", type=int, nargs="+", default=[], metavar="READS", help="sizes of samples to grow by"
    )
    parser.add_argument("--output", type=Path, help="default results/speed.SHAPE.DEVICE.json")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md and measure nothing")
    args = parser.parse_args(arguments)
    if (args.reference is None) != (args.reference_model is None):
        parser.error("--reference and --reference-model go together")
    if args.reference is not None and (args.model or args.shape not in READ_SHAPES):
        parser.error(f"the published scripts are compared with --shape {' or '.join(READ_SHAPES)}")
    if args.flatness and args.shape in PROTEIN_SHAPES and not args.model:
        parser.error("--flatness is of reads")
    return args


def main(arguments: list[str] | None = None) -> dict[str, Any] | None:
    """Measure, print, write; returns the result."""
    args = parse_arguments(arguments)
    if args.write_docs:
        write_docs(RESULTS, DOCS)
        return None
    # Before the first tokenizer starts its threads.
    os.environ.setdefault("RAYON_NUM_THREADS", str(args.threads))
    settings = Settings(
        shape=args.model or args.shape,
        device=args.device,
        dtypes=args.dtypes.split(","),
        threads=args.threads,
        reads=args.reads,
        host_reads=args.host_reads,
        lengths=[int(length) for length in args.lengths.split(",")],
        clusters=args.clusters,
        rounds=args.rounds,
        batch_tokens=args.batch_tokens,
        max_length=args.reference_max_length if args.reference is not None else None,
        tokenizer=args.tokenizer,
        compile=args.compile,
    )
    torch.set_num_threads(settings.threads)
    # First, while the process holds nothing else.
    grown = flatness(settings, args.flatness) if args.flatness else None
    result = measure(settings)
    result["reference"] = against_reference(settings, args) if args.reference is not None else None
    result["flatness"] = grown
    report(result)
    way = "compiled." if args.compile else ""
    name = f"speed.{Path(settings.shape).name}.{way}{torch.device(args.device).type}.json"
    output = args.output or RESULTS / name
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Written to {output}")
    return result


if __name__ == "__main__":
    main()
