"""Rude, slow and many connections: the server answers the others, loses nothing and stays within its
memory. Everything is plain sockets."""

import os
import random
import resource
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from checks import PROFILE, check, equal, finish, server, server_pid  # noqa: E402
from resp import Connection, Error, encode  # noqa: E402

PORT = server("start", "robustness")
IDLE = 10_000
MIB = 1 << 20


def alive():
    """A new connection is served at once."""
    began = time.monotonic()
    connection = Connection(PORT, timeout_s=30)
    equal(connection.call("PING"), b"PONG")
    connection.close()
    took_s = time.monotonic() - began
    assert took_s < 5, f"a PING took {took_s:.1f} s"


def clients():
    connection = Connection(PORT)
    listed = connection.call("CLIENT", "LIST").count(b"\n")
    connection.close()
    return listed


def settle(wanted=1):
    """Waits until the connections of a check are gone."""
    for _ in range(200):
        if clients() <= wanted:
            return
        time.sleep(0.05)
    raise AssertionError(f"{clients()} connections are still there")


def resident_mib():
    with open(f"/proc/{server_pid('robustness')}/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) // 1024


def reset(connection):
    """Closes with a TCP reset."""
    connection.file.close()
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()


def inline():
    connection = Connection(PORT)
    connection.send(b"PING\r\n\r\n\n  SET  inline\t'a b'  \r\nGET inline\nSET q \"x\\x00\\n\\\"\"\r\nGET q\r\nECHO '\r\n")
    equal([connection.read() for _ in range(5)], [b"PONG", b"OK", b"a b", b"OK", b'x\0\n"'])
    equal(connection.read(), Error("ERR Protocol error: unbalanced quotes in request"))
    equal(connection.socket.recv(10), b"")


def abrupt():
    """Connections that end at every place of a request, by a close and by a reset."""
    request = encode(["SET", "abrupt", "v" * 200]) + encode(["HSET", "abrupt:h", "f", "v"])
    for cut in range(0, len(request), 3):
        for end in (Connection.close, reset):
            connection = Connection(PORT)
            connection.send(request[:cut])
            end(connection)
    settle()
    alive()


def unread():
    """Clients that ask and leave without reading the answer."""
    Connection(PORT).call("SET", "unread", b"x" * MIB)
    for _ in range(200):
        connection = Connection(PORT)
        connection.send(encode(["GET", "unread"]) * 8)
        reset(connection)
    settle()
    alive()


def half_requests():
    """Requests that stop in the middle hold up nobody; finished later, they are answered."""
    waiting = []
    request = encode(["SET", "half", "w" * 1000])
    for n in range(200):
        connection = Connection(PORT)
        connection.send(request[: 5 + n * 4])
        waiting.append((connection, request[5 + n * 4 :]))
    alive()
    for connection, rest in waiting:
        connection.send(rest)
        equal(connection.read(), b"OK")
        connection.close()
    settle()


def byte_by_byte():
    connection = Connection(PORT)
    for byte in encode(["SET", "slow", "ly"]) + encode(["GET", "slow"]):
        connection.send(bytes([byte]))
    equal([connection.read(), connection.read()], [b"OK", b"ly"])


def nonsense():
    """Bytes that are no request: an error or a close, and the server goes on."""
    source = random.Random(7)
    fixed = [b"*-2\r\n", b"*1\r\n$-5\r\n", b"*99999999999\r\n", b"*1\r\n$99999999999\r\n", b"*1\r\nX\r\n", b"$5\r\nhello\r\n",
             b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabcXX", b"A" * 70_000, b"*1000000\r\n" + b"$0\r\n\r\n" * 1000, b"\x16\x03\x01\x02\x00"]
    for data in fixed + [source.randbytes(source.randint(1, 400)) for _ in range(300)]:
        connection = Connection(PORT)
        try:
            connection.send(data)
            connection.socket.shutdown(socket.SHUT_WR)
            while connection.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        connection.close()
    settle()
    alive()


def http():
    """A browser that is led to the port gets no command through."""
    connection = Connection(PORT)
    connection.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\nSET crossed 1\r\n")
    try:
        while connection.socket.recv(65536):
            pass
    except ConnectionError:
        pass
    equal(Connection(PORT).call("GET", "crossed"), None)


def long_pipeline():
    """A hundred thousand commands at once, written while the replies are read."""
    count = 100_000
    connection = Connection(PORT, timeout_s=300)
    data = b"".join(encode(["INCR", "pipelined"]) for _ in range(count))
    writer = threading.Thread(target=connection.send, args=(data,))
    writer.start()
    for n in range(1, count + 1):
        line = connection.file.readline()
        if line != b":%d\r\n" % n:
            raise AssertionError(f"reply {n} is {line!r}")
    writer.join()
    connection.close()


def unread_pipeline():
    """The same without reading until all is written: back-pressure, then every reply."""
    count = 100_000
    connection = Connection(PORT, timeout_s=300)
    data = b"".join(encode(["ECHO", "%090d" % n]) for n in range(count))
    writer = threading.Thread(target=connection.send, args=(data,))
    writer.start()
    time.sleep(1)
    alive()
    for n in range(count):
        equal(connection.read(), b"%090d" % n)
    writer.join()
    connection.close()


def many_idle():
    """Ten thousand connections that are silent, if the limits let this process have them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Connection(PORT).call("CONFIG", "SET", "maxclients", "20000")
    before = resident_mib()
    idle = []
    try:
        for _ in range(min(IDLE, hard - 200)):
            idle.append(socket.create_connection(("127.0.0.1", PORT), timeout=10))
    except OSError as error:
        print(f"#   {len(idle)} connections only: {error}")
    # The last ones may still be on their way.
    for _ in range(100):
        if clients() >= len(idle):
            break
        time.sleep(0.1)
    assert clients() >= len(idle), f"{clients()} of {len(idle)} connections are served"
    alive()
    used = resident_mib() - before
    print(f"#   {len(idle)} idle connections, {used} MiB more")
    for connection in idle[:: max(1, len(idle) // 500)]:
        connection.sendall(encode(["PING"]))
        equal(connection.recv(100), b"+PONG\r\n")
    for connection in idle:
        connection.close()
    settle()
    assert used < 512, f"{used} MiB for {len(idle)} idle connections"


def too_many():
    """Connections beyond maxclients are told so; the others stay."""
    admin = Connection(PORT)
    before = int(admin.call("CONFIG", "GET", "maxclients")[1])
    equal(admin.call("CONFIG", "SET", "maxclients", "20"), b"OK")
    held = [Connection(PORT) for _ in range(19)]
    for connection in held:
        equal(connection.call("PING"), b"PONG")
    refused = Connection(PORT)
    equal(refused.read(), Error("ERR max number of clients reached"))
    for connection in held:
        equal(connection.call("PING"), b"PONG")
        connection.close()
    equal(admin.call("CONFIG", "SET", "maxclients", str(before)), b"OK")
    admin.close()
    settle()


def slow_readers():
    """Clients that ask for more than the byte budget holds and do not read: memory stays bounded, the others
    are served, and what is read at last is right."""
    value = random.Random(3).randbytes(MIB) * 16
    writer = Connection(PORT)
    equal(writer.call("SET", "large", value), b"OK")
    budget = int(writer.call("CONFIG", "GET", "ringfort-connection-memory")[1]) // MIB
    before = resident_mib()
    # 1.5 times the budget, in replies that nobody takes.
    count = budget * 3 // 2 // 16
    slow = []
    for _ in range(count):
        connection = Connection(PORT, timeout_s=120)
        connection.send(encode(["GET", "large"]) * 2)
        slow.append(connection)
    peak = 0
    for _ in range(20):
        time.sleep(0.2)
        peak = max(peak, resident_mib() - before)
        alive()
    print(f"#   {count} slow readers, {2 * count * 16} MiB asked for, {peak} MiB more at the peak, budget {budget} MiB")
    small = Connection(PORT)
    equal(small.call("SET", "small", "1"), b"OK")
    equal(small.call("GET", "small"), b"1")
    wrong = []

    def read(connection):
        try:
            for _ in range(2):
                if connection.read_raw() != b"$%d\r\n%s\r\n" % (len(value), value):
                    wrong.append("other bytes")
        except OSError as error:
            wrong.append(error)
        connection.close()

    # Who waits for room waits for those before it: all read at once.
    threads = [threading.Thread(target=read, args=(connection,)) for connection in slow]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    equal(wrong, [])
    settle(3)
    assert peak < budget * 3 // 2, f"{peak} MiB more than before, of a budget of {budget} MiB"


def slow_writers():
    """Large values that arrive in parts, from many clients at once."""
    part = b"p" * MIB
    head = b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n"
    writers = []
    for n in range(30):
        connection = Connection(PORT, timeout_s=120)
        name = b"large:%d" % n
        connection.send(head % (len(name), name, 16 * MIB))
        writers.append(connection)

    def write(connection):
        for _ in range(16):
            connection.send(part)
        connection.send(b"\r\n")

    threads = [threading.Thread(target=write, args=(connection,)) for connection in writers]
    [thread.start() for thread in threads]
    alive()
    [thread.join() for thread in threads]
    for connection in writers:
        equal(connection.read(), b"OK")
    equal(writers[0].call("STRLEN", "large:29"), 16 * MIB)
    equal(writers[0].call("UNLINK", *(f"large:{n}" for n in range(30))), 30)
    for connection in writers:
        connection.close()


def endless_queues():
    """Clients that queue behind MULTI and never end it: each is stopped at its bound, all together stay within the byte
    budget, and nothing of it is carried out."""
    admin = Connection(PORT)
    budget = int(admin.call("CONFIG", "GET", "ringfort-connection-memory")[1]) // MIB
    before, refused, queued, hold = resident_mib(), [], [], []
    lock = threading.Lock()

    def fill(n):
        connection = Connection(PORT, timeout_s=120)
        equal(connection.call("MULTI"), b"OK")
        command = encode(["SET", f"endless:{n}", b"q" * MIB])
        for count in range(2 * budget):
            connection.send(command)
            reply = connection.read()
            if reply != b"QUEUED":
                break
        with lock:
            hold.append(connection)
            queued.append(count)
            refused.append(reply)

    threads = [threading.Thread(target=fill, args=(n,)) for n in range(12)]
    [thread.start() for thread in threads]
    alive()
    [thread.join() for thread in threads]
    used = resident_mib() - before
    print(f"#   12 queues took {sum(queued)} MiB, the server {used} MiB more; budget {budget} MiB")
    assert all(isinstance(reply, Error) and reply.startswith("OOM ") for reply in refused), refused
    assert used < budget * 3 // 2, f"{used} MiB more than before, of a budget of {budget} MiB"
    alive()
    for connection in hold[::2]:
        reply = connection.call("EXEC")
        assert isinstance(reply, Error) and reply.startswith("EXECABORT "), reply
        equal(connection.call("PING"), b"PONG")
        connection.close()
    for connection in hold[1::2]:
        reset(connection)
    equal(admin.call("EXISTS", *(f"endless:{n}" for n in range(12))), 0)
    admin.close()
    settle()


def open_transactions():
    """SIGTERM while transactions are open and others wait for their locks: the server ends, and nothing of them is there."""
    connection = Connection(PORT)
    equal(connection.call("SET", "held", "before"), b"OK")
    holder, waiter, plain = (Connection(PORT) for _ in range(3))
    equal([holder.call("TXN", "BEGIN"), holder.call("SET", "held", "abandoned")], [b"OK", b"OK"])
    equal(waiter.call("TXN", "BEGIN"), b"OK")
    waiter.send(encode(["GET", "held"]))
    plain.send(encode(["SET", "held", "plain"]))
    time.sleep(0.2)
    began = time.monotonic()
    server("stop", "robustness")
    took_s = time.monotonic() - began
    assert took_s < 10, f"the stop took {took_s:.1f} s"
    try:
        answered = plain.read() == b"OK"
    except ConnectionError:
        answered = False
    server("start", "robustness")
    kept = Connection(PORT).call("GET", "held")
    assert kept == b"plain" if answered else kept in (b"before", b"plain"), (kept, answered)


def clean_stop():
    """SIGTERM under load: no reply is half, and what was acknowledged is there afterwards."""
    acknowledged = [0] * 8
    broken = []

    def work(nth):
        connection = Connection(PORT)
        try:
            while True:
                reply = connection.call("SET", f"stop:{nth}", acknowledged[nth] + 1)
                if reply != b"OK":
                    broken.append(reply)
                    return
                acknowledged[nth] += 1
        except ConnectionError as error:
            if "within" in str(error):
                broken.append(error)

    threads = [threading.Thread(target=work, args=(nth,)) for nth in range(8)]
    [thread.start() for thread in threads]
    time.sleep(1)
    began = time.monotonic()
    server("stop", "robustness")
    took_s = time.monotonic() - began
    [thread.join() for thread in threads]
    equal(broken, [])
    assert took_s < 10, f"the stop took {took_s:.1f} s"
    server("start", "robustness")
    connection = Connection(PORT)
    for nth, count in enumerate(acknowledged):
        kept = int(connection.call("GET", f"stop:{nth}"))
        assert count > 0 and count <= kept <= count + 1, f"{kept} is kept, {count} was acknowledged"


check("robustness: inline commands", inline)
check("robustness: connections that end at every byte", abrupt)
check("robustness: answers that nobody reads", unread)
check("robustness: half requests", half_requests)
check("robustness: byte by byte", byte_by_byte)
check("robustness: nonsense", nonsense)
check("robustness: HTTP", http)
check("robustness: a pipeline of 100000 commands", long_pipeline)
check("robustness: a pipeline that is not read for a while", unread_pipeline)
check(f"robustness: {IDLE} idle connections", many_idle)
check("robustness: more connections than maxclients", too_many)
check("robustness: slow readers of large replies", slow_readers)
check("robustness: slow writers of large values", slow_writers)
if str(Connection(PORT).call("TXN", "HELP")).startswith("ERR "):
    print("skipped robustness of transactions: the server does not know TXN")
else:
    check("robustness: queues that are never executed", endless_queues)
    check("robustness: a stop with open transactions", open_transactions)
check("robustness: a clean stop under load", clean_stop)
finish()
