"""`sftpjail watch`: what whoever has started the service hears."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sftpjail.cli import watch
from sftpjail.errors import SftpJailError
from sftpjail.system import events, services


@pytest.mark.parametrize("error", [SftpJailError("no log"), OSError(5, "a bad disk"), KeyError()])
def test_the_service_counts_as_started_when_it_has_failed(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Else a setup that starts it would be undone."""

    @contextlib.contextmanager
    def failing() -> Iterator[None]:
        raise error
        yield

    told = []
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr(watch, "_as_root", lambda: None)
    monkeypatch.setattr(events, "one_watcher", failing)
    monkeypatch.setattr(services, "tell_ready", lambda: told.append(True))
    context: Any = SimpleNamespace(dry_run=False)
    with pytest.raises(type(error)):
        watch.watch(context)
    assert told == [True]
