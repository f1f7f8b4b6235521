"""What a file of accounts wants of a host: which accounts, in what order, and why some cannot be."""

from __future__ import annotations

import os
from dataclasses import replace
from types import MethodType

import pytest
from fakes import Programs
from fakesshd import sshd
from played import Stage, stage

from sftpjail import Choice
from sftpjail.accounts_file.entry import Entry, MountWanted
from sftpjail.accounts_file.reading import FORMATS, form_of, read
from sftpjail.accounts_file.writing import write
from sftpjail.actions import AddAccount, AddAccounts, SetComment, SetPasswords, WriteFile
from sftpjail.engine.plan import Plan
from sftpjail.errors import SftpJailError
from sftpjail.jails import quota_systems
from sftpjail.operations.apply_file.comparison import Comparison, any_shut
from sftpjail.operations.apply_file.stages import Stages
from sftpjail.operations.export import Known, hash_of, known, readable
from sftpjail.operations.new_accounts import Numbers, aging, bulk_program, home_of, is_strict
from sftpjail.paths import QUOTAS, RETENTION

__all__ = ["sshd", "stage"]

HASH = "$6$marked$0123456789"
SYSUSERS = "systemd-sysusers"


def wants(stage: Stage, text: str, missing: bool = False) -> Comparison:
    file = read(text, form_of(text), "FILE")
    return Comparison(file, stage.engine(), missing)


def lines(stage: Stage, text: str, missing: bool = False) -> list[str]:
    return [line for change in wants(stage, text, missing).changes for line in change.lines]


def error(stage: Stage, text: str) -> str:
    (found,) = wants(stage, text).errors.values()
    return found.message


def actions(plan: Plan, *kinds: type) -> list[object]:
    return [step.action for step in plan.steps if isinstance(step.action, kinds)]


@pytest.fixture
def many(stage: Stage) -> Stage:
    """A host that makes many accounts at once."""
    stage.tree.program(SYSUSERS)
    stage.tree.write("/etc/login.defs", "PASS_MAX_DAYS 99999\nPASS_MIN_DAYS 0\nPASS_WARN_AGE 7\n")
    return stage


def test_a_home_that_is_listed_as_it_is_changes_nothing(stage: Stage) -> None:
    text = "[ann]\nmounts = /home/ann:/home/ann\n"
    assert not wants(stage, text).errors and lines(stage, text) == []


def test_all_new_accounts_are_made_by_one_step(many: Stage) -> None:
    wanted = wants(
        many, f"name,uid,password,expires,comment\neve,,{HASH},,\nfay,1500,,2099-12-31,F\n"
    )
    assert not wanted.errors and Stages(wanted).is_staged and not wanted.draft.notices
    (step,) = actions(Stages(wanted).first(), AddAccounts)
    assert isinstance(step, AddAccounts)
    assert step.program == SYSUSERS and step.aging == ("0", "99999", "7", "")
    eve, fay = step.accounts
    assert (eve.uid, eve.password, eve.expire, eve.groups) == (1501, HASH, "", ("sftponly",))
    assert (fay.uid, fay.password, fay.expire, fay.comment) == (1500, "*", "47481", "F")
    assert eve.home == "/home/eve" and eve.skeleton and eve.shell == "/usr/sbin/nologin"
    assert HASH not in repr(step) + "".join(step.diff(many.host()))
    assert actions(Stages(wanted).first(), SetPasswords, AddAccount) == []


def test_without_such_a_program_useradd_makes_each(stage: Stage) -> None:
    wanted = wants(stage, f"name,password\neve,{HASH}\nfay,\n")
    assert (
        "useradd made 2 accounts, one at a time: there is no systemd-sysusers"
        in wanted.draft.notices
    )
    plan = Stages(wanted).first()
    made = actions(plan, AddAccount)
    assert [step.name for step in made if isinstance(step, AddAccount)] == ["eve", "fay"]
    (passwords,) = actions(plan, SetPasswords)
    assert isinstance(passwords, SetPasswords) and passwords.passwords == (("eve", HASH),)
    assert HASH not in repr(plan.steps)


def test_what_sysusers_does_not_take_is_useradds(many: Stage) -> None:
    plan = Stages(wants(many, "name,uid\nCorp.eve,\nfay,\n")).first()
    assert len(actions(plan, AddAccount)) == len(actions(plan, AddAccounts)) == 1
    (alone,) = actions(Stages(wants(many, "name,comment\neve,-\n")).first(), AddAccount)
    assert isinstance(alone, AddAccount) and "-" in alone.argv


def test_what_is_so_already_is_nothing_to_do(stage: Stage) -> None:
    now = "name,uid,comment,keys,mounts,expires,disabled\nann,1001,,ssh-ed25519 AAAAgood ann,,,\n"
    wanted = wants(stage, now)
    assert not wanted.errors and not Stages(wanted).is_staged
    assert [change.kind for change in wanted.changes] == ["unchanged"] and not Stages(
        wanted
    ).first()


def test_each_change_has_a_line(stage: Stage) -> None:
    stage.tree.directory("/srv/web")
    text = (
        "name,comment,password,keys,mounts,expires,disabled,reason\n"
        f"ann,Ann,{HASH},ssh-ed25519 AAAAgood2 new,/srv/web:/web:ro,2099-12-31,yes,left\n"
    )
    assert lines(stage, text) == [
        '~ ann: comment "" -> Ann',
        "~ ann: expires never -> 2099-12-31",
        "~ ann: disabled: left",
        "~ ann: + key SHA256:AAAAgood2 new",
        "~ ann: - key SHA256:AAAAgood ann",
        "~ ann: + mount /srv/web at /web, read-only",
        "~ ann: password (changed)",
    ]
    wanted = wants(stage, text)
    described = wanted.changes[0].describe()
    assert (
        described["after"]["password"] == "(changed)" and described["before"]["password"] == "none"
    )
    assert HASH not in str(described)
    plan = Stages(wanted).first()
    assert Stages(wanted).is_staged and len(actions(plan, SetComment, SetPasswords)) == 2


def test_what_the_file_does_not_manage_stays(stage: Stage) -> None:
    assert lines(stage, "[ann]\n") == []
    assert lines(stage, "name,comment\nann,\n") == []


def test_whom_the_file_lacks_is_shut_out_where_that_is_wanted(many: Stage) -> None:
    wanted = wants(many, "[eve]\n", missing=True)
    assert wanted.shut == ["ann"]
    assert wanted.changes[-1].lines == ("~ ann: disabled: the file of accounts does not list it",)
    assert wants(many, "[eve]\n").shut == []


def test_who_has_expired_is_let_in_only_by_name(stage: Stage) -> None:
    stage.tree.write("/etc/shadow", "ann:*:19000:0:99999:7::1:\n")
    file = read("name,expires\nann,never\n", "csv", "FILE")
    assert any_shut(file, stage.engine())
    assert Comparison(file, stage.engine()).draft.opened == ["ann is let in again"]


def test_who_is_to_be_disabled_is_made_as_one_who_has_expired(stage: Stage) -> None:
    text = "name,disabled,until,expires\neve,yes,,2099-12-31\nfay,yes,2000-01-01,\n"
    wanted = wants(stage, text)
    made = [
        one.argv
        for one in actions(Stages(wanted).first(), AddAccount)
        if isinstance(one, AddAccount)
    ]
    assert [argv[argv.index("--expiredate") + 1] for argv in made if "--expiredate" in argv] == [
        "1"
    ]
    assert (
        len(Stages(wanted).further()) == 3 and len(Stages(wants(stage, "[eve]\n")).further()) == 2
    )
    stage.tree.program(SYSUSERS)
    (step,) = actions(Stages(wants(stage, text)).first(), AddAccounts)
    assert isinstance(step, AddAccounts) and [one.expire for one in step.accounts] == ["1", ""]


def test_a_preview_of_what_useradd_makes(stage: Stage) -> None:
    plan = Stages(wants(stage, "[e.ve]\n")).preview()
    assert not plan.errors and isinstance(plan.steps[0].action, AddAccount)
    assert "useradd made 1 account, one" in wants(stage, "[e.ve]\n").draft.notices[0]


def test_keys_that_are_there_before_the_account_are_named(many: Stage) -> None:
    many.tree.write("/etc/ssh/authorized_keys/eve", "ssh-ed25519 AAAAgood old\n")
    wanted = wants(many, "[eve]\n[fay]\n")
    eve, fay = (change.lines[0] for change in wanted.changes)
    assert ", 1 key," in eve and ", 0 keys," in fay
    (notice,) = wanted.draft.notices
    assert notice.startswith("/etc/ssh/authorized_keys/eve is there already")
    assert wants(many, "name,keys\neve,\n").draft.notices == []


def test_a_profile_that_would_not_hold_the_account_is_refused(stage: Stage) -> None:
    first, web = (
        stage.config.profiles[0],
        replace(stage.config.profiles[0], name="web", group="web"),
    )
    stage.tree.group("web", 2001)
    stage.config = replace(stage.config, profiles=(first, web))
    stage.join("sftponly", "eve")
    said = wants(stage, "name,profile\neve,web\n").errors["eve"]
    assert "the group sftponly lists eve, and so profile sftponly jails it" in said.message
    assert said.choices == (Choice("to take eve out of sftponly", "gpasswd --delete eve sftponly"),)
    assert not wants(stage, "name,profile\nfay,web\n").errors
    named = replace(first, match_user=("fay",))
    stage.config = replace(stage.config, profiles=(named, web))
    said = wants(stage, "name,profile\nfay,web\n").errors["fay"]
    assert "profile sftponly jails fay: it is in its match_user" in said.message


def test_a_locked_password_is_opened_only_where_somebody_agrees(stage: Stage) -> None:
    stage.tree.write("/etc/shadow", f"ann:!{HASH}:19000:0:99999:7:::\n")
    said = "ann can log in with a password again: it is locked"
    assert wants(stage, f"name,password\nann,{HASH}\n").draft.opened == [said]
    file = read(f"name,password\nann,{HASH}\n", "csv", "FILE")
    assert any_shut(file, stage.engine())
    assert not any_shut(read("[ann]\n", "configobj", "FILE"), stage.engine())
    assert wants(stage, f"name,password\nann,!{HASH}\n").draft.opened == []
    assert wants(stage, "name,password\nann,none\n").draft.opened == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[bob]\n", "FILE, line 1: bob: it is an account already, and not jailed"),
        ("[ann]\nuid = 7\n", "ann: uid: it has 1001, and a file of accounts changes no uid"),
        ("[eve]\nuid = 1002\n", "eve: uid 1002 is not free: it is the uid of bob"),
        ("[eve]\nuid = 7\n", "will not jail eve: it is a system account (uid 7)"),
        ("[eve]\nprofile = web\n", "web"),
        ("[sftponly]\n", "there is a group sftponly already"),
        ("[eve]\nkeys = ssh-ed25519 nonsense\n", "eve: keys: it is not a public key"),
        ("[eve]\nmounts = /srv/x:/home/eve/\n", "at /home/eve: the jail has its home at /home/eve"),
        ("[eve]\nmounts = /srv/x:/home\n", "at /home: the jail has its home at /home/eve"),
        ("[eve]\nmounts = /srv/x:/\n", "eve: the mount needs a directory of its own"),
    ],
)
def test_what_cannot_be_is_said_with_its_line(many: Stage, text: str, says: str) -> None:
    assert says in error(many, text)


def test_what_cannot_be_planned_is_said_with_line_and_name(stage: Stage) -> None:
    text = "[ann]\nmounts = /nowhere:/web\n"
    wanted = wants(stage, text)
    with pytest.raises(SftpJailError, match="^FILE, line 1: ann: .*/nowhere") as caught:
        Stages(wanted).first()
    assert caught.value.owner == "ann" and str(caught.value).count("FILE") == 1
    wanted = wants(stage, text)
    errors = Stages(wanted).preview().errors
    assert [found.message for found in errors.values()] == [str(caught.value)]


def test_numbers_are_chosen_as_useradd_does(stage: Stage) -> None:
    stage.tree.write("/etc/login.defs", "UID_MIN 1000\nUID_MAX 1004\n")
    numbers = Numbers(stage.host(), [1003])
    assert numbers.take() == 1004
    assert numbers.gid_for(1004) == 1004
    assert numbers.take() == 1000
    assert numbers.taken_by(1001) == "it is the uid of ann"


def test_defaults_of_new_accounts(stage: Stage) -> None:
    host, profile = stage.host(), stage.config.profiles[0]
    assert home_of("eve", profile, host) == "/home/eve" and aging(host) == ("", "", "", "")
    assert home_of("eve", replace(profile, home="inside"), host) == "/files"
    stage.tree.write("/etc/default/useradd", "HOME=/srv/homes\nSHELL=/bin/sh\nINACTIVE=5\n")
    assert aging(stage.host()) == ("", "", "", "5")
    assert home_of("eve", profile, stage.host()) == "/srv/homes/eve"
    assert is_strict("u-1_A") and not is_strict("1u") and not is_strict("a.b")
    assert bulk_program(host) == ""
    stage.tree.program("systemd-standalone-sysusers")
    assert bulk_program(stage.host()) == "systemd-standalone-sysusers"
    stage.tree.write("/etc/login.defs", "USERGROUPS_ENAB no\n")
    assert bulk_program(stage.host()) == ""


def test_an_account_as_it_is(stage: Stage) -> None:
    stage.tree.write("/etc/shadow", f"ann:{HASH}:19000:0:99999:7::20000:\n")
    engine = stage.engine()
    account = replace(engine.host.accounts["ann"], profile=stage.config.profiles[0])
    errors: dict[str, SftpJailError] = {}
    (one,) = known([account], engine.host, errors, secrets=True)
    assert replace(one.entry, comment="") == Entry(
        "ann",
        uid=1001,
        comment="",
        profile="sftponly",
        password=HASH,
        keys=("ssh-ed25519 AAAAgood ann",),
        mounts=(),
        expires="2024-10-04",
        disabled=False,
        quota="",
        retention=(),
    )
    assert known([account], engine.host, errors)[0].entry.password is None
    assert readable([one]) == ([one.entry], []) and errors == {}
    stage.tree.write("/var/lib/sftpjail/accounts/ann", "rubbish")
    assert known([account, account], stage.engine().host, errors) == []
    assert errors["ann"].owner == "ann" and "accounts/ann" in errors["ann"].message


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("comment", "\udcff", 'its comment is left out: "\\udcff" is not UTF-8'),
        ("comment", "Ann ", 'its comment is left out: "Ann " is read as something else'),
        ("password", "abJnggxhB/yWI", "its password is left out: it is neither a hash"),
        ("reason", "a\tb", "its reason is left out: "),
        ("reason", "x" * 201, "its reason is left out: it has 201 characters, and may have 200"),
        ("keys", ("# x",), "a key is left out: "),
        ("keys", ("ssh-ed25519 AAAA \udcff",), "a key is left out: "),
        ("mounts", (MountWanted("/\udcff", "/x"),), "a mount is left out: "),
    ],
)
def test_what_no_file_can_have_keeps_nothing_else_out(
    stage: Stage, field: str, value: object, says: str
) -> None:
    ann = Entry("ann", uid=1, keys=(), mounts=(), disabled=True)
    odd = replace(ann, **{field: value})
    bob = replace(ann, name="bob")
    account = stage.host().accounts["ann"]
    every, lacks = readable([Known(account, odd), Known(account, bob)])
    assert every == [ann, replace(bob, uid=None)]
    assert lacks[0].startswith(f"ann: {says}") and lacks[1:] == [
        "bob: its uid is left out: it is that of ann too"
    ]
    for form in FORMATS:
        assert [entry.name for entry in read(write(every, form), form, "").entries] == [
            "ann",
            "bob",
        ]


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("*", ""),
        ("!", ""),
        ("!!", ""),
        ("!*", ""),
        ("x", ""),
        ("", ""),
        (HASH, HASH),
        (f"!{HASH}", f"!{HASH}"),
    ],
)
def test_the_hash_in_a_password_field(field: str, found: str) -> None:
    assert hash_of(field) == found


@pytest.fixture
def stored(many: Stage, programs: Programs) -> Stage:
    """A host whose homes are on btrfs, and that deletes old files."""
    groups = "Qgroupid Referenced Exclusive Max Max Path\n0/256 1 1 none none ann\n"
    many.tree.directory("/home/ann", owner=(1001, 1001))
    many.tree.write("/proc/self/mountinfo", "21 1 0:1 / / rw - btrfs /dev/sda1 rw\n")
    many.tree.write("/usr/bin/btrfs", "", mode=0o755)
    many.tree.write("/usr/bin/systemd-tmpfiles", "", mode=0o755)
    many.tree.directory("/etc/tmpfiles.d")
    programs.answer("/usr/bin/systemd-tmpfiles", "--version", out="systemd 252 (252.39-1)\n")
    programs.answer("/usr/bin/btrfs", "qgroup", "show", "--raw", "-re", "/", out=groups)
    return many


def test_what_is_stored_is_changed_when_its_jail_is_there(
    stored: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    inode = os.stat(f"{stored.tree.root}/home/ann").st_ino
    monkeypatch.setattr(quota_systems, "ROOT_INODE", inode)
    text = "name,quota,retention\nann,8M,/home/ann=30d\n"
    said = ["~ ann: quota profile -> 8M", "~ ann: retention of /home/ann never -> 30d"]
    assert lines(stored, text) == said
    wanted = wants(stored, text)
    assert not Stages(wanted).first() and Stages(wanted).is_staged and not wanted.errors
    kinds = [stage.__name__ for stage in Stages(wanted).further() if isinstance(stage, MethodType)]
    assert kinds == ["_jails", "_storage", "_access"]
    edits = [
        step.action.path
        for step in Stages(wanted).further()[1](stored.engine()).steps
        if isinstance(step.action, WriteFile)
    ]
    assert edits.count(QUOTAS) == edits.count(RETENTION) == 1, edits
    stored.tree.write(QUOTAS, f"user ann {8 << 20}\n")
    assert lines(stored, "name,quota\nann,8M\n") == lines(stored, "[ann]\n") == []
    assert lines(stored, "name,quota\nann,\n") == ["~ ann: quota 8M -> profile"]
    assert lines(stored, "name,quota\nann,none\n") == ["~ ann: quota 8M -> none"]
    assert "retention: /gone: " in error(stored, "name,retention\nann,/gone=1d\n")


def test_what_a_new_account_may_store_is_known_before_it_is_made(stored: Stage) -> None:
    wanted = wants(stored, "name,quota,retention\neve,8M,/in=30d\nfay,,\n")
    assert not wanted.errors, wanted.errors
    assert wanted.changes[0].lines[0].endswith("0 mounts, quota 8M, /in for 30d")
    plan = Stages(wanted).first()
    (alone,) = actions(plan, AddAccount)
    assert isinstance(alone, AddAccount) and "--btrfs-subvolume-home" in alone.argv
    assert len(actions(plan, AddAccounts)) == 1
    assert f"{SYSUSERS} makes no subvolumes of btrfs" in wanted.draft.notices[0]
    written = {step.action.path: step.action for step in plan.steps if hasattr(step.action, "sets")}
    assert written[QUOTAS].sets[0].lines == (f"user eve {8 << 20}",)
    assert written[RETENTION].sets[0].lines == ("# /in: 30d",)


def test_no_account_is_made_whose_quota_nothing_would_enforce(many: Stage) -> None:
    many.tree.write("/proc/self/mountinfo", "21 1 0:1 / / rw - tmpfs tmpfs rw\n")
    said = error(many, "name,quota\neve,8M\n")
    assert said.startswith("FILE, line 2: eve: eve cannot have a quota of 8M: "), said
    assert "systemd-tmpfiles(8), which is not here" in error(many, "name,retention\neve,/a=1d\n")
