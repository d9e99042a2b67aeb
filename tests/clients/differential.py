"""Random commands to Ringfort and to Redis 7.0, over RESP2 and RESP3: the replies must be the same bytes.

What may differ stands in `DIFFERENCES` below and in docs/compatibility.md; nothing else may. Replies
without an order (KEYS, HGETALL, SCAN ...) are compared sorted, times to live within a tolerance. From time
to time everything stored is compared as well: the keys, their types, contents and expiries.

`CLIENTS_COMMANDS` is the number of commands per protocol, `CLIENTS_SEED` the first seed.
"""

import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from checks import check, equal, finish, server, short  # noqa: E402
from commands import Commands  # noqa: E402
from resp import Connection, Error, decode, encode  # noqa: E402

COMMANDS = int(os.environ.get("CLIENTS_COMMANDS", "6000"))
SEED = int(os.environ.get("CLIENTS_SEED", "1"))
BATCH = 40

# Replies whose difference is known, wanted and documented: the command, Redis's reply, Ringfort's reply
# (regular expressions over raw bytes). The order in which errors are found matters when there are two:
# Ringfort looks at all arguments before it looks at the key.
ANY, NULL = rb".*", rb"\$-1\r\n|_\r\n"
BAD_TIME = rb"-ERR (invalid expire time in 'getex' command|value is not an integer or out of range)\r\n"
BAD_OPTION = rb"-ERR (syntax error|value is not an integer or out of range)\r\n"
WRONG_TYPE = rb"-WRONGTYPE .*"
DIFFERENCES = [
    (rb"GETEX .*", NULL + b"|" + WRONG_TYPE, BAD_TIME),
    (rb"HSCAN .*", rb"\*2\r\n\$1\r\n0\r\n\*0\r\n|" + WRONG_TYPE, BAD_OPTION),
    (rb"HELLO . AUTH .*", rb"-WRONGPASS .*", rb"-ERR Syntax error in HELLO option.*"),
    (rb"CLIENT LIST TYPE foo .*", rb"-ERR syntax error\r\n", rb"-ERR Unknown client type 'foo'\r\n"),
    # The encodings of Redis depend on how a value came about.
    (rb"OBJECT ENCODING .*", rb"\$\d+\r\n(embstr|raw|int)\r\n", rb"\$\d+\r\n(embstr|raw|int)\r\n"),
    (rb"OBJECT ENCODING .*", rb"\$\d+\r\n(listpack|hashtable)\r\n", rb"\$\d+\r\n(listpack|hashtable)\r\n"),
    # Small integers are shared in Redis.
    (rb"OBJECT REFCOUNT .*", rb":\d+\r\n", rb":1\r\n"),
    # Redis echoes the name as it was asked for.
    (rb"CONFIG GET DATABASES", rb"[*%].*DATABASES.*", rb"[*%].*databases.*"),
    # Facts about the server; a random key.
    (rb"HELLO( 2( SETNAME .*)?)?", rb"[*%].*", rb"[*%].*"),
    (rb"TIME|RANDOMKEY|SLOWLOG (GET|GET 1|LEN)|COMMAND|COMMAND (DOCS|INFO|COUNT)", ANY, ANY),
    (rb"MEMORY USAGE .*", rb":\d+\r\n", rb":\d+\r\n"),
    # What is stored is a number to Redis only (hexadecimal).
    (rb"INCRBYFLOAT .* [+-]?inf", rb"-ERR increment would produce NaN or Infinity\r\n", rb"-ERR value is not a valid float\r\n"),
    # A deadline that has passed removes the key at once in Ringfort; Redis may count it for a while.
    (rb"DBSIZE", rb":\d+\r\n", rb":\d+\r\n"),
    (rb"CONFIG SET maxclients 0", rb".*4294967295 inclusive\r\n", rb".*1000000 inclusive\r\n"),
]

# Sums of floats: Ringfort adds decimally, Redis in 80 bits. Where the two part, what is stored parts too,
# so the comparison begins anew. Hexadecimal floats and those beyond 64 bits are numbers to Redis only.
FLOATS = {b"INCRBYFLOAT", b"HINCRBYFLOAT"}


UNORDERED = {b"KEYS", b"HKEYS", b"HVALS"}
PAIRED = {b"HGETALL"}
TIMED = {b"TTL": 2, b"PTTL": 2000, b"EXPIRETIME": 2, b"PEXPIRETIME": 2000}


def normal(command, raw):
    """A reply in the form in which it is compared."""
    name = command[0].upper()
    if raw[:1] == b"-":
        return raw
    value = decode(raw)
    kind = raw[:1]
    if name in UNORDERED and isinstance(value, list):
        return kind, sorted(value)
    if name in PAIRED and isinstance(value, list):
        pairs = value if kind == b"%" else list(zip(value[::2], value[1::2]))
        return kind, len(value), sorted(pairs)
    if name == b"SCAN":
        return kind, value[0], sorted(value[1])
    if name == b"HSCAN":
        return kind, value[0], sorted(zip(value[1][::2], value[1][1::2]))
    return raw


def same(command, theirs, ours):
    if theirs == ours:
        return True
    name = command[0].upper()
    if name in TIMED and theirs[:1] == ours[:1] == b":":
        a, b = int(theirs[1:]), int(ours[1:])
        return min(a, b) > 0 and abs(a - b) <= TIMED[name]
    if normal(command, theirs) == normal(command, ours):
        return True
    line = b" ".join(command)
    return any(
        re.fullmatch(what, line, re.S | re.I) and re.fullmatch(a, theirs, re.S) and re.fullmatch(b, ours, re.S)
        for what, a, b in DIFFERENCES
    )


def float_apart(command, theirs, ours):
    """Whether the replies are the same number but for Redis's rounding, or one that only Redis takes."""
    if command[0].upper() not in FLOATS or theirs[:1] != b"$" and not theirs.startswith(b"-WRONGTYPE"):
        return False
    a = decode(theirs)
    if ours[:1] == theirs[:1] == b"$":
        return abs(float(a) - float(decode(ours))) <= 1e-15 * max(1.0, abs(float(a)))
    return re.match(rb"-ERR (hash )?value is not a (valid )?float", ours) is not None


class Pair:
    """One connection to each server."""

    def __init__(self, redis_port, ringfort_port, protocol):
        self.both = [Connection(redis_port), Connection(ringfort_port)]
        for connection in self.both:
            if protocol == 3:
                connection.call("HELLO", "3")
            connection.call("FLUSHALL")

    def run(self, commands):
        """The raw replies of both to a pipeline."""
        data = b"".join(encode(command) for command in commands)
        for connection in self.both:
            connection.send(data)
        return [[connection.read_raw() for _ in commands] for connection in self.both]

    def contents(self):
        return [contents(connection) for connection in self.both]


def contents(connection):
    """Everything stored in the databases in use."""
    found, counts = {}, []
    for db in ("3", "0"):
        connection.call("SELECT", db)
        for key in sorted(connection.call("KEYS", "*")):
            kind = connection.call("TYPE", key)
            if kind == b"string":
                value = connection.call("GET", key)
            else:
                flat = connection.call("HGETALL", key)
                value = sorted(flat if flat and isinstance(flat[0], tuple) else zip(flat[::2], flat[1::2]))
            # To ten seconds: the same commands reach the two servers at slightly different times.
            expiry = connection.call("PEXPIRETIME", key)
            found[db, key] = kind, value, expiry if expiry < 0 else round(expiry / 10_000)
        counts.append((connection.call("DBSIZE"), len([key for key in found if key[0] == db])))
    return found, counts


def close_expiry(theirs, ours):
    """Whether the contents are the same but for the rounding of the expiries."""
    if theirs.keys() != ours.keys():
        return False
    for key, a in theirs.items():
        b = ours[key]
        if a[:2] != b[:2] or (a[2] < 0) != (b[2] < 0) or abs(a[2] - b[2]) > 1:
            return False
    return True


def compare(pair, seed, count):
    """Runs random commands; the first differences of each kind of command are the failure."""
    source = Commands(seed, int(time.time()))
    different = {}
    done = 0
    while done < count:
        commands = [source.next() for _ in range(BATCH)]
        theirs, ours = pair.run(commands)
        done += len(commands)
        diverged = False
        for nth, (command, a, b) in enumerate(zip(commands, theirs, ours)):
            if not same(command, a, b):
                diverged = True
                if float_apart(command, a, b):
                    break
                line = " ".join(repr(part)[1:] for part in command)
                about = [c for c in commands[:nth] if set(c[1:]) & set(command[1:2])][-3:]
                before = "; ".join(" ".join(repr(p)[1:] for p in c) for c in about)
                different.setdefault((command[0].upper(), a[:30], b[:30]), f"{line}\n#     redis    {short(a)}\n#     ringfort {short(b)}\n#     after    {before}")
                break
        if not diverged and done % (BATCH * 5) == 0:
            (a, _), (b, counts) = pair.contents()
            for counted, listed in counts:
                equal(counted, listed, "DBSIZE")
            if not close_expiry(a, b):
                diverged = True
                keys = [k for k in a.keys() | b.keys() if a.get(k) != b.get(k)]
                lines = "; ".join(" ".join(repr(p)[1:] for p in c) for c in commands)
                different.setdefault(("contents", str(keys)), f"contents: {[(k, a.get(k), b.get(k)) for k in keys]}\n#     after {lines}")
        if diverged:
            # Whatever follows would differ too.
            for connection in pair.both:
                connection.call("FLUSHALL")
    for text in different.values():
        print(f"#   {text}")
    if different:
        raise AssertionError(f"{len(different)} kinds of replies differ, of {done} commands from seed {seed}")


def tables(redis_port, ringfort_port):
    """What clients route by is the same for each command that Redis has too: arity, places of the keys, and
    whether it writes."""
    theirs, ours = Connection(redis_port), Connection(ringfort_port)
    routed = {b"readonly", b"write", b"denyoom", b"fast", b"blocking", b"admin"}
    different = []
    for row in ours.call("COMMAND"):
        name = row[0]
        known = theirs.call("COMMAND", "INFO", name)[0]
        if known is None:
            assert name in (b"level", b"range", b"txn", b"waitaof"), f"Redis 7.0 has no {name}"
            continue
        a, b = ([r[1], r[3:6], sorted(routed & set(r[2]))] for r in (known, row))
        if a != b:
            different.append((name, a, b))
    equal(different, [])


def expiring(redis_port, ringfort_port, protocol):
    """Keys that expire while the two are looked at: a short life by every way to give one."""
    pair = Pair(redis_port, ringfort_port, protocol)
    lives = [
        (["SET", "a", "1", "PX", "150"], "a"),
        (["PSETEX", "b", "150", "1"], "b"),
        (["HSET", "c", "f", "v"], "c"),
        (["PEXPIRE", "c", "150"], "c"),
        (["SET", "d", "1"], "d"),
        (["GETEX", "d", "PX", "150"], "d"),
        (["SET", "e", "5", "PX", "150"], "e"),
        (["INCR", "e"], "e"),
        (["SET", "f", "1", "PX", "150"], "f"),
        (["RENAME", "f", "g"], "g"),
        (["COPY", "a", "h"], "h"),
        (["SET", "i", "1", "PX", "150"], "i"),
        (["SET", "i", "2", "KEEPTTL"], "i"),
        (["SET", "stays", "1", "PX", "150"], "stays"),
        (["PERSIST", "stays"], "stays"),
        (["SET", "again", "1", "PX", "150"], "again"),
        (["SET", "again", "2"], "again"),
    ]
    keys = sorted({key for _, key in lives})
    looks = [[w, k] for k in keys for w in ("EXISTS", "TYPE", "GET", "TTL", "STRLEN")]
    looks += [["KEYS", "*"], ["HGETALL", "c"], ["INCR", "e"], ["HSET", "c", "g", "w"], ["TTL", "c"], ["HGETALL", "c"], ["SETNX", "a", "new"], ["APPEND", "b", "x"], ["TTL", "b"]]
    for after_s, commands in ((0, [command for command, _ in lives]), (0.3, looks)):
        time.sleep(after_s)
        commands = [[part.encode() for part in command] for command in commands]
        for command, a, b in zip(commands, *pair.run(commands)):
            if not same(command, a, b):
                raise AssertionError(f"{command}: redis {short(a)}, ringfort {short(b)}")


def main():
    redis_port, ringfort_port = server("start-redis", "redis"), server("start", "differential")
    for protocol in (2, 3):
        for seed in range(SEED, SEED + 2):
            pair = Pair(redis_port, ringfort_port, protocol)
            check(f"differential: {COMMANDS // 2} commands, RESP{protocol}, seed {seed}", compare, pair, seed, COMMANDS // 2)
        check(f"differential: keys that expire, RESP{protocol}", expiring, redis_port, ringfort_port, protocol)
    check("differential: the table of commands", tables, redis_port, ringfort_port)
    finish()


main()
