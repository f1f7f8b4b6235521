"""mounts, `mount --group`: which directory a group gets, and when it is given back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import Tree
from fakesshd import Sshd
from golden import JAIL, Fire, ann

from sftpjail import Bind, Problem, SetLines, SftpJailError, Style
from sftpjail.actions import MOUNT_OPTIONS, Share, Unshare
from sftpjail.config import Config
from sftpjail.engine.merge import merged, without_shared
from sftpjail.engine.plan import Step
from sftpjail.formats import acl
from sftpjail.host.files import Files
from sftpjail.model import group_option

SOURCE = "/srv/site"
SITE = Bind(SOURCE, f"{JAIL}/web", options=(*MOUNT_OPTIONS, group_option(900)))
FORMER = acl.Access(33, 0o750)
SHARED = group_option(900, acl.written(FORMER))
ANN = f"{SOURCE} {JAIL}/web none bind,{SHARED},x-sftpjail.user=ann"
BOB = f"{SOURCE} /srv/sftp/bob/web none bind,{SHARED},x-sftpjail.user=bob"


@pytest.fixture(autouse=True)
def host(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.directory(JAIL)
    tree.directory(SOURCE, 0o750, (33, 33))
    tree.group("editors", 900, "ann,bob")
    tree.group("shadow", 42)
    tree.group("others", 901, "ann")
    monkeypatch.setattr(Files, "has_access_lists", lambda *_: True)


def on_mount(tree: Tree, fire: Fire, bind: Bind = SITE) -> list[object]:
    return fire("mounts", "on_mount", tree.host(), Config(), account=ann(), bind=bind)


def lines(actions: list[object]) -> list[str]:
    return [line for a in actions if isinstance(a, SetLines) for line in a.lines]


def test_on_mount_shares_and_remembers_what_was(tree: Tree, fire: Fire) -> None:
    actions = on_mount(tree, fire)
    assert Share(SOURCE, 900) in actions
    assert lines(actions) == [
        f"{SOURCE} {JAIL}/web none bind,nosuid,nodev,private,{SHARED},nofail,x-sftpjail.user=ann 0 0"
    ]


def test_a_second_mount_remembers_what_the_first_found(tree: Tree, fire: Fire) -> None:
    tree.fstab(f"{BOB} 0 0")
    tree.directory(SOURCE, 0o2770, (33, 900))
    assert SHARED in lines(on_mount(tree, fire))[0]


def test_a_line_that_lost_what_was_gets_what_is(tree: Tree, fire: Fire) -> None:
    tree.fstab(f"{ANN.replace(SHARED, group_option(900))} 0 0")
    assert SHARED in lines(on_mount(tree, fire))[0]


def test_on_unmount_restores_with_the_last_one(tree: Tree, fire: Fire) -> None:
    tree.fstab(f"{ANN} 0 0", f"{BOB} 0 0")
    host = tree.host()
    plans = [
        [Step(action, "mounts", name) for action in actions]
        for name in ("ann", "bob")
        for bind in host.binds(name)
        for actions in [
            fire(
                "mounts", "on_unmount", host,
                account=replace(ann(), name=name), bind=bind, live_only=False,
            )
        ]
    ]  # fmt: skip
    (both,) = {a.action for steps in plans for a in steps if isinstance(a.action, Unshare)}
    tables = (("/etc/fstab", f"ann {JAIL}/web"), ("/etc/fstab", "bob /srv/sftp/bob/web"))
    assert both == Unshare(SOURCE, 900, FORMER, tables)

    def restores(*steps: Step) -> bool:
        kept = without_shared(merged(steps), host)
        return any(isinstance(step.action, Unshare) for step in kept)

    assert restores(*plans[0], *plans[1])
    assert not restores(*plans[0]), "bob's mount shares it still"
    line = SetLines("/etc/fstab", "ann /x", (f"{ANN} 0 0",), Style.FSTAB)
    assert not restores(*plans[0], *plans[1], Step(line, "mounts", "ann")), "another comes"


def test_the_same_mount_without_a_group_restores(tree: Tree, fire: Fire) -> None:
    tree.fstab(f"{ANN} 0 0")
    actions = on_mount(tree, fire, replace(SITE, options=()))
    assert "group" not in lines(actions)[0]
    assert [a for a in actions if isinstance(a, Share | Unshare)] == [
        Unshare(SOURCE, 900, FORMER, (("/etc/fstab", f"ann {JAIL}/web"),))
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (group_option(0), "root's group is never given to anybody else"),
        (group_option(65534), "is the group of nobody"),
        (group_option(42), "who is in the group shadow has the host"),
        (group_option(33), "ann is not in the group www-data"),
        ("other", "by a mount of bob the group editors does"),
        ("sticky", "it is sticky, for everybody's files"),
        ("lists", "its file system has no access lists"),
        ("system", "a directory of the system"),
        ("home", "git has its home there"),
        ("around", "/srv/site/deep lies in it, which bob sees as /srv/sftp/bob/web"),
    ],
)
def test_what_no_group_gets(
    change: str, words: str, tree: Tree, fire: Fire, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = SITE
    if change == "other":
        tree.fstab(f"{BOB} 0 0")
        bind = replace(SITE, options=(group_option(901),))
    elif change == "sticky":
        tree.directory(SOURCE, 0o1777)
    elif change == "lists":
        monkeypatch.setattr(Files, "has_access_lists", lambda *_: False)
    elif change == "home":
        tree.people.append(f"git:x:900:900::{SOURCE}:/bin/sh")
        tree.directory(f"{SOURCE}/.ssh")
    elif change == "around":
        tree.directory(f"{SOURCE}/deep")
        tree.fstab(f"{SOURCE}/deep /srv/sftp/bob/web none bind,x-sftpjail.user=bob 0 0")
    elif change == "system":
        tree.directory("/usr/share/doc")
        bind = replace(SITE, source="/usr/share/doc")
    else:
        bind = replace(SITE, options=(change,))
    with pytest.raises(SftpJailError, match=words):
        on_mount(tree, fire, bind)


@pytest.mark.parametrize(
    ("mode", "members", "what"),
    [
        (0o2750, "ann", "the group editors has lost its rights in /srv/site"),
        (0o2770, "bob", "ann is not in the group editors"),
        (0o2770, "ann", ""),
    ],
)
def test_check_looks_for_the_group(
    mode: int, members: str, what: str, tree: Tree, fire: Fire, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.fstab(f"{ANN} 0 0")
    tree.directory(SOURCE, mode, (33, 900))
    tree.group_lines = [line for line in tree.group_lines if not line.startswith("editors:")]
    tree.group("editors", 900, members)
    default = acl.shared(acl.Access(900, 0o2770), 900).default
    monkeypatch.setattr(
        Files, "_attribute", lambda _, __, name: default if name == acl.DEFAULT else b""
    )
    found: list[Problem] = fire("mounts", "on_check", tree.host(), Config(), account=ann())
    said = [problem.what for problem in found if "group" in problem.what]
    assert said == [what] * bool(what)


def test_an_sshd_that_does_not_answer_may_have_a_chroot_there(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    sshd.broken = "/etc/ssh/sshd_config line 3: Bad configuration option: x"
    with pytest.raises(SftpJailError, match="whether /srv/site is or holds a chroot .* line 3"):
        on_mount(tree, fire)
