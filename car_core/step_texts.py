"""The texts that f and g read in each step of the recurrence. Steps count from 0.

Where the paper and the released code differ, see the switches ``first_step_text``, ``no_template_text``,
``template_ensemble`` and ``referring_prompt_slip`` of `CaRConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence

from car_core.config import CaRConfig, format_text


def proposal_texts(config: CaRConfig, queries: Sequence[str], step: int) -> list[str]:
    """f's text of each alive query."""
    if step == 0 and config.first_step_text == "query":
        return list(queries)
    return [format_text(config.cam_template, query) for query in queries]


def classifier_texts(config: CaRConfig, queries: Sequence[str], alive: Sequence[int], step: int) -> list[list[str]]:
    """g's texts: K rows of one text per alive query. ``queries`` are all of them, ``alive`` indices into them.

    K is the number of templates, or 1 without templates. With the character slip, row q holds, for each
    alive index i, the i-th character of query q's text (empty where the text is shorter; the released code would fail).
    """
    if config.templates:
        return [[format_text(template, queries[i]) for i in alive] for template in config.templates]
    texts = [format_text(no_template(config), query) for query in queries]
    if uses_character_slip(config, step):
        return [[text[i : i + 1] for i in alive] for text in texts]
    return [[texts[i] for i in alive]]


def no_template(config: CaRConfig) -> str:
    """g's only template where ``templates`` is empty."""
    return config.cam_template if config.no_template_text == "cam_template" else "{}"


def ensemble_name(config: CaRConfig, step: int) -> str:
    """Key of `classifier.similarity.ENSEMBLES`; without templates, the only text form has one softmax."""
    return config.template_ensemble if config.templates or uses_character_slip(config, step) else "mean_logits"


def uses_character_slip(config: CaRConfig, step: int) -> bool:
    """Whether this step scores the released code's single characters instead of sentences."""
    return step > 0 and not config.templates and config.mode == "referring" and config.referring_prompt_slip
