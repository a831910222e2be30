"""The deployment of Ray Serve: replicas that each hold the model and answer HTTP.

A config file of Ray Serve names `pipelines.serve.deployment:application` as its import path and gives the fields of
`ServeOptions` as `args` (infra/serve/serve.yaml).
"""

import os
from typing import Any

from ray import serve
from ray.serve import Application

from infra.cluster.connection import thread_env
from pipelines.errors import OptionError
from pipelines.serve.app import create_app
from pipelines.serve.options import Scale, ServeOptions
from pipelines.serve.service import Service

TOKEN_VARIABLE = "ARCTIC_SERVE_TOKEN"
ROOM = 16
"""Requests beyond its limit that a replica is handed, so that they are refused in OpenAI's words."""


@serve.deployment
@serve.ingress()
class ModelServer:
    """One replica. Ray Serve starts, watches, scales and drains it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._service = Service(ServeOptions.from_dict(options), serve.get_replica_context().replica_tag)

    def __serve_build_asgi_app__(self) -> Any:
        """The routes."""
        return create_app(self._service)

    def check_health(self) -> None:
        """Ray Serve replaces a replica for which this raises."""
        self._service.engine.require_alive()


def application(args: dict[str, Any]) -> Application:
    """The application of a config file. Raises OptionError without a token in ARCTIC_SERVE_TOKEN: a config file is for
    clusters, which other machines reach."""
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        raise OptionError(f"{TOKEN_VARIABLE}: not set. Set it to a secret that requests must carry.")
    return bound(ServeOptions.from_dict({**args, "token": token}))


def bound(options: ServeOptions, scale: Scale | None = None) -> Application:
    """The application of these options; without a scale, of that of the config file."""
    limit = options.max_batch + options.max_queue + ROOM
    settings: dict[str, Any] = {
        "max_ongoing_requests": limit,
        "ray_actor_options": {
            "num_cpus": options.num_threads,
            "num_gpus": options.num_gpus,
            # Workers of a cluster have one thread by default.
            "runtime_env": {"env_vars": thread_env(options.num_threads)},
        },
    }
    if scale is not None:
        settings |= _replicas(options, scale) | {"graceful_shutdown_timeout_s": scale.drain_s}
    deployment: Any = ModelServer
    application: Application = deployment.options(**settings).bind(options.to_dict())
    return application


def _replicas(options: ServeOptions, scale: Scale) -> dict[str, Any]:
    if scale.min_replicas == scale.max_replicas:
        return {"num_replicas": scale.min_replicas}
    autoscaling = {
        "min_replicas": scale.min_replicas,
        "max_replicas": scale.max_replicas,
        # Another replica once the slots of one are full.
        "target_ongoing_requests": options.max_batch,
    }
    return {"autoscaling_config": autoscaling}
