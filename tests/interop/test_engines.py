"""Third-party engines, in separate environments, give the same result as the model: `make interop`.

Each engine loads the exports of eight variants, tokenizes 64 texts, and is compared in float32: logits, likeliest
tokens, greedy continuations. The measurements go into the table of docs/tutorials/export.md.
"""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.capabilities import refusals
from arctic_model.export.formats import FORMATS
from arctic_model.export.prompts import TEXTS
from arctic_model.export.validation import Agreement, Answer, Prompt, Request, ask_engine, ask_model, compare
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from tests.kit.tokenizers import write_byte_tokenizer

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "build" / "interop"
PAGE = ROOT / "docs" / "tutorials" / "export.md"
TABLE = re.compile(r"(?<=\n)\| model \| transformers \| llama\.cpp \|.*?\n(?=\n)", re.DOTALL)
COMMON = {
    "hidden_size": 128,
    "expert_size": 64,
    "num_layers": 3,
    "vocab_size": 300,
    "max_positions": 256,
    "init_std": 0.1,
}
VARIANTS = {
    "one key-value head for 4 query heads": {"num_kv_heads": 1},
    "one for 2": {},
    "one for each": {"num_kv_heads": 4},
    "one expert for a token": {"top_k": 1},
    "4 of 8 experts": {"top_k": 4, "num_experts": 8},
    "router bias": {"router_bias": True},
    "learned sinks": {"learned_sinks": True},
    "YaRN": {"yarn_factor": 8.0, "yarn_original_positions": 32},
}
"""Fields of the configuration on top of COMMON; two of four experts and one key-value head for two, unless named."""
SIZE = {"max_model_len": 256, "max_num_seqs": 16, "kv_cache_memory_bytes": 2**28}
ENGINES = {
    # name -> environment and program, format, capabilities' name, settings
    "transformers": ("transformers", "huggingface", "transformers", {}),
    "llama.cpp": ("llama_cpp", "gguf", "llama.cpp", {}),
    "vLLM": ("vllm", "huggingface", "vLLM", SIZE),
    "vLLM, tensor parallel 2": ("vllm", "huggingface", "vLLM", SIZE | {"tensor_parallel_size": 2}),
    "vLLM, chunks of 64 tokens": (
        "vllm",
        "huggingface",
        "vLLM",
        SIZE | {"enable_chunked_prefill": True, "max_num_batched_tokens": 64},
    ),
}
TOLERANCE = 1e-5
MAX_NEW_TOKENS = 16


def texts() -> list[str]:
    """64 texts of pieces of TEXTS, at most 90 bytes each."""
    generator = random.Random(0)
    pieces = [text[start : start + 12] for text in TEXTS for start in range(0, len(text), 12)]
    return ["".join(generator.sample(pieces, 2)) for _ in range(64)]


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Answer]:
    """The name of a variant, its checkpoint with a tokenizer, and the model's own answers."""
    import torch

    config = preset("tiny", COMMON | VARIANTS[request.param])
    model = ArcticModel(config, seed=0)
    if config.router_bias:
        model.set_router_biases(torch.randn(config.num_layers, config.num_experts) * 0.1)
    for layer in model.model.layers if config.learned_sinks else ():
        torch.nn.init.normal_(layer.self_attn.sinks)
    folder = tmp_path_factory.mktemp("variant") / "checkpoint"
    model.save_pretrained(folder)
    write_byte_tokenizer(folder)
    return request.param, folder, ask_model(model.eval(), questions(folder))


def questions(folder: Path, settings: dict[str, object] | None = None) -> Request:
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompts = [Prompt(text, (0, *encoder.encode(text, add_special_tokens=False).ids)) for text in texts()]
    return Request(prompts, (0, 3), "float32", MAX_NEW_TOKENS, settings or {})


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[tuple[str, str], str]]:
    """Cells of the table by variant and engine; written into the page at the end, over those of earlier runs."""
    cells: dict[tuple[str, str], str] = {}
    yield cells
    page = PAGE.read_text(encoding="utf-8")
    [table] = TABLE.findall(page)
    for line in table.splitlines()[2:]:
        variant, *values = (cell.strip() for cell in line.strip("|").split("|"))
        cells = dict(zip([(variant, engine) for engine in ENGINES], values, strict=True)) | cells
    rows = [["model", *ENGINES], ["---"] * (len(ENGINES) + 1)]
    rows += [[name, *(cells.get((name, engine), "not run") for engine in ENGINES)] for name in VARIANTS]
    PAGE.write_text(page.replace(table, "".join(f"| {' | '.join(row)} |\n" for row in rows)), encoding="utf-8")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_computes_the_model(
    engine: str,
    variant: tuple[str, Path, Answer],
    measured: dict[tuple[str, str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, checkpoint, ours = variant
    environment, form, known_as, settings = ENGINES[engine]
    python = ENVIRONMENTS / environment / "bin" / "python"
    if not python.exists():
        pytest.fail(f"{python} does not exist: run make interop")
    if refusals(Checkpoint(checkpoint).config, known_as):
        measured[name, engine] = "refused"
        return
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1" if settings.get("tensor_parallel_size") else "auto")
    FORMATS[form].write(Checkpoint(checkpoint), checkpoint, tmp_path, "float32")
    asked = questions(checkpoint, settings)
    theirs = ask_engine(f"{environment}_logits", tmp_path / FORMATS[form].target, asked, os.fspath(python))
    agreement = compare(asked, ours, theirs)
    require(agreement)
    measured[name, engine] = f"{agreement.max_difference:.1e}"


@pytest.mark.parametrize("rounds", [False, True])
def test_llama_cpp_computes_ten_layers_unless_flash_attention_rounds_keys(tmp_path: Path, rounds: bool) -> None:
    """Ten layers with 16 experts make the rounding of a key to float16 choose other experts; two layers hide it."""
    checkpoint = tmp_path / "checkpoint"
    model = ArcticModel(preset("tiny", COMMON | {"num_layers": 10, "num_experts": 16}), seed=0)
    model.save_pretrained(checkpoint)
    write_byte_tokenizer(checkpoint)
    FORMATS["gguf"].write(Checkpoint(checkpoint), checkpoint, tmp_path, "float32")
    asked = questions(checkpoint, {"flash_attn": rounds})
    python = ENVIRONMENTS / "llama_cpp" / "bin" / "python"
    theirs = ask_engine("llama_cpp_logits", tmp_path / FORMATS["gguf"].target, asked, os.fspath(python))
    agreement = compare(asked, ask_model(model.eval(), asked), theirs)
    if rounds:
        assert agreement.max_difference > 100 * TOLERANCE
    else:
        require(agreement)


def require(agreement: Agreement) -> None:
    assert agreement.max_difference <= TOLERANCE
    assert agreement.argmax_share == 1.0
    assert agreement.greedy_share == 1.0
