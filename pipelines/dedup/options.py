"""Rules of deduplication."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DedupOptions:
    """Rules of deduplication: exact digests, then MinHash of word n-grams (Broder 1997), verified on the text.

    Args:
        ngram: Words per shingle.
        num_bands: Bands of the signature (LSH).
        rows_per_band: Rows per band, 1 to 32. With the default 16 x 8, a pair with a Jaccard similarity of 0.8 shares
            a band with a probability of 0.95.
        seed: Seed of the hash functions.
        jaccard_threshold: Verified Jaccard similarity of the shingle sets from which the lower-ranked document is a
            duplicate.
        containment_threshold: Fraction of a document's shingles that a better-ranked document has, from which it is a
            duplicate too. None: not used.
        min_passage_words: Length in words of the runs that are cut from all documents but the first that has them.
            None: not used.
        max_line_documents: Documents that may have a line; a line of more is cut from all but the first. None: not
            used.
        max_bucket: Maximum kept documents compared per LSH bucket; beyond it, a second signature must also match.
        max_removed_fraction: Fraction of the documents of an origin, or of all, whose removal raises an alarm.
        max_cluster_size: Number of members above which a cluster raises an alarm.
    """

    ngram: int = 5
    num_bands: int = 16
    rows_per_band: int = 8
    seed: int = 1
    jaccard_threshold: float = 0.8
    containment_threshold: float | None = None
    min_passage_words: int | None = None
    max_line_documents: int | None = None
    max_bucket: int = 1000
    max_removed_fraction: float = 0.5
    max_cluster_size: int = 10_000

    @property
    def cuts_passages(self) -> bool:
        """Whether repeated passages or lines are cut."""
        return self.min_passage_words is not None or self.max_line_documents is not None


@dataclass(frozen=True)
class SemanticOptions:
    """Rules of deduplication by meaning: the cosine similarity of embeddings.

    Args:
        model: Folder with a static model, `model.safetensors` and `tokenizer.json` as model2vec writes them or as a
            StaticEmbedding of sentence-transformers; or with a sentence transformer.
        cosine_threshold: Cosine similarity from which the lower-ranked document is a duplicate.
        digest: Digest of the model's files, which each worker checks. Filled in from the folder.
    """

    model: Path
    cosine_threshold: float = 0.95
    digest: str = ""
