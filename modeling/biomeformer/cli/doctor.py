"""`biomeformer doctor`."""

from __future__ import annotations

import typer

from .console import cell, doing, is_recording, next_command, out, record

STYLES = {"ok": "green", "missing": "yellow", "problem": "red"}


def doctor() -> None:
    """Check this installation: packages, extras, devices, processor instructions, shipped checkpoints, the Hub's cache.

    Nothing is downloaded or changed. Extras that are not installed are listed with the command that installs them. The
    exit code is 1 if there is a problem.
    """
    from .runtime import start

    with doing("looking at the installation"):
        start(models=False)
        from ..checkpoints.health import as_record, check_installation, processor_instructions
        from ..inference.environment import describe_environment

        findings = check_installation()
        instructions = processor_instructions()
        environment = describe_environment()
    problems = [one for one in findings if one.status == "problem"]
    record(environment=environment, instructions=instructions, findings=as_record(findings), healthy=not problems)
    if not is_recording():
        devices, versions = environment["devices"], environment["versions"]
        gpus = ", ".join(f"{one['device']} {one['name']}" for one in devices["cuda"]) or f"none ({devices['advice']})"
        known = ", ".join(name for name, has in instructions.items() if has) or "none of those that help"
        rows = {
            "versions": ", ".join(f"{name} {versions[name]}" for name in ("biomeformer", "python", "torch")),
            "GPUs": gpus.replace(".)", ")"),
            "processor": f"{environment['threads']['cores_of_this_process']} cores; {known}",
        }
        for name, text in rows.items():
            out(f"{name:<10}  {text}")
        _print_findings(findings)
        out(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}." if problems else "No problem.")
    if problems:
        raise typer.Exit(1)
    next_command("demo")


def _print_findings(findings: list) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for name in ("area", "name", "status"):
        table.add_column(no_wrap=name != "name")
    table.add_column(overflow="fold")
    for one in findings:
        style = STYLES[one.status]
        table.add_row(cell(one.area), cell(one.name), f"[{style}]{one.status}[/]", cell(one.detail))
    Console(soft_wrap=True).print(table)
