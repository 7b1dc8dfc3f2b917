"""Measure frame times of a report's network in headless Chromium without a GPU.

Opens the report of a run of `biomeformer genome attribute` and simulates pointer moves, drags, zooms, searches and
filters, one per frame, sixty each. A frame is the time between two paints, at most 60 per second; work is the time from
the start of a frame to the end of drawing, and beyond 16.7 ms a frame is dropped.

    biomeformer genome attribute EMBEDDED --output NETWORK
    python benchmarks/network_page.py NETWORK
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from rich.console import Console
from rich.table import Table

import biomeformer
from biomeformer.attribution import GeneInteractionNetwork
from biomeformer.reports.network_report import network_report

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
DRIVER = """<script>
addEventListener("load", async () => {
  const root = document.getElementById("network"), canvas = root.querySelector("canvas");
  const frame = () => new Promise(requestAnimationFrame);
  const point = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    clientX: x, clientY: y, pointerId: 1, bubbles: true, cancelable: true}));
  const search = root.querySelector(".search");
  const box = canvas.getBoundingClientRect();
  const x = box.left + box.width / 2, y = box.top + box.height / 2;
  canvas.scrollIntoView();
  await frame();
  const found = {ready: performance.now(), shown: root.querySelector(".status").textContent};
  const measure = async (name, act) => {
    await frame();
    const frames = [], work = [];
    let before = await frame();
    for (let i = 0; i < 60; i++) {
      const began = performance.now();
      act(i);
      // The page's drawing was asked for before this, so it is done when this runs.
      const now = await frame();
      work.push(performance.now() - Math.max(now, began));
      frames.push(now - before);
      before = now;
    }
    found[name] = {frames, work};
  };
  await measure("nothing", () => {});
  await measure("pointer over nodes", i => point("pointermove", box.left + box.width * i / 60, y));
  point("pointerdown", x, y);
  await measure("drag", i => point("pointermove", x + 5 * i, y + 2 * i));
  point("pointercancel", x, y);
  await measure("zoom", i => canvas.dispatchEvent(new WheelEvent("wheel", {
    deltaY: i < 30 ? -40 : 40, clientX: x, clientY: y, bubbles: true, cancelable: true})));
  await measure("search", i => {
    search.value = i % 2 ? "" : `f${i}`;
    search.dispatchEvent(new Event("input", {bubbles: true}));
  });
  search.value = "";
  search.dispatchEvent(new Event("input", {bubbles: true}));
  root.querySelector(".colour").value = "class";
  await measure("filter", i => {
    const least = root.querySelector(".least");
    least.value = String(1 + i % 3);
    least.dispatchEvent(new Event("input", {bubbles: true}));
  });
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
});
</script>"""


class Handler(BaseHTTPRequestHandler):
    """Gives the page, and takes what it found."""

    def __init__(self, page: bytes, timings: Queue[dict[str, Any]], *args: Any) -> None:
        self.page, self.timings = page, timings
        super().__init__(*args)

    def do_GET(self) -> None:
        """The page, at any address."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.page)

    def do_POST(self) -> None:
        """What the page found."""
        self.timings.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def drive(program: str, page: str, seconds: float) -> dict[str, Any]:
    """Open the page and wait for what it found."""
    queue: Queue[dict[str, Any]] = Queue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, page.encode(), queue))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as profile, server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        command = [program, *FLAGS, "--remote-debugging-port=0", "--window-size=1280,900", f"--user-data-dir={profile}"]
        browser = subprocess.Popen([*command, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return queue.get(timeout=seconds)
        except Empty:
            raise SystemExit(f"the page found nothing within {seconds:.0f} s.") from None
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()


def spread(values: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    ordered = sorted(values)
    return {"median": round(ordered[len(ordered) // 2], 2), "p95": round(ordered[int(0.95 * len(ordered))], 2)}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="folder that genome attribute wrote")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "network_page.json")
    args = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium is installed.")
    with tempfile.TemporaryDirectory() as folder:
        page = network_report(GeneInteractionNetwork.load(args.network), Path(folder) / "report.html").read_text()
    # The page permits no other script than its own.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    timings = drive(program, page.replace("</body>", DRIVER + "</body>"), 120)
    size, first = timings.pop("shown"), timings.pop("ready")
    results = {
        name: {f"{kind}_ms": spread(values[kind]) for kind in ("frames", "work")} for name, values in timings.items()
    }
    table = Table("", "frame, ms (95 %)", "drawing ends after, ms (95 %)", title=size)
    for name, values in results.items():
        table.add_row(name, *(f"{values[key]['median']} ({values[key]['p95']})" for key in ("frames_ms", "work_ms")))
    Console().print(table)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    content = {
        "shown": size,
        "page_bytes": len(page.encode()),
        "first_picture_ms": round(first, 1),
        "doing": results,
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": {"biomeformer": biomeformer.__version__, "browser": version, "python": platform.python_version()},
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
