"""A document that no encoding can hold is named by its field, and nothing of it is written."""

from dataclasses import replace

import pytest

from pipelines.artifacts.documents import Document
from pipelines.errors import OptionError

SOUND = Document("The river rose.", url="https://a.example/", origin="notes")


@pytest.mark.parametrize("field", ["text", "url", "origin"])
def test_a_lone_surrogate_is_named_with_its_field(field):
    broken = replace(SOUND, **{field: "half \ud83d"})
    with pytest.raises(OptionError, match=rf"{field}: its character 6 is the lone surrogate U\+D83D"):
        _ = broken.doc_id


def test_a_whole_pair_is_one_character():
    assert replace(SOUND, text="\U0001f600").doc_id != SOUND.doc_id
