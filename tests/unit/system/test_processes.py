"""Who has something open, and which daemons run: of /proc itself, and of a small one made of links."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import Programs

from sftpjail.errors import SftpJailError
from sftpjail.system import gate, processes, services
from sftpjail.system import programs as system_programs


def test_a_process_is_seen_by_its_directory_and_its_files(
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
    with open(inner / "file", "w"):
        assert [pid for pid, _, _ in processes.holders(target)].count(os.getpid()) == 1
    assert os.getpid() in {pid for pid, _, _ in processes.holders(target)}
    assert os.getpid() not in {pid for pid, _, _ in processes.holders(f"{target}/inn")}, (
        "by components, not by characters"
    )


def test_who_is_being_deleted_stands_in_userdels_command_line(
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
    monkeypatch.setattr(processes, "is_here", lambda pid: True)
    monkeypatch.setattr(processes, "open", opened, raising=False)
    assert {"ann"} <= processes.being_deleted() and "bob" not in processes.being_deleted()
    monkeypatch.setattr(processes, "is_here", lambda pid: False)  # of another root
    assert processes.being_deleted() == frozenset()


def test_a_link_to_the_directory_is_the_directory(
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

    def open(self, directory: Path) -> Callable[..., Any]:
        """Return an open() that knows only these files."""

        def opener(path: str, *arguments: Any, **options: Any) -> Any:
            if path not in self.files:
                raise FileNotFoundError(path)
            (directory / "x").write_text(self.files[path])
            return open(directory / "x", *arguments, **options)

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


def test_sshd_is_found_by_its_title_without_its_pid_file(proc: Proc) -> None:
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


def test_a_daemon_of_the_host_around_a_chroot_is_not_ours(proc: Proc) -> None:
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


def test_a_hook_of_shadow_goes_when_no_useradd_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But not for ever."""
    naps: list[float] = []
    runs = iter([{7, 8}, {8, 10}, {8, 10}])  # the tenth came later
    stopped = iter([set[int](), {8}])
    monkeypatch.setattr(gate.os.path, "lexists", lambda path: True)
    monkeypatch.setattr(gate, "of_name", lambda names: next(runs, {9}))
    monkeypatch.setattr(gate, "_shut", lambda directory: os.open(os.devnull, os.O_RDONLY))
    monkeypatch.setattr(gate, "_stopped", lambda door: next(stopped, set()))
    monkeypatch.setattr(gate.time, "sleep", naps.append)
    with gate.useradd_blocked("/etc/shadow-maint/useradd-post.d/sftpjail"):
        assert len(naps) == 2
    clock = iter(range(100))
    monkeypatch.setattr(gate.time, "monotonic", lambda: float(next(clock)))
    with gate.useradd_blocked("/etc/shadow-maint/useradd-post.d/sftpjail"):
        assert len(naps) == 3, "somebody always runs"
    with gate.useradd_blocked("/etc/other/sftpjail"):
        assert len(naps) == 3, "that is nothing of shadow's"


# -- of users, and of nobody else ----------------------------------------------------------------


class Users:
    """A /proc of users' processes, in control groups, roots and namespaces; PIDs begin at 100."""

    def __init__(self, proc: Proc) -> None:
        self.proc, self.links = (
            proc,
            {"/proc/self/ns/pid": "pid:[1]", "/proc/self/ns/user": "user:[1]"},
        )
        proc.readlink = self.readlink  # type: ignore[method-assign]

    def readlink(self, path: str) -> str:
        if path not in self.links:
            raise FileNotFoundError(path)
        return self.links[path]

    def run(self, number: int, uid: int, unit: str = "", **more: Any) -> None:
        """Start a program; MORE has its `exe`, `root`, `pid` and `user` namespace, `state` and `parent`."""
        place, files = f"/proc/{number}", self.proc.files
        self.proc.programs[str(number)] = "x"
        self.proc.roots[f"{place}/root"] = more.get("root", "/")
        self.links[f"{place}/exe"] = more.get("exe", "/usr/bin/python3")
        for kind in ("pid", "user"):
            self.links[f"{place}/ns/{kind}"] = more.get(kind, f"{kind}:[1]")
        files[f"{place}/status"] = (
            f"Name:\tx\nState:\t{more.get('state', 'S')} (x)\nUid:\t{uid}\t0\t0\t0\n"
        )
        files[f"{place}/comm"] = "my prog;\n"
        files[f"{place}/cgroup"] = f"1:cpu:/x\n0::/user.slice/{unit}\n"
        files[f"{place}/stat"] = f"{number} (a) b) S {more.get('parent', 1)} 1 1\n"


@pytest.fixture
def users(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> Users:
    made = Users(proc)
    played = SimpleNamespace(listdir=proc.listdir, readlink=made.readlink, stat=proc.stat)
    played.path = SimpleNamespace(basename=os.path.basename, samefile=proc.samefile)
    monkeypatch.setattr(processes, "os", played)
    return made


def test_processes_go_by_their_real_uid(users: Users) -> None:
    for pid, uid, state in ((100, 0, "S"), (101, 1001, "S"), (102, 1001, "R"), (103, 1002, "Z")):
        users.run(pid, uid, state=state)
    users.run(104, 1002, state="X")
    assert processes.of_users() == {1001: [101, 102]}
    assert [one.pid for one in processes.outside(1001)] == [101, 102]
    assert processes.outside(1001, [102, 100, 999])[0].pid == 102, "and none of others or gone"
    assert len(processes.outside(1001, [102, 100, 999])) == 1
    assert [processes.owner(pid) for pid in (100, 101, 999)] == [0, 1001, 0]


@pytest.mark.parametrize(
    ("unit", "service", "managed", "own"),
    [
        ("", "", False, True),
        ("session-3.scope", "", False, True),
        ("user@1001.service/app.slice/x.service", "", True, True),
        ("cron.service", "", False, True),
        ("ssh.service", "", False, True),
        ("pull.service", "pull.service", False, False),
        ("docker.slice/docker-1.scope", "", False, True),
    ],
)
def test_what_a_system_service_runs_is_no_users(
    users: Users, unit: str, service: str, managed: bool, own: bool
) -> None:
    users.run(101, 1001, unit)
    (found,) = processes.outside(1001)
    assert (found.service, found.managed, found.own) == (service, managed, own)
    assert found.name == "my?prog?" and not found.container


@pytest.mark.parametrize(
    ("pid", "user", "container"),
    [
        ("pid:[1]", "user:[1]", False),
        ("pid:[2]", "user:[1]", True),
        ("pid:[2]", "user:[2]", False),
        ("pid:[1]", "user:[2]", False),
    ],
)
def test_a_container_is_what_root_alone_can_make(
    users: Users, pid: str, user: str, container: bool
) -> None:
    users.run(101, 1001, pid=pid, user=user)
    (found,) = processes.outside(1001)
    assert (found.container, found.own) == (container, not container)


@pytest.mark.parametrize(
    ("root", "exe", "parent", "jailed"),
    [
        ("/srv/sftp/ann", "/usr/lib/openssh/sshd-session", 50, True),
        ("/srv/sftp/ann", "/usr/sbin/sshd (deleted)", 50, True),
        ("/", "/usr/lib/openssh/sshd-session", 50, False),
        ("/srv/sftp/ann", "/home/ann/sshd", 50, False),
        ("/srv/sftp/ann", "/usr/sbin/sshd2", 50, False),
        ("/srv/sftp/ann", "/usr/sbin/sshd", 51, False),
        ("/srv/sftp/ann", "/usr/sbin/sshd", 52, False),
        ("/srv/sftp/ann", "/usr/sbin/sshd", 1, False),
    ],
)
def test_only_sshds_own_session_in_another_root_is_jailed(
    users: Users, root: str, exe: str, parent: int, jailed: bool
) -> None:
    users.run(50, 0, exe="/usr/sbin/sshd")
    users.run(51, 1002, exe="/usr/sbin/sshd")
    users.run(52, 0, exe="/usr/bin/sudo")
    users.run(101, 1001, root=root, exe=exe, parent=parent)
    assert (processes.outside(1001) == []) == jailed


def test_a_login_has_begun_when_sshd_knows_the_name(users: Users) -> None:
    def title(pid: int, words: str) -> None:
        users.proc.files[f"/proc/{pid}/cmdline"] = words + "\0" * 20

    session = "/usr/lib/openssh/sshd-session"
    users.run(50, 0, exe="/usr/sbin/sshd")
    title(50, "sshd: ann [priv]")
    users.run(51, 0, exe=session)
    title(51, "sshd-session: ann [priv]")
    # None of them: of another name, before the name, with a session, another program, another user.
    others = {52: "anna", 53: "unknown", 54: "ann", 55: "ann", 56: "ann"}
    for pid, name in others.items():
        users.run(pid, 1002 * (pid == 56), exe="/home/eve/sshd" if pid == 55 else session)
        title(pid, f"sshd-session: {name} [priv]")
    users.run(101, 1001, exe=session, parent=54)
    title(101, "sshd-session: ann [priv]")
    assert processes.unfinished_logins("ann", 1001) == [50, 51]
    assert processes.unfinished_logins("ann", 1001, [51, 54, 999]) == [51]
    assert processes.unfinished_logins("carl", 1009) == []


def test_user_managers_are_seen_by_their_own_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "CGROUPS", (f"{tmp_path}/a", f"{tmp_path}/b"))
    for tree, uid, last in (("a", 1001, "init.scope"), ("b", 7, "init.scope"), ("b", 8, "other")):
        (tmp_path / tree / processes.manager_cgroup(uid)).with_name(last).mkdir(parents=True)
    (tmp_path / "a/user.slice/user-x.slice").mkdir()
    assert processes.user_managers() == [7, 1001]


def test_a_deleted_file_that_is_written_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w"):
        assert processes.holds_deleted(str(path)) is None
        path.unlink()
        assert processes.holds_deleted(str(path)) == os.getpid()
    assert processes.holds_deleted(str(path)) is None


def test_what_is_held_is_of_our_namespace(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w"):
        assert str(tmp_path / "file") in processes.held()
    assert str(tmp_path / "file") not in processes.held()
    assert all(path.startswith("/") for path in processes.held())


# -- the end of user managers, and of processes --------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, -9])
def test_user_managers_that_do_not_stop_are_killed(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(services, "user_managers", lambda: [7, 1001])
    programs.answer("systemctl", "stop", code=code)
    programs.answer("systemctl", "kill")
    programs.answer("systemctl", "reset-failed")
    assert services.stop_managers([1001, 1002]) == [1001]
    units = ("user@1001.service", "user@1002.service")
    more = [("kill", "--signal=KILL"), ("stop",), ("reset-failed",)] if code else []
    assert programs.asked == [("systemctl", *words, *units) for words in [("stop",), *more]]
    programs.asked.clear()
    assert services.stop_managers([]) == [] == programs.asked


@pytest.mark.parametrize("code", [0, 1, 2, 127, -9])
def test_only_who_is_denied_a_user_manager_loses_it(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    """The drop-in's own words say 1; a shell that breaks or is killed says nothing."""
    (tmp_path / "dropin").write_text("the drop-in\n")
    monkeypatch.setattr(services.refusal, "DROPIN", str(tmp_path / "dropin"))
    monkeypatch.setattr(services.refusal, "script", lambda text: f"{text.strip()} of %i")
    monkeypatch.setattr(services, "booted", lambda: True)
    monkeypatch.setattr(services, "user_managers", lambda: [1001])
    programs.answer("/bin/sh", code=code)
    programs.answer("systemctl")
    said = services.notify(services.refusal.SERVICE, "stop")
    assert programs.asked[0] == ("/bin/sh", "-c", "the drop-in of 1001")
    stopped = ("systemctl", "stop", "user@1001.service")
    assert programs.asked[1:] == ([stopped] if code == 1 else [])
    assert said.startswith("still running: user@1001.service") == (code == 1)


def test_processes_are_asked_and_then_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sent = [0.0], list[tuple[int, int]]()
    left = {101: 1.0, 102: 5.0, 103: 0.0}

    def outside(uid: int, pids: Any = None) -> list[processes.OutsideProcess]:
        assert uid == 1001
        return [
            processes.OutsideProcess(pid, "x", "a.service" if pid == 103 else "")
            for pid, until in left.items()
            if clock[0] <= until or pid == 103
        ]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(system_programs, "outside", outside)
    monkeypatch.setattr(
        system_programs, "_signal", lambda pid, uid, n, those: sent.append((pid, int(n)))
    )
    monkeypatch.setattr(system_programs.time, "sleep", sleep)
    monkeypatch.setattr(system_programs.time, "monotonic", lambda: clock[0])
    assert system_programs.end_processes(1001) == 2
    assert sent[:2] == [(101, 15), (102, 15)] and set(sent[2:]) == {(102, 9)}
    left[101], clock[0] = 1e9, 0.0
    with pytest.raises(SftpJailError, match="processes of uid 1001 did not end: 101$") as caught:
        system_programs.end_processes(1001)
    assert "ps -fp 101" in caught.value.advice


@pytest.mark.parametrize(
    ("seen", "sent"), [("nobody", []), ("a service", []), ("the user's", [(7, 15)])]
)
def test_a_signal_goes_only_to_who_is_still_the_users(
    monkeypatch: pytest.MonkeyPatch, seen: str, sent: list[tuple[int, int]]
) -> None:
    """A pid may be another's by now; its descriptor is open before it is looked at again."""
    steps, done = list[str](), list[tuple[int, int]]()
    service = "x.service" if seen == "a service" else ""

    @contextlib.contextmanager
    def pidfds(pids: Iterable[int]) -> Iterator[list[int]]:
        assert list(pids) == [101]
        steps.append("open")
        yield [7]

    def outside(uid: int, pids: Iterable[int]) -> list[processes.OutsideProcess]:
        assert uid == 1001
        steps.append("look")
        return (
            []
            if seen == "nobody"
            else [processes.OutsideProcess(pid, "x", service) for pid in pids]
        )

    monkeypatch.setattr(system_programs, "pidfds", pidfds)
    monkeypatch.setattr(system_programs, "outside", outside)
    monkeypatch.setattr(
        system_programs.signal, "pidfd_send_signal", lambda fd, n: done.append((fd, int(n)))
    )
    system_programs._signal(101, 1001, system_programs.signal.SIGTERM, system_programs._own)
    assert steps == ["open", "look"] and done == sent


def test_the_gate_knows_whom_it_has_stopped_and_lets_them_in() -> None:
    """fanotify(7): each event has a descriptor of what is being opened, and who does it."""
    events, door_in = os.pipe2(os.O_NONBLOCK)
    try:
        assert gate._stopped(events) == set()
        opened = [os.open("/", os.O_RDONLY) for _ in range(2)]
        size = gate._EVENT.size
        for fd, pid in zip(opened, (101, 102), strict=True):
            os.write(door_in, gate._EVENT.pack(size, 3, 0, size, 0x10000, fd, pid))
        assert gate._stopped(events) == {101, 102} and gate._stopped(events) == set()
        for fd in opened:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
    finally:
        os.close(events)
        os.close(door_in)
