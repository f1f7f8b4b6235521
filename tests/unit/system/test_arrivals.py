"""Who creates an account, found among the processes above us, and who waits for its end."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpjail.system import arrivals

pytestmark = pytest.mark.real_program


@pytest.fixture(autouse=True)
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the waiters."""
    directory = tmp_path / "waiting"
    directory.mkdir()
    monkeypatch.setattr(arrivals, "WAITING", str(directory))
    return directory


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when its standard input is closed."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


def start(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_a_waiter_is_a_process_that_has_begun_when_its_file_says(
    waiting: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    pid, began = sleeper.pid, start(sleeper.pid)
    (waiting / f"ann:{os.getpid()}").write_text(f"{pid} {began}\n")
    (waiting / "bob:7").write_text(f"{pid} {int(began) - 1}\n")  # the pid is another process's now
    (waiting / "cat:7").write_text("")
    (waiting / "nonsense").write_text(f"{pid} {began}\n")
    (waiting / "Eve.E:999999999").write_text(f"{pid} {began}\n")
    assert arrivals.arriving() == {
        "ann": arrivals.Arrival("ann", os.getpid(), pid),
        "Eve.E": arrivals.Arrival("Eve.E", 999999999, pid),
    }
    assert arrivals.arriving()["ann"].pid == os.getpid()
    assert arrivals.arriving()["Eve.E"].pid == pid, "the maker has ended"


def test_nobody_waits_where_there_is_no_directory(waiting: Path) -> None:
    waiting.rmdir()
    assert arrivals.arriving() == {} and arrivals.wait_for("ann") is None


def test_who_waits_for_a_waiter_goes_on_when_it_has_ended(
    waiting: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    (waiting / "ann:7").write_text(f"{sleeper.pid} {start(sleeper.pid)}\n")
    assert sleeper.stdin
    threading.Timer(0.05, sleeper.stdin.close).start()
    assert arrivals.wait_for("ann") is None
    assert Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(") ")[2][0] == "Z"


def test_who_has_waited_for_long_enough_is_told_for_whom(
    waiting: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "PATIENCE", 0.05)
    (waiting / "ann:7").write_text(f"{sleeper.pid} {start(sleeper.pid)}\n")
    assert arrivals.wait_for("ann") == arrivals.Arrival("ann", 7, sleeper.pid)
    assert arrivals.wait_for("bob") is None


@pytest.mark.parametrize("locked", [True, False])
def test_who_is_above_us_and_holds_the_lock(tmp_path: Path, locked: bool) -> None:
    path = tmp_path / "lock"
    ask = f"from sftpjail.system import arrivals; print(arrivals.lock_holder({str(path)!r}))"
    with path.open("w") as handle:
        if locked:
            fcntl.flock(handle, fcntl.LOCK_EX)
        argv = ["/bin/sh", "-c", '"$@"; exit', "sh", sys.executable, "-c", ask]
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert said == f"{os.getpid() if locked else None}\n"


PERL = "/usr/bin/perl"


@pytest.mark.parametrize(
    ("exe", "words", "uid", "root", "found"),
    [
        (PERL, "adduser", 0, "/", True),  # as it calls itself
        (PERL, f"{PERL}\0-T\0/usr/sbin/adduser\0bob", 0, "/", True),
        ("/usr/bin/perl5.40.1", "perl\0/usr/sbin/adduser", 0, "/", True),
        (f"{PERL} (deleted)", "adduser", 0, "/", True),
        (PERL, f"{PERL}\0/root/mine\0adduser", 0, "/", False),
        ("/usr/bin/dash", "/bin/sh\0/usr/local/sbin/adduser", 0, "/", False),
        ("/usr/bin/dash", "adduser", 0, "/", False),
        (PERL, "deluser", 0, "/", False),
        (PERL, "", 0, "/", False),
        (PERL, "adduser", 1001, "/", False),
        (PERL, "adduser", 0, "/srv/debian", False),
    ],
)
def test_adduser_is_roots_perl_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    exe: str,
    words: str,
    uid: int,
    root: str,
    found: bool,
) -> None:
    (tmp_path / "cmdline").write_text(f"{words}\0")
    monkeypatch.setattr(
        arrivals, "open", lambda path, mode: (tmp_path / "cmdline").open(mode), raising=False
    )
    monkeypatch.setattr(arrivals.os, "readlink", lambda path: exe)
    monkeypatch.setattr(
        arrivals.os, "stat", lambda path: os.stat_result((0, 0, 0, 0, uid, 0, 0, 0, 0, 0))
    )
    monkeypatch.setattr(arrivals.os.path, "samefile", lambda one, other: root == other)
    monkeypatch.setattr(arrivals, "_ancestors", lambda: iter([4711]))
    assert arrivals.adduser() == (4711 if found else None)


def test_without_adduser_above_us_there_is_none() -> None:
    assert arrivals.adduser() is None
