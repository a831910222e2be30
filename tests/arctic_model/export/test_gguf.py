"""A GGUF file as its own library reads it: every number of the checkpoint, in llama.cpp's order, and the vocabulary."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.errors import ExportError
from arctic_model.export.formats import FORMATS
from arctic_model.export.gguf.q8_0 import q8_0
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from tests.kit.tokenizers import write_byte_tokenizer

gguf = pytest.importorskip("gguf")

CONFIG = preset("tiny", {"hidden_size": 64, "expert_size": 32, "init_std": 0.2, "vocab_size": 300})
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    ArcticModel(CONFIG, seed=0).save_pretrained(folder)
    write_byte_tokenizer(folder, chat_template="{{ messages }}")
    return folder


@pytest.fixture(scope="module")
def readers(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The library's reader of a file in each dtype."""
    opened = {}
    for dtype in FORMATS["gguf"].max_kl:
        folder = tmp_path_factory.mktemp(dtype)
        FORMATS["gguf"].write(Checkpoint(checkpoint), checkpoint, folder, dtype)
        opened[dtype] = gguf.GGUFReader(folder / "model.gguf")
    return opened


def numbers(reader: Any) -> dict[str, np.ndarray]:
    return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}


def test_every_number_is_the_checkpoints(readers: dict[str, Any], checkpoint: Path) -> None:
    stored, written = Checkpoint(checkpoint), numbers(readers["float32"])
    layer = "model.layers.1."
    pairs = {
        "token_embd": "model.embed_tokens",
        "output": "lm_head",
        "output_norm": "model.norm",
        "blk.1.attn_norm": layer + "input_layernorm",
        "blk.1.attn_v": layer + "self_attn.v_proj",
        "blk.1.attn_output": layer + "self_attn.o_proj",
        "blk.1.ffn_norm": layer + "residual_layernorm",
        "blk.1.ffn_gate": layer + "residual_mlp.w1",
        "blk.1.ffn_down": layer + "residual_mlp.w2",
        "blk.1.ffn_up": layer + "residual_mlp.w3",
        "blk.1.ffn_norm_exps": layer + "post_attention_layernorm",
        "blk.1.ffn_gate_inp": layer + "block_sparse_moe.gate",
    }
    for ours, name in pairs.items():
        np.testing.assert_array_equal(written[f"{ours}.weight"], stored.read(f"{name}.weight").numpy(), err_msg=ours)
    for ours, matrix in {"gate": "w1", "down": "w2", "up": "w3"}.items():
        for expert in range(4):
            one = stored.read(f"{layer}block_sparse_moe.experts.{expert}.{matrix}.weight").numpy()
            np.testing.assert_array_equal(written[f"blk.1.ffn_{ours}_exps.weight"][expert], one)
    assert len(written) == 3 + 2 * (9 + 2 + 3)


def test_rows_that_rotary_positions_turn_together_are_neighbours(readers: dict[str, Any], checkpoint: Path) -> None:
    """Row i of a head is turned with row i + 8 in the checkpoint, and with the next one in the file; heads of 16."""
    for name, heads in (("q", 4), ("k", 2)):
        rows = Checkpoint(checkpoint).read(f"model.layers.0.self_attn.{name}_proj.weight").numpy()
        written = numbers(readers["float32"])[f"blk.0.attn_{name}.weight"]
        for head in range(heads):
            for pair in range(8):
                for half in range(2):
                    original = rows[head * 16 + half * 8 + pair]
                    np.testing.assert_array_equal(written[head * 16 + 2 * pair + half], original)


def test_lower_precision_rounds_matrices_and_neither_norms_nor_the_gate(readers: dict[str, Any]) -> None:
    exact, half, eight = (numbers(readers[dtype]) for dtype in ("float32", "float16", "q8_0"))
    for name, values in exact.items():
        if values.ndim == 1 or "gate_inp" in name:
            np.testing.assert_array_equal(half[name], values)
            np.testing.assert_array_equal(eight[name], values)
        else:
            np.testing.assert_array_equal(half[name], values.astype(np.float16).astype(np.float32))
            # Half a step of a 127th of the largest of 32 numbers, and the rounding of the step to float16.
            largest = np.abs(values.reshape(-1, 32)).max(axis=1, keepdims=True)
            assert (np.abs(eight[name] - values).reshape(-1, 32) <= largest * (0.5 / 127 + 2**-10)).all()
    sizes = [sum(tensor.n_bytes for tensor in readers[dtype].tensors) for dtype in ("float32", "float16", "q8_0")]
    assert sizes[1] < 0.52 * sizes[0] and sizes[2] < 0.29 * sizes[0]


@pytest.mark.parametrize("exponent", [-20, -3, 0, 4, 15])
def test_eight_bits_are_those_of_the_library(exponent: int) -> None:
    """Of ordinary numbers, of halves between two integers, of blocks of zeros, and of one number beside zeros."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 96)).astype(np.float32)
    halves = rng.integers(-254, 255, (8, 96)) / 2
    halves[:, ::32] = 127
    rows[8:16], rows[16:20], rows[20:24], rows[24:28, 1:] = halves, 0, -0.0, 0
    rows *= np.float32(2.0**exponent)
    np.testing.assert_array_equal(q8_0(rows), gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0))


def test_numbers_whose_scale_is_zero_are_zero() -> None:
    stored = q8_0(np.full((1, 32), 1e-40, dtype=np.float32))
    assert not gguf.quants.dequantize(stored, gguf.GGMLQuantizationType.Q8_0).any()


def test_the_architecture_is_described_in_llama_cpps_words(readers: dict[str, Any]) -> None:
    field = {name: each.contents() for name, each in readers["float16"].fields.items()}
    assert field["general.architecture"] == "arctic"
    expected = {
        "block_count": 2,
        "embedding_length": 64,
        "feed_forward_length": 32,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "rope.dimension_count": 16,
        "expert_count": 4,
        "expert_used_count": 2,
        "context_length": 128,
        "vocab_size": 300,
    }
    assert {name: field[f"arctic.{name}"] for name in expected} == expected


def test_yarn_is_described_in_llama_cpps_words(tmp_path: Path) -> None:
    yarn = {"yarn_factor": 4.0, "yarn_original_positions": 32, "yarn_beta_fast": 16.0, "yarn_attention_factor": 1.5}
    ArcticModel(preset("tiny", CONFIG.to_dict() | yarn), seed=0).save_pretrained(tmp_path / "checkpoint")
    write_byte_tokenizer(tmp_path)
    FORMATS["gguf"].write(Checkpoint(tmp_path / "checkpoint"), tmp_path, tmp_path, "float32")
    field = {name: each.contents() for name, each in gguf.GGUFReader(tmp_path / "model.gguf").fields.items()}
    scaling = {name.removeprefix("arctic.rope.scaling."): value for name, value in field.items() if ".scaling." in name}
    # llama.cpp multiplies the attention factor by 0.1 ln(factor) + 1 = 1.138629.
    assert scaling.pop("yarn_attn_factor") == pytest.approx(1.5 / 1.138629, rel=1e-6)
    assert scaling == {
        "type": "yarn",
        "factor": 4.0,
        "original_context_length": 32,
        "yarn_beta_fast": 16.0,
        "yarn_beta_slow": 1.0,
    }


def test_the_vocabulary_has_a_token_for_every_row(readers: dict[str, Any]) -> None:
    field = {name: each.contents() for name, each in readers["float16"].fields.items()}
    tokens, types = field["tokenizer.ggml.tokens"], field["tokenizer.ggml.token_type"]
    assert tokens[:4] == ["<|end|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    assert len(tokens) == len(types) == len(set(tokens)) == 300
    kinds = gguf.TokenType
    assert types[:4] == [kinds.CONTROL] * 4 and types[4:261] == [kinds.NORMAL] * 257
    assert set(types[261:]) == {kinds.UNUSED}
    assert field["tokenizer.ggml.merges"] == ["Ġ t"]
    assert [field[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "eot", "padding")] == [0, 0, 3, 1]
    assert field["tokenizer.ggml.add_bos_token"] is True
    assert field["tokenizer.chat_template"] == "{{ messages }}"


@pytest.mark.parametrize(
    ("splits", "use_regex", "rule"),
    [([], True, "gpt-2"), ([QWEN2], False, "qwen2"), ([QWEN2.replace("N}|", "N}{1,3}|", 1)], False, "llama-bpe")],
)
def test_the_rule_that_splits_words_is_named(
    checkpoint: Path, tmp_path: Path, splits: list[str], use_regex: bool, rule: str
) -> None:
    tokenizer = write_byte_tokenizer(tmp_path)
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splits]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*parts, last]) if parts else last
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    FORMATS["gguf"].write(Checkpoint(checkpoint), tmp_path, tmp_path, "float16")
    assert gguf.GGUFReader(tmp_path / "model.gguf").fields["tokenizer.ggml.pre"].contents() == rule


def sentencepiece(tokenizer: Tokenizer) -> None:
    tokenizer.decoder = decoders.Metaspace()


def composed(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.NFC()


def split_at_dots(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(".", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def prefixed(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sentencepiece, "model BPE with decoder Metaspace: a GGUF file takes byte-level BPE"),
        (composed, "normalizer NFC"),
        (split_at_dots, "pre_tokenizer splits texts by none of the rules"),
        (prefixed, "pre_tokenizer splits texts by none of the rules"),
    ],
)
def test_a_tokenizer_that_llama_cpp_reads_otherwise_is_refused(
    checkpoint: Path, tmp_path: Path, change: Any, message: str
) -> None:
    tokenizer = write_byte_tokenizer(tmp_path)
    change(tokenizer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ExportError, match=message):
        FORMATS["gguf"].write(Checkpoint(checkpoint), tmp_path, tmp_path, "float16")


def test_two_exports_have_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        FORMATS["gguf"].write(Checkpoint(checkpoint), checkpoint, tmp_path, "q8_0")
        contents.append((tmp_path / "model.gguf").read_bytes())
    assert contents[0] == contents[1]


def test_a_trained_tokenizer_is_one_that_llama_cpp_reads(checkpoint: Path, tmp_path: Path) -> None:
    from pipelines.tokenize.vocabulary import train_tokenizer, write_tokenizer

    write_tokenizer(train_tokenizer(["some words", "some more words"], 300), tmp_path)
    FORMATS["gguf"].write(Checkpoint(checkpoint), tmp_path, tmp_path, "float16")
    assert gguf.GGUFReader(tmp_path / "model.gguf").fields["tokenizer.ggml.pre"].contents() == "qwen2"
