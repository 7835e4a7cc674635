"""Landlock: which files and ports a process may still reach, for good (landlock(7)).

Standard library only: it runs in the sandbox, before a line of a plugin. The numbers are those of
``linux/landlock.h``; the system calls have the same numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR = 1 << 4, 1 << 5, 1 << 6, 1 << 7
MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK = 1 << 8, 1 << 9, 1 << 10, 1 << 11
MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV = 1 << 12, 1 << 13, 1 << 14, 1 << 15

READ = READ_FILE | READ_DIR
#: A directory of its own: files and directories, no links, sockets, pipes or devices.
OWN = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

#: The first that holds truncation; without that a file that is open for nobody can be emptied.
OLDEST = 3
_NETWORK, _DEVICES, _SCOPES = 4, 5, 6  # the versions that brought them


def version() -> int:
    """What the kernel offers; 0 where it is off or missing."""
    found = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    return max(0, int(found))


def restrict(rules: Iterable[tuple[str, int]]) -> None:
    """Allow this thread and what it starts the ``(path, access)`` of the rules and nothing else.

    TCP ports, abstract sockets and signals to others go too, where the kernel knows how. A path
    that is not there is left out. OSError where the kernel refuses; needs ``no_new_privs``.
    """
    known = version()
    if known < OLDEST:
        raise OSError(f"Landlock {known or 'is off'}; version {OLDEST} is needed")
    files = (1 << (16 if known >= _DEVICES else 15)) - 1
    ports = 0b11 if known >= _NETWORK else 0
    scopes = 0b11 if known >= _SCOPES else 0
    size = 24 if known >= _SCOPES else 16 if known >= _NETWORK else 8
    attributes = struct.pack("=QQQ", files, ports, scopes)[:size]
    ruleset = _checked(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    try:
        for path, access in rules:
            _allow(ruleset, path, access & files)
        _checked(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not Path(path).is_dir():
            access &= _OF_A_FILE
        # struct landlock_path_beneath_attr is packed: 8 and 4 bytes.
        rule = struct.pack("=Qi", access, place)
        _checked(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(place)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result
