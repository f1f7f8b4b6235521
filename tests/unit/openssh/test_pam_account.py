"""What PAM's account rules say: the answer of pam_acct_mgmt(3) in our words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fakes import Programs, Tree
from fakesshd import Sshd, sshd

from sftpjail.errors import SftpJailError
from sftpjail.model import Account, Fact, Problem
from sftpjail.openssh.pam_account import PROGRAM, account_rules
from sftpjail.system.programs import Answer

__all__ = ["sshd"]

ANN = Account("ann", 1001, 1001, "/home/ann")
NOTE = "account rules of sshd, from 10.0.0.9"


def asked(tree: Tree) -> tuple[list[Fact], list[Problem]]:
    return account_rules(ANN, tree.host(), "10.0.0.9")


def test_who_may_log_in(tree: Tree, sshd: Sshd, programs: Programs) -> None:
    programs.answer(PROGRAM, "sshd", "ann", "10.0.0.9", out="0 Success\n")
    assert asked(tree) == ([Fact("session", "PAM", "lets it in", NOTE)], [])


def test_who_may_not_hears_which_rules_there_are(
    tree: Tree, sshd: Sshd, programs: Programs
) -> None:
    tree.write("/etc/pam.d/sshd", "auth required pam_x.so\naccount required pam_access.so\n")
    programs.answer(PROGRAM, out="6 Permission denied\n")
    facts, (problem,) = asked(tree)
    assert facts == [Fact("session", "PAM", "Permission denied", NOTE, bad=True)]
    assert problem.what == "PAM does not let ann in from 10.0.0.9: Permission denied"
    assert problem.advice == "one of these rules decides this: pam_access.so (/etc/pam.d/sshd:2)"
    assert problem.severity == "broken" and not problem.fix


def test_an_expired_account_is_no_second_problem(
    tree: Tree, sshd: Sshd, programs: Programs
) -> None:
    programs.answer(PROGRAM, out="13 User account has expired\n")
    facts, problems = asked(tree)
    assert facts[0].bad and problems == []


def test_no_answer_is_unknown_and_not_good(tree: Tree, sshd: Sshd, programs: Programs) -> None:
    programs.answer(PROGRAM, err="OSError: libpam.so.0: no such file\n", code=1)
    (fact,), problems = asked(tree)
    assert (fact.value, fact.bad, problems) == ("unknown", True, []) and "libpam" in fact.note


def test_without_usepam_nobody_is_asked(tree: Tree, sshd: Sshd) -> None:
    tree.write("/etc/ssh/sshd_config", "UsePAM no\n")
    (fact,), problems = asked(tree)
    assert fact.value == "sshd does not use it" and problems == []


def test_where_sshd_refuses_its_configuration_nothing_is_known(
    tree: Tree, sshd: Sshd, programs: Programs
) -> None:
    sshd.broken = "line 4: Bad configuration option: Nonsense"
    (fact,), problems = asked(tree)
    assert (fact.value, fact.bad, problems) == ("unknown", True, [])


def test_a_module_that_waits_for_ever_ends_no_explain(
    tree: Tree, sshd: Sshd, programs: Programs
) -> None:
    def silent(argv: Sequence[str], stdin: str) -> Answer:
        raise SftpJailError("python3 did not end within 60 seconds")

    programs.answer_by(Path(sys.executable).name, silent)
    (fact,), problems = asked(tree)
    assert (fact.value, fact.bad, problems) == ("unknown", True, [])
    assert "did not end" in fact.note


def test_what_only_a_session_decides_is_unknown(tree: Tree, sshd: Sshd, programs: Programs) -> None:
    programs.answer(PROGRAM, out="0 Success\n")
    rule = "account required pam_unix.so\nsession required pam_limits.so\n"
    tree.write("/etc/pam.d/sshd", rule)
    tree.write("/etc/security/limits.conf", "# ann hard maxlogins 1\nann hard nofile 9\n")
    assert len(asked(tree)[0]) == 1, "nothing counts"
    tree.write(
        "/etc/security/limits.d/10-few.conf", "\n@few  -  maxlogins 2\n* hard maxsyslogins 9\n"
    )
    (_, fact), problems = asked(tree)
    assert (fact.value, fact.bad, problems) == ("unknown before a login", False, [])
    assert fact.note == (
        "/etc/security/limits.d/10-few.conf:2, /etc/security/limits.d/10-few.conf:3; "
        "ask by sftpjail test --live ann"
    )
    tree.write("/etc/pam.d/sshd", f"{rule.rstrip()} conf=/etc/mine.conf\n")
    assert len(asked(tree)[0]) == 1, "that file alone"
    tree.write("/etc/mine.conf", "ann hard maxlogins 0\n")
    assert asked(tree)[0][1].note.startswith("/etc/mine.conf:1;")
    tree.write("/etc/pam.d/sshd", "session required pam_unix.so\n")
    assert len(asked(tree)[0]) == 1, "nobody asks pam_limits"
