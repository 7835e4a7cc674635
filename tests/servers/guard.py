"""Run a program that ends when its parent does, however that ends.

    python guard.py PROGRAM ARGUMENT...

The parent holds the other end of our standard input, which the kernel closes with the parent. Run
as a file, with the standard library only, so that it starts fast.
"""

import os
import signal
import subprocess
import sys
import threading


def main(argv: list[str]) -> int:
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def end_with_parent() -> None:
        # Not through `sys.stdin`: its lock, held here, would stop the interpreter from ending.
        while os.read(0, 4096):
            pass
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()

    # Ctrl-C reaches the whole group; the parent decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
