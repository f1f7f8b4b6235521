"""A rollback finds a host that went on without it: what is gone is done, what is in use stays, the rest is put back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeHost, Programs
from world import World, WorldFiles

from sftpjail.actions import (
    Action,
    DeleteAccount,
    DeleteAccounts,
    Mount,
    SetAccount,
    SetGroup,
    SetOwner,
    SetPasswords,
)
from sftpjail.engine.journal import Journal
from sftpjail.engine.kinds import OF_ACCOUNTS, kind_of
from sftpjail.errors import RollbackIncomplete, SftpJailError
from sftpjail.formats.tagged_lines import Style
from sftpjail.system import account_lines, accounts, files, shadow_leftovers
from sftpjail.system.programs import Answer


@pytest.fixture
def world(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with a directory that the interrupted run made first, so that it goes last."""
    world = World(tmp_path, programs, monkeypatch)
    (world.root / "made").mkdir()
    world.groups["newgroup"] = (4100, [])
    world._play()
    return world


def interrupted(world: World, *undos: object) -> Journal:
    """Return the journal of the run after one that left these undos."""
    world.state.mkdir(parents=True, exist_ok=True)
    lines = [{"op": "made-dir", "path": world.path("made")}, *undos]
    (world.state / "journal").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Journal(str(world.state))


def put_back(world: World) -> bool:
    """Return whether the rollback came to its end."""
    return not (world.root / "made").exists() and not (world.state / "journal").exists()


def account(name: str, **more: object) -> dict[str, Any]:
    argv = ["usermod", "--shell", "/bin/sh", name]
    return {"op": "account", "name": name, "usermod": argv, "joined": [], "left": []} | more


def test_an_account_that_is_gone_has_nothing_to_get_back(world: World, programs: Programs) -> None:
    world.groups["oldgroup"][1].append("gone")
    world._play()
    gone = Answer(3, "", "user 'gone' does not exist")
    programs.plans.insert(0, (lambda argv, _: "gone" in argv and argv[1] != "--delete", gone))
    journal = interrupted(
        world, account("gone", joined=["oldgroup", "nogroup"], left=["worldling", "nogroup"])
    )
    assert journal.recover() and put_back(world) and world.groups["oldgroup"][1] == ["worldling"]
    assert [argv[0] for argv in programs.asked] == ["usermod", "gpasswd", "gpasswd"], (
        "and none of nogroup"
    )
    said = "gone is left as it is: user 'gone' does not exist"
    assert journal.notices == [f"{said}; {said}"]
    assert interrupted(world, account("worldling", left=["nogroup"])).recover()
    assert world.people["worldling"]["--shell"] == "/bin/sh"


def test_each_change_of_accounts_may_leave_something(world: World) -> None:
    passwords = record(world, SetPasswords((("worldling", "$6$new"),)))
    ops = {passwords["op"], record(world, SET)["op"], record(world, SetGroup("newgroup"))["op"]}
    assert (
        ops | {"added-account", "added-accounts", "deleted-account", "deleted-accounts"}
        <= OF_ACCOUNTS
    )
    assert OF_ACCOUNTS.isdisjoint({"file", "mount", "run", "owner"})


@pytest.mark.parametrize("first", [{"boot": "b", "leftovers": ["group.lock"]}, {}])
def test_what_dead_programs_left_goes_before_the_undos(
    world: World,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, Any],
) -> None:
    """They run programs that would wait for its locks; a journal of an earlier version says none."""
    cleared: list[object] = []
    monkeypatch.setattr(
        shadow_leftovers, "clear", lambda *now: cleared.append((*now, len(programs.asked)))
    )
    world.people["worldling"]["--shell"] = "/usr/sbin/nologin"
    world._play()
    named = {"id": 1, "token": "t"} | first
    assert interrupted(world, account("worldling"), named).recover() and put_back(world)
    assert cleared == ([(["group.lock"], "b", 0)] if first else [])
    assert world.people["worldling"]["--shell"] == "/bin/sh"
    assert interrupted(world, named).recover() and len(cleared) == len(first) / 2


def test_what_was_mounted_from_a_directory_that_is_gone(world: World) -> None:
    """As when userdel went on, and has deleted the home."""
    (world.root / "jail").mkdir()
    target, there = world.path("jail"), world.path("home")
    undo = {"op": "unmount", "path": target, "source": there, "options": ["nosuid"]}
    journal = interrupted(world, undo)
    assert journal.recover() and put_back(world) and world.mounts == {}
    assert journal.notices == [f"nothing is mounted on {target} any more: {there} is gone"]
    (world.root / "home").mkdir()
    assert interrupted(world, undo).recover()
    assert world.mounts == {target: (there, ("nosuid",))}


@pytest.mark.parametrize("members", [["worldling"], []])
def test_a_group_that_somebody_is_in_stays(
    world: World, programs: Programs, members: list[str]
) -> None:
    world.groups["newgroup"] = (4100, members)
    world._play()
    programs.plans.insert(
        0, (lambda argv, _: argv[0] == "groupdel", Answer(8, "", "cannot remove the primary group"))
    )
    journal = interrupted(world, {"op": "group", "name": "newgroup", "gid": None})
    assert journal.recover() and put_back(world)
    assert (
        journal.notices == ["the group newgroup stays: somebody is in it by now"]
        and "newgroup" in world.groups
    )


def test_a_group_that_nobody_is_in_goes(world: World) -> None:
    journal = interrupted(world, {"op": "group", "name": "newgroup", "gid": None})
    assert (
        journal.recover()
        and put_back(world)
        and "newgroup" not in world.groups
        and journal.notices == []
    )
    assert interrupted(world, {"op": "group", "name": "newgroup", "gid": None}).recover(), (
        "somebody has deleted it"
    )


def test_a_group_that_went_is_back_in_its_place(world: World) -> None:
    """Also by the record of an earlier version, which has its number alone: at the end."""
    group = world.played / "etc/group"
    group.write_text("root:x:0:\nnewgroup:x:4100:\nusers:x:100:\n")
    before = group.read_text()
    undo = kind_of(SetGroup("newgroup", present=False)).record(
        SetGroup("newgroup", present=False), FakeHost()
    )
    group.write_text("root:x:0:\nusers:x:100:\n")
    assert interrupted(world, undo).recover() and put_back(world)
    assert group.read_text() == before
    group.write_text("root:x:0:\nusers:x:100:\n")
    (world.root / "made").mkdir()
    del world.groups["newgroup"]
    assert interrupted(world, {"op": "group", "name": "newgroup", "gid": 4100}).recover()
    assert world.groups["newgroup"] == (4100, [])


def test_a_group_whose_name_is_taken_stays_away(world: World) -> None:
    action = SetGroup("newgroup", present=False)
    undo = kind_of(action).record(action, FakeHost())
    (world.played / "etc/group").write_text("newgroup:x:7:\n")
    journal = interrupted(world, undo)
    assert journal.recover() and put_back(world)
    assert journal.notices == ["there is another group newgroup by now"]


def test_a_group_that_cannot_go_for_another_reason_is_a_failure(world: World) -> None:
    world.refuse = ("groupdel",)
    with pytest.raises(
        RollbackIncomplete, match="group newgroup: groupdel newgroup failed: no space left"
    ):
        interrupted(world, {"op": "group", "name": "newgroup", "gid": None}).recover()


@pytest.mark.parametrize("line", ["newgroup:x:4100", "newgroup:x", "newgroup"])
def test_a_group_line_without_its_last_fields(world: World, line: str) -> None:
    group = world.played / "etc/group"
    group.write_text(f"{line}\n{group.read_text()}")
    undo = account("worldling", usermod=[], joined=["newgroup"], left=["oldgroup"])
    assert interrupted(world, undo).recover() and put_back(world)


def test_an_undo_that_breaks_keeps_no_other_from_being_done(world: World) -> None:
    journal = interrupted(
        world, {"op": "owner", "path": world.path("made")}, account("worldling", left=7)
    )
    with pytest.raises(RollbackIncomplete) as caught:
        journal.recover()
    assert not (world.root / "made").exists() and (world.state / "journal").exists()
    assert (
        "account worldling: TypeError" in caught.value.message
        and "KeyError('uid')" in caught.value.message
    )


@pytest.mark.parametrize(
    "line",
    [
        *({"op": []}, {"op": "file"}, {"op": "made-dir", "path": 1}, {"op": "x", "path": "/x"}, []),
        *({"op": "added-account", "path": "/x"}, {"op": "file", "name": "x"}),
        *({"op": "rename", "path": "/a"}, {"op": "rename", "path": "/a", "to": 5}),
    ],
)
def test_a_line_that_is_none_of_ours(world: World, line: object) -> None:
    with pytest.raises(SftpJailError, match="does not write") as caught:
        interrupted(world, line).recover()
    assert caught.value.fix.startswith("mv ")


# -- files that somebody has edited since --------------------------------------------------------

BLOCK = "# BEGIN sftpjail tag\nours\n# END sftpjail tag\n"


def written(world: World, old: str | None, new: str | None, **more: object) -> Path:
    """Let the interrupted run have written a file of which OLD was there before; return it."""
    path = world.root / "shared"
    if old is not None:
        Path(files.backup_name(str(path))).write_text(old)
    if new is not None:
        path.write_text(new)
    digest = None if new is None else hashlib.sha256(new.encode()).hexdigest()
    undo = {"op": "file", "path": str(path), "existed": old is not None, "new": digest}
    interrupted(world, undo | {"lines": None, "style": ""} | more)
    return path


def left(world: World) -> dict[str, str]:
    return {path.name: path.read_text() for path in world.root.iterdir() if path.is_file()}


@pytest.mark.parametrize(("old", "new"), [("old\n", "new\n"), (None, "new\n"), ("old\n", None)])
def test_a_file_that_nobody_edited_is_as_before(
    world: World, old: str | None, new: str | None
) -> None:
    written(world, old, new)
    assert world.recover() and put_back(world)
    assert left(world) == ({} if old is None else {"shared": old})


def test_a_file_that_was_edited_since_stays(world: World) -> None:
    written(world, "old\n", "new\n").write_text("new\ntheirs\n")
    assert world.recover() and put_back(world)
    assert left(world) == {"shared": "new\ntheirs\n", "shared.sftpjail-before": "old\n"}


def test_of_a_shared_file_that_was_edited_only_our_lines_go(world: World) -> None:
    path = written(world, "old\n", f"old\n{BLOCK}", lines={"tag": []}, style=Style.BLOCK.value)
    path.write_text(f"theirs\nold\n{BLOCK}last\n")
    path.chmod(0o640)
    assert world.recover() and put_back(world)
    assert left(world) == {"shared": "theirs\nold\nlast\n"}
    assert path.stat().st_mode & 0o7777 == 0o640


def test_a_new_file_that_was_edited_since_stays(world: World) -> None:
    written(world, None, "new\n").write_text("new\ntheirs\n")
    assert world.recover() and put_back(world)
    assert left(world) == {"shared": "new\ntheirs\n"}


def test_a_file_that_was_written_anew_since_stays(world: World) -> None:
    """Where the run had removed it."""
    path = written(world, "old\n", None)
    path.write_text("theirs\n")
    assert world.recover() and put_back(world)
    assert left(world) == {"shared": "theirs\n", "shared.sftpjail-before": "old\n"}


def test_what_was_removed_does_not_come_back_over_another(world: World) -> None:
    path = world.root / "shared"
    Path(files.backup_name(str(path))).write_text("old\n")
    interrupted(world, {"op": "unremove", "path": str(path)})
    assert world.recover() and left(world) == {"shared": "old\n"}
    Path(files.backup_name(str(path))).write_text("older\n")
    interrupted(world, {"op": "unremove", "path": str(path)})
    assert world.recover() and left(world)["shared"] == "old\n"


@pytest.mark.parametrize("inode", ["same", "other"])
def test_a_copy_goes_only_where_the_first_is_still_there(world: World, inode: str) -> None:
    one, two = world.root / "one", world.root / "two"
    one.write_text("x\n")
    two.write_text("x\n")
    number = one.stat().st_ino + (inode == "other")
    journal = interrupted(
        world, {"op": "rename", "path": str(one), "to": str(two), "inode": number, "there": False}
    )
    assert journal.recover() and put_back(world)
    assert set(left(world)) == ({"one"} if inode == "same" else {"one", "two"})
    assert [words.partition(" is left")[0] for words in journal.notices] == (
        [] if inode == "same" else [str(two)]
    )


def test_a_copy_that_goes_is_gone_on_the_disk_before_the_log(world: World) -> None:
    one, two = world.root / "one", world.root / "far/two"
    two.parent.mkdir()
    one.write_text("x\n")
    two.write_text("x\n")
    undo = {"op": "rename", "path": str(one), "to": str(two), "inode": one.stat().st_ino}
    journal = interrupted(world, undo | {"there": False})
    assert journal.recover() and put_back(world) and not two.exists()
    calls = world.syscalls.calls
    gone, last = (calls.index(("unlink", str(path))) for path in (two, world.state / "journal"))
    assert ("fsync", str(two.parent)) in calls[gone:last]


def test_a_line_after_the_commit_takes_nothing_back(world: World) -> None:
    """A log that goes on after it is of a run that was killed while it told the daemons."""
    path = written(world, "old\n", "new\n")
    with (world.state / "journal").open("a") as log:
        log.write(
            '{"committed": true}\n{"op": "notify", "name": "sshd", "how": "", "late": true}\n'
        )
    assert world.recover()
    assert path.read_text() == "new\n" and left(world) == {"shared": "new\n"}
    assert ("notify", "sshd") in world.syscalls.calls


@pytest.mark.parametrize(("options", "wanted"), [(None, None), (["nosuid"], ("nosuid",))])
def test_a_mount_has_its_former_flags_or_goes(
    world: World, options: list[str] | None, wanted: tuple[str, ...] | None
) -> None:
    target = world.path("made")
    world.mounts[target] = (world.path(""), ("nosuid", "nodev", "ro"))
    world._play()
    interrupted(world, {"op": "mount", "path": target, "options": options}).recover()
    found = world.mounts.get(target)
    assert (found and found[1]) == wanted


def test_the_commit_counts_only_whole(world: World) -> None:
    path = written(world, "old\n", "new\n")
    with (world.state / "journal").open("a") as log:
        log.write('{"committed": tr')
    assert world.recover() and path.read_text() == "old\n"


def test_an_account_that_userdel_leaves_is_not_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "change_account", lambda argv, name: None)
    gone, there = DeleteAccount("nobody-like-that"), DeleteAccount("worldling")
    assert kind_of(gone).perform(gone, world) == ""
    with pytest.raises(SftpJailError, match="the account worldling is there"):
        kind_of(there).perform(there, world)


def test_many_deleted_accounts_are_back(world: World) -> None:
    files = [world.played / "etc" / name for name in ("passwd", "shadow", "group")]
    before = [path.read_text() for path in files]
    undo = record(world, DeleteAccounts(("worldling",)))
    for done in (False, True):
        if done:
            account_lines.take_out({"worldling": 4001})
            assert all("worldling" not in path.read_text() for path in files)
        journal = interrupted(world, undo)
        assert journal.recover() and [path.read_text() for path in files] == before
        assert journal.notices == []
    files[0].write_text(before[0].replace("/bin/", "/else/"))
    journal = interrupted(world, undo)
    assert journal.recover() and "/else/" in files[0].read_text()
    assert "somebody has made them since: worldling" in journal.notices[0]


def record(world: World, action: Action) -> dict[str, Any]:
    """Return what the journal has of a step when it is about to be taken."""
    return dict(kind_of(action).record(action, FakeHost(files=WorldFiles(world))))


SET = SetAccount("worldling", "/bin/jail", "/in", None, ("newgroup",), (), "1")
BEFORE = {"--shell": "/bin/bash", "--home": "/home/w", "--gid": "4001", "--expiredate": ""}
GIVEN = {"--shell": "/bin/jail", "--home": "/in", "--gid": "4001", "--expiredate": "1"}


@pytest.mark.parametrize(
    ("done", "since", "stays"),
    [
        ({}, {}, ""),
        (GIVEN, {}, ""),
        ({"--shell": "/bin/jail"}, {}, ""),
        (GIVEN, {"--shell": "/bin/zsh"}, "the shell of worldling stays"),
        ({}, {"--home": "/else"}, "the home of worldling stays"),
        (
            GIVEN,
            {"--expiredate": "20000", "--shell": "/bin/zsh"},
            "the shell and the expiry of worldling stay",
        ),
    ],
)
def test_what_somebody_set_in_an_account_since_stays(
    world: World, done: dict[str, str], since: dict[str, str], stays: str
) -> None:
    undo = record(world, SET)
    world.people["worldling"] |= done | since
    world._play()
    journal = interrupted(world, undo)
    assert journal.recover() and put_back(world)
    assert world.people["worldling"] == BEFORE | since
    said = f"{stays}: somebody has set another since"
    assert journal.notices == ([said] if stays else [])


def test_an_account_that_somebody_made_anew_stays(world: World, programs: Programs) -> None:
    undo = record(world, SET)
    passwd = world.played / "etc/passwd"
    passwd.write_text("worldling:x:4009:4001::/in:/bin/jail\n")
    journal = interrupted(world, undo)
    assert journal.recover() and programs.asked == []
    said = "the account worldling stays as it is: somebody else has made it"
    assert journal.notices == [said]


@pytest.mark.parametrize("now", ["/bin/bash", "/bin/one", "/bin/two"])
def test_two_changes_are_put_back_by_an_undo_that_ran_before(world: World, now: str) -> None:
    """What the first one found there is nobody else's, when the second one is undone again."""
    first = record(world, SetAccount("worldling", "/bin/one"))
    world.people["worldling"]["--shell"] = "/bin/one"
    world._play()
    second = record(world, SetAccount("worldling", "/bin/two"))
    world.people["worldling"]["--shell"] = now
    world._play()
    journal = interrupted(world, first, second)
    assert journal.recover() and world.people["worldling"] == BEFORE and journal.notices == []


def test_what_others_set_since_stays_of_many_accounts(world: World, programs: Programs) -> None:
    """One edit puts back the rest; who is gone, or another one, is left."""
    names = ("one", "two", "three", "gone")
    passwd, shadow = world.played / "etc/passwd", world.played / "etc/shadow"
    rows = "{}:x:{}:5:{}:/:/bin/{}\n"
    before = {"shell": "/bin/old", "comment": "Old", "expire": ""}
    given = {"shell": "/bin/new", "comment": "New", "expire": "1"}
    undos = [
        {"op": "account", "name": name, "uid": uid, "joined": [], "left": []}
        | {"was": before, "given": given}
        for uid, name in enumerate(names)
    ]
    text = rows.format("one", 0, "Theirs", "new") + rows.format("two", 1, "New", "theirs")
    passwd.write_text(f"{text}{rows.format('three', 9, 'New', 'new')}# a line of somebody's\n")
    shadow.write_text("one:*:1:::::1:\nthree:*:1:::::1:\ntwo:*:1:::::9:\n")
    journal = interrupted(world, *undos)
    assert journal.recover() and put_back(world) and programs.asked == []
    text = rows.format("one", 0, "Theirs", "old") + rows.format("two", 1, "Old", "theirs")
    assert passwd.read_text() == (
        f"{text}{rows.format('three', 9, 'New', 'new')}# a line of somebody's\n"
    )
    assert shadow.read_text() == "one:*:1::::::\nthree:*:1:::::1:\ntwo:*:1:::::9:\n"
    assert journal.notices == [
        "gone is left as it is: there is no such account any more",
        "the account three stays as it is: somebody else has made it",
        "the shell and the expiry of two stay: somebody has set another since",
        "the comment of one stays: somebody has set another since",
    ]


@pytest.mark.parametrize("by", ["owner", "mode"])
def test_an_owner_and_a_mode_set_since_stay(
    world: World, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    path, given = world.root / "home", list[object]()
    path.mkdir(mode=0o700)
    found = path.stat()
    undo = record(world, SetOwner(str(path), found.st_uid, found.st_gid, 0o755))
    path.chmod(0o755)
    monkeypatch.setattr(files, "set_owner", lambda *words: given.append(words))
    if by == "mode":
        path.chmod(0o711)
        undo["was"]["owner"] = [7, 7]
    else:
        undo["was"]["owner"] = undo["given"]["owner"] = [7, 7]
    journal = interrupted(world, undo)
    assert journal.recover()
    if by == "mode":
        assert given == [(str(path), 7, 7, 0o711)]
        assert journal.notices == [f"the mode of {path} stays: somebody has set another since"]
    else:
        assert given == [] and f"the owner and the mode of {path} stay" in journal.notices[0]


def test_a_set_user_id_bit_that_chown_took_is_put_back(world: World) -> None:
    path = world.root / "program"
    path.write_text("")
    path.chmod(0o4755)
    found = path.stat()
    undo = record(world, SetOwner(str(path), found.st_uid, found.st_gid, 0o4700))
    path.chmod(0o755)  # the owner is set, and the mode is not yet
    journal = interrupted(world, undo)
    assert journal.recover() and path.stat().st_mode & 0o7777 == 0o4755
    assert journal.notices == []


FLAGS = ("nosuid", "nodev")


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        ((), ("src", FLAGS), ()),
        ((), ("other", FLAGS), ("other", FLAGS)),
        (("src", ("ro",)), ("src", FLAGS), ("src", ("ro",))),
        (("src", ("ro",)), ("src", ("noexec",)), ("src", ("noexec",))),
        (("src", ("ro",)), ("other", ("noexec",)), ("other", ("noexec",))),
    ],
)
def test_what_somebody_has_mounted_since_stays(
    world: World, before: Any, now: Any, after: Any
) -> None:
    for name in ("jail", "src", "other"):
        (world.root / name).mkdir()
    target = world.path("jail")

    def show(what: Any) -> None:
        world.mounts = {target: (world.path(what[0]), what[1])} if what else {}
        world._play()

    show(before)
    undo = record(world, Mount(world.path("src"), target, ("bind", *FLAGS)))
    show(now)
    journal = interrupted(world, undo)
    assert journal.recover() and put_back(world)
    assert world.mounts == ({target: (world.path(after[0]), after[1])} if after else {})
    stays = f"{target} stays mounted as it is: somebody has changed that mount since"
    assert journal.notices == ([stays] if now == after else [])


def test_groups_stay_of_an_account_that_userdel_left(world: World) -> None:
    undo = record(world, DeleteAccount("worldling"))
    world.groups["oldgroup"][1].remove("worldling")
    world.groups["newgroup"][1].append("worldling")
    world._play()
    journal = interrupted(world, undo)
    group = (world.played / "etc/group").read_text()
    assert journal.recover() and (world.played / "etc/group").read_text() == group
    assert journal.notices == []


def test_passwords_are_put_back_beside_other_fields(world: World) -> None:
    """Their record is of another form."""
    undos = [record(world, SetPasswords((("worldling", "$6$new"),))), record(world, SET)]
    shadow = world.played / "etc/shadow"
    shadow.write_text(shadow.read_text().replace(":*:", ":$6$new:"))
    journal = interrupted(world, *undos)
    assert journal.recover() and put_back(world) and journal.notices == []
    assert shadow.read_text().startswith("worldling:*:1:")


OLD_MAP, NEW_MAP = (f"X-mount.idmap=u:33:{uid}:1\\040g:33:{uid}:1" for uid in (4001, 4002))


@pytest.mark.parametrize("done", ["not begun", "half", "done"])
@pytest.mark.parametrize(
    ("before", "after"), [((), (NEW_MAP,)), ((OLD_MAP,), (NEW_MAP,)), ((OLD_MAP,), ())]
)
def test_a_mount_has_its_former_owners_again(
    before: tuple[str, ...], after: tuple[str, ...], done: str, world: World
) -> None:
    """An account that has another uid, and a run that was killed while it exchanged the map."""
    source, target = world.path("src"), world.path("jail")
    for path in (source, target):
        Path(path).mkdir()
    flags = ("nosuid", "nodev")
    world.mounts[target] = (source, (*flags, *before))
    world._play()
    mount = Mount(source, target, ("bind", *flags, *after), *before)
    assert mount.pending(FakeHost(files=WorldFiles(world)), "ann")
    undo = record(world, mount)
    if done == "half":
        del world.mounts[target]
        world._play()
    elif done == "done":
        kind_of(mount).perform(mount, FakeHost(files=WorldFiles(world)))
        assert world.mounts[target] == (source, (*flags, *after))
    journal = interrupted(world, undo, undo)
    assert journal.recover() and put_back(world) and journal.notices == []
    assert world.mounts[target] == (source, (*flags, *before))
