"""Whatever the program around the library has set in torch: the same bits, and afterwards its settings again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_clip import clip_config, photo, tiny_clip
from safetensors.torch import save_file

from car_core import CaR, CaRConfig, ModelError
from car_core.baselines import BASELINES, load_baseline
from car_core.engine.precision import fresh_torch

QUERIES, IMAGE = ["a cat", "a dog"], photo(40, 52)
backends, cuda = torch.backends, torch.backends.cuda


@contextlib.contextmanager
def having(put: Callable[[Any], object], value: object, before: object) -> Iterator[None]:
    put(value)
    try:
        yield
    finally:
        put(before)


def attribute(owner: Any, name: str, value: object) -> Callable[[], Any]:
    return lambda: having(lambda new: setattr(owner, name, new), value, getattr(owner, name))


def by_function(put: Callable[[Any], object], value: object, before: object) -> Callable[[], Any]:
    return lambda: having(put, value, before)


HOSTS: dict[str, Callable[[], Any]] = {
    **{f"default {t}": by_function(torch.set_default_dtype, t, torch.float32)
       for t in (torch.bfloat16, torch.float16, torch.float64)},
    "default device": by_function(torch.set_default_device, "meta", None),
    "default device cpu": by_function(torch.set_default_device, "cpu", None),
    "device block": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "matmul medium": by_function(torch.set_float32_matmul_precision, "medium", "highest"),
    "matmul high": by_function(torch.set_float32_matmul_precision, "high", "highest"),
    "cuda tf32": attribute(cuda.matmul, "allow_tf32", True),
    "cudnn tf32": attribute(backends.cudnn, "allow_tf32", False),
    "cudnn benchmark": attribute(backends.cudnn, "benchmark", True),
    "cudnn deterministic": attribute(backends.cudnn, "deterministic", True),
    "cudnn off": attribute(backends.cudnn, "enabled", False),
    "fp16 sums": attribute(cuda.matmul, "allow_fp16_reduced_precision_reduction", False),
    "bf16 sums": attribute(cuda.matmul, "allow_bf16_reduced_precision_reduction", False),
    "mkldnn off": attribute(backends.mkldnn, "enabled", False),
    "nnpack off": lambda: backends.nnpack.flags(enabled=False),
    "deterministic": by_function(torch.use_deterministic_algorithms, True, False),
    "math attention": lambda: torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    "no fast path": by_function(backends.mha.set_fastpath_enabled, False, True),
    "flush denormals": by_function(torch.set_flush_denormal, True, False),
    "no grad": torch.no_grad,
    "inference": torch.inference_mode,
    "anomalies": torch.autograd.detect_anomaly,
}  # fmt: skip
if hasattr(backends.mkldnn, "matmul"):  # torch 2.9
    HOSTS |= {
        "oneDNN matmul": attribute(backends.mkldnn.matmul, "fp32_precision", "bf16"),
        "oneDNN conv": attribute(backends.mkldnn.conv, "fp32_precision", "bf16"),
        "all tf32": attribute(backends, "fp32_precision", "tf32"),
    }
# Computed in full; the others differ only in which settings the guard has to undo.
TOGETHER = ["default device cpu", "autocast", "matmul medium", "deterministic", "math attention", "no fast path",
            "mkldnn off", "flush denormals", "no grad"]  # fmt: skip
COMPUTED: dict[str, Sequence[str]] = {
    **{name: [name] for name in HOSTS if name.startswith(("default", "inference"))},
    "many at once": TOGETHER,
    "all others at once": [name for name in HOSTS if name not in TOGETHER and not name.startswith(("default", "all"))],
}


@contextlib.contextmanager
def host(names: Sequence[str]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(HOSTS[name]())
        yield


def settings() -> dict[str, object]:
    """What a program can ask torch for."""
    asked: dict[str, Callable[[], object]] = {
        "dtype": torch.get_default_dtype,
        "matmul": torch.get_float32_matmul_precision,
        "deterministic": torch.are_deterministic_algorithms_enabled,
        "device": lambda: str(torch.zeros(1).device),
        "autocast": lambda: torch.is_autocast_enabled("cpu"),
        "cuda matmul": lambda: cuda.matmul.allow_tf32,
        "grad": torch.is_grad_enabled,
        "inference": torch.is_inference_mode_enabled,
        "attention": lambda: (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()),
        "fast path": backends.mha.get_fastpath_enabled,
        "nnpack": torch._C._get_nnpack_enabled,
        "sums": lambda: cuda.matmul.allow_fp16_reduced_precision_reduction,
        "denormals": lambda: np.float64(2.3e-308) / np.float64(4) == 0,
    }
    for name in ("enabled", "deterministic"):
        asked[f"mkldnn {name}"] = lambda name=name: getattr(backends.mkldnn, name)  # type: ignore[misc]
    for name in ("enabled", "benchmark", "deterministic", "allow_tf32"):
        asked[f"cudnn {name}"] = lambda name=name: getattr(backends.cudnn, name)  # type: ignore[misc]
    if hasattr(backends.mkldnn, "matmul"):
        for owner in (backends.mkldnn.matmul, backends.mkldnn.conv, backends.cudnn.conv, cuda.matmul, backends):
            asked[f"precision {len(asked)}"] = lambda owner=owner: owner.fp32_precision  # type: ignore[misc]
    return {name: answer(ask) for name, ask in asked.items()}


def answer(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except RuntimeError:  # set by place, so that torch has no one answer
        return "mixed"


def digest(*arrays: Any) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in arrays)).hexdigest()


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, str]]:
    """Loads and computes everything: CaR in both precisions, baselines with their own trunk, both CRFs, SAM."""
    pytest.importorskip("transformers", reason="needs the extra sam")
    from car_core.refine.sam import load_sam

    folder = tmp_path_factory.mktemp("weights")
    model, weights = folder / "tiny.json", folder / "tiny.safetensors"
    model.write_text(json.dumps(clip_config(layers=2)))
    save_file({name: value.clone() for name, value in tiny_clip(1, layers=2).state_dict().items()}, weights)
    named = {"proposal_model": str(model), "background": ("grass",)}
    sam = CaRConfig(sam={"model": "random:1", "points_per_side": 2, "pred_iou_threshold": 0.0,
                         "stability_threshold": 0.0, "nms_threshold": 0.9}).sam  # fmt: skip

    def compute() -> dict[str, str]:
        config = CaRConfig(**named, classifier_model=str(model), recurrence="none")
        half = {"precision": "bfloat16"}
        found = {}
        for name, options in {"car": {}, "half": half}.items():
            done = CaR.from_config(config, weights=str(weights), **options).segment(IMAGE, QUERIES)  # type: ignore[arg-type]
            found[name] = digest(done.masks, done.scores, done.label_map)
        for method, more in (
            ("sclip", {}),
            ("proxyclip", {"dino_weights": "random:1", "dino_model": "vit_tiny_patch16_224"}),
        ):
            chosen = BASELINES[method].config(**named, **more)  # type: ignore[call-arg, arg-type]
            done = load_baseline(chosen, weights=str(weights)).segment(IMAGE, QUERIES)
            found[method] = digest(done.masks, done.scores, done.label_map)
        assert sam is not None
        source, record = load_sam(sam)
        found["sam"] = digest(source._source.masks(IMAGE)) + str(record.sha256)  # type: ignore[attr-defined]
        return found

    return compute


@pytest.fixture(scope="module")
def plain(figures: Callable[[], dict[str, str]]) -> dict[str, str]:
    return figures()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("names", COMPUTED.values(), ids=list(COMPUTED))
def test_the_hosts_settings_reach_no_figure(
    names: Sequence[str], figures: Callable[[], dict[str, str]], plain: dict[str, str]
) -> None:
    with host(names):
        before = settings()
        assert figures() == plain
        assert settings() == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOSTS)
def test_each_setting_is_as_in_a_fresh_program_and_comes_back(name: str) -> None:
    with fresh_torch():
        right = settings()
    with HOSTS[name]():
        before = settings()
        with fresh_torch():
            assert settings() == right
            assert torch.zeros(1).device.type == "cpu"
        assert settings() == before


def test_what_is_guarded_would_reach_figures() -> None:
    """Settings that a CPU heeds, without the guard and with it."""
    layer = torch.nn.TransformerEncoderLayer(64, 4, batch_first=True).eval().requires_grad_(False)
    values, image, kernel = torch.randn(2, 65, 64), torch.rand(1, 3, 64, 64), torch.rand(16, 3, 16, 16)
    generators = {
        "default torch.bfloat16": lambda: torch.tensor(0.1).double(),
        "autocast": lambda: (values @ values.mT).double(),
        "mkldnn off": lambda: torch.conv2d(image, kernel),
        "no fast path": lambda: layer(values),
        "default device cpu": lambda: layer(values),
    }
    for name, compute in generators.items():
        right = digest(compute())
        with HOSTS[name]():
            assert digest(compute()) != right, name
            with fresh_torch():
                assert digest(compute()) == right, name


def test_host_state_of_overlapping_threads_lasts_until_the_last() -> None:
    entered, left = threading.Event(), threading.Event()

    def other() -> None:
        with fresh_torch():
            entered.set()
            left.wait(10)

    torch.set_default_dtype(torch.float64)
    try:
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(10)
        with fresh_torch():
            assert torch.get_default_dtype() is torch.float32
        assert torch.get_default_dtype() is torch.float32, "the other thread still computes"
        left.set()
        thread.join()
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_error_restores_as_well() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ZeroDivisionError), fresh_torch():
            raise ZeroDivisionError
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_rounding_by_the_environment_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN reads it once; nothing in the process can undo it."""
    monkeypatch.setenv(name, "BF16")
    with pytest.raises(ModelError, match=f"environment: expected {name} unset or STRICT, found 'BF16'"):
        CaR(CaRConfig(), proposal_clip=tiny_clip(), classifier_clip=tiny_clip())
    for value in ("strict", ""):
        monkeypatch.setenv(name, value)
        CaR(CaRConfig(), proposal_clip=tiny_clip(), classifier_clip=tiny_clip())


def test_random_weights_leave_the_hosts_generators() -> None:
    """torch.manual_seed would also seed the generators of GPUs, which nothing restored."""
    from car_core.models.weights import load_clip

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    load_clip("miniature", "random:3", role="proposal", device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)
