"""The recurrence: which texts a step uses, who survives it, and when the set of queries is stable.

Pure functions over indices and texts; the state that moves through the steps is ``Recurrence``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from car_core.config import CaRConfig, format_text
from car_core.segmentation import Step
from support.arrays import Float32Array, RGBArray


def proposal_texts(config: CaRConfig, queries: Sequence[str], step: int) -> list[str]:
    """f's text of each query in this step (0 is the first)."""
    if step == 0 and config.first_step_text == "query":
        return list(queries)
    return [format_text(config.cam_template, query) for query in queries]


def classifier_texts(config: CaRConfig, queries: Sequence[str], alive: Sequence[int], step: int) -> list[list[str]]:
    """g's texts, K rows of one text an alive query; ``queries`` are all of them, ``alive`` indices into them.

    K is the number of templates, or 1 without templates. With ``referring_prompt_slip``, later steps without
    templates have one row a query of the first step: the characters number i of that query's text, i over the alive
    indices (nothing where the text is shorter: there the released code would fail).
    """
    if config.templates:
        return [[format_text(template, queries[i]) for i in alive] for template in config.templates]
    texts = [format_text(no_template(config), query) for query in queries]
    if slips(config, step):
        return [[text[i : i + 1] for i in alive] for text in texts]
    return [[texts[i] for i in alive]]


def no_template(config: CaRConfig) -> str:
    """g's only template where ``templates`` is empty."""
    return config.cam_template if config.no_template_text == "cam_template" else "{}"


def ensemble_name(config: CaRConfig, step: int) -> str:
    """Key of ``classifier.ENSEMBLES`` for this step."""
    return config.template_ensemble if config.templates or slips(config, step) else "no_templates"


def slips(config: CaRConfig, step: int) -> bool:
    """Whether this step scores the released code's single characters instead of sentences."""
    return step > 0 and not config.templates and config.mode == "referring" and config.referring_prompt_slip


def survivors(config: CaRConfig, alive: Sequence[int], scores: Float32Array) -> tuple[int, ...]:
    """The queries of ``alive`` whose score P_ii (float [n], same order) passes theta."""
    if config.recurrence == "none":
        return tuple(alive)
    passed = scores >= config.theta if config.theta_inclusive else scores > config.theta
    kept = tuple(index for index, ok in zip(alive, passed, strict=True) if ok)
    if not kept and config.keep_best:
        return (alive[int(scores.argmax())],)
    return kept


@dataclass
class Recurrence:
    """State of one image: the queries alive, the steps taken so far, and whether it is finished."""

    config: CaRConfig
    queries: tuple[str, ...]
    alive: tuple[int, ...] = ()
    steps: list[Step] = field(default_factory=list)
    finished: bool = False

    def __post_init__(self) -> None:
        self.alive = tuple(range(len(self.queries)))

    @property
    def step(self) -> int:
        """Number of the step about to be taken, 0 first."""
        return len(self.steps)

    def take(
        self, scores: Float32Array, proposals: Float32Array | None = None, prompted: RGBArray | None = None
    ) -> tuple[int, ...]:
        """Record this step's scores float [n]; returns who survives.

        proposals: float32 [n, H, W], prompted: uint8 [n, H, W, 3]; both where the steps are traced.
        """
        kept = survivors(self.config, self.alive, scores)
        survived_before = len(self.steps[-1].kept) if self.steps else 0
        # "same_count" compares with the step before, not with this step's queries: step 1 is never the last.
        reference = survived_before if self.config.stop_rule == "same_count" else len(self.alive)
        self.finished = self.config.recurrence != "full" or not kept or len(kept) == reference
        self.steps.append(Step(self.alive, scores, kept, proposals, prompted))
        self.alive = kept
        return kept
