"""The vision tower of g: CLIP's class token of a square crop.

Shapes: B images, E embedding size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from car_core.engine.pillow_resize import Crop, by_pillow, center_crop
from car_core.engine.precision import in_precision
from car_core.errors import ModelError
from car_core.images import size_of
from car_core.models.clip import embed, normalization_of, normalize
from car_core.models.vit_blocks import first_token_block, residual_block
from support.arrays import RGBArray


class ClassifierTower:
    """The vision tower of g: CLIP's class token of a square crop. dtype: of its matrix products."""

    def __init__(self, model: Any, *, dtype: torch.dtype = torch.float32) -> None:
        visual = in_precision(model.visual, dtype)
        self.visual = visual
        self.logit_scale: float = float(model.logit_scale.detach().exp())
        self._normalization = normalization_of(visual)
        if len(set(visual.image_size)) > 1:
            raise ModelError(f"classifier: expected a model of square images, found {list(visual.image_size)}")

    @property
    def device(self) -> torch.device:
        """The model's device."""
        device: torch.device = self.visual.conv1.weight.device
        return device

    @property
    def activation_bytes(self) -> int:
        """Size of the largest activation of one image in a pass: the hidden layer of a block's MLP."""
        mlp = self.visual.transformer.resblocks[0].mlp
        return len(self.visual.positional_embedding) * int(mlp.c_fc.out_features) * 4

    def crop(self, height: int, width: int) -> Crop:
        """The part that the tower reads of an image of this size."""
        return center_crop(height, width, int(self.visual.image_size[0]))

    def preprocess(self, image: RGBArray) -> Tensor:
        """uint8 [H, W, 3] to uint8 [size, size, 3]: resized (bicubic) and cropped; mean and std come later."""
        return torch.from_numpy(by_pillow(image, self.crop(*size_of(image))))

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 [B, size, size, 3] to float32 [B, 3, size, size] on the model's device; see ``normalize``."""
        return normalize(images.to(self.device).permute(0, 3, 1, 2), self._normalization)

    def blocks(self, feature: str) -> list[Any]:
        """The blocks that run before the feature is taken; feature: the switch ``classifier_feature``."""
        blocks = list(self.visual.transformer.resblocks)
        return blocks[:-1] if feature == "before_last_block" else blocks

    @torch.inference_mode()
    def encode(self, images: Tensor, *, feature: str = "last_block") -> Tensor:
        """Unit features float32 [B, E] of preprocessed images, uint8 [B, size, size, 3], in one forward pass."""
        tokens = embed(self.visual, self.pixels(images), self.visual.positional_embedding)
        blocks = self.blocks(feature)
        for block in blocks[:-1]:
            tokens = residual_block(block, tokens)
        for block in blocks[-1:]:  # none in a tower of one block whose last is skipped
            tokens = first_token_block(block, tokens)
        features = self.visual.ln_post(tokens[:, 0]) @ self.visual.proj
        return F.normalize(features, dim=-1).float()
