"""Experts split over two workers give the same result as one worker, and their exchanges hide behind the dense path."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("dispatch_worker.py")


@pytest.fixture(scope="module", params=["groups", "padded"])
def results(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> list[dict]:
    home = tmp_path_factory.mktemp("dispatch")
    command = [str(home / "rendezvous"), str(home), request.param]
    workers = [subprocess.Popen([sys.executable, str(WORKER), str(rank), *command]) for rank in (0, 1)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    return [json.loads((home / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_overlap_changes_no_bit_of_outputs_and_gradients(results: list[dict]) -> None:
    for result in results:
        assert result["equal"] == result["names"]


def test_layers_computed_again_in_backward_change_no_bit(results: list[dict]) -> None:
    for result in results:
        assert result["equal_computed_again"] == result["names"]
        assert result["equal_with_drops"] == result["names"]
        assert result["drops_change"]


def test_selective_checkpointing_changes_no_bit_and_makes_no_exchange_again(results: list[dict]) -> None:
    for result in results:
        for order in ("equal_selective", "equal_serial_selective", "equal_selective_with_drops"):
            assert result[order] == result["names"]
        assert result["selective_order"] == result["order"]


def test_outputs_are_those_of_one_worker(results: list[dict]) -> None:
    assert all(result["logits"] for result in results)


def test_an_expert_block_by_itself_is_split_like_a_layers(results: list[dict]) -> None:
    assert all(result["block"] < 1e-5 for result in results)


def test_an_experts_gradient_sums_over_the_tokens_of_all_workers(results: list[dict]) -> None:
    for result in results:
        assert result["experts"] == [name for name in result["names"] if ".experts." in name]


def test_a_dense_gradient_is_that_of_the_workers_own_tokens(results: list[dict]) -> None:
    for result in results:
        assert result["dense"] == [name for name in result["names"] if name != "logits" and ".experts." not in name]


def test_every_exchange_hides_behind_the_dense_path_forward_and_backward(results: list[dict]) -> None:
    layers = 2
    forward = ["launch", "attention", "finish", "launch", "dense", "finish"]
    backward = ["launch", "dense backward", "finish", "launch", "attention backward", "finish"]
    for result in results:
        turn = result["order"].index("turn")
        assert result["order"][:turn] == forward * layers
        assert result["order"][turn + 1 :] == backward * layers
