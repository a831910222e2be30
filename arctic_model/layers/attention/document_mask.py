"""Which tokens of packed sequences see each other: the documents of a pass, or a bias of the attention scores."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arctic_model.config import LONGEST_BIAS


class Documents(NamedTuple):
    """The documents of a pass: document d has tokens offsets[d] to offsets[d + 1] of the B * T.

    `offsets` is int32 on the device; `longest` is an upper bound on the length of a document, T.
    """

    offsets: Tensor
    longest: int


FLASH_DTYPES = (torch.bfloat16, torch.float16)
FLASH_HEAD_MULTIPLE, FLASH_HEAD_LIMIT = 8, 256
"""Head dimensions that torch's flash attention for documents accepts; it does not pad them."""


def document_mask(segments: Int[Tensor, "B T"], dtype: torch.dtype, head_dim: int) -> Documents | Tensor:
    """The mask that all layers of a pass share: query t sees key s if s is not later and in the same document.

    Flash attention, on a GPU in half precision for heads of its sizes, takes the documents and computes no other pair.
    Everywhere else the mask of short sequences is a bias: on a CPU, document by document is slower below 1,024 tokens
    (256 tokens and 3 documents: 19.6 ms with a bias, 23.3 ms by documents in float32; 38 and 79 ms in bfloat16). The
    memory of a bias grows with the square of the length, so longer ones take the documents everywhere.
    """
    return document_bias(segments, dtype) if needs_bias(segments, dtype, head_dim) else documents(segments)


def needs_bias(segments: Int[Tensor, "B T"], dtype: torch.dtype, head_dim: int) -> bool:
    """Whether `document_mask` is a bias."""
    return segments.shape[1] <= LONGEST_BIAS and not (segments.is_cuda and takes_documents(dtype, head_dim))


def takes_documents(dtype: torch.dtype, head_dim: int) -> bool:
    """Whether the GPU kernel of flash attention accepts heads of this dtype and size."""
    return dtype in FLASH_DTYPES and head_dim % FLASH_HEAD_MULTIPLE == 0 and head_dim <= FLASH_HEAD_LIMIT


def documents(segments: Int[Tensor, "B T"]) -> Documents:
    """The documents of a batch: one begins with every row and at every change of segment. The tokens of a document are
    contiguous. Padding (segment -1) counts as a document, so that every token has a key."""
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    offsets = begins.flatten().nonzero().flatten()
    return Documents(F.pad(offsets, (0, 1), value=segments.numel()).int(), segments.shape[1])


def document_bias(segments: Int[Tensor, "B T"], dtype: torch.dtype) -> Float[Tensor, "B 1 T T"]:
    """The bias of the attention scores: 0 if query t sees key s, else -inf."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return visible_bias(causal & (segments[:, :, None] == segments[:, None, :]), dtype)[:, None]


def cached_bias(num_new: int, num_cached: int, like: Tensor) -> Float[Tensor, "1 1 T S"]:
    """The causal bias of `num_new` queries that follow `num_cached` keys of one document."""
    full = torch.ones(num_new, num_cached + num_new, dtype=torch.bool, device=like.device)
    return visible_bias(full.tril(diagonal=num_cached), like.dtype)[None, None]


def visible_bias(visible: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """The bias of the attention scores: 0 for a visible key, else -inf."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, -torch.inf)
