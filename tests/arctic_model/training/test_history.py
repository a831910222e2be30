"""The history of steps after a kill: whole lines count, wherever the last one was cut."""

from pathlib import Path

from arctic_model.training import history

RECORDS = [
    {"step": 1, "loss_by_corpus": {"web": 2.5}, "router_layers": {"share": [0.5, 0.5]}},
    {"step": 2, "loss_by_corpus": {"web": 2.25}, "telemetry": {"step_s": {"forward": 1.5}}},
]


def test_a_history_that_was_cut_anywhere_has_its_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    history.append(file, RECORDS)
    content = file.read_bytes()
    for cut in range(1, len(content.splitlines(keepends=True)[-1]) + 1):
        file.write_bytes(content[:-cut])
        assert history.read(file, 2) == RECORDS[:1], content[:-cut]
        assert history.truncate(file, 2) == RECORDS[:1]
        history.append(file, RECORDS[1:])
        assert file.read_bytes() == content
