"""The order in which a repository's files are best read: imported files before the files that import them.

After DeepSeek-Coder (Guo et al. 2024, arXiv 2401.14196, 2.2), whose order breaks ties and cycles by chance of the
input; here both are broken by path alone.
"""

import heapq
from collections.abc import Iterator, Mapping, Set

Imports = Mapping[str, Set[str]]
"""Files by path, with the paths of the files that each imports; every path is a key."""


def import_order(imports: Imports) -> list[str]:
    """Every path once: imported files first, cycles as a block, the smallest path first among ready files."""
    blocks = {min(block): block for block in _cycles(imports)}
    block_of = {path: first for first, block in blocks.items() for path in block}
    between = {
        first: {block_of[imported] for path in block for imported in imports[path]} - {first}
        for first, block in blocks.items()
    }
    return [path for first in _sorted(between) for path in _broken(imports, blocks[first])]


def _sorted(graph: Imports) -> Iterator[str]:
    """The topological order of a graph without cycles that takes the smallest name of those that are ready (Kahn)."""
    importers: dict[str, list[str]] = {path: [] for path in graph}
    for path, imported in graph.items():
        for other in imported:
            importers[other].append(path)
    waiting = {path: len(imported) for path, imported in graph.items()}
    ready = [path for path, count in waiting.items() if not count]
    heapq.heapify(ready)
    while ready:
        path = heapq.heappop(ready)
        yield path
        for importer in importers[path]:
            waiting[importer] -= 1
            if not waiting[importer]:
                heapq.heappush(ready, importer)


def _broken(imports: Imports, block: Set[str]) -> Iterator[str]:
    """A cycle's files: each time the one that waits for the fewest others, the smallest path of those."""
    importers: dict[str, list[str]] = {path: [] for path in block}
    waiting = dict.fromkeys(block, 0)
    for path in block:
        for other in (imports[path] & block) - {path}:
            importers[other].append(path)
            waiting[path] += 1
    ranked = [(count, path) for path, count in waiting.items()]
    heapq.heapify(ranked)
    while ranked:
        count, path = heapq.heappop(ranked)
        if waiting.get(path) != count:
            continue  # a count from before one of its imports was read
        del waiting[path]
        yield path
        for importer in importers[path]:
            if importer in waiting:
                waiting[importer] -= 1
                heapq.heappush(ranked, (waiting[importer], importer))


def _cycles(imports: Imports) -> Iterator[set[str]]:
    """Strongly connected components (Tarjan 1972), without recursion: chains of imports are longer than the stack."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in imports:
        if root in numbers:
            continue
        work = [(root, iter(imports[root]))]
        while work:
            path, others = work[-1]
            if path not in numbers:
                numbers[path] = lowest[path] = len(numbers)
                stack.append(path)
                on_stack.add(path)
            for other in others:
                if other not in numbers:
                    work.append((other, iter(imports[other])))
                    break
                if other in on_stack:
                    lowest[path] = min(lowest[path], numbers[other])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    lowest[parent] = min(lowest[parent], lowest[path])
                if lowest[path] == numbers[path]:
                    yield _pop_until(stack, on_stack, path)


def _pop_until(stack: list[str], on_stack: set[str], last: str) -> set[str]:
    popped: set[str] = set()
    while last not in popped:
        popped.add(stack.pop())
    on_stack -= popped
    return popped
