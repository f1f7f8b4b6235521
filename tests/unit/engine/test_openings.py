"""What the history says of who is let in again, and of jails that needed nothing meanwhile."""

from __future__ import annotations

from fakesshd import sshd
from played import Stage, stage

from sftpjail.engine.plan import Event, OnUserDisable, OnUserEnable, OnUserExpire, Plan
from sftpjail.engine.summary import describe
from sftpjail.jails.membership import find
from sftpjail.operations.apply import plan_all
from sftpjail.operations.events import create_events

__all__ = ["sshd", "stage"]

RECORD = "var/lib/sftpjail/accounts/ann"
REPAIRED = "has its jail repaired: /srv/sftp/ann"


def disabled(stage: Stage, until: str) -> None:
    """Have ann disabled until a date."""
    engine = stage.engine()
    account = find("ann", engine.config, engine.host)
    stage.play(engine.plan([OnUserDisable(account, "left", "2099-12-31")]))
    record = stage.tree.root / RECORD
    record.write_text(record.read_text().replace("2099-12-31", until))


def words(stage: Stage, plan: Plan) -> list[str]:
    found = describe(plan, stage.engine().host, "apply")["what"]
    assert {item["account"] for item in found} <= {"ann"}
    return [item["what"] for item in found]


def applied(stage: Stage) -> list[str]:
    """What the history will say of `apply`."""
    engine = stage.engine()
    return words(stage, plan_all(engine, [], [find("ann", engine.config, engine.host)], []))


def planned(stage: Stage, *events: type[Event] | Event) -> list[str]:
    """The same of a command that makes ann's jail, as `enable` does, with further events."""
    engine = stage.engine()
    account = find("ann", engine.config, engine.host)
    made = create_events(account, engine.host, engine.manager)
    return words(stage, engine.plan([*made, *events]))


def test_who_is_let_in_on_a_date_has_no_jail_repaired(stage: Stage) -> None:
    disabled(stage, "2020-01-01")
    assert applied(stage) == ["is let in again: it was disabled until 2020-01-01"]


def test_who_is_let_in_may_have_its_jail_repaired_too(stage: Stage) -> None:
    disabled(stage, "2020-01-01")
    stage.tree.owners["/srv/sftp/ann"] = (7, 7)
    assert applied(stage) == ["is let in again: it was disabled until 2020-01-01", REPAIRED]


def test_who_is_let_in_since_its_jail_can_be_made(stage: Stage) -> None:
    disabled(stage, "jail")
    assert applied(stage) == ["is let in again: its jail can be made"]


def test_who_was_let_in_by_others_is_only_no_longer_noted(stage: Stage) -> None:
    disabled(stage, "")
    stage.tree.write("/etc/shadow", "ann:*:1:0:9:7:::\n")
    assert applied(stage) == ["is no longer noted as shut out by sftpjail"]


def test_who_is_enabled_has_no_jail_repaired(stage: Stage) -> None:
    disabled(stage, "")
    engine = stage.engine()
    account = find("ann", engine.config, engine.host)
    assert planned(stage, OnUserEnable(account)) == ["is enabled again"]


def test_a_change_of_an_account_is_no_repair_of_its_jail(stage: Stage) -> None:
    """As in `apply FILE`, which plans the jail of each account that it lists."""
    engine = stage.engine()
    account = find("ann", engine.config, engine.host)
    assert planned(stage, OnUserExpire(account, "2099-12-31")) == ["expires on 2099-12-31"]


def test_a_jail_that_is_repaired_is_said_to_be(stage: Stage) -> None:
    stage.tree.owners["/srv/sftp/ann"] = (7, 7)
    assert applied(stage) == [REPAIRED]
