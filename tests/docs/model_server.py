"""A model behind OpenAI's protocol that rates notes by their number: `python tests/docs/model_server.py PORT`."""

import re
import signal
import sys
from typing import Any

from tests.kit.servers.chat_server import chat_server


def rate(fields: dict[str, Any]) -> tuple[str, str]:
    """Odd numbers are textbooks."""
    (number,) = re.findall(r"Note (\d+) ", fields["messages"][-1]["content"])
    return (
        f'{{"score": {5 * (int(number) % 2)}, "topic": "science", "question": "What does note {number} say?"}}',
        "stop",
    )


if __name__ == "__main__":
    with chat_server(rate, port=int(sys.argv[1])) as server:
        print(server.url, flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            sys.exit(130)
