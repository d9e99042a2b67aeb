"""MULTI, EXEC, DISCARD, WATCH and UNWATCH against Redis 7.0, byte for byte, over RESP2 and RESP3; races of clients that
write the same keys; and Ringfort's interactive transactions (TXN), with clients that are killed in the middle.

With `CLIENTS_SUBJECT=redis` both sides are Redis: what fails then is a mistake of this file.
`CLIENTS_COMMANDS` is the number of random commands per protocol, `CLIENTS_SEED` the seed.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from checks import check, equal, finish, server, short  # noqa: E402
from resp import Connection, Error, encode  # noqa: E402

COMMANDS = int(os.environ.get("CLIENTS_COMMANDS", "6000"))
SEED = int(os.environ.get("CLIENTS_SEED", "1"))
# A lock that nobody holds any more is there for the next within this time.
RELEASE_S_MAX = 1.0

# --- The same scripts to both servers -----------------------------------------------------------------------------
# A line is `connection: command`; `sleep: seconds` waits. Words are separated by spaces, '' is the empty one.

SCRIPTS = {
    "empty": "A: MULTI|A: EXEC|A: EXEC",
    "queued": "A: MULTI|A: SET k 1|A: INCR k|A: GET k|B: GET k|A: EXEC|B: GET k|A: GET k",
    "discarded": "A: SET k 1|A: MULTI|A: SET k 2|A: DISCARD|A: GET k|A: DISCARD|A: EXEC",
    "nested": "A: MULTI|A: SET k 1|A: MULTI|A: SET k 2|A: EXEC|A: GET k",
    "watch inside": "A: MULTI|A: SET k 1|A: WATCH k|A: EXEC|A: GET k",
    "unwatch inside": "A: WATCH k|A: MULTI|A: UNWATCH|A: SET k 1|B: SET k 2|A: EXEC|A: GET k",
    "unknown command": "A: MULTI|A: SET k 1|A: NOSUCH x|A: SET k 2|A: EXEC|A: GET k|A: EXEC|A: MULTI|A: EXEC",
    "wrong number of arguments": "A: MULTI|A: GET|A: SET k 1|A: EXEC|A: GET k",
    "unknown subcommand": "A: MULTI|A: CLIENT NOPE|A: EXEC",
    "discarded after an error": "A: MULTI|A: GET|A: DISCARD|A: MULTI|A: SET k 1|A: EXEC",
    "arguments": "A: MULTI x|A: WATCH|A: UNWATCH x|A: EXEC x|A: DISCARD x|A: MULTI|A: MULTI x|A: EXEC|A: MULTI|A: EXEC x|A: EXEC",
    "watch without a key inside": "A: MULTI|A: WATCH|A: EXEC",
    "errors while it runs": "A: SET s text|A: HSET h f v|A: MULTI|A: INCR s|A: SET k 1|A: HGET s f|A: GET h|A: INCRBY k x|A: EXEC|"
    "A: MULTI|A: INCR s|A: SET k 1|A: HGET s f|A: GET h|A: INCRBY k x|A: EXEC|A: GET k",
    "errors in words": "A: MULTI|A: SET k v NOPE|A: SET k v EX 0|A: EXPIRE k x|A: EXEC|A: GET k",
    "databases": "A: MULTI|A: SET k 0|A: SELECT 3|A: SET k 3|A: EXEC|A: GET k|A: SELECT 0|A: GET k|A: MULTI|A: SELECT 99|A: GET k|A: EXEC",
    "what it shows": "A: HSET h f v|A: MULTI|A: PING|A: ECHO x|A: HGETALL h|A: HGET h none|A: HMGET h f none|A: MGET a b|A: EXISTS h h|"
    "A: TYPE h|A: HKEYS h|A: SCAN 0|A: EXEC",
    "own expiry": "A: MULTI|A: SET k 1 EX 100|A: TTL k|A: PERSIST k|A: TTL k|A: GETEX k PX 1|A: EXEC",
    "whole database": "A: SET k 1|A: MULTI|A: FLUSHDB|A: DBSIZE|A: SET n 1|A: DBSIZE|A: KEYS *|A: EXEC",
    "reset": "A: SET k 1|A: MULTI|A: SET k 2|A: RESET|A: EXEC|A: GET k",
    "reset forgets what was watched": "A: WATCH k|A: RESET|B: SET k 1|A: MULTI|A: SET k 2|A: EXEC",
    "a connection that ends": "B: MULTI|B: SET k 1|close: B|A: GET k|A: EXISTS k",
    "twice": "A: MULTI|A: INCR k|A: EXEC|A: MULTI|A: INCR k|A: EXEC",
    "empty words": "A: MULTI|A: SET '' x|A: GET ''|A: EXEC|A: WATCH ''|B: SET '' y|A: MULTI|A: EXEC",
    "case": "A: multi|A: sEt k 1|A: eXec|A: wAtch k|A: unWatch|A: mulTI|A: disCARD",
    # What is watched.
    "unchanged": "A: SET k 1|A: WATCH k|B: GET k|A: MULTI|A: INCR k|A: EXEC",
    "changed by another, forgotten by EXEC": "A: WATCH k|B: SET k 1|A: MULTI|A: SET r 1|A: EXEC|A: EXISTS r|A: MULTI|A: SET r 1|A: EXEC",
    "forgotten by UNWATCH": "A: WATCH k j|B: SET k 1|A: UNWATCH|A: MULTI|A: SET r 1|A: EXEC",
    "forgotten by DISCARD": "A: WATCH k|A: MULTI|A: DISCARD|B: SET k 1|A: MULTI|A: SET r 1|A: EXEC",
    "forgotten by an EXEC that failed": "A: WATCH k|A: MULTI|A: GET|A: EXEC|B: SET k 1|A: MULTI|A: SET r 1|A: EXEC",
    "changed, and then watched": "B: SET k 1|A: WATCH k|A: MULTI|A: SET r 1|A: EXEC",
    "changed after MULTI": "A: WATCH k|A: MULTI|A: SET r 1|B: SET k 1|A: EXEC|A: EXISTS r",
    "one of several": "A: WATCH a b c|B: SET b 1|A: MULTI|A: SET r 1|A: EXEC",
    "watched twice": "A: WATCH k k|A: WATCH k|B: SET k 1|A: MULTI|A: SET r 1|A: EXEC",
    "watched again after the change": "A: WATCH k|B: SET k 1|A: WATCH k|A: MULTI|A: SET r 1|A: EXEC",
    "changed and changed back": "A: SET k 1|A: WATCH k|B: SET k 2|B: SET k 1|A: MULTI|A: EXEC",
    "made and removed": "A: WATCH k|B: SET k 2|B: DEL k|A: MULTI|A: EXEC",
    "changed by itself": "A: WATCH k|A: SET k 1|A: MULTI|A: SET r 1|A: EXEC",
    "changed by its own transaction": "A: WATCH k|A: MULTI|A: SET k 1|A: SET k 2|A: EXEC",
    "changed by another's transaction": "A: WATCH k|B: MULTI|B: SET k 1|B: EXEC|A: MULTI|A: EXEC",
    "not changed by what another has queued": "A: WATCH k|B: MULTI|B: SET k 1|A: MULTI|A: SET r 1|A: EXEC|B: EXEC",
    "changed in another database": "A: WATCH k|B: SELECT 3|B: SET k 1|A: MULTI|A: EXEC",
    "watched in another database": "A: SELECT 3|A: WATCH k|A: SELECT 0|B: SET k 1|A: MULTI|A: EXEC|A: SELECT 3|A: WATCH k|A: SELECT 0|B: SELECT 3|"
    "B: SET k 1|A: MULTI|A: EXEC",
    "an error and a change": "A: WATCH k|A: MULTI|A: GET|B: SET k 1|A: EXEC",
    "expires while it is watched": "A: SET k 1 PX 60|A: WATCH k|A: MULTI|A: SET r 1|sleep: 0.15|A: EXEC|A: EXISTS k r",
    "expires, looked at by another": "A: SET k 1 PX 60|A: WATCH k|sleep: 0.15|B: GET k|A: MULTI|A: SET r 1|A: EXEC",
    "expired before it was watched": "A: SET k 1 PX 60|sleep: 0.15|A: WATCH k|A: MULTI|A: SET r 1|A: EXEC|A: EXISTS k",
    "a hash expires": "A: HSET k f v|A: PEXPIRE k 60|A: WATCH k|A: MULTI|A: SET r 1|sleep: 0.15|A: EXEC",
}

# What another connection does to a watched key, from each of these beginnings. Whether EXEC is answered by nil then is Redis's to say.
BEGINNINGS = {
    "none": [],
    "string": ["SET k 1"],
    "text": ["SET k text"],
    "expiring": ["SET k 1 EX 1500"],
    "hash": ["HSET k f 1 g 2"],
}
CHANGES = """
GET k|EXISTS k|TTL k|TYPE k|STRLEN k|TOUCH k|GETRANGE k 0 1|SCAN 0|OBJECT ENCODING k|HGET k f|HLEN k|HGETALL k
SET k 1|SET k 2 NX|SET k 2 XX|SET k 1 GET|SET k 1 KEEPTTL|SETNX k 2|GETSET k 1|GETDEL k|MSET k 1 j 2|MSETNX k 1 j 2|MSETNX n 1 k 2
APPEND k ''|APPEND k x|SETRANGE k 0 ''|SETRANGE k 0 1|SETRANGE k 0 2
INCR k|INCRBY k 0|DECRBY k 0|INCRBYFLOAT k 0
DEL k|UNLINK k|DEL none|DEL none k
EXPIRE k 1000|EXPIRE k 1000 NX|EXPIRE k 1000 XX|EXPIRE k 1 GT|PERSIST k|GETEX k|GETEX k PERSIST|GETEX k EX 1000|EXPIRE k -1|EXPIRE k 0 XX|PEXPIREAT k 1
RENAME k n|RENAME k k|RENAMENX k n|COPY k n|SET n 1;RENAME n k|SET n 1;COPY n k|SET n 1;COPY n k REPLACE|SET n 1;RENAMENX n k
HSET k f 1|HSET k f 2|HSET k n 1|HSETNX k f 2|HSETNX k n 2|HDEL k f|HDEL k none|HDEL k f g|HINCRBY k f 0|HINCRBY k f 1|HINCRBYFLOAT k f 0|HMSET k f 1
FLUSHDB|FLUSHALL|SET j 1;FLUSHDB|SELECT 3;FLUSHDB|SELECT 3;FLUSHALL|SELECT 3;SET k 1|COPY k k DB 3
""".replace("\n", "|").strip("|").split("|")


def words(line):
    return [b"" if word == "''" else word.encode() for word in line.split(" ")]


class Side:
    """One server, with named connections that are made when they are first used."""

    def __init__(self, port, protocol):
        self.port, self.protocol, self.open = port, protocol, {}

    def connection(self, name):
        if name not in self.open:
            self.open[name] = Connection(self.port)
            if self.protocol == 3:
                self.open[name].call("HELLO", "3")
        return self.open[name]

    def raw(self, name, command):
        return self.connection(name).raw(*command)

    def begin(self):
        """An empty server; connections of its own for each script."""
        for connection in self.open.values():
            connection.close()
        self.open = {}
        self.connection("admin").call("FLUSHALL")
        # WATCH is to see the connections of this script alone.


def play(sides, lines):
    """The lines on both sides; the first reply that differs is the failure."""
    for side in sides:
        side.begin()
    done = []
    for line in lines:
        name, rest = line.split(": ", 1)
        if name == "sleep":
            time.sleep(float(rest))
        elif name == "close":
            for side in sides:
                side.open.pop(rest).close()
        else:
            theirs, ours = (side.raw(name, words(rest)) for side in sides)
            done.append(f"{line} -> {short(theirs)}")
            if theirs != ours and not unordered(theirs, ours):
                raise AssertionError(f"{'; '.join(done)}; ringfort: {short(ours)}")


def unordered(theirs, ours):
    """Whether two replies have the same lines: what is scanned or listed has no order."""
    return len(theirs) == len(ours) and sorted(theirs.split(b"\r\n")) == sorted(ours.split(b"\r\n")) and b"*" in theirs


def scripts(sides):
    wrong = []
    for name, script in SCRIPTS.items():
        try:
            play(sides, script.split("|"))
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        raise AssertionError("\n#   ".join([f"{len(wrong)} of {len(SCRIPTS)}"] + wrong))


def changes(sides):
    """Every change from every beginning: does EXEC notice?"""
    wrong, count = [], 0
    for beginning, first in BEGINNINGS.items():
        for change in CHANGES:
            lines = [f"A: {line}" for line in first] + ["A: WATCH k"]
            lines += [f"B: {line}" for line in change.split(";")]
            lines += ["A: MULTI", "A: SET r 1", "A: EXEC", "A: TYPE k", "A: EXISTS r"]
            count += 1
            try:
                play(sides, lines)
            except AssertionError as error:
                wrong.append(f"{beginning}, {change}: {error}")
    if wrong:
        raise AssertionError("\n#   ".join([f"{len(wrong)} of {count}"] + wrong[:12]))


def at_once(sides):
    """A transaction that arrives in one packet, with more behind it, and one that arrives byte by byte."""
    commands = ["SET k 0", "WATCH k", "MULTI", "INCR k", "GET k", "EXEC", "GET k", "MULTI", "BAD", "EXEC", "DISCARD", "PING"]
    data = b"".join(encode(words(command)) for command in commands)
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        replies = []
        for side in sides:
            side.begin()
            connection = side.connection("A")
            for piece in pieces:
                connection.send(piece)
            replies.append([connection.read_raw() for _ in commands])
        equal(replies[1], replies[0])


def long_queue(sides):
    """Twenty thousand commands as one step."""
    data = b"".join(encode(words(line)) for line in ["MULTI"] + ["INCR k", "SET s x"] * 10_000 + ["EXEC"])
    for side in sides:
        side.begin()
        connection = side.connection("A")
        writer = threading.Thread(target=connection.send, args=(data,))
        writer.start()
        equal(connection.read(), b"OK")
        for _ in range(20_000):
            equal(connection.read(), b"QUEUED")
        equal(connection.read(), [part for n in range(1, 10_001) for part in (n, b"OK")])
        writer.join()


KEYS = ["k", "j", "h"]
RANDOM = [
    "GET {k}", "SET {k} {n}", "SET {k} {n} EX 1000", "INCR {k}", "APPEND {k} x", "DEL {k}", "GETDEL {k}", "SETNX {k} {n}", "HSET {k} f {n}",
    "HGET {k} f", "HDEL {k} f", "HINCRBY {k} f 2", "EXPIRE {k} 500", "PERSIST {k}", "RENAME {k} {j}", "COPY {k} {j} REPLACE", "EXISTS {k} {j}",
    "TYPE {k}", "MGET {k} {j}", "GETEX {k} PERSIST", "MSETNX {k} {n} {j} {n}", "BAD {k}", "GET", "TOUCH {k}",
]
STEERING = ["MULTI"] * 5 + ["EXEC"] * 5 + ["DISCARD", "UNWATCH"] + ["WATCH {k}", "WATCH {k} {j}"] * 4 + ["SELECT 0", "SELECT 0", "SELECT 3", "FLUSHDB"]


def randomly(sides, seed, count):
    """Three connections, one command at a time, the same to both servers."""
    source = random.Random(seed)
    for side in sides:
        side.begin()
    history = []
    for _ in range(count):
        pool = STEERING if source.random() < 0.45 else RANDOM
        name = source.choice("ABC")
        line = source.choice(pool).format(k=source.choice(KEYS), j=source.choice(KEYS), n=source.randint(0, 3))
        theirs, ours = (side.raw(name, words(line)) for side in sides)
        history.append(f"{name}: {line} -> {short(theirs)}")
        if theirs != ours:
            raise AssertionError(f"{'; '.join(history[-25:])}; ringfort: {short(ours)}")
    executed = sum(": EXEC" in line for line in history)
    nils = sum(": EXEC -> b'*-1" in line or ": EXEC -> b'_" in line for line in history)
    assert executed > count // 50 and nils > count // 1000, f"{executed} times EXEC, {nils} times nil of {count}"


# --- Races: clients that do not wait for each other ---------------------------------------------------------------


def together(count, work, *args):
    """Runs `work(n, *args)` in so many threads; the first failure is that of all."""
    failures = []

    def guarded(n):
        try:
            work(n, *args)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    if failures:
        raise failures[0]


def counter_by_watch(port):
    """Read, add, write, by WATCH: no addition is lost, and somebody always gets through."""
    Connection(port).call("SET", "counter", "0")
    nils = []

    def add(_n):
        connection = Connection(port)
        for _ in range(50):
            while True:
                equal(connection.call("WATCH", "counter"), b"OK")
                value = int(connection.call("GET", "counter"))
                connection.send(encode(["MULTI"]) + encode(["SET", "counter", value + 1]) + encode(["EXEC"]))
                equal([connection.read(), connection.read()], [b"OK", b"QUEUED"])
                done = connection.read()
                if done is not None:
                    equal(done, [b"OK"])
                    break
                nils.append(1)
        connection.close()

    together(8, add)
    equal(Connection(port).call("GET", "counter"), b"400")
    print(f"#   400 additions by 8 clients, {len(nils)} begun again")


def without_watch(port):
    """EXEC without WATCH is never nil, however hot its keys are, and no step of it is seen alone."""
    connection = Connection(port)
    connection.call("MSET", *(part for n in range(4) for part in (f"account:{n}", "1000")))
    done = threading.Event()

    def transfer(n):
        source = random.Random(n)
        connection = Connection(port)
        for _ in range(150):
            one, other = source.sample(range(4), 2)
            amount = source.randint(1, 9)
            commands = [["MULTI"], ["DECRBY", f"account:{one}", amount], ["INCRBY", f"account:{other}", amount], ["EXEC"]]
            connection.send(b"".join(encode(command) for command in commands))
            equal([connection.read() for _ in range(3)], [b"OK", b"QUEUED", b"QUEUED"])
            replies = connection.read()
            assert isinstance(replies, list) and all(isinstance(reply, int) for reply in replies), replies
        connection.close()

    def look():
        connection = Connection(port)
        while not done.is_set():
            for reading in ([["MGET"] + [f"account:{n}" for n in range(4)]], [["GET", f"account:{n}"] for n in range(4)]):
                connection.send(b"".join(encode(command) for command in [["MULTI"], *reading, ["EXEC"]]))
                replies = [connection.read() for _ in range(len(reading) + 2)][-1]
                values = replies[0] if len(reading) == 1 else replies
                equal(sum(int(value) for value in values), 4000, "the sum while it is moved")
        connection.close()

    failures = []

    def guarded():
        try:
            look()
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    looking = threading.Thread(target=guarded)
    looking.start()
    try:
        together(8, transfer)
    finally:
        done.set()
        looking.join()
    if failures:
        raise failures[0]
    equal(sum(int(value) for value in connection.call("MGET", *(f"account:{n}" for n in range(4)))), 4000)


def write_skew(port):
    """Two watched keys, each client writes the other's: one of both at the most gets through per round."""
    both = [Connection(port), Connection(port)]
    for _ in range(100):
        both[0].call("MSET", "on:0", "1", "on:1", "1")
        for n, connection in enumerate(both):
            equal(connection.call("WATCH", "on:0", "on:1"), b"OK")
            equal(connection.call("MGET", "on:0", "on:1"), [b"1", b"1"])
            equal(connection.call("MULTI"), b"OK")
            equal(connection.call("SET", f"on:{n}", "0"), b"QUEUED")
        for connection in both:
            connection.send(encode(["EXEC"]))
        replies = [connection.read() for connection in both]
        equal(sorted(replies, key=lambda reply: reply is None), [[b"OK"], None])
        equal(sorted(both[0].call("MGET", "on:0", "on:1")), [b"0", b"1"])


# --- Interactive transactions --------------------------------------------------------------------------------------


def code(reply):
    return str(reply).split(" ")[0] if isinstance(reply, Error) else reply


def begun(port, *options):
    connection = Connection(port, timeout_s=20)
    equal(connection.call("TXN", "BEGIN", *options), b"OK")
    return connection


def own_writes(port):
    for kind in ("PESSIMISTIC", "OPTIMISTIC"):
        other = Connection(port)
        other.call("MSET", "x", "1", "y", "1")
        txn = begun(port, kind, "LEVEL", "buffered")
        equal(txn.call("SET", "x", "2"), b"OK")
        equal(txn.call("GET", "x"), b"2")
        equal(txn.call("INCR", "y"), 2)
        equal(txn.call("HSET", "h:" + kind, "f", "v"), 1)
        equal(txn.call("GET", "absent"), None)
        equal(txn.call("TXN", "COMMIT"), b"OK")
        equal(other.call("MGET", "x", "y"), [b"2", b"2"])
        equal(other.call("HGET", "h:" + kind, "f"), b"v")
        equal(txn.call("TXN", "BEGIN", kind), b"OK")
        equal(txn.call("DEL", "x"), 1)
        equal(txn.call("EXISTS", "x"), 0)
        equal(txn.call("TXN", "ROLLBACK"), b"OK")
        equal(other.call("GET", "x"), b"2")
        equal(txn.call("GET", "x"), b"2")
        txn.close()
        other.close()


def out_of_place(port):
    connection = Connection(port)
    for command in (["TXN", "COMMIT"], ["TXN", "ROLLBACK"], ["TXN", "NOPE"], ["TXN"], ["TXN", "BEGIN", "NOPE"], ["TXN", "BEGIN", "LEVEL", "sure"]):
        equal(code(connection.call(*command)), "ERR", str(command))
    equal(connection.call("TXN", "BEGIN"), b"OK")
    equal(code(connection.call("TXN", "BEGIN")), "ERR")
    equal(code(connection.call("MULTI")), "ERR")
    # What was refused did no harm to the transaction.
    equal(connection.call("SET", "x", "kept"), b"OK")
    equal(connection.call("TXN", "COMMIT"), b"OK")
    equal(connection.call("GET", "x"), b"kept")
    equal(connection.call("PING"), b"PONG")
    connection.close()


def deadlock(port):
    """Two clients wait for each other: one of them is told at once, the other goes on."""
    for _ in range(10):
        one, other = begun(port), begun(port)
        equal([one.call("SET", "x", "1"), other.call("SET", "y", "2")], [b"OK", b"OK"])
        began = time.monotonic()
        one.send(encode(["SET", "y", "1"]))
        other.send(encode(["SET", "x", "2"]))
        replies = {}

        def read(name, connection):
            replies[name] = connection.read()
            if code(replies[name]) == "DEADLOCK":
                # Its commands are refused until it is ended.
                replies["over"] = code(connection.call("GET", "x"))
                replies["ended"] = connection.call("TXN", "ROLLBACK")
                replies["after"] = connection.call("PING")

        threads = [threading.Thread(target=read, args=pair) for pair in (("one", one), ("other", other))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        took_s = time.monotonic() - began
        equal(sorted(str(code(replies[name])) for name in ("one", "other")), ["DEADLOCK", "b'OK'"])
        equal((replies["over"], replies["ended"], replies["after"]), ("ABORTED", b"OK", b"PONG"))
        assert took_s < RELEASE_S_MAX, f"{took_s:.2f} s until both were answered"
        winner = one if replies["one"] == b"OK" else other
        equal(winner.call("TXN", "COMMIT"), b"OK")
        value = b"1" if winner is one else b"2"
        equal(Connection(port).call("MGET", "x", "y"), [value, value])
        one.close()
        other.close()


def conflict(port):
    other = Connection(port)
    other.call("MSET", "x", "1", "y", "1")
    txn = begun(port, "OPTIMISTIC")
    equal(txn.call("GET", "x"), b"1")
    equal(other.call("SET", "x", "2"), b"OK")
    equal(txn.call("SET", "y", "from x = 1"), b"OK")
    equal(code(txn.call("TXN", "COMMIT")), "CONFLICT")
    equal(other.call("GET", "y"), b"1", "nothing of it was written:")
    # It is over: the next one is begun without more ado.
    equal(txn.call("TXN", "BEGIN", "OPTIMISTIC"), b"OK")
    equal(txn.call("GET", "x"), b"2")
    equal(txn.call("SET", "y", "from x = 2"), b"OK")
    equal(txn.call("TXN", "COMMIT"), b"OK")
    equal(other.call("GET", "y"), b"from x = 2")


def lock_timeout(port):
    """Who waits for too long is told so, and may do something else."""
    holder = begun(port)
    equal(holder.call("SET", "x", "held"), b"OK")
    waiter = begun(port, "TIMEOUT", "200")
    began = time.monotonic()
    equal(code(waiter.call("SET", "x", "waited")), "LOCKTIMEOUT")
    took_s = time.monotonic() - began
    assert 0.19 <= took_s < 0.2 + RELEASE_S_MAX, f"it waited for {took_s:.3f} s"
    equal(waiter.call("SET", "z", "instead"), b"OK")
    equal(waiter.call("TXN", "COMMIT"), b"OK")
    equal(holder.call("TXN", "COMMIT"), b"OK")
    equal(Connection(port).call("MGET", "x", "z"), [b"held", b"instead"])


HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from resp import Connection
connection = Connection(int(sys.argv[2]))
print(connection.call("TXN", "BEGIN", "PESSIMISTIC"), connection.call("SET", "x", "abandoned"), connection.call("GET", "y"), flush=True)
time.sleep(600)
"""


def holder(port):
    """A process that holds a lock on x, and one to read y."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, os.path.join(os.path.dirname(__file__), "lib"), str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    said = child.stdout.readline()
    if not said.startswith("b'OK' b'OK' "):
        child.kill()
        raise AssertionError(f"the holder said {said!r}")
    return child


def killed_client(port):
    """SIGKILL to a client that holds locks: who waits gets them at once, and nothing of it was written."""
    Connection(port).call("MSET", "x", "before", "y", "before")
    took = []
    for waiting in (["SET", "x", "after"], ["SET", "y", "after"]):
        child = holder(port)
        plain, txn = Connection(port), begun(port)
        try:
            plain.send(encode(waiting))
            time.sleep(0.1)
            txn.send(encode(["GET", "x"]))
            time.sleep(0.3)
            plain.socket.settimeout(0.01)
            try:
                early = plain.socket.recv(1)
                raise AssertionError(f"{waiting} did not wait: {early!r}")
            except TimeoutError:
                plain.socket.settimeout(20)
            began = time.monotonic()
            child.send_signal(signal.SIGKILL)
            equal(plain.read(), b"OK")
            value = txn.read()
            took.append(time.monotonic() - began)
            assert value in (b"before", b"after"), value
            equal(txn.call("TXN", "COMMIT"), b"OK")
        finally:
            child.kill()
            child.wait()
            plain.close()
            txn.close()
    print(f"#   locks of a killed client were free after {max(took) * 1000:.0f} ms")
    assert max(took) < RELEASE_S_MAX, took
    equal(Connection(port).call("MGET", "x", "y"), [b"after", b"after"])


def other_ends(port):
    """The same for clients that close, that QUIT, RESET or are killed by an administrator."""
    admin = Connection(port)
    for end in ("close", "quit", "reset", "kill"):
        admin.call("SET", "x", "before")
        txn = Connection(port)
        number = txn.call("CLIENT", "ID")
        equal(txn.call("TXN", "BEGIN"), b"OK")
        equal(txn.call("SET", "x", "abandoned"), b"OK")
        waiter = begun(port)
        waiter.send(encode(["GET", "x"]))
        time.sleep(0.1)
        began = time.monotonic()
        if end == "close":
            txn.close()
        elif end == "kill":
            equal(admin.call("CLIENT", "KILL", "ID", str(number)), 1)
        else:
            txn.send(encode([end.upper()]))
        equal(waiter.read(), b"before", end)
        took_s = time.monotonic() - began
        assert took_s < RELEASE_S_MAX, f"{end}: {took_s:.2f} s"
        equal(waiter.call("TXN", "ROLLBACK"), b"OK")
        waiter.close()


def interactive_counter(port):
    """Read, add, write in transactions of both kinds at once; who is told to begin again does, and none is lost."""
    Connection(port).call("SET", "n", "0")
    again = []

    def add(n):
        connection = Connection(port)
        source = random.Random(n)
        for _ in range(30):
            for attempt in range(1000):
                equal(connection.call("TXN", "BEGIN", "OPTIMISTIC" if n % 2 else "PESSIMISTIC", "LEVEL", "buffered"), b"OK")
                reply = connection.call("GET", "n")
                if not isinstance(reply, Error):
                    reply = connection.call("SET", "n", int(reply) + 1)
                open_ = isinstance(reply, Error)
                if not open_:
                    reply = connection.call("TXN", "COMMIT")
                if reply == b"OK":
                    break
                assert code(reply) in ("CONFLICT", "DEADLOCK", "LOCKTIMEOUT"), reply
                if open_:
                    equal(connection.call("TXN", "ROLLBACK"), b"OK")
                again.append(1)
                time.sleep(source.random() * 0.001 * min(attempt + 1, 20))
            else:
                raise AssertionError("a thousand tries")
        connection.close()

    together(6, add)
    equal(Connection(port).call("GET", "n"), b"180")
    print(f"#   180 additions by 6 clients of both kinds, {len(again)} begun again")


def main():
    redis_port, port = server("start-redis", "redis"), server("start", "transactions")
    for protocol in (2, 3):
        sides = [Side(redis_port, protocol), Side(port, protocol)]
        check(f"transactions, RESP{protocol}: {len(SCRIPTS)} scripts", scripts, sides)
        check(f"transactions, RESP{protocol}: {len(CHANGES)} changes of {len(BEGINNINGS)} watched keys", changes, sides)
        check(f"transactions, RESP{protocol}: in one packet, and byte by byte", at_once, sides)
        check(f"transactions, RESP{protocol}: a long queue", long_queue, sides)
        check(f"transactions, RESP{protocol}: {COMMANDS} random commands, seed {SEED}", randomly, sides, SEED, COMMANDS)
    check("transactions: a counter by WATCH", counter_by_watch, port)
    check("transactions: EXEC without WATCH is never nil", without_watch, port)
    check("transactions: no write skew between watched keys", write_skew, port)
    if code(Connection(port).call("TXN", "HELP")) == "ERR":
        print("skipped interactive transactions: the server does not know TXN")
        finish()
    for name, run in {
        "own writes": own_writes,
        "commands out of place": out_of_place,
        "a deadlock": deadlock,
        "a conflict": conflict,
        "a lock timeout": lock_timeout,
        "a client that is killed": killed_client,
        "clients that leave": other_ends,
        "a counter by both kinds": interactive_counter,
    }.items():
        check(f"interactive: {name}", run, port)
    finish()


main()
