"""The demo's page and server, on Gradio. Neither contacts any other machine."""

from __future__ import annotations

import functools
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Set before Gradio is imported, which would otherwise report the start to its makers.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from starlette.middleware import Middleware

from dataset_adapters import embedded_root
from evaluation.pictures.demo.backend import THRESHOLDS, Demo
from evaluation.pictures.demo.routes import PageOnly
from results.pages.report import segmentation_css

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MAX_WAITING = 16  # requests
_UPLOAD_SECONDS = 3600  # until an upload is deleted
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Arial", "sans-serif")
_FIXED = ("ui-monospace", "Consolas", "monospace")

_SLIDERS = {
    "theta": ("theta", "Score threshold: a phrase is kept if its score is higher."),
    "eta": ("eta", "Mask threshold: pixels above it count as the object when the picture is shown to g."),
    "lambda_": ("lambda", "Box threshold: masks grow only in boxes around activations above this share of the peak."),
}

# Pictures of the miniature, with phrases to look for.
EXAMPLES = (
    ("2026_000020", ("bottle", "motorbike", "sofa", "car", "horse")),
    ("2026_000028", ("aeroplane", "car", "bird", "horse")),
    ("2026_000046", ("bottle", "tv", "car", "horse")),
)

_INTRODUCTION = """\
# CLIP as RNN: segment any phrase
One CLIP model turns each phrase into a mask, another scores it; weak phrases are dropped until the set is stable.
"""
_MINIATURE = """\
This page runs the **miniature**, which knows emoji, not photos. For photos: `car serve --weights openai`.
"""
_LINKED = "Phrases and thresholds are those of the link. Please upload a picture or pick an example."
_SCRIPT, _STYLE = (Path(__file__).with_name(f"page.{ending}") for ending in ("js", "css"))


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
            allowed_paths=[str(embedded_root())],  # the examples; without it only files below the current folder
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=_theme(),
            css=_STYLE.read_text(encoding="utf-8") + segmentation_css(),
            head=f"<script>{_SCRIPT.read_text(encoding='utf-8')}</script>",
            app_kwargs={
                "middleware": [
                    Middleware(
                        PageOnly,
                        hosts=LOOPBACK if host in LOOPBACK else None,
                        uploads=Path(uploads),
                        upload_bytes=demo.limits.file_bytes,
                        total_bytes=demo.limits.total_bytes,
                    )
                ]
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
        gr.Markdown(_INTRODUCTION + _MINIATURE * demo.has_miniature, elem_id="introduction")
        # In the order of a phone's single column; on wider screens page.css puts the result next to the rest.
        with gr.Row(elem_id="desk"):
            with gr.Column(elem_id="asked", min_width=0):
                picture = gr.Image(
                    label="Picture", type="filepath", sources=["upload", "clipboard"], height=260, elem_id="picture"
                )
                # Replaced on the object, since a subclass would make Gradio write a stub file next to it.
                mover = "async_move_resource_to_block_cache"
                move = getattr(picture, mover)

                async def move_local(path: str | Path | None) -> str | None:
                    if path is not None and "://" in str(path):  # which Gradio would download
                        raise gr.Error("picture: expected an upload, found a URL", print_exception=False)
                    moved: str | None = await move(path)
                    return moved

                setattr(picture, mover, move_local)
                phrases = gr.Textbox(
                    label="Phrases",
                    info="One per line; Shift+Enter segments.",
                    placeholder="a red car\nthe old bicycle\nsky",
                    lines=3,
                    max_lines=limits.phrases,
                    max_length=limits.phrases * (limits.characters + 2),
                    elem_id="phrases",
                )
                button = gr.Button("Segment", variant="primary", elem_id="segment")
            with gr.Column(elem_id="found", min_width=0):
                status = gr.HTML(elem_id="status", padding=False)
                result = gr.HTML(elem_id="result", padding=False)
            with gr.Column(elem_id="more", min_width=0):
                folder = embedded_root() / "VOCdevkit/VOC2012/JPEGImages"
                rows = [[str(folder / f"{name}.jpg"), "\n".join(texts)] for name, texts in EXAMPLES]
                examples = gr.Examples(
                    rows, [picture, phrases], label="Examples", cache_examples=False, visible_columns=[0]
                )
                past = gr.HTML(elem_id="past", padding=False)
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

        @functools.lru_cache(maxsize=1)
        def first_view(*values: float) -> tuple[str, str]:
            path, text = rows[0]
            return segment(path, text, *values)

        def opened(request: gr.Request) -> tuple[Any, ...]:
            text, thresholds = demo.asked(request.query_params.multi_items())
            if text:
                return "", _LINKED, None, text, *thresholds.values()
            return *first_view(*thresholds.values()), *rows[0], *thresholds.values()

        def segment(image_path: str | None, text: str, *values: float) -> tuple[str, str]:
            answer = demo.segment(image_path, text, dict(zip(THRESHOLDS, values, strict=True)))
            return answer.html, answer.status

        def segment_again(image_path: str | None, text: str, *values: float) -> tuple[Any, Any]:
            return segment(image_path, text, *values) if image_path and text.strip() else (gr.skip(), gr.skip())

        inputs, outputs = [picture, phrases, *sliders], [result, status]
        shared: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "car"}
        arguments = {"inputs": inputs, "outputs": outputs, **shared}
        everything = [*outputs, *inputs]
        moved = gr.on([slider.release for slider in sliders], segment_again, **arguments)
        pressed = gr.on([button.click, phrases.submit], segment, **arguments)
        picked = examples.load_input_event.then(segment, **arguments)
        for done in (moved, pressed, picked):
            done.then(None, everything, past, js="(...all) => car.done(all)")
        for done in (pressed, picked):
            done.then(js="() => car.scroll()")
        page.load(opened, None, everything, **shared).then(None, everything, past, js="(...all) => car.remember(all)")
        past.click(None, everything, everything, js="(...all) => car.restored(all)").then(js="() => car.settle()")
    page.queue(max_size=_MAX_WAITING, api_open=False, default_concurrency_limit=1)
    return page


def _theme() -> gr.themes.Base:
    """Gradio's, with the machine's own fonts and without its colors of too little contrast (WCAG AA)."""
    theme = gr.themes.Default(primary_hue="blue", font=_FONTS, font_mono=_FIXED)
    theme.set(block_info_text_color="*body_text_color", block_info_text_color_dark="*body_text_color")
    states = ("", "_hover", "_dark", "_hover_dark")
    return theme.set(**{f"button_primary_background_fill{state}": "*primary_600" for state in states})
