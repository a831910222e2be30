"""The HTTP routes of one replica."""

import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from arctic_errors import ArcticError
from pipelines.serve.engine_loop import QueueFullError, Ticket
from pipelines.serve.replies import error, models
from pipelines.serve.schema import ChatRequest, CompletionRequest
from pipelines.serve.service import Service

PAGE = Path(__file__).with_name("chat.html")
OPEN_PATHS = frozenset({"/", "/health"})
"""Paths that need no token: the page asks for one itself, and a load balancer has none."""
INVALID = "invalid_request_error"


def create_app(service: Service) -> FastAPI:
    """The application that answers for `service`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_guard(service))
    _add_error_handlers(app)
    _add_pages(app, service)
    _add_api(app, service)
    return app


def _add_api(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return models(service.options.model_name, service.engine.capacity)

    @app.post("/v1/completions")
    async def complete(body: CompletionRequest) -> Response:
        _require_model(body.model, service)
        if body.stream and (body.echo or body.logprobs is not None):
            raise HTTPException(400, "stream: echo and logprobs are answered in one piece only. Leave stream out.")
        return await _reply(service, body, service.start_completion(body))

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest) -> Response:
        _require_model(body.model, service)
        if body.stream and body.logprobs:
            raise HTTPException(400, "stream: logprobs are answered in one piece only. Leave stream out.")
        return await _reply(service, body, service.start_chat(body))


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4")


async def _reply(service: Service, body: CompletionRequest | ChatRequest, tickets: list[Ticket]) -> Response:
    if body.stream:
        return StreamingResponse(_events(service, body, tickets), media_type="text/event-stream")
    try:
        return JSONResponse(await service.answer(body, tickets))
    finally:
        _finish(service, tickets)


async def _events(service: Service, body: CompletionRequest | ChatRequest, tickets: list[Ticket]) -> AsyncIterator[str]:
    """Server-sent events; a client that leaves closes this generator, which frees the slots."""
    try:
        async for event in service.stream(body, tickets):
            yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
    except ArcticError as failure:
        yield f"data: {json.dumps(error(str(failure), 'server_error'))}\n\n"
    finally:
        _finish(service, tickets)
    yield "data: [DONE]\n\n"


def _finish(service: Service, tickets: list[Ticket]) -> None:
    for ticket in tickets:
        service.engine.cancel(ticket)
    service.metrics.count_tokens(tickets)


def _require_model(name: str, service: Service) -> None:
    served = service.options.model_name
    if name != served:
        raise HTTPException(404, f"model {name!r}: not served here. Ask for {served!r}.")


def _guard(service: Service) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Refuses requests without the token, and counts all."""
    token = service.options.token

    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.monotonic()
        if token and request.url.path not in OPEN_PATHS and not _carries(request, token):
            message = "the request carries no valid token. Send the header Authorization: Bearer <token>."
            response: Response = JSONResponse(error(message, INVALID, "invalid_api_key"), status_code=401)
        else:
            response = await call(request)
        if request.url.path.startswith("/v1/"):
            service.metrics.count(response.status_code, time.monotonic() - started)
        return response

    return guard


def _carries(request: Request, token: str) -> bool:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(value.strip().encode(), token.encode())


def _add_error_handlers(app: FastAPI) -> None:
    """Every error in OpenAI's form."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, failure: RequestValidationError) -> JSONResponse:
        first = failure.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse(error(f"{place or 'body'}: {first['msg']}", INVALID, None, place), status_code=400)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, failure: HTTPException) -> JSONResponse:
        code = "model_not_found" if failure.status_code == 404 else None
        return JSONResponse(error(failure.detail, INVALID, code), status_code=failure.status_code)

    @app.exception_handler(QueueFullError)
    async def busy(_: Request, failure: QueueFullError) -> JSONResponse:
        body = error(str(failure), "rate_limit_error", "queue_full")
        return JSONResponse(body, status_code=429, headers={"Retry-After": "1"})

    @app.exception_handler(ValueError)
    async def unanswerable(_: Request, failure: ValueError) -> JSONResponse:
        code = "context_length_exceeded" if "context" in str(failure) or "positions" in str(failure) else None
        return JSONResponse(error(str(failure), INVALID, code), status_code=400)
