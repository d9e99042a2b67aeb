"""redis-cli, as people and scripts use it."""

import os
import pty
import re
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from checks import check, equal, finish, server  # noqa: E402
from resp import encode  # noqa: E402

PORT = str(server("start", "cli"))
GUARDED = str(server("start", "cli-guarded", "--requirepass", "secret"))
PIPED = 50_000


def cli(*args, stdin=None, port=PORT, env=None):
    done = subprocess.run(
        ["redis-cli", "-p", port, *args],
        input=stdin,
        capture_output=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )
    return done.stdout + done.stderr


def text(*args, **kwargs):
    return cli(*args, **kwargs).decode().strip()


def one_shot():
    equal(text("SET", "greeting", "hello"), "OK")
    equal(text("GET", "greeting"), "hello")
    equal(text("INCR", "n"), "1")
    equal(text("HSET", "user:1", "name", "Ada", "born", "1815"), "2")
    equal(text("HGETALL", "user:1").split("\n"), ["born", "1815", "name", "Ada"])
    equal(text("--no-raw", "GET", "absent"), "(nil)")
    equal(text("--no-raw", "TTL", "greeting"), "(integer) -1")
    equal(text("LPUSH", "list", "x"), "ERR unknown command 'LPUSH', with args beginning with: 'list' 'x'")
    equal(text("INCR", "greeting"), "ERR value is not an integer or out of range")
    equal(cli("-x", "SET", "from-stdin", stdin=b"a\x00b"), b"OK\n")
    equal(cli("GET", "from-stdin"), b"a\x00b\n")


def resp3():
    equal(text("-3", "--no-raw", "HGETALL", "user:1"), '1# "born" => "1815"\n2# "name" => "Ada"')
    equal(text("-3", "--no-raw", "GET", "absent"), "(nil)")
    equal(text("-3", "HELLO").split("\n")[0], "server redis")
    equal(text("-3", "INFO", "server").split("\r\n")[0].strip(), "# Server")


def other_database():
    equal(text("-n", "5", "SET", "elsewhere", "1"), "OK")
    equal(text("GET", "elsewhere"), "")
    equal(text("-n", "5", "DBSIZE"), "1")
    assert "DB index is out of range" in text("-n", "99", "PING")


def repeated_and_scripted():
    equal(text("-r", "3", "INCR", "thrice").split(), ["1", "2", "3"])
    lines = b"SET a 1\nINCR a\nGET a\nNONSENSE\nHGET user:1 name\n"
    out = text(stdin=lines).split("\n")
    equal([line for line in out if line], ["OK", "2", "2", "ERR unknown command 'NONSENSE', with args beginning with: ", "Ada"])


def pipe_mode():
    for name, one in (("inline", lambda n: b"SET pipe:%d value-%d\r\n" % (n, n)), ("resp", lambda n: encode(["SET", "pipe:%d" % n, "value-%d" % n]))):
        out = text("--pipe", stdin=b"".join(one(n) for n in range(PIPED)))
        assert f"errors: 0, replies: {PIPED}" in out, f"{name}: {out}"
    equal(text("GET", f"pipe:{PIPED - 1}"), f"value-{PIPED - 1}")
    assert "errors: 1, replies: 2" in text("--pipe", stdin=b"SET x 1\r\nINCR pipe:1\r\n")


def scans():
    listed = text("--scan", "--pattern", "pipe:*").split("\n")
    equal(len(listed), PIPED)
    equal(len(set(listed)), PIPED)
    out = text("--bigkeys")
    assert re.search("Biggest +string found", out) and re.search("Biggest +hash found", out), out
    out = text("--memkeys")
    assert "Sampled" in out and "ERR" not in out, out


def waits_and_info():
    equal(text("CONFIG", "GET", "save").split("\n")[0], "save")
    equal(text("WAITAOF", "1", "0", "1000").split(), ["1", "0"])
    equal(text("LEVEL"), "fresh")
    assert "ringfort_version" in text("INFO")


def passwords():
    assert "NOAUTH" in text("GET", "x", port=GUARDED)
    equal(text("-a", "secret", "--no-auth-warning", "SET", "x", "1", port=GUARDED), "OK")
    equal(text("GET", "x", port=GUARDED, env={"REDISCLI_AUTH": "secret"}), "1")
    assert "WRONGPASS" in text("-a", "wrong", "--no-auth-warning", "PING", port=GUARDED)
    equal(text("-3", "--user", "default", "--pass", "secret", "--no-auth-warning", "PING", port=GUARDED), "PONG")


def interactive():
    """On a terminal redis-cli asks for COMMAND DOCS first."""
    child, fd = pty.fork()
    if child == 0:
        os.execvpe("redis-cli", ["redis-cli", "-p", PORT], {**os.environ, "TERM": "dumb"})
    seen = b""

    def until(what):
        nonlocal seen
        ends = time.monotonic() + 20
        while what not in seen:
            left = ends - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise AssertionError(f"no {what!r} in {seen[-500:]!r}")
            seen += os.read(fd, 65536)

    prompt = b"127.0.0.1:%s> " % PORT.encode()
    until(prompt)
    for line, answer in ((b"SET tty 1", b"OK"), (b"INCR tty", b"(integer) 2"), (b"HELP GETRANGE", b"Shows a part of a string"), (b"SELECT 3", b"[3]> "), (b"FOO", b"(error) ERR unknown command")):
        seen = b""
        os.write(fd, line + b"\n")
        until(answer)
    os.write(fd, b"exit\n")
    os.waitpid(child, 0)
    os.close(fd)


check("redis-cli: single commands", one_shot)
check("redis-cli: RESP3", resp3)
check("redis-cli: another database", other_database)
check("redis-cli: repeated commands, commands from a file", repeated_and_scripted)
check(f"redis-cli: pipe mode, {PIPED} commands", pipe_mode)
check("redis-cli: --scan, --bigkeys, --memkeys", scans)
check("redis-cli: CONFIG, INFO, WAITAOF, LEVEL", waits_and_info)
check("redis-cli: passwords", passwords)
check("redis-cli: interactive session", interactive)
finish()
