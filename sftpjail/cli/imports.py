"""import: take over jails that were made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..engine.engine import Engine
from ..errors import SftpJailError, UsageError
from ..errors.escapes import counted
from ..jails.handmade import Found, Member
from ..model import Profile
from ..operations.apply import for_config
from ..operations.daemons import reload_stale, unfinished
from ..operations.imports import Proposal, plan_import, proof, propose
from .context import Command, Context
from .users_conf import convert

_NOTHING = "no Match block of sshd has a ChrootDirectory that is not sftpjail's own"

# The settings of a profile that an import shows.
_SHORT = ("group", "match_user", "chroot", "start", "umask", "read_only", "deny")
_FIELDS = ("name", *_SHORT, "sshd_options", "keys_command", "trusted_ca", "principals")


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("import", "show jails that somebody made by hand, and take them over")
    parser.add_argument(
        "--apply", action="store_true", help="take over what can be, and leave what cannot"
    )
    parser.add_argument(
        "--users-conf",
        metavar="FILE",
        help="print the accounts of atmoz/sftp's users.conf as a file that apply reads",
    )
    parser.add_argument(
        "--keys",
        metavar="DIRECTORY",
        help="with --users-conf: where the keys of each are, as DIRECTORY/USER/*.pub",
    )
    parser.set_defaults(run=import_jails)


def import_jails(context: Context) -> int:
    """Show the jails made by hand and what prevents an import; with --apply, import them all."""
    given = context.arguments
    if given.users_conf:
        return convert(context)
    if given.keys:
        raise UsageError("--keys requires --users-conf")
    path = given.config
    with context.engine(reading=not context.arguments.apply) as engine:
        proposal = propose(engine.host, engine.config, path)
        context.answers["blocks"] = [_described(one) for one in proposal.found]
        if not context.arguments.apply:
            context.say(_shown(proposal) or [_NOTHING])
            return context.close(0)
        problems = [f"left as it is: {words}" for one in proposal.found for words in one.problems]
        if not proposal.wanted:
            return _refused(context, proposal, problems)
        left = _take_over(context, for_config(engine, proposal.config), proposal, path)
    context.warn(f"note: {words}" for words in proposal.notes)
    context.answer_problems([*problems, *left])
    return context.close(1 if problems else unfinished(left))


def _refused(context: Context, proposal: Proposal, problems: list[str]) -> int:
    """Report that nothing can be imported."""
    if proposal.found:
        many = counted(len(proposal.found), "block")
        raise SftpJailError(f"none of {many} can be imported: {'; '.join(problems)}")
    context.answers |= {"actions": [], "notices": [], "problems": []}
    context.say([f"nothing to do: {_NOTHING}"])
    return context.close(0)


def _take_over(context: Context, engine: Engine, proposal: Proposal, path: str) -> list[Any]:
    """Show or apply the import; return the problems still open."""
    plan = plan_import(engine, proposal, path)
    names = ", ".join(profile.name for one in proposal.wanted for profile in one.profiles)
    done = f"imported {counted(len(proposal.members), 'account')} as profile {names}"
    if context.dry_run:
        context.finish(engine, plan, done)
        return []
    notices = engine.apply(plan, proof(engine, proposal))
    left = reload_stale(engine)
    context.report(plan, notices, done)
    return left


def _shown(proposal: Proposal) -> list[str]:
    """Return the lines that describe a proposal."""
    lines = [line for one in proposal.found for line in _lines(one)]
    lines += [f"note: {words}" for words in proposal.notes]
    if proposal.wanted:
        many = counted(len(proposal.members), "account")
        lines.append(
            f"`sftpjail import --apply` takes over {many}; `sftpjail undo` gives them back"
        )
    return lines


def _lines(found: Found) -> Iterator[str]:
    yield f"{found.block}: {found.block.heading or 'for everybody'}"
    for profile in found.profiles:
        yield f"  profile {profile.name}: {', '.join(_settings(profile))}"
    for member in found.members:
        yield f"  account {member.account.name}: {member.chroot}, {_keys(member)}"
    for words in found.problems:
        yield f"  cannot be imported: {words}"
    for words in found.notes:
        yield f"  note: {words}"


def _settings(profile: Profile) -> Iterator[str]:
    """Yield the settings of an imported profile, without those that are always the same."""
    for name in _SHORT:
        value = getattr(profile, name)
        if value:
            words = value
            if isinstance(value, tuple):
                words = ",".join(value)
            yield f"{name} {'yes' if words is True else words}"
    yield from profile.sshd_options
    for name in ("keys_command", "trusted_ca", "principals"):
        if getattr(profile, name):
            yield f"{name} {getattr(profile, name)}"


def _keys(member: Member) -> str:
    if not member.files:
        return "no key file"
    return f"{counted(len(member.keys), 'key')} in {', '.join(member.files)}"


def _described(found: Found) -> Mapping[str, Any]:
    """Return a block in the form of --json."""
    return {
        "file": found.block.path,
        "line": found.block.number,
        "match": found.block.heading,
        "profiles": [_profile(profile) for profile in found.profiles],
        "accounts": [
            {
                "user": member.account.name,
                "uid": member.account.uid,
                "chroot": member.chroot,
                "keys": [key.fingerprint for key in member.keys],
                "key_files": list(member.files),
            }
            for member in found.members
        ],
        "problems": list(found.problems),
        "notes": list(found.notes),
    }


def _profile(profile: Profile) -> dict[str, Any]:
    values = {name: getattr(profile, name) for name in _FIELDS}
    return {n: list(value) if isinstance(value, tuple) else value for n, value in values.items()}
