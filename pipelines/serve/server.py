"""Serve a model on this machine or a cluster until a signal ends it."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from infra.cluster.connection import connect
from infra.context import Event
from infra.host.packages import broken, require
from infra.host.ports import port_problem
from infra.resources import Demand
from infra.resources.capacity import Capacity
from infra.resources.room import await_room
from pipelines.errors import OptionError
from pipelines.serve.options import Scale, ServeOptions, require_token

if TYPE_CHECKING:
    from ray.serve import Application

PACKAGES = ("fastapi", "prometheus_client")
"""Of the extra `serve`, besides the imports of Ray Serve itself."""
USER = "arctic serve"
NAME = "arctic"
LOOK_S = 0.2
PROXY_TIMEOUT_S = 5.0
REMEDY = "Lower --threads, --gpus, --tensor-parallel, --pipeline-parallel or --replicas"


@dataclass(frozen=True)
class Notices:
    """Functions called while a server starts: `waiting` with an event every few seconds as long as the cluster has no
    room for the replicas, and `ready` with the URL once the model answers."""

    ready: Callable[[str], None]
    waiting: Callable[[Event], None]


def serve_model(options: ServeOptions, scale: Scale, address: str | None, notices: Notices) -> None:
    """Serve `options` with this project's engine until SIGTERM or Ctrl-C; then drain: running answers end, new requests
    are refused.

    Args:
        options: The model and the limits of a replica.
        scale: Replicas and address.
        address: Ray cluster; None for RAY_ADDRESS, else this machine.
        notices: Functions called while the server starts.

    Raises:
        OptionError: If the port is in use, or other machines reach it without a token.
        CapacityError: If the machines cannot hold the replicas.
        PackageError: If the extra `serve` is not installed.
    """
    require(PACKAGES, USER)
    demand = Demand(scale.min_replicas, options.num_threads, options.num_gpus)

    def build() -> "Application":
        from pipelines.serve.deployment import bound

        return bound(options, scale)

    run_application(build, scale, demand, options.token, address, notices)


def run_application(
    build: "Callable[[], Application]",
    scale: Scale,
    demand: Demand,
    token: str | None,
    address: str | None,
    notices: Notices,
) -> None:
    """Run an application of Ray Serve, whose replicas need `demand`, until SIGTERM or Ctrl-C, as `serve_model` does."""
    require_token(scale.host, token)
    if problem := port_problem(scale.host, scale.port):
        raise OptionError(f"--port {scale.port} on {scale.host}: {problem}. Choose another port.")
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
        await_room(USER, demand, Capacity.look(), notices.waiting, remedy=REMEDY, stop=stop)
        if stop.is_set():
            return
        serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host=scale.host, port=scale.port))
        try:
            _deploy(build(), scale, stop)
            if not stop.is_set():
                notices.ready(f"http://{scale.host}:{scale.port}")
            stop.wait()
            # Replicas finish their requests, for at most scale.drain_s.
            serve.delete(NAME)
        finally:
            serve.shutdown()


def _deploy(application: "Application", scale: Scale, stop: threading.Event) -> None:
    """Return once the replicas answer, or at `stop`, which Ray Serve's own wait would not heed. Raises RuntimeError if
    a replica cannot start."""
    from ray import serve

    target = serve.RunTarget(application, name=NAME, route_prefix="/")
    serve.run_many([target], wait_for_applications_running=False)
    while not stop.wait(LOOK_S):
        deployed = serve.status().applications[NAME]
        if deployed.status == "DEPLOY_FAILED":
            raise RuntimeError(f"{NAME}: Ray Serve cannot start it: {deployed.message}")
        if deployed.status == "RUNNING" and _is_routed(scale):
            return


def _is_routed(scale: Scale) -> bool:
    """Whether the HTTP proxy knows the application, as it does a moment after the replicas run."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(scale.host, scale.host)
    proxy = HTTPConnection(here, scale.port, timeout=PROXY_TIMEOUT_S)
    with closing(proxy), suppress(OSError):
        proxy.request("GET", "/-/routes")
        answer = proxy.getresponse()
        return answer.status == HTTPStatus.OK and NAME in json.load(answer).values()
    return False


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
