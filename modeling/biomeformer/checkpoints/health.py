"""Health of an installation: packages and extras, processor, shipped checkpoints, the Hub's cache."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

import torch
from huggingface_hub import scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from packaging.requirements import Requirement

from ..errors import BiomeformerError
from ..inference.environment import installed_version
from ..inference.faiss_build import faiss_state
from . import shipped_checkpoints
from .integrity import verify_files
from .source import open_checkpoint

PACKAGE = "biomeformer"
# Extras for those who use the package; `dev` is for those who change it.
DEVELOPMENT = "dev"
INSTRUCTIONS = {
    "avx2": "_is_avx2_supported",
    "avx512": "_is_avx512_supported",
    "avx512_bf16": "_is_avx512_bf16_supported",
    "vnni": "_is_vnni_supported",
    "amx": "_is_amx_tile_supported",
}
Status = Literal["ok", "missing", "problem"]


@dataclass(frozen=True)
class Finding:
    """The state of one thing.

    Attributes:
        area: What it belongs to: `package`, `extra`, `checkpoint` or `cache`.
        name: Its name.
        status: `ok`; `missing`, for what is not installed and not always needed; or `problem`.
        detail: Its state in words, and what to do if it is not `ok`.
    """

    area: str
    name: str
    status: Status
    detail: str


def check_installation() -> list[Finding]:
    """Check required packages, extras, shipped checkpoints and the Hub's cache. Nothing is downloaded."""
    return [*check_packages(), check_faiss(), *check_shipped_checkpoints(), *check_cache()]


def processor_instructions() -> dict[str, bool | None]:
    """Return which of the instructions that speed inference up the processor has; None where torch cannot tell."""
    supported = {name: getattr(torch.cpu, test, None) for name, test in INSTRUCTIONS.items()}
    return {name: None if test is None else bool(test()) for name, test in supported.items()}


def check_packages() -> list[Finding]:
    """Check the versions of required packages and of those of each extra.

    Raises:
        PackageNotFoundError: This package runs without being installed, so that its requirements are unknown.
    """
    requirements = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    extras = [name for name in metadata.metadata(PACKAGE).get_all("Provides-Extra") or () if name != DEVELOPMENT]
    findings = []
    required = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [problem for problem in map(_problem, required) if problem]
    findings.append(
        Finding("package", "requirements", "problem", f"{', '.join(wrong)}; reinstall: pip install --upgrade {PACKAGE}")
        if wrong
        else Finding("package", "requirements", "ok", f"{len(required)} packages")
    )
    for extra in extras:
        own = [one for one in requirements if one.marker and one.marker.evaluate({"extra": extra})]
        own = [one for one in own if one not in required]
        wrong = [problem for problem in map(_problem, own) if problem]
        installed = ", ".join(f"{one.name} {installed_version(one.name)}" for one in own)
        findings.append(
            Finding("extra", extra, "missing", f"{', '.join(wrong)}; to have it: pip install '{PACKAGE}[{extra}]'")
            if wrong
            else Finding("extra", extra, "ok", installed)
        )
    return findings


def check_faiss() -> Finding:
    """Check that one build of FAISS is installed and can be imported."""
    state = faiss_state()
    if state.state in ("cpu", "gpu"):
        return Finding("package", "faiss", "ok", f"{state.version}, {state.state} build")
    reason = f"{state.error}; " if state.error else ""
    return Finding("package", "faiss", "missing" if state.state == "none" else "problem", f"{reason}{state.advice}")


def check_shipped_checkpoints() -> list[Finding]:
    """Verify the files of the checkpoints that ship in the package."""
    findings = []
    for name in shipped_checkpoints():
        try:
            verify_files(open_checkpoint(name))
        except BiomeformerError as error:
            findings.append(Finding("checkpoint", name, "problem", f"{error} Reinstall {PACKAGE}."))
        else:
            findings.append(Finding("checkpoint", name, "ok", "its files are as they were published"))
    return findings


def check_cache() -> list[Finding]:
    """Scan the Hub's cache for repositories that are damaged."""
    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return [Finding("cache", "Hugging Face Hub", "ok", "empty")]
    size = f"{len(cache.repos)} repositories, {cache.size_on_disk / 1e9:.2f} GB"
    if cache.warnings:
        reasons = "; ".join(" ".join(str(warning).split()) for warning in cache.warnings[:3])
        detail = (
            f"{len(cache.warnings)} damaged entries ({reasons}); delete their folders, and they are downloaded anew"
        )
        return [Finding("cache", "Hugging Face Hub", "problem", f"{size}; {detail}")]
    return [Finding("cache", "Hugging Face Hub", "ok", size)]


def _problem(requirement: Requirement) -> str | None:
    """Return what is wrong with a required package, or None."""
    version = installed_version(requirement.name)
    if version is None:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, needed is {requirement.specifier}"
    return None


def as_record(findings: list[Finding]) -> dict[str, Any]:
    """Return findings as values that JSON can hold, by area and name."""
    record: dict[str, dict[str, Any]] = {}
    for one in findings:
        record.setdefault(one.area, {})[one.name] = {"status": one.status, "detail": one.detail}
    return record


__all__ = ["Finding", "as_record", "check_installation", "processor_instructions"]
