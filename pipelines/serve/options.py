"""How a model is served: plain data, which a command line, a config file of Ray Serve and a replica share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from infra.cluster.connection import is_loopback
from pipelines.errors import OptionError

if TYPE_CHECKING:
    from arctic_model.inference.streaming import StreamWindow


DTYPES = ("stored", "float32", "bfloat16")
"""Data types that the weights may have on a CPU."""


@dataclass(frozen=True)
class ServeOptions:
    """The model of a replica, and its limits.

    Attributes:
        checkpoint: Folder of the checkpoint.
        model_name: The model's name in requests and answers.
        tokenizer: Folder of its tokenizer; None for the checkpoint's own.
        token: Bearer token that a request must carry; None for none.
        max_batch: Answers of one replica that grow side by side.
        max_queue: Requests of one replica that wait for a slot beyond those.
        max_model_len: Tokens of a prompt with its answer; None for the model's positions.
        num_threads: CPU threads of a replica.
        num_gpus: GPUs of a replica; with one, the model runs in bfloat16.
        dtype: Of the weights on a CPU: "stored" for that of the checkpoint, "float32" or "bfloat16".
        stream_window: Newest tokens that each token sees, so that texts have no end; None for all tokens.
        stream_sinks: First tokens that each token attends to in addition to the window.
    """

    checkpoint: str
    model_name: str
    tokenizer: str | None = None
    token: str | None = None
    max_batch: int = 16
    max_queue: int = 64
    max_model_len: int | None = None
    num_threads: int = 1
    num_gpus: float = 0.0
    dtype: str = "stored"
    stream_window: int | None = None
    stream_sinks: int = 4

    def __post_init__(self) -> None:
        for name, least in (("max_batch", 1), ("max_queue", 0), ("num_threads", 1), ("num_gpus", 0)):
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise OptionError(f"--{flag} {getattr(self, name)}: it must be {least} or more. Change the value.")
        if self.dtype not in DTYPES:
            raise OptionError(f"--dtype {self.dtype}: no such data type. There are {', '.join(DTYPES)}.")
        if self.max_model_len is not None and self.max_model_len < 2:
            raise OptionError(f"--max-model-len {self.max_model_len}: it must be 2 or more. Leave it out for all.")

    @property
    def stream(self) -> "StreamWindow | None":
        """The window of texts without end. Raises GenerationError if it cannot work."""
        from arctic_model.inference.streaming import StreamWindow

        return StreamWindow(self.stream_window, self.stream_sinks) if self.stream_window is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, such as the `args` of an application in a config file of Ray Serve."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ServeOptions":
        """The inverse of `to_dict`. Raises OptionError for a name that is no field."""
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - names):
            raise OptionError(f"args.{unknown[0]}: no such field. The fields are {', '.join(sorted(names))}.")
        return cls(**values)


@dataclass(frozen=True)
class Scale:
    """Replicas, and the address that they answer on.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        min_replicas: Copies of the model that always run.
        max_replicas: Copies under load.
        drain_s: How long running answers may take to end after a signal to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    min_replicas: int = 1
    max_replicas: int = 1
    drain_s: float = 60.0

    def __post_init__(self) -> None:
        if self.drain_s < 0:
            raise OptionError(f"--drain {self.drain_s:g}: it must be 0 or more. Change the value.")
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise OptionError(
                f"--replicas {self.min_replicas} and --max-replicas {self.max_replicas}: there must be 1 or more, and "
                "at most as many as the maximum. Change one of the two."
            )


def require_token(host: str, token: str | None) -> None:
    """Raise OptionError if `host` can be reached from other machines and there is no token."""
    if not token and not is_loopback(host):
        raise OptionError(
            f"--host {host}: other machines can reach it. Set ARCTIC_SERVE_TOKEN to a secret that requests must carry, "
            "or leave --host at 127.0.0.1."
        )
