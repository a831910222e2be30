"""Options that `arctic serve` refuses before it starts anything."""

import json
import shutil
import socket
from pathlib import Path

import pytest

import arctic_model
from infra.host.packages import PackageError
from infra.resources import Demand
from pipelines.errors import OptionError
from pipelines.serve.options import Scale, ServeOptions, require_token
from pipelines.serve.server import Notices, run_application
from pipelines.serve.vllm import VllmOptions, serve_with_vllm

ALWAYS = Scale(port=0)


def never() -> None:
    raise AssertionError("it must not start")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.3", "example.org"])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(OptionError, match="ARCTIC_SERVE_TOKEN"):
        require_token(host, None)
    require_token(host, "secret")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    require_token(host, None)


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"--port {port} on 127.0.0.1: Address already in use"):
            run_application(never, Scale(port=port), Demand(), None, None, Notices(print, print))


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_batch", 0), ("max_queue", -1), ("num_threads", 0), ("num_gpus", -1), ("max_model_len", 1)],
)
def test_a_number_out_of_range_is_named(field: str, value: int) -> None:
    with pytest.raises(OptionError, match="--" + field.replace("_", "-")):
        ServeOptions("folder", "name", **{field: value})


def test_a_data_type_that_no_cpu_decodes_is_named() -> None:
    with pytest.raises(OptionError, match="--dtype int4: no such data type. There are stored, float32, bfloat16"):
        ServeOptions("folder", "name", dtype="int4")


def test_replicas_are_at_most_the_maximum() -> None:
    with pytest.raises(OptionError, match="--replicas 3 and --max-replicas 2"):
        Scale(min_replicas=3, max_replicas=2)


def test_options_are_plain_data_and_back() -> None:
    options = ServeOptions("folder", "name", max_batch=3)
    assert ServeOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The files of an export that vLLM's checks look at."""
    config = {"auto_map": {}, "num_attention_heads": 8, "num_key_value_heads": 4, "num_hidden_layers": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    code = Path(arctic_model.__file__).parent / "export" / "remote_code"
    shutil.copy(code / "modeling_arctic.py", tmp_path)
    return tmp_path


def test_vllm_that_is_missing_is_named_with_the_mend(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.serve.vllm.problems", lambda names: [f"{name} missing" for name in names])
    with pytest.raises(PackageError, match=r"pip install 'ray\[llm\]'"):
        serve_with_vllm(VllmOptions(export, "m"), ALWAYS, None, None, Notices(print, print))


def test_vllm_needs_an_export_and_splits_that_fit(export: Path, checkpoint: Path) -> None:
    with pytest.raises(OptionError, match="auto_map"):
        VllmOptions(checkpoint, "m").require_export()
    with pytest.raises(OptionError, match="--tensor-parallel 3: does not divide 8 heads"):
        VllmOptions(export, "m", tensor_parallel=3).require_export()
    with pytest.raises(OptionError, match="--pipeline-parallel 5"):
        VllmOptions(export, "m", pipeline_parallel=5).require_export()
    with pytest.raises(OptionError, match="--tensor-parallel 8: does not divide 4 heads"):
        VllmOptions(export, "m", tensor_parallel=8).require_export()
    VllmOptions(export, "m", tensor_parallel=4, pipeline_parallel=2).require_export()
    file = export / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_key_value_heads": 1}))
    VllmOptions(export, "m", tensor_parallel=8).require_export()


def test_vllm_is_given_no_code_but_the_export_s_own(export: Path) -> None:
    (export / "modeling_arctic.py").write_text("import os; os.abort()")
    with pytest.raises(OptionError, match="modeling_arctic.py: vLLM would run this code"):
        VllmOptions(export, "m").require_export()


def test_the_options_of_vllm_reach_its_config(export: Path) -> None:
    options = VllmOptions(export, "m", tensor_parallel=4, pipeline_parallel=2, fp8=True, max_model_len=512)
    config = options.llm_config(Scale(min_replicas=1, max_replicas=3))
    assert config["model_loading_config"] == {"model_id": "m", "model_source": str(export.resolve())}
    assert config["engine_kwargs"] == {
        "trust_remote_code": True,
        "tensor_parallel_size": 4,
        "pipeline_parallel_size": 2,
        "quantization": "fp8",
        "max_model_len": 512,
    }
    assert config["deployment_config"] == {"autoscaling_config": {"min_replicas": 1, "max_replicas": 3}}
