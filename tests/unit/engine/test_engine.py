"""The plan: what is merged, what is left out, in which order, and whom an error belongs to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeHost, Tree

from sftpjail import hookimpl
from sftpjail.actions import (
    Action,
    Check,
    MakeDir,
    Mount,
    Notify,
    Remove,
    Run,
    SetAccount,
    SetGroup,
    SetLines,
    SetOwner,
    Share,
    Unmount,
    WriteFile,
)
from sftpjail.config import Config
from sftpjail.engine.engine import Engine
from sftpjail.engine.manager import BUNDLED, Manager
from sftpjail.engine.merge import Edit
from sftpjail.engine.plan import Event, OnMount, OnSetup, OnUserCreate, OnUserRemove, Plan
from sftpjail.errors import SftpJailError
from sftpjail.formats.tagged_lines import Style
from sftpjail.model import Account, Bind, Problem


class Wants:
    """A plugin that wants what it is told, by account name ("" for on_setup); an error is raised."""

    def __init__(self, *always: Action, **by_name: Any) -> None:
        self.always, self.by_name = list(always), by_name

    @hookimpl
    def on_setup(self) -> list[Action]:
        return self.always

    @hookimpl
    def on_user_create(self, account: Account) -> list[Action]:
        return self._wanted(account.name)

    @hookimpl
    def on_mount(self, account: Account) -> list[Action]:
        return self._wanted(f"{account.name}_mount")

    @hookimpl
    def on_check(self) -> list[Problem]:
        return [Problem("a", "b", "c")]

    def _wanted(self, name: str) -> list[Action]:
        wanted = self.by_name.get(name, self.always)
        if isinstance(wanted, Exception):
            raise wanted
        return wanted


def engine(host: FakeHost, **plugins: Wants) -> Engine:
    manager = Manager(Config(plugins_disable=BUNDLED))
    for name, plugin in plugins.items():
        manager.plugins.register(plugin, name)
    return Engine(Config(), host, manager)


def who(name: str) -> Account:
    return Account(name, 1001, 1001, f"/home/{name}")


def wanted(plan: Plan) -> list[Action]:
    return [step.action for step in plan.steps if step.plugin != "sftpjail"]


def test_what_is_so_already_is_left_out(tree: Tree) -> None:
    tree.directory("/srv/a")
    tree.write("/etc/f", "x\n")
    plan = engine(
        tree.host(), one=Wants(MakeDir("/srv/a"), WriteFile("/etc/f", "x\n"), Notify("sshd"))
    ).plan([OnSetup()])
    assert not plan and plan.steps == []


def test_checks_and_notices_go_with_changes_of_their_own_plugin(tree: Tree) -> None:
    tree.directory("/srv/a")
    still = Wants(MakeDir("/srv/a"), Check(("sshd", "-t"), "x"), Notify("sshd"))
    busy = Wants(MakeDir("/srv/b"), Check(("rsyslogd", "-N1"), "y"), Notify("rsyslog"))
    plan = engine(tree.host(), still=still, busy=busy).plan([OnSetup()])
    assert wanted(plan) == [MakeDir("/srv/b"), Check(("rsyslogd", "-N1"), "y"), Notify("rsyslog")]


def test_scripts_run_only_when_something_changes(tree: Tree) -> None:
    script = Run(("/hook",), "a script")
    tree.directory("/srv/a")
    assert not engine(tree.host(), one=Wants(MakeDir("/srv/a")), two=Wants(script)).plan(
        [OnSetup()]
    )
    assert script in wanted(
        engine(tree.host(), one=Wants(MakeDir("/srv/b")), two=Wants(script)).plan([OnSetup()])
    )
    always = Run(("/hook",), "a script", always=True)
    assert wanted(engine(tree.host(), one=Wants(always)).plan([OnSetup()])) == [always]


def test_the_order_of_a_plan(tree: Tree) -> None:
    tree.write("/srv/gone/inner/file", "x")
    tree.directory("/srv/own", 0o700)
    tree.mounted("/jail/out", "/jail/out/in")
    actions: list[Action] = [
        Notify("sshd"),
        Check(("sshd", "-t"), "x"),
        Run(("/hook",), "x"),
        Remove("/srv/gone", ours=True),
        Remove("/srv/gone/inner", ours=True),
        Remove("/srv/gone/inner/file", ours=True),
        Mount("/src", "/jail/a/b"),
        Mount("/src", "/jail/a"),
        SetGroup("g"),
        WriteFile("/etc/f", "x"),
        SetOwner("/srv/own", 0, 0, 0o755),
        MakeDir("/jail/a/b"),
        MakeDir("/jail/a"),
        Unmount("/src", "/jail/out"),
        Unmount("/src", "/jail/out/in"),
    ]
    plan = wanted(engine(tree.host(), one=Wants(*actions)).plan([OnSetup()]))
    assert [(type(action).__name__, action.key[1]) for action in plan] == [
        ("Unmount", "/jail/out/in"),
        ("Unmount", "/jail/out"),
        ("SetOwner", "/srv/own"),
        ("MakeDir", "/jail/a"),
        ("MakeDir", "/jail/a/b"),
        ("WriteFile", "/etc/f"),
        ("SetGroup", "g"),
        ("Mount", "/jail/a"),
        ("Mount", "/jail/a/b"),
        ("Remove", "/srv/gone/inner/file"),
        ("Remove", "/srv/gone/inner"),
        ("Remove", "/srv/gone"),
        ("Run", "/hook"),
        ("Check", "sshd"),
        ("Notify", "sshd"),
    ]


def test_a_directory_that_keeps_something_is_kept(tree: Tree) -> None:
    tree.write("/srv/gone/ours", "x")
    tree.write("/srv/gone/theirs", "x")
    wants = Wants(Remove("/srv/gone", ours=True), Remove("/srv/gone/ours", ours=True))
    assert wanted(engine(tree.host(), one=wants).plan([OnSetup()])) == [
        Remove("/srv/gone/ours", ours=True)
    ]


def test_what_we_did_not_make_is_not_removed(tree: Tree) -> None:
    tree.write("/srv/theirs", "x")
    tree.write("/srv/ours", "x")
    tree.write("/var/lib/sftpjail/host", '{"made": ["/srv/ours"]}')
    plan = engine(tree.host(), one=Wants(Remove("/srv/theirs"), Remove("/srv/ours"))).plan(
        [OnSetup()]
    )
    assert wanted(plan) == [Remove("/srv/ours")]
    assert [step.action for step in plan.steps if step.plugin == "sftpjail"] == [
        Remove("/var/lib/sftpjail/host", ours=True)
    ]


def test_the_same_wish_of_two_plugins_is_one_step(tree: Tree) -> None:
    plan = engine(tree.host(), one=Wants(MakeDir("/srv/x")), two=Wants(MakeDir("/srv/x"))).plan(
        [OnSetup()]
    )
    assert wanted(plan) == [MakeDir("/srv/x")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MakeDir("/srv/x"), MakeDir("/srv/x", 0o700)),
        (WriteFile("/etc/x", "1"), WriteFile("/etc/x", "2")),
        (WriteFile("/etc/x", "1"), Remove("/etc/login.defs", ours=True)),
        (SetLines("/etc/x", "t", ("1",)), SetLines("/etc/x", "t", ("2",))),
        (SetLines("/etc/x", "t", ("1",)), SetLines("/etc/x", "u", ("1",), Style.LINE)),
        (SetLines("/etc/x", "t", ("1",)), WriteFile("/etc/x", "2")),
        (Mount("/a", "/srv"), Mount("/b", "/srv")),
        (SetAccount("www-data", shell="/bin/a"), SetAccount("www-data", shell="/bin/b")),
    ],
)
def test_plugins_that_contradict_each_other_are_both_named(
    tree: Tree, first: Action, second: Action
) -> None:
    plugins = {"alpha": Wants(first), "omega": Wants(second)}
    if isinstance(second, Remove):
        assert engine(tree.host(), **plugins).plan([OnSetup()])
        return
    with pytest.raises(SftpJailError) as caught:
        engine(tree.host(), **plugins).plan([OnSetup()])
    assert (
        "alpha" in caught.value.message
        and "omega" in caught.value.message
        and second.key[1] in caught.value.message
    )


def test_lines_of_one_file_are_one_replacement(tree: Tree) -> None:
    sets = [
        SetLines(
            "/etc/fstab",
            f"ann /j/{n}",
            (f"/a /j/{n} none bind,x-sftpjail.user=ann 0 0",),
            Style.FSTAB,
        )
        for n in "ab"
    ]
    found = engine(tree.host(), one=Wants(sets[0]), two=Wants(sets[1]))
    (edit,) = wanted(found.plan([OnSetup()]))
    assert isinstance(edit, Edit)
    text = (edit.result(found.host) or b"").decode()
    assert (
        text.startswith("# static file system information\nUUID=1234 / ext4")
        and text.count("x-sftpjail") == 2
    )


def test_a_veto_stops_all(tree: Tree) -> None:
    plugins = {
        "one": Wants(MakeDir("/srv/x")),
        "two": Wants(ann=SftpJailError("no room", "buy a disk")),
    }
    with pytest.raises(SftpJailError, match="no room") as caught:
        engine(tree.host(), **plugins).plan([OnUserCreate(who("ann"), new=True)])
    assert caught.value.fix == "buy a disk"


def test_a_tolerant_plan_leaves_one_account_out(tree: Tree) -> None:
    plugin = Wants(ann=SftpJailError("bad home"), bob=[MakeDir("/jail/bob")])
    plan = engine(tree.host(), one=plugin).plan(
        [OnUserCreate(who(name), new=True) for name in ("ann", "bob")], tolerant=True
    )
    assert wanted(plan) == [MakeDir("/jail/bob")] and set(plan.errors) == {"ann"}


def test_an_account_left_out_takes_nothing_of_others_along(tree: Tree) -> None:
    """Ann's first event is good, her second is not; what bob wants as well must stay in the plan."""
    shared: list[Action] = [MakeDir("/srv/sftp"), Notify("systemd", "daemon-reload")]
    plugin = Wants(
        ann=[*shared, MakeDir("/srv/sftp/ann")],
        ann_mount=SftpJailError("bad source"),
        bob=[*shared, MakeDir("/srv/sftp/bob")],
    )
    events = [
        OnUserCreate(who("ann"), new=True),
        OnMount(who("ann"), Bind("/srv/web", "/srv/sftp/ann/web")),
        OnUserCreate(who("bob"), new=True),
    ]
    plan = engine(tree.host(), one=plugin).plan(events, tolerant=True)
    assert set(plan.errors) == {"ann"}
    assert wanted(plan) == [
        MakeDir("/srv/sftp"),
        MakeDir("/srv/sftp/bob"),
        Notify("systemd", "daemon-reload"),
    ]


def test_who_mounts_below_what_others_share_is_left_out(tree: Tree) -> None:
    tree.directory("/srv/web/site")
    line = "/srv/web/site /srv/sftp/ann/web none bind 0 0"
    plugin = Wants(
        ann=[SetLines("/etc/fstab", "ann /web", (line,), Style.FSTAB)],
        bob=[Share("/srv/web", 4000)],
    )
    events = [OnUserCreate(who(name), new=True) for name in ("ann", "bob")]
    plan = engine(tree.host(), one=plugin).plan(events, tolerant=True)
    assert set(plan.errors) == {"ann"} and wanted(plan) == [Share("/srv/web", 4000)]
    with pytest.raises(SftpJailError, match="the group 4000 is to write in /srv/web"):
        engine(tree.host(), one=plugin).plan(events)


def test_a_host_event_is_never_tolerated(tree: Tree) -> None:
    class Broken(Wants):
        @hookimpl
        def on_setup(self) -> list[Action]:
            raise SftpJailError("no sshd")

    with pytest.raises(SftpJailError, match="no sshd"):
        engine(tree.host(), one=Broken()).plan([OnSetup()], tolerant=True)


def test_the_first_owner_is_remembered_until_it_is_given_back(tree: Tree) -> None:
    tree.directory("/home/ann", 0o700, (1001, 1001))
    there = engine(tree.host(), one=Wants(SetOwner("/home/ann", 0, 0, 0o755))).plan(
        [OnUserCreate(who("ann"), new=True)]
    )
    (record,) = [s.action for s in there.steps if isinstance(s.action, WriteFile)]
    assert '"/home/ann": [\n   1001,\n   1001,\n   448\n  ]' in record.content
    tree.write(record.path, record.content)
    tree.directory("/home/ann", 0o755)
    tree.root.joinpath("home/ann").chmod(0o755)
    tree.owners["/home/ann"] = (0, 0)
    back = engine(tree.host(), one=Wants(SetOwner("/home/ann", 1001, 1001, 0o700))).plan(
        [OnUserCreate(who("ann"), new=True)]
    )
    assert [type(s.action).__name__ for s in back.steps] == ["Remove", "SetOwner"], "given last"


def test_a_record_that_says_anything_says_for_which_uid(tree: Tree) -> None:
    def recorded(event: Event, *actions: Action) -> Action:
        plan = engine(tree.host(), one=Wants(ann=list(actions))).plan([event])
        return next(
            step.action
            for step in plan.steps
            if step.plugin == "sftpjail" and "accounts/" in step.action.key[1]
        )

    first = recorded(OnUserCreate(who("ann"), new=True), MakeDir("/srv/a"))
    assert isinstance(first, WriteFile) and '"uid": 1001' in first.content
    tree.write(first.path, first.content)
    tree.directory("/srv/a")
    # usermod -u, or another account: what was made before was made for the first.
    later = recorded(OnUserCreate(replace(who("ann"), uid=1500), new=True), MakeDir("/srv/b"))
    assert (
        isinstance(later, WriteFile)
        and '"uid": 1001' in later.content
        and "/srv/b" in later.content
    )
    assert isinstance(recorded(OnUserCreate(who("ann"), new=True), Remove("/srv/a")), Remove)
    # What a deleted account left is nobody's.
    tree.write(first.path, '{"made": ["/srv/a", "/srv/c"], "uid": 1001}')
    tree.write("/srv/a/file", "")
    gone = OnUserRemove(replace(who("ann"), uid=-1), deleted=True)
    left = recorded(gone, Remove("/srv/c"))
    assert isinstance(left, WriteFile) and "uid" not in left.content and "/srv/a" in left.content


def test_many_accounts_read_a_shared_file_a_few_times_only(tree: Tree) -> None:
    count = 200
    lines = [f"/a /j/u{n} none bind,x-sftpjail.user=u{n} 0 0" for n in range(count)]
    tree.fstab(*lines)
    wants = {
        f"u{n}": [SetLines("/etc/fstab", f"u{n} /j/u{n}", (lines[n],), Style.FSTAB)]
        for n in range(count)
    }
    host = tree.host()
    plan = engine(host, one=Wants(**wants)).plan(
        [OnUserCreate(who(f"u{n}"), new=True) for n in range(count)]
    )
    assert not plan
    assert host.files.reads.count("/etc/fstab") < 10


def test_problems_and_the_dry_run(tree: Tree) -> None:
    tree.write("/etc/f", "old\n")
    plugin = Wants(
        MakeDir("/srv/x"),
        WriteFile("/etc/f", "new\n"),
        SetAccount("www-data", shell="/bin/sh"),
        Check(("/usr/sbin/sshd", "-t"), "x"),
        Mount("/srv", "/jail"),
        SetGroup("g"),
        Run(("/hook",), "why"),
        Notify("sshd"),
    )
    found = engine(tree.host(), one=plugin)
    assert found.manager.problems(None, found.host) == [Problem("a", "b", "c")]
    plan = found.plan([OnSetup()])
    text = plan.diff(found.host)
    for line in (
        "+ directory /srv/x (owner 0:0, mode 0755)",
        "-old",
        "+new",
        "~ account www-data: shell /usr/sbin/nologin -> /bin/sh",
        "+ mount /srv on /jail (bind,nosuid,nodev,private)",
        "+ group g",
        "! run /hook (why)",
        "? 1 check with sshd, before and after",
        "! reload sshd",
    ):
        assert line in text
    assert not any("/var/lib/sftpjail" in line for line in text)
    assert {"action": "MakeDir", "plugin": "one", "about": ["/srv/x"]} in plan.describe()


def test_an_engine_for_other_facts_works_for_the_same_command(tree: Tree) -> None:
    first = engine(tree.host(), one=Wants())
    first.command = "hook pam-session"
    second = first.on(tree.host())
    second.commits.append(Plan([]))
    assert second.command == "hook pam-session" and len(first.commits) == 1
    assert second.host is not first.host and second.manager is first.manager
