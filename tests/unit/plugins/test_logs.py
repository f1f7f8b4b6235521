"""logs: the socket in the jail, and the daemon's rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeHost, Programs, Tree
from golden import HOME, Fire, ann

from sftpjail import (
    Bind,
    Check,
    Fact,
    MakeDir,
    Notify,
    Problem,
    Profile,
    Remove,
    SftpJailError,
    WriteFile,
)
from sftpjail.actions import MOUNT_OPTIONS
from sftpjail.config import Config, Events, Logs
from sftpjail.operations.diagnosis import once
from sftpjail.plugins.logs import changes as plugin

RSYSLOG, SYSLOG_NG = "/etc/rsyslog.d/10-sftpjail.conf", "/etc/syslog-ng/conf.d/sftpjail.conf"
LOGROTATE, ROTATED = "/etc/logrotate.d/sftpjail", "/etc/logrotate.d/sftpjail-file"
INSTALLED = (Path(__file__).parents[3] / "packaging/logrotate").read_text()
SHARED = "/var/lib/sftpjail/log"
NONE = Config(logs=Logs("none"))


def rsyslog(tree: Tree) -> None:
    tree.program("rsyslogd")
    tree.directory("/etc/rsyslog.d")
    tree.write(LOGROTATE, INSTALLED)


def syslog_ng(tree: Tree) -> None:
    tree.program("syslog-ng")
    tree.directory("/etc/syslog-ng/conf.d")


def systemd(tree: Tree) -> None:
    tree.directory("/run/systemd/system")
    tree.write("/run/systemd/journal/dev-log", "")


def content(actions: list[object], path: str) -> str:
    return next(a.content for a in actions if isinstance(a, WriteFile) and a.path == path)


def test_on_setup_with_rsyslog_and_no_systemd(tree: Tree, fire: Fire) -> None:
    rsyslog(tree)
    actions = fire("logs", "on_setup", tree.host())
    rule = content(actions, RSYSLOG)
    trusted = (
        f'Socket="{SHARED}/log" CreatePath="on" Annotate="on" ParseTrusted="on" ruleset="sftpjail")'
    )
    assert f'input(type="imuxsock" {trusted}' in rule and "set $.sftpjail_uid = $!uid;" in rule
    assert "uid=%$.sftpjail_uid% internal-sftp[%$.sftpjail_pid%]:%msg" in rule
    assert 'if $programname == "internal-sftp"' in rule and 'file="/var/log/sftp.log"' in rule
    assert [a for a in actions if not isinstance(a, WriteFile)] == [
        Remove(SYSLOG_NG),
        Remove(ROTATED),
        MakeDir(SHARED),
        Check(("/usr/sbin/rsyslogd", "-N1"), "rsyslog must accept the rule", candidate=(RSYSLOG,)),
        Notify("rsyslog", "restart", required=True),
    ]


def test_another_file_is_rotated_by_the_installed_rule(tree: Tree, fire: Fire) -> None:
    rsyslog(tree)
    elsewhere = Config(logs=Logs(file="/var/log/jail.log"))
    rule = content(fire("logs", "on_setup", tree.host(), elsewhere), ROTATED)
    assert "\n/var/log/jail.log {\n    weekly\n" in rule and "sftp.log" not in rule
    tree.write(
        LOGROTATE, INSTALLED.replace("sftp.log", "jail.log")
    )  # the administrator has done it already
    assert Remove(ROTATED) in fire("logs", "on_setup", tree.host(), elsewhere)


@pytest.mark.parametrize("text", ["", "# not here\n"])
def test_an_administrators_will_not_to_rotate_is_respected(
    tree: Tree, fire: Fire, text: str
) -> None:
    rsyslog(tree)
    tree.write(LOGROTATE, text)
    assert Remove(ROTATED) in fire(
        "logs", "on_setup", tree.host(), Config(logs=Logs(file="/var/log/jail.log"))
    )


def test_on_setup_under_systemd_needs_no_socket_of_the_daemons(tree: Tree, fire: Fire) -> None:
    rsyslog(tree)
    systemd(tree)
    actions = fire("logs", "on_setup", tree.host())
    assert "imuxsock" not in content(actions, RSYSLOG) and MakeDir(SHARED) not in actions


def test_on_setup_with_syslog_ng(tree: Tree, fire: Fire) -> None:
    syslog_ng(tree)
    actions = fire("logs", "on_setup", tree.host(), Config(logs=Logs(file="/var/log/jail.log")))
    rule = content(actions, SYSLOG_NG)
    assert (
        f'unix-dgram("{SHARED}/log" create-dirs(yes) perm(0666))' in rule
        and 'file("/var/log/jail.log"' in rule
    )
    assert (
        Check(
            ("/usr/sbin/syslog-ng", "--syntax-only", "--no-caps"),
            "syslog-ng must accept the rule",
            candidate=(SYSLOG_NG,),
        )
        in actions
    )
    assert Remove(RSYSLOG) in actions and Notify("syslog-ng", "restart", required=True) in actions


@pytest.mark.parametrize("backend", ["auto", "none", "journald"])
def test_on_setup_without_a_daemon_clears_old_rules_away(
    tree: Tree, fire: Fire, backend: str
) -> None:
    assert fire("logs", "on_setup", tree.host(), Config(logs=Logs(backend))) == [
        Remove(RSYSLOG),
        Remove(SYSLOG_NG),
        Remove(ROTATED),
    ]


def test_on_setup_refuses_a_daemon_that_is_not_here(tree: Tree, fire: Fire) -> None:
    with pytest.raises(
        SftpJailError, match="backend = syslog-ng, which is not installed"
    ) as caught:
        fire("logs", "on_setup", tree.host(), Config(logs=Logs("syslog-ng")))
    assert caught.value.fix == "apt install syslog-ng"
    tree.program("rsyslogd")
    with pytest.raises(SftpJailError, match="/etc/rsyslog.d is missing"):
        fire("logs", "on_setup", tree.host())


def test_on_teardown(tree: Tree, fire: Fire) -> None:
    tree.write(RSYSLOG, "")
    assert fire("logs", "on_teardown", tree.host()) == [
        Remove(RSYSLOG),
        Remove(SYSLOG_NG),
        Remove(ROTATED),
        Remove(f"{SHARED}/log", ours=True),
        Remove(SHARED),
        Notify("rsyslog", "restart"),
    ]


def test_an_administrators_jail_has_no_socket_of_ours(tree: Tree, fire: Fire) -> None:
    tree.directory(SHARED)
    rsyslog(tree)
    tree.directory("/srv/sftp/ann")
    account = ann(Profile("sftponly", home="none"))
    for hook in ("on_jail_binds", "on_check"):
        assert fire("logs", hook, tree.host(), account=account) == []


def test_on_jail_binds_the_sockets_directory_or_one_that_stays(tree: Tree, fire: Fire) -> None:
    rsyslog(tree)
    assert fire("logs", "on_jail_binds", tree.host(), account=ann()) == [], "before setup"
    tree.directory(SHARED)
    assert fire("logs", "on_jail_binds", tree.host(), account=ann()) == [
        Bind(SHARED, "/srv/sftp/ann/dev", role="log")
    ]
    assert fire("logs", "on_jail_binds", tree.host(), NONE, account=ann()) == []
    assert fire("logs", "on_jail_binds", tree.host(), account=ann(HOME, home="/home/later")) == []
    systemd(tree)
    assert fire("logs", "on_jail_binds", tree.host(), account=ann()) == [
        Bind(
            "/run/systemd/journal/dev-log",
            "/srv/sftp/ann/dev/log",
            role="log",
            options=(*MOUNT_OPTIONS, "x-systemd.after=systemd-journald-dev-log.socket"),
        )
    ]


# -- check ---------------------------------------------------------------------------------------

SOCKET, JAIL = "/srv/sftp/ann/dev/log", "/srv/sftp/ann"
UNLOGGED = "nothing the account does is logged"
PLAIN = "kill 8 && while kill -0 8 2>/dev/null; do sleep 0.1; done; /usr/sbin/rsyslogd"


@pytest.fixture
def good(tree: Tree) -> Tree:
    """A jail that logs through rsyslog, without systemd."""
    rsyslog(tree)
    tree.write(RSYSLOG, "")
    tree.write(f"{SHARED}/log", "")
    tree.directory(f"{JAIL}/dev")
    tree.mounted(f"{JAIL}/dev")
    tree.shown = {f"{JAIL}/dev": SHARED}
    tree.sockets = {f"{SHARED}/log"}
    tree.pids["rsyslog"] = 8
    return tree


def test_on_check_of_a_jail_that_logs(good: Tree, fire: Fire) -> None:
    assert fire("logs", "on_check", good.host(), account=ann()) == []
    assert fire("logs", "on_check", good.host(), account=None) == []
    assert fire("logs", "on_check", good.host(), NONE, account=ann()) == []
    assert fire("logs", "on_check", good.host(), NONE, account=None) == []
    assert fire("logs", "on_check", good.host(), account=ann(name="bob")) == [], (
        "there is no jail yet"
    )


def test_on_check_of_a_bind_that_is_gone(good: Tree, fire: Fire) -> None:
    good.mounted()
    good.shown = {}
    assert fire("logs", "on_check", good.host(), account=ann()) == [
        Problem(f"{SOCKET} is not there", UNLOGGED, "sftpjail apply")
    ]


def test_on_check_of_a_bind_of_a_socket_that_was_made_anew(good: Tree, fire: Fire) -> None:
    good.write("/srv/old/log", "")
    good.shown = {f"{JAIL}/dev": "/srv/old"}
    assert fire("logs", "on_check", good.host(), account=ann()) == [
        Problem(
            f"{SOCKET} is a socket that nobody reads any more",
            UNLOGGED,
            f"umount {JAIL}/dev && sftpjail apply",
        )
    ]


@pytest.mark.parametrize(
    ("init", "fix"),
    [(True, "service rsyslog restart"), (False, PLAIN)],
    ids=["init script", "by itself"],
)
def test_on_check_of_a_daemon_that_does_not_listen(
    good: Tree, fire: Fire, init: bool, fix: str
) -> None:
    good.sockets = set()
    if init:
        good.write("/etc/init.d/rsyslog", "", 0o755)
    assert fire("logs", "on_check", good.host(), account=ann()) == [
        Problem(f"rsyslog does not read from {SHARED}/log", UNLOGGED, fix)
    ]
    (good.root / RSYSLOG.lstrip("/")).unlink()
    (problem,) = fire("logs", "on_check", good.host(), account=ann())
    assert problem == Problem(
        f"rsyslog has no rule for jails, {RSYSLOG}", UNLOGGED, f"sftpjail setup && {fix}"
    )


def test_on_check_of_a_daemon_that_does_not_run(good: Tree, fire: Fire, programs: Programs) -> None:
    del good.pids["rsyslog"]
    assert fire("logs", "on_check", good.host(), account=None) == [
        Problem(
            "rsyslog does not run", "nothing is written to /var/log/sftp.log", "/usr/sbin/rsyslogd"
        )
    ]
    good.directory("/run/systemd/system")
    programs.answer("systemctl", "is-active", "--quiet", "rsyslog", code=3)
    (problem,) = fire("logs", "on_check", good.host(), account=None)
    assert problem.fix == "systemctl restart rsyslog"


def test_a_daemon_that_does_not_run_is_one_problem_of_all_jails(good: Tree, fire: Fire) -> None:
    del good.pids["rsyslog"]
    good.sockets = set()
    (of_host,) = fire("logs", "on_check", good.host(), account=None)
    (of_ann,) = fire("logs", "on_check", good.host(), account=ann())
    assert of_ann == replace(of_host, why=UNLOGGED)
    found = once([replace(of_host, about="host"), replace(of_ann, about="ann")])
    assert [problem.concerns for problem in found] == [("ann",)]


def test_on_check_under_systemd_asks_the_unit_and_no_pid_file(
    good: Tree, fire: Fire, programs: Programs
) -> None:
    del good.pids["rsyslog"]
    good.directory("/run/systemd/system")
    programs.answer("systemctl", "is-active", "--quiet", "rsyslog")
    assert fire("logs", "on_check", good.host(), account=None) == []


def test_on_check_of_a_file_that_was_deleted_under_its_writer(good: Tree, fire: Fire) -> None:
    def found(host: FakeHost) -> list[str]:
        host.daemons.deleted = {"/var/log/sftp.log": 8}
        return [problem.fix for problem in fire("logs", "on_check", host, account=None)]

    assert found(good.host()) == ["kill -HUP 8"]
    good.write("/var/log/sftp.log", "")
    assert found(good.host()) == [], "logrotate has just made a new one"


def test_on_check_under_systemd_journald_has_the_socket(tree: Tree, fire: Fire) -> None:
    systemd(tree)
    tree.directory(f"{JAIL}/dev")
    tree.sockets = set()
    config = Config(logs=Logs("journald"))
    assert fire("logs", "on_check", tree.host(), config, account=ann()) == [
        Problem(
            f"nobody reads from {plugin.JOURNAL}",
            UNLOGGED,
            "systemctl restart systemd-journald.socket",
        )
    ]
    assert fire("logs", "on_check", tree.host(), config, account=None) == []
    tree.sockets = {plugin.JOURNAL}
    (problem,) = fire("logs", "on_check", tree.host(), config, account=ann())
    assert problem == Problem(f"{SOCKET} is not there", UNLOGGED, "sftpjail apply")
    tree.mounted(SOCKET)
    tree.write(SOCKET, "")
    (problem,) = fire("logs", "on_check", tree.host(), config, account=ann())
    assert problem.fix == f"umount {SOCKET} && sftpjail apply"


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("", "10000 messages in 30s"),
        (
            "[Journal]\n#RateLimitBurst=9\nRateLimitBurst=5\nRateLimitIntervalSec=2min\n",
            "5 messages",
        ),
        ("[Journal]\nRateLimitIntervalSec=0\n", ""),
        ("[Journal]\nRateLimitBurst=0\n", ""),
    ],
)
def test_on_check_of_what_journald_may_drop(
    tree: Tree, fire: Fire, programs: Programs, said: str, limit: str
) -> None:
    systemd(tree)
    programs.answer("systemd-analyze", "cat-config", out=said)
    assert fire("logs", "on_check", tree.host(), account=None) == []
    found = fire("logs", "on_check", tree.host(), Config(events=Events("hooks")), account=None)
    assert [limit in one.what and one.severity == "advice" for one in found] == [True] * bool(limit)


def test_on_check_of_a_journal_that_keeps_nothing(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    systemd(tree)
    syslog_ng(tree)
    programs.answer("systemctl", "is-active")
    said = "[Journal]\nStorage=auto\n#Storage=volatile\n[Journal]\nStorage=none\n"
    programs.answer("systemd-analyze", "cat-config", out=said)
    config = Config(events=Events("hooks"))
    (problem,) = fire("logs", "on_check", tree.host(), config, account=None)
    assert "Storage=none" in problem.what and problem.severity == "broken"


def test_on_explain(good: Tree, fire: Fire) -> None:
    facts = [
        Fact("log", "backend", "rsyslog", "level VERBOSE, facility AUTH"),
        Fact("log", "socket", SOCKET, "rsyslog reads from it"),
        Fact("log", "file", "/var/log/sftp.log"),
    ]
    assert fire("logs", "on_explain", good.host(), account=ann()) == facts
    good.sockets = set()
    facts[1] = Fact("log", "socket", SOCKET, "nobody reads from it", True)
    assert fire("logs", "on_explain", good.host(), account=ann()) == facts
    assert fire("logs", "on_explain", good.host(), account=ann(None)) == [
        Fact("log", "backend", "rsyslog")
    ]
    assert fire("logs", "on_explain", good.host(), NONE, account=ann()) == [
        Fact("log", "backend", "none")
    ]
