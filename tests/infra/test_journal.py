"""Items finished before a kill are not computed again, and a torn line is not an item."""

from pathlib import Path

import pytest

from infra.store.journal import Journal


def test_finished_items_are_not_computed_again(tmp_path: Path) -> None:
    first = Journal(tmp_path / "state" / "items.jsonl")
    assert first.remember("a", lambda: {"nll": 0.1 + 0.2}) == {"nll": 0.30000000000000004}
    again = Journal(tmp_path / "state" / "items.jsonl")
    assert again.remember("a", lambda: pytest.fail("computed again")) == {"nll": 0.30000000000000004}


@pytest.mark.parametrize("cut", range(1, 13))
def test_item_cut_off_by_a_kill_is_computed_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "items.jsonl"
    journal = Journal(path)
    journal.remember("first", lambda: 1)
    whole = path.read_bytes()
    journal.remember("second", lambda: 2)
    path.write_bytes(path.read_bytes()[: len(whole) + cut])
    for value in (3, 4):
        journal = Journal(path)
        assert journal.remember("first", lambda: 0) == 1
        assert journal.remember("second", lambda value=value: value) == 3
    assert path.read_bytes() == whole + b'["second", 3]\n'
