"""Models of every shape train, resume and are read back, and their tables have the right columns."""

from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from arctic_model.checkpoint.reading import open_weights
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from pipelines.artifacts.checkpoint import OF_ROUTERS, checkpoint_folder
from tests.kit.files import digests
from tests.kit.interruption import interrupted_before

DENSE = {"num_experts": 0, "dense_size": 48, "tied_head": True}
SHAPES = {
    "dense, tied": DENSE,
    "plain experts in every second layer": {
        "layer_shape": "moe",
        "num_layers": 4,
        "moe_layer_frequency": 2,
        "qk_norm": True,
    },
    "shared expert with biases": {"layer_shape": "shared", "qkv_bias": True, "router_bias": True},
    "learned sinks": {"learned_sinks": True},
    "hybrid in the third layer": {"num_layers": 3, "moe_layer_frequency": 3, "head_size": 16},
}
MODELS = pytest.mark.parametrize("model", SHAPES.values(), ids=SHAPES)


@MODELS
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stopped_phase_continues_to_the_same_bytes(workshops: Callable, model: dict, dtype: str) -> None:
    once, stopped = workshops("once"), workshops("stopped")
    expected, metrics = once.run("phase", once.inputs(1), once.stage(model=model, dtype=dtype))
    with interrupted_before(7):
        stopped.run("phase", stopped.inputs(1), stopped.stage(model=model, dtype=dtype))
    result, _ = stopped.run("phase", stopped.inputs(1), stopped.stage(model=model, dtype=dtype))
    assert digests(result) == digests(expected)
    losses = pq.read_table(result / "history.parquet")["loss"].to_pylist()
    assert losses[-1] < losses[0]
    trained = ArcticModel.from_pretrained(checkpoint_folder(result))
    assert trained.config == open_weights(checkpoint_folder(result)).config == preset("tiny", model)
    assert metrics["parameters"] == sum(parameter.numel() for parameter in trained.parameters())


def test_a_dense_model_has_no_column_about_routers(workshop) -> None:
    out, _ = workshop.run("phase", workshop.inputs(1), workshop.stage(model=DENSE))
    assert not OF_ROUTERS & set(pq.read_schema(out / "history.parquet").names)
    assert len(pq.read_table(out / "expert_load.parquet")) == len(pq.read_table(out / "router.parquet")) == 0
    assert not [name for name in workshop.points()[0][1] if name.startswith("router/")]


def test_tables_number_layers_as_the_model_does(workshop) -> None:
    model = {"layer_shape": "moe", "num_layers": 4, "moe_layer_frequency": 2}
    out, _ = workshop.run("phase", workshop.inputs(1), workshop.stage(model=model))
    load, router = (pq.read_table(out / name).to_pylist() for name in ("expert_load.parquet", "router.parquet"))
    assert [(row["layer"], row["expert"]) for row in load] == [(layer, e) for layer in (1, 3) for e in range(4)]
    assert {row["layer"] for row in router} == {1, 3}
    assert sum(row["share"] for row in load if row["layer"] == 3) == pytest.approx(1.0)


@pytest.mark.slow
@MODELS
@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_two_workers_train_what_one_trains(workshops: Callable, model: dict, zero_stage: int) -> None:
    """Losses of ten steps, in float32: equal within the error of a different order of additions."""
    pair = {"num_workers": 2, "cpus_per_worker": 0.5, "expert_parallel_size": 1 if model is DENSE else 2}
    result = []
    for name, section in (("one", {}), ("two", pair)):
        shop = workshops(name)
        out, _ = shop.run("phase", shop.inputs(1), shop.stage(model=model, zero_stage=zero_stage, **section))
        result.append(pq.read_table(out / "history.parquet")["loss"].to_pylist())
    assert result[1] == pytest.approx(result[0], rel=1e-5)
