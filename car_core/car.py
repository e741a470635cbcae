"""CaR itself: two frozen CLIP models, and `method.recurrence` on one or many images."""

from __future__ import annotations

import copy
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from car_core.classifier.prompt_rendering import render_on_cpu, render_on_gpu
from car_core.classifier.similarity import similarity_matrix
from car_core.classifier.tower import ClassifierTower
from car_core.classifier.visual_prompts import PromptCanvas
from car_core.config import CaRConfig
from car_core.engine.batching import MicroBatcher, cpu_batch_size
from car_core.engine.device import StageTimes, as_device, gpu_times_at_end, is_gpu, timed
from car_core.engine.precision import dtype_of, fresh_torch
from car_core.engine.stage_cache import Result, StageCache, model_token
from car_core.errors import ConfigError, ModelError
from car_core.images import ImageLike, as_rgb, check_batch
from car_core.method import Models, Recurrence, RecurrenceOutput, recurrence
from car_core.models.clip import check_vision_tower
from car_core.models.text_encoder import TextEncoder
from car_core.models.weights import WeightsRecord, load_clip
from car_core.names import ROLES, model_of
from car_core.proposal.generator import EncodedImage, ProposalGenerator
from car_core.proposal.trunk import ProposalTower
from car_core.queries import check_texts, require_any
from car_core.refine.crf import prepare_crf
from car_core.refine.sam import MaskSource, load_sam
from car_core.refinement import CoarsePass, CoarseSegmentation, RefineRequest, RefineResult, refine_masks
from car_core.segmentation import Segmentation
from car_core.step_texts import no_template
from support.arrays import PackedBits, RGBArray
from support.choices import Precision

MODEL_FIELDS = ("proposal_model", "classifier_model", "sam")
"""Fields of the configuration that name models."""


_Pass: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Queries, background queries and visual prompts of one recurrence."""


@dataclass
class _Job:
    """One recurrence of a batch."""

    canvas: PromptCanvas
    loop: Recurrence
    seconds: StageTimes
    digests: list[bytes] = field(default_factory=list)  # of the current step's masks
    new: dict[bytes, PackedBits] = field(default_factory=dict)  # those that g has not seen yet
    features: dict[bytes, Tensor] = field(default_factory=dict)  # g's feature [E] of each mask so far
    output: RecurrenceOutput | None = None  # once the recurrence has ended


class CaR:
    """CLIP as RNN (arXiv:2312.07661v3): segments any phrases in an image, without training.

    proposal_clip (f) and classifier_clip (g) are open_clip models with ViT towers, built by the caller, of any size
    and patch size, in float32; they may be the same model. They are moved to ``device`` and set to evaluation mode.
    mask_source: source of the candidates for ``config.sam``, e.g. ``refine.sam.SAMMasks``. precision: of the image
    encoders' products; see ``car_core.engine.precision``.

    Attributes: ``weights``, records of the models' weights; ``cache``, None or a ``StageCache`` of stage results, for
    images that are segmented again.
    """

    @fresh_torch(inference=False)
    def __init__(
        self,
        config: CaRConfig,
        *,
        proposal_clip: nn.Module,
        classifier_clip: nn.Module,
        device: str | torch.device = "cpu",
        mask_source: MaskSource | None = None,
        precision: Precision = "float32",
    ) -> None:
        if (mask_source is None) != (config.sam is None):
            raise ModelError("mask_source: expected one with config.sam, and none without")
        if config.crf:
            prepare_crf(config.crf.implementation)
        self.config = config
        self._mask_source = mask_source
        self.device = as_device(device)
        self.precision = precision
        dtype = dtype_of(precision, self.device)
        self.weights: tuple[WeightsRecord, ...] = ()
        self.cache: StageCache | None = None
        for role, model in (("proposal_clip", proposal_clip), ("classifier_clip", classifier_clip)):
            check_vision_tower(model, role)
            model.to(self.device).eval()
        # Parts of the keys of cached results of f and of g.
        self._proposal_key, self._classifier_key = (
            # The sums distinguish weights that were set through .data between two segmenters sharing a cache.
            (
                model_token(model),
                hash(tuple(float(each.sum()) for each in model.state_dict().values())),
                precision,
                str(self.device),
            )
            for model in (proposal_clip, classifier_clip)
        )
        self.classifier_tower = ClassifierTower(classifier_clip, dtype=dtype)
        most = cpu_batch_size(self.classifier_tower.activation_bytes)
        self.classifier_batcher = MicroBatcher.for_device(self.device, cpu=most, gpu=32)
        self._proposal_text = TextEncoder(proposal_clip, role="proposal_clip")
        self._proposal = ProposalGenerator(proposal_clip, self._proposal_text, config, self.device, dtype)
        same = classifier_clip is proposal_clip
        self._classifier_text = self._proposal_text if same else TextEncoder(classifier_clip, role="classifier_clip")

    def __repr__(self) -> str:
        return f"CaR({', '.join(f'{each.role} {each.name}' for each in self.weights)}, {self.device}, {self.config!r})"

    @classmethod
    def from_config(
        cls,
        config: CaRConfig,
        *,
        weights: str | os.PathLike[str] | Mapping[str, str],
        device: str | torch.device = "cpu",
        load: Callable[..., tuple[nn.Module, WeightsRecord]] = load_clip,
        precision: Precision = "float32",
    ) -> CaR:
        """Build both models by ``config.proposal_model`` and ``config.classifier_model``.

        weights: a tag, file, miniature or random:SEED for both (see ``models.weights``), or a mapping with the keys
        "proposal" and "classifier". The miniature has its own architecture, which replaces the configured one.
        load: drop-in replacement for ``load_clip``, e.g. a cached one. Raises ModelError if a model is not available.
        """
        named = weights if isinstance(weights, Mapping) else dict.fromkeys(ROLES, weights)
        by_role = {role: os.fsdecode(name) for role, name in named.items()}
        if set(by_role) != set(ROLES):
            raise ModelError(f"weights: expected the keys {list(ROLES)}, found {sorted(by_role)}")
        names = {role: (model_of(getattr(config, f"{role}_model"), by_role[role]), by_role[role]) for role in ROLES}
        loaded: dict[tuple[str, str], tuple[nn.Module, WeightsRecord]] = {}
        for role, name in names.items():
            if name not in loaded:
                loaded[name] = load(*name, role=role, device=device)
        config = config.model_copy(update={f"{role}_model": model for role, (model, _) in names.items()})
        source, records = None, [replace(loaded[name][1], role=role) for role, name in names.items()]
        if config.sam:
            source, record = load_sam(config.sam, device=device)
            records.append(record)
        clips = {f"{role}_clip": loaded[name][0] for role, name in names.items()}
        car = cls(config, **clips, device=device, mask_source=source, precision=precision)
        car.weights = tuple(records)
        return car

    def with_config(self, config: CaRConfig | None = None, **changes: Any) -> CaR:
        """The same models, text features and cache under another configuration.

        config: None for the current one. changes: fields to change in it, as in ``theta=0.3``. Raises ConfigError,
        naming the field, for an unknown field, an impossible value, and another model.
        """
        config = config or self.config
        if named := {"profile", "mode"} & changes.keys():
            raise ConfigError(f"{min(named)}: expected a whole CaRConfig, whose values depend on it, found a change")
        config = CaRConfig(**{**config.model_dump(), **changes}) if changes else config
        for name in MODEL_FIELDS:
            expected, found = getattr(self.config, name), getattr(config, name)
            if expected != found:
                raise ConfigError(f"{name}: expected {expected!r}, which the models were built with, found {found!r}")
        other = copy.copy(self)
        other.config = config
        other._proposal = self._proposal.with_config(config)
        return other

    @property
    def proposal_tower(self) -> ProposalTower:
        """The vision tower of f."""
        return self._proposal.tower

    @property
    def trunk_batcher(self) -> MicroBatcher:
        """The batcher of f's trunk, as `classifier_batcher` is g's."""
        return self._proposal.batcher

    @property
    def smaller_passes(self) -> tuple[str, ...]:
        """Stages whose batches were halved because the device ran out of memory, in words."""
        batchers = {"trunk": self.trunk_batcher, "classifier": self.classifier_batcher}
        return tuple(f"{stage}: {batcher.shrink_note}" for stage, batcher in batchers.items() if batcher.shrink_note)

    def check_queries(self, queries: Sequence[str]) -> tuple[str, ...]:
        """The queries as a tuple. Raises QueryError for none, a blank or repeated one, or one over the context, and
        ModelError if a model changed since this was built."""
        for encoder in dict.fromkeys((self._proposal_text, self._classifier_text)):
            encoder.check_unchanged()
        checked = check_texts("queries", queries)
        require_any(queries=checked)
        for query in checked:
            for template in self.config.templates or (no_template(self.config),):
                self._classifier_text.check(query, template)
            self._proposal_text.check(query, self.config.cam_template)
        return checked

    def segment(
        self, image: ImageLike, queries: Sequence[str], *, background: Sequence[str] | None = None, trace: bool = False
    ) -> Segmentation:
        """Segment one image: uint8 [H, W, 3] RGB, or a PIL image or file (whose EXIF orientation is applied).

        background: background queries in place of ``config.background``. ``trace=True`` keeps every step's
        proposals at the image's size. Raises QueryError, ImageError, and ModelError where a model gives NaN.
        """
        checked = self.check_queries(queries)
        background = self._check_background(self.config.background if background is None else background)
        [coarse] = self._segment_coarse([as_rgb(image)], [[(checked, background, self.config.prompts)]], trace)
        return self._refine(coarse)

    def segment_frames(
        self, frames: Iterable[ImageLike], queries: Sequence[str], *, carry: bool | None = None
    ) -> Iterator[Segmentation]:
        """Segment the frames of a video one by one, as the results are consumed; each result covers all queries.

        carry: whether a frame starts with the queries that survived the previous one; once none is left, the remaining
        frames stay empty. None: as ``config.carry_queries``. Raises QueryError at once, and as ``segment`` per frame.
        """
        checked = self.check_queries(queries)
        carry = self.config.carry_queries if carry is None else carry

        def found() -> Iterator[Segmentation]:
            alive = checked
            for frame in frames:
                image = as_rgb(frame)
                empty = replace(Segmentation.of_nothing(*image.shape[:2]), image=image, config=self.config)
                own = self.segment(image, alive) if alive else empty
                if carry:
                    alive = tuple(own.queries[i] for i in own.kept)
                yield own.among(checked)

        return found()

    def segment_batch(
        self, images: Sequence[ImageLike], queries_per_image: Sequence[Sequence[str]], *, trace: bool = False
    ) -> list[Segmentation]:
        """Segment several images, whose prompted images are scored together. An image's result does not depend on the
        others. Raises as ``segment``, before any work, naming the image's index."""
        return [self._refine(each) for each in self.segment_coarse_batch(images, queries_per_image, trace=trace)]

    def segment_coarse_batch(
        self, images: Sequence[ImageLike], queries_per_image: Sequence[Sequence[str]], *, trace: bool = False
    ) -> list[CoarseSegmentation]:
        """``segment_batch`` up to the refinement, which needs no model and can run elsewhere."""
        inputs = check_batch(images, queries_per_image, self.check_queries)
        background, prompts = self._check_background(self.config.background), self.config.prompts
        passes = [[(queries, background, prompts)] for _, queries in inputs]
        return self._segment_coarse([image for image, _ in inputs], passes, trace)

    def segment_two_pass(
        self, image: ImageLike, things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> Segmentation:
        """Segment things and stuff separately, each with the other's names as background, and paint stuff first.

        The result's queries are the things, then the stuff; its steps are those of the thing pass, then those of the
        stuff pass. Switches: ``thing_background``, ``stuff_prompts``. Raises QueryError, also for a name in both.
        """
        passes = self._two_passes(things, stuff)
        [coarse] = self._segment_coarse([as_rgb(image)], [passes], trace)
        return self._refine(coarse)

    def segment_two_pass_batch(
        self, images: Sequence[ImageLike], things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> list[Segmentation]:
        """``segment_two_pass`` of several images with the same names, as independent as in ``segment_batch``."""
        return [self._refine(each) for each in self.segment_coarse_two_pass_batch(images, things, stuff, trace=trace)]

    def segment_coarse_two_pass_batch(
        self, images: Sequence[ImageLike], things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> list[CoarseSegmentation]:
        """``segment_two_pass_batch`` up to the refinement, as in ``segment_coarse_batch``."""
        inputs = check_batch(images, [[*things, *stuff]] * len(images), self.check_queries)
        passes = self._two_passes(things, stuff)
        return self._segment_coarse([image for image, _ in inputs], [passes] * len(images), trace)

    def _two_passes(self, things: Sequence[str], stuff: Sequence[str]) -> list[_Pass]:
        """The pass over the things, then the one over the stuff. Raises QueryError."""
        config = self.config
        require_any(things=check_texts("things", things), stuff=check_texts("stuff", stuff))
        self.check_queries([*things, *stuff])
        thing_background = {"stuff": stuff, "common": config.background}[config.thing_background]
        stuff_prompts = config.prompts if config.stuff_prompts is None else config.stuff_prompts  # may be empty
        return [
            (tuple(things), self._check_background(thing_background), config.prompts),
            (tuple(stuff), self._check_background(things), stuff_prompts),
        ]

    def _check_background(self, background: Sequence[str]) -> tuple[str, ...]:
        checked = check_texts("background", background)
        for text in checked:
            self._proposal_text.check(text, self.config.cam_template)
        return checked

    @fresh_torch()
    @gpu_times_at_end()
    def _segment_coarse(
        self, images: Sequence[RGBArray], passes_per_image: Sequence[Sequence[_Pass]], trace: bool
    ) -> list[CoarseSegmentation]:
        """On checked inputs. An image is encoded by f only once for all of its passes."""
        seconds: list[list[StageTimes]] = [[{} for _ in passes] for passes in passes_per_image]

        def encode(indices: list[int]) -> list[EncodedImage]:
            return self._proposal.encode([images[i] for i in indices], [seconds[i][0] for i in indices])

        encoded_images = self._cached("trunk", [self._trunk_inputs(image) for image in images], encode)
        jobs = []
        for image, encoded, passes, times in zip(images, encoded_images, passes_per_image, seconds, strict=True):
            _require_finite("trunk", encoded.last.image_feature)
            canvas = None
            for (queries, background, prompts), own_times in zip(passes, times, strict=True):
                if canvas is None or canvas.prompts != prompts:
                    with timed("prompts", self.device, own_times):
                        canvas = PromptCanvas.from_image(image, prompts, self.config.gray_weights)
                models = Models(partial(self._propose, image, encoded, own_times), partial(self._match, own_times))
                loop = recurrence(canvas, queries, models, self.config, background=background, trace=trace)
                jobs.append(_Job(canvas, loop, own_times))
        active = [job for job in jobs if self._advance(job)]
        while active:  # one step at a time, so that all jobs share g's forward passes
            self._encode_new_masks([job for job in active if job.new])
            active = [job for job in active if self._advance(job)]
        done, coarse = map(self._coarse_pass, jobs), []
        for passes in passes_per_image:
            all_queries = tuple(query for queries, *_ in passes for query in queries)
            coarse.append(CoarseSegmentation(all_queries, tuple(islice(done, len(passes)))))
        return coarse

    def _trunk_inputs(self, image: RGBArray) -> tuple[object, ...]:
        config = self.config
        return *self._proposal_key, config.positional_half, config.cam, config.max_patches, image

    def _propose(
        self, image: RGBArray, encoded: EncodedImage, seconds: StageTimes, texts: list[str], background: list[str]
    ) -> Tensor:
        """`Models.propose` of one image, cached."""
        inputs = (*self._trunk_inputs(image), texts, background, self.config.lambda_, self.config.mode)
        [proposals] = self._cached(
            "proposals", [inputs], lambda _: [self._proposal(encoded, texts, background, seconds)]
        )
        _require_finite("proposals", proposals)
        return proposals

    def _match(self, seconds: StageTimes, features: Tensor, rows: list[list[str]], ensemble: str) -> Tensor:
        """`Models.match`."""
        with timed("texts", self.device, seconds):
            texts = torch.stack(self._classifier_text(zip(*rows, strict=True)), dim=1)  # a query in all templates
        with timed("classifier", self.device, seconds):
            matrix = similarity_matrix(features, texts, self.classifier_tower.logit_scale, ensemble)
            _require_finite("classifier", matrix)
        return matrix

    def _advance(self, job: _Job) -> bool:
        """Send the features of the job's last masks and receive its next masks; false if its recurrence has ended.

        Equal masks give equal prompted images, within a step (empty proposals) and from one step to the next. So masks
        are identified by their digest, and g sees each only once.
        """
        try:
            answer = [job.features[digest] for digest in job.digests]
            masks = job.loop.send(torch.stack(answer)) if answer else next(job.loop)
        except StopIteration as end:
            job.output = end.value
            return False
        with timed("prompts", self.device, job.seconds):
            packed = [np.packbits(mask) for mask in masks]
            job.digests = [hashlib.sha256(bits.tobytes()).digest() for bits in packed]
        step = zip(job.digests, packed, strict=True)
        job.new = {digest: bits for digest, bits in step if digest not in job.features}
        return True

    def _encode_new_masks(self, jobs: list[_Job]) -> None:
        """g's features of each job's new masks."""
        if not jobs:
            return

        def encode(indices: list[int]) -> list[Tensor]:
            chosen, prompted = [jobs[i] for i in indices], []
            tower_encode = partial(self.classifier_tower.encode, feature=self.config.classifier_feature)
            render = render_on_gpu if is_gpu(self.device) else render_on_cpu
            for job in chosen:
                with timed("prompts", self.device, job.seconds):
                    prompted.append(render(job.canvas, list(job.new.values()), self.classifier_tower))
            with timed("classifier", self.device, *(job.seconds for job in chosen)):
                rows = self.classifier_batcher.encode(tower_encode, prompted)
                return [torch.stack(own) for own in rows]

        settings = (*self._classifier_key, self.config.classifier_feature, self.config.gray_weights)
        # One entry per job, not per mask: micro-batches are then the same with and without a cache.
        inputs = [(*settings, job.canvas.image, list(job.new), job.canvas.prompts) for job in jobs]
        for job, features in zip(jobs, self._cached("classifier", inputs, encode), strict=True):
            job.features.update(zip(job.new, features, strict=True))

    def _cached(
        self, stage: str, inputs: Sequence[tuple[object, ...]], compute: Callable[[list[int]], list[Result]]
    ) -> list[Result]:
        """`StageCache.get_or_compute_all`, if there is a cache."""
        if self.cache is None:
            return compute(list(range(len(inputs))))
        return self.cache.get_or_compute_all(stage, inputs, compute)

    def _coarse_pass(self, job: _Job) -> CoarsePass:
        """The result of a finished job, with SAM's candidates, on the CPU."""
        assert job.output is not None
        image, config, candidates = job.canvas.image, self.config, None
        if self._mask_source:
            with timed("sam", self.device, job.seconds):
                candidates = self._mask_source.masks(image)
        compete, device = config.mode == "semantic", str(self.device)
        request = RefineRequest(image, job.output.proposals, compete, config.crf, config.crf_image, device)
        return CoarsePass(job.output, request, config, job.seconds, candidates)

    def _refine(self, coarse: CoarseSegmentation) -> Segmentation:
        def refined(request: RefineRequest) -> RefineResult:
            if not len(request.proposals):  # nothing to refine, and nothing worth caching
                return refine_masks(request)
            start = time.perf_counter()
            [result] = self._cached("refine", [request.inputs], lambda _: [refine_masks(request)])
            return replace(result, seconds=time.perf_counter() - start)  # a cached result takes no time

        return coarse.segmentation([refined(request) for request in coarse.requests])


def _require_finite(stage: str, values: Tensor) -> None:
    """Raise ModelError, naming the stage, for NaN or infinity: every comparison with NaN would be false."""
    if not torch.isfinite(values).all():
        raise ModelError(f"{stage}: expected finite numbers from the model, found NaN or infinity")
