"""The model card of an export: the model, its data, its scores, and the tasks that were not measured."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from arctic_model.export.capabilities import LOADED_BY, refusals
from arctic_model.export.formats import Format
from arctic_model.sizing.flops import count_parameters
from pipelines.artifacts.evaluation import interval_text, score_text
from pipelines.export.run_record import CorpusRecord, RunRecord

if TYPE_CHECKING:
    from arctic_model.export.validation import Agreement

CARD = "README.md"
LICENCES_SHOWN = 5
HEADER = """---
library_name: transformers
pipeline_tag: text-generation
tags: [arctic, mixture-of-experts]
---
"""
USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}", trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained("{folder}", trust_remote_code=True)
ids = tokenizer("SELECT", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=32)[0], skip_special_tokens=True))
```

The code in this folder is `modeling_arctic.py` and `configuration_arctic.py`. Read them before you trust them.
"""
LIMITS = """The scores above are all that was measured. The model was not tested for safety, for bias, for personal data
that it may repeat, or on any task or language that is not listed. Its context is {max_positions:,} tokens.
"""


def model_card(record: RunRecord, form: Format, dtype: str, agreement: "Agreement") -> str:
    """The card in Markdown. Equal results give equal text."""
    sections = {
        f"# {record.run}, {record.export}": _summary(record, form, dtype),
        "## Use": USE.format(folder=record.export),
        "## Data": _data(record.corpora),
        "## Curriculum": _curriculum(record),
        "## Scores": _scores(record),
        "## Agreement": _agreement(record, form, agreement),
        "## Limits": LIMITS.format(max_positions=record.config.max_positions),
        "## Replay": _replay(record),
    }
    return HEADER + "\n" + "\n".join(f"{title}\n\n{text}" for title, text in sections.items())


def _summary(record: RunRecord, form: Format, dtype: str) -> str:
    config, parameters = record.config, count_parameters(record.config)
    return (
        f"A dense-MoE hybrid as Snowflake's Arctic, trained from scratch, in the format {form.name} with weights in "
        f"{dtype}.\n\n"
        + _table(
            ["", ""],
            [
                ["parameters", f"{parameters.total:,}, {parameters.active:,} of them active for a token"],
                ["layers, width", f"{config.num_layers}, {config.hidden_size}"],
                ["experts", f"{config.num_experts} in every layer, {config.top_k} for a token"],
                ["training tokens", f"{record.tokens:,}"],
                ["training compute", f"{record.training_flops:.3g} FLOP (6 x active parameters x tokens)"],
            ],
        )
    )


def _data(corpora: Sequence[CorpusRecord]) -> str:
    rows = [
        [each.name, f"{each.sourced:,}", f"{each.filtered:,}", f"{each.kept:,}", f"{each.train_tokens:,}"]
        for each in corpora
    ]
    licences = [[each.name, _licences(each)] for each in corpora]
    return (
        _table(["corpus", "documents sourced", "after filter", "after deduplication", "training tokens"], rows)
        + "\nLicences of the documents, as their sources state them:\n\n"
        + _table(["corpus", "licences"], licences)
    )


def _licences(corpus: CorpusRecord) -> str:
    shown = list(corpus.licences.items())[:LICENCES_SHOWN]
    texts = [f"{_cell(name) or 'none stated'} ({count:,})" for name, count in shown]
    more = len(corpus.licences) - len(shown)
    return ", ".join([*texts, f"{more} more"] if more else texts) or "no documents"


def _curriculum(record: RunRecord) -> str:
    names = sorted({name for phase in record.phases for name in phase.tokens})
    rows = [[name, *(f"{phase.tokens.get(name, 0):,}" for phase in record.phases)] for name in names]
    return _table(["tokens", *(phase.name for phase in record.phases)], rows)


def _scores(record: RunRecord) -> str:
    rows = [
        [name, score_text(score.value), interval_text(score), f"{score.n:,}"]
        for name, score in record.scores.scores.items()
    ]
    header, better = (
        ["measure", "score", "95 % interval", "n"],
        "Lower is better for bits per byte, higher for all else.",
    )
    if not record.base:
        return f"Of this checkpoint, phase {record.scores.phase}. {better}\n\n" + _table(header, rows)
    before = record.base.scores
    rows = [[*row, score_text(before[row[0]].value) if row[0] in before else "not measured"] for row in rows]
    return (
        f"Of this checkpoint, the fine-tune {record.scores.phase}, asked in the chat, and of its base, the phase "
        f"{record.base.phase}, asked in its own form. {better}\n\n"
        + _table([*header, f"score of {record.base.phase}"], rows)
    )


def _agreement(record: RunRecord, form: Format, agreement: "Agreement") -> str:
    rows = [
        ["engine", agreement.engine],
        ["positions compared", f"{agreement.tokens:,}"],
        ["largest difference of logits, relative", f"{agreement.max_difference:.1g}"],
        ["equal likeliest tokens", f"{agreement.argmax_share:.2%}"],
        ["mean KL divergence", f"{max(agreement.mean_kl, 0.0):.1g} nats per token"],
        ["bits per byte, model and engine", f"{agreement.bits_per_byte:.4f}, {agreement.engine_bits_per_byte:.4f}"],
    ]
    refused = [f"- {engine}: {line}" for engine in LOADED_BY[form.name] for line in refusals(record.config, engine)]
    note = "\nNot computed by these engines:\n\n" + "\n".join(refused) + "\n" if refused else ""
    return "The engine loaded this export back, and was compared with the model.\n\n" + _table(["", ""], rows) + note


def _replay(record: RunRecord) -> str:
    return (
        f"`arctic replay {record.run}.toml --until 'export[{record.export}]'` builds the whole run again from its "
        f"recipe and compares every file. This export was made from {', '.join(record.stages)}.\n"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Text from a document, which may hold anything, on one line of a table."""
    return " ".join(text.replace("|", "/").replace("`", "'").replace("<", "(").replace(">", ")").split())[:80]
