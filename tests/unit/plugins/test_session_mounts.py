"""mounts with `mounts = session`: a table for each account, and what becomes of what was in fstab."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import Tree
from golden import BIND, Fire, ann

from sftpjail import Bind, Fact, MakeDir, Mount, Notify, Remove, SetLines, Style, Unmount
from sftpjail.actions import MOUNT_OPTIONS
from sftpjail.host.mounts import MountTables

JAIL, TABLE = "/srv/sftp/ann", "/etc/sftpjail/mounts/ann"
WEB = Bind("/srv/web", f"{JAIL}/web")
SESSION = replace(BIND, mounts="session")
LINE = f"/srv/web {JAIL}/web none bind,nosuid,nodev,private,x-sftpjail.user=ann 0 0"
FSTAB = LINE.replace("private,", "private,nofail,")


@pytest.fixture(autouse=True)
def jail(tree: Tree) -> None:
    tree.directory(JAIL)
    tree.directory(WEB.source)


def table(*lines: str) -> SetLines:
    return SetLines(TABLE, f"ann {JAIL}/web", lines, Style.FSTAB, own=True)


def test_on_mount_writes_a_table_and_mounts_nothing(tree: Tree, fire: Fire) -> None:
    actions = fire("mounts", "on_mount", tree.host(), account=ann(SESSION), bind=WEB)
    assert actions[:2] == [MakeDir(f"{JAIL}/web"), table(LINE)]
    assert not any(isinstance(action, Mount | Unmount) for action in actions)
    assert not any(action.pending(tree.host(), "ann") for action in actions[2:-1]), (
        "nothing is in fstab"
    )
    (read_only,) = [
        a.lines[0]
        for a in fire(
            "mounts",
            "on_mount",
            tree.host(),
            account=ann(SESSION),
            bind=replace(WEB, read_only=True),
        )
        if isinstance(a, SetLines) and a.lines
    ]
    assert " ro,bind,nosuid,nodev,private,x" in read_only and "nofail" not in read_only, (
        "what is missing must be told"
    )


def test_what_was_in_fstab_moves(tree: Tree, fire: Fire, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.fstab(FSTAB)
    tree.directory(f"{JAIL}/web")
    tree.mounted(f"{JAIL}/web")
    tree.shown[f"{JAIL}/web"] = "/srv/web"
    host = tree.host()
    (bind,) = host.binds("ann")
    assert (bind.kept, bind.options[-1]) == ("fstab", "nofail")
    actions = fire("mounts", "on_mount", host, account=ann(SESSION), bind=bind)
    assert table(LINE) in actions
    assert SetLines("/etc/fstab", f"ann {JAIL}/web", (), Style.FSTAB) in actions
    assert Unmount("/srv/web", f"{JAIL}/web", bind.options) in actions
    monkeypatch.setattr(MountTables, "is_busy", lambda self, directory: directory == JAIL)
    actions = fire("mounts", "on_mount", host, account=ann(SESSION), bind=bind)
    assert not any(isinstance(action, Unmount) for action in actions), (
        "a session that has it keeps it"
    )
    assert SetLines("/etc/fstab", f"ann {JAIL}/web", (), Style.FSTAB) in actions


def test_and_back(tree: Tree, fire: Fire) -> None:
    tree.write(TABLE, f"{LINE}\n")
    tree.directory(f"{JAIL}/web")
    (bind,) = tree.host().binds("ann")
    assert bind.kept == "session"
    assert fire("mounts", "on_mount", tree.host(), account=ann(), bind=bind) == [
        SetLines("/etc/fstab", f"ann {JAIL}/web", (FSTAB,), Style.FSTAB),
        Mount("/srv/web", f"{JAIL}/web", MOUNT_OPTIONS),
        Notify("systemd", "daemon-reload"),
        table(),
    ]


def test_on_unmount(tree: Tree, fire: Fire) -> None:
    tree.write(TABLE, f"{LINE}\n")
    tree.directory(f"{JAIL}/web")
    (bind,) = tree.host().binds("ann")
    ask = {"account": ann(SESSION), "bind": bind}
    assert fire("mounts", "on_unmount", tree.host(), live_only=True, **ask) == []
    actions = fire("mounts", "on_unmount", tree.host(), live_only=False, **ask)
    assert actions == [table(), Remove(f"{JAIL}/web", directory=True)]
    tree.mounted(f"{JAIL}/web")
    tree.shown[f"{JAIL}/web"] = "/srv/web"
    (unmount,) = fire("mounts", "on_unmount", tree.host(), live_only=True, **ask)
    assert isinstance(unmount, Unmount), (
        "left from when it was in fstab: userdel must not delete through it"
    )


HEAD = "# x-sftpjail.user=ann"


def begun(name: str, *lines: str) -> SetLines:
    return SetLines(f"/etc/sftpjail/mounts/{name}", name, lines, Style.FSTAB, own=True)


def test_on_user_create_begins_a_table_without_mounts(tree: Tree, fire: Fire) -> None:
    (action,) = fire("mounts", "on_user_create", tree.host(), account=ann(SESSION), new=True)
    assert action == begun("ann", HEAD) and action.pending(tree.host(), "ann")
    tree.write(TABLE, f"{HEAD}\n{LINE}\n")
    assert not action.pending(tree.host(), "ann")
    assert [bind.target for bind in tree.host().binds("ann")] == [f"{JAIL}/web"]
    other = fire("mounts", "on_user_create", tree.host(), account=ann(), new=False)
    assert other == [begun("ann")], "its mounts are in fstab now"


def test_on_user_create_with_mounts_in_fstab_has_no_table(tree: Tree, fire: Fire) -> None:
    assert fire("mounts", "on_user_create", tree.host(), account=ann(), new=True) == []


def test_on_user_remove_ends_a_table(tree: Tree, fire: Fire) -> None:
    ask = {"account": ann(SESSION)}
    assert fire("mounts", "on_user_remove", tree.host(), deleted=False, **ask) == []
    tree.write(TABLE, f"{HEAD}\n")
    assert fire("mounts", "on_user_remove", tree.host(), deleted=False, **ask) == [begun("ann")]
    assert fire("mounts", "on_user_remove", tree.host(), deleted=True, **ask) == [], (
        "userdel may still refuse"
    )


def test_on_user_rename_gives_the_table_the_new_name(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/sftpjail/mounts/old", "# x-sftpjail.user=old\n")
    actions = fire("mounts", "on_user_rename", tree.host(), account=ann(SESSION), old="old")
    assert actions == [begun("old"), begun("ann", HEAD)]


def test_a_table_is_read_once_and_a_hidden_file_is_nobodys(tree: Tree) -> None:
    tree.write(TABLE, f"{LINE}\n# comment\n\nbroken\n")
    tree.write("/etc/sftpjail/mounts/.ann.sftpjail-old~", f"{LINE}\n")
    host = tree.host()
    assert host.mount_tables.bind_users == ("ann",) and len(host.binds("ann")) == 1 == len(
        host.binds("ann")
    )
    assert host.files.reads.count(TABLE) == 1 and host.binds("bob") == ()


def test_what_a_session_finds_behind_a_path(tree: Tree) -> None:
    inner = LINE.replace("/srv/web ", "/srv/media ").replace("/web none", "/web/media none")
    tree.write(TABLE, f"{LINE}\n{inner}\n")
    tree.fstab(FSTAB.replace("/web none", "/docs none"))
    host = tree.host()
    assert host.mount_tables.behind("ann", f"{JAIL}/web/media/x") == "/srv/media/x"
    assert host.mount_tables.behind("ann", f"{JAIL}/web/mediation") == "/srv/web/mediation"
    assert host.mount_tables.behind("ann", f"{JAIL}/docs/x") == f"{JAIL}/docs/x", "that is live"
    assert (
        host.mount_tables.behind("ann", JAIL) == JAIL
        and host.mount_tables.behind("bob", f"{JAIL}/web") == f"{JAIL}/web"
    )


def test_on_check_and_on_explain(tree: Tree, fire: Fire) -> None:
    tree.write(TABLE, f"{LINE}\n")
    tree.directory(f"{JAIL}/web")
    account = ann(SESSION)
    assert fire("mounts", "on_check", tree.host(), account=account) == []
    fact = Fact("mounts", "/web", "/srv/web", "rw,nosuid,nodev, for each session; ann can read")
    assert fire("mounts", "on_explain", tree.host(), account=account) == [fact]
    tree.write(TABLE, f"{LINE.replace('/srv/web ', '/srv/gone ')}\n")
    (problem,) = fire("mounts", "on_check", tree.host(), account=account)
    assert "/srv/gone" in problem.what
    assert [choice.command for choice in problem.choices] == ["sftpjail umount ann /web"]
