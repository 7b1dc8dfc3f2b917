"""The Hub's check of a card's metadata, and what repository pages take from it."""

from __future__ import annotations

from typing import Any

import yaml

# The identifiers of https://huggingface.co/docs/hub/repositories-licenses that a card of this project could name.
LICENSES = frozenset(
    """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd
    bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0
    epl-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0
    odc-by odbl ofl-1.1 osl-3.0 postgresql ncsa unlicense zlib pddl unknown other""".split()
)


def metadata(text: str) -> dict[str, Any] | None:
    """The YAML block at the head of a card, or None where it has none.

    Raises:
        ValueError: Where the block is not a YAML mapping.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].strip() != "---" or "---" not in lines[1:]:
        return None
    try:
        values = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except yaml.YAMLError as error:
        raise ValueError(f"invalid YAML: {error}") from error
    if values is None:
        return None
    if not isinstance(values, dict):
        raise ValueError("the metadata is not a mapping")
    return values


def problems(text: str) -> tuple[list[str], list[str]]:
    """Errors and warnings of a card, as the Hub words them."""
    try:
        values = metadata(text)
    except ValueError as error:
        return [str(error)], []
    if values is None:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = []
    licenses = values.get("license", [])
    for name in licenses if isinstance(licenses, list) else [licenses]:
        if name not in LICENSES:
            errors.append(f'"license" must be one of [{", ".join(sorted(LICENSES))}]')
    for key in ("tags", "datasets", "metrics", "language", "base_model"):
        value = values.get(key, [])
        if not all(isinstance(item, str) for item in (value if isinstance(value, list) else [value])):
            errors.append(f'"{key}" must be a string or an array of strings')
    index = values.get("model-index", [])
    if not isinstance(index, list):
        return [*errors, '"model-index" must be an array'], []
    for n, model in enumerate(index):
        errors.extend(_result_problems(f"model-index[{n}]", model))
    return errors, []


def _result_problems(where: str, model: Any) -> list[str]:
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        return [f'"{where}.name" is required']
    errors = []
    for n, result in enumerate(model.get("results") or []):
        at = f"{where}.results[{n}]"
        if not (result.get("task") or {}).get("type"):
            errors.append(f'"{at}.task.type" is required')
        if dataset := result.get("dataset"):
            errors += [f'"{at}.dataset.{key}" is required' for key in ("type", "name") if not dataset.get(key)]
        metrics = result.get("metrics") or []
        if not metrics or any("type" not in metric or "value" not in metric for metric in metrics):
            errors.append(f'"{at}.metrics" must name a type and a value each')
    return errors
