"""open_clip without what only its other towers need, and those towers all the same."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from helpers.fresh import run_fresh

if not find_spec("transformers"):
    pytest.skip("transformers is not installed", allow_module_level=True)
LATE = "('timm', 'transformers', 'torch._dynamo', 'sympy', 'pandas', 'datasets')"


def test_a_command_does_not_wait_for_what_it_does_not_use() -> None:
    modules = "car_core.models.clip, evaluation.run.runner, evaluation.run.dry_run"
    assert run_fresh(f"import sys, {modules}; print([name for name in {LATE} if name in sys.modules])") == "[]"


def test_the_other_towers_of_open_clip_work_as_before() -> None:
    """One of timm, one of transformers, torchvision's operators and torch's compiler; nothing stays a stand-in."""
    run_fresh("""
import sys
from car_core.models.clip import open_clip
import torch, torchvision
from open_clip import hf_model, model, timm_model
from torchvision.ops.roi_align import is_compile_supported

tower = timm_model.TimmModel("resnet10t", 8, image_size=32, pool="avg", proj="mlp").eval()
assert tower(torch.zeros(1, 3, 32, 32)).shape == (1, 8)
import timm, timm.layers, transformers
assert timm_model.to_2tuple(3) == (3, 3) and isinstance(tower.head.mlp, timm_model.Mlp)
assert isinstance(tower.head.mlp, timm.layers.Mlp)

config = transformers.RobertaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
own = {"config": config, "pretrained": False, "pooler_type": "mean_pooler", "proj_type": "linear"}
hf = model.HFTextEncoder("roberta", output_dim=8, **own)
assert isinstance(hf.transformer, transformers.RobertaModel)
assert hf(torch.ones(2, 4, dtype=torch.long)).shape == (2, 8)
cls = hf_model.ClsPooler()
output = transformers.modeling_outputs.BaseModelOutputWithPooling(pooler_output=torch.ones(2, 3))
assert cls(output, torch.ones(2, 1)).shape == (2, 3)  # tested with isinstance

class Own(hf_model.PretrainedConfig):
    pass
assert issubclass(Own, transformers.PretrainedConfig)
assert isinstance(config, hf_model.PretrainedConfig)

from torch._dynamo.utils import is_compile_supported as real
assert is_compile_supported("cpu") == real("cpu")
torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1))
for name in ("timm", "transformers", "torch._dynamo.utils"):
    assert type(sys.modules[name]).__name__ != "_StandIn" and sys.modules[name].__spec__.origin
""")


def test_package_imported_meanwhile_gets_its_own_modules() -> None:
    run_fresh("""
import sys
from car_core.models.late_imports import late_imports
with late_imports():
    assert type(sys.modules["torch._dynamo.utils"]).__name__ == "_StandIn"
    import torch._dynamo
    assert torch._dynamo.utils.counters is not None
assert type(sys.modules["torch._dynamo.utils"]).__name__ == "module"
torch = __import__("torch")
torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1))
""")


def test_what_is_imported_already_is_left_as_it_is() -> None:
    run_fresh("""
import sys, types
sys.modules["transformers"] = mine = types.ModuleType("transformers")
from car_core.models.late_imports import late_imports
with late_imports():
    assert sys.modules["transformers"] is mine and "transformers.modeling_outputs" not in sys.modules
assert sys.modules["transformers"] is mine
""")
