"""Class-aware attention affinity (CLIP-ES): CAMs are propagated to the patches that attend to each other.

Source: Lin et al., "CLIP is Also an Efficient Segmenter" (CVPR 2023), as used by CaR.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from car_core.proposal.cam import min_max

# Attention is averaged over this many of the tower's last blocks.
AFFINITY_BLOCKS = 8
_NORMALIZATIONS = 3


@torch.inference_mode()
def sinkhorn_normalize(attention: Tensor) -> Tensor:
    """D [P, P]: columns then rows of W scaled to sum 1, three times in all, then symmetrized.

    attention: W [P, P], non-negative, rows are queries. The affinity is A = D @ D.

    >>> sinkhorn_normalize(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """
    normalized = attention
    for _ in range(_NORMALIZATIONS):
        normalized = normalized / normalized.sum(dim=0, keepdim=True)
        normalized = normalized / normalized.sum(dim=1, keepdim=True)
    return (normalized + normalized.T) / 2


def box_mask(cam: npt.NDArray[np.float32], lambda_: float) -> npt.NDArray[np.bool_]:
    """Union of the boxes around the parts of a CAM above ``lambda_`` times its maximum, bool [h, w].

    cam: float32 [h, w] in [0, 1]. It is scaled to 0..255 and truncated; each box is [x0, x1) x [y0, y1) with
    x1 <= w - 1 and y1 <= h - 1, so the last row and column are never inside (as in the released code:
    it changes results). If nothing passes, lambda is lowered by 0.1 until something does; an all-zero CAM has no box.

    >>> box_mask(np.eye(4, dtype=np.float32), lambda_=0.5).astype(int)  # one part: neighbors include diagonal ones
    array([[1, 1, 1, 0],
           [1, 1, 1, 0],
           [1, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    height, width = cam.shape
    levels = (cam * 255).astype(np.uint8)
    peak = int(levels.max())
    passed = levels > int(lambda_ * peak)
    while peak and not passed.any():
        lambda_ -= 0.1
        passed = levels > int(lambda_ * peak)
    contours, _ = cv2.findContours(passed.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    inside = np.zeros((height, width), np.bool_)
    for x, y, box_width, box_height in map(cv2.boundingRect, contours):
        inside[y : min(y + box_height, height - 1), x : min(x + box_width, width - 1)] = True
    return inside


@torch.inference_mode()
def propagate(cams: Tensor, affinity_root: Tensor, grid: tuple[int, int], lambda_: float) -> Tensor:
    """Proposals on the patch grid, float32 [n, P] in [0, 1]: A[:, B_c] @ CAM_c[B_c], min-max normalized.

    cams: [n, P] in [0, 1]; affinity_root: D [P, P]. A = D @ D is never formed: D @ (D @ x) is the same product.
    """
    boxes = [box_mask(cam, lambda_) for cam in cams.reshape(-1, *grid).cpu().numpy()]  # one copy: each waits for a GPU
    inside = torch.from_numpy(np.stack(boxes).reshape(len(cams), -1)).to(cams.device)
    return min_max((affinity_root @ (affinity_root @ (cams * inside).T)).T)
