"""The demo's page and server, on Gradio: nothing is asked of or told to any other machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Before Gradio is imported, which would tell its makers of the start.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

from car_core import CaRConfig
from dataset_adapters import embedded_root
from evaluation.pictures.demo.answer import THRESHOLDS, Demo
from evaluation.pictures.demo.routes import guards
from results.pages import segmentation_css

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MAX_WAITING = 16
_KEPT_SECONDS = 3600  # uploads
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Arial", "sans-serif")

_WORDS = {
    "theta": ("theta", "A phrase stays if its score passes it."),
    "eta": ("eta", "Where f's proposal passes it, the picture is drawn for g."),
    "lambda_": ("lambda", "Share of the highest activation that bounds where a proposal may spread."),
}

# Pictures of the miniature, and what to look for.
EXAMPLES = (
    ("2026_000020", "bottle, motorbike, sofa, car, horse"),
    ("2026_000028", "aeroplane, car, bird, horse"),
    ("2026_000046", "bottle, tv, car, horse"),
)

_HEAD = """\
# CLIP as RNN: segment any phrase
Two frozen CLIP models in a loop: **f** turns each phrase into a mask, **g** looks at each mask drawn into the picture
and scores it against its phrase. Weak phrases are dropped, until the set is stable.
"""
_MINIATURE = """\

This page uses the **miniature**, the small model in the package, which knows emoji and not photos. For photos start it
with `car serve --weights openai`.
"""
_WELCOME = "Masks, scores and every step of the loop appear here."
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
# On a phone the result may begin below the screen's end.
_SHOW_RESULT = """() => {
  if (innerWidth < 768) document.getElementById("found").scrollIntoView({behavior: "smooth", block: "start"});
}"""


@contextmanager
def serving(demo: Demo, *, host: str = "127.0.0.1", port: int | None = None) -> Iterator[str]:
    """Serve the page inside the block; gives its address. host: another than the loopback lets other machines in.

    port: None for the first free one from 7860. Uploads lie in a folder of their own, which goes with the server.
    Raises OSError where the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="car-serve-", ignore_cleanup_errors=True) as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = build_page(demo)
        _, address, _ = page.launch(
            server_name=host,
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
            app_kwargs={"middleware": guards(LOOPBACK if host in LOOPBACK else ("*",))},
        )
        try:
            yield address
        finally:
            page.close(verbose=False)


def build_page(demo: Demo) -> gr.Blocks:
    """The page, not yet served."""
    page: gr.Blocks
    with gr.Blocks(title="car-eval", analytics_enabled=False, delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS)) as page:
        gr.Markdown(_HEAD + _MINIATURE * demo.has_miniature)
        # In the order of a phone's one column; where there is room, _CSS puts the result beside all else.
        with gr.Row(elem_id="desk"):
            with gr.Column(elem_id="asked", min_width=0):
                picture, phrases, button = _asked(demo)
            with gr.Column(elem_id="found", min_width=0):
                status = gr.HTML(_WELCOME, elem_id="status", padding=False)
                result = gr.HTML(elem_id="result", padding=False)
            with gr.Column(elem_id="more", min_width=0):
                sliders = _more(demo, [picture, phrases])

        def segment(place: str | None, text: str, *values: float) -> tuple[str, str]:
            answer = demo.answer(place, text, dict(zip(THRESHOLDS, values, strict=True)))
            return answer.html, answer.status

        def again(place: str | None, text: str, *values: float) -> tuple[Any, Any]:
            return segment(place, text, *values) if place and text.strip() else (gr.skip(), gr.skip())

        inputs, shared = [picture, phrases, *sliders], {"outputs": [result, status], "api_visibility": "private"}
        done = gr.on([button.click, phrases.submit], segment, inputs, **shared, concurrency_id="car")
        done.then(js=_SHOW_RESULT)
        gr.on([slider.release for slider in sliders], again, inputs, **shared, concurrency_id="car")
    page.queue(max_size=_MAX_WAITING, api_open=False, default_concurrency_limit=1)
    return page


def _asked(demo: Demo) -> tuple[gr.Image, gr.Textbox, gr.Button]:
    """What a visitor gives: picture, phrases, the button."""
    limits = demo.limits
    picture = gr.Image(label="Picture", type="filepath", sources=["upload", "clipboard"], height=260, elem_id="picture")
    # A method is replaced, for a class of one's own would make Gradio write a stub file beside it.
    mover = "async_move_resource_to_block_cache"
    setattr(picture, mover, _local_only(getattr(picture, mover)))
    phrases = gr.Textbox(
        label="Phrases",
        info="Between commas, or one a line. Enter segments.",
        placeholder="a red car, the old bicycle, sky",
        lines=1,
        max_lines=limits.phrases,
        max_length=limits.phrases * (limits.characters + 2),
        elem_id="phrases",
    )
    return picture, phrases, gr.Button("Segment", variant="primary", elem_id="segment")


def _more(demo: Demo, given: list[gr.Image | gr.Textbox]) -> list[gr.Slider]:
    """What a visitor may leave alone: examples for the fields that are given, and a slider a threshold."""
    gr.Examples(
        [[str(_example(name)), text] for name, text in EXAMPLES],
        given,
        label="Examples, for the small model in the package",
        cache_examples=False,
    )
    with gr.Accordion("Thresholds: theta, eta, lambda", open=False, elem_id="thresholds"):
        sliders = [_slider(demo.config, name) for name in THRESHOLDS]
    gr.Markdown(
        f"Pictures up to {demo.limits.file_bytes // 2**20} MB, shrunk to {demo.limits.side} pixels a side; up to "
        f"{demo.limits.phrases} phrases. Nothing leaves the machine that serves this page.",
        elem_classes="faint",
    )
    return sliders


def _slider(config: CaRConfig, name: str) -> gr.Slider:
    label, info = _WORDS[name]
    return gr.Slider(0, 1, getattr(config, name), step=0.01, label=label, info=info, elem_id=name.rstrip("_"))


def _example(name: str) -> Path:
    return embedded_root() / f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg"


def _local_only(move: Callable[..., Any]) -> Callable[..., Any]:
    """The mover of a component's files, refusing addresses: Gradio would download them."""

    async def checked(place: str | Path | None) -> str | None:
        if place is not None and "://" in str(place):
            raise ValueError("picture: expected an upload, found an address")
        moved: str | None = await move(place)
        return moved

    return checked
