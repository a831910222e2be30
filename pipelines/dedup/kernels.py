r"""The inner loops, compiled by numba for the types that they are first called with; all of them release the GIL.

Imported only if there is work to do: numba takes 0.4 s to import, and compiles each kernel once for a machine.
"""

import numpy as np

from arctic_model.machine_code import compiler

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, made odd (Knuth, The Art of Computer Programming 3, 6.4)."""
BASE = np.uint64(0xD6E8FEB86659FD93)
"""Base of the polynomial over word hashes modulo 2^64: odd, of mixed bits (Rosenberg's 64-bit mixer)."""
_FMIX_1, _FMIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
"""MurmurHash3's 64-bit finaliser."""
S29, _S32, _S33 = np.uint64(29), np.uint64(32), np.uint64(33)
ALONE_NGRAM = 3
"""Characters of a shingle that ends in a script without blanks: as much as one to two words."""
_U32 = np.uint32
_ALONE, _CODE = np.uint32(1 << 31), np.uint32((1 << 31) - 1)
_U64 = np.uint64
_ONE = np.uint64(1)

compiled = compiler(nogil=True)


@compiled
def shingle(data, offsets, lower_of, ring, hashes, counts, digests):  # type: ignore[no-untyped-def]
    """Hash the shingles of many texts in one pass over their UTF-8 bytes.

    A shingle is the last `ngram` words, or the last ALONE_NGRAM if the last is a character by itself.
    `data`, `offsets`: an Arrow large_string array; `lower_of` [0x110000]: `minhash.word_table()`; `ring`: scratch
    of uint64, as many as a shingle has words. Filled:
    `hashes`: uint64 of every shingle, text after text, repeats included, room for half of `data` and two a text;
    `counts` [texts]: shingles of each, at least one; uint64 `digests` [texts, 2]: of its words in their order.
    Returns the number of hashes.
    """
    ngram, power = len(ring), _ONE
    short, short_power = _U64(min(ngram, ALONE_NGRAM)), _ONE
    for index in range(ngram - 1):
        power *= BASE
        if index + 1 < short:
            short_power *= BASE
    written = _U64(0)
    for text in range(len(offsets) - 1):
        # Unsigned indices: numba would check signed ones for counting from the end.
        position, end = _U64(offsets[text]), _U64(offsets[text + 1])
        first, words, slot = written, 0, _U64(0)
        rolling, short_rolling, one, other = _U64(0), _U64(0), _U64(0), GOLDEN
        lower = _U32(0)
        while position < end or lower != 0:
            if lower == 0:
                lower, position = _next(data, position, lower_of)
                if lower == 0:
                    continue
            word, is_alone = _U64(0), lower >= _ALONE
            while True:
                word = (word ^ _U64(lower & _CODE)) * GOLDEN
                word ^= word >> S29
                lower = _U32(0)
                if position < end and not is_alone:
                    lower, position = _next(data, position, lower_of)
                # A character that is a word by itself ends the previous word, and starts the next iteration.
                if lower - _U32(1) >= _ALONE - _U32(1):
                    break
            if words >= ngram:
                rolling -= ring[slot] * power
            if words >= short:
                short_rolling -= ring[slot - short if slot >= short else slot + _U64(ngram) - short] * short_power
            rolling = rolling * BASE + word
            short_rolling = short_rolling * BASE + word
            ring[slot] = word
            slot = slot + _ONE if slot + _ONE < _U64(ngram) else _U64(0)
            words += 1
            one = (one ^ word) * _FMIX_1
            one ^= one >> _S32
            other = (other + word) * _FMIX_2
            other ^= other >> S29
            if is_alone and words >= short:
                hashes[written] = fmix64(short_rolling)
                written += _ONE
            elif words >= ngram:
                hashes[written] = fmix64(rolling)
                written += _ONE
        if words == 0:
            rolling = BASE
            for index in range(offsets[text], offsets[text + 1]):
                rolling = (rolling ^ _U64(data[index])) * GOLDEN
                rolling ^= rolling >> S29
            one, other = rolling, fmix64(rolling)
        if written == first:
            hashes[written] = fmix64(rolling)
            written += _ONE
        counts[text] = written - first
        digests[text, 0], digests[text, 1] = one, other
    return written


@compiled
def permute(hashes, counts, a, b, signatures):  # type: ignore[no-untyped-def]
    """Fill uint32 `signatures` [texts, permutations] with datasketch's "affine32" minima over the upper halves of
    `hashes`: MurmurHash3's 32-bit finaliser, then a * h + b modulo 2^32."""
    start = 0
    for text in range(len(counts)):
        last = start + counts[text] - 1
        for j in range(len(a)):
            signatures[text, j] = _U32(0xFFFFFFFF)
        # Two shingles at a time halve the traffic of the minima; an odd last one is taken twice.
        for index in range(start, last + 1, 2):
            g, h = _fmix32(hashes[index]), _fmix32(hashes[min(index + 1, last)])
            for j in range(len(a)):
                one, other = _U32(_U32(a[j] * g) + b[j]), _U32(_U32(a[j] * h) + b[j])
                signatures[text, j] = min(signatures[text, j], min(one, other))
        start = last + 1


@compiled
def unite(parent, one, other):  # type: ignore[no-untyped-def]
    """Join the sets of `one[i]` and `other[i]` for every i: union-find with path halving, the smaller root stays."""
    for edge in range(len(one)):
        x, y = one[edge], other[edge]
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        while parent[y] != y:
            parent[y] = parent[parent[y]]
            y = parent[y]
        if x < y:
            parent[y] = x
        else:
            parent[x] = y


@compiler(nogil=True, error_model="numpy")
def resolve(  # type: ignore[no-untyped-def]
    fixed,
    row_starts,
    lists,
    overflows,
    list_starts,
    words,
    fields,
    min_equal,
    set_starts,
    sets,
    limits,
    entries,
    lengths,
    seen,
    representatives,
    shared,
):
    """Decide on documents numbered by rank, the best first: each is kept unless it is near to a kept one before it.

    bool `fixed` [D]: always kept. Document d is in the buckets `lists[row_starts[d] : row_starts[d + 1]]`, ascending,
    and if a bucket is full in the bucket `overflows[...]`, -1 for none; bucket x has room for
    `list_starts[x + 1] - list_starts[x]` kept documents. uint64 `words` [D, bands] of `fields` fields each
    (`minhash.band_words`): two documents are compared if at least `min_equal` fields are equal. Shingle set of d: the
    ascending `sets[set_starts[d] : set_starts[d + 1]]`. `limits`: least Jaccard, and least containment of d, of a near
    pair. Scratch: `entries`, the room of all buckets; `lengths`, 0 for each bucket; `seen` [D], -1. Filled: int64
    `kept` [D]: the best-ranked kept document near to d, or d; int32 `shared` [D, 3]: shingles in common, shingles of
    either, bands in common. Returns the numbers of pairs compared, and of those not near.
    """
    num_bands, field_bits = words.shape[1], min(64 // fields, 32)
    compared, rejected = 0, 0
    for d in range(len(words)):
        representatives[d] = d
        if fixed[d]:
            _enter(d, row_starts, lists, overflows, list_starts, lengths, entries)
            continue
        for index in range(2 * row_starts[d], 2 * row_starts[d + 1]):
            bucket = lists[index >> 1] if index & 1 == 0 else overflows[index >> 1]
            if bucket < 0:
                continue
            for entry in range(list_starts[bucket], list_starts[bucket] + lengths[bucket]):
                other = entries[entry]
                if other >= representatives[d] or seen[other] == d:
                    continue
                seen[other] = d
                if _equal_fields(words, d, other, fields, field_bits) < min_equal:
                    continue
                compared += 1
                common, size = 0, set_starts[d + 1] - set_starts[d]
                i, j = set_starts[d], set_starts[other]
                while i < set_starts[d + 1] and j < set_starts[other + 1]:
                    x, y = sets[i], sets[j]
                    common += x == y
                    i += x <= y
                    j += y <= x
                union = size + set_starts[other + 1] - set_starts[other] - common
                if common / union >= limits[0] or common / size >= limits[1]:
                    representatives[d] = other
                    shared[d, 0], shared[d, 1] = common, union
                else:
                    rejected += 1
        if representatives[d] == d:
            _enter(d, row_starts, lists, overflows, list_starts, lengths, entries)
        else:
            for band in range(num_bands):
                shared[d, 2] += words[d, band] == words[representatives[d], band]
    return compared, rejected


@compiled
def _next(data, position, lower_of):  # type: ignore[no-untyped-def]
    """The lower-case word character at `position` of sound UTF-8, or 0 for another character; the position after it."""
    byte = _U32(data[position])
    if byte < _U32(0x80):
        return lower_of[byte], position + _ONE
    second = _U32(data[position + _ONE]) & _U32(0x3F)
    if byte < _U32(0xE0):
        return lower_of[((byte & _U32(0x1F)) << _U32(6)) | second], position + _U64(2)
    third = _U32(data[position + _U64(2)]) & _U32(0x3F)
    if byte < _U32(0xF0):
        return lower_of[((byte & _U32(0x0F)) << _U32(12)) | (second << _U32(6)) | third], position + _U64(3)
    fourth = _U32(data[position + _U64(3)]) & _U32(0x3F)
    code = ((byte & _U32(0x07)) << _U32(18)) | (second << _U32(12)) | (third << _U32(6)) | fourth
    return lower_of[code], position + _U64(4)


@compiled
def _fmix32(shingle_hash):  # type: ignore[no-untyped-def]
    h = _U32(shingle_hash >> _S32)
    h = _U32(h ^ _U32(h >> _U32(16)))
    h = _U32(h * _U32(0x85EBCA6B))
    h = _U32(h ^ _U32(h >> _U32(13)))
    h = _U32(h * _U32(0xC2B2AE35))
    return _U32(h ^ _U32(h >> _U32(16)))


@compiled
def fmix64(h):  # type: ignore[no-untyped-def]
    """MurmurHash3's 64-bit finaliser of a uint64."""
    h ^= h >> _S33
    h *= _FMIX_1
    h ^= h >> _S33
    h *= _FMIX_2
    return h ^ (h >> _S33)


@compiled
def _enter(d, row_starts, lists, overflows, list_starts, lengths, entries):  # type: ignore[no-untyped-def]
    """Put a kept document into its buckets, or if one is full into its overflow, as far as there is room."""
    for row in range(row_starts[d], row_starts[d + 1]):
        bucket = lists[row]
        if list_starts[bucket] + lengths[bucket] == list_starts[bucket + 1]:
            bucket = overflows[row]
        if bucket >= 0 and list_starts[bucket] + lengths[bucket] < list_starts[bucket + 1]:
            entries[list_starts[bucket] + lengths[bucket]] = d
            lengths[bucket] += 1


@compiled
def _equal_fields(words, one, other, fields, field_bits):  # type: ignore[no-untyped-def]
    mask = (_U64(1) << _U64(field_bits)) - _U64(1)
    equal = 0
    for band in range(words.shape[1]):
        difference = words[one, band] ^ words[other, band]
        for field in range(fields):
            equal += (difference >> _U64(field * field_bits)) & mask == 0
    return equal
