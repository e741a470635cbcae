"""CaR itself: two frozen CLIP models in a loop over one or many images."""

from __future__ import annotations

import copy
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from car_core.classifier.similarity import similarity_matrix
from car_core.classifier.tower import ClassifierTower
from car_core.config import CaRConfig, Precision, format_text
from car_core.engine.batching import Passes, images_on_a_cpu
from car_core.engine.device import as_device
from car_core.engine.precision import dtype_of
from car_core.engine.prompt_rendering import Picture, drawing_on
from car_core.engine.stage_cache import Result, StageMemory, number_of
from car_core.engine.timing import Seconds, timed, timed_all
from car_core.errors import ConfigError, ModelError, QueryError
from car_core.images import ImageLike, as_rgb, binarized, size_of, upsample_all
from car_core.models.clip import check_vision_tower
from car_core.models.names import ROLES, model_of
from car_core.models.text_encoder import TextEncoder
from car_core.models.weights import WeightsRecord, load_clip
from car_core.proposal.generator import EncodedImage, ProposalGenerator
from car_core.proposal.trunk import ProposalTower
from car_core.queries import check_texts, require_any
from car_core.recurrence import Recurrence, classifier_texts, ensemble_name, no_template, proposal_texts
from car_core.refine.mask_source import MaskSource
from car_core.segmentation import Segmentation
from car_core.unrefined import Pass, Refined, RefineTask, Unrefined, refined
from support.arrays import Float32Array, RGBArray
from support.errors import ImageError

# Fields that say which models there are.
BUILT_IN = ("proposal_model", "classifier_model", "sam")


@dataclass
class _Job:
    """One image on its way through the loop."""

    picture: Picture
    encoded: EncodedImage
    recurrence: Recurrence
    background: tuple[str, ...]
    seconds: dict[str, float]
    proposals: Tensor = field(default_factory=lambda: torch.empty(0))  # [n, h, w] of the step at hand
    shown: list[bytes] = field(default_factory=list)  # digest of each mask of the step at hand
    prompted: list[RGBArray] = field(default_factory=list)  # n of [H, W, 3] of the step at hand, if traced
    features: dict[bytes, Tensor] = field(default_factory=dict)  # g's feature [E] of each mask so far


class CaR:
    """CLIP as RNN (arXiv:2312.07661v3): segments any phrases in an image, without training.

    proposal_clip (f) and classifier_clip (g) are open_clip models with ViT towers, built by the caller, of any size
    and patch size, in float32; they may be the same model. They are moved to ``device`` and set to evaluation mode.
    mask_source: gives the candidates for ``config.sam``, e.g. ``refine.sam.SAMMasks``. precision: what the image
    encoders multiply in; see ``car_core.engine.precision``.
    """

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
        self.config = config
        self._mask_source = mask_source
        self.device = as_device(device)
        self.precision = precision
        dtype = dtype_of(precision, self.device)
        self.weights: tuple[WeightsRecord, ...] = ()
        self.memory: StageMemory | None = None
        for role, model in (("proposal_clip", proposal_clip), ("classifier_clip", classifier_clip)):
            check_vision_tower(model, role)
            model.to(self.device).eval()
        # What results of f and of g are found by in the memory, besides settings and inputs.
        self._of_proposal = (number_of(proposal_clip), precision, str(self.device))
        self._of_classifier = (number_of(classifier_clip), precision, str(self.device))
        self.classifier_tower = ClassifierTower(classifier_clip, feature=config.classifier_feature, dtype=dtype)
        most = images_on_a_cpu(self.classifier_tower.activation_bytes)
        self.classifier_passes = Passes.on(self.device, cpu=most, gpu=32)
        self._proposal_text = TextEncoder(proposal_clip, role="proposal_clip")
        self._proposal = ProposalGenerator(proposal_clip, self._proposal_text, config, self.device, dtype)
        same = classifier_clip is proposal_clip
        self._classifier_text = self._proposal_text if same else TextEncoder(classifier_clip, role="classifier_clip")

    @classmethod
    def from_config(
        cls,
        config: CaRConfig,
        *,
        weights: str | Mapping[str, str],
        device: str | torch.device = "cpu",
        load: Callable[..., tuple[nn.Module, WeightsRecord]] = load_clip,
        precision: Precision = "float32",
    ) -> CaR:
        """Build both models by ``config.proposal_model`` and ``config.classifier_model``.

        weights: a tag, file, miniature or random:SEED for both (see ``models.weights``), or a mapping with the keys
        "proposal" and "classifier". The miniature brings its own architecture: then the configuration kept names it
        in place of the model asked for. load: reads one model as ``load_clip`` does, for callers that keep models.
        Raises ModelError when a model cannot be had.
        """
        by_role = dict.fromkeys(ROLES, weights) if isinstance(weights, str) else dict(weights)
        if set(by_role) != set(ROLES):
            raise ModelError(f"weights: expected the keys {list(ROLES)}, found {sorted(by_role)}")
        models = {role: model_of(getattr(config, f"{role}_model"), by_role[role]) for role in ROLES}
        loaded: dict[tuple[str, str], tuple[nn.Module, WeightsRecord]] = {}
        for role, model in models.items():
            key = (model, by_role[role])
            if key not in loaded:
                loaded[key] = load(*key, role=role, device=device)
        (proposal, _), (classifier, _) = (loaded[models[role], by_role[role]] for role in ROLES)
        config = config.model_copy(update={f"{role}_model": model for role, model in models.items()})
        source, sam_weights = _mask_source_of(config, device)
        made = {"proposal_clip": proposal, "classifier_clip": classifier}
        car = cls(config, **made, device=device, mask_source=source, precision=precision)
        own = [replace(loaded[models[role], by_role[role]][1], role=role) for role in ROLES]
        car.weights = (*own, *sam_weights)
        return car

    def with_config(self, config: CaRConfig) -> CaR:
        """The same models, text features and memory under another configuration.

        Raises ConfigError, naming the field, for one that names other models.
        """
        for name in BUILT_IN:
            expected, found = getattr(self.config, name), getattr(config, name)
            if expected != found:
                raise ConfigError(f"{name}: expected {expected!r}, which the models were built with, found {found!r}")
        other = copy.copy(self)
        other.config = config
        other._proposal = self._proposal.with_config(config)
        other.classifier_tower = self.classifier_tower.with_feature(config.classifier_feature)
        return other

    @property
    def proposal_tower(self) -> ProposalTower:
        """The vision tower of f."""
        return self._proposal.tower

    @property
    def trunk_passes(self) -> Passes:
        """Those of f's trunk, as `classifier_passes` are g's."""
        return self._proposal.passes

    @property
    def smaller_passes(self) -> tuple[str, ...]:
        """What ran in smaller passes because the device was out of memory, by stage, in words."""
        passes = {"trunk": self.trunk_passes, "classifier": self.classifier_passes}
        return tuple(f"{stage}: {own.shrinking}" for stage, own in passes.items() if own.shrinking)

    def check_queries(self, queries: Sequence[str]) -> tuple[str, ...]:
        """The queries as a tuple. Raises QueryError for none, a blank or repeated one, or one over the context."""
        checked = check_texts("queries", queries)
        if not checked:
            raise QueryError("queries: expected at least one text, found none")
        for query in checked:
            for template in self.config.templates or (no_template(self.config),):
                self._classifier_text.check(query, template)
            self._proposal_text.check(query, self.config.cam_template)
        return checked

    def segment(
        self, image: ImageLike, queries: Sequence[str], *, background: Sequence[str] | None = None, trace: bool = False
    ) -> Segmentation:
        """Segment one image: uint8 [H, W, 3] RGB or a PIL image (whose EXIF orientation is applied).

        background: background queries in place of ``config.background``. ``trace=True`` keeps every step's
        proposals at the image's size. Raises QueryError and ImageError.
        """
        [found] = self._run(self._start([image], [queries], background=background), trace)
        return self._refine(Unrefined(found.queries, (found,)))

    def segment_batch(
        self,
        images: Sequence[ImageLike],
        queries_per_image: Sequence[Sequence[str]],
        *,
        trace: bool = False,
    ) -> list[Segmentation]:
        """Segment several images, their prompted images scored together. The result of an image does not depend on
        the others; raises as ``segment`` does, before any work, naming the image's position."""
        return [self._refine(each) for each in self.unrefined_batch(images, queries_per_image, trace=trace)]

    def unrefined_batch(
        self, images: Sequence[ImageLike], queries_per_image: Sequence[Sequence[str]], *, trace: bool = False
    ) -> list[Unrefined]:
        """``segment_batch`` up to the refinement, which a caller may have done elsewhere: it needs no model."""
        if len(images) != len(queries_per_image):
            raise QueryError(f"queries_per_image: expected {len(images)} lists, found {len(queries_per_image)}")
        inputs = [self._check_input(i, *pair) for i, pair in enumerate(zip(images, queries_per_image, strict=True))]
        found = self._run(self._start(*zip(*inputs, strict=True)) if inputs else [], trace)
        return [Unrefined(each.queries, (each,)) for each in found]

    def segment_two_pass(
        self, image: ImageLike, things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> Segmentation:
        """Things and stuff segmented apart, each with the other's names as background, and painted stuff first.

        The result's queries are the things, then the stuff; its steps are those of the thing pass, then those of the
        stuff pass. Switches: ``thing_background``, ``stuff_prompts``. Raises QueryError, also for a name in both.
        """
        return self._refine(self._run_two_passes([image], things, stuff, trace)[0])

    def segment_two_pass_batch(
        self, images: Sequence[ImageLike], things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> list[Segmentation]:
        """``segment_two_pass`` of several images with the same names, as independent as in ``segment_batch``."""
        return [self._refine(each) for each in self.unrefined_two_pass_batch(images, things, stuff, trace=trace)]

    def unrefined_two_pass_batch(
        self, images: Sequence[ImageLike], things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> list[Unrefined]:
        """``segment_two_pass_batch`` up to the refinement, as ``unrefined_batch`` is."""
        for position, image in enumerate(images):
            self._check_input(position, image, [*things, *stuff])
        return self._run_two_passes(images, things, stuff, trace)

    def _run_two_passes(
        self, images: Sequence[ImageLike], things: Sequence[str], stuff: Sequence[str], trace: bool
    ) -> list[Unrefined]:
        config = self.config
        require_any(things=things, stuff=stuff)
        queries = self.check_queries([*things, *stuff])
        behind_things = {"stuff": tuple(stuff), "common": config.background}[config.thing_background]
        first = self._start(images, [things] * len(images), background=behind_things)
        second = [self._again(job, stuff, background=things, prompts=config.stuff_prompts) for job in first]
        found = self._run([job for pair in zip(first, second, strict=True) for job in pair], trace)
        return [Unrefined(queries, both) for both in zip(found[::2], found[1::2], strict=True)]

    def _check_input(self, position: int, image: ImageLike, queries: Sequence[str]) -> tuple[RGBArray, Sequence[str]]:
        """Both as they go on; an error names the image's position in its batch."""
        try:
            return as_rgb(image), self.check_queries(queries)
        except (QueryError, ImageError) as error:
            raise type(error)(f"image {position}: {error}") from None

    def _check_background(self, background: Sequence[str]) -> tuple[str, ...]:
        checked = check_texts("background", background)
        for text in checked:
            self._proposal_text.check(text, self.config.cam_template)
        return checked

    def _start(
        self,
        images: Sequence[ImageLike],
        queries_per_image: Sequence[Sequence[str]],
        *,
        background: Sequence[str] | None = None,
    ) -> list[_Job]:
        checked = [self.check_queries(queries) for queries in queries_per_image]
        against = self._check_background(self.config.background if background is None else background)
        arrays = [as_rgb(image) for image in images]
        accounts: list[Seconds] = [defaultdict(float) for _ in images]
        encoded = self._encode(arrays, accounts)
        jobs = []
        for image, own, queries, seconds in zip(arrays, encoded, checked, accounts, strict=True):
            _require_finite("trunk", own.last.image_feature)
            picture = self._picture(image, self.config.prompts, seconds)
            jobs.append(_Job(picture, own, Recurrence(self.config, queries), against, seconds))
        return jobs

    def _picture(self, image: RGBArray, prompts: Sequence[str], seconds: Seconds) -> Picture:
        with timed(seconds, "prompts", self.device):
            return Picture.of(image, prompts, self.config.gray_weights)

    def _encode(self, images: Sequence[RGBArray], accounts: Sequence[Seconds]) -> list[EncodedImage]:
        def encode(places: list[int]) -> list[EncodedImage]:
            return self._proposal.encode([images[i] for i in places], [accounts[i] for i in places])

        return self._recalled_all("trunk", [self._trunk_inputs(image) for image in images], encode)

    def _trunk_inputs(self, image: RGBArray) -> tuple[object, ...]:
        config = self.config
        return *self._of_proposal, config.positional_half, config.cam, config.max_patches, image

    def _recalled(self, stage: str, inputs: tuple[object, ...], compute: Callable[[], Result]) -> Result:
        return compute() if self.memory is None else self.memory.recall(stage, inputs, compute)

    def _recalled_all(
        self, stage: str, inputs: Sequence[tuple[object, ...]], compute: Callable[[list[int]], list[Result]]
    ) -> list[Result]:
        if self.memory is None:
            return compute(list(range(len(inputs))))
        return self.memory.recall_all(stage, inputs, compute)

    def _again(
        self, job: _Job, queries: Sequence[str], *, background: Sequence[str], prompts: tuple[str, ...] | None
    ) -> _Job:
        """Another run on the image of ``job``, which is not encoded again."""
        picture, seconds = job.picture, defaultdict[str, float](float)
        if prompts not in (None, picture.prompts):
            picture = self._picture(picture.image, prompts, seconds)
        return replace(
            job,
            picture=picture,
            recurrence=Recurrence(self.config, self.check_queries(queries)),
            background=self._check_background(background),
            seconds=seconds,
            features={},
        )

    def _run(self, jobs: list[_Job], trace: bool) -> list[Pass]:
        while active := [job for job in jobs if not job.recurrence.finished]:
            new = [(job, self._new_masks(job, trace)) for job in active]
            self._classify([(job, masks) for job, masks in new if masks])
            for job in active:
                self._advance(job, trace)
        return [self._leave(job) for job in jobs]

    def _new_masks(self, job: _Job, trace: bool) -> dict[bytes, RGBArray]:
        """The step's masks that g has not seen, eight pixels a byte, by digest.

        Equal masks give equal images, in one step (empty proposals) and from one step to the next.
        """
        job.proposals = self._proposals(job)
        _require_finite("proposals", job.proposals)
        with timed(job.seconds, "prompts", self.device):
            size, eta = size_of(job.picture.image), self.config.eta
            masks = [np.packbits(binarized(y, size, eta)) for y in job.proposals]
            job.shown = [hashlib.sha256(bits.tobytes()).digest() for bits in masks]
            if trace:  # else one at a time is in memory
                job.prompted = [job.picture.drawn(bits) for bits in masks]
        return {shown: bits for shown, bits in zip(job.shown, masks, strict=True) if shown not in job.features}

    def _classify(self, new: list[tuple[_Job, dict[bytes, RGBArray]]]) -> None:
        """Run g on each job's new masks."""
        if not new:
            return
        # A job's at once, so that they are in the passes that they are in without a memory.
        inputs = [self._classifier_inputs(*each) for each in new]
        features = self._recalled_all("classifier", inputs, lambda places: self._features([new[i] for i in places]))
        for (job, masks), part in zip(new, features, strict=True):
            job.features.update(zip(masks, part, strict=True))

    def _classifier_inputs(self, job: _Job, masks: dict[bytes, RGBArray]) -> tuple[object, ...]:
        settings = (self.config.classifier_feature, self.config.gray_weights)
        return *self._of_classifier, *settings, job.picture.image, list(masks), job.picture.prompts

    def _features(self, new: list[tuple[_Job, dict[bytes, RGBArray]]]) -> list[Tensor]:
        """g's features [n, E] of each job's n masks, drawn into its image."""
        prompted = [self._prompted_images(job, list(masks.values())) for job, masks in new]
        with timed_all([job.seconds for job, _ in new], "classifier", self.device):
            rows = self.classifier_passes.encode(self.classifier_tower.encode, prompted)
            return [torch.stack(own) for own in rows]

    def _prompted_images(self, job: _Job, masks: list[RGBArray]) -> Tensor:
        """Preprocessed for g, uint8 [n, size, size, 3]."""
        with timed(job.seconds, "prompts", self.device):
            return drawing_on(self.device)(job.picture, masks, self.classifier_tower)

    def _proposals(self, job: _Job) -> Tensor:
        """f's proposals of the alive queries on the patch grid, float32 [n, h, w] in [0, 1]."""
        recurrence = job.recurrence
        alive = [recurrence.queries[i] for i in recurrence.alive]
        texts = proposal_texts(self.config, alive, recurrence.step)
        against = [format_text(self.config.cam_template, text) for text in job.background]
        inputs = (*self._trunk_inputs(job.picture.image), texts, against, self.config.lambda_, self.config.mode)
        return self._recalled("proposals", inputs, lambda: self._proposal(job.encoded, texts, against, job.seconds))

    def _advance(self, job: _Job, trace: bool) -> None:
        recurrence = job.recurrence
        rows = classifier_texts(self.config, recurrence.queries, recurrence.alive, recurrence.step)
        with timed(job.seconds, "texts", self.device):
            flat = self._classifier_text([text for row in rows for text in row])
        with timed(job.seconds, "classifier", self.device):
            texts = flat.view(len(rows), len(rows[0]), -1)
            ensemble = ensemble_name(self.config, recurrence.step)
            image_features = torch.stack([job.features[digest] for digest in job.shown])
            matrix = similarity_matrix(image_features, texts, self.classifier_tower.logit_scale, ensemble)
            _require_finite("classifier", matrix)
            scores: Float32Array = matrix.diagonal().float().cpu().numpy()
        size = size_of(job.picture.image)
        traced = (upsample_all(job.proposals, size), np.stack(job.prompted)) if trace else ()
        kept = recurrence.take(scores, *traced)
        if recurrence.finished:
            position = {index: i for i, index in enumerate(recurrence.steps[-1].queries)}
            job.proposals = job.proposals[[position[index] for index in kept]]

    def _leave(self, job: _Job) -> Pass:
        """What the recurrence leaves of an image; nothing of it is on a device any more."""
        recurrence, candidates = job.recurrence, None
        if self._mask_source:
            with timed(job.seconds, "sam", self.device):
                candidates = self._mask_source.masks(job.picture.image)
        return Pass(
            queries=recurrence.queries,
            kept=recurrence.alive,
            proposals=job.proposals.cpu().numpy(),
            steps=tuple(recurrence.steps),
            seconds=dict(job.seconds),
            image=job.picture.image,
            config=self.config,
            device=str(self.device),
            candidates=candidates,
        )

    def _refine(self, unrefined: Unrefined) -> Segmentation:
        return unrefined.segmentation([self._refined(task) for task in unrefined.tasks])

    def _refined(self, task: RefineTask) -> Refined:
        start = time.perf_counter()
        # Without a survivor there is nothing to refine, and nothing to remember.
        found = self._recalled("refine", task.inputs, lambda: refined(task)) if task.groups else refined(task)
        return replace(found, seconds=time.perf_counter() - start)


def _mask_source_of(
    config: CaRConfig, device: str | torch.device
) -> tuple[MaskSource | None, tuple[WeightsRecord, ...]]:
    """SAM by ``config.sam`` and the record of its weights; nothing without."""
    if config.sam is None:
        return None, ()
    from car_core.refine.sam import load_sam

    source, record = load_sam(config.sam, device=device)
    return source, (record,)


def _require_finite(stage: str, values: Tensor) -> None:
    """Raise ModelError naming the stage whose output holds NaN or infinity: every comparison with it would be false."""
    if not torch.isfinite(values).all():
        raise ModelError(f"{stage}: expected finite numbers from the model, found NaN or infinity")
