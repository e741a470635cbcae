"""Settings of the baselines: those that all share, and those of the dense ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from car_core.config import (
    COMMON_BACKGROUND,
    Config,
    CRFConfig,
    NameOrPath,
    Positive,
    Unit,
    check_template,
    distinct_background,
)

# Words for the background of Pascal VOC and COCO-Object in SCLIP's and NACLIP's protocol.
BACKGROUND_WORDS = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed", "building",
    "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor", "hill", "rail",
    "fence",
)  # fmt: skip

Pixels = Annotated[int, Field(ge=1, le=2048)]


def check_synonyms(synonyms: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """The texts of each query. Raises ValueError for one with none or a blank one."""
    empty = [query for query, words in synonyms.items() if not words or not all(word.strip() for word in words)]
    if empty:
        raise ValueError(f"expected texts for each query, found none or a blank one for {empty[0]!r}")
    return synonyms


class BaselineConfig(Config):
    """What every baseline has: its name, the CLIP it runs on, and background texts."""

    method: str = Field(description="key of car_core.baselines.BASELINES")
    proposal_model: NameOrPath = Field(default="ViT-B-16", min_length=1, description="open_clip name or config JSON")
    background: tuple[str, ...] = Field(description="texts for the background; empty: none")

    _background_is_distinct = field_validator("background")(distinct_background)


class WindowConfig(BaselineConfig):
    """Baselines that compare every patch of sliding windows with the class names.

    The defaults are SCLIP's, which NACLIP shares: windows of the tower's own size at half their size apart,
    on an image whose shorter side is 1.5 times that (336, 224 and 112 pixels for CLIP's ViT-B/16).

    SHORT_SIDE, CROP: the image's shorter side and a window's, in sizes of the tower. STRIDES: strides in a window.
    PADS: whether windows are padded on all sides to multiples of a patch, or else cut, as each method's authors do.
    ROUNDED: whether CLIP's mean and deviation of images are rounded to a thousandth of a level, as in SCLIP's code.
    """

    SHORT_SIDE: ClassVar[float] = 1.5
    CROP: ClassVar[float] = 1.0
    STRIDES: ClassVar[int] = 2
    PADS: ClassVar[bool] = False
    ROUNDED: ClassVar[bool] = True

    background: tuple[str, ...] = BACKGROUND_WORDS
    short_side: Pixels | None = Field(
        default=None, description="shorter side of the resized image, pixels; None: a multiple of the tower's size"
    )
    crop: Annotated[int, Field(ge=0, le=2048)] | None = Field(
        default=None,
        description="side of a window, pixels; 0: the whole image is one; None: a multiple of the tower's size",
    )
    stride: Pixels | None = Field(default=None, description="pixels between windows; None: a part of crop")
    templates: Literal["imagenet"] | tuple[str, ...] = Field(
        default="imagenet", description="text templates whose features are averaged; imagenet: OpenAI's 80"
    )
    synonyms: Mapping[str, tuple[str, ...]] = Field(
        default={}, description="texts used instead of a query; the best of them counts"
    )
    positions: Literal["scale_factor", "size"] = Field(
        default="scale_factor",
        description="how positional embeddings are resized; scale_factor: by (n + 0.1) / n_old, as the authors' code",
    )

    @field_validator("templates")
    @classmethod
    def _templates_hold_the_word(cls, templates: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not templates:
            raise ValueError("expected at least one template, found none")
        return templates if isinstance(templates, str) else tuple(map(check_template, templates))

    _synonyms_are_texts = field_validator("synonyms")(check_synonyms)


class DenseConfig(WindowConfig):
    """Those that turn cosines into probabilities, pixel by pixel, and leave to the background what is not probable."""

    logit_scale: Positive = Field(default=40.0, description="factor of the cosines before the softmax over all words")
    prob_threshold: Unit = Field(default=0.1, description="pixels whose best class is less probable are background")
    area_threshold: Unit = Field(
        default=0.0, description="classes with at most this share of the predicted foreground are left out"
    )
    pamr_steps: int = Field(default=0, ge=0, le=100, description="steps of pixel-adaptive mask refinement; 0: none")


class ClipESConfig(BaselineConfig):
    """CLIP-ES as in CaR's mask proposal generator, once and without a classifier."""

    method: Literal["clip-es"] = "clip-es"
    background: tuple[str, ...] = COMMON_BACKGROUND
    lambda_: Unit = Field(default=0.4, description="boxes a CAM: threshold as a fraction of its maximum")
    cam_template: str = Field(default="a clean origami {}.", description="text template")
    crf: CRFConfig | None = Field(default=CRFConfig(), description="None: no CRF, the likeliest label per pixel")
    max_patches: int = Field(default=4096, ge=1, description="largest patch grid; a larger image is shrunk")

    @field_validator("cam_template")
    @classmethod
    def _cam_template_holds_the_query(cls, template: str) -> str:
        return check_template(template)
