"""The engine on a separate thread, and the requests of an asyncio loop that wait for its tokens."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from arctic_errors import ArcticError
from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.engine import Engine


class QueueFullError(ArcticError):
    """More requests wait than the server takes."""


class EngineError(ArcticError):
    """The engine itself failed."""


@dataclass(eq=False)
class Ticket:
    """A request on its way. `updates` receives a text piece for every step, and the error or None at the end."""

    request: Request
    loop: asyncio.AbstractEventLoop
    updates: "asyncio.Queue[str | ArcticError | None]" = field(default_factory=asyncio.Queue)
    completion: Completion | None = None
    is_cancelled: bool = False
    num_sent: int = 0


class EngineLoop:
    """Runs an engine as long as there are requests.

    Args:
        engine: used by the loop's thread alone.
        max_waiting: requests beyond those that the engine runs concurrently.
        max_running: requests that it runs side by side.
    """

    def __init__(self, engine: Engine, max_running: int, max_waiting: int) -> None:
        self._engine = engine
        self._limit = max_running + max_waiting
        self._tickets: list[Ticket] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="decoding engine", daemon=True)
        self._thread.start()

    @property
    def capacity(self) -> int:
        """Tokens of a prompt with its answer."""
        return self._engine.capacity

    @property
    def num_running(self) -> int:
        """Requests that hold a slot of the engine."""
        return self._engine.num_running

    @property
    def num_requests(self) -> int:
        """Requests that are not answered yet."""
        return len(self._tickets)

    def submit(self, requests: list[Request]) -> list[Ticket]:
        """Take requests from a coroutine.

        Raises:
            GenerationError: If one of them is longer than the context, or has an id that the model has not.
            QueueFullError: If they are more than the queue has room for.
        """
        for request in requests:
            self._engine.require_answerable(request)
        with self._changed:
            if len(self._tickets) + len(requests) > self._limit:
                raise QueueFullError(
                    f"{len(self._tickets)} requests are running or waiting and {self._limit} are the limit. Try again."
                )
            tickets = [Ticket(request, asyncio.get_running_loop()) for request in requests]
            self._tickets += tickets
            self._changed.notify()
        return tickets

    async def pieces(self, ticket: Ticket) -> AsyncIterator[str]:
        """The text of the answer as it grows; a request whose reader leaves is cancelled."""
        try:
            while (update := await ticket.updates.get()) is not None:
                if isinstance(update, ArcticError):
                    raise update
                yield update
        finally:
            self.cancel(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Free the resources of the request, if it has not ended."""
        with self._changed:
            ticket.is_cancelled = True
            self._changed.notify()

    def require_alive(self) -> None:
        """Raise RuntimeError if the thread has ended."""
        if not self._thread.is_alive():
            raise RuntimeError("the decoding engine has ended; its error is in the log of the replica")

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._tickets)
                if self._is_closed:
                    return
                tickets = list(self._tickets)
            try:
                self._step(tickets)
            except ArcticError as error:
                self._fail(tickets, error)
            except Exception:
                # The thread ends with the error, and `require_alive` has the replica replaced.
                self._fail(tickets, EngineError("the decoding engine failed; its log has the reason. Try again."))
                raise

    def _fail(self, tickets: list[Ticket], error: ArcticError) -> None:
        for ticket in tickets:
            if ticket in self._tickets:
                self._end(ticket, error)

    def _step(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            if ticket.completion is None and not ticket.is_cancelled:
                ticket.completion = self._engine.add(ticket.request)
            elif ticket.is_cancelled and ticket.completion is not None:
                self._engine.cancel(ticket.completion)
        self._engine.step()
        for ticket in tickets:
            completion = ticket.completion
            if completion is None or completion.finish is not None:
                self._end(ticket, completion.error if completion else None)
            elif len(completion.ids) > ticket.num_sent:
                ticket.num_sent = len(completion.ids)
                self._send(ticket, completion.text.take())

    def _end(self, ticket: Ticket, error: ArcticError | None) -> None:
        if ticket.completion is not None:
            self._engine.cancel(ticket.completion)
            self._send(ticket, ticket.completion.text.take_rest())
        with self._changed:
            self._tickets.remove(ticket)
        self._send(ticket, error)

    @staticmethod
    def _send(ticket: Ticket, update: str | ArcticError | None) -> None:
        if not ticket.is_cancelled:
            ticket.loop.call_soon_threadsafe(ticket.updates.put_nowait, update)
