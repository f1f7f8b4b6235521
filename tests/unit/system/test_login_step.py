"""The step at a login and at boot: what it reads, whom it lets in, and that it is one file that needs nothing."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail.formats.fstab import FstabEntry, parse_line, unescape
from sftpjail.model import Ids, id_map
from sftpjail.openssh.pam_session import program, script
from sftpjail.system import login_step, safe_path

IDA = SimpleNamespace(pw_name="ida")
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1).map(lambda s: "/" + s)


@given(TEXT, TEXT)
def test_a_table_is_read_as_fstab_is(source: str, target: str) -> None:
    line = FstabEntry(source, target, "none", ("bind", "ro", "x-sftpjail.user=ann")).line()
    assert login_step.entries(f"# a comment\n\n{line}\n") == [
        (source, target, ("bind", "ro", "x-sftpjail.user=ann"))
    ]


@given(st.text(st.sampled_from("\\01457a ")))
@example("/a\\000b")
def test_octal_escapes_are_those_of_getmntent(field: str) -> None:
    assert login_step.unescaped(field) == unescape(field)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# x y z bind",
        "/a /b none",
        "  \t ",
        "/a\t/b\tnone\tbind",
        " /a  /b none bind 0 0",
        "/a /b\0 none bind",
    ],
)
def test_the_same_lines_count_as_in_fstab(line: str) -> None:
    entry = parse_line(line)
    assert login_step.entries(line) == (
        [(entry.source, entry.target, entry.options)] if entry else []
    )


@pytest.mark.parametrize("known", ["list", "record", "match_user", ""])
def test_an_account_that_we_know_comes_by_its_own_name(
    known: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pwd.getpwnam", {"ida": IDA, "IDA": IDA}.__getitem__)
    monkeypatch.setattr(login_step, "ACCOUNTS", str(tmp_path))
    monkeypatch.setattr(login_step, "LISTS", (str(tmp_path / "no"), str(tmp_path / "list")))
    if known == "record":
        (tmp_path / "ida").touch()
    (tmp_path / "list").write_text("ida\n" if known == "list" else "ida2\n")
    jailed = ["bob", "ida"] if known == "match_user" else ["bob"]
    monkeypatch.setenv("PAM_USER", "ida")
    login_step.want_own_name(jailed)
    monkeypatch.setenv("PAM_USER", "IDA")
    if known:
        with pytest.raises(login_step.Refused, match="its own name is ida"):
            login_step.want_own_name(jailed)
    else:
        login_step.want_own_name(jailed)
    monkeypatch.setenv("PAM_USER", "gone")
    with pytest.raises(login_step.Refused, match="no name service knows it"):
        login_step.want_own_name(jailed)
    monkeypatch.setenv("PAM_TYPE", "auth")
    login_step.want_own_name(jailed)  # the password will tell


@pytest.mark.parametrize(
    ("step", "service", "listed", "allowed"),
    [
        ("account", "sftpjail-session", "", True),
        ("account", "sftpjail", "", True),
        ("account", "sftpjail", "gate", True),  # which is for those who are not in a jail
        ("account", "sshd", "", False),
        ("account", "sftpjail", "closed", False),
        ("account", "sftpjail", "match_user", False),
        ("auth", "sftpjail", "", False),  # that was typed
    ],
)
def test_winbinds_name_with_a_blank_after_the_password(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    step: str,
    service: str,
    listed: str,
    allowed: bool,
) -> None:
    """pam_winbind puts it into the place of john_doe, though `winbind normalize names` is set."""
    monkeypatch.setattr("pwd.getpwnam", lambda name: SimpleNamespace(pw_name="john_doe"))
    monkeypatch.setattr(login_step, "ACCOUNTS", str(tmp_path))
    for name in ("john_doe", "gate", "closed"):
        (tmp_path / name).write_text("john_doe\n" if name == listed else "ann\n")
    monkeypatch.setattr(login_step, "GATE", str(tmp_path / "gate"))
    monkeypatch.setattr(login_step, "LISTS", (str(tmp_path / "gate"), str(tmp_path / "closed")))
    for variable, value in (("TYPE", step), ("SERVICE", service), ("USER", "john doe")):
        monkeypatch.setenv(f"PAM_{variable}", value)
    jailed = ["john_doe"] if listed == "match_user" else []
    if allowed:
        login_step.want_own_name(jailed)
    else:
        with pytest.raises(login_step.Refused, match="its own name is john_doe"):
            login_step.want_own_name(jailed)


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a\nb", "a b", "ä", "../etc"])
def test_no_name_that_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAM_TYPE", "open_session")
    monkeypatch.setenv("PAM_USER", name)
    with pytest.raises(login_step.Refused, match="does not take its name"):
        login_step.login("session")


def test_only_the_opening_of_a_session_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAM_TYPE", "close_session")
    monkeypatch.setenv("PAM_USER", "../etc")
    login_step.login("session")


def test_a_session_without_a_namespace_of_its_own_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tables", "mark"):
        (tmp_path / name).mkdir()
    (tmp_path / "tables/ann").write_text("/src /jail/web none bind 0 0\n")
    monkeypatch.setattr(login_step, "TABLES", str(tmp_path / "tables"))
    monkeypatch.setattr(login_step, "MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("PAM_TYPE", "open_session")
    monkeypatch.setenv("PAM_USER", "ann")
    with pytest.raises(login_step.Refused, match="no mount namespace of its own"):
        login_step.login("session")


def test_the_reason_is_one_line_and_the_command_is_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    login_step.refuse("/srv/a\nsftpjail: all is well\x1b[2J")
    assert capsys.readouterr().err == "sftpjail: /srv/a sftpjail: all is well [2J\n"
    assert (
        login_step.main([]) == 2
        and login_step.main(["boot", "x"]) == 2
        and login_step.main(["enter", "t", "d"]) == 2
    )


def test_the_program_is_one_file_of_the_standard_library() -> None:
    tree = ast.parse(program())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    assert imported == {
        *("__future__", "_signal", "collections", "ctypes", "errno", "os", "stat"),
        *("fcntl", "grp", "pwd"),
        *("subprocess", "sys", "syslog", "time"),
    }
    assert script().startswith("#!/usr/bin/python3 -IS\n")
    names = [node for node in ast.walk(ast.parse(script())) if isinstance(node, ast.Import)]
    assert {alias.name for node in names for alias in node.names} == {"os", "sys", "pam_session"}


def test_it_has_the_text_of_last_use_whole() -> None:
    scope: dict[str, object] = {"__name__": "step"}
    exec(program(), scope)
    text = scope["LAST_USE"]
    assert isinstance(text, str)
    there: dict[str, object] = {"SEEN": "/nonexistent"}
    exec(text, there)
    assert {"note_login", "record_uses", "uses", "used"} <= there.keys()


def test_a_login_imports_little() -> None:
    """Each module costs every login: what only some need is imported where it is needed."""
    top = {
        alias.name
        for node in ast.parse(program()).body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert top == {"errno", "os", "stat", "sys"}


def test_one_mount_that_stays_keeps_no_other_from_being_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        FstabEntry("/src", f"/jail/{name}", "none", ("bind", "x-sftpjail.user=ann")).line()
        for name in "ab"
    ]
    monkeypatch.setattr(login_step, "read", lambda path: "\n".join(lines))
    monkeypatch.setattr(login_step, "mount_points", lambda: {"/jail/a", "/jail/b"})
    monkeypatch.setattr(login_step, "unlike", lambda source, target: "it is another's")
    asked = []

    def unmount(point: str, lazy: bool) -> bool:
        asked.append(point)
        raise login_step.PathRefused("no way there")

    monkeypatch.setattr(login_step, "unmount", unmount)
    assert not login_step.boot()
    assert (
        asked == ["/jail/a", "/jail/b"]
        and "/jail/b stays mounted: no way there" in capsys.readouterr().err
    )


# -- a session's mounts, in order ----------------------------------------------------------------


class Session:
    """A login of ann's with a table of hers; `did` has every mount and unmount in order."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.did: list[tuple[object, ...]] = []
        self.inherited: list[str] = []
        self.refuses: dict[str, Exception] = {}
        self.made: list[str] = []
        self.table = directory / "tables/ann"
        for name in ("tables", "records", "mark"):
            (directory / name).mkdir()
        patch.setattr(login_step, "TABLES", str(directory / "tables"))
        patch.setattr(login_step, "ACCOUNTS", str(directory / "records"))
        patch.setattr(login_step, "MARK", str(directory / "mark"))
        patch.setattr(login_step, "mount", self.mount)
        patch.setattr(login_step, "unmount", self.unmount)
        patch.setattr(login_step, "mount_points", lambda: {*self.inherited, "/other"})
        patch.setattr(login_step, "make_jail", self.made.append)
        patch.setenv("PAM_TYPE", "open_session")
        patch.setenv("PAM_USER", "ann")
        self.own = True
        real = login_step.os.stat

        def stat(path: str, **more: object) -> object:
            found = real(path, **more)  # type: ignore[arg-type]
            if self.own and str(path) == login_step.MARK:
                return SimpleNamespace(st_dev=found.st_dev + 1)
            return found

        patch.setattr(login_step.os, "stat", stat)

    def mount(self, source: str, target: str, options: tuple[str, ...], loose: bool) -> None:
        if target in self.refuses:
            raise self.refuses[target]
        self.did.append(("mount", source, target, options, loose))

    def unmount(self, target: str, lazy: bool = False) -> bool:
        if target in self.refuses:
            raise self.refuses[target]
        self.did.append(("unmount", target, lazy))
        there = target in self.inherited
        if there:
            self.inherited.remove(target)
        return there


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    return Session(tmp_path, monkeypatch)


TABLE = """\
/src/in /jail/web/in none bind,ro 0 0
/src/web /jail/web none bind,x-sftpjail.allow 0 0
"""


def test_a_session_shows_the_outer_mounts_first(session: Session) -> None:
    session.table.write_text(TABLE)
    session.inherited = ["/jail/web", "/jail/web", "/jail/web/in"]
    login_step.login("session")
    assert session.did == [
        ("unmount", "/jail/web/in", True),
        ("unmount", "/jail/web/in", True),
        *[("unmount", "/jail/web", True)] * 3,
        ("mount", "/src/web", "/jail/web", ("bind", "x-sftpjail.allow"), True),
        ("mount", "/src/in", "/jail/web/in", ("bind", "ro"), False),
    ]
    assert session.made == []


@pytest.mark.parametrize("error", [login_step.PathRefused("a link"), OSError(5, "a link")])
@pytest.mark.parametrize("inherited", [[], ["/jail/web"]])
def test_a_session_that_cannot_show_all_is_closed(
    session: Session, error: Exception, inherited: list[str]
) -> None:
    session.table.write_text(TABLE)
    session.inherited, session.refuses = inherited, {"/jail/web": error}
    words = "cannot be unmounted" if inherited else "will not show /src/web as /jail/web"
    with pytest.raises(login_step.Refused, match=f"{words}: a link"):
        login_step.login("session")
    assert session.did == []


def test_a_session_in_the_hosts_namespace_mounts_nothing(session: Session) -> None:
    session.table.write_text(TABLE)
    session.own = False
    with pytest.raises(login_step.Refused, match="no mount namespace"):
        login_step.login("session")
    assert session.did == []


@pytest.mark.parametrize(
    ("kind", "record", "made"),
    [
        ("session", "tables", False),
        ("session", "records", True),
        ("fstab", "tables", True),
        ("fstab", "records", False),
    ],
)
def test_who_has_no_jail_yet_gets_one(
    session: Session, tmp_path: Path, kind: str, record: str, made: bool
) -> None:
    (tmp_path / record / "ann").write_text(TABLE)
    login_step.login(kind)
    assert session.made == ["ann"] * made
    shown = [did[2] for did in session.did if did[0] == "mount"]
    own = (kind, record) == ("session", "tables")
    assert shown == ["/jail/web", "/jail/web/in"] * own, "and fstab's are mounted already"


def test_a_second_name_gets_no_jail_of_its_own(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pwd.getpwnam", lambda name: SimpleNamespace(pw_name=name.lower().replace(" ", "_"))
    )
    monkeypatch.setenv("PAM_USER", "ANN")
    with pytest.raises(login_step.Refused, match="its own name is ann"):
        login_step.login("fstab")
    monkeypatch.setenv("PAM_USER", "john doe")
    with pytest.raises(login_step.Refused, match="does not take its name"):
        login_step.login("fstab")
    assert session.made == []
    monkeypatch.setenv("PAM_SERVICE", "sftpjail")
    login_step.login("fstab")
    assert session.made == ["john_doe"]


@pytest.mark.parametrize("name", ["ann", "Ann.x", "a-b", "a_b@c", "m$", "0x"])
def test_names_that_are_some(session: Session, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PAM_USER", name)
    login_step.login("fstab")
    assert session.made == [name]


@pytest.mark.parametrize("code", [1, -9, 0])
def test_a_jail_that_could_not_be_made_is_no_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    asked: list[tuple[object, object]] = []

    def run(argv: list[str], **more: object) -> SimpleNamespace:
        asked.append((argv, more["env"]))
        return SimpleNamespace(returncode=code, stderr=b" no\xff room \n" if code > 0 else b"")

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr(login_step, "BIN", str(tmp_path / "sftpjail"))
    with pytest.raises(login_step.Refused, match="is not installed"):
        login_step.make_jail("ann")
    (tmp_path / "sftpjail").write_text("")
    (tmp_path / "sftpjail").chmod(0o755)
    if code:
        words = "no\ufffd room" if code > 0 else f"{login_step.BIN} failed"
        with pytest.raises(login_step.Refused, match=f"^{words}$"):
            login_step.make_jail("ann")
    else:
        login_step.make_jail("ann")
    assert asked == [([login_step.BIN, "hook", "pam-session", "ann"], {})]


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("good", ""),
        ("loose", "can be written by others than root"),
        ("moved", "it shows something other than"),
        ("none", "No such file or directory"),
    ],
)
def test_what_a_boot_mounted_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, why: str
) -> None:
    above = {(up.stat().st_dev, up.stat().st_ino) for up in tmp_path.parents}
    real = safe_path.flaw
    monkeypatch.setattr(
        safe_path, "flaw", lambda f: "" if (f.st_dev, f.st_ino) in above else real(f)
    )
    (tmp_path / "jail").mkdir()
    for name in ("good", "loose"):
        (tmp_path / name / "web").mkdir(parents=True)
    (tmp_path / "loose").chmod(0o777)
    seen = "good" if place == "moved" else place
    shown = {"good": "good", "loose": "loose"}.get(place, "jail")
    same = os.path.samestat
    monkeypatch.setattr(
        login_step.os.path,
        "samestat",
        lambda a, b: same(os.stat(tmp_path / shown / "web"), b) if shown != "jail" else same(a, b),
    )
    held = len(os.listdir("/proc/self/fd"))
    reason = login_step.unlike(str(tmp_path / seen / "web"), str(tmp_path / "jail"))
    assert (why in reason) if why else reason == ""
    assert login_step.unlike(str(tmp_path / "good/web"), str(tmp_path / "loose/web")) != ""
    assert len(os.listdir("/proc/self/fd")) == held


def test_at_boot_only_what_is_ours_and_mounted_is_judged(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        "/src /jail/ours none bind,x-sftpjail.user=ann 0 0",
        "/src /jail/away none bind,x-sftpjail.user=ann 0 0",
        "/src /jail/theirs none bind 0 0",
    ]
    monkeypatch.setattr(login_step, "read", lambda path: "\n".join(lines))
    monkeypatch.setattr(login_step, "unlike", lambda source, target: "")
    session.inherited = ["/jail/ours", "/jail/theirs"]
    assert login_step.boot() and session.did == [] and login_step.main(["boot"]) == 0
    monkeypatch.setattr(login_step, "unlike", lambda source, target: "it is another's")
    assert not login_step.boot()
    assert session.did == [("unmount", "/jail/ours", True)] * 2
    session.inherited = ["/jail/ours"]
    assert login_step.main(["boot"]) == 1
    assert "/jail/ours is unmounted: it is another's" in capsys.readouterr().err


def test_the_first_line_about_an_account_says_how_many_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, most = tmp_path / "own", tmp_path / "most"
    monkeypatch.setattr(login_step, "CONNECTIONS", str(own))
    monkeypatch.setattr(login_step, "MOST", str(most))
    assert login_step.most_sessions("root") == 0
    most.write_text("name bob 5\ngroup nobody-has-it 1\ngroup root 7\nname root 8\n")
    assert login_step.most_sessions("root") == 7
    assert login_step.most_sessions("bob") == 5 and login_step.most_sessions("no-such") == 0
    own.write_text("user bob\nuser root x\nuser root 2\nname bob 1\n")
    assert login_step.most_sessions("root") == 2 and login_step.most_sessions("bob") == 5


def test_a_process_is_known_by_its_start_as_well() -> None:
    found = login_step.process(str(os.getpid()))
    assert found and found[3] == os.geteuid() and found[1] == str(os.getppid())
    assert login_step.is_same(found, found[2]) and not login_step.is_same(found, "0")
    assert login_step.process("999999999") is None
    assert login_step.monitor_of(str(os.getpid())) == ("", "")


def test_a_mount_point_of_fstab_that_lacks_its_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, link = tmp_path / "srv/data", tmp_path / "link"
    (data / "deep/there").mkdir(parents=True)
    link.symlink_to(data)
    there = {"/", str(tmp_path)}
    for target in (f"{data}/", f"/{data}", f"{tmp_path}/./srv//data/.", str(link), f"{link}/"):
        lines = f"/dev/sdb1 {target} ext4 defaults 0 0\n"
        monkeypatch.setattr(login_step, "read", lambda _path, lines=lines: lines)
        missing = login_step.unmounted(there)
        assert login_step.above(f"{link}/deep", missing, there) == target.rstrip("/")
        assert login_step.above(f"{tmp_path}/srv", missing, there) == ""
        assert login_step.above(f"{data}/deep/x", missing, there | {f"{data}/deep"}) == ""
        assert not login_step.unmounted(there | {str(data)})
    monkeypatch.setattr(login_step, "read", lambda _: "/dev/sda1 / ext4 defaults 0 1\n")
    assert not login_step.unmounted(there)
    assert login_step.above("/x", login_step.unmounted(set()), set()) == "/"


MAP = "X-mount.idmap=u:33:1000:1\\040g:34:1001:1"


def test_a_map_of_owners_is_read_as_we_write_it() -> None:
    assert id_map(Ids(33, 34), 1000, 1001) == MAP
    assert safe_path.id_maps(["bind", MAP]) == ("33 1000 1", "34 1001 1")
    assert safe_path.id_maps(["bind", MAP.replace("\\040", " ")]) == ("33 1000 1", "34 1001 1")
    assert safe_path.id_maps(["bind", "nosuid"]) is None


@pytest.mark.parametrize(
    "option",
    [
        MAP.replace("33", "0"),
        MAP.replace("1001", "0"),
        MAP.replace("33:1000:1", "33:1000:9"),
        MAP.replace("u:", "b:"),
        MAP.replace("33", "-1"),
        MAP.replace("33", "4294967295"),
        MAP.partition("\\040")[0],
        f"{MAP}\\040u:35:1002:1",
        "X-mount.idmap=/proc/1/ns/user",
        "X-mount.idmap=",
    ],
)
def test_no_other_map_is_made_nor_one_of_root(option: str) -> None:
    with pytest.raises(safe_path.PathRefused, match="does not map owners by"):
        safe_path.id_maps(["bind", option])
    with pytest.raises(safe_path.PathRefused, match="does not map owners by"):
        safe_path.id_maps(["bind", MAP, option])


@pytest.mark.parametrize(
    ("uid", "gid", "stale"), [(1000, 1001, False), (1002, 1001, True), (1000, 1000, True)]
)
def test_a_map_to_what_an_account_was_is_none(
    uid: int, gid: int, stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"ida": SimpleNamespace(pw_uid=uid, pw_gid=gid)}
    monkeypatch.setattr("pwd.getpwnam", known.__getitem__)
    options = ("bind", MAP, "x-sftpjail.user=ida")
    assert bool(login_step.former_ids("ida", options)) == stale
    assert bool(login_step.wrong_owners(options, mapped=True)) == stale
    assert login_step.wrong_owners(options, mapped=False) == "it has no map of owners"
    assert "fstab line has none" in login_step.wrong_owners(("bind",), mapped=True)
    assert login_step.wrong_owners(("bind",), mapped=False) == ""
    assert "does not map" in login_step.wrong_owners(("X-mount.idmap=x",), mapped=True)
    assert login_step.former_ids("gone", options) == "", "nobody's"
