"""Hooks of MkDocs: pages from elsewhere in the repository, links out of `docs/`, `llms.txt`, list of external links."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).resolve().parent))
from api import api_pages
from commands import command_pages

ROOT = Path(__file__).resolve().parents[2]
# Executed and converted by notebooks.py.
NOTEBOOKS = ROOT / "build" / "notebooks"
# Pages whose text lies elsewhere in the repository.
INCLUDED = {
    "recipes.md": "recipes/README.md",
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
SOURCES = {source: page for page, source in INCLUDED.items()}
LINK = re.compile(r"(?<!!)(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
log = logging.getLogger("mkdocs.hooks")
summaries: dict[str, str] = {}
external: dict[str, set[str]] = {}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are generated, executed or included."""
    for name, source in INCLUDED.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for folder, pages in (("commands", command_pages()), ("api", api_pages())):
        for name, text in pages.items():
            files.append(File.generated(config, f"{folder}/{name}", content=text))
    for path in sorted(NOTEBOOKS.glob("*")):
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
    if not any(NOTEBOOKS.glob("*.md")):
        log.warning("no notebooks in %s; run `make notebooks` first", NOTEBOOKS)
    config.nav = _expand(config.nav, files)
    unlisted = [file.src_uri for file in files.documentation_pages() if file.src_uri not in _pages(config.nav)]
    if unlisted:
        config.nav.append({"More": unlisted})
    return files


def _expand(nav: Any, files: Files) -> Any:
    """Replace each entry of the navigation that is a folder by its pages, the index first."""
    if isinstance(nav, list):
        return [_expand(entry, files) for entry in nav]
    if isinstance(nav, dict):
        return {title: _expand(entry, files) for title, entry in nav.items()}
    if isinstance(nav, str) and nav.endswith("/"):
        pages = [file.src_uri for file in files.documentation_pages() if file.src_uri.startswith(nav)]
        return sorted(pages, key=lambda name: (not name.endswith("index.md"), pages.index(name)))
    return nav


def _pages(nav: Any) -> set[str]:
    """Return the names of the pages of a navigation."""
    if isinstance(nav, str):
        return {nav}
    return set().union(*map(_pages, nav.values() if isinstance(nav, dict) else nav))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links that leave `docs/` at the page that includes their file, or at the repository."""
    name = page.file.src_uri
    source = PurePosixPath(INCLUDED.get(name, f"docs/{name}"))
    summaries[name] = _summary(markdown)

    def resolve(found: re.Match[str]) -> str:
        target, anchor = found[2], found[3] or ""
        path = os.path.normpath(source.parent / target)
        if path.startswith("docs/") and name not in INCLUDED:
            return found[0]
        if path in SOURCES or path.startswith("docs/"):
            there = SOURCES.get(path, path.removeprefix("docs/"))
            return f"{found[1]}{os.path.relpath(there, PurePosixPath(name).parent)}{anchor}{found[4]}"
        if not (ROOT / path).exists():
            log.warning("%s links to %s, which does not exist", source, path)
        return f"{found[1]}https://github.com/{config.extra['repository']}/blob/main/{path}{anchor}{found[4]}"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(resolve, part) for part in parts)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Note the external links of a page."""
    for address in re.findall(r'href="(https?://[^"]+)"', html):
        external.setdefault(address, set()).add(page.file.src_uri)
    return html


def on_post_build(config: Any) -> None:
    """Write `llms.txt` (https://llmstxt.org) and `external-links.txt`, which nothing fetches."""
    site = Path(config.site_dir)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    lines += _index(config.nav)
    (site / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    listed = [f"{address}\t{', '.join(sorted(pages))}" for address, pages in sorted(external.items())]
    (site / "external-links.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")


def _index(nav: Any, depth: int = 2) -> list[str]:
    lines: list[str] = []
    for entry in nav if isinstance(nav, list) else [nav]:
        if isinstance(entry, dict):
            for title, part in entry.items():
                lines += ["", f"{'#' * depth} {title}", "", *_index(part, depth + 1)]
        else:
            title, text = summaries[entry].split("\n", 1)
            lines.append(f"- [{title}]({entry.removesuffix('.md')}.html): {text}")
    return lines


def _summary(markdown: str) -> str:
    """Return a page's title and, on the next line, the first sentence of its first paragraph."""
    text = re.sub(r"^(```|~~~).*?^\1$|^---\n.*?\n---\n|<[^>]+>", "", markdown, flags=re.MULTILINE | re.DOTALL)
    heading = re.search(r"^# (.+)", text, re.MULTILINE)
    title = heading[1].strip() if heading else ""
    text = re.sub(r"^#+ .*", "\n", text, flags=re.MULTILINE)
    blocks = [" ".join(block.split()) for block in re.split(r"\n\s*\n", text) if block.strip()]
    prose = next((block for block in blocks if block[0] not in "-|:!["), title)
    sentence = re.split(r"(?<=[.:?]) (?=[A-Z`])", re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", prose))[0]
    return f"{title}\n{sentence.strip().replace('**', '')}"
