"""The whole chain on the shipped pools, which are at zero when it starts and shrink to zero while it runs."""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_a_run_on_pools_at_zero_ends_with_the_bytes_of_one_machine(
    recipe: Path, arctic, start, committed, tmp_path: Path, pools_cluster, monkeypatch: pytest.MonkeyPatch
):
    arctic("run", recipe, "--store", tmp_path / "alone")
    # A machine is idle for 12 s and leaves: between stages the pools shrink, and grow again for the next.
    cluster = pools_cluster(idle_timeout_minutes=0.2)
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    arctic("run", recipe, "--store", tmp_path / "grown", "--address", cluster.address)
    alone, grown = (committed(tmp_path / name) for name in ("alone", "grown"))
    assert grown.keys() == alone.keys()
    for name in alone.keys() - {"report"}:
        assert grown[name].manifest.digests() == alone[name].manifest.digests(), name
