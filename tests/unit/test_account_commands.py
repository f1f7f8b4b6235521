"""add and remove as commands: what is refused beforehand, and what becomes of an account that stays."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from fakes import Programs
from fakesshd import sshd
from played import Run, Stage, run, stage

from sftpjail import Profile, SetAccount, SftpJailError, fixes
from sftpjail.config import Config
from sftpjail.engine.kinds import kind_of
from sftpjail.system.programs import Answer

__all__ = ["run", "sshd", "stage"]

JAIL = "/srv/sftp/ann"
# A number that no process has (pid_max is at most 2^22).
IN_USE = "userdel: user ann is currently used by process 9999999"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let time pass at once; returns how long was slept."""
    slept: list[float] = []
    monkeypatch.setattr("sftpjail.system.accounts.time.sleep", slept.append)
    monkeypatch.setattr("sftpjail.system.accounts.time.monotonic", lambda: sum(slept))
    monkeypatch.setattr("sftpjail.system.accounts.booted", lambda: False)
    return slept


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--uid 0 -o", "it has uid 0; root would be locked out"),
        ("--uid=0 --non-unique", "it has uid 0; root would be locked out"),
        ("-ou0", "it has uid 0; root would be locked out"),
        ("-m -u 5", "it is a system account (uid 5)"),
        ("--system", "it would be a system account"),
        ("-mr", "it would be a system account"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--with", "adduser")])
def test_add_refuses_before_useradd_what_could_not_be_jailed(
    run: Run, more: Sequence[str], options: str, why: str
) -> None:
    assert run("add", *more, "eve", "--", *options.split())[0] == 1, "and no program ran"
    assert (
        run.err
        == f"sftpjail: will not jail eve: {why}\n  advice: give --force if you really mean it\n"
    )


@pytest.mark.parametrize(
    "options",
    ["--uid 1500", "-c -r5", "--comment -r", "--gecos system", "-G users -g -r", "-u", "-u five"],
)
def test_add_leaves_all_else_to_useradd(run: Run, programs: Programs, options: str) -> None:
    programs.answer("useradd", err="useradd: in my words", code=3)
    assert run("add", "eve", "--", *options.split())[0] == 1
    assert run.err == "sftpjail: useradd failed: useradd: in my words\n"


def test_add_says_what_is_left_of_an_account_that_cannot_be_deleted_again(
    run: Run, stage: Stage, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def useradd(argv: Sequence[str], _: object) -> Answer:
        stage.tree.account("root2", 0, 1050)
        stage.join("sftponly", "root2")
        return Answer(0, "", "")

    def full(*_: object) -> None:
        raise SftpJailError("no space is left")

    programs.answer_by("useradd", useradd)
    programs.answer("userdel", err="userdel: user root2 is currently used by process 1", code=8)
    monkeypatch.setattr("sftpjail.engine.engine.Engine.apply", full)
    assert run("add", "--force", "root2", "--", "-o", "--uid", "0")[0] == 4
    assert run.err == (
        "sftpjail: no space is left; the account root2 is left, it could not be deleted again: "
        "userdel: user root2 is currently used by process 1\n  fix: userdel --force root2\n"
    )


def test_add_of_an_account_that_is_there(run: Run, stage: Stage) -> None:
    assert run("add", "bob")[0] == 1
    assert (
        run.err
        == "sftpjail: there is an account bob already, not jailed\n  fix: sftpjail adopt bob\n"
    )
    assert (
        run("add", "root")[0] == 1
        and "must not be jailed: it has uid 0" in run.err
        and "fix:" not in run.err
    )


def test_add_of_whom_a_match_user_names(run: Run, stage: Stage, programs: Programs) -> None:
    mirrors = Profile("mirrors", "", match_user=("mira", "mirb"), home="inside")
    stage.config = Config(profiles=(*stage.config.profiles, mirrors))
    stage.set_up()
    code, out = run("--dry-run", "add", "mira")
    assert (
        code == 0 and out.startswith("! run useradd --no-create-home ") and "--groups" not in out
    ), run.err
    stage.tree.account("mira", 1100, home="/files", shell="/usr/sbin/nologin", make_home=False)
    assert run("add", "mira")[0] == 0, run.err
    code, out = run("add", "mira")
    assert (code, out) == (0, "nothing to do: mira is jailed in /srv/sftp/mira\n")
    assert run("add", "eve", "--profile", "mirrors")[0] == 2
    assert "profile mirrors has no group\n  advice: add eve to its match_user" in run.err


# -- remove --delete-account ------------------------------------------------------------------------------------------


def userdel(stage: Stage, programs: Programs, refusals: int) -> None:
    """Be a userdel that refuses so often, because a session has not ended."""
    answers = [Answer(8, "", IN_USE)] * refusals

    def run(argv: Sequence[str], _: object) -> Answer:
        if answers:
            return answers.pop()
        assert f"{JAIL}/home/ann" not in stage.tree.shown
        stage.tree.people = [line for line in stage.tree.people if not line.startswith("ann:")]
        stage.tree.group_lines = [
            line.replace(":500:ann", ":500:") for line in stage.tree.group_lines
        ]
        return Answer(0, "", "")

    programs.answer_by("userdel", run)


def test_remove_waits_for_a_session_that_is_ending(
    run: Run, stage: Stage, programs: Programs, no_waiting: list[float]
) -> None:
    userdel(stage, programs, 3)
    assert run("remove", "--delete-account", "ann") == (
        0,
        "deleted the account ann; its files stay\n",
    ), run.err
    assert run.err == "" and 0 < sum(no_waiting) < 3


@pytest.mark.parametrize(
    ("state", "fix", "seconds"),
    [
        (None, "", 3),
        ("", "", 3),
        ("active", "loginctl terminate-user ann", 3),
        ("closing", "loginctl terminate-user ann", 15),
    ],
)
def test_remove_of_a_busy_account_leaves_it_as_it_was(
    run: Run,
    stage: Stage,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: list[float],
    state: str | None,
    fix: str,
    seconds: float,
) -> None:
    monkeypatch.setattr("sftpjail.system.accounts.booted", lambda: state is not None)
    programs.answer("loginctl", "show-user", out=f"{state}\n")
    userdel(stage, programs, 100)
    before = dict(stage.tree.shown)
    assert run("remove", "--delete-account", "ann") == (1, "")
    assert run.err == f"sftpjail: userdel ann failed: {IN_USE}\n" + (
        f"  fix: {fix}\n" if fix else ""
    )
    assert stage.tree.shown == before and seconds <= sum(no_waiting) < seconds + 1
    monkeypatch.setattr("sftpjail.system.accounts.booted", lambda: False)
    assert run("check", "ann")[0] == 0


def test_remove_says_that_it_could_not_put_a_jail_back(
    run: Run, stage: Stage, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(argv: Sequence[str], _: object) -> Answer:
        stage.tree.write("/etc/ssh/sshd_config.d/10-sftpjail.conf", "")
        return Answer(1, "", "userdel: cannot lock /etc/passwd")

    programs.answer_by("userdel", lose)
    assert run("remove", "--delete-account", "ann") == (4, ""), run.err
    assert "ann is left, with half a jail: " in run.err and run.err.endswith(
        "\n  fix: sftpjail apply\n"
    )


def test_remove_of_an_account_that_is_gone_though_userdel_complains(
    run: Run, stage: Stage, programs: Programs
) -> None:
    def complain(argv: Sequence[str], _: object) -> Answer:
        stage.tree.people = [line for line in stage.tree.people if not line.startswith("ann:")]
        return Answer(12, "", "userdel: cannot remove the mail spool")

    programs.answer_by("userdel", complain)
    assert run("remove", "--delete-account", "ann") == (
        0,
        "deleted the account ann; its files stay\n",
    ), run.err
    assert run.err == "sftpjail: userdel ann failed: userdel: cannot remove the mail spool\n"


@pytest.mark.parametrize("pid", [9999999, 1, os.getpid()])
def test_usermod_of_a_busy_account_says_what_ends_it_unless_that_is_roots(
    stage: Stage, programs: Programs, pid: int
) -> None:
    fix = fixes.ending({pid: os.getuid()}) if pid == os.getpid() else ""
    programs.answer("usermod", err=f"usermod: user ann is currently used by process {pid}", code=8)
    with pytest.raises(SftpJailError, match="currently used") as caught:
        action = SetAccount("ann", home="/files")
        kind_of(action).perform(action, stage.host())
    assert caught.value.fix == fix
