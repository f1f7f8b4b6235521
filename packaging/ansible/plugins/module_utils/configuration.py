# Copyright: the sftpjail developers
# MIT license: see LICENSE
"""A dictionary as sftpjail.conf(5), which is ConfigObj's format without interpolation."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible.module_utils.common.text.converters import to_text

HEADER = (
    "# Written by Ansible (sftpjail.sftpjail.host); changes here are lost. See sftpjail.conf(5).\n"
)
# What ConfigObj would not read back as it stands.
SPECIAL = set(" \t,#'\"[]=")


def render(config):
    """Return the text of a configuration.

    Args:
        config: values, lists of them, and dictionaries, which are sections of any depth.

    Raises:
        ValueError: a name or value cannot be written.
    """
    return HEADER + "".join(line + "\n" for line in _section(config, 0))


def _section(content, depth):
    """Return the lines of a section.

    Its own values come first: behind a section they would belong to that.
    """
    lines = []
    for name, value in content.items():
        if not isinstance(value, dict):
            lines.append("{0} = {1}".format(_quoted(name), _value(value)))
    for name, value in content.items():
        if isinstance(value, dict):
            marks = "[" * (depth + 1), "]" * (depth + 1)
            lines += ["", marks[0] + _quoted(name) + marks[1]]
            lines += _section(value, depth + 1)
    return lines


def _value(value):
    if isinstance(value, (list, tuple)):
        # A comma at the end makes a list of one, and of none.
        return ", ".join(_scalar(item) for item in value) + ("," if len(value) < 2 else "")
    return _scalar(value)


def _scalar(value):
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _quoted(value)


def _quoted(value):
    """Return a word that ConfigObj reads as VALUE, in quotes where it must be.

    ConfigObj knows no escapes.
    """
    text = to_text(value, errors="surrogate_or_strict")
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("a value of several lines cannot be written: {0!r}".format(text))
    if text and not SPECIAL.intersection(text):
        return text
    for quote in ('"', "'"):
        if quote not in text:
            return quote + text + quote
    raise ValueError("a value with both kinds of quotes cannot be written: {0!r}".format(text))
