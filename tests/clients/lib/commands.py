"""Random commands for the differential suite: deterministic from a seed, within what both servers are
to answer alike. Wrong types, wrong numbers of arguments, unknown options and odd numbers are part of it."""

import random

KEYS = [b"k%d" % n for n in range(6)] + [b"", b"bin\x00\xff\r\n", b"sp ace", b"h1", b"h2", b"h3"]
FIELDS = [b"f%d" % n for n in range(6)] + [b"", b"\x00\r\n", b"12"]
INTEGERS = [b"0", b"1", b"-1", b"7", b"10", b"-15", b"100", b"4096", b"9223372036854775807", b"-9223372036854775808",
            b"9223372036854775806", b"12345678901234567890"]
ODD = [b"", b" 1", b"1 ", b"+1", b"01", b"-0", b"1.0", b"1e3", b"0x10", b"abc", b"nan", b"inf", b"-inf", b"1e400",
       b"--1", b"1_000", b"9223372036854775808", b"-9223372036854775809"]
FLOATS = [b"0.1", b"0.5", b"-2.25", b"3.0", b"1e2", b"5e-3", b"100", b"-7", b"3.14159", b"1e17", b"123456789.125",
          b"0.000001", b"-0.1"]
TEXTS = [b"", b"a", b"hello", b"hello world", b"\x00\x01\xff", b"\r\n", b"x" * 44, b"y" * 45, b"z" * 300, b"\xc3\xa9t\xc3\xa9"]


class Commands:
    """`now_s` is a Unix time far from which no deadline is chosen: nothing expires by chance while the
    two servers are being compared."""

    def __init__(self, seed, now_s):
        self.random = random.Random(seed)
        self.now_s = now_s

    def pick(self, *choices):
        return self.random.choice(choices)

    def maybe(self, p, *args):
        return list(args) if self.random.random() < p else []

    def case(self, word):
        return word.lower() if self.random.random() < 0.3 else word

    def key(self):
        return self.random.choice(KEYS)

    def keys(self, most=4):
        return [self.key() for _ in range(self.random.randint(1, most))]

    def field(self):
        return self.random.choice(FIELDS)

    def integer(self):
        return self.random.choice(ODD if self.random.random() < 0.15 else INTEGERS)

    def small(self):
        return self.random.choice(ODD) if self.random.random() < 0.08 else b"%d" % self.random.randint(-12, 12)

    def float(self):
        if self.random.random() < 0.15:
            return self.random.choice(ODD)
        return self.random.choice(FLOATS if self.random.random() < 0.8 else INTEGERS[:8])

    def value(self):
        return self.random.choice(self.random.choice([INTEGERS, TEXTS, TEXTS, FLOATS, ODD]))

    def duration_s(self):
        """Long, past, none, or no number."""
        return self.pick(b"1000", b"5000", b"100000", b"1000", b"5000", b"0", b"-5", b"abc", b"1.5", b"9223372036854775807",
                         b"9223372036854776", b"-9223372036854775808", b"")

    def duration_ms(self):
        return self.pick(b"1000000", b"5000000", b"100000000", b"1000000", b"0", b"-1", b"x", b"9223372036854775807",
                         b"9223372036854775000")

    def time_s(self):
        return self.pick(*(b"%d" % (self.now_s + d) for d in (1000, 5000, 100000)), b"1", b"0", b"-1", b"zz",
                         b"9223372036854775807", b"%d" % (self.now_s - 10))

    def time_ms(self):
        return self.pick(*(b"%d" % (1000 * (self.now_s + d)) for d in (1000, 5000, 100000)), b"1", b"0", b"-1", b"zz",
                         b"%d" % (1000 * (self.now_s - 10)))

    def lifetime(self, *more):
        kind = self.pick("EX", "PX", "EXAT", "PXAT", *more)
        times = {"EX": self.duration_s, "PX": self.duration_ms, "EXAT": self.time_s, "PXAT": self.time_ms}
        return [self.case(kind)] + ([times[kind]()] if kind in times else [])

    def next(self):
        name = self.random.choices(NAMES, WEIGHTS)[0]
        command = [self.case(name)] + getattr(self, "c_" + name.lower().replace(" ", "_").replace("-", "_"))()
        chance = self.random.random()
        if chance < 0.015 and len(command) > 1:
            command.pop()
        elif chance < 0.03:
            command.append(self.pick(b"extra", b"1", b"NX", b""))
        words = command[0].split(" ") + command[1:]
        return [word if isinstance(word, bytes) else word.encode() for word in words]

    def c_set(self):
        options = self.maybe(0.3, self.case(self.pick("NX", "XX"))) + self.maybe(0.25, self.case("GET"))
        if self.random.random() < 0.4:
            options = options + self.lifetime("KEEPTTL") if self.random.random() < 0.5 else self.lifetime("KEEPTTL") + options
        return [self.key(), self.value()] + options + self.maybe(0.03, self.pick("NX", "foo", "PERSIST", "EX", "KEEPTTL"))

    def c_get(self): return [self.key()]
    def c_getset(self): return [self.key(), self.value()]
    def c_setnx(self): return [self.key(), self.value()]
    def c_setex(self): return [self.key(), self.duration_s(), self.value()]
    def c_psetex(self): return [self.key(), self.duration_ms(), self.value()]
    def c_getdel(self): return [self.key()]
    def c_getex(self): return [self.key()] + (self.lifetime("PERSIST") if self.random.random() < 0.7 else []) + self.maybe(0.05, "PERSIST")
    def c_mget(self): return self.keys()
    def c_mset(self): return [part for key in self.keys(3) for part in (key, self.value())]
    c_msetnx = c_mset
    def c_append(self): return [self.key(), self.value()]
    def c_strlen(self): return [self.key()]
    def c_getrange(self): return [self.key(), self.small(), self.small()]
    c_substr = c_getrange
    def c_setrange(self): return [self.key(), self.small(), self.value()]
    def c_incr(self): return [self.key()]
    c_decr = c_incr
    def c_incrby(self): return [self.key(), self.integer()]
    c_decrby = c_incrby
    def c_incrbyfloat(self): return [self.key(), self.float()]

    def c_del(self): return self.keys(3)
    c_unlink = c_del
    def c_exists(self): return self.keys()
    c_touch = c_exists
    def c_type(self): return [self.key()]
    def c_ttl(self): return [self.key()]
    c_pttl = c_expiretime = c_pexpiretime = c_persist = c_ttl

    def conditions(self):
        return [self.case(self.pick("NX", "XX", "GT", "LT", "foo", "NX", "XX", "GT", "LT")) for _ in range(self.pick(0, 0, 0, 1, 1, 2))]

    def c_expire(self): return [self.key(), self.duration_s()] + self.conditions()
    def c_pexpire(self): return [self.key(), self.duration_ms()] + self.conditions()
    def c_expireat(self): return [self.key(), self.time_s()] + self.conditions()
    def c_pexpireat(self): return [self.key(), self.time_ms()] + self.conditions()
    def c_rename(self): return [self.key(), self.key()]
    c_renamenx = c_rename
    def c_copy(self):
        return [self.key(), self.key()] + self.maybe(0.3, "REPLACE") + self.maybe(0.2, "DB", self.pick("0", "3", "16", "-1", "x")) + self.maybe(0.03, "foo")
    def c_keys(self): return [self.pick("*", "k*", "k[0-2]", "k[^1]", "?1", "h?", "*\\*", "", "k[4-2]", "[a-", "b*\x00*", "K1")]
    def c_dbsize(self): return []
    def c_object_encoding(self): return [self.key()]
    def c_object_refcount(self): return [self.key()]
    def c_object_freq(self): return [self.key()]
    def c_scan(self): return ["0", "COUNT", "1000"] + self.maybe(0.4, self.case("MATCH"), self.pick("*", "k*", "h[12]", "?", "")) + self.maybe(0.4, self.case("TYPE"), self.pick("string", "hash", "list", "STRING", "nope")) + self.maybe(0.05, self.pick("foo", "COUNT"), self.pick("0", "x", "-1"))
    def c_hscan(self): return [self.key(), "0", "COUNT", "1000"] + self.maybe(0.4, "MATCH", self.pick("*", "f*", "f[12]", "1?")) + self.maybe(0.05, self.pick("foo", "COUNT", "TYPE"), self.pick("0", "x", "-1"))

    def pairs(self, most=3):
        return [part for _ in range(self.random.randint(1, most)) for part in (self.field(), self.value())]

    def c_hset(self): return [self.key()] + self.pairs()
    c_hmset = c_hset
    def c_hsetnx(self): return [self.key(), self.field(), self.value()]
    def c_hget(self): return [self.key(), self.field()]
    c_hexists = c_hstrlen = c_hget
    def c_hmget(self): return [self.key()] + [self.field() for _ in range(self.random.randint(1, 4))]
    c_hdel = c_hmget
    def c_hgetall(self): return [self.key()]
    c_hkeys = c_hvals = c_hlen = c_hgetall
    def c_hincrby(self): return [self.key(), self.field(), self.integer()]
    def c_hincrbyfloat(self): return [self.key(), self.field(), self.float()]

    def c_ping(self): return self.maybe(0.5, self.value())
    def c_echo(self): return [self.value()]
    def c_select(self): return [self.pick("16", "-1", "x", "0", "99999999999999999999", "")]
    def c_flushdb(self): return self.maybe(0.5, self.pick("ASYNC", "SYNC", "foo"))
    c_flushall = c_flushdb
    def c_client_getname(self): return []
    def c_client_setname(self): return [self.pick("me", "a b", "", "x\ny", "other")]
    def c_client_no_evict(self): return [self.pick("on", "off", "maybe")]
    def c_client_kill(self): return self.pick(["127.0.0.1:1"], ["ID", "99999999"], ["ID", "x"], ["ID", "0"], ["TYPE", "foo"], ["FOO", "x"], ["ADDR", "1.2.3.4:5", "SKIPME", "no"])
    def c_client_list(self): return self.pick(["TYPE", "foo"], ["FOO", "x"], ["ID", "x"], ["ID", "99999999"], ["TYPE", "pubsub"])
    def c_config_set(self): return self.pick(["slowlog-max-len", "64"], ["slowlog-max-len", "x"], ["databases", "3"], ["maxclients", "0"], ["timeout"], ["timeout", "-1"], ["timeout", "0", "timeout", "0"])
    def c_config_get(self): return self.pick(["databases"], ["slowlog-max-len"], ["timeout"], ["nope"], ["maxmemory-policy"], ["DATABASES"], ["maxmemory"])
    def c_unknown(self): return [self.pick("a", "b c", "x" * 200, ""), self.pick("1", "")]
    def c_object(self): return self.pick([], ["foo"], ["foo", "k1"], ["ENCODING"], ["FREQ", "k1", "k2"])
    def c_memory(self): return self.pick([], ["foo"], ["USAGE"], ["USAGE", "missing"], ["USAGE", "missing", "SAMPLES"], ["USAGE", "missing", "SAMPLES", "-1"], ["USAGE", "missing", "SAMPLES", "x"])
    def c_config(self): return self.pick([], ["foo"], ["foo", "bar"], ["RESETSTAT", "x"], ["GET"])
    def c_client(self): return self.pick([], ["foo"], ["foo", "bar"], ["ID", "x"], ["REPLY"], ["REPLY", "foo"], ["GETNAME", "x"], ["KILL"])
    def c_command(self): return self.pick(["foo"], ["COUNT", "x"], ["INFO", "nope"], ["DOCS", "nope"], ["INFO", "nope", "nope2"])
    def c_slowlog(self): return self.pick([], ["foo"], ["GET", "x"], ["GET", "-2"], ["GET", "1", "2"], ["LEN", "x"])
    def c_hello(self): return self.pick(["4"], ["x"], ["1"], ["2", "FOO"], ["2", "AUTH", "a"], ["2", "SETNAME"], ["2", "SETNAME", "a b"], ["3", "AUTH", "nobody", "pw"])
    def c_auth(self): return self.pick(["pw"], ["nobody", "pw"], ["a", "b", "c"], [])
    def c_time(self): return [self.pick("x", "")]
    def c_randomkey(self): return ["x"]


HEAVY = set(
    "SET GET APPEND SETRANGE GETRANGE INCR INCRBY DECRBY INCRBYFLOAT HSET HGET HGETALL HDEL HINCRBY "
    "HINCRBYFLOAT EXPIRE PEXPIRE EXPIREAT TTL PTTL GETEX DEL RENAME COPY MSET MGET".split()
)
RARE = {"FLUSHDB", "FLUSHALL"}
NAMES = []
for method in dir(Commands):
    if method.startswith("c_"):
        name = method[2:].upper().replace("NO_EVICT", "NO-EVICT")
        # The subcommands that are chosen apart: `c_client_list` is CLIENT LIST.
        NAMES.append(name.replace("_", " ", 1))
WEIGHTS = [8 if name in HEAVY else 0.15 if name in RARE else 1.5 for name in NAMES]
