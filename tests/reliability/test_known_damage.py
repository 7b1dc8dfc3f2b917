"""Damage that once went unnoticed, or ended in an error without a sentence of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from biomeformer.errors import InputError
from biomeformer.training.config import read_yaml

from .inputs import inputs

FORMATS = {each.name: each for each in inputs()}


def replaced(old: str, new: str, count: int = 1) -> Callable[[str], str]:
    """Return a change that replaces text, which must be there."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, count)

    return change


def with_lines_exchanged(first: str, second: str) -> Callable[[str], str]:
    """Return a change that exchanges the first lines that begin with two texts."""

    def change(text: str) -> str:
        lines = text.splitlines(keepends=True)
        a, b = (next(i for i, line in enumerate(lines) if line.startswith(start)) for start in (first, second))
        lines[a], lines[b] = lines[b], lines[a]
        return "".join(lines)

    return change


def with_line_twice(start: str) -> Callable[[str], str]:
    """Return a change that repeats the first line that contains a text."""
    return lambda text: text.replace(line := next(each for each in text.splitlines(True) if start in each), line * 2, 1)


KNOWN = [
    ("cohort sheet", replaced("a.fastq", "a" * 5_000), "there is no file"),
    ("genome catalog", replaced("a.fastq", "a" * 5_000), "there is no file"),
    ("FASTA, reads", replaced(">r1 x", ">r1 \0x"), "the byte 0x00 is no text"),
    ("labelled FASTA", replaced(">r1 x", ">r\x01 x"), "the byte 0x01 is no text"),
    ("FASTA, proteins", replaced("MEF", "M\0F"), "a NUL byte"),
    ("GenBank", with_lines_exchanged("       61 ", "      121 "), "where the line of base 61 belongs"),
    ("GenBank", replaced(f'{" " * 21}/locus_tag="c1_1"', f'#{" " * 20}/locus_tag="c1_1"'), "neither a feature nor"),
    ("GenBank", replaced('"c1_1"\n', '"c1_1"'), "locus_tag holds a quote"),
    (
        "GenBank",
        lambda text: text.replace(text[(i := text.index('/translation="') + 14) : text.index('"', i)], "", 1),
        "empty",
    ),
    ("GFF3", with_line_twice("ID=cds1;"), "line 4 stands there again"),
    ("narrowPeak", lambda text: text.rstrip("\n").rpartition("\t")[0], "9 columns, while other lines are narrowPeak"),
    ("BED", replaced("\t100\t", f"\t{'1' * 5_000}\t"), "is no position"),
    ("BED", replaced("\t100\t", "\t\u0661\u0662\t"), "is no position"),
    (
        "feature table, CSV",
        lambda text: "\n".join(f"{line.partition(',')[0]},{line}" for line in text.split()),
        "two columns",
    ),
    ("species table, MetaPhlAn", lambda text: "\n".join(text.split("\n")[2:]), "names of the samples belong"),
    ("species table, MetaPhlAn", replaced("|g__A", "|" * 300 + "g__A", -1), "lineages have at most 200"),
    ("species table, BIOM 1", replaced("   0,\n   5", "   0,\n   0,\n   5"), "which is not row, column and value"),
    ("config of finetune_phenotype", lambda text: "\n", "holds no fields"),
    ("config of finetune_phenotype", lambda text: text + text.splitlines(True)[0], "stands twice"),
    ("checkpoint, config", replaced('"n_clusters": 7', '"n_clusters": NaN'), "NaN is not JSON"),
    ("checkpoint, config", replaced('"n_clusters": 7', '"n_clusters": 7, "n_clusters": 8'), "stands twice"),
    ("checkpoint, processor config", replaced('"min_read_length": 20', '"min_read_length": 20.5'), "a whole number"),
    ("checkpoint, tokenizer", replaced('"[UNK]": 0,', '"[UNK]": -1,'), "tokenizer"),
]


@pytest.mark.parametrize(("name", "change", "problem"), KNOWN, ids=[f"{name}: {problem}" for name, _, problem in KNOWN])
def test_known_damage_is_refused_with_its_reason(tmp_path, name, change, problem):
    each = FORMATS[name]
    each.make(tmp_path)
    each.outcome(tmp_path)
    path = each.path(tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError) as raised:
        each.outcome(tmp_path)
    assert problem in str(raised.value) and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["a: " + "9" * 5_000, "a: " + "[" * 50_000, "a: 1\nb: {c: 1, c: 2}"])
def test_a_config_that_yaml_reads_wrongly_or_not_at_all_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml cannot be read"):
        read_yaml(tmp_path / "config.yaml")


def test_a_byte_that_is_not_ascii_stays_in_a_name(tmp_path):
    each = FORMATS["labelled FASTA"]
    each.make(tmp_path)
    path: Path = each.path(tmp_path)
    path.write_bytes(path.read_bytes().replace(b">r1 ", b">r\xe9 ").replace(b">r2 ", b">r\xe8 "))
    names = [name for name, _, _ in each.outcome(tmp_path)]
    assert len(set(names)) == len(names) and names[1:3] == [r"r\xe9", r"r\xe8"]
