"""--from and --connections of add and set: limit the source addresses and the sessions."""

from __future__ import annotations

import argparse

from ..errors import UsageError
from ..model import networks, number

MOST_SESSIONS = 10000


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Add --from and --connections."""
    parser.add_argument(
        "--from",
        dest="addresses",
        metavar="ADDRESSES",
        help="let it in from these only: 192.0.2.7,192.0.2.0/24,2001:db8::/32, or any",
    )
    parser.add_argument(
        "--connections",
        metavar="N",
        type=_number,
        help="let it have so many sessions at once; 0: as many as its profile says",
    )


def _number(text: str) -> int:
    found = number(text)
    if found is None or found > MOST_SESSIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MOST_SESSIONS}")
    return found


def wanted_addresses(text: str | None) -> tuple[str, ...] | None:
    """Return the addresses of --from: none for any, or None if it was not given.

    Raises:
        UsageError: one is not an address, or there is none.
    """
    if text is None or text == "any":
        if text is None:
            return None
        return ()
    try:
        found = networks(text.split(","))
    except UsageError as error:
        raise UsageError(f"--from: {error.message}") from error
    if not found:
        raise UsageError("--from needs an address, or any")
    return found
