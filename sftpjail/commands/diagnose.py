"""check and explain: what is wrong with the host and its jails, and why sshd does with one account what it does."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from shlex import quote
from textwrap import wrap
from typing import TYPE_CHECKING

from .. import fixes
from ..actions import Check, Notify
from ..closing import is_shut, lets_in
from ..config import PATH
from ..engine import Engine, Plan, interrupted
from ..errors import SftpJailError
from ..escapes import Advice, one_line, shown
from ..events import create_events, remove_events
from ..host import Host
from ..jails import find, find_jailed, jailed, left_names, leftover, lost_groups, silent, why_not
from ..manager import Event
from ..model import Account, Fact, Finding, inside, valid_name
from .context import Command, Context
from .hosts import guarded, plan_all, unanswered

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

THOROUGH = 50  # up to so many accounts each one is worth a question to sshd and the like
WIDTH = 80  # columns
SETUP = "sftpjail setup"
MEND, FURTHER = "   mend: ", "     "
TOPICS = ("account", "sshd", "keys", "chroot", "session", "mounts", "log")  # of the picture, in order; others after


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("check", "say what is wrong, and the command that mends it")
    parser.add_argument("users", nargs="*", metavar="USER")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended safely, and say what is left")
    parser.set_defaults(run=check)
    parser = add_parser("explain", "why sshd does with an account what it does")
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=explain)


@dataclass(frozen=True)
class Fault:
    """A finding, and whom it is about: an account, or "host"."""

    about: str
    what: str
    why: str
    mend: str
    advice: str = ""
    severity: str = "broken"

    def __post_init__(self) -> None:
        found = Finding(self.what, self.why, self.mend, self.advice)  # which makes one line of each
        texts = {"about": one_line(self.about), "what": found.what, "why": found.why}
        for name, text in (texts | {"mend": found.mend, "advice": found.advice}).items():
            object.__setattr__(self, name, text)


def _fault(about: str, found: Finding) -> Fault:
    return Fault(about, found.what, found.why, found.mend, found.advice, found.severity)


def _veto(about: str, error: SftpJailError, why: str) -> Fault:
    if isinstance(error.hint, Advice):
        return Fault(about, error.message, why, "", error.hint, error.severity)
    return Fault(about, error.message, why, error.hint, severity=error.severity)


def _wrong(faults: Iterable[Fault]) -> bool:
    """Return whether there is more than advice."""
    return any(fault.severity != "advice" for fault in faults)


def _title(fault: Fault) -> str:
    return f"advice: {fault.what}" if fault.severity == "advice" else fault.what


def check(context: Context) -> int:
    """Judge the host and the jails; with --fix apply what `setup` and `apply` would change, and judge again."""
    fix = context.arguments.fix
    with context.engine(reading=not fix, tolerant=True) as engine:
        faults = judge(engine, context.arguments.users)
        context.answers["faults"] = [asdict(fault) for fault in faults]
        if not fix:
            _tell(context, faults)
            if not _wrong(faults):
                context.say([f"{len(_chosen(engine, context.arguments.users))} jails, no faults"])
            return context.close(3 if _wrong(faults) else 0)
        _mend(context, engine)
        engine = Engine(engine.config, Host(), engine.manager)
        left = faults if context.dry_run else judge(engine, context.arguments.users)
    mended = [fault for fault in faults if fault not in left]
    context.answers |= {"mended": [asdict(fault) for fault in mended], "left": [asdict(fault) for fault in left]}
    context.say(f"mended: {fault.about}: {fault.what}" for fault in mended)
    if left and not context.dry_run:
        context.say(["left to you, because it is not sftpjail's own, or a decision:"])
        _tell(context, left)
    return context.close(3 if _wrong(left) else 0)


def _tell(context: Context, faults: Iterable[Fault]) -> None:
    for fault in faults:
        context.say([f"{fault.about}: {_title(fault)} ({fault.why})", *_remedy(fault)])


def _remedy(fault: Fault) -> list[str]:
    """Return the line below a fault: what mends it, or what a person is to do."""
    if fault.mend:
        return [f"  mend: {fault.mend}"]
    return [f"  advice: {fault.advice}"] if fault.advice else []


def _mend(context: Context, engine: Engine) -> None:
    """Apply the plan of `setup` and `apply` as one transaction; where setup cannot be done, that of the jails."""
    users = context.arguments.users
    chosen = _chosen(engine, users)
    skipped = guarded(engine, chosen)
    willing = [account for name, account in chosen.items() if name not in skipped]
    try:
        narrow = users or lost_groups(engine.config, engine.host)
        plan = plan_all(engine, [] if narrow else [Event("on_setup")], willing, [], by="check --fix")
    except SftpJailError:
        plan = plan_all(engine, [], willing, [], by="check --fix")
    context.finish(engine, plan, "made the changes of `sftpjail setup` and `sftpjail apply`")


def _chosen(engine: Engine, users: list[str]) -> dict[str, Account]:
    """Return the jails to look at: all, or those that are named. Raises SftpJailError for one that is none."""
    if not users:
        return jailed(engine.config, engine.host)
    return {name: find_jailed(valid_name(name), engine.config, engine.host) for name in users}


def judge(engine: Engine, users: list[str]) -> list[Fault]:
    """Return every fault of the host and the jails, or of some accounts alone; each once.

    Args:
        engine: with the facts as they are now.
        users: whom to judge; nobody means everybody and the host.

    Raises:
        SftpJailError: one of them is not jailed.
    """
    chosen = _chosen(engine, users)
    engine.host.thorough = len(chosen) <= THOROUGH
    faults = _failures(engine)
    if not users:
        faults += _host_faults(engine)
    skipped = guarded(engine, chosen)
    changes = plan_all(engine, [], [account for name, account in chosen.items() if name not in skipped], [], by="")
    for account in chosen.values():
        faults += _account_faults(engine, account, changes, skipped.get(account.name, ""))
    if not users:
        faults += _remains(engine, chosen)
    return _once(faults)


def _failures(engine: Engine) -> list[Fault]:
    return [_veto("host", error, "its hooks do not run") for error in engine.manager.failures]


def _once(faults: Iterable[Fault]) -> list[Fault]:
    """Return the faults without those that say the same again, also of an account what was said of the host."""
    seen: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        if ("host", fault.what) not in seen:
            seen.setdefault((fault.about, fault.what), fault)
    return list(seen.values())


def _host_faults(engine: Engine) -> Iterator[Fault]:
    host = engine.host
    if interrupted(host):
        what = "an interrupted run is not taken back yet"
        yield Fault("host", what, "something may be half done", "sftpjail apply")
    found = [_fault("host", finding) for finding in engine.manager.findings(None, host)]
    yield from found
    why = "whether their jails are as they should be is not known, and nothing of them is changed"
    yield from (Fault("host", words, why, f"getent passwd {silent(host)[0]}") for words in unanswered(host))
    try:
        plan = engine.plan([Event("on_setup")])
    except SftpJailError as veto:
        yield _veto("host", veto, "setup cannot be done")
        return
    changed = _summary(plan, host, found)
    if plan and (changed or not found):
        yield Fault("host", f"not as configured: {changed}", "setup would change it", SETUP)


def _summary(plan: Plan, host: Host, known: Iterable[Fault] = ()) -> str:
    """Return what a plan changes, in a few words of its diff; its checks and notices come along by themselves.

    Args:
        plan: not applied.
        host: the facts.
        known: faults that have named some of the paths already, to give them back or to set the host up.
    """
    heads: dict[str, None] = {}
    for step in plan.steps:
        kind, *about = step.action.key
        named = any(one_line(str(about[0])) in fault.what for fault in known if kind == "owner" or fault.mend == SETUP)
        if named or step.plugin == "sftpjail" or isinstance(step.action, Check | Notify):
            continue
        lines = list(step.action.diff(host))
        if lines and lines[0].startswith("--- "):  # a file: its name, and the first line that comes or goes
            changed = (line for line in lines[2:] if line[:1] in ("+", "-"))
            lines = [f"~ {lines[0][4:]}: {next(changed, '')}"]
        heads |= dict.fromkeys(lines[:1])
    words = list(heads)
    return "; ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _account_faults(engine: Engine, account: Account, changes: Plan, reason: str) -> Iterator[Fault]:
    """Yield what the plugins find, then what `apply` would change or cannot, unless a finding has said so."""
    name, host = account.name, engine.host
    found = [_fault(name, found) for found in engine.manager.findings(account, host)]
    yield from found
    mends = {fault.mend for fault in found if fault.mend}
    if reason:
        yield Fault(
            name, f"is in a jail group, and {reason}", "sshd jails it all the same", _out_of_group(account, host)
        )
    error = changes.errors.get(name)
    if error and (error.hint not in mends or is_shut(account, host) or _is_open(account, host)):
        fault = _veto(name, error, "the jail cannot be made")
        yield replace(fault, severity="open") if _is_open(account, host) else fault
    elif not error and any(step.owner == name for step in changes.steps) and "sftpjail apply" not in mends:
        changed = _summary(engine.plan(create_events(account, host, engine.manager)), host, found)
        if changed:
            yield Fault(name, f"not as configured: {changed}", "apply would change it", "sftpjail apply")


def _is_open(account: Account, host: Host) -> bool:
    """Return whether sshd lets an account in whose jail cannot be made."""
    try:
        return lets_in(account, host) and not is_shut(account, host)
    except SftpJailError:
        return False


def _out_of_group(account: Account, host: Host) -> str:
    """Return the command by which an account is in no jail group any more."""
    profile = account.profile
    assert profile is not None
    if account.name in profile.match_user:
        return f"sensible-editor {PATH}"
    group = host.group(profile.group)
    if group and group.gid == account.gid:
        return f"usermod -g {account.name if host.group(account.name) else 'GROUP'} {account.name}"
    return f"gpasswd -d {account.name} {profile.group}"


def _remains(engine: Engine, jails: dict[str, Account]) -> Iterator[Fault]:
    """Yield what departed accounts have left."""
    host = engine.host
    for name in left_names(engine.config, host, jails):
        try:
            account = leftover(name, engine.config, host)
        except SftpJailError as error:
            yield _veto(name, error, "what was there before its jail is not known")
            continue
        gone = "there is no such account any more" if host.account(name) is None else "it left its profile's group"
        if host.account(name) and _groupless(account, host):
            mend = f"sftpjail setup && sftpjail adopt {quote(name)}"
            yield Fault(name, "is jailed no more: the group of its profile is gone", "sshd jails by membership", mend)
            continue
        if engine.plan(remove_events(account, host, deleted=False), tolerant=True):
            yield Fault(name, "left something of a jail behind", gone, "sftpjail apply --prune")
            continue
        left = [path for path in host.origin(name).made if host.lstat(path) is not None]
        mend = fixes.remove_trees(left, host)
        mend = f"{mend} && sftpjail apply --prune" if mend else ""
        # rm --one-file-system does not stop at a bind mount of the same file system.
        if any(inside(point, host.realpath(path)) for path in left for point in host.mounts):
            mend = f"findmnt | grep -F {quote(account.jail)}"
        what = f"left files in {' '.join(map(shown, left))}"
        why = f"{gone}, and they are data, which sftpjail never deletes"
        yield Fault(name, what, why, mend, fixes.advice(left[0], host))


def _groupless(account: Account, host: Host) -> bool:
    """Return whether the group of an account's profile is not there at all."""
    return bool(account.profile and account.profile.group and host.group(account.profile.group) is None)


def explain(context: Context) -> int:
    """Show what decides about one account, and what is wrong with it."""
    with context.engine(reading=True, tolerant=True) as engine:
        account = find(context.arguments.user, engine.config, engine.host)
        facts = engine.manager.facts(account, engine.host)
        problems = _problems(engine, account)
    context.answers |= {
        "user": account.name,
        "profile": account.profile.name if account.profile else None,
        "facts": [asdict(fact) for fact in facts],
        "problems": [
            {"what": f.what, "why": f.why, "mend": f.mend, "advice": f.advice, "severity": f.severity} for f in problems
        ],
    }
    if not context.json:
        _draw(account, facts, problems)
    return context.close(3 if _wrong(problems) else 0)


def _problems(engine: Engine, account: Account) -> list[Fault]:
    host = engine.host
    faults = _failures(engine)
    faults += [_fault("host", found) for found in engine.manager.findings(None, host)]
    if account.profile is None:
        what = f"{account.name} is not jailed: it is in no profile's group"
        reason = why_not(account, host)
        why = reason or "sshd treats it like any other account"
        mend = f"sftpjail adopt {account.name}"
        if _groupless(leftover(account.name, engine.config, host), host):
            mend = f"sftpjail setup && {mend}"
        return [Fault(account.name, what, why, "" if reason else mend)]
    plan = plan_all(engine, [], [account], [], by="")
    reason = guarded(engine, {account.name: account}).get(account.name, "")
    return _once([*faults, *_account_faults(engine, account, plan, reason)])


# -- the picture ------------------------------------------------------------------------------------------------


def _draw(account: Account, facts: list[Fact], problems: list[Fault]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    where = f"jailed in {account.jail} by profile {account.profile.name}" if account.profile else "not jailed"
    with console.capture() as picture:
        console.print(_cell(f"{account.name}: {where}", "bold"))
        for topic in sorted({fact.topic: 0 for fact in facts}, key=lambda name: [*TOPICS, name].index(name)):
            console.print()
            console.print(_cell(topic, "bold"))
            draw = _draw_tree if topic == "chroot" else _draw_table
            draw(console, [fact for fact in facts if fact.topic == topic])
        count = len(problems)
        console.print()
        console.print(_cell(f"{count} problem{'s' * (count != 1)}", "bold red" if count else "bold green"))
        for number, fault in enumerate(problems, 1):
            _draw_fault(console, number, fault)
    print("\n".join(line.rstrip() for line in picture.get().splitlines()))


def _draw_fault(console: Console, number: int, fault: Fault) -> None:
    """Draw a fault. Where a text goes on in a next line that has a mark, so that it is no line of ours."""
    for text, head, style in ((_title(fault), f"{number}. ", "red"), (fault.why, "   why: ", "")):
        _draw_text(console, text, head, style)
    for at, line in enumerate(wrap_command(fault.mend, console.width - len(MEND))):
        head = MEND if at == 0 else FURTHER
        console.print(_cell(f"{head}{line}", "bold"), soft_wrap=True)
    if fault.advice:
        _draw_text(console, fault.advice, "   advice: ", "bold")


def _draw_text(console: Console, text: str, head: str, style: str = "") -> None:
    """Draw a text of one line on as many as it needs: their breaks are ours, and rich must add none of its own."""
    from rich.text import Text

    for line in _wrapped(text, console.width, head, "   > "):
        console.print(Text(line, style=style), soft_wrap=True)


def _wrapped(text: str, width: int, head: str, further: str) -> list[str]:
    from rich.cells import get_character_cell_size

    # textwrap(3) counts characters, and some take two columns: with a NUL, which no text has by now, those count so.
    counted = "".join(c + "\0" if get_character_cell_size(c) > 1 else c for c in one_line(text))
    lines = wrap(counted, width, initial_indent=head, subsequent_indent=further)
    return [line.replace("\0", "") for line in lines] or [head]


def _cell(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(one_line(text), style=style, overflow="fold")


def _draw_table(console: Console, facts: list[Fact]) -> None:
    """Draw facts in three columns. A cell that goes on in a next line does so behind a mark: it is no line of ours."""
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    rows = [(" " + "  " * fact.depth + fact.name, fact.value, fact.note) for fact in facts if fact.name]
    longest = [max((cell_len(one_line(row[column])) for row in rows), default=0) for column in range(3)]
    first = min(longest[0], console.width // 2)
    left = console.width - first - 4
    second = min(longest[1], max(left - longest[2], left // 2))
    widths = (first, second, left - second)
    for row, fact in zip(rows, (fact for fact in facts if fact.name), strict=True):
        cells = [_folded(text, width) for text, width in zip(row, widths, strict=True)]
        for line in zip_longest(*cells, fillvalue=""):
            sized = [set_cell_size(text, width) for text, width in zip(line, widths, strict=True)]
            note = Text(sized[2], style="red" if fact.bad else "")
            console.print(Text(f"{sized[0]}  {sized[1]}  ").append_text(note), soft_wrap=True)
    for fact in facts:
        if not fact.name:
            _draw_text(console, fact.value, " - ", "red" if fact.bad else "")


def _folded(text: str, width: int) -> list[str]:
    """Return a text in lines of a column's width."""
    lead = text[: len(text) - len(text.lstrip(" "))]
    return _wrapped(text.strip(" "), max(width, 8), lead, f"{lead}> ")


def _draw_tree(console: Console, facts: list[Fact]) -> None:
    from rich.tree import Tree

    branches: list[Tree] = []
    roots: list[Tree] = []
    for fact in facts:
        label = _cell(f"{fact.name}  {fact.value}  {fact.note}".rstrip(), "red" if fact.bad else "")
        del branches[fact.depth :]
        if not branches:
            roots.append(Tree(label))
        branches.append(branches[-1].add(label) if branches else roots[-1])
    for root in roots:
        console.print(root)


def wrap_command(command: str, width: int = WIDTH - 3) -> list[str]:
    """Break a shell command into lines that can be pasted as they are: between words, with a backslash."""
    lines = [""]
    for word in re.findall(r"(?:'[^']*'|\"[^\"]*\"|\\.|[^\s'\"\\])+", command):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    with contextlib.suppress(ValueError):
        if shlex.split(" ".join(line.removesuffix(" \\") for line in lines)) == shlex.split(command):
            return lines if lines != [""] else []
    return [command]
