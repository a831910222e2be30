"""Train a tokenizer, pack texts into sequences, and read them with torch's DataLoader.

python examples/read_packed_tokens.py
"""

import tempfile

import torch
from torch.utils.data import DataLoader, TensorDataset

from pipelines import pack_texts, train_tokenizer

TEXTS = [f"SELECT name, age FROM people_{number} WHERE age > {number} ORDER BY name;" for number in range(200)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(TEXTS, 320, folder)
        packed = pack_texts(TEXTS, tokenizer, sequence_length=64)
    sequences = TensorDataset(torch.from_numpy(packed.rows.astype("int64")))
    for (batch,) in DataLoader(sequences, batch_size=8, shuffle=True):
        inputs, targets = batch[:, :-1], batch[:, 1:]
        print(tuple(inputs.shape), tuple(targets.shape), repr(tokenizer.decode(inputs[0, :20].tolist())))
    filled = (packed.rows != packed.pad_id).mean()
    print(f"{len(TEXTS)} texts in {len(packed.rows)} sequences, {filled:.1%} filled")


if __name__ == "__main__":
    main()
