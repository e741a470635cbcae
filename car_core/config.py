"""Every switch and threshold of CaR as one frozen, validated configuration.

Two sources define CaR and they differ: the paper (arXiv:2312.07661v3) and the code its authors released. A
*profile* is a named set of switch values; any field given explicitly wins over its profile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from car_core.errors import ConfigError
from car_core.queries import check_texts
from support.choices import Mode, Profile
from support.errors import mistakes
from support.plugins import Plugin, find_plugin, plugins

# Names of the visual prompts; `car_core.classifier.visual_prompts.register_prompt` adds others.
PROMPTS = {"blur", "gray", "mask", "circle", "rectangle", "contour"}
PROMPT_PLUGINS: dict[str, Plugin] = {}  # by prompt, the package or file that it is from

# Background queries of the released code, all benchmarks.
COMMON_BACKGROUND = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway",
    "railroad", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley", "bridge",
)  # fmt: skip

# Templates of the mask classifier in semantic mode (both profiles).
TEMPLATES = (
    "a clean origami {}.",
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)

# Switches on which the two sources disagree: the paper's value, the released code's.
_SWITCHES: Mapping[str, tuple[Any, Any]] = {
    "positional_half": (False, True),
    "classifier_feature": ("last_block", "before_last_block"),
    "template_ensemble": ("mean_logits", "sum_probabilities"),
    "no_template_text": ("query", "cam_template"),
    "keep_best": (False, True),
    "theta_inclusive": (True, False),
    "stop_rule": ("same_queries", "same_count"),
    "first_step_text": ("template", "query"),
    "crf_image": ("rgb", "bgr_minus_mean"),
    "gray_weights": ("rgb", "bgr"),
    "referring_prompt_slip": (False, True),
    "sentences": ("single", "joint"),
    "merge_inclusive": (False, True),
    "union_of_small_merge": (False, True),
    "thing_background": ("stuff", "common"),
}
PROFILES: Mapping[str, Mapping[str, Any]] = {
    "paper": {switch: of_paper for switch, (of_paper, _) in _SWITCHES.items()},
    "released": {switch: of_code for switch, (_, of_code) in _SWITCHES.items()},
}

# Default hyperparameters of a mode: Pascal VOC's for semantic, RefCOCO's for referring segmentation.
_HYPERPARAMETERS: Mapping[str, tuple[Any, Any]] = {
    "eta": (0.4, 0.5),
    "theta": (0.6, 0.3),
    "lambda_": (0.4, 0.5),
    "prompts": (("circle", "blur"), ("circle", "blur")),
    "templates": (TEMPLATES, ()),
    "classifier_model": ("ViT-L-14", "ViT-B-16"),
}
MODES: Mapping[str, Mapping[str, Any]] = {
    "semantic": {name: of_voc for name, (of_voc, _) in _HYPERPARAMETERS.items()},
    "referring": {name: of_refcoco for name, (_, of_refcoco) in _HYPERPARAMETERS.items()},
}

# pydensecrf2 is published only as source, so installing it needs a compiler.
HAS_PYDENSECRF = find_spec("pydensecrf") is not None

Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NameOrPath = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, os.PathLike) else value)]


Background = Annotated[tuple[str, ...], AfterValidator(partial(check_texts, "text", start=1))]
"""Background queries: not blank, each only once."""


def check_template(template: str) -> str:
    """The template. Raises ValueError unless it has one ``{}``."""
    if template.count("{}") != 1:
        raise ValueError(f"expected a template with one {{}} for the query, found {template!r}")
    return template


Template = Annotated[str, AfterValidator(check_template)]
"""A text with one ``{}`` for the query."""


class Part(BaseModel):
    """A frozen part of a configuration, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Config(Part):
    """A frozen configuration whose mistakes are one-line ``ConfigError``s naming the field."""

    if not TYPE_CHECKING:  # type checkers and editors read the fields instead

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(mistakes(error, field_names(type(self))), error.errors()) from None


def field_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The fields of a model, and those of models in them as ``crf.iterations``."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for kind in get_args(field.annotation):
            # list[int] is a type to Python 3.10.
            if isinstance(kind, type) and not get_args(kind) and issubclass(kind, BaseModel):
                yield from field_names(kind, f"{prefix}{name}.")


class CRFConfig(Part):
    """Dense CRF (Krähenbühl and Koltun) over the proposals; the defaults are those of both sources."""

    iterations: int = Field(default=10, ge=0, le=1000, description="mean-field iterations")
    gaussian_sxy: Positive = Field(default=1.0, description="spatial kernel's standard deviation, pixels")
    gaussian_weight: Positive = Field(default=3.0, description="spatial kernel's Potts weight")
    bilateral_sxy: Positive = Field(default=67.0, description="bilateral kernel's standard deviation, pixels")
    bilateral_srgb: Positive = Field(default=3.0, description="bilateral kernel's standard deviation, gray levels")
    bilateral_weight: Positive = Field(default=4.0, description="bilateral kernel's Potts weight")
    bg_factor: Positive = Field(default=1.0, description="exponent of the background probability 1 - max y")
    implementation: Literal["pydensecrf", "torch"] = Field(
        default="pydensecrf" if HAS_PYDENSECRF else "torch",
        description="pydensecrf, on one core; torch, on the model's device, the default where pydensecrf is absent",
    )

    @field_validator("implementation")
    @classmethod
    def _is_installed(cls, name: str) -> str:
        if name == "pydensecrf" and not HAS_PYDENSECRF:
            raise ValueError("expected torch, or pydensecrf2 installed (pip install 'car-eval[crf]'), found neither")
        return name


# Smallest part of a CRF mask that a SAM mask inside it must cover to match (SAMConfig.min_overlap).
SAM_MIN_OVERLAP: Mapping[str, float] = {"paper": 0.0, "released": 0.05}


class SAMMasksConfig(Part):
    """SAM's automatic masks. SINGLE: whether a point has one mask instead of three."""

    SINGLE: ClassVar[bool] = False

    model: NameOrPath = Field(min_length=1, description="SAM, HQ-SAM or SAM 2: a hub name, a folder, or random:SEED")
    points_per_side: int = Field(default=64, ge=1, le=256, description="points of the grid along each side")
    pred_iou_threshold: Unit = Field(default=0.88, description="least IoU that SAM predicts for a mask")
    stability_threshold: Unit = Field(default=0.95, description="least IoU of a mask cut a little higher and lower")
    nms_threshold: Unit = Field(default=0.7, description="largest IoU of the boxes of two masks")


class SAMConfig(SAMMasksConfig):
    """Refinement by SAM's automatic masks; the defaults are the paper's and, except for two, the released code's.

    The released ``iom_threshold`` depends on the benchmark (see its YAML file), ``min_overlap`` on the profile.
    """

    iom_threshold: Unit = Field(default=0.7, description="phi_iom: a SAM mask matches if its IoM is greater")
    iou_threshold: Unit = Field(
        default=0.7, description="phi_iou: the union of the matches replaces the mask if its IoU is greater"
    )
    min_overlap: Unit | None = Field(
        default=None,
        description="least part of the CRF mask that a SAM mask inside it covers; None: the profile's, 0 or 0.05",
    )


class CaRConfig(Config):
    """Everything that determines what CaR computes for an image and its queries.

    Unknown fields and impossible values raise ``ConfigError`` (a ``ValueError``) with one line naming the field.
    Fields left out take the values of ``profile`` and ``mode``.

    >>> CaRConfig(profile="paper").keep_best, CaRConfig(profile="paper", keep_best=True).keep_best
    (False, True)
    >>> CaRConfig(theta=0.3)
    CaRConfig(profile='released', mode='semantic', theta=0.3)
    """

    if TYPE_CHECKING:  # the signature from the fields would require those that a profile fills in

        def __init__(self, *, profile: Profile = "released", mode: Mode = "semantic", **fields: Any) -> None: ...

    profile: Profile = Field(default="released", description="source of the switches' defaults")
    mode: Mode = Field(default="semantic", description="one label per pixel, or one object for all sentences")

    eta: Unit = Field(description="binarizes a proposal for the visual prompt (y > eta)")
    theta: Unit = Field(description="smallest score P_ii that keeps a query; equality: see theta_inclusive")
    lambda_: Unit = Field(description="boxes a CAM: threshold as a fraction of its maximum (CLIP-ES)")
    prompts: tuple[str, ...] = Field(description="visual prompts, applied together in the order of the method")
    stuff_prompts: tuple[str, ...] | None = Field(
        default=None, description="visual prompts of the stuff pass; None: the same as prompts"
    )
    templates: tuple[Template, ...] = Field(
        description="text templates of the mask classifier; empty: no_template_text"
    )
    cam_template: Template = Field(default="a clean origami {}.", description="text template of the proposal generator")
    background: Background = Field(default=COMMON_BACKGROUND, description="background queries b")
    recurrence: Literal["full", "once", "none"] = Field(
        default="full",
        description="full: until the queries are stable; once: one step, weak ones dropped; none: one step, all kept",
    )
    cam: Literal["clip-es", "gradcam"] = Field(default="clip-es", description="with or without attention affinity")
    proposal_model: NameOrPath = Field(default="ViT-B-16", min_length=1, description="f: open_clip name or config JSON")
    classifier_model: NameOrPath = Field(min_length=1, description="g: open_clip name or config JSON")

    positional_half: bool = Field(description="round f's resized positional embedding to half precision")
    classifier_feature: Literal["last_block", "before_last_block"] = Field(
        description="g's class token after the last block, or before it (the last block is skipped)"
    )
    template_ensemble: Literal["mean_logits", "sum_probabilities"] = Field(
        description="average logits over templates, or sum one softmax per template and take a second softmax"
    )
    no_template_text: Literal["query", "cam_template"] = Field(
        description="g's text where templates is empty: the bare query, or cam_template's (as in the released code)"
    )
    keep_best: bool = Field(description="if no query survives a step, keep only the best-scoring one")
    theta_inclusive: bool = Field(description="P_ii >= theta, or P_ii > theta")
    stop_rule: Literal["same_queries", "same_count"] = Field(
        description="stop when a step drops nothing, or when as many survive as after the step before (0 at first)"
    )
    first_step_text: Literal["template", "query"] = Field(
        description="f's text in step 1: cam_template, or the bare query"
    )
    crf_image: Literal["rgb", "bgr_minus_mean"] = Field(
        description="image of the CRF: RGB, or BGR minus the mean, cast to uint8 with wrap-around"
    )
    gray_weights: Literal["rgb", "bgr"] = Field(description="channel order of the luminance weights of prompt gray")
    referring_prompt_slip: bool = Field(
        description="without templates, later steps score single characters of the first step's texts"
    )
    sentences: Literal["joint", "single"] = Field(
        description="referring benchmarks: all sentences of a reference in one run, or one sample per sentence"
    )
    merge_inclusive: bool = Field(
        description="referring: a pixel is in the merged mask if its weighted mean is >= 0.5, or > 0.5"
    )
    union_of_small_merge: bool = Field(
        description="referring: a merged mask that covers at most 5 % of the image becomes the masks' union"
    )
    carry_queries: bool = Field(
        default=False,
        description="video benchmarks: a frame starts with the queries that survived the frame before, not with all",
    )
    thing_background: Literal["stuff", "common"] = Field(
        description="background queries of the thing pass: the stuff names, or the field background"
    )

    crf: CRFConfig | None = Field(default=CRFConfig(), description="None: no CRF, the likeliest label per pixel")
    sam: SAMConfig | None = Field(default=None, description="None: no refinement by SAM (semantic mode only)")
    max_patches: int = Field(
        default=4096,
        ge=1,
        description="largest patch grid of f; a larger image is shrunk for f only (neither source has a limit)",
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The profile, the mode, and what differs from their values, of over 30 fields."""
        usual = type(self)(profile=self.profile, mode=self.mode)
        for name, value in super().__repr_args__():
            if name in ("profile", "mode") or value != getattr(usual, str(name)):
                yield name, value

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        given = dict(values)
        # An unknown profile or mode is refused by its own field; until then the others need some defaults.
        profile = PROFILES.get(str(given.get("profile")), PROFILES["released"])
        mode = MODES.get(str(given.get("mode")), MODES["semantic"])
        # Of the two benchmarks of MODES, only RefCOCO's prompts differ between the sources.
        released_referring = given.get("mode") == "referring" and given.get("profile", "released") == "released"
        prompts = {"prompts": ("circle",)} if released_referring else {}
        return {**mode, **profile, **prompts, **given}

    @field_validator("prompts", "stuff_prompts")
    @classmethod
    def _known_prompts(cls, prompts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        known = {*PROMPTS, *plugins("prompts")}
        if unknown := [name for name in prompts or () if name not in known and ":" not in name]:
            raise ValueError(f"expected visual prompts of {', '.join(sorted(known))}, found {sorted(unknown)}")
        names = []
        for name in prompts or ():
            if name not in PROMPT_PLUGINS and (plugin := find_plugin("prompts", name, PROMPTS, "visual prompt")):
                from car_core.classifier.visual_prompts import register_prompt_plugin

                register_prompt_plugin(plugin)
                name = plugin.name
            names.append(name)
        if len(set(names)) != len(names):
            raise ValueError(f"expected each visual prompt once, found {names}")
        return None if prompts is None else tuple(names)

    @field_validator("sam")
    @classmethod
    def _sam_fits(cls, sam: SAMConfig | None, info: ValidationInfo) -> SAMConfig | None:
        if sam is None:
            return None
        if info.data.get("mode") == "referring":
            raise ValueError("expected none in referring mode")
        least = SAM_MIN_OVERLAP[info.data.get("profile", "released")]
        return sam if sam.min_overlap is not None else sam.model_copy(update={"min_overlap": least})


def format_text(template: str, query: str) -> str:
    """The template with the query in place of ``{}``; braces inside the query stay as they are."""
    return template.replace("{}", query, 1)
