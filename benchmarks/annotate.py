"""Labels from a server: CPU time a request, of our stage and of the client library `openai`, and the requests that are
sent again after kills.

Both send the same requests, ten at a time, to a server in another process that answers at once. Ours also checks each
answer and has it on disk before it is used. For the kills a process that asks is killed several times, and the next one
goes on with its journal. A request is repeated if its answer was in the journal and the server is asked for it again.
"""

import json
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness import arguments, interleave, machine, report

from data_recipes.sections.annotation import AnnotateSection, AnswerFieldSection
from infra.stage import digest
from infra.store.journal import Journal
from pipelines.annotate.asking import Asker, _request
from tests.kit.servers.chat_server import chat_server

CONCURRENCY = 10
KILLS = 5
ANSWER = json.dumps({"score": 5})
SPAWN = multiprocessing.get_context("spawn")
GOAL = "0 requests repeated after kills; less CPU time a request than the library openai"


def main() -> None:
    quick = arguments(__doc__ or "").quick
    documents = [{"text": f"note {n} about lamps", "url": ""} for n in range(200 if quick else 2000)]
    print(machine("openai"))
    with server_elsewhere() as url:
        section = annotation(url)
        timings = interleave(
            {"ours": lambda: ask(section, documents), "openai": lambda: ask_by_library(section, documents)}, repeats=3
        )
    rates = {name: timing.median / len(documents) * 1e3 for name, timing in timings.items()}
    for name, timing in timings.items():
        print(f"{name}: {rates[name]:.2f} ms of CPU time a request, spread {timing.spread:.0%}")
    repeated, on_their_way = repeated_after_kills(documents[:200])
    print(f"{KILLS} kills: {repeated} requests repeated, {on_their_way} whose answers were on their way")
    ours = rates.pop("ours")
    report("annotate", ours, rates, "ms of CPU a request", rates["openai"] / ours, GOAL)


def annotation(url: str) -> AnnotateSection:
    score = AnswerFieldSection(type="integer", minimum=0, maximum=9)
    return AnnotateSection(
        name="topics",
        server=url,
        model="toy",
        prompt="Rate {text}",
        num_concurrent_requests=CONCURRENCY,
        answer={"score": score},
    )


def ask(section: AnnotateSection, documents: list[dict[str, str]]) -> None:
    """All documents, by our stage, with a new journal."""
    with tempfile.TemporaryDirectory() as folder:
        ask_into(Path(folder) / "requests.jsonl", section, documents)


def ask_into(path: Path, section: AnnotateSection, documents: list[dict[str, str]]) -> None:
    with Journal(path) as journal:
        for outcome in Asker(section, journal, {}).ask(documents):
            assert outcome.labels is not None, outcome.problem


def ask_by_library(section: AnnotateSection, documents: list[dict[str, str]]) -> None:
    """All documents, by the client library, whose answers are parsed and forgotten."""
    import openai

    client = openai.OpenAI(base_url=section.server, api_key="none")

    def one(document: Mapping[str, str]) -> Any:
        reply = client.chat.completions.create(**_request(section, document, 0))
        return json.loads(reply.choices[0].message.content or "")

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        for _ in pool.map(one, documents):
            pass


def repeated_after_kills(documents: list[dict[str, str]]) -> tuple[int, int]:
    """Requests whose answers were received and that the server was asked for again; and those whose answers were on
    their way at a kill."""

    def answer(fields: Mapping[str, Any]) -> tuple[str, str]:
        time.sleep(0.02)
        return ANSWER, "stop"

    repeated = 0
    with tempfile.TemporaryDirectory() as folder, chat_server(answer) as server:
        path, section = Path(folder) / "requests.jsonl", annotation(server.url)
        before: Counter[str] = Counter()
        for kill in range(KILLS):
            process = SPAWN.Process(target=ask_into, args=(path, section, documents))
            process.start()
            while server.num_requests < (kill + 1) * len(documents) // (KILLS + 1):
                time.sleep(0.001)
            process.kill()
            process.join()
            with Journal(path) as journal:
                counts = Counter({digest(json.loads(fields)): count for fields, count in server.seen.items()})
                repeated += sum(counts[key] - count for key, count in before.items())
                before = Counter({key: count for key, count in counts.items() if key in journal})
        ask_into(path, section, documents)
        counts = Counter({digest(json.loads(fields)): count for fields, count in server.seen.items()})
        repeated += sum(counts[key] - count for key, count in before.items())
    return repeated, counts.total() - len(counts) - repeated


@contextmanager
def server_elsewhere() -> Iterator[str]:
    """The address of a server in another process."""
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_serve, args=(sender,), daemon=True)
    process.start()
    try:
        yield receiver.recv()
    finally:
        process.kill()
        process.join()


def _serve(sender: Connection) -> None:
    with chat_server(lambda fields: (ANSWER, "stop")) as server:
        sender.send(server.url)
        SPAWN.Event().wait()


if __name__ == "__main__":
    main()
