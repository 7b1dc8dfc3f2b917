"""Serve the page: on this machine alone, unless it is a Space."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingDependencyError
from ..runs.interruption import Interruption
from .sessions import Sessions

if TYPE_CHECKING:
    from .analysis import Analyses

LOOPBACK = "127.0.0.1"
SECONDS_BETWEEN_LOOKS = 0.2


def serve(
    analyses: Analyses,
    *,
    port: int | None = None,
    host: str | None = LOOPBACK,
    block: bool = True,
    on_start: Callable[[str], None] | None = None,
) -> tuple[Any, Sessions]:
    """Serve the page until it is interrupted.

    No link is shared, nothing is reported to anyone, and the browser fetches nothing from elsewhere.

    Args:
        analyses: The loaded models.
        port: Port; by default the first that is free from 7860.
        host: Address to listen on; None for that of the environment, as on a Space.
        block: Whether to wait until the server is interrupted, and delete all sessions then.
        on_start: Called with the page's address.

    Returns:
        The page, and its sessions; without `block`, the caller closes both.

    Raises:
        MissingDependencyError: Gradio is not installed.
        InputError: The port is in use.
    """
    sessions = Sessions()
    # Read when Gradio is imported, or when a page is made.
    os.environ["GRADIO_TEMP_DIR"] = str(sessions.root)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        try:
            import gradio as gr
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"the page needs {error.name}, which is not installed; install it with: pip install 'biomeformer[app]'"
            ) from error
        from .page import CSS, FONTS, make_page

        page = make_page(analyses, sessions)
        page.queue(max_size=20)
        with Interruption() if block else nullcontext() as interruption:
            try:
                _, url, _ = page.launch(
                    server_name=host,
                    server_port=port,
                    share=False,
                    inbrowser=False,
                    quiet=True,
                    prevent_thread_lock=True,
                    max_file_size=analyses.limits.upload_bytes,
                    footer_links=[],
                    enable_monitoring=False,
                    ssr_mode=False,
                    theme=gr.themes.Default(**FONTS),
                    css=CSS,
                )
            except OSError as error:
                raise InputError(f"--port {port} cannot be used: {error}; give another.") from error
            if on_start is not None:
                on_start(url)
            if interruption is not None:
                while interruption.signal_number is None:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                page.close(verbose=False)
        return page, sessions
    finally:
        if block:
            sessions.close()


__all__ = ["LOOPBACK", "serve"]
