"""Inputs made from others without looking at the code they are for: the same ones for the same seed."""

from collections.abc import Iterator, Sequence
from random import Random

LONGEST_BYTES = 4096


def mutants(seeds: Sequence[bytes], words: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """The seeds, then changed ones without end; `words` are what the language in question is made of."""
    yield from seeds
    random = Random(seed)
    while True:
        data = bytearray(random.choice(seeds))
        for _ in range(random.randint(1, 5)):
            _change(data, random, seeds, words)
        yield bytes(data[:LONGEST_BYTES])


def _change(data: bytearray, random: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    end = min(at + random.randint(1, 16), len(data))
    kind = random.randrange(7)
    if kind == 0 and at < len(data):
        data[at] = random.randrange(256)
    elif kind == 1 and at < len(data):
        data[at] ^= 1 << random.randrange(8)
    elif kind == 2:
        del data[at:end]
    elif kind == 3:
        data[at:at] = data[at:end] * random.choice((1, 2, 40))
    elif kind == 4:
        other = random.choice(seeds)
        data[at:] = other[random.randint(0, len(other)) :]
    elif words:
        data[at : end if kind == 5 else at] = random.choice(words)
    else:
        data[at:at] = random.randbytes(random.randint(1, 8))
