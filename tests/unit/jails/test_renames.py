"""Which account a record is of, by its uid, and when that is certain."""

from __future__ import annotations

import json
import os

import pytest
from fakes import Tree

from sftpjail.config import Config
from sftpjail.errors import SftpJailError
from sftpjail.jails.former_names import account_with_recorded_uid, former_name, is_same_person
from sftpjail.jails.leftovers import leftovers
from sftpjail.jails.membership import find
from sftpjail.jails.renames import refuse_other

RECORD = "/var/lib/sftpjail/accounts/ann"
BIND = "/home/ann /srv/sftp/ann/home/ann none bind,x-sftpjail.user=ann,x-sftpjail.role=home 0 0"
DAY = 86400


@pytest.fixture
def renamed(tree: Tree) -> Tree:
    """A host on which ann, uid 1001, is zoe now, with another home and a new password."""
    tree.account("zoe", 1001)
    tree.group("sftponly", 500, "zoe")
    tree.write(RECORD, json.dumps({"uid": 1001, "made": ["/srv/sftp/ann"]}))
    os.utime(tree.root / RECORD.lstrip("/"), (100 * DAY, 100 * DAY))
    tree.write("/etc/shadow", "zoe:*:100:0:99999:7:::\n")
    return tree


def test_a_record_of_the_same_uid_has_the_former_name(renamed: Tree) -> None:
    host = renamed.host()
    zoe = find("zoe", Config(), host)
    assert former_name(zoe, host) == "ann"
    found = account_with_recorded_uid("ann", host)
    assert found is not None and found.name == "zoe"
    assert leftovers(Config(), host, {"zoe": zoe}) == {}, "what is zoe's is not left over"


@pytest.mark.parametrize("case", ["own record", "other uid", "two records", "two of one uid"])
def test_who_was_not_renamed(renamed: Tree, case: str) -> None:
    if case == "own record":
        renamed.write("/var/lib/sftpjail/accounts/zoe", '{"uid": 1001}')
    elif case == "other uid":
        renamed.write(RECORD, '{"uid": 1002}')
    elif case == "two records":
        renamed.write("/var/lib/sftpjail/accounts/eve", '{"uid": 1001}')
    else:
        renamed.people.insert(0, "first:x:1001:1001::/home/first:/bin/sh")
    host = renamed.host()
    for thorough in (True, False):
        assert former_name(find("zoe", Config(), host), host, thorough) == ""
    refuse_other(find("zoe", Config(), host), host)


def test_it_is_certain_by_the_home_or_an_older_password(renamed: Tree) -> None:
    host = renamed.host()
    zoe = find("zoe", Config(), host)
    assert not is_same_person(zoe, "ann", host), "useradd gives a uid again"
    with pytest.raises(SftpJailError, match="may be another person's") as caught:
        refuse_other(zoe, host)
    commands = [choice.command for choice in caught.value.choices]
    assert commands == [f"sftpjail adopt --{who} zoe" for who in ("another-person", "same-person")]

    renamed.write("/etc/shadow", "zoe:*:99:0:99999:7:::\n")
    host = renamed.host()
    assert is_same_person(zoe, "ann", host)
    with pytest.raises(SftpJailError, match="ann was renamed") as caught:
        refuse_other(zoe, host)
    assert caught.value.fix == "sftpjail apply"

    renamed.write("/etc/shadow", "zoe:*:0:0:99999:7:::\n")
    assert not is_same_person(zoe, "ann", renamed.host()), "0 is no day: it must be changed"
    renamed.fstab(BIND.replace("/home/ann /", "/home/zoe /"))
    assert is_same_person(zoe, "ann", renamed.host())


def test_whose_name_somebody_else_has_is_known_by_the_home_alone(renamed: Tree) -> None:
    """usermod -u may have given ann another uid, and useradd the old one to zoe."""
    renamed.account("ann", 1005)
    renamed.write("/etc/shadow", "zoe:*:99:0:99999:7:::\n")
    host = renamed.host()
    zoe, ann = (find(name, Config(), host) for name in ("zoe", "ann"))
    assert former_name(zoe, host) == "ann" and former_name(zoe, host, thorough=False) == ""
    assert former_name(ann, host) == "" and leftovers(Config(), host, {}) == {}
    for account in (zoe, ann):
        with pytest.raises(SftpJailError, match="may be either's") as caught:
            refuse_other(account, host)
        zoes, anns, nobodys = [choice.command for choice in caught.value.choices]
        assert zoes == "sftpjail adopt --same-person zoe"
        assert anns == "sftpjail adopt --same-person ann && sftpjail apply"
        assert nobodys == "sftpjail adopt --another-person ann && sftpjail apply"

    renamed.fstab(BIND.replace("/home/ann /", "/home/zoe /"))
    host = renamed.host()
    for account in (zoe, ann):
        with pytest.raises(SftpJailError, match="ann was renamed") as caught:
            refuse_other(account, host)
        assert caught.value.fix == "sftpjail apply"


@pytest.mark.parametrize("left", ['{"made": ["/srv/sftp/zoe"]}', '{"uid": 1009}'])
def test_an_earlier_ones_record_is_none_of_who_was_renamed(renamed: Tree, left: str) -> None:
    renamed.write("/var/lib/sftpjail/accounts/zoe", left)
    host = renamed.host()
    assert former_name(find("zoe", Config(), host), host) == "ann"
