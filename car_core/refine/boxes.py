"""Boxes of masks and non-maximum suppression, in plain numpy: torchvision's compiled op cannot load everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from support.arrays import BoolArray

Boxes = npt.NDArray[np.float64]


def boxes_of_masks(masks: BoolArray) -> Boxes:
    """xyxy of the first and last column and row with a pixel, float64 [M, 4], as SAM has them; zeros where empty.

    masks: bool [M, H, W].

    >>> boxes_of_masks(np.array([[[False, True, True], [False, True, False]]]))
    array([[1., 0., 2., 1.]])
    """
    boxes = np.zeros((len(masks), 4))
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def non_maximum_suppression(boxes: Boxes, scores: npt.NDArray[np.floating], threshold: float) -> npt.NDArray[np.intp]:
    """Indices of the boxes that stay, best first: none has an IoU above ``threshold`` with a better one that stays.

    boxes: xyxy [M, 4]; scores [M], equals in their order. A box without area has IoU 0 with every other.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[box_iou(boxes[best], boxes[order]) <= threshold]
    return np.asarray(kept, np.intp)


def box_iou(box: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """IoU of one xyxy box [4] with others [M, 4], float64 [M]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.maximum(sides, 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union = areas + (box[2:] - box[:2]).prod() - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))
