"""redis-py: the calls that applications make, over RESP2 and RESP3, with and without decoding."""

import os
import sys
import threading
import time
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
import redis  # noqa: E402
from checks import check, equal, finish, server  # noqa: E402

# redis-py advises against SETEX and others: they are to work all the same.
warnings.simplefilter("ignore", DeprecationWarning)
PORT = server("start", "redis-py")
GUARDED = server("start", "redis-py-guarded", "--requirepass", "s3cret")


def raises(kind, text, call, *args, **kwargs):
    try:
        got = call(*args, **kwargs)
    except redis.RedisError as error:
        if not isinstance(error, kind) or text not in str(error):
            raise AssertionError(f"{type(error).__name__}: {error}, wanted {kind.__name__}: {text}") from error
    else:
        raise AssertionError(f"got {got!r}, wanted {kind.__name__}: {text}")


def strings(r, t):
    equal(r.set("s", "value"), True)
    equal(r.get("s"), t("value"))
    equal(r.get("absent"), None)
    equal(r.set("s", "other", nx=True), None)
    equal(r.set("absent", "x", xx=True), None)
    equal(r.set("s", "third", get=True), t("value"))
    equal(r.set("s", "4", ex=1000), True)
    assert 990 < r.ttl("s") <= 1000
    equal(r.set("s", "5", keepttl=True), True)
    assert 990 < r.ttl("s") <= 1000
    equal(r.set("s", "6", px=500_000), True)
    assert 490_000 < r.pttl("s") <= 500_000
    at = int(time.time()) + 2000
    equal(r.set("s", "7", exat=at), True)
    equal(r.expiretime("s"), at)
    equal(r.set("s", "8", pxat=at * 1000 + 5), True)
    equal(r.pexpiretime("s"), at * 1000 + 5)
    equal(r.setex("s", 100, "9"), True)
    equal(r.psetex("s", 100_000, "10"), True)
    equal(r.setnx("s", "no"), False)
    equal(r.getset("s", "11"), t("10"))
    equal(r.append("s", "22"), 4)
    equal(r.strlen("s"), 4)
    equal(r.getrange("s", 1, -2), t("12"))
    equal(r.substr("s", 0, 1), t("11"))
    equal(r.setrange("s", 6, "x"), 7)
    equal(r.get("s"), t("1122\0\0x"))
    equal(r.getdel("s"), t("1122\0\0x"))
    equal(r.getdel("s"), None)
    equal(r.mset({"m1": "1", "m2": "2", "m3": "3"}), True)
    equal(r.mget("m1", "nope", "m3"), [t("1"), None, t("3")])
    equal(r.msetnx({"m4": "4", "m1": "x"}), False)
    equal(r.exists("m4"), 0)
    equal(r.msetnx({"m4": "4"}), True)
    equal(r.set("empty", ""), True)
    equal(r.get("empty"), t(""))


def numbers(r, t):
    equal(r.incr("n"), 1)
    equal(r.incr("n", 41), 42)
    equal(r.decr("n", 2), 40)
    equal(r.incrbyfloat("n", 0.5), 40.5)
    equal(r.incrbyfloat("f", 0.1), 0.1)
    equal(r.incrbyfloat("f", 0.2), 0.3)
    raises(redis.ResponseError, "value is not an integer or out of range", r.incr, "f")
    r.set("max", 2**63 - 1)
    raises(redis.ResponseError, "increment or decrement would overflow", r.incr, "max")


def expiry(r, t):
    r.set("e", "1")
    equal(r.ttl("e"), -1)
    equal(r.ttl("none"), -2)
    equal(r.expire("e", 1000), True)
    equal(r.expire("e", 1000, nx=True), False)
    equal(r.expire("e", 2000, gt=True), True)
    equal(r.expire("e", 3000, lt=True), False)
    equal(r.pexpire("e", 900_000, xx=True), True)
    equal(r.persist("e"), True)
    equal(r.persist("e"), False)
    at = int(time.time()) + 1000
    equal(r.expireat("e", at), True)
    equal(r.pexpireat("e", at * 1000), True)
    equal(r.expiretime("e"), at)
    equal(r.getex("e", persist=True), t("1"))
    equal(r.ttl("e"), -1)
    equal(r.getex("e", px=60), t("1"))
    r.hset("eh", "f", "v")
    equal(r.pexpire("eh", 60), True)
    r.set("now", "1")
    equal(r.expire("now", -1), True)
    equal(r.exists("now"), 0)
    time.sleep(0.15)
    equal(r.get("e"), None)
    equal(r.exists("e", "eh"), 0)
    equal(r.hgetall("eh"), {})
    equal(r.hset("eh", "g", "new"), 1)
    equal(r.hgetall("eh"), {t("g"): t("new")})
    equal(r.ttl("eh"), -1)


def hashes(r, t):
    equal(r.hset("h", mapping={"a": "1", "b": "2", "c": "3"}), 3)
    equal(r.hset("h", "a", "one"), 0)
    equal(r.hget("h", "a"), t("one"))
    equal(r.hget("h", "zzz"), None)
    equal(r.hmget("h", ["a", "zzz", "c"]), [t("one"), None, t("3")])
    equal(r.hgetall("h"), {t("a"): t("one"), t("b"): t("2"), t("c"): t("3")})
    equal(r.hgetall("none"), {})
    equal(sorted(r.hkeys("h")), [t("a"), t("b"), t("c")])
    equal(sorted(r.hvals("h")), [t("2"), t("3"), t("one")])
    equal(r.hlen("h"), 3)
    equal(r.hexists("h", "a"), True)
    equal(r.hexists("h", "zzz"), False)
    equal(r.hstrlen("h", "a"), 3)
    equal(r.hsetnx("h", "a", "x"), 0)
    equal(r.hsetnx("h", "d", "4"), 1)
    equal(r.hincrby("h", "d", 6), 10)
    equal(r.hincrbyfloat("h", "d", 0.5), 10.5)
    raises(redis.ResponseError, "hash value is not an integer", r.hincrby, "h", "a")
    equal(r.hdel("h", "a", "b", "zzz"), 2)
    r.hset("big", mapping={f"field-{n}": f"value-{n}" for n in range(1000)})
    found = dict(r.hscan_iter("big", count=50))
    equal(found, {t(f"field-{n}"): t(f"value-{n}") for n in range(1000)})
    equal(dict(r.hscan_iter("big", match="field-99?")), {t(f"field-99{n}"): t(f"value-99{n}") for n in range(10)})
    raises(redis.ResponseError, "WRONGTYPE", r.get, "big")
    r.set("str", "x")
    raises(redis.ResponseError, "WRONGTYPE Operation against a key holding the wrong kind of value", r.hget, "str", "f")


def keys(r, t):
    r.set("k1", "1")
    r.hset("k2", "f", "v")
    equal(r.type("k1"), t("string"))
    equal(r.type("k2"), t("hash"))
    equal(r.type("none"), t("none"))
    equal(r.exists("k1", "k2", "k1", "none"), 3)
    equal(r.touch("k1", "none"), 1)
    equal(r.rename("k1", "k3"), True)
    raises(redis.ResponseError, "no such key", r.rename, "k1", "k4")
    equal(r.renamenx("k3", "k2"), False)
    equal(r.copy("k2", "k5"), True)
    equal(r.copy("k2", "k5"), False)
    equal(r.copy("k3", "k5", replace=True), True)
    equal(r.copy("k2", "copied", destination_db=7), True)
    equal(r.object("encoding", "k3"), t("int"))
    equal(r.object("refcount", "k3"), 1)
    equal(r.object("idletime", "k3"), 0)
    assert r.memory_usage("k3") > 0
    equal(r.memory_usage("none"), None)
    equal(r.delete("k2", "k3", "none"), 2)
    equal(r.unlink("k5"), 1)
    assert r.randomkey() is not None
    r.mset({f"scan:{n}": n for n in range(1000)})
    found = list(r.scan_iter(match="scan:*", count=77))
    equal(sorted(found), sorted(t(f"scan:{n}") for n in range(1000)))
    equal(list(r.scan_iter(match="scan:*", _type="hash")), [])
    equal(sorted(r.keys("scan:99*")), sorted(t(f"scan:{n}") for n in (99, *range(990, 1000))))
    assert r.dbsize() >= 1000
    equal(r.flushdb(), True)
    equal(r.dbsize(), 0)
    equal(r.randomkey(), None)


def pipelines(r, t):
    pipe = r.pipeline(transaction=False)
    for n in range(5000):
        pipe.set(f"p{n}", n).incr(f"p{n}")
    replies = pipe.execute()
    equal(replies[::2], [True] * 5000)
    equal(replies[1::2], list(range(1, 5001)))
    pipe = r.pipeline(transaction=False)
    pipe.set("ps", "text").incr("ps").get("ps").hget("ps", "f")
    replies = pipe.execute(raise_on_error=False)
    equal((replies[0], replies[2]), (True, t("text")))
    assert isinstance(replies[1], redis.ResponseError) and isinstance(replies[3], redis.ResponseError)


def transactions(r, t):
    r.delete("tx", "tl", "th")
    pipe = r.pipeline(transaction=True)
    equal(pipe.set("tx", "1").incr("tx").get("tx").hset("th", "f", "v").hgetall("th").execute(), [True, 2, t("2"), 1, {t("f"): t("v")}])
    equal(r.pipeline(transaction=True).execute(), [])
    # What fails while it runs does not undo the rest; redis-py raises the first error, or gives all replies.
    raises(redis.ResponseError, "WRONGTYPE", r.pipeline().set("tx", "3").hget("tx", "f").incr("tx").execute)
    equal(r.get("tx"), t("4"))
    replies = r.pipeline().incr("th").get("tx").execute(raise_on_error=False)
    assert isinstance(replies[0], redis.ResponseError) and replies[1] == t("4"), replies
    # What cannot be queued undoes all of it.
    raises(redis.ResponseError, "wrong number of arguments", r.pipeline().set("tx", "5").execute_command("GET").execute)
    equal(r.get("tx"), t("4"))
    with r.pipeline() as pipe:
        pipe.watch("tx", "tl")
        equal(pipe.get("tx"), t("4"))
        pipe.multi()
        pipe.set("tx", "6")
        equal(pipe.execute(), [True])
    with r.pipeline() as pipe:
        pipe.watch("tx")
        r.set("tx", "7")
        pipe.multi()
        pipe.set("tx", "8")
        raises(redis.WatchError, "Watched variable changed", pipe.execute)
        equal(r.get("tx"), t("7"))
        # The same object may try again.
        pipe.watch("tx")
        pipe.multi()
        pipe.set("tx", "9")
        equal(pipe.execute(), [True])
    with r.pipeline() as pipe:
        pipe.watch("tx")
        r.set("tx", "10")
        pipe.unwatch()
        equal(pipe.set("tx", "11").execute(), [True])
    with r.pipeline() as pipe:
        pipe.watch("tx")
        raises(redis.RedisError, "Cannot issue a WATCH after a MULTI", lambda: (pipe.multi(), pipe.watch("tl")))
        pipe.set("tx", "12")
        pipe.reset()
    equal(r.get("tx"), t("11"))
    equal(r.transaction(lambda pipe: (pipe.multi(), pipe.incr("tx")), "tx"), [12])


def races(r, t):
    """`transaction()` in many threads: the function is called again until nobody came between."""
    r.mset({"race:a": 1000, "race:b": 1000, "race:n": 0})
    errors = []

    def move(pipe):
        a, b = int(pipe.get("race:a")), int(pipe.get("race:b"))
        pipe.multi()
        pipe.mset({"race:a": a - 1, "race:b": b + 1}).incr("race:n")

    def work():
        try:
            for _ in range(20):
                r.transaction(move, "race:a", "race:b")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    [thread.start() for thread in threads]
    while any(thread.is_alive() for thread in threads):
        a, b, n = r.pipeline().get("race:a").get("race:b").get("race:n").execute()
        equal((int(a) + int(b), 1000 - int(a)), (2000, int(n)), "in the middle of a transaction:")
    [thread.join() for thread in threads]
    equal(errors, [])
    equal(r.mget("race:a", "race:b", "race:n"), [t("880"), t("1120"), t("120")])


def binary(r, t):
    if r.get_connection_kwargs().get("decode_responses"):
        return
    every = bytes(range(256))
    equal(r.set(every, every * 4), True)
    equal(r.get(every), every * 4)
    equal(r.hset(b"\r\n", every, b"\x00"), 1)
    equal(r.hgetall(b"\r\n"), {every: b"\x00"})
    equal(r.get(b""), None)
    equal(r.set(b"", b"empty name"), True)
    equal(r.get(b""), b"empty name")


def administration(r, t):
    equal(r.ping(), True)
    equal(r.echo("hi"), t("hi"))
    equal(r.config_get("databases"), {"databases": "16"})
    equal(r.config_set("slowlog-max-len", 100), True)
    equal(r.config_get("slowlog-*")["slowlog-max-len"], "100")
    equal(r.config_resetstat(), True)
    info = r.info()
    for name in ("redis_version", "ringfort_version", "connected_clients", "used_memory", "uptime_in_seconds", "role"):
        assert name in info, name
    equal(info["loading"], 0)
    assert r.info("keyspace") is not None
    commands = r.command()
    equal(commands["get"]["arity"], 2)
    assert "readonly" in commands["get"]["flags"]
    equal(r.command_count(), len(commands))
    seconds, micros = r.time()
    assert abs(seconds - time.time()) < 5 and 0 <= micros < 1_000_000
    equal(len(r.slowlog_get(1)) <= 1, True)
    raises(redis.ResponseError, "unknown command", r.execute_command, "NOSUCH", "x")
    raises(redis.ResponseError, "wrong number of arguments for 'get' command", r.execute_command, "GET")
    raises(redis.ResponseError, "syntax error", r.execute_command, "SET", "a", "b", "NOPE")
    raises(redis.ResponseError, "invalid expire time in 'set' command", r.set, "a", "b", ex=0)


def clients(r, t):
    one = redis.Redis(port=PORT, client_name="first", decode_responses=True, protocol=r.get_connection_kwargs().get("protocol", 2), single_connection_client=True)
    equal(one.client_getname(), "first")
    equal(one.client_setname("renamed"), True)
    listed = [c for c in r.client_list() if c["name"] == "renamed"]
    equal(len(listed), 1)
    equal(int(listed[0]["id"]), one.client_id())
    assert listed[0]["lib-name"].startswith("redis-py"), listed
    assert one.client_info()["name"] == "renamed"
    equal(r.client_kill_filter(_id=listed[0]["id"]), 1)
    time.sleep(0.1)
    equal([c for c in r.client_list() if c["id"] == listed[0]["id"]], [])
    # A killed connection is noticed and replaced.
    equal(one.ping(), True)
    raises(redis.ResponseError, "No such client", r.client_kill, "127.0.0.1:1")


def pools(r, t):
    pool = redis.ConnectionPool(port=PORT, max_connections=20, health_check_interval=1, protocol=r.get_connection_kwargs().get("protocol", 2))
    shared = redis.Redis(connection_pool=pool)
    shared.delete("shared")
    errors = []

    def work():
        try:
            for _ in range(100):
                shared.incr("shared")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    equal(errors, [])
    equal(shared.get("shared"), b"1600")
    time.sleep(1.1)
    equal(shared.incr("shared"), 1601)
    pool.disconnect()


def large_values():
    r = redis.Redis(port=PORT)
    for bytes_ in (1 << 20, 16 << 20, (64 << 20) - 16):
        value = os.urandom(1 << 16) * (bytes_ >> 16) + b"x" * (bytes_ & 0xFFFF)
        equal(r.set("large", value), True)
        if r.get("large") != value:
            raise AssertionError(f"{bytes_} bytes did not come back")
        equal(r.strlen("large"), bytes_)
    most = int(r.config_get("proto-max-bulk-len")["proto-max-bulk-len"])
    assert most >= (64 << 20) - 16, most
    raises(redis.ResponseError, "string exceeds maximum allowed size", r.setrange, "large", most, b"y")
    equal(r.strlen("large"), (64 << 20) - 16)
    equal(r.getrange("large", -3, -1), b"xxx")
    equal(r.delete("large"), 1)


def passwords():
    for protocol in (2, 3):
        raises(redis.AuthenticationError, "", redis.Redis(port=GUARDED, protocol=protocol).ping)
        # redis-py takes the code WRONGPASS for the kind of the error, and off the text.
        raises(redis.AuthenticationError, "invalid username-password pair", redis.Redis(port=GUARDED, password="no", protocol=protocol).ping)
        for user in (None, "default"):
            equal(redis.Redis(port=GUARDED, username=user, password="s3cret", protocol=protocol).set("x", "1"), True)


def killed_server():
    """What was acknowledged is there after SIGKILL, and the same client goes on."""
    r = redis.Redis(port=PORT, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), 50))
    r.mset({f"kept:{n}": n for n in range(1000)})
    r.hset("kept:h", mapping={str(n): n for n in range(100)})
    r.set("kept:e", "1", ex=5000)
    server("stop", "redis-py", "KILL")
    server("start", "redis-py")
    equal(r.mget([f"kept:{n}" for n in range(1000)]), [b"%d" % n for n in range(1000)])
    equal(r.hlen("kept:h"), 100)
    assert 4900 < r.ttl("kept:e") <= 5000


FAMILIES = (strings, numbers, expiry, hashes, keys, pipelines, transactions, races, binary, administration, clients, pools)


def main():
    for protocol in (2, 3):
        for decode in (False, True):
            r = redis.Redis(port=PORT, protocol=protocol, decode_responses=decode)
            r.flushall()
            told = (lambda text: text) if decode else (lambda text: text.encode())
            for family in FAMILIES:
                check(f"redis-py {redis.__version__}, RESP{protocol}{', decoded' * decode}: {family.__name__}", family, r, told)
    check("redis-py: values up to 64 MiB", large_values)
    check("redis-py: passwords", passwords)
    check("redis-py: after SIGKILL", killed_server)
    finish()


main()
