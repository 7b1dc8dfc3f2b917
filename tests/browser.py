"""A report in headless Chromium: what it asks for, what it complains of, and how it is laid out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
# Reports permit their own scripts alone; those that look at a page, or break it, are none of them.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
# Appended to a copy of the page: tells how it is laid out once all pictures are there.
PROBE = """<script>
window.addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("img, svg.drawing, figcaption, table, h1, h2, h3, p")].map(e => {
    const r = e.getBoundingClientRect(), frame = e.closest(".wide");
    // What lies in a scrolled frame is seen down to the frame's end.
    const bottom = frame === null ? r.bottom : Math.min(r.bottom, frame.getBoundingClientRect().bottom);
    return {tag: e.tagName.toUpperCase(), left: r.left, right: r.right, top: r.top, bottom,
            scrolls: frame !== null, drawn: e.tagName === "IMG" ? e.naturalWidth > 0 : r.width > 0};
  });
  const found = document.createElement("pre");
  found.id = "probe";
  found.textContent = JSON.stringify({width: innerWidth, scroll: document.documentElement.scrollWidth, boxes});
  document.body.append(found);
});
</script>"""


@dataclass(frozen=True)
class Seen:
    """What the browser found.

    Attributes:
        width: Of the window, in pixels.
        scroll_width: Of the page; wider than the window where it must be scrolled sideways.
        boxes: Of pictures and drawings, captions, tables, headings and paragraphs.
        console: Lines of the console.
        requests: Addresses the page asked for, other than its own and what lies within it.
    """

    width: int
    scroll_width: int
    boxes: list[dict]
    console: list[str]
    requests: list[str]


def chromium() -> str:
    """The browser's program; skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        reason = "no Chromium is installed"
        if os.environ.get("BIOMEFORMER_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def run(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Chromium with a new profile."""
    profile = folder / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    command = [chromium(), *FLAGS, f"--user-data-dir={profile}", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def permissive(text: str) -> str:
    """A page without its content security policy."""
    return POLICY.sub("", text)


def drive(page: Path, folder: Path, script: str, width: int = 1200, expected: str | None = None) -> Any:
    """What a script returns that runs in a page once it is loaded; the console must stay empty but for `expected`."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "driven.html"
    driver = f"""<script>addEventListener("load", async () => {{
const sleep = () => new Promise(done => setTimeout(done, 20));
const result = document.createElement("pre");
result.textContent = JSON.stringify(await (async () => {{ {script} }})());
result.id = "driven";
document.body.append(result);
}});</script>"""
    head, _, tail = permissive(page.read_text()).rpartition("</body>")
    copy.write_text(f"{head}{driver}</body>{tail}")
    options = [f"--window-size={width},900", "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"]
    done = run(folder, *options, copy.as_uri())
    found = re.search(r'<pre id="driven">(.*?)</pre>', done.stdout, re.S)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    complaints = [line for line in console if expected is None or expected not in line]
    assert found is not None and not complaints, (complaints, done.stderr[-1500:])
    return json.loads(unescape(found.group(1)))


def without_scripts(page: Path, folder: Path) -> str:
    """The body of a page as HTML, in a frame that runs no scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    outer = folder / "frame.html"
    content = escape(page.read_text())
    outer.write_text(f'<!doctype html><body><iframe sandbox="allow-same-origin" srcdoc="{content}"></iframe></body>')
    script = "return frames[0].document.body.innerHTML"
    return str(drive(outer, folder, script, expected="Blocked script execution"))


def look(page: Path, folder: Path, width: int) -> Seen:
    """Open a page in a window of some width."""
    folder.mkdir(parents=True, exist_ok=True)
    # A window is at least 500 pixels wide; a frame within it may be narrower.
    inner = folder / "inner.html"
    inner.write_text(permissive(page.read_text()).replace("</body>", f"{PROBE}</body>"))
    outer = folder / "outer.html"
    outer.write_text(
        '<!doctype html><link rel="icon" href="data:,"><body style="margin:0">'
        f'<iframe src="inner.html" style="border:0;width:{width}px;height:900px"></iframe>'
        '<script>addEventListener("message", e => { const p = document.createElement("pre");'
        ' p.id = "probe"; p.textContent = e.data; document.body.append(p); });'
        "</script></body>"
    )
    inner.write_text(
        inner.read_text().replace("document.body.append(found);", 'parent.postMessage(found.textContent, "*");')
    )
    log = folder / "net.json"
    done = run(
        folder,
        f"--window-size={max(width, 600)},900",
        f"--log-net-log={log}",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
        outer.as_uri(),
    )
    probe = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S)
    assert probe is not None, done.stderr[-2000:]
    found = json.loads(unescape(probe.group(1)))
    # What the browser asks for on its own account has no page as its origin.
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = {event["url"] for event in events if "url" in event and event.get("initiator") in ("null", "file://")}
    own = {outer.as_uri(), inner.as_uri()}
    return Seen(
        width=found["width"],
        scroll_width=found["scroll"],
        boxes=found["boxes"],
        console=[line for line in done.stderr.splitlines() if ":CONSOLE" in line],
        requests=sorted(url for url in asked - own if not url.startswith("data:")),
    )


def overlaps(boxes: list[dict]) -> list[tuple[dict, dict]]:
    """Pairs of boxes of which one covers a part of the other."""
    shown = [box for box in boxes if box["right"] > box["left"] and box["bottom"] > box["top"]]
    return [
        (a, b)
        for i, a in enumerate(shown)
        for b in shown[i + 1 :]
        if min(a["right"], b["right"]) - max(a["left"], b["left"]) > 1
        and min(a["bottom"], b["bottom"]) - max(a["top"], b["top"]) > 1
    ]


def print_to_pdf(page: Path, folder: Path) -> bytes:
    """The page as PDF."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "page.pdf"
    run(folder, "--no-pdf-header-footer", f"--print-to-pdf={file}", page.as_uri())
    return file.read_bytes()
