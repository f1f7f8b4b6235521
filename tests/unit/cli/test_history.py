"""history: whom it names, what it leaves out, and what it says of a history that was changed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeHost
from fakesshd import sshd
from played import Run, Stage, root, run, stage

from sftpjail import Account, Bind, Profile, SetLines, Style
from sftpjail.cli import history, undo
from sftpjail.engine.engine import Engine
from sftpjail.engine.engine import Stage as Planning
from sftpjail.engine.history import History
from sftpjail.engine.merge import Edit
from sftpjail.engine.plan import OnMount, Plan, Step
from sftpjail.engine.summary import describe

__all__ = ["root", "run", "sshd", "stage"]

KEY = "ssh-ed25519 AAAAgoodSECRET ann@desk"


@pytest.fixture
def place(run: Run, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what is applied on the stage is kept."""
    directory = tmp_path / "kept"
    directory.mkdir(0o700)
    for module in (history, undo):
        monkeypatch.setattr(module, "HISTORY", str(directory))
    monkeypatch.setattr(history, "Host", stage.host)
    stage.tree.write("/proc/self/loginuid", "1002\n")
    played, kept = Engine.apply, History(str(directory))

    def apply(self: Engine, plan: Plan, *stages: Planning) -> list[str]:
        if not plan and not stages:
            return []
        notices = played(self, plan, *stages)
        entry = describe(plan, self.host, self.command, self.reverts)
        head = kept.head()
        about = {"id": head.number + 1, "token": "t", "time": 1_790_000_000 + head.number}
        kept.append(head, about | entry, about["time"])
        return notices

    monkeypatch.setattr(Engine, "apply", apply)
    stage.tree.directory("/srv/web")
    stage.tree.write("/root/key.pub", KEY + "\n")
    return directory


def transactions(run: Run, *words: str) -> list[dict[str, Any]]:
    code, out = run("--json", "history", *words)
    assert code == 0
    found: list[dict[str, Any]] = json.loads(out)["transactions"]
    return found


def test_who_gave_ann_this_mount(run: Run, place: Path) -> None:
    assert run("history") == (0, "no transaction\n")
    assert run("mount", "ann", "/srv/web", "/web", "--read-only")[0] == 0, run.err
    code, out = run("history", "ann")
    number, when, who, by, what = out.rstrip("\n").split("\t")
    assert (code, number, who, by) == (0, "1", "bob", "mount") and when.startswith("2026-09-2")
    assert what == "ann sees /srv/web at /web, read-only"
    assert run("umount", "ann", "/web")[0] == 0, run.err
    assert run("history", "ann")[1].splitlines()[1].endswith("ann no longer sees /srv/web at /web")
    assert run("history", "bob") == (0, "no transaction\n")
    assert run("history", "--limit", "1")[1].startswith("2\t")
    assert run("history", "--limit", "0")[0] == 2


def test_a_key_is_named_and_never_shown(run: Run, place: Path, stage: Stage) -> None:
    path = stage.tree.root / "root/key.pub"
    assert run("key", "add", "ann", str(path))[0] == 0, run.err
    (found,) = transactions(run)
    assert found["what"] == [
        {"account": "ann", "what": "can log in with SHA256:AAAAgoodSECRET ann@desk"}
    ]
    assert f"{KEY}" not in json.dumps(found) and "ssh-ed25519" not in json.dumps(found)
    assert f"{KEY}" in (place / "2026-09").read_text(), "an undo needs it"


def test_an_apply_that_makes_one_mount_does_not_claim_all_others(
    run: Run, place: Path, stage: Stage
) -> None:
    assert run("mount", "ann", "/srv/web", "/web")[0] == 0, run.err
    stage.umount("/srv/sftp/ann/web")
    assert run("apply")[0] == 0, run.err
    words = [item["what"] for item in transactions(run)[-1]["what"]]
    assert "sees /srv/web at /web" in words and not any("home" in word for word in words), words


def test_a_mount_that_is_only_a_line_is_in_the_history_too(stage: Stage) -> None:
    """With `mounts = session` nothing is mounted on the host."""
    path = "/etc/sftpjail/mounts/ann"
    account = Account("ann", 1001, 1001, "/home/ann", profile=Profile("sftponly"))
    lines = SetLines(path, "ann /srv/sftp/ann/web", ("a line",), Style.FSTAB, own=True)
    step = Step(Edit(path, sets=(lines,)), "mounts", "ann")
    events = [
        OnMount(account, Bind(source, f"/srv/sftp/ann{at}", kept="session"))
        for source, at in (("/srv/web", "/web"), ("/home/ann", "/home/ann"))
    ]
    found = describe(Plan(events, [step]), stage.host(), "mount")
    assert found["what"] == [{"account": "ann", "what": "sees /srv/web at /web"}]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1002", {"uid": 1002, "name": "bob"}),
        ("77", {"uid": 77, "name": ""}),
        ("4294967295", {"uid": None, "name": ""}),
        ("", {"uid": None, "name": ""}),
    ],
)
def test_who_is_the_login_and_no_variable(
    run: Run,
    place: Path,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    wanted: dict[str, Any],
) -> None:
    monkeypatch.setenv("SUDO_USER", "mallory")
    stage.tree.write("/proc/self/loginuid", text)
    assert run("mount", "ann", "/srv/web", "/web")[0] == 0, run.err
    assert transactions(run)[0]["who"] == wanted | {"how": "command"}


@pytest.mark.parametrize(
    ("command", "parents", "cgroup", "trigger", "wanted"),
    [
        ("hook useradd-post", ["sftpjail", "useradd", "bash"], "", "", "useradd"),
        ("hook useradd-post", ["sh", "useradd", "adduser", "bash"], "", "", "adduser"),
        ("hook userdel-post", ["sh", "userdel", "deluser"], "", "", "deluser"),
        ("hook pam-session", ["sshd"], "", "", "PAM"),
        ("apply", ["sh"], "0::/system.slice/sftpjail.service\n", "sftpjail.timer", "timer"),
        ("apply", ["sh"], "0::/system.slice/sftpjail.service\n", "sftpjail.path", "path unit"),
        ("apply", ["sh"], "0::/system.slice/sftpjail.service\n", "", "unit"),
        ("apply", ["bash"], "0::/user.slice/x.scope\n", "sftpjail.path", "command"),
    ],
)
def test_how_it_came_about(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    parents: list[str],
    cgroup: str,
    trigger: str,
    wanted: str,
) -> None:
    monkeypatch.setattr("sftpjail.engine.summary.os.getppid", lambda: 100)
    monkeypatch.setenv("TRIGGER_UNIT", trigger)
    monkeypatch.delenv("DPKG_MAINTSCRIPT_PACKAGE", raising=False)
    for number, name in enumerate(parents, 100):
        stage.tree.write(f"/proc/{number}/status", f"Name:\t{name}\nPPid:\t{number + 1}\n")
    stage.tree.write("/proc/self/cgroup", cgroup)
    host: FakeHost = stage.host()
    assert describe(Plan([]), host, command)["who"]["how"] == wanted


def test_verify_exits_with_3_where_something_was_changed(run: Run, place: Path) -> None:
    assert run("history", "--verify") == (0, "no history\n")
    for words in (("mount", "ann", "/srv/web", "/web"), ("umount", "ann", "/web")):
        assert run(*words)[0] == 0, run.err
    code, out = run("--json", "history", "--verify")
    head = json.loads(out)["head"]
    assert code == 0 and run("history", "--verify", "--head", head)[0] == 0
    path = place / "2026-09"
    text = path.read_text()
    path.write_text(text.replace("/srv/web", "/srv/wob", 1))
    code, out = run("--json", "history", "--verify")
    (problem,) = json.loads(out)["problems"]
    assert code == 3 and "changed or removed" in problem["what"]
    path.write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert run("history", "--verify")[0] == 0
    assert run("history", "--verify", "--head", head) == (3, "")
    assert run.err.startswith(f"sftpjail: no line of the history has the hash {head} (")
    assert run("history", "--verify", "ann")[0] == 2 and run("history", "--head", head)[0] == 2


# -- undo ----------------------------------------------------------------------------------------


def test_undo_of_a_mount_and_back(run: Run, place: Path, stage: Stage) -> None:
    assert run("undo")[0] == 1 and "the history is empty" in run.err
    assert run("mount", "ann", "/srv/web", "/web")[0] == 0, run.err
    points = list(stage.points)
    fstab = stage.tree.root / "etc/fstab"
    text = fstab.read_text()
    code, out = run("--dry-run", "undo")
    assert (
        code == 0 and "- mount /srv/web on /srv/sftp/ann/web" in out and fstab.read_text() == text
    )
    code, out = run("undo", "1")
    assert code == 0 and "- mount /srv/web on /srv/sftp/ann/web" in out, run.err
    assert out.endswith("transaction 1 is undone\n") and "/srv/web" not in fstab.read_text()
    assert [found["undoes"] for found in transactions(run)] == [None, 1]
    assert [found["undone_by"] for found in transactions(run)] == [2, None]
    assert run("undo", "1")[0] == 1 and "is undone already, by 2" in run.err
    assert run("undo")[0] == 0, run.err
    assert fstab.read_text() == text and stage.points == points, "an undo can be undone"
    assert [found["undone_by"] for found in transactions(run)] == [None, 3, None]
    assert run("undo", "1")[0] == 0 and "/srv/web" not in fstab.read_text(), run.err


def test_undo_refuses_what_something_later_builds_on(run: Run, place: Path, stage: Stage) -> None:
    assert run("mount", "ann", "/srv/web", "/web")[0] == 0, run.err
    assert run("umount", "ann", "/web")[0] == 0, run.err
    assert run("mount", "ann", "/srv/web", "/web", "--read-only")[0] == 0, run.err
    assert run("undo", "1")[0] == 1 and "transaction 2 came later and builds on 1" in run.err
    assert "fix:" not in run.err and "look at it with `sftpjail history`" in run.err
    fstab = stage.tree.root / "etc/fstab"
    fstab.write_text(fstab.read_text().replace("/srv/web ", "/srv/wob "))
    assert run("undo", "3")[0] == 1 and "left in /etc/fstab was changed since" in run.err
    assert len(transactions(run)) == 3


def test_undo_of_a_key_that_was_removed_wants_a_yes(run: Run, place: Path, stage: Stage) -> None:
    keys = stage.tree.root / "etc/ssh/authorized_keys/ann"
    text = keys.read_text()
    assert run("key", "remove", "ann", "ann")[0] == 0, run.err
    assert run("undo")[0] == 2
    assert "it reopens access: ann can log in again with SHA256:AAAAgood" in run.err
    assert (
        "choice: to undo it all the same: sftpjail undo --yes 1" in run.err
        and len(transactions(run)) == 1
    )
    assert run("undo", "--yes", "1")[0] == 0, run.err
    assert keys.read_text() == text
    assert run("undo")[0] == 0, "to close a way in needs no yes"
    assert "AAAAgood" not in (keys.read_text() if keys.exists() else "")


@pytest.mark.usefixtures("root")
def test_who_is_disabled_is_so_where_sessions_are_not_seen(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sessions(uid: int) -> list[int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/proc")

    monkeypatch.setattr("sftpjail.cli.access.in_jail", sessions)
    assert run("disable", "ann")[0] == 0, run.err
    assert "advice: cannot check whether all can be used: " in run.err


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("disabled", [True, False])
def test_undo_of_expiry_and_closing_at_once(
    run: Run, place: Path, stage: Stage, tmp_path: Path, disabled: bool
) -> None:
    shadow = stage.tree.root / "etc/shadow"
    assert run("set", "ann", "--expires", "2098-01-01")[0] == 0, run.err
    if disabled:
        assert run("disable", "ann")[0] == 0, run.err
    before = shadow.read_text()
    file = tmp_path / "accounts"
    file.touch(0o600)
    file.write_text(f"name,disabled,expires\nann,{'no' if disabled else 'yes'},2099-12-31\n")
    assert run("apply", str(file), "--yes")[0] == 0, run.err
    assert shadow.read_text() != before
    assert run("undo", "--yes")[0] == 0, run.err
    assert shadow.read_text() == before
    if disabled:
        assert run("enable", "ann")[0] == 0, run.err
        assert ":46752:" in shadow.read_text()


@pytest.mark.usefixtures("root")
def test_undo_of_mounts_that_a_file_changed(
    run: Run, place: Path, stage: Stage, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        stage.tree.directory(f"/srv/{name}")
    for words in (("/srv/a", "/x"), ("/srv/b", "/y")):
        assert run("mount", "ann", *words)[0] == 0, run.err
    fstab = stage.tree.root / "etc/fstab"
    before, points = sorted(fstab.read_text().splitlines()), sorted(stage.points)
    file = tmp_path / "accounts"
    file.touch(0o600)
    for mounts in ("", "/srv/c:/x", "/srv/b:/x /srv/a:/y"):
        lines = mounts.replace(" ", "\n")
        file.write_text(f'name,mounts\nann,"{lines}"\n')
        assert run("apply", str(file))[0] == 0, run.err
        assert sorted(fstab.read_text().splitlines()) != before
        assert run("undo")[0] == 0, run.err
        assert sorted(fstab.read_text().splitlines()) == before
        assert sorted(stage.points) == points


def test_undo_of_no_transaction(run: Run, place: Path) -> None:
    assert run("undo", "7")[0] == 1 and "there is no transaction 7" in run.err


def joins(stage: Stage) -> None:
    """Carl is put into the jails' group."""
    stage.tree.account("carl", 1003)
    with (stage.tree.root / "etc/shadow").open("a") as handle:
        handle.write("carl:*:19000:0:99999:7:::\n")
    stage.join("sftponly", "carl")


def test_undo_of_remove_makes_the_jail_again(run: Run, place: Path, stage: Stage) -> None:
    assert run("mount", "ann", "/srv/web", "/web")[0] == 0, run.err
    root = stage.tree.root
    files = [root / "etc/fstab", root / "etc/ssh/authorized_keys/ann"]
    files[1].unlink()
    assert run("key", "add", "ann", str(root / "root/key.pub"))[0] == 0, run.err
    before = [path.read_text() for path in files]
    assert run("remove", "ann")[0] == 0, run.err
    code, out = run("--dry-run", "undo")
    assert code == 0 and "account ann: joins group sftponly" in out, run.err
    assert run("undo")[0] == 2
    assert "reopens access: ann can log in to its jail again with SHA256:AAAAgood" in run.err
    assert run("undo", "--yes")[0] == 0, run.err
    assert [sorted(path.read_text().split("\n")) for path in files] == [
        sorted(text.split("\n")) for text in before
    ]
    assert "ssh-ed25519" not in json.dumps(transactions(run))
    # And the opposite of that.
    assert run("undo")[0] == 2 and "ann can log in outside of a jail" in run.err
    assert run("undo", "--yes")[0] == 0, run.err
    assert not files[1].exists() and "ann" not in files[0].read_text()


def test_undo_of_apply_unjails_whom_it_jailed(run: Run, place: Path, stage: Stage) -> None:
    joins(stage)
    stage.umount("/srv/sftp/ann/home/ann")
    assert run("apply")[0] == 0, run.err
    kept = (stage.tree.root / "etc/fstab").read_text()
    assert run("undo", "--yes")[0] == 0, run.err
    assert "left as it is: the mounts of ann" in run.err or "only repaired" in run.err
    fstab = (stage.tree.root / "etc/fstab").read_text()
    assert "user=carl" not in fstab and "user=ann" in fstab and "user=carl" in kept
    assert run("list")[1].startswith("ann\t") and "carl" not in run("list")[1]


def test_undo_refuses_an_account_that_was_changed_since(
    run: Run, place: Path, stage: Stage
) -> None:
    joins(stage)
    assert run("apply")[0] == 0, run.err
    people = stage.tree.people
    people[:] = [line.replace("nologin", "false") for line in people]
    stage.tree.account("dora", 1004)  # which writes them
    assert run("undo", "--yes")[0] == 1
    assert "what transaction 1 left in the account carl was changed since" in run.err
    assert "fix:" not in run.err, "what takes something away is a choice"
    assert "choice: to make carl an ordinary account: sftpjail remove carl" in run.err


def test_undo_refuses_what_apply_would_do_again(run: Run, place: Path, stage: Stage) -> None:
    stage.umount("/srv/sftp/ann/home/ann")
    assert run("apply")[0] == 0, run.err
    assert run("undo")[0] == 1 and "the jail of ann was only repaired" in run.err


def test_undo_takes_no_key_that_came_otherwise(run: Run, place: Path, stage: Stage) -> None:
    joins(stage)
    assert run("apply")[0] == 0, run.err
    path = stage.tree.root / "root/key.pub"
    assert run("key", "add", "carl", str(path))[0] == 0, run.err
    assert run("undo", "--yes", "1")[0] == 1
    assert "transaction 2 came later and builds on 1" in run.err
    assert "fix:" not in run.err, "what takes something away is a choice"
    assert "choice: to make carl an ordinary account: sftpjail remove carl" in run.err
    keys = stage.tree.root / "etc/ssh/authorized_keys/carl"
    keys.write_text(keys.read_text() + "ssh-ed25519 AAAAgoodOTHER other\n")
    assert run("undo", "2")[0] == 0, run.err
    assert run("undo", "--yes", "1")[0] == 1 and "has keys by now that came otherwise" in run.err


def test_undo_of_setup_is_a_teardown(run: Run, place: Path, stage: Stage) -> None:
    assert run("remove", "ann")[0] == 0 and run("teardown")[0] == 0, run.err
    assert run("undo")[0] == 0, run.err
    assert (stage.tree.root / "etc/ssh/sshd_config.d/10-sftpjail.conf").exists()
    nobody = stage.tree.group_lines
    stage.tree.account("o'neil", 1700)
    stage.tree.group_lines = [line.replace(":500:", ":500:o'neil") for line in nobody]
    assert run("undo")[0] == 1 and "o'neil" in run.err, run.err
    stage.tree.group_lines = nobody
    assert run("undo")[0] == 0, run.err
    assert not (stage.tree.root / "etc/ssh/sshd_config.d/10-sftpjail.conf").exists()
