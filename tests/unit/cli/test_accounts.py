"""add and remove as commands: what is refused beforehand, and what becomes of an account that stays."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import Programs
from fakesshd import sshd
from played import Run, Stage, root, run, stage

from sftpjail import Profile, SetAccount, SftpJailError
from sftpjail.accounts_file.entry import MountWanted
from sftpjail.cli.accounts import parse_mount
from sftpjail.config import Config
from sftpjail.engine.kinds import kind_of
from sftpjail.errors import UsageError
from sftpjail.formats import fixes
from sftpjail.system.programs import Answer

__all__ = ["root", "run", "sshd", "stage"]

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
        run.err == f"sftpjail: will not jail eve: {why}\n  advice: give --force if you are sure\n"
    )


@pytest.mark.parametrize(
    "options",
    ["--uid 1500", "-c -r5", "--comment -r", "--gecos system", "-G users -g -r", "-u", "-u five"],
)
def test_add_leaves_all_else_to_useradd(run: Run, programs: Programs, options: str) -> None:
    programs.answer("useradd", err="useradd: in my words", code=3)
    assert run("add", "eve", "--", *options.split())[0] == 1
    assert run.err == "sftpjail: useradd failed: useradd: in my words\n"


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


# -- remove --delete-account ---------------------------------------------------------------------


def userdel(stage: Stage, programs: Programs, refusals: int) -> None:
    """Be a userdel that refuses so often, because a session has not ended."""
    answers = [Answer(8, "", IN_USE)] * refusals

    def run(argv: Sequence[str], _: object) -> Answer:
        if answers:
            return answers.pop()
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


def test_remove_of_an_account_that_went_though_userdel_complains(
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


@pytest.mark.parametrize("pid", [9999999, 1, os.getpid()], ids=["gone", "init", "itself"])
def test_usermod_of_a_busy_account_says_what_ends_it(
    stage: Stage, programs: Programs, pid: int
) -> None:
    fix = fixes.ending({pid: os.getuid()}) if pid == os.getpid() else ""
    programs.answer("usermod", err=f"usermod: user ann is currently used by process {pid}", code=8)
    with pytest.raises(SftpJailError, match="currently used") as caught:
        action = SetAccount("ann", home="/files")
        kind_of(action).perform(action, stage.host())
    assert caught.value.fix == fix


# -- what each command says and refuses ----------------------------------------------------------

# Command, exit code, standard output, standard error: one after the other on one host.
Said = tuple[str, int, str, str]


def played(run: Run, steps: Sequence[Said]) -> None:
    for words, code, out, err in steps:
        assert (words, *run(*words.split(" ")), run.err) == (words, code, out, err)


def test_keys_as_commands(run: Run, stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("ssh-ed25519 AAAAgood2 two\nssh-ed25519 AAAAgood3 ann\n")
    (tmp_path / "one").write_text("ssh-ed25519 AAAAgood2 other words\n")
    (tmp_path / "bad").write_text("ssh-ed25519 AAAAgood9\nrubbish\n")
    one_of = "  choice: to remove the one of type ssh-ed25519 and 256 bits: sftpjail key remove ann"
    two = (
        "sftpjail: ann has 2 keys called 'ann'; no key was removed\n"
        f"{one_of} SHA256:AAAAgood\n{one_of} SHA256:AAAAgood3\n"
    )
    none = "sftpjail: ann does not have the key 'nope'; no key was removed\n"
    there = "  advice: its keys: SHA256:AAAAgood3 ann\n"
    no_jail = (
        "sftpjail: bob is not jailed: it is in no profile's group\n  fix: sftpjail adopt bob\n"
    )
    rest = "ssh-ed25519\t256\tSHA256:AAAAgood3\t\tann\t-\t-\t-\n"
    add, gone = (
        "ann can log in with SHA256:AAAAgood",
        "ann can no longer log in with SHA256:AAAAgood",
    )
    played(
        run,
        [
            (f"key add ann {file}", 0, f"{add}2 two\n{add}3 ann\n", ""),
            (f"key add ann {file}", 0, "nothing to do: ann has these keys already\n", ""),
            (f"key add ann {tmp_path}/one", 0, "nothing to do: ann has this key already\n", ""),
            (f"key add bob {file}", 1, "", no_jail),
            ("key remove ann ann", 1, "", two),
            ("key remove ann two SHA256:AAAAgood", 0, f"{gone}2 two\n{gone} ann\n", ""),
            ("key remove ann nope", 1, "", none + there),
            ("key remove ann SHA256:AAAAgood3 nope", 1, "", none + there),
            ("key list ann", 0, rest, ""),
            ("key remove ann ann", 0, f"{gone}3 ann\n", ""),
            ("key remove ann nope", 1, "", f"{none}  advice: it has no keys\n"),
            ("key list ann", 0, "", "sftpjail: ann has no key\n"),
            ("key list bob", 1, "", no_jail),
        ],
    )
    assert run("key", "add", "ann", str(tmp_path / "bad"))[0] == 1
    assert "no key was added: " in run.err and "bad" in run.err
    (tmp_path / "bad").write_text("# none\n")
    assert run("key", "add", "ann", str(tmp_path / "bad"))[0] == 1 and "has no key" in run.err
    file.write_text('from="10.0.0.1" ssh-ed25519 AAAAgood2 two\n')
    assert run("key", "add", "ann", str(file))[0] == 0
    assert run("key", "add", "ann", str(tmp_path / "one"))[0] == 1
    assert "already, with other options\n" in run.err and "fix:" not in run.err
    assert "until then it lets nobody in: sftpjail key remove ann SHA256:AAAAgood2" in run.err
    (key,) = json.loads(run("--json", "key", "list", "ann")[1])["keys"]
    assert key["options"] == ['from="10.0.0.1"'] and key["bits"] == 256


def test_a_key_is_removed_by_its_file(run: Run, tmp_path: Path) -> None:
    both, other = tmp_path / "both.pub", tmp_path / "other.pub"
    both.write_text("ssh-ed25519 AAAAgood its owner's words\nssh-ed25519 AAAAgood2 two\n")
    other.write_text("ssh-ed25519 AAAAgood9 nine\n")
    assert run("key", "add", "ann", str(both))[0] == 0
    for handed_in in (str(other), "ssh-ed25519 AAAAgood9 nine"):
        code, out = run("--json", "key", "remove", "ann", str(both), handed_in)
        assert code == 1 and json.loads(out)["absent"] and "no key was removed" in run.err
    assert run("key", "remove", "ann", str(both))[0] == 0
    assert run("key", "list", "ann") == (0, "") and "ann has no key" in run.err


def test_what_is_often_taken_for_a_key_file(run: Run, tmp_path: Path) -> None:
    assert run("key", "add", "ann", "ssh-ed25519 AAAAgood2 two")[0] == 2
    assert "this is a key" in run.err and "sftpjail key add USER -" in run.err
    file = tmp_path / "key"
    for data, says in (
        ("ssh-ed25519 AAAAgood2 two\n".encode("utf-16"), "iconv -f UTF-16"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n", "puttygen FILE"),
    ):
        file.write_bytes(data)
        assert run("key", "add", "ann", str(file))[0] == 1 and says in run.err


@pytest.mark.usefixtures("root")
def test_migrate_of_one_or_all(run: Run, stage: Stage) -> None:
    usage = "sftpjail: key migrate needs one USER, or --all\n"
    played(
        run,
        [
            ("key migrate", 2, "", usage),
            ("key migrate ann --all", 2, "", usage),
            ("key migrate --all", 0, "nothing to do: no keys in homes\n", ""),
        ],
    )
    old = "/home/ann/.ssh/authorized_keys"
    stage.tree.directory("/home/ann/.ssh", 0o700, (1001, 1001))
    stage.tree.write(old, "ssh-ed25519 AAAAgood7 old\nrubbish\n", 0o600)
    stage.tree.owners[old] = (1001, 1001)
    os.link(stage.tree.root / old[1:], stage.tree.root / "second")
    assert run("key", "migrate", "--all") == (1, "nothing to do: no keys in homes\n")
    assert run.err.startswith("sftpjail: ann: ") and "one name" in run.err


def test_mounts_as_commands(run: Run, stage: Stage) -> None:
    stage.tree.directory("/srv/web/in")
    cannot = (
        "sftpjail: advice: ann cannot write in /web: /srv/web is owned by 0:0, mode 0755 "
        "(a mount changes no permissions)\n  advice: give it access by owner, group or setfacl(1), "
        "or mount it --read-only if that is meant\n"
    )
    no_mount = "sftpjail: ann has no mount at /we; nothing was changed\n"
    inner = (
        f"sftpjail: {JAIL}/web/in is mounted below {JAIL}/web\n"
        "  choice: to remove that one first: sftpjail umount ann /web/in\n"
    )
    own = (
        "sftpjail: /home/ann belongs to every jail of profile sftponly\n"
        "  advice: see sftpjail.conf(5)\n"
    )
    climbs = "is not a path inside the jail; give one that begins with / and has no ..\n"
    top = "sftpjail: the mount needs a directory of its own inside the jail, such as /web\n"
    played(
        run,
        [
            ("mount ann /srv/web /web", 0, "ann sees /srv/web as /web\n", cannot),
            (
                "mount ann /srv/web /web",
                0,
                "nothing to do: ann sees /srv/web as /web already\n",
                cannot,
            ),
            (
                "mount --read-only ann /srv/web/in /web/in",
                0,
                "ann sees /srv/web/in as /web/in, read-only\n",
                "",
            ),
            ("umount ann /web", 1, "", inner),
            ("umount ann /home/ann", 1, "", own),
            ("umount ann /we", 1, "", f"{no_mount}  advice: its mounts: /web, /web/in\n"),
            ("umount ann /web/in", 0, "ann no longer sees /web/in\n", ""),
            ("umount ann /web", 0, "ann no longer sees /web\n", ""),
            ("umount ann /we", 1, "", f"{no_mount}  advice: it has no mounts\n"),
            ("mount ann /srv/web ../x", 2, "", f"sftpjail: '../x' {climbs}"),
            ("mount ann /srv/web /a/../../x", 2, "", f"sftpjail: '/a/../../x' {climbs}"),
            ("mount ann /srv/web web", 2, "", f"sftpjail: 'web' {climbs}"),
            ("mount ann /srv/web /", 2, "", top),
            ("mount ann /srv/web /.", 2, "", top),
        ],
    )
    assert run("mount", "ann", "", "/web")[0] == 2 and "SRC is empty" in run.err
    assert run("mount", "bob", "/srv/web", "/web")[0] == 1 and "bob is not jailed" in run.err
    for place in ("/srv/we\nb", "/srv/web"):
        target = "/web" if "\n" in place else "/we\nb"
        assert run("mount", "ann", place, target)[0] == 2 and "control character" in run.err


def test_a_mount_that_she_cannot_use_is_reported(run: Run, stage: Stage) -> None:
    start, why = "sftpjail: advice: ann cannot", "(a mount changes no permissions)"
    advice = "  advice: give it access by owner, group or setfacl(1)"
    stage.tree.directory("/srv/none", 0o700)
    stage.tree.directory("/srv/read", 0o755)
    assert run("mount", "--read-only", "ann", "/srv/read", "/a")[0] == 0 and not run.err
    assert run("mount", "ann", "/srv/read", "/b")[0] == 0
    assert run.err.startswith(f"{start} write in /b: /srv/read is owned by ") and why in run.err
    assert run.err.endswith(f"{advice}, or mount it --read-only if that is meant\n")
    assert run("mount", "ann", "/srv/none", "/c")[0] == 0
    assert run.err.startswith(f"{start} read /c: /srv/none is owned by ")
    assert run.err.endswith(f"{advice}\n")


def test_list_and_show_tell_what_is_there(run: Run, stage: Stage) -> None:
    stage.tree.directory("/srv/web")
    assert run("mount", "--read-only", "ann", "/srv/web", "/web")[0] == 0
    row = "ann\tsftponly\t/srv/sftp/ann\t1\t1\t"
    assert run("list") == (0, f"{row}ok\n")
    code, out = run("show", "ann")
    assert code == 0 and out.splitlines()[6:8] == ["state\tok", "key\tSHA256:AAAAgood ann"]
    assert "mount\t/web <- /srv/web (mount, read-only)\n" in out
    stage.umount(f"{JAIL}/web")
    assert run("list") == (0, f"{row}incomplete\n")
    assert "/web <- /srv/web (mount, read-only, not mounted)\n" in run("show", "ann")[1]
    stage.tree.write("/etc/shadow", "ann:*:19000:0:99999:7::1:\n")
    assert run("list") == (0, f"{row}expired\n")
    assert "why\tit expired on 1970-01-02\n" in run("show", "ann")[1]
    facts = json.loads(run("--json", "list")[1])["jails"]
    mounted = {mount["target"]: mount["mounted"] for mount in facts[0]["mounts"]}
    assert mounted == {"/dev": True, "/home/ann": True, "/web": False}
    assert facts[0]["closed"] == "it expired on 1970-01-02" and facts[0]["keys"] == 1
    assert run("show", "bob")[0] == 1 and "bob is not jailed" in run.err
    stage.tree.group_lines = [line.replace(":500:ann", ":500:") for line in stage.tree.group_lines]
    assert run("list") == (0, "") and run.err == "sftpjail: no account is jailed\n"
    assert json.loads(run("--json", "list")[1])["jails"] == [] and run.err == ""


def test_adopt_refuses_whom_no_jail_would_hold(run: Run, stage: Stage) -> None:
    crontab = "/var/spool/cron/crontabs/bob"
    stage.tree.write(crontab, "@daily x\n", 0o600)
    assert run("adopt", "bob")[0] == 1
    assert run.err == (
        f"sftpjail: bob has a crontab ({crontab}), which a jail would not confine\n"
        "  choice: to end that: sftpjail adopt --close bob\n"
        "  choice: to let that go on: sftpjail adopt --keep cron bob\n"
    )
    assert run("adopt", "--keep", "at", "bob")[0] == 1
    assert run.err.endswith(
        "  choice: to end that: sftpjail adopt --close --keep at bob\n"
        "  choice: to let that go on: sftpjail adopt --keep cron,at bob\n"
    )
    assert run("adopt", "--keep", "x", "bob")[0] == 2 and "--keep 'x': must be one of" in run.err
    for keep in ("cron", "at, cron"):
        assert run("--dry-run", "adopt", "--keep", keep, "bob")[0] == 0, run.err
    answer = json.loads(run("--json", "--dry-run", "adopt", "--close", "bob")[1])
    about = [action["about"] for action in answer["actions"] if action["action"] == "Rename"]
    assert about == [[crontab]]


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("root", "it has uid 0; root would be locked out"),
        ("admin", "it is in the group sudo; an administrator would be locked out"),
        ("low", "it is a system account (uid 999)"),
        ("me", "it is you; you would lock yourself out"),
    ],
)
def test_adopt_jails_no_administrator_unless_forced(
    run: Run, stage: Stage, who: str, why: str
) -> None:
    stage.tree.account("admin", 1100)
    stage.tree.account("low", 999)
    stage.tree.account("me", 1101)
    stage.tree.write("/proc/self/loginuid", "1101")
    assert run("adopt", who)[0] == 1
    force = f"if you are sure: sftpjail adopt --force {who}"
    assert run.err == f"sftpjail: will not jail {who}: {why}\n  choice: {force}\n"
    if who != "root":
        assert run("--dry-run", "adopt", "--force", who)[0] == 0, run.err


@pytest.mark.usefixtures("root")
def test_adopt_takes_keys_along_and_keeps_the_profile(run: Run, stage: Stage) -> None:
    other = Profile("other", "other", chroot="/jails/%u")
    stage.config = Config(profiles=(*stage.config.profiles, other))
    stage.set_up()
    old = "/home/bob/.ssh/authorized_keys"
    stage.tree.directory("/home/bob/.ssh", 0o700, (1002, 1002))
    stage.tree.write(old, "ssh-ed25519 AAAAgood7 old\n", 0o600)
    stage.tree.owners[old] = (1002, 1002)
    code, out = run("--json", "adopt", "--profile", "other", "bob")
    actions = [(a["action"], a["about"]) for a in json.loads(out)["actions"]]
    assert code == 0 and ("Rename", [old]) in actions and ("MakeDir", ["/jails/bob"]) in actions
    assert "AAAAgood7" in stage.host().text("/etc/ssh/authorized_keys/bob")
    assert run("adopt", "ann") == (0, "nothing to do: ann is jailed in /srv/sftp/ann\n")
    assert run("adopt", "--profile", "other", "ann")[0] == 1
    assert run.err == "sftpjail: ann is jailed by profile sftponly already\n"
    assert run("adopt", "zoe")[0] == 1 and "there is no account zoe" in run.err


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("/a:/b", ("/a", "/b", False, "")),
        ("/a:/b:ro", ("/a", "/b", True, "")),
        ("/a:/b:rw", ("/a", "/b", False, "")),
        ("/a:x:/b", ("/a:x", "/b", False, "")),
        ("/a:/b:as=www-data", ("/a", "/b", False, "www-data")),
        ("/a:/b:ro:as=www-data:staff", ("/a", "/b", True, "www-data:staff")),
        ("/a:as=x/c:/b", ("/a:as=x/c", "/b", False, "")),
    ],
)
def test_mounts_of_add(text: str, parsed: tuple[str, str, bool, str]) -> None:
    assert parse_mount(text) == MountWanted(*parsed)


@pytest.mark.parametrize("text", ["", "/a", ":/b", ":ro", "/a:ro", "/a:as=b"])
def test_mounts_of_add_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not SRC:DST"):
        parse_mount(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("left\nbob: open", "has a line break or another control character"),
        ("x" * 100_000, "has 100000 characters, and may have "),
    ],
)
def test_a_text_of_more_than_a_line_is_refused(run: Run, text: str, says: str) -> None:
    for command in (
        ("disable", "ann", "--reason", text),
        ("add", "eve", "--", "--comment", text),
        ("add", "eve", "--", f"-c{text}"),
    ):
        assert run(*command)[0] == 2, command[0]
        (said,) = run.err.splitlines()
        assert says in said and len(said) < 200, said
