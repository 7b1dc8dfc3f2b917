"""A folder with the page of `biomeformer app`, checked before it becomes a Hugging Face Space."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from .contents import Contents, check_disclosures
from .manifest import CardEntry
from .privacy import holds_sequences

README, REQUIREMENTS = "README.md", "requirements.txt"
SDK = "gradio"
# The Hub refuses a Space without these.
FIELDS = ("title", "sdk", "sdk_version", "app_file", "license")
# The folder that comes with the package.
SHIPPED = Path(__file__).resolve().parents[1] / "app" / "space"
_FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
_PINNED = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[A-Za-z0-9_,-]+\])?(==(?P<version>\S+)| @ https://\S+)")


def space_contents(repo_id: str, folder: Path = SHIPPED) -> Contents:
    """Check that a folder may become a Space, and return what to publish.

    It holds README.md, whose front matter is the manifest, the app file that this names, and requirements.txt, with an
    exact version of each package; nothing else.

    Args:
        repo_id: `NAMESPACE/NAME`.
        folder: By default the one that comes with the package.

    Raises:
        InputError: A file is missing, is not one of these, discloses something, or holds sequences; or a version is not
            exact.
    """
    front_matter = _front_matter(folder / README)
    app_file = str(front_matter["app_file"])
    named = {README, REQUIREMENTS, app_file}
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        name = path.relative_to(folder).as_posix()
        if name not in named or path.is_symlink():
            raise InputError(f"{path} is no file of the Space ({', '.join(sorted(named))}); move it elsewhere.")
        reason = holds_sequences(path)
        if reason is not None:
            raise InputError(f"{path} seems to hold reads or sequences ({reason}), which are never published; move it.")
        files[name] = path
    for name in sorted(named - set(files)):
        raise InputError(f"{folder} has no {name}, which a Space needs; copy the folder {SHIPPED} to start from.")
    try:
        ast.parse(files[app_file].read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{files[app_file]} is no Python: {error}; correct it.") from error
    _check_requirements(files[REQUIREMENTS], str(front_matter["sdk_version"]))
    texts = {"title": str(front_matter["title"])}
    entry = CardEntry(folder.name, files[README], repo_id, "Space", str(front_matter["license"]), (), texts)
    check_disclosures(files, entry)
    return Contents(folder, entry, "space", files)


def _front_matter(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing; copy the folder {SHIPPED} to start from.")
    match = _FRONT_MATTER.match(path.read_text(encoding="utf-8"))
    try:
        values = yaml.safe_load(match[1]) if match is not None else None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: its front matter is no YAML ({reason}); correct it.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} does not begin with front matter between lines of ---, which the Hub reads; add it.")
    missing = [name for name in FIELDS if not values.get(name)]
    if missing:
        raise InputError(f"{path}: its front matter has no {', '.join(missing)}; add it.")
    if values["sdk"] != SDK:
        raise InputError(f"{path}: the page is made with {SDK}, and sdk is {values['sdk']!r}; correct it.")
    return values


def _check_requirements(path: Path, sdk_version: str) -> None:
    versions = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text or text.startswith("--"):
            continue
        match = _PINNED.fullmatch(text)
        if match is None:
            raise InputError(f"{path}: {text!r} is not an exact version; write it as NAME==VERSION.")
        versions[match["name"].lower()] = match["version"]
    if versions.get(SDK) != sdk_version:
        raise InputError(
            f"{path}: {SDK} is {versions.get(SDK)}, and {README} says sdk_version: {sdk_version}; make them equal."
        )
    if "biomeformer" not in versions:
        raise InputError(f"{path} does not install biomeformer; add biomeformer[app,cpu]==VERSION.")


__all__ = ["SHIPPED", "space_contents"]
