"""metrics: what Prometheus is told of a host, what is left out, and what is kept for the next time."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path

import exposition
import pytest
from exposition import Found
from fakesshd import sshd
from played import Run, Stage, run, stage

from sftpjail import SftpJailError, __version__
from sftpjail.cli import metrics as command
from sftpjail.config import Metrics
from sftpjail.paths import COUNTED
from sftpjail.reports import metrics
from sftpjail.reports.metrics import Collected, keep
from sftpjail.system.programs import Answer
from sftpjail.transferlog.totals import Totals, as_text, read

__all__ = ["run", "sshd", "stage"]

LOG, AUTH = "/var/log/sftp.log", "/var/log/auth.log"
STAMP = "2026-11-24T09:00:00+00:00 host"
BYTES = "sftpjail_transfer_bytes_total"
FAILED = "sftpjail_failed_logins_total"
EXPIRY = "sftpjail_key_expiry_timestamp_seconds"
RULES = Path(__file__).parents[3] / "packaging/examples/prometheus-rules.yml"


@pytest.fixture
def published(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """What was written for node_exporter; what is kept is kept on the stage."""
    found: list[tuple[str, bytes]] = []
    monkeypatch.setattr(command, "one_at_a_time", contextlib.nullcontext)
    monkeypatch.setattr(command, "publish", lambda path, text: found.append((path, text)))
    monkeypatch.setattr(metrics, "sessions", lambda: [])
    keep_counted = lambda text: stage.tree.write(COUNTED, text)  # noqa: E731
    monkeypatch.setattr(metrics.kept, "keep_counted", keep_counted)
    for path in (LOG, AUTH):
        stage.tree.write(path, f"{STAMP} cron[1]: hello\n")
    return found


def append(stage: Stage, path: str, *lines: str) -> None:
    text = "".join(f"{STAMP} {line}\n" for line in lines)
    with open(stage.tree.root / path.lstrip("/"), "a", encoding="utf-8") as handle:
        handle.write(text)


def closed(name: str, read: int, written: int, uid: int | str = 1001) -> str:
    return f'uid={uid} internal-sftp[7]: close "{name}" bytes read {read} written {written}'


def told(run: Run, *options: str) -> Found:
    code, out = run("metrics", *options)
    assert code == 0 and not run.err, run.err
    return exposition.read(out.encode("utf-8"))


def test_what_is_told_of_a_host(run: Run, stage: Stage, published: object) -> None:
    found = told(run)
    assert found["sftpjail_build_info"][2] == {(("version", __version__),): 1}
    assert found["sftpjail_jails"][2][(("state", "ok"),)] == 1
    assert len(found["sftpjail_jails"][2]) == 10, "a state that nobody is in is 0"
    assert found["sftpjail_sessions"][2] == {(): 0}
    assert set(found["sftpjail_problems"][2].values()) == {0}
    assert EXPIRY not in found and set(found["sftpjail_collector_success"][2].values()) == {1}
    assert found[BYTES][2] == {
        (("user", "ann"), ("direction", "upload")): 0,
        (("user", "ann"), ("direction", "download")): 0,
    }
    assert found[FAILED][2] == {(("user", "ann"),): 0}
    stage.tree.directory("/srv/sftp/ann", 0o775)
    stage.tree.owners.pop("/srv/sftp/ann", None)
    found = told(run)
    assert found["sftpjail_problems"][2][(("severity", "broken"),)] == 1
    assert found["sftpjail_jails"][2][(("state", "ok"),)] == 0


def test_counters_go_on_and_count_only_what_is_sure(
    run: Run, stage: Stage, published: object
) -> None:
    append(stage, LOG, closed("before", 1, 1))
    told(run)
    append(
        stage,
        LOG,
        closed("a", 0, 1000),
        closed("b", 30, 0),
        closed("of bob, who is not jailed", 7, 7, 1002),
        closed("of nobody knows whom", 7, 7, ""),
    )
    append(
        stage,
        AUTH,
        "sshd[2]: Connection closed by authenticating user ann ::5 port 1 [preauth]",
        "sshd[3]: Connection closed by authenticating user bob ::5 port 1 [preauth]",
        "sshd[4]: Accepted password for ann from ::2 port 6 ssh2",
    )
    for _ in range(2):
        found = told(run)
        up, down = (
            found[BYTES][2][(("user", "ann"), ("direction", way))] for way in ("upload", "download")
        )
        assert (up, down) == (1000, 30) and found[FAILED][2] == {(("user", "ann"),): 1}
    append(stage, LOG, closed("c", 0, 1))
    sums = told(run, "--no-accounts")
    assert sums[BYTES][2] == {(("direction", "upload"),): 1001, (("direction", "download"),): 30}
    assert sums[FAILED][2] == {(): 1}


def test_a_dry_run_counts_nothing(run: Run, stage: Stage, published: list[object]) -> None:
    told(run)
    before = stage.tree.host().text(COUNTED)
    append(stage, LOG, closed("a", 0, 5))
    assert run("metrics", "--dry-run", "--output", "/x.prom") == (0, "") and published == []
    assert stage.tree.host().text(COUNTED) == before
    assert 5 in told(run)[BYTES][2].values()


def test_an_account_that_is_gone_is_forgotten_and_its_sum_is_not(
    run: Run, stage: Stage, published: object
) -> None:
    told(run)
    append(stage, LOG, closed("a", 0, 5))
    told(run)
    stage.tree.group_lines[:] = [
        line.replace("ann", "bob") if line.startswith("sftponly:") else line
        for line in stage.tree.group_lines
    ]
    found = told(run, "--no-check")
    assert set(found[BYTES][2]) == {
        (("user", "bob"), ("direction", way)) for way in ("upload", "download")
    }
    kept = read(stage.tree.host().text(COUNTED))
    assert kept.transfers.sums == {} and kept.transfers.every == [5, 0]
    assert 5 in told(run, "--no-accounts")[BYTES][2].values()


def test_keys_that_expire(run: Run, stage: Stage, published: object) -> None:
    stage.tree.write(
        "/etc/ssh/authorized_keys/ann",
        'expiry-time="20270105Z" ssh-ed25519 AAAAgood la"p\\top\nssh-ed25519 AAAAgoodtoo for ever\n'
        'Expiry-Time="202001010000Z",restrict ssh-ed25519 AAAAgoodold old\n',
    )
    found = told(run, "--no-check")[EXPIRY][2]
    assert {dict(labels)["key"]: at for labels, at in found.items()} == {
        'la"p\\top': 1799107200,
        "old": 1577836800,
    }
    assert {dict(labels)["user"] for labels in found} == {"ann"}
    assert told(run, "--no-accounts", "--no-check")[EXPIRY][2] == {(): 1799107200}


def test_a_part_that_fails_is_left_out_and_said(
    run: Run, stage: Stage, published: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise SftpJailError("sshd does not answer")

    monkeypatch.setattr(metrics, "judge", broken)
    (stage.tree.root / AUTH.lstrip("/")).unlink()
    code, out = run("metrics")
    found = exposition.read(out.encode())
    failed = {
        dict(labels)["collector"]
        for labels, good in found["sftpjail_collector_success"][2].items()
        if not good
    }
    assert code == 0 and failed == {"check", "logins"}
    assert "no metrics of check: sshd does not answer" in run.err
    assert not {"sftpjail_problems", FAILED} & found.keys() and BYTES in found


def test_what_was_counted_before_a_failure_counts_once(
    run: Run, stage: Stage, published: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(run)
    append(stage, LOG, closed("a", 0, 5))
    with monkeypatch.context() as patch:
        real = metrics.Since.transfers

        def half(self: metrics.Since, config: object) -> object:
            yield from real(self, config)  # type: ignore[arg-type]
            raise SftpJailError("the disk is gone")

        patch.setattr(metrics.Since, "transfers", half)
        assert BYTES not in exposition.read(run("metrics")[1].encode())
    assert 5 in told(run)[BYTES][2].values()


def test_another_configuration_leaves_the_sums(run: Run, stage: Stage, published: object) -> None:
    told(run)
    before = stage.tree.host().text(COUNTED)
    append(stage, LOG, closed("a", 0, 5))
    assert run("--config", "/root/other.conf", "metrics")[0] == 0
    assert stage.tree.host().text(COUNTED) == before
    assert 5 in told(run)[BYTES][2].values()


def test_the_file_of_the_configuration(
    run: Run, stage: Stage, published: list[tuple[str, bytes]]
) -> None:
    assert run("metrics", "--write")[0] == 2 and "has no file in [metrics]" in run.err
    stage.config = replace(stage.config, metrics=Metrics("/x/sftpjail.prom", False, False))
    assert run("metrics", "--write") == (0, "")
    ((path, text),) = published
    assert path == "/x/sftpjail.prom" and "sftpjail_problems" not in exposition.read(text)
    assert read(stage.tree.host().text(COUNTED)).file == path
    # By hand another one is written, and the timer's stays the timer's.
    run("metrics", "--output", "/y.prom")
    assert published[1][0] == "/y.prom"
    assert read(stage.tree.host().text(COUNTED)).file == path
    answer = json.loads(run("--json", "metrics", "--write")[1])
    assert answer["file"] == path and answer["metrics"][0]["name"] == "sftpjail_build_info"
    for wrong in ("/etc/passwd", "", "/x/.prom"):
        assert run("metrics", "--output", wrong)[0] == 2 and "end in .prom" in run.err


def test_the_file_of_an_earlier_configuration_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    written: list[str] = []
    monkeypatch.setattr(metrics.kept, "withdraw", gone.append)
    monkeypatch.setattr(metrics.kept, "keep_counted", written.append)
    assert keep(Collected(counted=Totals("/old.prom")), "/new.prom") == []
    assert gone == ["/old.prom"] and written == [as_text(Totals("/new.prom"))]
    assert keep(Collected(counted=Totals("/new.prom")), "") == [] and gone == ["/old.prom"]

    def refuse(path: str) -> None:
        raise SftpJailError("a link")

    monkeypatch.setattr(metrics.kept, "withdraw", refuse)
    (problem,) = keep(Collected(counted=Totals("/old.prom")), "/new.prom")
    assert "/old.prom is still there" in problem.what


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("ExecMainExitTimestamp=@1795980226\nExecMainStatus=1\n", (1795980226, 1)),
        ("ExecMainExitTimestamp=\nExecMainStatus=0\n", None),
        ("", None),
    ],
)
def test_the_last_run_of_the_unit(
    stage: Stage, said: str, wanted: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.tree.directory("/run/systemd/system")
    engine = stage.engine()
    monkeypatch.setattr(engine.host, "ask", lambda argv: Answer(0, said, ""))
    found = list(metrics.Collector(engine, Metrics(), Totals())._of_apply())
    assert [family.samples[0].value for family in found] == list(wanted or ())


def test_the_alerts_are_about_metrics_that_there_are(
    run: Run, stage: Stage, published: object
) -> None:
    stage.tree.write(
        "/etc/ssh/authorized_keys/ann", 'expiry-time="20270105" ssh-ed25519 AAAAgood x\n'
    )
    named = set(re.findall(r"sftpjail_[a-z_]+", RULES.read_text(encoding="utf-8")))
    assert named and named <= told(run).keys()
