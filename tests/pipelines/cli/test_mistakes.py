"""A hundred deliberate mistakes: each is answered with the path, the value and the remedy, and exit code 2.

The words were written down from the needs of a user, not copied from the code: the part before "...", then the part
behind it, must occur in the message in this order.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest

from pipelines.cli import main

RUN = """
name = "demo"
description = "A small run"
corpora = ["sql.toml", "more.toml"]
[tokenizer]
vocab_size = 384
sample_bytes_per_corpus = 50000
[tokenize]
sequence_length = 64
[[phases]]
name = "one"
tokens = 10240
weights = {sql = 0.5, more = 0.5}
[model]
preset = "tiny"
[train]
global_batch_sequences = 8
micro_batch_sequences = 4
peak_lr = 0.003
[evaluate]
heldout_bytes_per_corpus = 4000
"""
CORPUS = """
name = "NAME"
description = "Generated questions"
[[source.inputs]]
kind = "text_to_sql"
num_schemas = 8
num_heldout_schemas = 2
pairs_per_schema = 2
seed = 3
"""
FILES = {
    "run.toml": RUN,
    "sql.toml": CORPUS.replace("NAME", "sql"),
    "more.toml": CORPUS.replace("NAME", "more"),
    "empty.toml": "",
    "broken.toml": "name = \n",
    "list.json": "[]",
    "notes.txt": "hello",
    "nameless.toml": 'description = "x"\n',
    "kind.toml": CORPUS.replace("NAME", "kind").replace("text_to_sql", "wark"),
    "glob.toml": 'name = "glob"\ndescription = "x"\n[[source.inputs]]\nkind = "warc"\npaths = ["none/*.warc.gz"]\n',
    "damaged/stages/source/a-000000000000/manifest.json": "{",
    "bare/stages/source/readme": "",
    "checkpoint/config.json": "{}",
    "no_files/": "",
}
MISTAKES = """
plan | Missing argument 'recipe'
plan gone.toml | gone.toml: no such recipe
plan empty.toml | empty.toml: empty ... arctic init
plan broken.toml | broken.toml: not valid TOML ... line 1 ... Mend
plan binary.toml | binary.toml: not UTF-8 ... Save it as UTF-8
plan no_files | no_files: cannot be read ... Name a recipe file
plan list.json | list.json: not a recipe lock ... Lock the recipe again
plan notes.txt | notes.txt: not valid TOML
plan nameless.toml | nameless.toml: name: missing. Add it
plan kind.toml | source.inputs.1.kind = 'wark': must be one of 'warc'
plan glob.toml | source.inputs.1.paths.1 = 'none/*.warc.gz' ... no WARC file
plan run.toml --frobnicate | --frobnicate
plan run.toml --until trian | --until trian: no such stage ... train[1]
plan run.toml --only 'evaluate[9]' | --only evaluate[9]: no such stage ... evaluate[1]
plan run.toml --set train.lr=1 | train.lr = 1: unknown field
plan run.toml --set train.peek_lr=1 | train.peek_lr = 1: unknown field. Did you mean peak_lr?
plan run.toml --set train | --set 'train' is not key.path=VALUE ... such as train.peak_lr=0.002
plan run.toml --set =3 | --set '=3' is not key.path=VALUE
plan run.toml --set train.peak_lr= | --set 'train.peak_lr=' is not key.path=VALUE
plan run.toml --set train.peak_lr=fast | train.peak_lr = 'fast' ... valid number
plan run.toml --set train.peak_lr=-1 | train.peak_lr = -1: must be above 0. Raise it
plan run.toml --set train.optimizer=mun | train.optimizer = 'mun' ... 'adamw' or 'muon'
plan run.toml --set train.warmup_tokens=-5 | train.warmup_tokens = -5: must be at least 0. Raise it
plan run.toml --set train.global_batch_sequences=0 | train.global_batch_sequences = 0: must be above 0. Raise it
plan run.toml --set train.micro_batch_sequences=3 | global_batch_sequences = 8 is not a multiple ... Use
plan run.toml --set train.expert_parallel_size=3 | train.expert_parallel_size = 3 does not divide ... Choose a divisor
plan run.toml --set train.num_workers=3 | global_batch_sequences = 8 is not a multiple ... num_workers = 4 x 3
plan run.toml --set train.zero_stage=9 | train.zero_stage = 9 ... 0, 1, 2 or 3
plan run.toml --set train.dtype=int8 | train.dtype = 'int8' ... 'float32' or 'bfloat16'
plan run.toml --set train.profile_steps=13:10 | train.profile_steps = '13:10' ... Use 10:13
plan run.toml --set phases.9.tokens=10 | phases.9.tokens leads to no field. Lists count from 1
plan run.toml --set phases.1.tokens=100 | tokens = 100 is not a whole number of steps of 512 tokens ... Use 512
plan run.toml --set phases.1.tokens=-1 | phases.1.tokens = -1: must be above 0. Raise it
plan run.toml --set 'phases.1.weights={web=1}' | phases.1.weights.web = 1.0: no such corpus ... sql, more
plan run.toml --set phases.1.order_by=words | phases.1.order_by = 'words' ... easy_to_hard
plan run.toml --set tokenizer.vocab_size=3 | tokenizer.vocab_size = 3: must be at least 260. Raise it
plan run.toml --set tokenizer.path=nowhere | tokenizer.path = 'nowhere' and sample_bytes ... give one of the two
plan run.toml --set tokenize.sequence_length=0 | tokenize.sequence_length = 0: must be at least 8. Raise it
plan run.toml --set model.preset=huge | model.preset = 'huge': no such preset. There are tiny
plan run.toml --set model.overrides.num_heads=3 | model.overrides.num_heads = 3 does not divide ... Choose a divisor
plan run.toml --set model.overrides.num_experts=1 | more than model.overrides.num_experts = 1
plan run.toml --set model.overrides.max_positions=8 | max_positions = 8
plan run.toml --set model.init_from=nowhere | model.init_from = 'nowhere' ... Name a
plan run.toml --set 'evaluate.tasks=["spidr"]' | 'spidr' ... spider
plan run.toml --set evaluate.heldout_bytes_per_corpus=-1 | evaluate.heldout_bytes_per_corpus = -1 ... Raise it
plan run.toml --set corpora.web.filter.min_words=20 | no corpus 'web' ... sql, more
plan run.toml --set corpora.sql.filter.min_wordz=20 | sql.toml: filter.min_wordz = 20 ... Did you mean min_words?
plan run.toml --set 'corpora.sql.filter.languages=["english"]' | 'english' ... en
plan run.toml --set corpora.sql.filter.max_words=10 | sql.toml: filter.min_words ... more than max_words = 10. Lower it
plan run.toml --set corpora.sql.dedup.ngram=0 | sql.toml: dedup.ngram = 0: must be above 0. Raise it
plan run.toml --set corpora.sql.source.heldout_fraction=1.5 | heldout_fraction = 1.5: must be below 1. Lower it
plan run.toml --set 'export=[{name="a", to="onnx"}]' | export.1.to = 'onnx' ... 'huggingface'
plan run.toml --store notes.txt | notes.txt: a file, not a folder. Name a folder with --store
plan run.toml --store damaged | manifest.json: unreadable manifest ... Delete the folder
plan run.toml --mix | the size of more, sql is not known ... --assume more=2e12
plan run.toml --mix --assume sql | --assume 'sql' is not CORPUS=TOKENS, such as web=2e12
plan run.toml --mix --assume sql=many | --assume 'sql=many' is not CORPUS=TOKENS
plan sql.toml --mix | sql.toml: the recipe of one corpus. Name a run recipe
run run.toml --profile 13-10 | --profile 13-10: ... steps=10:13
run run.toml --profile steps=13:10 | '13:10' ... Use 10:13
run run.toml --register 'a model/1' | --register a model/1: use letters ... such as code-model
run run.toml --only 'evaluate*' | --only leaves out source[ ... Run without --only
run run.toml --until nothing | --until nothing: no such stage
run run.toml --store /proc/arctic | store /proc/arctic: cannot write there ... Choose another folder with --store
replay run.toml | nothing to compare with
replay gone.toml | gone.toml: no such recipe
ablate run.toml | --phase
ablate run.toml --phase 9 | --phase 9: demo has the phases 1 to 1. Name one
ablate run.toml --phase one | '--phase': Input should be a valid integer
ablate run.toml --phase 1 --candidates 2 | --candidates 2: a regression needs at least 4. Raise it
ablate run.toml --phase 1 --aim web | --aim web: it has no held-out documents ... sql, more. Name one
ablate sql.toml --phase 1 | sql.toml: the recipe of one corpus. Name a run recipe
evaluate | name either checkpoints or a model
evaluate nowhere --suite gsm8k --root bare | gsm8k/test.jsonl ... Run: arctic eval-data fetch --root bare
evaluate checkpoint --suite nosuch --root bare | nosuch
evaluate checkpoint --suite gsm8k --root nowhere | --root nowhere: no such folder. Run: arctic eval-data fetch
evaluate checkpoint --suite gsm8k --limit 0 | --limit 0: it must be 1 or more. Leave it out
evaluate checkpoint --suite gsm8k --chat maybe | --chat 'maybe' ... never, auto, always. Choose one
evaluate checkpoint --suite gsm8k --against-tokenizer x | --against-tokenizer ... Leave it out
export checkpoint --to onnx --out out | --to onnx: no such format. There are huggingface
export nowhere --to gguf --out out | nowhere: no such folder. Give the folder of a checkpoint
export checkpoint --to huggingface --out notes.txt | --out notes.txt: exists already. Remove it
generate checkpoint | --prompt
generate nowhere --prompt hi | nowhere: no such folder. Give the folder of a checkpoint
chat nowhere | nowhere: no such folder
serve nowhere | nowhere: no such folder
serve checkpoint --port 99999 | '--port': Input should be less than or equal to 65535
size gone.toml | gone.toml: no such recipe
size sql.toml | sql.toml: a corpus recipe has no model to size. Name a run recipe
size run.toml --gpus 0 | train.num_workers = 0: must be above 0. Raise it
size run.toml --gpu TPU | --gpu 'TPU': no such GPU. There are a100
size run.toml --mfu 3 | mfu = 3 ... above 0 and at most 1
size run.toml --price -1 | '--price': Input should be greater than or equal to 0
runs --store nowhere | nowhere: nothing there. Run a recipe first, or name another with --store
runs one --store bare | arctic runs one: name two runs to compare, or none
runs a b --store bare | store bare: it has no run yet. Start one with: arctic run RECIPE --store bare
report --store bare | store bare: it has no run yet. Start one with: arctic run
report --store nowhere | nowhere: nothing there. Run a recipe first
show stages --store nowhere | nowhere: nothing there
show 'train[9]' --store bare | store bare: no committed stage 'train[9]'
show document --store bare | an argument is missing; usage: arctic show document ID
show document abc --store bare | no document 'abc'. Ids are 32 hex digits
show token web --store bare | usage: arctic show token CORPUS POSITION
show token web x --store bare | position 'x': not a whole number. Count tokens from 0
show cluster abc --store bare | no cluster 'abc'. A cluster has the id of
show samples --store bare | usage: arctic show samples CHECKPOINT TASK
show lock | usage: arctic show lock RECIPE
show stages --wrong --store bare | --wrong: it belongs to arctic show samples ... Leave it out
verify --store nowhere | nowhere: nothing there
export-tokens web out --store bare | no tokens of 'web'. Run a recipe with this corpus
train-quality a b out.safetensors --store bare | no deduplicated corpus 'a'. Run its recipe first
submit gone.toml --address 127.0.0.1:1 | gone.toml: no such recipe
submit run.toml | --address
submit run.toml --address ray://head:10001 | ray://head:10001: not the address of a dashboard ... http://127.0.0.1:8265
submit run.toml --address 127.0.0.1:1 --on-interrupt panic | 'panic' is not one of ... 'detach'
jobs --address ftp://x | ftp://x: not the address of a dashboard. Give the head's HTTP address
jobs | --address
logs a --address ray://x | ray://x: not the address of a dashboard
stop a --address ray://x | ray://x: not the address of a dashboard
ui --port 0 | '--port': Input should be greater than or equal to 1
ui --store nowhere | nowhere: nothing there
init nowhere | nowhere: no such file or folder. Correct the path
init no_files | no_files: no WARC, JSON Lines, Parquet ... Name a folder that holds some
eval-data fetch --root notes.txt | --root notes.txt: a file, not a folder. Name a folder
eval-data fetch humaneval/nothing | humaneval/nothing: no file of the data root. There are
frobnicate | No such command 'frobnicate'
"""
CASES = [tuple(part.strip() for part in line.split(" | ")) for line in MISTAKES.strip().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipes that work, files that do not, and stores without results."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).write_text(text)
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00")
    return folder


def test_there_are_a_hundred() -> None:
    assert len({command for command, _ in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize(("command", "told"), CASES, ids=[command for command, _ in CASES])
def test_a_mistake_is_answered_with_place_value_and_mend(
    command: str, told: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["arctic", *shlex.split(command)])
    before = set(filter(Path.is_file, folder.rglob("*")))
    with pytest.raises(SystemExit) as ended:
        main()
    message = capsys.readouterr().err
    assert ended.value.code == 2, message
    assert "Traceback" not in message
    # Lines are broken at the width of the terminal.
    flat = re.sub(r"[\s│╭╮╰╯─]+", " ", message)
    assert re.search(".*".join(map(re.escape, told.split(" ... "))), flat, re.IGNORECASE), message
    assert set(filter(Path.is_file, folder.rglob("*"))) == before, "a mistake leaves nothing behind"
