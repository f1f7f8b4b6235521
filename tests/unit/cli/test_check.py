"""check and explain as commands: output, exit codes, what --fix does."""

from __future__ import annotations

import errno
import json
import re
from typing import Any

import pytest
from fakesshd import sshd
from played import RSYSLOG, Run, Stage, rogue, run, stage

from sftpjail.cli import check, context
from sftpjail.config import Config
from sftpjail.engine import manager
from sftpjail.model import Fact, Problem
from sftpjail.reports import nagios

__all__ = ["run", "sshd", "stage"]

ADMIN, JAIL = "/etc/ssh/sshd_config.d/00-admin.conf", "/srv/sftp/ann"


def test_check_of_a_healthy_host(run: Run) -> None:
    assert run("check") == (0, "1 jail checked, no problems\n")
    code, out = run("--json", "check")
    assert code == 0 and json.loads(out) == {"command": "check", "problems": []}


def test_check_tells_what_why_and_the_command(run: Run, stage: Stage) -> None:
    stage.tree.directory(JAIL, 0o775)
    stage.tree.owners.pop(JAIL, None)
    code, out = run("check", "ann")
    assert code == 3 and out.startswith(
        f"ann: {JAIL} can be written by others than root (mode 0775) (sshd refuses the chroot and closes the login)\n"
        f"  fix: chmod go-w {JAIL}\n"
    )
    code, out = run("--json", "check", "ann")
    assert code == 3 and json.loads(out)["problems"][0] == {
        "about": "ann",
        "concerns": ["ann"],
        "what": f"{JAIL} can be written by others than root (mode 0775)",
        "why": "sshd refuses the chroot and closes the login",
        "fix": f"chmod go-w {JAIL}",
        "advice": "",
        "severity": "broken",
        "choices": [],
    }


def test_check_for_nagios_is_one_line_with_its_exit_codes(run: Run, stage: Stage) -> None:
    fine = "SFTPJAIL OK - 1 jail checked, no problems | jails=1 open=0 broken=0 advice=0\n"
    assert run("check", "--format", "nagios") == (0, fine)
    stage.tree.directory(JAIL, 0o775)
    stage.tree.owners.pop(JAIL, None)
    code, out = run("check", "--format", "nagios")
    assert code == 2 and out.count("\n") == 1
    assert out.startswith(f"SFTPJAIL CRITICAL - ann: {JAIL} can be written by others than root")
    assert out.endswith(" | jails=1 open=0 broken=1 advice=0\n")
    stage.tree.write("/etc/ssh/authorized_keys/a|b", "")
    assert run("check", "--format", "nagios")[1].count("|") == 1, "figures begin at a bar"
    code, out = run("check", "--format", "nagios", "nobody")
    assert code == 3 and out.startswith("SFTPJAIL UNKNOWN - ")


def test_what_the_host_denies_is_unknown_to_nagios(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> list[Problem]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(check, "judge", full)
    code, out = run("check", "--format", "nagios")
    assert (code, out) == (3, "SFTPJAIL UNKNOWN - Too many open files\n")


@pytest.mark.parametrize(
    ("severities", "state", "shown"),
    [
        ((), 0, "OK - 2 jails checked, no problems"),
        (("advice",), 1, "WARNING - a: 0"),
        (("advice", "broken"), 2, "CRITICAL - a: 1, a: 0"),
        (("broken",) * 3 + ("advice", "open"), 2, "CRITICAL - a: 4, a: 0, a: 1 and 2 more"),
    ],
)
def test_the_worst_is_named_first(severities: tuple[str, ...], state: int, shown: str) -> None:
    problems = [Problem(str(n), "", severity=s, about="a") for n, s in enumerate(severities)]
    code, line = nagios.service(2, problems)
    assert code == state and line.startswith(f"SFTPJAIL {shown} | jails=2 ")


def test_check_prints_no_escapes(run: Run, stage: Stage) -> None:
    stage.tree.write("/etc/ssh/authorized_keys/x\x1b[2Jy", "")
    code, out = run("check")
    assert code == 3 and "\x1b" not in out and "x\\x1b[2Jy belongs to no account" in out


def test_check_fix_fixes_what_is_ours_and_tells_the_rest(run: Run, stage: Stage) -> None:
    stage.tree.write(RSYSLOG, "# changed\n")
    stage.tree.people = [
        line.replace("/usr/sbin/nologin", "/bin/bash") for line in stage.tree.people
    ]
    stage.tree.write("/etc/shadow", "ann:*:0:0:99999:7:::\n")
    code, out = run("check", "--fix")
    assert code == 3
    assert out.splitlines()[0] == "made the changes of `sftpjail setup` and `sftpjail apply`"
    assert "fixed: host: not as configured: ~ /etc/rsyslog.d/10-sftpjail.conf: -# changed\n" in out
    assert (
        "fixed: ann: not as configured: ~ account ann: shell /bin/bash -> /usr/sbin/nologin\n"
        in out
    )
    rest = out.partition("left to you, because it is not sftpjail's own, or a decision:\n")[2]
    assert (
        rest.startswith("ann: ann must change its password first (chage -d 0)")
        and rest.count("fix: ") == 1
    )
    stage.tree.write("/etc/shadow", "ann:*:19000:0:99999:7:::\n")
    assert run("check") == (0, "1 jail checked, no problems\n")


def test_check_fix_of_all_that_is_wrong_exits_with_0(run: Run, stage: Stage) -> None:
    stage.umount(f"{JAIL}/dev")
    code, out = run("--json", "check", "--fix")
    answer = json.loads(out)
    assert code == 0 and answer["changed"] and answer["left"] == []
    assert answer["fixed"] == answer["problems"] and f"{JAIL}/dev" in answer["problems"][0]["what"]


def test_check_fix_of_a_healthy_host_does_nothing(run: Run) -> None:
    code, out = run("check", "--fix")
    assert code == 0 and out == "nothing to do\n"


def test_check_fix_dry_run_changes_nothing(run: Run, stage: Stage) -> None:
    stage.tree.write(RSYSLOG, "# changed\n")
    code, out = run("--dry-run", "check", "--fix")
    assert code == 3 and "-# changed" in out
    assert (stage.tree.root / RSYSLOG.lstrip("/")).read_text() == "# changed\n"
    answer = json.loads(run("--dry-run", "--json", "check", "--fix")[1])
    assert (
        answer["dry_run"] and not answer["changed"] and answer["left"] == answer["problems"] != []
    )


def test_check_fix_where_setup_cannot_be_done_fixes_the_jails(run: Run, stage: Stage) -> None:
    stage.tree.write(ADMIN, "Match Group sftponly\n    PermitTTY yes\n")
    stage.reload()
    stage.umount(f"{JAIL}/dev")
    code, out = run("check", "--fix")
    assert code == 3 and f"fixed: ann: {JAIL}/dev is in fstab and not mounted" in out
    assert f"fix: sed -i '2s/^/#/' {ADMIN}" in out


def test_check_fix_shuts_out_whom_sshd_has_released(run: Run, stage: Stage) -> None:
    stage.tree.write(ADMIN, "Match Group sftponly\n    ChrootDirectory none\n")
    stage.reload()
    assert not stage.host().expiry("ann")
    code, out = run("check", "--fix")
    assert code == 3 and f"fix: sed -i '2s/^/#/' {ADMIN}" in out
    assert stage.host().expiry("ann") == "1"


def test_check_fix_of_one_user_leaves_the_host(run: Run, stage: Stage) -> None:
    stage.tree.write(RSYSLOG, "# changed\n")
    stage.umount(f"{JAIL}/dev")
    code, _ = run("check", "--fix", "ann")
    assert code == 0 and (stage.tree.root / RSYSLOG.lstrip("/")).read_text() == "# changed\n"
    assert f"{JAIL}/dev" in stage.tree.shown


def test_explain_shows_what_decides(run: Run) -> None:
    code, out = run("explain", "ann")
    assert code == 0 and "\n0 problems\n" in out
    assert out.startswith(f"ann: jailed in {JAIL} by profile sftponly\n")
    headings = [line for line in out.splitlines() if re.fullmatch("[a-z]+", line)]
    assert headings == ["account", "sshd", "keys", "chroot", "session", "mounts", "log"]
    assert max(map(len, out.splitlines())) <= 80 and not re.search(" $", out, re.MULTILINE)
    for words in (
        "Match Group sftponly",
        "10-sftpjail.conf:3",
        "SHA256:AAAAgood",
        "starts in",
        "/home/ann",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("explain --from nowhere ann", "'nowhere' does not appear to be an IPv4 or IPv6 address"),
        ("set ann --connections -1", "'-1' is not a number from 0 to 10000"),
        ("add ann --connections 10001", "'10001' is not a number from 0 to 10000"),
    ],
)
def test_a_value_that_is_none_is_named_in_words(run: Run, argv: str, words: str) -> None:
    code, out = run("--json", *argv.split())
    assert code == 2 and json.loads(out)["error"]["what"].endswith(words)


def test_explain_in_json(run: Run) -> None:
    code, out = run("--json", "explain", "ann")
    answer = json.loads(out)
    assert code == 0 and (answer["user"], answer["profile"], answer["problems"]) == (
        "ann",
        "sftponly",
        [],
    )
    assert set(answer["facts"][0]) == {"topic", "name", "value", "note", "bad", "depth"}
    assert not [fact for fact in answer["facts"] if fact["bad"]]


def test_explain_gives_each_problem_with_its_command(run: Run, stage: Stage) -> None:
    long = "/etc/ssh/sshd_config.d/00-what-the-other-administrator-likes-to-have.conf"
    stage.tree.write(long, "Match Group sftponly\n    ChrootDirectory none\n    PermitTTY yes\n")
    stage.reload()
    stage.tree.directory(JAIL, 0o775)
    stage.tree.owners.pop(JAIL, None)
    code, out = run("explain", "ann")
    assert code == 3 and max(map(len, out.splitlines())) <= 80
    assert re.search(r"^\d+ problems$", out, re.MULTILINE)
    assert f"\n   fix: chmod go-w {JAIL}\n" in out
    problems = json.loads(run("--json", "explain", "ann")[1])["problems"]
    pasted = out.replace(" \\\n     ", " ")
    assert f"\n   fix: sed -i '2s/^/#/' {long} && kill -HUP 7\n" in pasted and len(problems) >= 2
    assert [f"\n   fix: {problem['fix']}\n" in pasted for problem in problems] == [True] * len(
        problems
    )


def test_explain_of_an_account_that_is_not_jailed(run: Run, stage: Stage) -> None:
    code, out = run("explain", "bob")
    assert code == 3 and out.startswith("bob: not jailed\n")
    assert (
        "bob is not jailed: it is in no profile's group" in out
        and "\n   fix: sftpjail adopt bob\n" in out
    )
    assert "\nchroot\n" not in out
    answer = json.loads(run("--json", "explain", "bob")[1])
    assert answer["profile"] is None and len(answer["problems"]) == 1
    stage.tree.account("admin", 1010)
    problems = json.loads(run("--json", "explain", "admin")[1])["problems"]
    assert problems[0]["fix"] == "" and "sudo" in problems[0]["why"], "adopt would refuse it"


def test_explain_of_nobody(run: Run) -> None:
    assert run("explain", "nobody-at-all")[0] == 1
    assert run("explain", "../x")[0] == 2


def test_explain_with_a_plugin_that_breaks(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(account: object) -> list[Fact]:
        raise RuntimeError("no \x1b[2J disk")

    real = manager.Manager.__init__

    def with_strangers(self: manager.Manager, *arguments: Any) -> None:
        real(self, *arguments)
        self.plugins.register(rogue(on_explain=broken), "rogue")
        facts = [
            Fact("quota", "used", "7 GB", "of 8", bad=True),
            Fact("quota", "", "A remark of the plugin's."),
        ]
        self.plugins.register(rogue(on_explain=lambda: facts), "quota")

    monkeypatch.setattr(manager.Manager, "__init__", with_strangers)
    code, out = run("explain", "ann")
    assert code == 0
    assert (
        "\nrogue\n" in out
        and "RuntimeError: no \\x1b[2J" in re.sub(r"\s+", " ", out)
        and "\x1b" not in out
    )
    assert re.search(
        r"^quota\n +used +7 GB +of 8\n - A remark of the plugin's\.$", out, re.MULTILINE
    )
    assert out.index("\nlog\n") < out.index("\nquota\n"), "topics of strangers come last"


def test_only_root_may_look(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context.os, "geteuid", lambda: 1000)
    assert run("check")[0] == run("explain", "ann")[0] == 1


def test_explain_names_a_plugin_that_does_not_load(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "strangers", dict)
    stage.config = Config(plugins_allow=("quota",))
    for words in (["explain", "ann"], ["check", "ann"]):
        code, out = run(*words)
        assert (
            code == 3
            and "plugin quota is allowed by the configuration and not installed"
            in re.sub(r"\s+", " ", out)
        )


def test_explain_draws_each_root_of_a_tree(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = manager.Manager.__init__
    facts = [
        Fact("chroot", "other", "root"),
        Fact("chroot", "below", depth=2),
        Fact("chroot", "third", depth=1),
    ]

    def with_stranger(self: manager.Manager, *arguments: Any) -> None:
        real(self, *arguments)
        self.plugins.register(rogue(on_explain=lambda: facts), "rogue")

    monkeypatch.setattr(manager.Manager, "__init__", with_stranger)
    _, out = run("explain", "ann")
    tree = out.partition("\nchroot\n")[2].partition("\n\n")[0]
    assert [line.split("  ")[0] for line in tree.splitlines() if line[0] not in " └├│"] == [
        "other",
        "/",
    ]
    assert tree.splitlines()[:3] == ["other  root", "├── below", "└── third"]


@pytest.mark.parametrize("columns", ["0", "1", "-5", "nonsense"])
def test_no_width_is_too_small_to_explain(
    columns: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, out = run("explain", "ann")
    assert code in (0, 3) and "ann" in out
