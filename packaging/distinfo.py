"""Writes DIRECTORY/METADATA and entry_points.txt from setup.cfg.

Python and dh_python3 recognize an installed package by these.

usage: python3 packaging/distinfo.py DIRECTORY
"""

import configparser
import pathlib
import re
import sys

root, directory = pathlib.Path(__file__).parents[1], pathlib.Path(sys.argv[1])
setup = configparser.ConfigParser()
setup.read(root / "setup.cfg", encoding="utf-8")
door = (root / "sftpjail/__init__.py").read_text(encoding="utf-8")
version = re.search(r'^__version__ = "(.*)"', door, re.MULTILINE)[1]
fields = [("Metadata-Version", "2.1"), ("Name", "sftpjail"), ("Version", version)]
fields += [("Summary", setup["metadata"]["description"]), ("License", setup["metadata"]["license"])]
fields += [("Requires-Python", setup["options"]["python_requires"])]
fields += [("Requires-Dist", need) for need in setup["options"]["install_requires"].split()]
points = [f"[{group}]\n{lines.strip()}\n" for group, lines in setup["options.entry_points"].items()]
directory.mkdir(parents=True, exist_ok=True)
(directory / "METADATA").write_text(
    "".join(f"{name}: {value}\n" for name, value in fields), encoding="utf-8"
)
(directory / "entry_points.txt").write_text("\n".join(points), encoding="utf-8")
