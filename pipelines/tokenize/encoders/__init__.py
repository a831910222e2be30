"""Several ways from text to the same ids: fast ones, each compared with the library that defines the ids."""

from pipelines.tokenize.encoders.choice import DifferenceError, choose, encode_checked
from pipelines.tokenize.encoders.encoder import Encoder, Ids

__all__ = ["DifferenceError", "Encoder", "Ids", "choose", "encode_checked"]
