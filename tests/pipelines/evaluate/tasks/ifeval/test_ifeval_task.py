"""IFEval: its questions, the readings of responses, and the addends of each item to the four measures."""

import json
import sys
from pathlib import Path

import pytest

from infra.host.packages import PackageError
from pipelines.evaluate.engine.requests import Generation, Text
from pipelines.evaluate.task import DataError, Item
from pipelines.evaluate.tasks.ifeval.task import IFEval, Instruction, follows, ifeval_item, readings
from tests.kit.optional import needs
from tests.kit.real_data import REAL_DATA

pytestmark = needs("langdetect")

REAL = REAL_DATA / "eval"
real = pytest.mark.skipif(not (REAL / "ifeval").is_dir(), reason=f"needs IFEval under {REAL}")

ROW = {
    "key": 1000,
    "prompt": "Write two bullets without a comma.",
    "instruction_id_list": ["detectable_format:number_bullet_lists", "punctuation:no_comma"],
    "kwargs": [{"num_bullets": 2, "num_words": None}, {}],
}


def shares(item: Item, response: str) -> tuple[dict[str, tuple[float, float]], str]:
    (verdict,) = IFEval(Path()).score([item], [(Text(response, "end", 0),)])
    return {name: tuple(share) for name, share in verdict.shares.items()}, verdict.reason


def test_prompt_is_asked_as_it_stands() -> None:
    item = ifeval_item(3, ROW, True)
    assert item.requests == (Generation(ROW["prompt"], (), 1280, form="message"),)
    assert ifeval_item(3, ROW, False).requests == (Generation(ROW["prompt"], (), 1280, form="plain"),)
    assert item.gold == (
        Instruction("detectable_format:number_bullet_lists", {"num_bullets": 2}),
        Instruction("punctuation:no_comma", {}),
    )
    assert (item.item_id, item.place) == ("1000", ("ifeval/input_data.jsonl", 3))


@pytest.mark.parametrize(
    ("response", "strict", "loose", "reason"),
    [
        ("* a\n* b", 2, 2, "correct"),
        ("Here, for you:\n* a\n* b", 1, 2, "not followed: punctuation:no_comma"),
        ("* a\n* b\n* c, d", 0, 2, "not followed: detectable_format:number_bullet_lists, punctuation:no_comma"),
        ("a, b", 0, 0, "not followed: detectable_format:number_bullet_lists, punctuation:no_comma"),
        (" \n ", 0, 0, "not followed: detectable_format:number_bullet_lists, punctuation:no_comma"),
    ],
)
def test_measures_of_an_item(response: str, strict: int, loose: int, reason: str) -> None:
    result, reported = shares(ifeval_item(0, ROW, True), response)
    assert reported == reason
    assert result == {
        "prompt_strict": (float(strict == 2), 1),
        "instruction_strict": (strict, 2),
        "prompt_loose": (float(loose == 2), 1),
        "instruction_loose": (loose, 2),
    }


def test_loose_readings_are_googles_eight() -> None:
    response = "Sure!\n**Title**\ntext *here*\nBye."
    lines = response.split("\n")
    expected = {"\n".join(lines[first:last]).strip() for first in (0, 1) for last in (4, 3)}
    assert set(readings(response)) == expected | {text.replace("*", "") for text in expected}
    assert len(readings(response)) == 8


def test_language_is_the_same_every_time() -> None:
    """Unseeded, langdetect gives this text several languages."""
    instruction = Instruction("language:response_language", {"language": "en"})
    assert len({follows(instruction, "dag alma 12 hotel taxi") for _ in range(30)}) == 1


def test_unknown_instructions_and_arguments_are_told() -> None:
    with pytest.raises(
        DataError, match=r"input_data\.jsonl, row 5: there is no check for the instruction 'style:rhyme'"
    ):
        ifeval_item(5, ROW | {"instruction_id_list": ["punctuation:no_comma", "style:rhyme"], "kwargs": [{}, {}]}, True)
    with pytest.raises(DataError, match="row 5: detectable_format:number_bullet_lists with {'num': 2}"):
        ifeval_item(5, ROW | {"kwargs": [{"num": 2}, {}]}, True)


def test_missing_detector_of_languages_is_told_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langdetect", None)
    with pytest.raises(
        PackageError, match=r"langdetect missing \(needs >=1\.0\.9\)\. Run: pip install -e '\.\[evaluate\]'"
    ):
        IFEval(Path("nowhere")).items()


def test_missing_data_names_the_file_and_the_mend(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"input_data\.jsonl: missing\. Run: arctic eval-data fetch"):
        IFEval(tmp_path).items()


@real
def test_all_real_prompts_have_their_checks() -> None:
    items = IFEval(REAL).items()
    assert (len(items), sum(len(item.gold) for item in items)) == (541, 834)
    assert len({item.item_id for item in items}) == 541
    row = json.loads((REAL / "ifeval" / "input_data.jsonl").read_text(encoding="utf-8").split("\n")[17])
    assert (items[17].text, items[17].place) == (row["prompt"], ("ifeval/input_data.jsonl", 17))
