"""The properties that decide the last bits of a result are recorded, and its use on a different machine is
announced."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from infra.events import EventLog
from infra.host import arithmetic as module
from infra.host.arithmetic import SWITCHES, arithmetic, differences
from infra.host.provenance import provenance
from infra.plan import plan
from infra.runner import run_inline
from infra.stage import Stage
from infra.store import Store

XEON = (
    "processor : 0\nmodel name : Xeon of one kind\n"
    "flags : fpu sse4_2 avx avx2 fma avx512f avx512_bf16 amx_tile amx_bf16\n"
)
EPYC = "processor : 0\nmodel name : EPYC of one kind\nflags : fpu sse4_2 avx avx2 fma avx512f avx512_bf16 sha_ni\n"
ARM = "processor : 0\nBogoMIPS : 50.00\nFeatures : fp asimd asimddp i8mm bf16 sve\n"


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The arithmetic of a machine with this /proc/cpuinfo, these GPUs and these switches."""

    def machine(cpuinfo: str, gpus: tuple[str, ...] = (), **switches: str) -> dict[str, Any]:
        for name in SWITCHES:
            monkeypatch.delenv(name, raising=False)
        for name, value in switches.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "cpuinfo").write_text(cpuinfo * 2)
        folder = tmp_path / f"gpus-{len(gpus)}"
        for number, model in enumerate(gpus):
            (folder / str(number)).mkdir(parents=True, exist_ok=True)
            (folder / str(number) / "information").write_text(f"Model: \t\t {model}\nIRQ: 11\n")
        monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(module, "GPUS", folder)
        _forget()
        return arithmetic()

    yield machine
    _forget()


def _forget() -> None:
    arithmetic.cache_clear()
    provenance.cache_clear()


def test_the_processor_gpus_and_switches_are_read_from_the_machine(on) -> None:
    result = on(XEON, ("NVIDIA H100 80GB HBM3",) * 2, OPENBLAS_CORETYPE="Haswell")
    assert result["cpu_model"] == "Xeon of one kind"
    assert result["instruction_sets"] == [
        "sse4_2",
        "avx",
        "fma",
        "avx2",
        "avx512f",
        "avx512_bf16",
        "amx_tile",
        "amx_bf16",
    ]
    assert result["gpus"] == ["NVIDIA H100 80GB HBM3"] * 2
    assert result["switches"] == {"OPENBLAS_CORETYPE": "Haswell"}
    assert on(ARM)["instruction_sets"] == ["asimd", "asimddp", "bf16", "i8mm", "sve"]
    assert json.loads(json.dumps(result)) == result


def test_every_difference_is_named_and_nothing_else(on) -> None:
    xeon = deepcopy(on(XEON))
    assert differences(xeon, on(XEON)) == []
    assert differences(xeon, on(EPYC)) == [
        "cpu model Xeon of one kind -> EPYC of one kind",
        "instruction sets -amx_tile -amx_bf16",
    ]
    assert differences(xeon, on(XEON, ("NVIDIA L40S",))) == ["gpus +NVIDIA L40S"]
    assert differences(xeon, on(XEON, ATEN_CPU_CAPABILITY="avx2")) == ["switches ATEN_CPU_CAPABILITY None -> avx2"]
    newer = xeon | {"libraries": xeon["libraries"] | {"torch": "2.14.0"}}
    assert differences(xeon, newer) == [f"libraries torch {xeon['libraries']['torch']} -> 2.14.0"]
    assert differences({}, xeon) == ["no record of its machine"]


@pytest.mark.parametrize("machine_dependent", [True, False])
def test_reuse_on_another_machine_is_allowed_and_announced(on, tmp_path: Path, machine_dependent: bool) -> None:
    def work(context, inputs):
        (context.out / "sum").write_text("0.1")
        return {}

    store = Store(tmp_path / "store").open()
    log = EventLog(tmp_path / "log")
    stage = Stage("train", "1", 1, {}, {}, work, machine_dependent=machine_dependent)
    on(XEON)
    run_inline(plan(store, [stage]), store, log, lambda event: None)
    (same,) = plan(store, [stage])
    assert (same.action, same.reason) == ("reuse", "committed")
    on(EPYC)
    (other,) = plan(store, [stage])
    events: list[dict[str, Any]] = []
    outcome = run_inline([other], store, log, events.append)
    assert other.action == "reuse"
    assert outcome.ok
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    if machine_dependent:
        assert "built on another machine (cpu model Xeon of one kind -> EPYC of one kind" in other.reason
        assert [message.startswith("train[1] is reused: built on another machine") for message in warnings] == [True]
    else:
        assert (other.reason, warnings) == ("committed", [])
