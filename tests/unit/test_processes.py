"""Who has something open, and which daemons run: of /proc itself, and of a small one made of links."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sftpjail.system import gate, processes


def test_a_process_is_seen_by_its_folder_and_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "jail/inner"
    inner.mkdir(parents=True)
    target = str(tmp_path / "jail")
    assert os.getpid() not in {pid for pid, _, _ in processes.holders(target)}
    with open(inner / "file", "w"):
        ((_, uid, command),) = [
            found for found in processes.holders(target) if found[0] == os.getpid()
        ]
        assert command and uid == os.getuid()
    assert os.getpid() not in {pid for pid, _, _ in processes.holders(target)}
    monkeypatch.chdir(inner)
    assert os.getpid() in {pid for pid, _, _ in processes.holders(target)}
    assert os.getpid() not in {pid for pid, _, _ in processes.holders(f"{target}/inn")}, (
        "by components, not by characters"
    )


def test_who_is_being_deleted_stands_in_the_command_line_of_userdel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, lines = (
        {7: "userdel", 8: "userdel", 9: "sleep"},
        {"7": b"userdel\0-rf\0ann\0", "9": b"sleep\0bob\0"},
    )

    def opened(path: str, mode: str) -> io.BytesIO:
        if path.split("/")[2] not in lines:
            raise ProcessLookupError
        return io.BytesIO(lines[path.split("/")[2]])

    monkeypatch.setattr(processes.os, "listdir", lambda _: ["self", *map(str, names)])
    monkeypatch.setattr(processes, "_name", lambda pid: names[pid])
    monkeypatch.setattr(processes, "_is_here", lambda pid: True)
    monkeypatch.setattr(processes, "open", opened, raising=False)
    assert {"ann"} <= processes.being_deleted() and "bob" not in processes.being_deleted()
    monkeypatch.setattr(processes, "_is_here", lambda pid: False)  # of another root
    assert processes.being_deleted() == frozenset()


def test_a_link_to_the_folder_is_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    assert os.getpid() in {pid for pid, _, _ in processes.holders(str(tmp_path / "link"))}


class Proc:
    """A /proc of pids with a program and a command line, and pid files; what processes.py sees of os and open."""

    def __init__(self) -> None:
        self.programs: dict[str, str] = {}
        self.owners: dict[str, int] = {}
        self.files: dict[str, str] = {}
        self.roots: dict[str, str] = {}

    def process(self, pid: int, program: str, title: str = "", uid: int = 0) -> None:
        """Start a program."""
        self.owners[f"/proc/{pid}"] = uid
        self.programs[str(pid)] = program
        self.files[f"/proc/{pid}/cmdline"] = title or program

    def listdir(self, path: str) -> list[str]:
        assert path == "/proc"
        return ["self", "meminfo", *self.programs]

    def stat(self, path: str) -> os.stat_result:
        return os.stat_result((0, 0, 0, 0, self.owners[path], 0, 0, 0, 0, 0))

    def readlink(self, path: str) -> str:
        pid = path.split("/")[2]
        if pid not in self.programs:
            raise FileNotFoundError(path)
        return self.programs[pid]

    def samefile(self, root: str, other: str) -> bool:
        if root not in self.roots:
            raise PermissionError(root)
        return self.roots[root] == other

    def open(self, folder: Path) -> Callable[..., Any]:
        """Return an open() that knows only these files."""

        def opener(path: str, *arguments: Any, **options: Any) -> Any:
            if path not in self.files:
                raise FileNotFoundError(path)
            (folder / "x").write_text(self.files[path])
            return open(folder / "x", *arguments, **options)

        return opener


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    made = Proc()
    played = SimpleNamespace(listdir=made.listdir, readlink=made.readlink, stat=made.stat)
    played.path = SimpleNamespace(basename=os.path.basename, samefile=made.samefile)
    monkeypatch.setattr(processes, "os", played)
    monkeypatch.setattr(processes, "open", made.open(tmp_path), raising=False)
    return made


def test_a_daemon_is_the_process_of_its_pid_file(proc: Proc) -> None:
    proc.process(412, "/usr/sbin/rsyslogd")
    proc.files["/run/rsyslogd.pid"] = "412\n"
    assert processes.running("rsyslog") == 412
    assert processes.running("syslog-ng") is None


@pytest.mark.parametrize("text", ["412\n", "nonsense", "", "99999"])
def test_a_stale_pid_file_is_no_daemon(proc: Proc, text: str) -> None:
    proc.process(412, "/usr/bin/sleep")  # the pid was given to somebody else
    proc.files["/run/rsyslogd.pid"] = text
    assert processes.running("rsyslog") is None


def test_sshd_is_found_by_its_title_where_its_pid_file_is_elsewhere(proc: Proc) -> None:
    proc.process(50, "/usr/sbin/sshd", "sshd: ann [priv]")
    proc.process(51, "/usr/lib/openssh/sshd-session", "sshd-session: ann [priv]")
    assert processes.running("sshd") is None, "sessions alone"
    proc.process(40, "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups")
    assert processes.running("sshd") == 40
    proc.process(41, "/usr/sbin/sshd", "sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups")
    proc.files["/run/sshd.pid"] = "41\n"
    assert processes.running("sshd") == 41


def test_a_title_alone_is_no_daemon(proc: Proc) -> None:
    # Anybody may call a process so, and a program too.
    proc.process(66, "/home/eve/fake", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups")
    proc.process(
        67, "/home/eve/sshd", "sshd: /home/eve/sshd [listener] 0 of 10-100 startups", uid=1001
    )
    assert processes.running("sshd") is None


def test_a_daemon_of_a_host_whose_run_and_proc_a_chroot_shares_is_not_ours(proc: Proc) -> None:
    proc.process(41, "/usr/sbin/sshd", "sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups")
    proc.files["/run/sshd.pid"] = "41\n"
    proc.roots["/proc/41/root"] = "/srv/debian"
    assert processes.running("sshd") is None, "neither by its pid file nor by its title"
    proc.roots["/proc/41/root"] = "/"
    assert processes.running("sshd") == 41


def test_whether_somebody_of_a_name_runs(proc: Proc) -> None:
    proc.process(7, "/usr/sbin/sshd")  # whose comm is gone when it is read
    assert not processes.of_name(("useradd",))
    proc.process(8, "/usr/sbin/useradd")
    proc.files["/proc/8/comm"] = "useradd\n"
    assert processes.of_name(("useradd", "userdel")) == {8} and not processes.of_name(("userdel",))
    proc.process(9, "/home/eve/userdel", "userdel\0ann", uid=1001)
    proc.files["/proc/9/comm"] = "userdel\n"
    assert not processes.of_name(("userdel",)) and processes.being_deleted() == frozenset(), (
        "anybody can call it so"
    )


def test_a_hook_of_shadow_goes_when_every_useradd_ended_or_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But not for ever."""
    naps: list[float] = []
    runs = iter([{7, 8}, {8, 10}, {8, 10}])  # the tenth came later
    stopped = iter([set[int](), {8}])
    monkeypatch.setattr(gate.os.path, "lexists", lambda path: True)
    monkeypatch.setattr(gate, "of_name", lambda names: next(runs, {9}))
    monkeypatch.setattr(gate, "_shut", lambda folder: os.open(os.devnull, os.O_RDONLY))
    monkeypatch.setattr(gate, "_stopped", lambda door: next(stopped, set()))
    monkeypatch.setattr(gate.time, "sleep", naps.append)
    with gate.no_useradd("/etc/shadow-maint/useradd-post.d/sftpjail"):
        assert len(naps) == 2
    clock = iter(range(100))
    monkeypatch.setattr(gate.time, "monotonic", lambda: float(next(clock)))
    with gate.no_useradd("/etc/shadow-maint/useradd-post.d/sftpjail"):
        assert len(naps) == 3, "somebody always runs"
    with gate.no_useradd("/etc/other/sftpjail"):
        assert len(naps) == 3, "that is nothing of shadow's"
