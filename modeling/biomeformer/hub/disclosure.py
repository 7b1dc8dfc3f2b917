"""Find what a file discloses by accident: tokens, e-mail addresses, and paths and user names of this machine."""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

TOKEN, EMAIL, PATH, USER = "a token or password", "an e-mail address", "a path of a machine", "a user name"
TOKENS = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
    r"|\bglpat-[\w-]{16,}|\bpypi-[\w-]{16,}|\bsk-[\w-]{20,}|\bxox[abeprs]-[\w-]{10,}|\bAIza[\w-]{35}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@"
)
# A secret without a form of its own is known by the name before it.
SECRET_NAME = re.compile(
    r"(?:api|access|secret|private)_?-?key|secret|passw(?:or)?d|(?:access|auth|api|bearer)_?-?token", re.I
)
NAMED_SECRET = re.compile(rf"(?:{SECRET_NAME.pattern})[\"']?\s*[=:]\s*[\"']?(?=[\w/+.-]*\d)([\w/+.-]{{12,}})", re.I)
SECRET_VALUE = re.compile(r"(?=\S*\d)\S{12,}")
EMAILS = re.compile(
    r"(?<![\w.+%-])[\w.+%-]+@(?!example\.(?:com|org|net)\b)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b"
)
WINDOWS_PATHS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:[\\/](?!/)[^\s\"'<>|]+|\\\\[\w.-]+\\[\w$.-]+[^\s\"'<>|]*")
HOME_PATHS = re.compile(r"(?<![\w~.])~[\w.-]*[/\\][\w.][^\s\"'<>|]*")
POSIX_PATHS = re.compile(r"(?:file://|(?<![\w.:/~<>\\%*-]))/[\w.+@%~=-]+(?:/[\w.+@%~=-]*)*")
# Folders at the top of file systems; of others, a text with one slash may be anything, such as a unit.
ROOTS = frozenset(
    "Users Volumes bin cluster content data etc export fs gpfs group groups home kaggle lustre media mnt net nfs opt "
    "private proj project projects root run scratch srv storage tmp usr var vol work workspace".split()
)
# Users whose name is no person's, or is a word.
COMMON_USERS = frozenset(
    "admin administrator app build ci data default dev docker guest home jovyan nobody node python research root "
    "runner service student test ubuntu user users work worker".split()
)
# Parts of a tokenizer that hold pieces of words or sequences.
VOCABULARY = frozenset({"model.vocab", "model.merges"})
ROWS_PER_BATCH = 65_536
TEXT_ENDINGS = frozenset(
    {".csv", ".tsv", ".md", ".py", ".yaml", ".yml", ".toml", ".txt", ".html", ".jsonl", ".cfg", ".ini", ""}
)


@dataclass(frozen=True)
class Disclosure:
    """A value that should not become public.

    Attributes:
        field: Where it stands: a field of JSON, a column, or a line.
        kind: `TOKEN`, `EMAIL`, `PATH` or `USER`.
        value: The value; of a token the first characters alone.
    """

    field: str
    kind: str
    value: str


def disclosures(path: Path, allowed: Collection[str] = ()) -> Iterator[Disclosure]:
    """Yield what a file discloses.

    JSON is searched by field, tables by column, and weights in the texts of their header; other text by line. Pieces of
    words in a tokenizer are left out.

    Args:
        path: The file.
        allowed: Values that are public on purpose. Tokens are reported nevertheless.
    """
    for field, text in _texts(path):
        yield from _in_text(field, text, allowed)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield field and text of everything in a file that may hold a name."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        try:
            yield from _json_texts(json.loads(path.read_text(encoding="utf-8")), "")
            return
        except (ValueError, RecursionError):
            pass
    elif suffix == ".parquet":
        yield from _parquet_texts(path)
        return
    elif suffix == ".safetensors":
        try:
            with safe_open(path, "np") as weights:
                yield from _json_texts(weights.metadata() or {}, "header")
        except (SafetensorError, OSError):
            pass
        return
    elif suffix not in TEXT_ENDINGS:
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            yield f"line {number}", line.rstrip("\n")


def _json_texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if field in VOCABULARY:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            where = f"{field}.{key}" if field else str(key)
            yield f"a name in {field or 'the file'}", str(key)
            yield from _json_texts(item, where)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _json_texts(item, f"{field}[{i}]")
    elif isinstance(value, str):
        yield field, value


def _parquet_texts(path: Path) -> Iterator[tuple[str, str]]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        for key, value in (schema.metadata or {}).items():
            text = value.decode("utf-8", "replace")
            try:
                yield from _json_texts(json.loads(text), f"metadata {key.decode('utf-8', 'replace')}")
            except (ValueError, RecursionError):
                yield f"metadata {key.decode('utf-8', 'replace')}", text
        yield from (("a column's name", name) for name in schema.names)
        names = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        seen: set[tuple[str, str]] = set()
        for batch in file.iter_batches(ROWS_PER_BATCH, columns=names) if names else ():
            for name in names:
                new = {(name, text) for text in batch[name].unique().to_pylist() if text} - seen
                seen |= new
                yield from ((f"column {name}", text) for _, text in sorted(new))


def _in_text(field: str, text: str, allowed: Collection[str]) -> Iterator[Disclosure]:
    for match in TOKENS.finditer(text):
        yield Disclosure(field, TOKEN, f"{match[0][:4]}…")
    name = field.rpartition(".")[2]
    named = SECRET_NAME.search(name) is not None and SECRET_VALUE.fullmatch(text) is not None
    if named or NAMED_SECRET.search(text):
        yield Disclosure(field, TOKEN, f"{text[:2]}…" if named else "by its name")
    for value in sorted(allowed, key=len, reverse=True):
        # As a whole: an account called `lab` does not allow addresses of `lab.org`.
        text = re.sub(rf"(?<![\w@./-]){re.escape(value)}(?![\w@/-]|\.\w)", " ", text)
    found = [Disclosure(field, EMAIL, match[0]) for match in EMAILS.finditer(text)]
    paths = [*WINDOWS_PATHS.findall(text), *HOME_PATHS.findall(text), *_posix_paths(text)]
    found += [Disclosure(field, PATH, value) for value in paths]
    yield from found
    if not found:
        yield from (Disclosure(field, USER, user) for user in user_names() if _names_user(text, user))


def _posix_paths(text: str) -> Iterator[str]:
    for match in POSIX_PATHS.finditer(text):
        path = match[0].removeprefix("file://")
        parts = [part for part in path.split("/") if part]
        is_whole = match[0] == text.strip()
        if parts and (parts[0] in ROOTS or (is_whole and len(parts) > 1) or (is_whole and Path(path).exists())):
            yield path


def _names_user(text: str, user: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(user)}(?![A-Za-z0-9])", text) is not None


@cache
def user_names() -> tuple[str, ...]:
    """Return the names of the user of this machine that are a person's: of the login and of the home folder."""
    names = {Path.home().name, os.environ.get("SUDO_USER", "")}
    try:
        names.add(getpass.getuser())
    except (KeyError, OSError):
        # There is no such user, as in some containers.
        pass
    return tuple(sorted(name for name in names if len(name) > 2 and name.lower() not in COMMON_USERS))


__all__ = ["EMAIL", "PATH", "TOKEN", "USER", "Disclosure", "disclosures", "user_names"]
