"""The PAM stack of a service, in the words of pam.conf(5)."""

from __future__ import annotations

import pytest
from fakes import Tree
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.openssh.pam_stack import Rule, stack

# /etc/pam.d/sshd of Debian 12, shortened.
DEBIAN = """\
# PAM configuration for the Secure Shell service
@include common-auth

# Disallow non-root logins when /etc/nologin exists.
account    required     pam_nologin.so
# account  required     pam_access.so
@include common-account
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close
session    optional     pam_motd.so  motd=/run/motd.dynamic
-session   optional     pam_lastlog.so noupdate # not in every Debian
"""


def modules(tree: Tree, service: str = "sshd") -> list[str]:
    return [f"{rule.kind} {rule.module}" for rule in stack(tree.host(), service)]


def test_debians_stack(tree: Tree) -> None:
    tree.write("/etc/pam.d/sshd", DEBIAN)
    tree.write(
        "/etc/pam.d/common-auth",
        "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth requisite pam_deny.so\n",
    )
    tree.write(
        "/etc/pam.d/common-account",
        "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\n",
    )
    assert list(stack(tree.host(), "sshd")) == [
        Rule("auth", "pam_unix.so", ("nullok",), "/etc/pam.d/common-auth:1"),
        Rule("auth", "pam_deny.so", (), "/etc/pam.d/common-auth:2"),
        Rule("account", "pam_nologin.so", (), "/etc/pam.d/sshd:5"),
        Rule("account", "pam_unix.so", (), "/etc/pam.d/common-account:1"),
        Rule("session", "pam_selinux.so", ("close",), "/etc/pam.d/sshd:8"),
        Rule("session", "pam_motd.so", ("motd=/run/motd.dynamic",), "/etc/pam.d/sshd:9"),
        Rule("session", "pam_lastlog.so", ("noupdate",), "/etc/pam.d/sshd:10"),
    ]


def test_include_and_substack_take_only_the_rules_of_their_kind(tree: Tree) -> None:
    # As Red Hat and Arch have it.
    tree.write(
        "/etc/pam.d/sshd", "auth substack system\naccount include system\n-session include system\n"
    )
    tree.write(
        "/etc/pam.d/system",
        "auth required pam_unix.so\naccount required pam_shells.so\nsession required pam_env.so\n",
    )
    assert modules(tree) == ["auth pam_unix.so", "account pam_shells.so", "session pam_env.so"]


def test_at_include_takes_all_rules(tree: Tree) -> None:
    tree.write("/etc/pam.d/sshd", "@include both\n")
    tree.write("/etc/pam.d/both", "auth required pam_a.so\nsession required pam_b.so\n")
    assert modules(tree) == ["auth pam_a.so", "session pam_b.so"]


def test_a_line_goes_on_behind_a_backslash(tree: Tree) -> None:
    tree.write(
        "/etc/pam.d/sshd",
        "account required \\\n  pam_access.so \\\n  accessfile=/etc/x\naccount required pam_b.so\n",
    )
    first, second = stack(tree.host(), "sshd")
    assert (first.module, first.arguments) == ("pam_access.so", ("accessfile=/etc/x",))
    assert second.module == "pam_b.so"


def test_a_module_by_its_path_is_the_same_module(tree: Tree) -> None:
    tree.write("/etc/pam.d/sshd", "auth required /usr/lib/security/pam_shells.so\n")
    assert modules(tree) == ["auth pam_shells.so"]


@pytest.mark.parametrize(
    "line",
    [
        "#auth required pam_shells.so",
        "  # auth required pam_shells.so",
        "",
        "auth required",
        "auth",
    ],
)
def test_what_is_no_rule(tree: Tree, line: str) -> None:
    tree.write("/etc/pam.d/sshd", f"{line}\n")
    assert modules(tree) == []


def test_vendors_files_count_where_etc_has_none(tree: Tree) -> None:
    tree.write("/usr/lib/pam.d/sshd", "auth required pam_vendor.so\n")
    assert modules(tree) == ["auth pam_vendor.so"]
    tree.write("/etc/pam.d/sshd", "auth required pam_mine.so\n")
    assert modules(tree) == ["auth pam_mine.so"]


@pytest.mark.parametrize("service", ["none", "../shadow", "/etc/shadow"])
def test_no_such_service(tree: Tree, service: str) -> None:
    tree.write("/etc/shadow", "auth required pam_x.so\n")
    assert modules(tree, service) == []


def test_a_file_that_includes_itself_comes_to_an_end(tree: Tree) -> None:
    tree.write("/etc/pam.d/sshd", "auth required pam_a.so\n@include other\n")
    tree.write("/etc/pam.d/other", "auth include sshd\n@include none\n")
    assert 0 < len(modules(tree)) <= 10


def test_a_stack_is_read_once(tree: Tree) -> None:
    tree.write("/etc/pam.d/sshd", "auth required pam_a.so\n")
    host = tree.host()
    for _ in range(50):
        stack(host, "sshd")
    assert host.files.reads.count("/etc/pam.d/sshd") == 1


@given(text=st.text() | st.text(st.sampled_from("auth -@include[]=#\\\n\t/.so")))
def test_any_text_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    tree = Tree(tmp_path_factory.mktemp("pam"))
    tree.write("/etc/pam.d/sshd", text)
    lines = text.count("\n") + 1
    for rule in stack(tree.host(), "sshd"):
        path, _, number = rule.where.partition(":")
        assert path == "/etc/pam.d/sshd" and 1 <= int(number) <= lines
        assert rule.kind in text and rule.module in text


def test_files_that_include_each_other_often_do_not_multiply(tree: Tree) -> None:
    lines = "@include sshd\n@include other\nauth include sshd\n" * 20
    tree.write("/etc/pam.d/sshd", f"auth required pam_a.so\n{lines}")
    tree.write("/etc/pam.d/other", f"auth required pam_b.so\n{lines}")
    assert modules(tree) == ["auth pam_a.so", *["auth pam_b.so"] * 20]
