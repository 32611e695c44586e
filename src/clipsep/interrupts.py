"""Ctrl-C and SIGTERM: kept from what they would break, and heard although Python forgets them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_SECONDS_UNTIL_AGAIN = 0.05


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Keep Ctrl-C from processes started inside: the parent hears it at the end, and stops them.

    SIGTERM waits, too: a parent that ends while it starts a process would leave one that complains.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears it, and only it may choose not to
        return
    parent = os.getpid()
    heard: list[int] = []

    def defer(number: int, frame: object) -> None:
        if os.getpid() != parent:
            os._exit(1)  # a forked process that has no handler of its own yet
        heard.append(number)

    handlers = {number: signal.signal(number, defer) for number in (signal.SIGINT, signal.SIGTERM)}
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    # A handler is not inherited by a new process, but what is blocked stays blocked there.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if heard:
        signal.raise_signal(heard[0])


@contextmanager
def forgotten_interrupts_repeated() -> Iterator[None]:
    """Send a signal again whose exception Python has forgotten."""

    def send(number: int) -> None:
        if os.name == "nt":  # where os.kill ends the process at once
            signal.raise_signal(number)
        else:  # also wakes what the main thread waits for
            os.kill(os.getpid(), number)

    def again(number: int) -> None:
        timer = threading.Timer(_SECONDS_UNTIL_AGAIN, send, (number,))
        timer.daemon = True
        timer.start()

    before = sys.unraisablehook
    on_forgotten_interrupt(again)
    try:
        yield
    finally:
        sys.unraisablehook = before


def on_forgotten_interrupt(act: Callable[[int], None]) -> None:
    """From now on call ``act`` with the signal's number, and print nothing.

    A handler's exception that meets a destructor or a callback of a weak reference, as they run while
    modules are imported, is printed and forgotten: the work goes on as if there had been no signal.
    """
    numbers = {SystemExit: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
    before = sys.unraisablehook

    def hear(forgotten: UnraisableHookArgs) -> None:
        if forgotten.exc_type in numbers:
            act(numbers[forgotten.exc_type])
        else:
            before(forgotten)

    sys.unraisablehook = hear
