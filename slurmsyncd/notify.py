#!/usr/bin/python3 -IS
"""
Ring the daemon: one hint about one job. Exits 0 whatever happens, silent, within half a second.

Runs as ``slurmsyncd notify`` and, as a file of its own (``hooks/slurmctld-hook``), in PrologSlurmctld and
EpilogSlurmctld. Slurm holds a job's start until the prolog returns and requeues or kills the job when it
fails, so nothing here waits for the daemon and no error gets out: a lost hint costs latency, never data.

    --socket ADDR       unix:/path, tcp:host:port or tcp:[::1]:port
    --secret-file FILE  what a tcp hint must carry
    --context WORD      prolog, epilog or test
    --job-id N          raw job id
    --cluster NAME      Slurm's name of the cluster
    --verbose           say on stderr what became of the hint

For example:
    slurmsyncd notify --context test --verbose
    slurmsyncd notify --socket tcp:192.0.2.10:6820 --secret-file /etc/slurmsyncd/hook.secret --verbose

What an option does not give is taken from the environment (SLURMSYNCD_HOOK_SOCKET,
SLURMSYNCD_HOOK_SECRET_FILE, Slurm's SLURM_*), then from the options in /etc/slurmsyncd/hook.conf (one line,
if there is one), then from the default.

The message is one line of ASCII, at most 8 KiB; the order of fields does not matter, all but context may be
missing in a test; ``secret`` is sent over TCP only:

    slurmsyncd/1 context=epilog cluster=alpha job=27 restarts=0 array=6 task=0 het=7 offset=1 secret=...

Imports only what is built into the interpreter (`import socket` alone costs as much as the interpreter's
start), and keeps to the syntax of Python 3.6: with /usr/bin/python3 it is the system's age that counts.
"""

import _signal  # type: ignore[import-not-found]  # built in, but unknown to typeshed
import _socket
import posix
import sys

DEFAULT_SOCKET = "unix:/run/slurmsyncd/hook.sock"
SETTINGS_FILE = "/etc/slurmsyncd/hook.conf"
MESSAGE_LIMIT = 8192
#: Seconds that all of a TCP hint may take: name, connection and sending.
PATIENCE_S = 0.4

_OPTIONS = {
    "--socket": "SLURMSYNCD_HOOK_SOCKET",
    "--secret-file": "SLURMSYNCD_HOOK_SECRET_FILE",
    "--context": "SLURM_SCRIPT_CONTEXT",
    "--job-id": "SLURM_JOB_ID",
    "--cluster": "SLURM_CLUSTER_NAME",
}
_FIELDS = (
    ("cluster", "SLURM_CLUSTER_NAME"),
    ("job", "SLURM_JOB_ID"),
    ("restarts", "SLURM_JOB_RESTART_COUNT"),
    ("array", "SLURM_ARRAY_JOB_ID"),
    ("task", "SLURM_ARRAY_TASK_ID"),
    ("het", "SLURM_HET_JOB_ID"),
    ("offset", "SLURM_HET_JOB_OFFSET"),
)


def main(argv: "list[str]") -> None:
    """Send what the arguments and the environment say, then end the process. Never returns."""
    try:
        if "--help" in argv or "-h" in argv:
            sys.stdout.write(str(__doc__).strip() + "\n")
            sys.stdout.flush()
        else:
            _say(argv, _ring(argv))
    except BaseException as err:  # noqa: BLE001 - a hook that fails kills the job
        _say(argv, "not sent: " + str(err))
    finally:
        posix._exit(0)  # noqa: SLF001 - skips the interpreter's clean-up, which could still fail


def _say(argv: "list[str]", text: str) -> None:
    if "--verbose" in argv and sys.stderr is not None:
        sys.stderr.write("slurmsyncd notify: " + " ".join(text.split()) + "\n")
        sys.stderr.flush()


def _ring(argv: "list[str]") -> str:
    given = _settings()
    given.update(_environment())
    given.update(_parse(argv))
    address = given.get("SLURMSYNCD_HOOK_SOCKET") or DEFAULT_SOCKET
    message = compose(given)
    try:
        if address.startswith("tcp:"):
            _continue_in_bounded_child(argv)
            _send_stream(address[4:], message, _secret(given))
        else:
            _send_datagram(address[5:] if address.startswith("unix:") else address, message)  # noqa: FURB188 - 3.9
    except OSError as err:
        raise OSError(address + ": " + str(err)) from err
    return "sent to " + address + ": " + message


def _parse(words: "list[str]") -> "dict[str, str]":
    given = {}
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in _OPTIONS:
            given[_OPTIONS[option]] = value if equals else next(rest, "")
        elif word != "--verbose":
            raise ValueError("unknown option " + word + "; see slurmsyncd notify --help")
    return given


def _environment() -> "dict[str, str]":
    names = list(_OPTIONS.values()) + [name for _, name in _FIELDS]
    values = [(name, posix.environ.get(name.encode(), b"").decode("ascii", "replace")) for name in names]
    return {name: value for name, value in values if value}


def _settings() -> "dict[str, str]":
    try:
        text = _read(SETTINGS_FILE)
    except OSError:
        return {}
    return _parse(text.split())


def _secret(given: "dict[str, str]") -> str:
    path = given.get("SLURMSYNCD_HOOK_SECRET_FILE", "")
    if not path:
        raise ValueError("a tcp hint needs --secret-file or SLURMSYNCD_HOOK_SECRET_FILE")
    words = _read(path).split()
    if len(words) != 1:
        raise ValueError(path + " must hold one word")
    return words[0]


def _read(path: str) -> str:
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    return posix.read(file, MESSAGE_LIMIT).decode("ascii").strip()


def compose(given: "dict[str, str]") -> str:
    """Make the message of Slurm's variables, without its end of line."""
    script = given.get("SLURM_SCRIPT_CONTEXT", "").partition("_")[0]
    words = ["slurmsyncd/1", "context=" + (script if script in ("prolog", "epilog") else "test")]
    for field, name in _FIELDS:
        value = given.get(name, "")
        if value.strip("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-"):
            raise ValueError(name + " is neither a number nor a name of Slurm's")
        if value:
            words.append(field + "=" + value)
    message = " ".join(words)
    if len(message) > MESSAGE_LIMIT // 2:
        raise ValueError("the message would be too long")
    return message


def _send_datagram(path: str, message: str) -> None:
    # Non-blocking: a full queue (daemon stopped, or 10 to 512 hints behind) is a lost hint, not a late job.
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
    sock.sendto((message + "\n").encode("ascii"), path)


def _continue_in_bounded_child(argv: "list[str]") -> None:
    """
    Fork: the child goes on and is ended by the kernel after PATIENCE_S, the parent waits for that.

    A resolver cannot be told how long it may take and restarts what a signal interrupts; only an end
    from outside bounds it, and that must not be the exit status which Slurm sees.
    """
    child = posix.fork()
    if child:
        if posix.WIFSIGNALED(posix.waitpid(child, 0)[1]):
            _say(argv, "not sent: took longer than " + str(PATIENCE_S) + " s")
        posix._exit(0)  # noqa: SLF001 - see main
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGALRM])
    _signal.setitimer(_signal.ITIMER_REAL, PATIENCE_S)


def _send_stream(address: str, message: str, secret: str) -> None:
    host, _, port = address.rpartition(":")
    line = (message + " secret=" + secret + "\n").encode("ascii")
    failure = OSError("no address for " + host)
    found = _socket.getaddrinfo(host.strip("[]"), port, 0, _socket.SOCK_STREAM)
    for family, kind, protocol, _, where in found:
        sock = _socket.socket(family, kind, protocol)
        try:
            sock.connect(where)
            sock.sendall(line)
        except OSError as err:
            failure = err
        else:
            return
    raise failure


if __name__ == "__main__":
    main(sys.argv[1:])
