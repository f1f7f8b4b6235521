"""How a process that a unit confines is imitated, and described."""

from __future__ import annotations

from sftpjail.system.confinement import Confinement, confinement


def test_nothing_is_done_for_a_process_that_is_not_confined() -> None:
    assert Confinement().prefix(7) == [] and str(Confinement()) == ""


def test_each_kind_of_confinement_is_imitated_and_named() -> None:
    found = Confinement((18, 40), True, True)
    assert found.prefix(7) == [
        "nsenter",
        "--mount=/proc/7/ns/mnt",
        "setpriv",
        "--bounding-set=-cap_18,-cap_40",
        "--no-new-privs",
    ]
    words = "in its own mount namespace, without CAP_SYS_CHROOT, CAP_CHECKPOINT_RESTORE, with NoNewPrivileges"
    assert str(found) == words and found.names == ("CAP_SYS_CHROOT", "CAP_CHECKPOINT_RESTORE")


def test_a_process_is_not_confined_beside_itself() -> None:
    import os

    assert confinement(os.getpid()) == Confinement()
