"""The process that all programs are forked from, and its parent's side of it.

It gets descriptors of pipes and nothing else, so its memory never holds data of any session.
"""

import array
import os
import signal
import struct

# The module `socket` itself brings ten more into every program.
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket, socketpair
from collections.abc import Callable
from typing import NoReturn

from pipelines.sandbox.confinement import kernel

START, END = b"s", b"e"
PID, ENDING = struct.Struct("i"), struct.Struct("id")
NUM_PIPES = 2

Program = Callable[[int, int], NoReturn]
"""Becomes a program that reads one descriptor and writes the other."""


class Forker:
    """Forks one program at a time. Raises EOFError or ConnectionError once the other process is gone."""

    def __init__(self, pid: int, connection: socket) -> None:
        self._pid, self._connection = pid, connection

    @classmethod
    def fork(cls, namespaces: int, program: Program) -> "Forker":
        """Forks the process, whose programs are each `program` in namespaces of their own."""
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
        pid = os.fork()
        if pid == 0:
            try:
                kernel.die_with_parent()
                ours.close()
                _serve(theirs, namespaces, program)
            finally:
                os._exit(0)
        theirs.close()
        return cls(pid, ours)

    def start(self, requests: int, replies: int) -> int:
        """The id of a new program, which gets these descriptors. It is no other's id until `end`."""
        pipes = array.array("i", [requests, replies])
        self._connection.sendmsg([START], [(SOL_SOCKET, SCM_RIGHTS, pipes)])
        return int(PID.unpack(self._receive(PID.size))[0])

    def end(self) -> tuple[int, float]:
        """Ends the program; its exit code (minus the signal, if one ended it) and all its CPU seconds."""
        self._connection.sendall(END)
        code, cpu_s = ENDING.unpack(self._receive(ENDING.size))
        return code, cpu_s

    def close(self) -> None:
        """Ends the process, and its program if there is one."""
        self._connection.close()
        os.waitpid(self._pid, 0)

    def _receive(self, count: int) -> bytes:
        content = self._connection.recv(count)
        if len(content) < count:
            raise EOFError("the process that forks programs ended")
        return content


def _serve(connection: socket, namespaces: int, program: Program) -> None:
    """Forks a program for each START, until the other side is gone."""
    while True:
        pipes = array.array("i")
        command, received, _, _ = connection.recvmsg(1, CMSG_SPACE(NUM_PIPES * pipes.itemsize))
        if command != START:
            return
        for _, _, content in received:
            pipes.frombytes(content)
        pid = kernel.fork(namespaces)
        if pid == 0:
            connection.close()
            program(*pipes)
        for pipe in pipes:
            os.close(pipe)
        connection.sendall(PID.pack(pid))
        connection.recv(1)  # END, or nothing if the other side is gone
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        connection.sendall(ENDING.pack(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime))
