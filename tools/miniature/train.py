"""Train the miniature's CLIP on captioned emoji scenes; see README.md beside this file.

python tools/miniature/train.py --packages DIR/node_modules/@iconify-json --work DIR [--batches N] [--resume]
    [--start WEIGHTS.safetensors]
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from evaluate import HeldOutTest
from optimizer import build_optimizers
from scenes.batches import Batch, Lesson, stream_batches
from scenes.captions import N_TOPICS, all_words
from scenes.compose import SceneStyle
from scenes.vocabulary import load_concepts
from torch import Tensor, nn
from towers import (
    CaptionTokenizer,
    build_model,
    encode_texts,
    grid_positions,
    known_tokens,
    load_model,
    narrow_vocabulary,
    normalize_pixels,
    pooled_features,
    save_weights,
    start_from_images,
)

POOLING_WEIGHTS = {"class": 1.0, "patches": 1.0, "early": 0.25, "local": 0.5, "value": 1.0}
ATTRIBUTE_SHARE = 0.5
"""Length of an attribute's direction (color, place, size) beside a concept's or background's; see text_loss."""
BACKGROUND_WEIGHT, CAPTION_WEIGHT = 0.15, 0.7
"""Weights of a scene's backgrounds and of its own caption beside its objects' captions (1 in all)."""
SALIENCE = 2.0
"""Logits by which an object's caption is to outdo those of backgrounds."""
TEXT_BATCHES = 250
"""Batches at the start that teach the text tower alone; see text_loss."""
WARMUP = 100
DECAY_SHARE, WHOLE_SHARE = 0.43, 0.02
"""Shares of all batches: the learning rate falls to zero over the last; at the very last, whole images are seen."""
SINGLE_SHARE = 0.4
"""Share of all batches that show mostly single objects, on small images."""
START_SCALE, MAX_SCALE = 20.0, 100.0
"""Logit scale (inverse temperature) at the start, and its limit."""

SINGLE = Lesson(
    64,
    SceneStyle(lone_sizes=(0.6, 1.0), sizes=(0.5, 0.75), variation=0.5, plain=0.4, same_concept=0.0),
    (0.85, 0.15),
    0.0,
)
SCENES = Lesson(160, SceneStyle(variation=0.6, zoom=1.25), (0.35, 0.35, 0.3), 0.7)
LARGE_SCENES = Lesson(240, SceneStyle(variation=0.6, zoom=1.8), (0.3, 0.35, 0.35), 0.1)


@dataclass
class Trainer:
    """The model with its running average, optimizers and tokenizer."""

    model: Any
    average: dict[str, Tensor]
    optimizers: list[torch.optim.Optimizer]
    tokens: list[int]
    tokenizer: CaptionTokenizer
    image_encoder: Callable[[Any, Tensor, Tensor, float, bool], dict[str, Tensor]]
    batch: int = 0
    first: int = 0
    """Batch at which the optimizers were new: the learning rate rises from there."""

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "model": self.model.state_dict(),
            "average": self.average,
            "batch": self.batch,
            "first": self.first,
            "optimizers": [o.state_dict() for o in self.optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.model.load_state_dict(state["model"])
        self.average, self.batch, self.first = state["average"], state["batch"], state.get("first", 0)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def new_trainer(device: str, matrix_lr: float, other_lr: float, start: Path | None) -> Trainer:
    """A trainer at batch 0, of a new model or of one with the weights of a file."""
    model: Any = build_model() if start is None else load_model(start).train()
    tokens = known_tokens(all_words())
    narrow_vocabulary(model, tokens)
    model.to(device)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    encoder = torch.compile(pooled_features, dynamic=False)
    return Trainer(
        model,
        average,
        build_optimizers(model, matrix_lr, other_lr),
        tokens,
        CaptionTokenizer(tokens),
        encoder,
    )


def lesson_plan(batches: int) -> list[Lesson]:
    """The lesson of every batch: single objects first, then scenes, every third batch of them large."""
    later = [LARGE_SCENES if index % 3 == 2 else SCENES for index in range(batches)]
    early = [SINGLE] * int(SINGLE_SHARE * batches)
    return early + later[len(early) :]


def kept_share(lesson: Lesson, whole: bool) -> float:
    """Share of patches that the image tower sees: fewer while learning fast, all at the end."""
    if lesson is LARGE_SCENES:
        return 0.4 if whole else 0.2
    return 1.0 if whole or lesson is SINGLE else 0.4


def learning_rate_factor(batch: int, batches: int, first: int) -> float:
    """Rises over WARMUP batches from `first` on, stays at one, falls linearly to zero over the last DECAY_SHARE."""
    started = batch - max(first, TEXT_BATCHES) if batch >= TEXT_BATCHES else batch
    return min(1.0, (started + 1) / WARMUP, (batches - batch) / (DECAY_SHARE * batches))


def positive_weights(facts: Tensor, n_captions: int) -> Tensor:
    """Weight of every true caption of each image: topics of the scene, then its own caption; [N, topics + N]."""
    n_concepts = len(load_concepts())
    objects, backgrounds = facts[:, :n_concepts], facts[:, n_concepts:N_TOPICS]
    objects = objects / objects.sum(1, keepdim=True).clamp(min=1)
    backgrounds = BACKGROUND_WEIGHT * backgrounds / backgrounds.sum(1, keepdim=True).clamp(min=1)
    own = CAPTION_WEIGHT * torch.eye(n_captions, device=facts.device)
    return torch.cat([objects, backgrounds, own], dim=1)


def truth_table(facts: Tensor, caption_facts: Tensor) -> Tensor:
    """Which captions are true of which images: bool [N, topics + captions]."""
    stated = caption_facts.sum(1)
    own = facts @ caption_facts.T >= stated - 0.5
    return torch.cat([facts[:, :N_TOPICS] > 0, own], dim=1)


def contrastive_loss(logits: Tensor, positives: Tensor, truth: Tensor) -> Tensor:
    """Each true caption against the false ones of its image, and each image against those its caption is false of.

    A caption of an object is also held against those of its background and of the other objects: what a picture is of
    outranks what is behind, and no object outranks another.
    """
    n_concepts = len(load_concepts())
    false = logits.masked_fill(truth, -1e4)
    rivals = false.logsumexp(1, keepdim=True)
    behind = SALIENCE + logits[:, n_concepts:N_TOPICS]
    shown = logits[:, :n_concepts].masked_fill(~truth[:, :n_concepts], -1e4)
    objects = torch.cat([rivals, behind, shown], dim=1).logsumexp(1, keepdim=True) - logits[:, :n_concepts]
    to_text = torch.cat([objects, F.softplus(rivals - logits[:, n_concepts:])], dim=1)
    to_image = F.softplus(false.logsumexp(0, keepdim=True) - logits)
    return ((to_text + to_image) * positives).sum() / (2 * positives.sum())


def batch_loss(trainer: Trainer, batch: Batch, lesson: Lesson, whole: bool, device: str) -> dict[str, Tensor]:
    """Losses of a batch: one a pooling."""
    images = normalize_pixels(torch.from_numpy(batch.images).to(device))
    facts, caption_facts = (torch.from_numpy(array).to(device) for array in (batch.facts, batch.caption_facts))
    texts, inverse = _distinct(batch.topic_captions + batch.captions)
    text = encode_texts(trainer.model, trainer.tokenizer, texts)[inverse]
    scale = trainer.model.logit_scale.exp()
    positives, truth = positive_weights(facts, len(facts)), truth_table(facts, caption_facts)
    visual = trainer.model.visual
    positions = grid_positions(visual, images.shape[-1] // visual.conv1.stride[0])
    pooled = trainer.image_encoder(visual, images, positions, kept_share(lesson, whole), lesson is SCENES)
    with torch.autocast(device, enabled=False):
        return {
            name: contrastive_loss(_logits(scale * image.float(), text.float()), positives, truth)
            for name, image in pooled.items()
        }


def _logits(images: Tensor, text: Tensor) -> Tensor:
    """Similarities [N, texts] of image vectors [N, D], or of the patches [N, patches, D] that fit a text best."""
    similarities = images @ text.T
    if similarities.ndim == 2:
        return similarities
    return similarities.logsumexp(1) - math.log(similarities.shape[1])


def text_loss(trainer: Trainer, batch: Batch, device: str) -> dict[str, Tensor]:
    """How far captions are from a fixed random direction of each fact they state, added up.

    Left to the contrastive loss alone, all captions stay within a narrow cone for most of a short training, and the
    images have nothing to tell apart.
    """
    topics = torch.eye(N_TOPICS, batch.facts.shape[1])
    facts = torch.cat([topics, torch.from_numpy(batch.caption_facts)])
    weights = torch.full((facts.shape[1], 1), ATTRIBUTE_SHARE)
    weights[:N_TOPICS] = 1.0
    table = torch.randn(facts.shape[1], trainer.model.text_projection.shape[1], generator=torch.manual_seed(1))
    target = F.normalize(facts @ (weights * F.normalize(table, dim=1)), dim=1).to(device)
    texts, inverse = _distinct(batch.topic_captions + batch.captions)
    text = encode_texts(trainer.model, trainer.tokenizer, texts)[inverse]
    return {"text": (1 - (text.float() * target).sum(1)).mean()}


def _distinct(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    distinct = list(dict.fromkeys(texts))
    index = {text: i for i, text in enumerate(distinct)}
    return distinct, [index[text] for text in texts]


def train_step(
    trainer: Trainer, batch: Batch, lesson: Lesson, whole: bool, factor: float, device: str
) -> dict[str, float]:
    """One update; returns the losses."""
    with torch.autocast(device, torch.bfloat16):
        taught = trainer.batch < TEXT_BATCHES
        losses = text_loss(trainer, batch, device) if taught else batch_loss(trainer, batch, lesson, whole, device)
    total = sum(
        (POOLING_WEIGHTS.get(name, 1.0) * loss for name, loss in losses.items()), torch.zeros((), device=device)
    )
    total.backward()
    nn.utils.clip_grad_norm_(trainer.model.parameters(), 2.0)
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("full_lr", group["lr"]) * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        trainer.model.logit_scale.clamp_(max=float(torch.tensor(MAX_SCALE).log()))
    update_average(trainer)
    trainer.batch += 1
    return {name: loss.item() for name, loss in losses.items()}


@torch.no_grad()
def update_average(trainer: Trainer) -> None:
    """Move the running average of the weights; its memory grows to 500 batches."""
    decay = min(0.998, (1 + trainer.batch) / (10 + trainer.batch))
    names, values = zip(*trainer.model.state_dict().items(), strict=True)
    torch._foreach_lerp_([trainer.average[name] for name in names], list(values), 1 - decay)


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a reader never sees half of it."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def report(
    trainer: Trainer, weights: Path, test: HeldOutTest, losses: dict[str, float], images: int, seconds: float
) -> None:
    """Print one line: progress, losses, speed, and accuracy of the averaged weights as written."""
    accuracy = " ".join(f"{name} {value:.3f}" for name, value in test.accuracies(load_model(weights)).items())
    loss = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
    scale = trainer.model.logit_scale.exp().item()
    print(
        f"{time.strftime('%H:%M:%S')} batch {trainer.batch} loss {loss} scale {scale:.1f} "
        f"images/s {images / seconds:.1f} | {accuracy}",
        flush=True,
    )


def run(options: argparse.Namespace) -> None:
    """Train from a checkpoint or from nothing until the last batch; the last weights are written at the end."""
    torch.manual_seed(options.seed)
    checkpoints = options.work / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    trainer = new_trainer(options.device, options.matrix_lr, options.other_lr, options.start)
    if options.start:
        trainer.batch = trainer.first = max(TEXT_BATCHES, int(SINGLE_SHARE * options.batches))
    if options.resume:
        trainer.restore(torch.load(checkpoints / "last.pt", map_location=options.device, weights_only=True))
    test = HeldOutTest(options.packages, options.work / "sprites")
    plan = lesson_plan(options.batches)
    weights = checkpoints / "miniature.safetensors"
    recent: dict[str, float]
    start, recent = time.time(), {}
    done, saved = 0, time.time()
    for batch in stream_batches(
        options.packages, options.work / "sprites", options.seed, options.batch_size, plan, trainer.batch
    ):
        factor = learning_rate_factor(trainer.batch, options.batches, trainer.first)
        if trainer.batch == 0:
            start_from_images(trainer.model, normalize_pixels(torch.from_numpy(batch.images)), START_SCALE)
        whole = trainer.batch >= (1 - WHOLE_SHARE) * options.batches
        losses = train_step(trainer, batch, plan[trainer.batch], whole, factor, options.device)
        recent = {name: 0.95 * recent.get(name, loss) + 0.05 * loss for name, loss in losses.items()}
        done += len(batch.images)
        if trainer.batch == int((1 - DECAY_SHARE) * options.batches):
            save_atomically(trainer.state(), checkpoints / "before_decay.pt")
        if time.time() - saved > options.save_every or trainer.batch == options.batches:
            save_atomically(trainer.state(), checkpoints / "last.pt")
            # At the end the learning rate has fallen to zero: the average would only look back.
            state = trainer.model.state_dict() if trainer.batch == options.batches else trainer.average
            save_weights(state, trainer.tokens, weights)
            report(trainer, weights, test, recent, done, time.time() - start)
            start, done, saved = time.time(), 0, time.time()


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="folder of the @iconify-json packages")
    parser.add_argument("--work", type=Path, required=True, help="folder for rendered sprites and checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from checkpoints/last.pt")
    parser.add_argument("--start", type=Path, help="start from these weights, past the lessons for beginners")
    parser.add_argument("--batches", type=int, default=6800)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--matrix-lr", type=float, default=0.02)
    parser.add_argument("--other-lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds between checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    chosen = parse_options()
    torch.set_num_threads(chosen.threads)
    run(chosen)
