"""What programs write of the day, as if midnight had not passed since the tests began."""

from __future__ import annotations

import re
import time

DAY = 86_400  # seconds
BEGAN = time.time()  # when the tests did, in seconds


def as_of_the_first_day(content: bytes, began: float, now: float) -> bytes:
    """Return a file's content with the first day for each later one, as a date and as in shadow(5).

    Where midnight has not passed, that is the content as it is.

    Args:
        content: the bytes of a file.
        began, now: seconds since 1970, in UTC as the days are.
    """
    first = int(began // DAY)
    for day in range(first + 1, int(now // DAY) + 1):
        content = content.replace(_date(day), _date(first))
        content = re.sub(rb":%d(?=:)" % day, b":%d" % first, content)
    return content


def _date(day: int) -> bytes:
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY)).encode()
