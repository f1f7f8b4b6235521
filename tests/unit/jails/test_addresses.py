"""From where an account may come: who reads the list."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes import Programs, Tree

from sftpjail.jails.addresses import asks_another, is_enforced, match_blocks, needs_setup
from sftpjail.openssh.pam_session import LIMITS
from sftpjail.paths import ADDRESSES, LIMITED
from sftpjail.system.programs import Answer

BLOCK = ["Match User ann Address *,!192.0.2.7", "    DenyUsers *@*"]


@pytest.mark.parametrize(
    ("found", "by_pam"),
    [
        ("usepam yes", True),
        ("usepam yes\nusedns no\npamservicename sshd", True),
        ("usepam no", False),
        ("usepam yes\nusedns yes", False),
        ("usepam yes\npamservicename other", False),
    ],
)
def test_pam_reads_the_list_where_it_is_told_addresses(
    tree: Tree, programs: Programs, found: str, by_pam: bool
) -> None:
    programs.answer("-T", out=f"{found}\n")
    tree.program("sshd")
    tree.write(ADDRESSES, "-:ann:ALL EXCEPT 192.0.2.7\n")
    tree.write(LIMITED, "ann\n")
    tree.write("/etc/pam.d/sshd", "\n".join([*LIMITS, ""]))
    assert match_blocks(tree.host()) == ([] if by_pam else BLOCK)
    assert is_enforced(tree.host()) == by_pam
    assert needs_setup({"ann": ("192.0.2.8",)}, tree.host()) != by_pam
    if not by_pam:
        dropin = "\n".join([*BLOCK, ""])
        tree.write("/etc/ssh/sshd_config.d/10-sftpjail.conf", dropin)
        assert is_enforced(tree.host())


def test_a_service_of_somebody_elses_for_one_account_is_seen(
    tree: Tree, programs: Programs
) -> None:
    def answer(argv: Sequence[str], _: object) -> Answer:
        other = "pamservicename other\n" if "user=ann" in " ".join(argv) else ""
        return Answer(0, f"usepam yes\n{other}", "")

    programs.answer_by("sshd", answer)
    tree.program("sshd")
    for uid, name in enumerate(("ann", "bob"), 1001):
        tree.account(name, uid)
    tree.write(ADDRESSES, "-:ann:ALL EXCEPT 192.0.2.7\n-:bob:ALL EXCEPT 192.0.2.7\n")
    assert asks_another(tree.host()) == ["ann"]
