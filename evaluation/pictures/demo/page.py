"""The demo's page and server, on Gradio. Neither contacts any other machine."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Set before Gradio is imported, which would otherwise report the start to its makers.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

from dataset_adapters import embedded_root
from evaluation.pictures.demo.backend import THRESHOLDS, Demo
from evaluation.pictures.demo.routes import middleware
from results.pages import segmentation_css

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MAX_WAITING = 16  # requests
_UPLOAD_SECONDS = 3600  # until an upload is deleted
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Arial", "sans-serif")

_SLIDERS = {
    "theta": ("theta", "Score threshold: a phrase is kept if its score is higher."),
    "eta": ("eta", "Mask threshold: pixels above it count as the object when the picture is shown to g."),
    "lambda_": (
        "lambda",
        "Box threshold: masks grow only in boxes around activations above this share of the peak.",
    ),
}

# Pictures of the miniature, with phrases to look for.
EXAMPLES = (
    ("2026_000020", "bottle, motorbike, sofa, car, horse"),
    ("2026_000028", "aeroplane, car, bird, horse"),
    ("2026_000046", "bottle, tv, car, horse"),
)

_INTRODUCTION = """\
# CLIP as RNN: segment any phrase
Two frozen CLIP models in a loop: **f** turns each phrase into a mask; **g** looks at each mask drawn into the picture
and scores it against its phrase. Weak phrases are dropped until the set is stable.
"""
_MINIATURE = """\

This page runs the **miniature**, a small model that comes with the package and knows emoji, not photos. For photos,
start it with `car serve --weights openai`.
"""
_WELCOME = "Masks, scores and every step of the loop will appear here."
_CSS = """
.gradio-container { max-width: 1240px !important; }
#status { min-height: 1.6em; }
.faint { opacity: .75; font-size: .88rem; }
#desk { display: grid; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 768px) {
  #desk { grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); grid-template-rows: auto 1fr; }
  #found { grid-column: 2; grid-row: 1 / span 2; }
}
"""
# On a phone the result may start below the end of the screen.
_SHOW_RESULT = """() => {
  if (innerWidth < 768) document.getElementById("found").scrollIntoView({behavior: "smooth", block: "start"});
}"""


@contextmanager
def serving(demo: Demo, *, host: str = "127.0.0.1", port: int | None = None) -> Iterator[str]:
    """Serve the page inside the block; yields its address.

    host: any but the loopback lets other machines in. port: None for the first free one from 7860. Uploads go to a
    temporary folder that is deleted with the server. Raises OSError if the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="car-serve-", ignore_cleanup_errors=True) as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = build_page(demo)
        _, address, _ = page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=demo.limits.file_bytes,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=gr.themes.Default(font=_FONTS, font_mono=("ui-monospace", "Consolas", "monospace")),
            css=_CSS + segmentation_css(),
            app_kwargs={
                "middleware": middleware(
                    LOOPBACK if host in LOOPBACK else None,
                    Path(uploads),
                    upload_bytes=demo.limits.file_bytes,
                    total_bytes=demo.limits.total_bytes,
                )
            },
        )
        try:
            yield address
        finally:
            page.close(verbose=False)


def require_address(host: str, port: int | None) -> None:
    """Raise OSError unless the host is an address of this machine and the port, if given, is free."""
    with socket.socket(socket.getaddrinfo(host, port or 0)[0][0]) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, port or 0))


def build_page(demo: Demo) -> gr.Blocks:
    """The page, not yet served."""
    limits = demo.limits
    page: gr.Blocks
    with gr.Blocks(title="car-eval", analytics_enabled=False, delete_cache=(_UPLOAD_SECONDS, _UPLOAD_SECONDS)) as page:
        gr.Markdown(_INTRODUCTION + _MINIATURE * demo.has_miniature)
        # In the order of a phone's single column; on wider screens _CSS puts the result next to the rest.
        with gr.Row(elem_id="desk"):
            with gr.Column(elem_id="asked", min_width=0):
                picture = gr.Image(
                    label="Picture", type="filepath", sources=["upload", "clipboard"], height=260, elem_id="picture"
                )
                # Replaced on the object, since a subclass would make Gradio write a stub file next to it.
                mover = "async_move_resource_to_block_cache"
                setattr(picture, mover, _local_only(getattr(picture, mover)))
                phrases = gr.Textbox(
                    label="Phrases",
                    info="Separate phrases with commas or new lines (Shift+Enter); press Enter to segment.",
                    placeholder="a red car, the old bicycle, sky",
                    lines=1,
                    max_lines=limits.phrases,
                    max_length=limits.phrases * (limits.characters + 2),
                    elem_id="phrases",
                )
                button = gr.Button("Segment", variant="primary", elem_id="segment")
            with gr.Column(elem_id="found", min_width=0):
                status = gr.HTML(_WELCOME, elem_id="status", padding=False)
                result = gr.HTML(elem_id="result", padding=False)
            with gr.Column(elem_id="more", min_width=0):
                folder = embedded_root() / "VOCdevkit/VOC2012/JPEGImages"
                gr.Examples(
                    [[str(folder / f"{name}.jpg"), text] for name, text in EXAMPLES],
                    [picture, phrases],
                    label="Examples for the miniature",
                    cache_examples=False,
                )
                with gr.Accordion("Thresholds: theta, eta, lambda", open=False, elem_id="thresholds"):
                    sliders = [
                        gr.Slider(0, 1, getattr(demo.config, name), step=0.01, label=label, info=info, elem_id=label)
                        for name, (label, info) in _SLIDERS.items()
                    ]
                gr.Markdown(
                    f"Up to {limits.phrases} phrases and pictures up to {limits.file_bytes // 2**20} MB, shrunk to "
                    f"{limits.side} pixels on the longer side. Nothing leaves the machine that serves this page.",
                    elem_classes="faint",
                )

        def segment(image_path: str | None, text: str, *values: float) -> tuple[str, str]:
            answer = demo.segment(image_path, text, dict(zip(THRESHOLDS, values, strict=True)))
            return answer.html, answer.status

        def segment_again(image_path: str | None, text: str, *values: float) -> tuple[Any, Any]:
            return segment(image_path, text, *values) if image_path and text.strip() else (gr.skip(), gr.skip())

        inputs, shared = [picture, phrases, *sliders], {"outputs": [result, status], "api_visibility": "private"}
        done = gr.on([button.click, phrases.submit], segment, inputs, **shared, concurrency_id="car")
        done.then(js=_SHOW_RESULT)
        gr.on([slider.release for slider in sliders], segment_again, inputs, **shared, concurrency_id="car")
    page.queue(max_size=_MAX_WAITING, api_open=False, default_concurrency_limit=1)
    return page


def _local_only(move: Callable[..., Any]) -> Callable[..., Any]:
    """Gradio's function that moves a component's files, but refusing URLs, which it would download."""

    async def checked(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("picture: expected an upload, found a URL", print_exception=False)
        moved: str | None = await move(path)
        return moved

    return checked
