"""The number of repeats of a sequence, and the order, by the scores of its documents."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes import RecipeError
from data_recipes.sections.curriculum import MixSection, PhaseSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Stage
from pipelines import mix
from pipelines.artifacts.sequence_order.phase_plan import PhasePlan
from pipelines.artifacts.tokenization import tokens as tokens
from pipelines.artifacts.tokenization.tokens import TokensIndex, write_token_shard
from pipelines.mix import Lengths, MixInputs
from pipelines.mix.weighting import long_document_copies, sequence_means, summed_copies
from tests.kit.stages import committed

LENGTH = 9
LENGTHS = Lengths(LENGTH, LENGTH)
PIECES = [
    # sequence, ids of it, row of the document: two shards with three documents each
    [(0, 10, 2), (1, 6, 0), (1, 4, 1)],
    [(0, 5, 1), (0, 5, 0), (1, 10, 2), (2, 8, 2)],
]
WORDS = [[100.0, 50.0, 7.0], [10.0, 30.0, 300.0]]
CLUSTER_SIZES = [[1, 4, 2], [1, 1000, 150]]
MEANS = [7.0, 80.0, 20.0, 300.0, 300.0]


def work(*_: object) -> dict[str, float]:
    raise AssertionError("an input stage does not run here")


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Artifact]:
    """Packed tokens of corpus web, with the sidecars of its documents."""
    for shard, pieces in enumerate(PIECES):
        sequence, length, row = (np.array(column) for column in zip(*pieces, strict=True))
        start = np.array([sum(piece[1] for piece in pieces[:i] if piece[0] == sequence[i]) for i in range(len(pieces))])
        table = {"sequence": sequence, "start": start, "length": length, "doc_row": row}
        table |= {"doc_id": [f"{shard}{document}" for document in row], "doc_start": 0 * start}
        ids = np.zeros((sequence[-1] + 1, LENGTH + 1), np.uint16)
        write_token_shard(ids, pa.table(table).select(tokens.PIECES.names), tmp_path / "tokens", "train", shard)
        names = [f"{shard}{document}" for document in range(3)]
        scores = {"doc_id": names, "words": WORDS[shard], "quality": [w / 300 for w in WORDS[shard]], "language": names}
        write(pa.table(scores), tmp_path / "score/scores", shard)
        write(pa.table({"doc_id": names, "cluster_size": CLUSTER_SIZES[shard]}), tmp_path / "dedup/decisions", shard)
    TokensIndex(LENGTH, "uint16", 300, 0, 1, {"train": [2, 3], "heldout": [0, 0]}, {}, {}).write(tmp_path / "tokens")
    folders = {"tokens:web": "tokens", "score:web": "score", "dedup:web": "dedup"}
    return {name: committed(tmp_path / folder) for name, folder in folders.items()}


def write(table: pa.Table, folder: Path, shard: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{shard:05d}.parquet")


def web_stages() -> MixInputs[Stage]:
    """The tokens of corpus web, its scores and its decisions."""
    return MixInputs(*({"web": Stage(name, "web", 1, {}, {}, work)} for name in ("tokenize", "score", "dedup")))


def plan(
    artifacts: dict[str, Artifact], tmp_path: Path, sequences: int, section: MixSection, **fields: str
) -> PhasePlan:
    phase = PhaseSection(name="one", tokens=sequences * LENGTH, weights={"web": 1.0}, **fields)
    stage = mix.stage(1, phase, section, LENGTHS, web_stages())
    out = tmp_path / "mix"
    out.mkdir()
    stage.work(StageContext(stage.id, out, tmp_path, [].append), {name: artifacts[name] for name in stage.inputs})
    return PhasePlan.read(out)


def read(plan: PhasePlan) -> list[int]:
    return plan.sequences(0, plan.num_sequences)[1].tolist()


def test_a_sequence_has_the_mean_over_its_tokens(artifacts: dict[str, Artifact]) -> None:
    sidecars = sorted((artifacts["score:web"].path / "scores").iterdir())
    assert sequence_means(artifacts["tokens:web"].path, sidecars, "words").tolist() == pytest.approx(MEANS)


@pytest.mark.parametrize("column", ["readability", "language"])
def test_a_column_that_is_no_number_is_told_with_those_that_are(
    artifacts: dict[str, Artifact], tmp_path: Path, column: str
) -> None:
    with pytest.raises(ValueError, match=f"phase one: order_by: .*no numeric score '{column}'. Choose one of words, "):
        plan(artifacts, tmp_path, 5, MixSection(), order="easy_to_hard", order_by=column)


def test_easy_to_hard_reads_each_pass_by_its_score(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    result = read(plan(artifacts, tmp_path, 8, MixSection(), order="easy_to_hard", order_by="words"))
    assert result[:5] == [0, 2, 1, 3, 4]
    assert [MEANS[sequence] for sequence in result[5:]] == sorted(MEANS[sequence] for sequence in result[5:])
    assert len(set(result[5:])) == 3


def test_rehydration_reads_sequences_as_often_as_their_clusters_say(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    section = MixSection(rehydrate=["web"], max_epochs=2.0)
    # sizes 2; 1 and 4 (as 3) in parts of 6 to 4; 1000 and 1; 150; 150
    expected = {0: 2, 1: 2, 2: 1, 3: 8, 4: 8}
    result = read(plan(artifacts, tmp_path, 42, section))
    assert Counter(result[:21]) == Counter(result[21:]) == expected
    assert mix.pass_length("web", section, MixInputs.of(artifacts)) == 21
    assert mix.pass_length("web", MixSection(), MixInputs.of(artifacts)) == 5


def test_quality_decides_how_often_a_pass_of_the_same_length_reads(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    result = Counter(read(plan(artifacts, tmp_path, 5, MixSection(quality_power={"web": 1.0}))))
    exact = {sequence: 5 * mean / sum(MEANS) for sequence, mean in enumerate(MEANS)}
    assert all(abs(result[sequence] - share) < 1 for sequence, share in exact.items())
    assert result[0] == 0
    assert result[3] >= 2


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=40), st.sampled_from([0.5, 1, 3]))
def test_copies_keep_the_length_of_a_pass_and_stay_less_than_one_from_their_share(pairs: list, power: float) -> None:
    expected, quality = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    weights = expected * quality**power
    if weights.sum() <= 1e-200:
        return
    copies = np.diff(summed_copies(expected, quality, power), prepend=0)
    assert copies.sum() == expected.sum()
    assert (copies >= 0).all()
    assert (np.abs(copies - weights / weights.sum() * expected.sum()) < 1 + 1e-9).all()


def test_a_corpus_without_quality_cannot_be_weighed_by_it() -> None:
    with pytest.raises(ValueError, match="no sequence has a quality above 0. Set score.quality_model"):
        summed_copies(np.ones(3), np.zeros(3), 1.0)


def test_scores_are_inputs_only_of_the_phases_that_ask_for_them() -> None:
    weights = {"web": 1.0}
    corpora = web_stages()
    shuffled = PhaseSection(name="one", tokens=LENGTH, weights=weights)
    ordered = PhaseSection(name="two", tokens=LENGTH, weights=weights, order="easy_to_hard", order_by="words")
    assert set(mix.stage(1, shuffled, MixSection(), LENGTHS, corpora).inputs) == {"tokens:web"}
    assert set(mix.stage(2, ordered, MixSection(), LENGTHS, corpora).inputs) == {"tokens:web", "score:web"}
    rehydrated = mix.stage(1, shuffled, MixSection(rehydrate=["web"]), LENGTHS, corpora)
    assert set(rehydrated.inputs) == {"tokens:web", "dedup:web"}
    with pytest.raises(RecipeError, match="corpus web has no stage score"):
        mix.stage(2, ordered, MixSection(), LENGTHS, MixInputs(corpora.tokens))


def test_sequences_of_documents_that_did_not_fit_before_are_read_more_often(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    """Documents 2 of both shards have 10 and 18 ids, the others up to 6; sequences of 5 tokens held 6."""
    tokens = artifacts["tokens:web"].path
    assert long_document_copies(tokens, 5, 3.0).tolist() == [3.0, 1.0, 1.0, 3.0, 3.0]
    stage = mix.stage(
        1,
        PhaseSection(name="one", tokens=11 * LENGTH, weights={"web": 1.0}),
        MixSection(upsample_long=3.0, max_epochs=1.0),
        Lengths(LENGTH, 5),
        web_stages(),
    )
    (tmp_path / "mix").mkdir()
    stage.work(StageContext(stage.id, tmp_path / "mix", tmp_path, [].append), {"tokens:web": artifacts["tokens:web"]})
    assert Counter(read(PhasePlan.read(tmp_path / "mix"))) == {0: 3, 1: 1, 2: 1, 3: 3, 4: 3}


def test_upsampling_is_in_the_key_of_longer_phases_alone() -> None:
    phase = PhaseSection(name="one", tokens=LENGTH, weights={"web": 1.0})
    keys = [
        [mix.stage(1, phase, MixSection(upsample_long=factor), lengths, web_stages()).key for factor in (1.0, 3.0)]
        for lengths in (LENGTHS, Lengths(LENGTH, 5))
    ]
    assert keys[0][0] == keys[0][1] == keys[1][0] != keys[1][1]
