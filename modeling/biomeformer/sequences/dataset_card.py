"""The dataset card of labelled sequences, including the YAML header that `datasets` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import yaml

from ..io.markdown import grid
from ..sinks import markdown, markdown_code
from .labels import NO_LABEL

REASONS = {
    "empty": "without a base",
    "too_short": "shorter than `min_length`",
    "too_many_n": "with a fraction of N above `max_n`",
    "no_label": "without a label",
    "other_contig": "on contigs other than numbered chromosomes, X, Y, Z, W and M",
    "past_contig_end": "windows across the end of a contig",
    "contig_shorter_than_window": "windows longer than their contig",
    "conflict": "identical sequences with different labels (all copies)",
    "duplicate": "further copies of identical sequences",
    "not_drawn": "not sampled, to balance the classes",
}
# With more classes a table of them is too wide to read.
N_SHOWN = 12
KINDS = {"classification": "its class", "multi_label": "1 for each of its classes, else 0", "regression": "its value"}


def feature_list(task: str, names: list[str]) -> list[dict[str, Any]]:
    """Return the features of the dataset in the form of a card's `dataset_info`."""
    if task == "classification":
        label: dict[str, Any] = {"dtype": {"class_label": {"names": {str(i): name for i, name in enumerate(names)}}}}
    else:
        label = {"list": "float32"} if task == "multi_label" else {"dtype": "float64"}
    text = [{"name": name, "dtype": "string"} for name in ("id", "sequence")]
    return [*text, {"name": label_column(task), **label}, {"name": "source", "dtype": "string"}]


def label_column(task: str) -> str:
    """Return the name of the label column for a task."""
    return "labels" if task == "multi_label" else "label"


def dataset_card(record: Mapping[str, Any], n_bytes: Mapping[str, int]) -> str:
    """Write the dataset card.

    Args:
        record: Content of `prepare.json`.
        n_bytes: Bytes of each split in memory.

    Returns:
        Markdown with a YAML header.
    """
    task, names, splits = record["task"], record["label_names"], record["splits"]
    front = {
        "license": "other",
        "task_categories": ["text-classification"],
        "tags": ["dna", "genomics", "biomeformer"],
        "dataset_info": {
            "features": feature_list(task, names),
            "splits": [
                {"name": name, "num_bytes": n_bytes[name], "num_examples": split["n_sequences"]}
                for name, split in splits.items()
            ],
            "dataset_size": sum(n_bytes.values()),
        },
    }
    settings, stats = record["settings"], record["tallies"]
    header, *rows = split_table(
        names,
        {name: split["n_sequences"] for name, split in splits.items()},
        {name: split["class_counts"] for name, split in splits.items()},
    )
    words = ", ".join(f"{markdown(word)} {n:,}" for word, n in stats.get("missing_words", {}).items())
    dropped = [
        [REASONS[reason] + (f" ({words})" if words and reason == NO_LABEL else ""), f"{n:,}"]
        for reason, n in stats["dropped"].items()
    ]
    named = f" The classes are, in order: {', '.join(map(markdown, names))}." if task == "multi_label" else ""
    columns = (
        f"One row per sequence: `id`, `sequence` in upper case, `{label_column(task)}` ({KINDS[task]}) and "
        "`source`, its origin: file and record, or contig, start and end (0-based, half-open) and strand."
        f"{named}"
    )
    made = (
        f"Made by `biomeformer sequences prepare`, version {record['biomeformer']}, from {_inputs(record)}. "
        f"{_describe_split(settings)} {_describe_duplicates(settings)} Of {stats['n_read']:,} records read, "
        f"{stats['n_kept']:,} were kept."
    )
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()}
---

# {stats["n_kept"]:,} labelled DNA sequences

{_paragraph(columns)}

{grid([*map(markdown, header)], rows)}

## How it was made

{_paragraph(made)}

{grid(["dropped", "records"], dropped) if dropped else "No records were dropped."}

`prepare.json` holds all settings and counts; `conflicts.tsv` lists the first identical sequences with different labels.
{_describe_tokens(record["token_lengths"])}
## Licence

State the licence and origin of the sequences here; `other` above is a placeholder.

## Use

```python
from datasets import load_dataset

dataset = load_dataset("path/to/this/folder")
```
"""


def split_table(
    names: Sequence[str], n_sequences: Mapping[str, int], class_counts: Mapping[str, Mapping[str, int]]
) -> list[list[str]]:
    """Return header and rows of a table: sequences per split, and per class unless there are more than 12 classes."""
    shown = names if len(names) <= N_SHOWN else []
    rows = [
        [split, f"{n:,}", *(f"{class_counts[split][name]:,}" for name in shown)] for split, n in n_sequences.items()
    ]
    return [["split", "sequences", *shown], *rows]


def _inputs(record: Mapping[str, Any]) -> str:
    files = ", ".join(markdown_code(entry["file"]) for entry in record["inputs"])
    return f"{files} and the reference {markdown_code(record['genome'])}" if record["genome"] else files


def _describe_split(settings: Mapping[str, Any]) -> str:
    group = markdown_code(settings["group_column"])
    sentences = {
        "random": "Split at random, stratified by class.",
        "chromosome": "Split by contig: all sequences of a contig are in one split.",
        "cluster": "Split so that near-duplicates (estimated Jaccard index of canonical 12-mers of "
        f"{settings['similarity']:g} or more) are in one split.",
        "group": f"Split so that all sequences of a group (column {group}) are in one split.",
    }
    if settings["validation_contigs"] or settings["test_contigs"]:
        return sentences["chromosome"]
    shares = "/".join(f"{share:g}" for share in settings["shares"])
    return f"{sentences[settings['split']]} Requested fractions: {shares}; seed {settings['seed']}."


def _describe_duplicates(settings: Mapping[str, Any]) -> str:
    equal = "A sequence and its reverse complement count as identical; " if settings["reverse_complement"] else ""
    return f"{equal}{'of' if equal else 'Of'} identical sequences the first was kept."


def _describe_tokens(lengths: Mapping[str, Any] | None) -> str:
    if lengths is None:
        return ""
    median, longest = lengths["quantiles"]["0.5"], lengths["quantiles"]["1"]
    words = (
        f"Tokens per sequence with the tokenizer of {markdown_code(lengths['read_encoder'])}, in a sample of "
        f"{lengths['n_sampled']:,} sequences: median {median:,}, longest {longest:,}. A context of "
        f"{lengths['proposed_context']:,} tokens is the smallest multiple of 8 that holds 99 % of them untruncated."
    )
    return f"\n## Tokens\n\n{_paragraph(words)}\n"


def _paragraph(words: str) -> str:
    return fill(words, 120, break_long_words=False, break_on_hyphens=False)


__all__ = ["dataset_card", "feature_list", "label_column", "split_table"]
