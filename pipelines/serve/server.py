"""Serve a model on this machine or a cluster until a signal ends it."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from infra.cluster.connection import connect
from infra.host.packages import broken, require
from pipelines.errors import OptionError
from pipelines.serve.options import Scale, ServeOptions, require_token

if TYPE_CHECKING:
    from ray.serve import Application

PACKAGES = ("fastapi", "prometheus_client")
"""Of the extra `serve`, besides the imports of Ray Serve itself."""
USER = "arctic serve"
NAME = "arctic"


def serve_model(options: ServeOptions, scale: Scale, address: str | None, on_ready: Callable[[str], None]) -> None:
    """Serve `options` with this project's engine until SIGTERM or Ctrl-C; then drain: running answers end, new requests
    are refused.

    Args:
        options: The model and the limits of a replica.
        scale: Replicas and address.
        address: Ray cluster; None for RAY_ADDRESS, else this machine.
        on_ready: Called with the URL once the model answers.

    Raises:
        OptionError: If the port is in use, or other machines reach it without a token.
        PackageError: If the extra `serve` is not installed.
    """
    require(PACKAGES, USER)

    def build() -> "Application":
        from pipelines.serve.deployment import bound

        return bound(options, scale)

    run_application(build, scale, options.token, address, on_ready)


def run_application(
    build: "Callable[[], Application]",
    scale: Scale,
    token: str | None,
    address: str | None,
    on_ready: Callable[[str], None],
) -> None:
    """Run an application of Ray Serve until SIGTERM or Ctrl-C, as `serve_model` does."""
    require_token(scale.host, token)
    _require_free(scale.host, scale.port)
    with ExitStack() as stack:
        with _children_ignore_interrupts():
            stack.enter_context(connect(address))
        try:
            from ray import serve
            from ray.serve.config import HTTPOptions
        except ImportError as error:
            raise broken("ray", USER, error) from error
        # Ray sets its own handlers when it starts.
        stop = _stop_on_signals()
        serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host=scale.host, port=scale.port))
        try:
            serve.run(build(), name=NAME, route_prefix="/")
            if not stop.is_set():
                on_ready(f"http://{scale.host}:{scale.port}")
            stop.wait()
            # Replicas finish their requests, for at most scale.drain_s.
            serve.delete(NAME)
        finally:
            serve.shutdown()


@contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Processes that start meanwhile ignore SIGTERM, as Ray has them ignore Ctrl-C: a terminal or a supervisor signals
    all processes of a command, and without Ray's no answer could end. Ray kills its own in another way."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OptionError(f"--port {port} on {host}: {error.strerror}. Choose another port.") from None
