"""Data types of the encoders' products, and torch's settings while they are computed.

In half precision, the matrix products, convolutions and attention of both image encoders have half-precision inputs and
outputs. The residual stream to which they are added, layer norms, the trunk's softmax, projections, text features,
gradients, CAMs, affinity and scores stay in float32.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import nn

from car_core.engine.device import is_gpu
from car_core.errors import ModelError
from support.choices import Precision

DTYPES: Mapping[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_MULTIPLYING = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """The torch type of a precision. Raises ModelError for one that is unknown, or slower there than float32."""
    usual = [name for name in DTYPES if name != "float16" or is_gpu(device)]
    if precision not in usual:
        raise ModelError(f"precision: expected one of {', '.join(usual)} on {device.type}, found {precision!r}")
    return DTYPES[precision]


def in_precision(visual: Any, dtype: torch.dtype) -> Any:
    """A vision tower whose multiplying layers have this type: the tower itself for float32, otherwise a copy."""
    if dtype == torch.float32:
        return visual
    lowered = copy.deepcopy(visual)
    for module in lowered.modules():
        if isinstance(module, _MULTIPLYING):
            module.to(dtype)
    return lowered


# Process-wide settings of torch that change results: their owner, their name, and the right value.
_BACKENDS = torch.backends
_ATTRIBUTES: tuple[tuple[Any, str, object], ...] = (
    (_BACKENDS.mkldnn, "enabled", True),
    (_BACKENDS.mkldnn, "deterministic", False),
    (_BACKENDS.cudnn, "enabled", True),
    (_BACKENDS.cudnn, "benchmark", False),
    (_BACKENDS.cudnn, "deterministic", False),
    (_BACKENDS.cudnn, "allow_tf32", False),  # torch's default is True: the only default that is not kept
    (_BACKENDS.cuda.matmul, "allow_fp16_accumulation", False),
)
_FUNCTIONS: tuple[tuple[Any, Any, object], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (_BACKENDS.mha.get_fastpath_enabled, _BACKENDS.mha.set_fastpath_enabled, True),
    (_BACKENDS.cuda.flash_sdp_enabled, _BACKENDS.cuda.enable_flash_sdp, True),
    (_BACKENDS.cuda.mem_efficient_sdp_enabled, _BACKENDS.cuda.enable_mem_efficient_sdp, True),
    (_BACKENDS.cuda.math_sdp_enabled, _BACKENDS.cuda.enable_math_sdp, True),
    (_BACKENDS.cuda.cudnn_sdp_enabled, _BACKENDS.cuda.enable_cudnn_sdp, True),
    (_BACKENDS.cuda.fp16_bf16_reduction_math_sdp_allowed, _BACKENDS.cuda.allow_fp16_bf16_reduction_math_sdp, False),
    (torch._C._get_nnpack_enabled, torch._C._set_nnpack_enabled, True),
    *(
        (getattr(torch._C, f"_get_cublas_allow_{name}"), getattr(torch._C, f"_set_cublas_allow_{name}"), True)
        for name in ("fp16_reduced_precision_reduction", "bf16_reduced_precision_reduction")
    ),
)
# From torch 2.9 on, backends and their operations also have a precision of float32 products, inherited in this order.
_BACKENDS_OF_FLOAT32 = [("generic", "all"), ("cuda", "all"), ("mkldnn", "all")]
_OPERATIONS = [(backend, operation) for backend in ("cuda", "mkldnn") for operation in ("matmul", "conv", "rnn")]


_lock = Lock()
_inside = 0  # calls, in all threads
_to_restore = ExitStack()


@contextmanager
def _process_settings() -> Iterator[None]:
    """The first call, of all threads, sets the process's settings; the last to end restores them."""
    global _inside
    by_place = hasattr(torch._C, "_get_fp32_precision_getter")
    try:
        with _lock:
            _inside += 1
            if _inside == 1:
                for place in _BACKENDS_OF_FLOAT32 if by_place else ():
                    get = partial(torch._C._get_fp32_precision_getter, *place)
                    _set(get, partial(torch._C._set_fp32_precision_setter, *place), "none")
                for place in _OPERATIONS if by_place else ():  # restored last: the settings of all operations set them
                    before = torch._C._get_fp32_precision_getter(*place)
                    _to_restore.callback(torch._C._set_fp32_precision_setter, *place, before)
                for owner, name, right in _ATTRIBUTES:
                    _set(partial(getattr, owner, name), partial(setattr, owner, name), right)
                for get, put, right in _FUNCTIONS:
                    _set(get, put, right)
                for place in _OPERATIONS if by_place else ():
                    torch._C._set_fp32_precision_setter(*place, "ieee")
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _to_restore.close()


def _set(get: Callable[[], object], put: Callable[[Any], object], right: object) -> None:
    try:
        value = get()
    # Set by place, so that torch has no single answer (the places are set as well), or unknown to this torch.
    except (RuntimeError, AttributeError):
        return
    if isinstance(value, tuple):  # newer versions of torch have several values for some settings
        right, set_all = (right,) * len(value), put
        put = lambda values: set_all(*values)  # noqa: E731
    if value != right:
        put(right)

    def restore() -> None:  # also what the code within has changed
        with suppress(RuntimeError):  # no single answer
            if get() == value:
                return
        put(value)

    _to_restore.callback(restore)


@contextmanager
def fresh_torch(*, inference: bool = True) -> Iterator[None]:
    """Torch as in a program that has set nothing, but without TF32: as a decorator or in ``with``.

    Whatever the surrounding program has set (default type and device, autocast, precision of products, backends, grad
    mode), models are built, loaded and run with the same results; everything is restored afterwards. While a thread
    computes, other threads of the process see its settings. inference: whether only values are computed; models are
    built without. Raises ModelError for settings of the environment that lower the precision and cannot be undone.
    """
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        if (mode := os.environ.get(name) or "STRICT").upper() != "STRICT":
            raise ModelError(f"environment: expected {name} unset or STRICT, found {mode!r}, which rounds float32")
    with _process_settings(), ExitStack() as restored:
        restored.enter_context(torch.inference_mode(inference))
        for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda")):
            torch.set_autocast_enabled(kind, False)
            restored.callback(torch.set_autocast_enabled, kind, True)
        if inference and torch._C._len_torch_function_stack():  # a default device is such a mode
            restored.enter_context(torch._C.DisableTorchFunction())  # under any, attention takes another path
        elif torch.empty(0).device.type != "cpu":
            restored.enter_context(torch.device("cpu"))
        if sys.float_info.min / 2 == 0:  # the processor treats the smallest numbers as 0
            torch.set_flush_denormal(False)
            restored.callback(torch.set_flush_denormal, True)
        yield
