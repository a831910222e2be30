"""A tiny checkpoint with its tokenizer, and its service behind uvicorn on loopback."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from arctic_model import ArcticModel, preset
from pipelines.artifacts.tokenization.tokenizer import write_config
from pipelines.serve.options import ServeOptions
from pipelines.tokenize.vocabulary import END, train_tokenizer

TEXT = "Row 1: naive cafe. SELECT x FROM t; "
POSITIONS = 1024
NAME = "tiny"


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Random weights that prefer some ids; the tokenizer is in the same folder."""
    config = preset("tiny", {"max_positions": POSITIONS, "init_std": 0.3})
    ArcticModel(config, seed=seed).save_pretrained(folder)
    tokenizer = train_tokenizer([TEXT * 20], 320)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_config(tokenizer, END, folder)
    return folder


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("serve") / "checkpoint")


class Served:
    """A running service. `url` ends in /v1."""

    def __init__(self, options: ServeOptions) -> None:
        import uvicorn

        from pipelines.serve.app import create_app
        from pipelines.serve.service import Service

        self.service = Service(options, "replica-1")
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.url = f"{self.base}/v1"
        self._server = uvicorn.Server(uvicorn.Config(create_app(self.service), port=port, log_level="error"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.service.engine.close()


@pytest.fixture(scope="module")
def served(checkpoint: Path) -> Iterator[Served]:
    """Two answers at a time and two that wait; no token."""
    pytest.importorskip("fastapi")
    served = Served(ServeOptions(str(checkpoint), NAME, max_batch=2, max_queue=2))
    yield served
    served.close()


@pytest.fixture(scope="module")
def guarded(checkpoint: Path) -> Iterator[Served]:
    """One that asks for a token."""
    pytest.importorskip("fastapi")
    served = Served(ServeOptions(str(checkpoint), NAME, token="secret"))
    yield served
    served.close()
