"""The ladder of presets: exact counts, Arctic's proportions, and room on one GPU."""

import pytest

from arctic_model.presets import preset
from arctic_model.sizing.flops import count_parameters
from arctic_model.sizing.memory import memory_per_worker
from arctic_model.sizing.parallel import ParallelConfig

COUNTS = {
    "arctic-1.4b-a150m": (1_430_192_512, 150_274_432),
    "arctic-2.5b-a400m": (2_461_774_080, 397_390_080),
    "arctic-3.6b-a1b": (3_597_638_912, 996_515_072),
    "arctic-480b": (478_584_608_768, 17_318_647_808),
}
"""Parameters in all and active. test_arctic_config.py tests that the formula counts the model's parameters."""
LADDER = [name for name in COUNTS if name != "arctic-480b"]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_to_the_unit(name: str) -> None:
    count = count_parameters(preset(name))
    assert (count.total, count.active) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_proportions_are_arctics(name: str) -> None:
    config = preset(name)
    assert (config.vocab_size, config.max_positions, config.top_k) == (32_000, 4096, 2)
    assert config.head_dim in (64, 128)
    assert config.hidden_size % 128 == config.expert_size % 128 == 0
    assert 5 <= config.num_heads / config.num_kv_heads <= 7
    assert config.expert_size / config.hidden_size == pytest.approx(4864 / 7168, rel=0.06)


@pytest.mark.parametrize(("name", "states_gb"), [(LADDER[0], 25.7), (LADDER[1], 44.3), (LADDER[2], 64.8)])
def test_the_ladder_trains_on_one_gpu_of_80_gb(name: str, states_gb: float) -> None:
    parallel = ParallelConfig(1, 1, sequence_length=4096, zero_stage=1, activation_checkpointing="selective")
    memory = memory_per_worker(preset(name), parallel)
    assert memory.states.total / 1e9 == pytest.approx(states_gb, abs=0.05)
    assert memory.fits(80e9)
