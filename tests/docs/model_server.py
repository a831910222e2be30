"""A model behind OpenAI's protocol that rates texts: `python tests/docs/model_server.py PORT`."""

import json
import signal
import sys
from typing import Any

from tests.kit.servers.chat_server import chat_server


def rate(fields: dict[str, Any]) -> tuple[str, str]:
    """Texts about rivers are textbooks."""
    score = 5 if "river" in fields["messages"][-1]["content"] else 0
    return json.dumps({"score": score, "topic": "science", "question": "Why did the water rise?"}), "stop"


if __name__ == "__main__":
    with chat_server(rate, port=int(sys.argv[1])) as server:
        print(server.url, flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            sys.exit(130)
