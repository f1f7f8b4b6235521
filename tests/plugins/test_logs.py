"""logs: the socket in the jail, and the daemon's rule."""

from __future__ import annotations

import pytest
from fakes import Tree
from golden import HOME, Fire, ann

from sftpjail import Bind, Check, MakeDir, Notify, Remove, SftpJailError, WriteFile
from sftpjail.actions import MOUNT_OPTIONS
from sftpjail.config import Config, Logs

RSYSLOG, SYSLOG_NG, ROTATE = (
    "/etc/rsyslog.d/10-sftpjail.conf",
    "/etc/syslog-ng/conf.d/sftpjail.conf",
    "/etc/logrotate.d/sftpjail",
)
SHARED = "/var/lib/sftpjail/log"
NONE = Config(logs=Logs("none"))


def rsyslog(tree: Tree) -> None:
    tree.program("rsyslogd")
    tree.folder("/etc/rsyslog.d")
    tree.folder("/etc/logrotate.d")


def syslog_ng(tree: Tree) -> None:
    tree.program("syslog-ng")
    tree.folder("/etc/syslog-ng/conf.d")


def systemd(tree: Tree) -> None:
    tree.folder("/run/systemd/system")
    tree.write("/run/systemd/journal/dev-log", "")


def content(actions: list[object], path: str) -> str:
    return next(a.content for a in actions if isinstance(a, WriteFile) and a.path == path)


def test_on_setup_with_rsyslog_and_no_systemd(tree: Tree, fire: Fire) -> None:
    rsyslog(tree)
    actions = fire("logs", "on_setup", tree.host())
    rule = content(actions, RSYSLOG)
    assert f'input(type="imuxsock" Socket="{SHARED}/log" CreatePath="on")' in rule
    assert 'if $programname == "internal-sftp"' in rule and 'file="/var/log/sftp.log"' in rule
    assert [a for a in actions if not isinstance(a, WriteFile)] == [
        Remove(SYSLOG_NG),
        MakeDir(SHARED),
        Check(("/usr/sbin/rsyslogd", "-N1"), "rsyslog must accept the rule", candidate=(RSYSLOG,)),
        Notify("rsyslog", "restart", required=True),
    ]
    assert content(actions, ROTATE).startswith(
        "# Made by `sftpjail setup`; changes here are lost.\n/var/log/sftp.log {\n"
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
    assert f'unix-dgram("{SHARED}/log" create-dirs(yes) perm(0666))' in rule and 'file("/var/log/jail.log"' in rule
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
def test_on_setup_without_a_daemon_clears_old_rules_away(tree: Tree, fire: Fire, backend: str) -> None:
    assert fire("logs", "on_setup", tree.host(), Config(logs=Logs(backend))) == [
        Remove(RSYSLOG),
        Remove(SYSLOG_NG),
        Remove(ROTATE),
    ]


def test_on_setup_refuses_a_daemon_that_is_not_here(tree: Tree, fire: Fire) -> None:
    with pytest.raises(SftpJailError, match="backend = syslog-ng, which is not installed") as caught:
        fire("logs", "on_setup", tree.host(), Config(logs=Logs("syslog-ng")))
    assert caught.value.hint == "apt install syslog-ng"
    tree.program("rsyslogd")
    with pytest.raises(SftpJailError, match="/etc/rsyslog.d is missing"):
        fire("logs", "on_setup", tree.host())


def test_on_teardown(tree: Tree, fire: Fire) -> None:
    tree.write(RSYSLOG, "")
    assert fire("logs", "on_teardown", tree.host()) == [
        Remove(RSYSLOG),
        Remove(SYSLOG_NG),
        Remove(ROTATE),
        Remove(f"{SHARED}/log", ours=True),
        Remove(SHARED),
        Notify("rsyslog", "restart"),
    ]


def test_jail_binds_the_folder_of_the_socket_or_the_one_that_survives(tree: Tree, fire: Fire) -> None:
    rsyslog(tree)
    assert fire("logs", "jail_binds", tree.host(), account=ann()) == [], "before setup"
    tree.folder(SHARED)
    assert fire("logs", "jail_binds", tree.host(), account=ann()) == [Bind(SHARED, "/srv/sftp/ann/dev", role="log")]
    assert fire("logs", "jail_binds", tree.host(), NONE, account=ann()) == []
    assert fire("logs", "jail_binds", tree.host(), account=ann(HOME, home="/home/later")) == []
    systemd(tree)
    assert fire("logs", "jail_binds", tree.host(), account=ann()) == [
        Bind(
            "/run/systemd/journal/dev-log",
            "/srv/sftp/ann/dev/log",
            role="log",
            options=(*MOUNT_OPTIONS, "x-systemd.after=systemd-journald-dev-log.socket"),
        )
    ]


def test_on_check_misses_the_socket(tree: Tree, fire: Fire) -> None:
    assert fire("logs", "on_check", tree.host(), NONE, account=ann()) == []
    assert fire("logs", "on_check", tree.host(), account=None) == []
    rsyslog(tree)
    (finding,) = fire("logs", "on_check", tree.host(), account=ann())
    assert "/srv/sftp/ann/dev/log" in finding.what and finding.mend == "sftpjail setup && sftpjail apply"
    tree.write(RSYSLOG, "")
    (finding,) = fire("logs", "on_check", tree.host(), account=ann())
    assert finding.mend == "service rsyslog restart"
    tree.write("/srv/sftp/ann/dev/log", "")
    assert fire("logs", "on_check", tree.host(), account=ann()) == []
