"""Our own inputs: seeds that are cut, doubled, crossed and filled with the words of their format. Needs nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator

from target import Target

# What has led parsers astray, whatever the format.
STRANGE = (
    *(b"\0", b"\n", b"\r\n", b"\t", b" ", b"\x1b[2K", b"\x7f", b"\xff", b"\xc3", b"\xed\xb2\x80"),
    *(
        "\u2028\u0085\u202e\u00a0\u3000\u0661\u0130\ufeff".encode(),
        b"%s%n",
        b"../../etc/shadow",
        b"$(id)",
        b"'",
    ),
    *(b"-1", b"0", b"1e309", b"9" * 25, b"0x7fffffff", b"A" * 300, b"[" * 60, b'{"a":' * 60, b"\\"),
)
LONGEST = 1 << 16  # bytes of an input


def inputs(target: Target, count: int, seed: str) -> Iterator[bytes]:
    """Yield inputs for a target: its seeds, and what becomes of them; the same for the same SEED."""
    chance = random.Random(f"{target.name} {seed}")
    seeds = [_bytes(text) for text in target.seeds]
    words = [*(_bytes(word) for word in target.words), *STRANGE]
    yield from seeds[:count]
    kept = list(seeds)
    for _ in range(count - len(seeds)):
        data = chance.choice(seeds if chance.random() < 0.6 else kept)
        for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
            data = _changed(data, chance, words, kept)
        kept.append(data)
        del kept[len(seeds) + 200 :: 2]
        yield data[:LONGEST]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _changed(data: bytes, chance: random.Random, words: list[bytes], kept: list[bytes]) -> bytes:
    """Return DATA with one change."""
    begin, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    end = min(end, begin + chance.choice((1, 4, 20, 400)))
    piece = data[begin:end]
    other = chance.choice(kept)
    at = chance.randint(0, len(other))
    return data[:begin] + chance.choice(
        (
            chance.choice(words) + data[begin:],
            chance.choice(words) + data[end:],
            data[end:],
            piece * chance.choice((2, 3, 50)) + data[end:],
            bytes([chance.randrange(256)]) + data[begin + 1 :],
            other[at : at + 100] + data[begin:],
            b"".join(sorted(data[begin:].splitlines(True), key=lambda line: chance.random())),
        )
    )
