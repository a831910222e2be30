"""Serve an exported directory with vLLM, by Ray Serve LLM: for models and loads of production size."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arctic_model
from infra.host.packages import PackageError, problems
from infra.resources import Demand
from pipelines.errors import OptionError
from pipelines.serve.options import Scale
from pipelines.serve.server import Notices, run_application

if TYPE_CHECKING:
    from ray.serve import Application

REMOTE_CODE = Path(arctic_model.__file__).parent / "export" / "remote_code"
"""The modeling files that an export holds."""


@dataclass(frozen=True)
class VllmOptions:
    """An exported directory and how vLLM spreads it.

    Attributes:
        folder: Exported Hugging Face directory.
        model_name: The model's name in requests.
        tensor_parallel: GPUs that share each layer.
        pipeline_parallel: Groups of GPUs that share the layers.
        fp8: Whether vLLM quantizes the weights to FP8 while it loads them.
        max_model_len: Tokens of a prompt with its answer; None for the model's positions.
    """

    folder: Path
    model_name: str
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    fp8: bool = False
    max_model_len: int | None = None

    def require_export(self) -> None:
        """Raise OptionError if vLLM cannot load the folder, or cannot split its heads."""
        config_file = self.folder / "config.json"
        if not config_file.is_file() or not any(self.folder.glob("*.safetensors")):
            raise OptionError(
                f"{self.folder}: vLLM loads Hugging Face directories. Run: arctic export {self.folder} "
                "--to huggingface --out DIR"
            )
        config = json.loads(config_file.read_text(encoding="utf-8"))
        if "auto_map" not in config:
            raise OptionError(
                f"{config_file}: auto_map is missing, and vLLM has no Arctic of its own. Export the checkpoint again "
                "with: arctic export --to huggingface"
            )
        self._require_own_code()
        # A single key-value head is repeated on every GPU.
        for name, repeatable in (("num_attention_heads", 0), ("num_key_value_heads", 1)):
            heads = config[name]
            if self.tensor_parallel < 1 or (heads != repeatable and heads % self.tensor_parallel):
                raise OptionError(
                    f"--tensor-parallel {self.tensor_parallel}: does not divide {heads} heads ({name}). Change it."
                )
        if not 1 <= self.pipeline_parallel <= config["num_hidden_layers"]:
            raise OptionError(
                f"--pipeline-parallel {self.pipeline_parallel}: the model has {config['num_hidden_layers']} layers. "
                "Choose 1 or more, and at most as many."
            )

    def _require_own_code(self) -> None:
        """Raise OptionError if vLLM would run code that this project's export did not write."""
        for file in sorted(self.folder.glob("*.py")):
            own = REMOTE_CODE / file.name
            if not own.is_file() or own.read_bytes() != file.read_bytes():
                raise OptionError(
                    f"{file}: vLLM would run this code, and it differs from the export's own. Export the "
                    "checkpoint again."
                )

    def llm_config(self, scale: Scale) -> dict[str, Any]:
        """Fields of `ray.serve.llm.LLMConfig`."""
        engine: dict[str, Any] = {
            # `require_export` has compared the code in the folder with the exporter's own.
            "trust_remote_code": True,
            "tensor_parallel_size": self.tensor_parallel,
            "pipeline_parallel_size": self.pipeline_parallel,
        }
        if self.fp8:
            engine["quantization"] = "fp8"
        if self.max_model_len is not None:
            engine["max_model_len"] = self.max_model_len
        replicas = {"min_replicas": scale.min_replicas, "max_replicas": scale.max_replicas}
        return {
            "model_loading_config": {"model_id": self.model_name, "model_source": str(self.folder.resolve())},
            "engine_kwargs": engine,
            "deployment_config": {"autoscaling_config": replicas},
        }


def serve_with_vllm(
    options: VllmOptions, scale: Scale, token: str | None, address: str | None, notices: Notices
) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises OptionError for a folder that vLLM cannot load, or if other machines could
    reach the port, CapacityError if the machines have too few GPUs, and PackageError if vLLM is missing."""
    options.require_export()
    if token:
        raise OptionError("--engine vllm: Ray Serve LLM checks no token. Unset ARCTIC_SERVE_TOKEN and serve loopback.")
    if problems(["vllm"]):
        raise PackageError(
            "--engine vllm needs the package vllm, which is not installed. Run: pip install 'ray[llm]', in an "
            "environment of its own on a machine with GPUs. Or leave --engine at arctic."
        )

    def build() -> "Application":
        from ray.serve.llm import LLMConfig, build_openai_app

        return build_openai_app({"llm_configs": [LLMConfig(**options.llm_config(scale))]})

    num_gpus = scale.min_replicas * options.tensor_parallel * options.pipeline_parallel
    run_application(build, scale, Demand(num_gpus, num_gpus=1), token, address, notices)
