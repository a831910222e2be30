"""Embeddings by a sentence transformer in a folder, against transformers' own passes over padded batches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from data_recipes import RecipeError
from data_recipes.schema import DedupSection, SemanticSection
from infra.plan import missing_packages, plan
from infra.store import Store
from pipelines import dedup
from pipelines.artifacts.documents import Document
from pipelines.dedup.semantic.encoder import read_encoder
from pipelines.dedup.semantic.model import fingerprint_model, load_model
from pipelines.dedup.semantic.vectors import SCALE
from tests.kit.stages import idle_stage

WORDS = [f"word{number}" for number in range(60)]
POOLING = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
NAMES = ("Transformer", "Pooling", "Normalize")
PATHS = ("", "1_Pooling", "2_Normalize")
MODULES = [
    {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
    for number, (kind, path) in enumerate(zip(NAMES, PATHS, strict=True))
]
MAX_TOKENS = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As sentence-transformers writes a model."""
    import torch

    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS) + 4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    home = tmp_path / "model"
    transformers.BertModel(config).save_pretrained(home)
    tokenizer = Tokenizer(
        WordLevel({word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}, "[UNK]")
    )
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    # As models are published: for batches of fixed length.
    tokenizer.enable_padding(length=40)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(home / "tokenizer.json"))
    write(home / "modules.json", MODULES)
    write(home / "1_Pooling" / "config.json", POOLING)
    write(home / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    return home


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))


def some(seed: int, count: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


def states(folder: Path, texts: list[str]) -> list[Any]:
    """The last states of each text, by one pass over a padded batch."""
    import torch
    import transformers

    model = transformers.BertModel.from_pretrained(folder).eval()
    ids = [[2, *(4 + WORDS.index(word) for word in text.split()), 3] for text in texts]
    longest = max(map(len, ids))
    batch = torch.tensor([each + [0] * (longest - len(each)) for each in ids])
    mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in ids])
    with torch.inference_mode():
        last = model(input_ids=batch, attention_mask=mask).last_hidden_state
    return [rows[: len(each)] for rows, each in zip(last, ids, strict=True)]


def require_directions(result: np.ndarray, expected: list[Any]) -> None:
    assert result.dtype == np.int16 and len(result) == len(expected)
    for mine, theirs in zip(result.astype(float), expected, strict=True):
        wanted = theirs.double().numpy()
        np.testing.assert_allclose(mine, wanted / np.linalg.norm(wanted) * SCALE, atol=0.51 + SCALE * 1e-5)


def test_a_text_is_the_mean_of_the_states_of_its_tokens(folder: Path) -> None:
    texts = [some(1, 10), some(2, 1), some(3, 7)]
    require_directions(load_model(folder).embed(texts), [rows.mean(0) for rows in states(folder, texts)])


def test_a_text_may_be_its_first_state(folder: Path) -> None:
    write(
        folder / "1_Pooling" / "config.json",
        POOLING | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    )
    texts = [some(1, 10), some(2, 4)]
    require_directions(load_model(folder).embed(texts), [rows[0] for rows in states(folder, texts)])


def test_a_text_of_more_tokens_than_a_pass_counts_to_its_end(folder: Path) -> None:
    import torch

    long = some(4, 25)
    words = long.split()
    parts = states(folder, [" ".join(words[start : start + MAX_TOKENS - 2]) for start in (0, 10, 20)])
    require_directions(load_model(folder).embed([long]), [torch.cat(parts).mean(0)])
    assert (load_model(folder).embed([long]) != load_model(folder).embed([" ".join(words[:24])])).any()


def test_the_models_own_prompt_stands_before_every_text(folder: Path) -> None:
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": "word7 "}, "default_prompt_name": None})
    plain, texts = load_model(folder).embed(["word1 word2", ""]), ["word7 word1 word2"]
    write(
        folder / "config_sentence_transformers.json", {"prompts": {"query": "word7 "}, "default_prompt_name": "query"}
    )
    prompted = load_model(folder).embed(["word1 word2", ""])
    require_directions(prompted[:1], [rows.mean(0) for rows in states(folder, texts)])
    assert (plain[0] != prompted[0]).any() and not plain[1].any() and not prompted[1].any()


def test_an_embedding_depends_on_no_other_text_and_no_thread(folder: Path) -> None:
    import torch

    texts = [some(seed, 5 + seed) for seed in range(8)]
    model = load_model(folder)
    together, threads = model.embed(texts), torch.get_num_threads()
    torch.set_num_threads(3)
    alone = np.concatenate([model.embed([text]) for text in reversed(texts)])[::-1]
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)
    assert (together == alone).all()


def test_plain_folders_of_transformers_are_read_too(folder: Path) -> None:
    expected = load_model(folder).embed([some(5, 8)])
    for name in ("modules.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    assert (load_model(folder).embed([some(5, 8)]) == expected).all()


def test_no_pass_is_longer_than_the_positions_of_the_model(folder: Path) -> None:
    write(folder / "sentence_bert_config.json", {"max_seq_length": 512})
    assert load_model(folder).embed([some(6, 200)]).any()
    (folder / "sentence_bert_config.json").unlink()
    changed(model_type="roberta", pad_token_id=None)(folder)
    assert read_encoder(folder).max_tokens == 62


def test_every_file_that_counts_changes_the_digest(folder: Path) -> None:
    digests = {fingerprint_model(folder)}
    for name, content in {
        "sentence_bert_config.json": {"max_seq_length": 11},
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"prompts": {}},
        "modules.json": MODULES[:2],
    }.items():
        write(folder / name, content)
        digests.add(fingerprint_model(folder))
    (folder / "README.md").write_text("not read")
    assert len(digests | {fingerprint_model(folder)}) == 5


def changed(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        write(folder / "config.json", config | values)

    return change


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "has no model.safetensors",
    ),
    "code of its own": (changed(auto_map={"AutoModel": "m.M"}), "code of the model's own, which never runs"),
    "a decoder": (changed(is_encoder_decoder=True), "has a decoder"),
    "no width": (changed(hidden_size=None), "hidden_size = None"),
    "fewer rows than tokens": (changed(vocab_size=9), "Bring files of one model"),
    "a module of another kind": (
        lambda folder: write(folder / "modules.json", [*MODULES, {"type": "sentence_transformers.models.Dense"}]),
        "Dense is not supported; Transformer, Pooling, Normalize are",
    ),
    "another pooling": (
        lambda folder: write(folder / "1_Pooling" / "config.json", {"pooling_mode_max_tokens": True}),
        "pooling_mode_max_tokens: pooling_mode_mean_tokens or pooling_mode_cls_token",
    ),
    "two poolings": (
        lambda folder: write(folder / "1_Pooling" / "config.json", POOLING | {"pooling_mode_cls_token": True}),
        "pooling_mode_cls_token, pooling_mode_mean_tokens: ",
    ),
    "no pooling": (lambda folder: (folder / "1_Pooling" / "config.json").unlink(), "1_Pooling has no config.json"),
    "no length": (
        lambda folder: [
            (folder / "sentence_bert_config.json").unlink(),
            changed(max_position_embeddings=None)(folder),
        ],
        "let it read 0 tokens",
    ),
    "another JSON": (lambda folder: (folder / "config.json").write_text("{"), "Invalid JSON"),
    "a list": (lambda folder: write(folder / "config.json", []), "config.json: Input should be an object"),
    "a width in words": (changed(hidden_size="wide"), "hidden_size: Input should be a valid integer"),
    "modules that are names": (
        lambda folder: write(folder / "modules.json", ["Transformer"]),
        "modules.json: 0: Input",
    ),
    "a module outside the folder": (
        lambda folder: write(folder / "modules.json", [MODULES[0] | {"path": "../other"}]),
        "modules.json: 0.path: String should match",
    ),
    "prompts that are numbers": (
        lambda folder: write(folder / "config_sentence_transformers.json", {"prompts": {"query": 1}}),
        "prompts.query: Input should be a valid string",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_cannot_be_used_is_a_mistake_of_the_recipe(folder: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(RecipeError, match=r"dedup\.semantic\.model = 'model'") as caught:
        dedup.fingerprint(DedupSection(semantic=SemanticSection(model="model")), folder.parent)
    assert message in str(caught.value)


def test_the_stage_needs_transformers_only_for_an_encoder(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("infra.host.packages._problem", lambda name: f"{name}: missing")
    source = idle_stage("source", "notes", {})
    inputs = dedup.DedupInputs(source, idle_stage("filter", "notes", {}, {"source": source}))
    for semantic, lacking in ((None, 0), (SemanticSection(model="model"), 1)):
        section = DedupSection(semantic=semantic)
        stage = dedup.stage("notes", section, dedup.fingerprint(section, tmp_path), tmp_path, inputs)
        planned = plan(Store(tmp_path / "store").open(), [stage])
        assert len(missing_packages(planned)) == lacking


def test_the_stage_removes_what_is_near_by_the_encoder(deduplicate: Any, folder: Path) -> None:
    """Texts of other words are near if their tokens have nearly the same states: here the twins of some words."""
    import torch
    import transformers

    model = transformers.BertModel.from_pretrained(folder)
    rows = model.embeddings.word_embeddings.weight.data
    rows[4 + 30 : 4 + 60] = rows[4 : 4 + 30] + 0.01 * torch.randn(30, 32, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(folder)
    texts = [" ".join(np.random.default_rng(seed).choice(WORDS[:30], 40)) for seed in range(6)]
    twins = [" ".join(WORDS[30 + WORDS.index(word)] for word in text.split()) for text in texts[:3]]
    documents = [Document(text, f"http://example.org/{n}", "test") for n, text in enumerate([*texts, *twins])]
    section = DedupSection(semantic=SemanticSection(model="model", cosine_threshold=0.999))

    made = [deduplicate([documents[start::shards] for start in range(shards)], section) for shards in (1, 3)]

    assert made[0].kept() == made[1].kept() and len(made[0].kept()) == 6
    removed = [row for row in made[0].decisions().values() if not row["keep"]]
    assert {row["reason"] for row in removed} == {"semantic_duplicate"} and min(
        row["cosine"] for row in removed
    ) > 0.999
