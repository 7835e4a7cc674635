"""seccomp: the system calls that a plugin may make, and what becomes of all others (seccomp(2)).

Standard library only: it runs in the sandbox, before a line of a plugin. A call that is not listed
fails with EPERM, so that a library which tries one goes on without it. What the list leaves out on
purpose: new processes and programs, sockets, signals to others, changes of mode, owner and time,
links, memory that belongs to no address space (memfd, shared memory, io_uring), keys, namespaces.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator, Sequence

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _FILTER_FLAG_TSYNC = 1, 1
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000

# struct seccomp_data: the number, the architecture, the instruction pointer, six arguments.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
# bpf_common.h: load a word, jump if equal, jump if any bit is set, return.
_LOAD, _EQUAL, _ANY, _RETURN = 0x20, 0x15, 0x45, 0x06

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_COLUMN = {"x86_64": 0, "aarch64": 1}

# The numbers on x86_64 (asm/unistd_64.h) and on aarch64 (asm-generic/unistd.h), the busiest first.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "recvmsg": (47, 212),
    "recvfrom": (45, 207),
    "futex": (202, 98),
    "read": (0, 63),
    "write": (1, 64),
    "clock_gettime": (228, 113),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "close": (3, 57),
    "close_range": (436, 436),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_pwait2": (441, 441),
    "eventfd2": (290, 19),
    "pipe2": (293, 59),
    "open": (2, None),
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "fstat": (5, 80),
    "stat": (4, None),
    "lstat": (6, None),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rmdir": (84, None),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "ftruncate": (77, 46),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "flock": (73, 32),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getpgrp": (111, None),
    "getrandom": (318, 278),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "rseq": (334, 293),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "restart_syscall": (219, 128),
    "getsockopt": (55, 209),
    "getsockname": (51, 204),
    "getpeername": (52, 205),
    "shutdown": (48, 210),
    "membarrier": (324, 283),
    "copy_file_range": (326, 285),
}
#: Those whose arguments decide; the others above are allowed whatever they are given.
_GUARDED: dict[str, tuple[int, int]] = {
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "prlimit64": (302, 261),
    "clone": (56, 220),
    "clone3": (435, 435),
    "tgkill": (234, 131),
    "sendto": (44, 206),
}

_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000  # every CLONE_NEW* namespace
_MSG_FASTOPEN = 0x20000000
# asm-generic/ioctls.h: close-on-exec, non-blocking, bytes to read, and what isatty asks.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# fcntl.h: duplicates, flags and locks; no owner, signal, lease, seal or size of a pipe.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def supported() -> bool:
    """Whether the numbers of this machine are known."""
    return platform.machine() in _AUDIT_ARCH and os.name == "posix"


def install() -> None:
    """Filter every thread of this process for good. OSError where the kernel refuses."""
    program = b"".join(struct.pack("=HBBI", *each) for each in _program(os.getpid()))
    count = len(program) // 8
    held = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count, and after the padding a pointer.
    header = struct.pack("@HP", count, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    number = _SECCOMP[platform.machine()]
    if libc.syscall(number, _SET_MODE_FILTER, _FILTER_FLAG_TSYNC, header) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"seccomp: {os.strerror(code)}")


def _program(own: int) -> list[_Instruction]:
    """The filter of the process ``own``."""
    machine = platform.machine()
    deny = _ERRNO | errno.EPERM
    code: list[_Instruction] = [
        _load(_ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        _return(_KILL_PROCESS),
        _load(_NUMBER),
    ]
    column = _COLUMN[machine]
    for numbers in _CALLS.values():
        number = numbers[column]
        if number is not None:
            code += _when(number, [_return(_ALLOW)])
    for name, numbers in _GUARDED.items():
        code += _when(numbers[column], _guard(name, own, deny))
    code.append(_return(deny))
    return code


def _guard(name: str, own: int, deny: int) -> list[_Instruction]:
    if (
        name == "clone3"
    ):  # Its flags are in memory that a filter can't read; the C library asks clone.
        return [_return(_ERRNO | errno.ENOSYS)]
    if name == "clone":
        return [
            _load(_argument(0)),
            (_ANY, 0, 2, _CLONE_THREAD),
            (_ANY, 1, 0, _CLONE_NEW),
            _return(_ALLOW),
            _return(deny),
        ]
    if name == "prlimit64":  # of this process, and nothing new
        return list(_all_zero([_argument(0), _argument(2), _argument(2) + 4], deny))
    if name == "tgkill":
        return [_load(_argument(0)), (_EQUAL, 0, 1, own), _return(_ALLOW), _return(deny)]
    if name == "sendto":  # to nobody but the other end
        return [
            _load(_argument(3)),
            (_ANY, 0, 1, _MSG_FASTOPEN),
            _return(deny),
            *_all_zero([_argument(4), _argument(4) + 4], deny),
        ]
    return list(_one_of(_argument(1), _IOCTLS if name == "ioctl" else _FCNTLS, deny))


def _all_zero(places: Sequence[int], deny: int) -> Iterator[_Instruction]:
    for place in places:
        yield _load(place)
        yield (_EQUAL, 1, 0, 0)
        yield _return(deny)
    yield _return(_ALLOW)


def _one_of(place: int, values: Sequence[int], deny: int) -> Iterator[_Instruction]:
    yield _load(place)
    for value in values:
        yield (_EQUAL, 0, 1, value)
        yield _return(_ALLOW)
    yield _return(deny)


def _when(number: int, then: list[_Instruction]) -> list[_Instruction]:
    """``then``, which ends with a return, where the call is that one; the number stays loaded."""
    return [(_EQUAL, 0, len(then), number), *then]


def _load(offset: int) -> _Instruction:
    return (_LOAD, 0, 0, offset)


def _argument(index: int) -> int:
    """Where the lower half of an argument lies (little endian); the upper half follows."""
    return _ARGUMENTS + 8 * index


def _return(action: int) -> _Instruction:
    return (_RETURN, 0, 0, action)
