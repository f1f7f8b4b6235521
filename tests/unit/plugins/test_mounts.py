"""mounts: binds, live and in fstab, and what is never shown to a jail."""

from __future__ import annotations

import posixpath
from dataclasses import replace

import pytest
from fakes import Tree
from golden import BIND, HOME, JAIL, WEB, Fire, ann, known

from sftpjail import (
    Bind,
    MakeDir,
    Mount,
    Notify,
    Remove,
    SetLines,
    SetOwner,
    SftpJailError,
    Style,
    Unmount,
    WriteFile,
)
from sftpjail.actions import MOUNT_OPTIONS
from sftpjail.config import Config
from sftpjail.errors.escapes import look_at
from sftpjail.jails.homes import source_problem as forbidden
from sftpjail.openssh.pam_session import SCRIPT
from sftpjail.plugins.mounts.changes import BOOT_UNIT, BOOT_WANTS
from sftpjail.plugins.mounts.policy import _away

RELOAD = Notify("systemd", "daemon-reload")


@pytest.fixture(autouse=True)
def jail(tree: Tree) -> None:
    tree.directory(JAIL)
    tree.directory(WEB.source)


def fstab(source: str, target: str, options: str, extra: str = "") -> SetLines:
    text = f"{source} {target} none {options},nofail,x-sftpjail.user=ann{extra} 0 0"
    return SetLines("/etc/fstab", f"ann {target}", (text,), Style.FSTAB)


def test_on_mount(tree: Tree, fire: Fire) -> None:
    assert fire("mounts", "on_mount", tree.host(), account=ann(), bind=WEB) == [
        MakeDir(f"{JAIL}/web"),
        fstab(WEB.source, WEB.target, "bind,nosuid,nodev,private"),
        Mount(WEB.source, WEB.target, ("bind", "nosuid", "nodev", "private")),
        RELOAD,
    ]


def test_on_mount_takes_no_directory_from_its_owner(tree: Tree, fire: Fire) -> None:
    tree.directory(WEB.target, 0o2770, (1001, 1001))
    with pytest.raises(SftpJailError, match=f"{WEB.target}: it belongs to ann,") as caught:
        fire("mounts", "on_mount", tree.host(), account=ann(), bind=WEB)
    (choice,) = caught.value.choices
    assert choice.command == f"chown 0:0 {WEB.target} && chmod 755 {WEB.target}"
    known(tree, (WEB.source, WEB.target))
    actions = fire("mounts", "on_mount", tree.host(), account=ann(), bind=WEB)
    assert SetOwner(WEB.target, 0, 0, 0o755, remember=False) in actions, "it was root's before"


def test_on_mount_read_only(tree: Tree, fire: Fire) -> None:
    bind = Bind(WEB.source, f"{JAIL}/a/b", read_only=True)
    assert fire("mounts", "on_mount", tree.host(), account=ann(), bind=bind) == [
        MakeDir(f"{JAIL}/a"),
        MakeDir(f"{JAIL}/a/b"),
        fstab(WEB.source, bind.target, "ro,bind,nosuid,nodev,private"),
        Mount(WEB.source, bind.target, ("ro", *MOUNT_OPTIONS)),
        RELOAD,
    ]


def test_on_mount_of_the_home_and_the_log(tree: Tree, fire: Fire) -> None:
    home = Bind("/home/ann", f"{JAIL}/home/ann", role="home")
    actions = fire("mounts", "on_mount", tree.host(), account=ann(), bind=home)
    assert (
        fstab(home.source, home.target, "bind,nosuid,nodev,private", ",x-sftpjail.role=home")
        in actions
    )
    tree.write("/run/systemd/journal/dev-log", "")
    log = Bind(
        "/run/systemd/journal/dev-log",
        f"{JAIL}/dev/log",
        role="log",
        options=(*MOUNT_OPTIONS, "x-systemd.after=x"),
    )
    actions = fire("mounts", "on_mount", tree.host(), account=ann(), bind=log)
    # A socket is bound on a file.
    assert actions[:2] == [MakeDir(f"{JAIL}/dev"), WriteFile(f"{JAIL}/dev/log", "")]
    assert fstab(log.source, log.target, ",".join(log.options), ",x-sftpjail.role=log") in actions


def test_on_mount_with_spaces(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/web/a b")
    bind = Bind("/srv/web/a b", f"{JAIL}/a b")
    (lines,) = [
        a
        for a in fire("mounts", "on_mount", tree.host(), account=ann(), bind=bind)
        if isinstance(a, SetLines)
    ]
    assert lines.lines[0].startswith("/srv/web/a\\040b /srv/sftp/ann/a\\040b none bind")
    assert lines.tag == f"ann {JAIL}/a b"


def test_on_mount_below_a_bind_makes_its_point_in_the_source(tree: Tree, fire: Fire) -> None:
    known(tree, ("/srv/web/example.com", f"{JAIL}/web"))
    tree.directory("/srv/other")
    actions = fire(
        "mounts", "on_mount", tree.host(), account=ann(), bind=Bind("/srv/other", f"{JAIL}/web/x/y")
    )
    assert [a for a in actions if isinstance(a, MakeDir)] == [
        MakeDir("/srv/web/example.com/x"),
        MakeDir("/srv/web/example.com/x/y"),
    ]


def test_on_mount_again_is_not_in_its_own_way(tree: Tree, fire: Fire) -> None:
    known(tree, (WEB.source, WEB.target))
    tree.write(f"{WEB.target}/seen-through-the-mount", "")
    tree.mounted(WEB.target)
    assert fstab(WEB.source, WEB.target, "bind,nosuid,nodev,private") in fire(
        "mounts", "on_mount", tree.host(), account=ann(), bind=WEB
    )


FORBIDDEN = [
    ("/etc", "/etc is /etc"),
    ("/etc/ssh", "/etc/ssh lies in /etc"),
    ("/proc", "is /proc"),
    ("/sys/kernel", "lies in /sys"),
    ("/dev", "is /dev"),
    ("/run", "is /run"),
    ("/root/x", "lies in /root"),
    ("/", "holds /proc"),
    ("/var", "holds /var/lib/sftpjail"),
    ("/var/lib/sftpjail/log", "lies in /var/lib/sftpjail"),
    ("/srv", "holds /srv/sftp"),
    ("/srv/sftp", "is /srv/sftp"),
    ("/srv/sftp/bob", "lies in /srv/sftp"),
    ("/home", "holds the home of"),
    ("/home/bob", "the home of bob"),
    ("/home/bob/public", "belongs to the home of bob"),
]


@pytest.mark.parametrize(("source", "reason"), FORBIDDEN)
def test_on_mount_refuses_what_nobody_in_a_jail_may_see(
    tree: Tree, fire: Fire, source: str, reason: str
) -> None:
    for directory in (
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/root",
        "/boot",
        "/var/lib/sftpjail",
        source,
    ):
        tree.directory(directory)
    with pytest.raises(SftpJailError) as caught:
        fire("mounts", "on_mount", tree.host(), account=ann(), bind=Bind(source, f"{JAIL}/x"))
    assert (
        f"will not show {source} in a jail" in caught.value.message
        and reason in caught.value.message
    )
    offered = f"allow = {source} in [mounts]" in caught.value.advice
    assert offered == source.startswith("/srv/sftp"), (
        "never /, nor what the system needs, nor a home"
    )


def test_on_mount_shows_what_the_configuration_names(tree: Tree, fire: Fire) -> None:
    source = "/etc/ssh"
    tree.directory(source)
    config = Config(allow_sources=(source,))
    assert fire(
        "mounts", "on_mount", tree.host(), config, account=ann(), bind=Bind(source, f"{JAIL}/x")
    )
    with pytest.raises(SftpJailError):
        fire(
            "mounts", "on_mount", tree.host(), config, account=ann(), bind=Bind("/etc", f"{JAIL}/x")
        )


def test_on_mount_judges_where_a_link_leads(tree: Tree, fire: Fire) -> None:
    tree.link("/srv/innocent", "/etc/ssh")
    with pytest.raises(SftpJailError, match="/etc/ssh lies in /etc"):
        fire(
            "mounts",
            "on_mount",
            tree.host(),
            account=ann(),
            bind=Bind("/srv/innocent", f"{JAIL}/x"),
        )


def test_on_mount_refuses_a_source_that_somebody_could_exchange(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/team", 0o777)
    tree.directory("/srv/team/web")
    with pytest.raises(SftpJailError, match="/srv/team can be written by others.*put a link"):
        fire(
            "mounts",
            "on_mount",
            tree.host(),
            account=ann(),
            bind=Bind("/srv/team/web", f"{JAIL}/x"),
        )


def test_sessions_alone_may_show_what_others_could_exchange(tree: Tree, fire: Fire) -> None:
    """A session judges it at each login; nobody judges what a boot mounts."""
    source = "/home/bob/public"
    tree.directory(source)
    config, bind = Config(allow_sources=(source,)), Bind(source, f"{JAIL}/x")
    with pytest.raises(SftpJailError, match="/home/bob belongs to uid 1002.*put a link"):
        fire("mounts", "on_mount", tree.host(), config, account=ann(), bind=bind)
    account = replace(ann(), profile=replace(BIND, mounts="session"))
    (lines,) = [
        action
        for action in fire("mounts", "on_mount", tree.host(), config, account=account, bind=bind)
        if isinstance(action, SetLines) and action.path == "/etc/sftpjail/mounts/ann"
    ]
    assert ",private,x-sftpjail.allow,x-sftpjail.user=ann " in lines.lines[0]


def test_on_mount_of_a_source_that_somebody_can_exchange_by_now(tree: Tree, fire: Fire) -> None:
    known(tree, (WEB.source, WEB.target))
    tree.directory("/srv/web", 0o777)
    with pytest.raises(SftpJailError, match="/srv/web can be written by others") as caught:
        fire("mounts", "on_mount", tree.host(), account=ann(), bind=WEB)
    assert caught.value.fix == "sftpjail umount ann /web"


def test_on_setup_has_what_is_mounted_at_boot_judged(tree: Tree, fire: Fire) -> None:
    assert [type(a).__name__ for a in fire("mounts", "on_setup", tree.host())] == ["Remove"] * 3
    tree.program("systemctl")
    written = {
        a.path: a.content
        for a in fire("mounts", "on_setup", tree.host())
        if isinstance(a, WriteFile)
    }
    unit, drop_in = written
    assert (
        f"ExecStart={SCRIPT} boot\n" in written[unit]
        and posixpath.basename(unit) in written[drop_in]
    )
    assert "Before=systemd-user-sessions.service" in written[unit], "before anybody may log in"
    config = Config(profiles=(replace(BIND, mounts="session"),))
    assert not [
        a for a in fire("mounts", "on_setup", tree.host(), config) if isinstance(a, WriteFile)
    ]
    tree.link(unit, "/dev/null")
    assert fire("mounts", "on_setup", tree.host()) == [], "an administrator has masked it"


def test_on_teardown_takes_the_judge_along(tree: Tree, fire: Fire) -> None:
    removed = [a.path for a in fire("mounts", "on_teardown", tree.host()) if isinstance(a, Remove)]
    wants = [BOOT_WANTS, posixpath.dirname(BOOT_WANTS)]
    assert removed == [*wants, BOOT_UNIT]
    tree.write("/dev/null", "")
    tree.link(BOOT_UNIT, "/dev/null")  # masked, which is its administrator's
    removed = [a.path for a in fire("mounts", "on_teardown", tree.host()) if isinstance(a, Remove)]
    assert removed == wants


def test_on_setup_needs_a_kernel_that_mounts_by_descriptor(tree: Tree, fire: Fire) -> None:
    host = tree.host()
    host.mount_tables.mounts_missing = "open_tree: Function not implemented"
    with pytest.raises(SftpJailError, match="open_tree: Function not implemented.*Linux 5.12"):
        fire("mounts", "on_setup", host)


def test_on_mount_of_ones_own_home_is_fine(tree: Tree, fire: Fire) -> None:
    home = Bind("/home/ann", f"{JAIL}/home/ann", role="home")
    assert fire("mounts", "on_mount", tree.host(), account=ann(), bind=home)


def test_on_mount_refuses_a_missing_source(tree: Tree, fire: Fire) -> None:
    with pytest.raises(SftpJailError, match="/srv/none is not a directory") as caught:
        fire("mounts", "on_mount", tree.host(), account=ann(), bind=Bind("/srv/none", f"{JAIL}/x"))
    assert caught.value.fix == "mkdir /srv/none"
    known(tree, ("/srv/none", f"{JAIL}/x"))
    with pytest.raises(
        SftpJailError, match="/srv/none, which ann sees as .*, is missing"
    ) as caught:
        fire("mounts", "on_mount", tree.host(), account=ann(), bind=Bind("/srv/none", f"{JAIL}/x"))
    assert caught.value.fix == "", "it may only be away"
    assert [choice.command for choice in caught.value.choices] == ["sftpjail umount ann /x"]


@pytest.mark.parametrize(
    "target", [JAIL, "/srv/sftp/annex/x", "/srv/sftp/bob/x", "/srv/sftp/ann/../bob", "/etc"]
)
def test_on_mount_refuses_a_target_outside_the_jail(tree: Tree, fire: Fire, target: str) -> None:
    with pytest.raises(SftpJailError, match="is not inside the jail /srv/sftp/ann of ann"):
        fire("mounts", "on_mount", tree.host(), account=ann(), bind=Bind(WEB.source, target))


def test_on_mount_refuses_what_is_in_the_way(tree: Tree, fire: Fire) -> None:
    def refused(target: str, words: str) -> str:
        with pytest.raises(SftpJailError, match=words) as caught:
            fire(
                "mounts",
                "on_mount",
                tree.host(),
                account=ann(),
                bind=Bind(WEB.source, f"{JAIL}/{target}"),
            )
        return caught.value.fix or caught.value.advice

    tree.write(f"{JAIL}/full/file", "")
    refused("full", "not an empty directory")
    tree.write(f"{JAIL}/file", "")
    refused("file", "not an empty directory")
    tree.directory(f"{JAIL}/mounted")
    tree.mounted(f"{JAIL}/mounted")
    assert refused("mounted", "something is mounted") == look_at(f"findmnt {JAIL}/mounted")
    known(tree, ("/srv/web", f"{JAIL}/known"), ("/srv/web", f"{JAIL}/outer/inner"))
    assert refused("known", "already shows /srv/web") == "sftpjail umount ann /known"
    assert (
        refused("outer", "would hide /srv/sftp/ann/outer/inner")
        == "sftpjail umount ann /outer/inner"
    )


def test_on_mount_refuses_a_point_that_a_user_could_exchange(tree: Tree, fire: Fire) -> None:
    known(tree, ("/home/ann", f"{JAIL}/home/ann"))
    with pytest.raises(SftpJailError, match="no place for a mount: /home/ann belongs to uid 1001"):
        fire(
            "mounts",
            "on_mount",
            tree.host(),
            account=ann(),
            bind=Bind(WEB.source, f"{JAIL}/home/ann/web"),
        )


def test_on_mount_into_a_jail_that_is_the_home(tree: Tree, fire: Fire) -> None:
    bind = Bind(WEB.source, "/home/ann/web")
    # Before the plan that gives the home to root, and after it.
    for owner in ((1001, 1001), (0, 0)):
        tree.owners["/home/ann"] = owner
        assert Mount(WEB.source, "/home/ann/web") in fire(
            "mounts", "on_mount", tree.host(), account=ann(HOME), bind=bind
        )
    tree.directory("/home/ann/files", 0o755, (1001, 1001))
    with pytest.raises(SftpJailError, match="/home/ann/files belongs to uid 1001"):
        fire(
            "mounts",
            "on_mount",
            tree.host(),
            account=ann(HOME),
            bind=Bind(WEB.source, "/home/ann/files/web"),
        )


def test_on_mount_never_follows_a_link_at_the_mount_point(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/empty")
    tree.link(f"{JAIL}/web", "/srv/empty")
    with pytest.raises(SftpJailError, match="symbolic link"):
        fire("mounts", "on_mount", tree.host(), account=ann(), bind=WEB)


def test_on_unmount(tree: Tree, fire: Fire) -> None:
    tree.write("/var/lib/sftpjail/accounts/ann", f'{{"made": ["{JAIL}/a", "{JAIL}/a/b"]}}')
    bind = Bind(WEB.source, f"{JAIL}/a/b", options=("bind", "nosuid"))
    known(tree, (WEB.source, bind.target))
    assert fire("mounts", "on_unmount", tree.host(), account=ann(), bind=bind, live_only=False) == [
        Unmount(WEB.source, bind.target, ("bind", "nosuid")),
        SetLines("/etc/fstab", f"ann {bind.target}", (), Style.FSTAB),
        Remove(bind.target, directory=True),
        Remove(f"{JAIL}/a", directory=True),
        RELOAD,
    ]
    assert fire("mounts", "on_unmount", tree.host(), account=ann(), bind=bind, live_only=True) == [
        Unmount(WEB.source, bind.target, ("bind", "nosuid"))
    ]


def test_on_unmount_below_a_bind_removes_the_sources_directory(tree: Tree, fire: Fire) -> None:
    known(tree, (WEB.source, WEB.target), ("/srv/x", f"{WEB.target}/x"))
    actions = fire(
        "mounts",
        "on_unmount",
        tree.host(),
        account=ann(),
        bind=Bind("/srv/x", f"{WEB.target}/x"),
        live_only=False,
    )
    assert Remove(f"{WEB.source}/x", directory=True) in actions


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("/home/team/ann", "is or holds the home of eve"),
        ("/home/team/ann/web", ""),
        ("/home/team/ann/eve", "is or holds the home of eve"),
        ("/home/team/ann/eve/in", "belongs to the home of eve"),
        ("/home/team/other", "belongs to the home of team"),
        ("/home/team", "holds the home of ann"),
        ("/home/twin/web", ""),
        ("/home/sys/web", ""),
    ],
)
def test_homes_within_homes(tree: Tree, source: str, refused: str) -> None:
    """Ann's lies in team's, and eve's in hers; twin has her uid, and sys is a system account."""
    for name, uid, home in (
        ("team", 1010, "/home/team"),
        ("eve", 1011, "/home/team/ann/eve"),
        ("twin", 1001, "/home/twin"),
        ("sys", 99, "/home/sys"),
    ):
        tree.account(name, uid, gid=4000, home=home)
        tree.owners[home] = (0, 0)
    tree.directory(source)
    account = replace(ann(), home="/home/team/ann")
    assert refused in forbidden(account, source, "mount", tree.host(), Config())
    assert (forbidden(account, source, "mount", tree.host(), Config()) == "") == (refused == "")


@pytest.mark.parametrize(
    ("role", "hint"),
    [("mount", "sftpjail umount ann '/my web'"), ("home", "choose another directory")],
)
def test_what_every_jail_has_is_not_taken_away(role: str, hint: str) -> None:
    assert _away(ann(), Bind("/src", f"{JAIL}/my web", role=role)) == hint


def test_on_user_rename_gives_lines_and_mounts_the_new_name(tree: Tree, fire: Fire) -> None:
    end = "none bind,nosuid,nofail,x-sftpjail.user=joe 0 0"
    tree.fstab(f"{WEB.source} /srv/sftp/joe/web {end}", f"/srv/far /mnt/far {end}")
    tree.mounted(("/srv/sftp/joe/web", "rw,nosuid"))
    tree.directory("/srv/sftp/joe/web")
    tree.shown["/srv/sftp/joe/web"] = WEB.source
    renamed = fire("mounts", "on_user_rename", tree.host(), account=ann(), old="joe")
    assert renamed == [
        SetLines("/etc/fstab", "joe /srv/sftp/joe/web", (), Style.FSTAB),
        fstab(WEB.source, WEB.target, "bind,nosuid"),
        Unmount(WEB.source, "/srv/sftp/joe/web", ("bind", "nosuid")),
        Mount(WEB.source, WEB.target, ("bind", "nosuid")),
        SetLines("/etc/fstab", "joe /mnt/far", (), Style.FSTAB),
        fstab("/srv/far", "/mnt/far", "bind,nosuid"),
        RELOAD,
    ]
    assert fire("mounts", "on_user_rename", tree.host(), account=ann(), old="ann") == []
