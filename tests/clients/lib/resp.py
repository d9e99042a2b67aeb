"""A plain RESP connection: commands out, raw replies in. It interprets as little as it can, so that two
servers can be compared byte for byte."""

import socket


def encode(args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


class Error(str):
    """An error reply, with its code."""


class Connection:
    def __init__(self, port, timeout_s=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 16)

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def call(self, *args):
        """One command, its reply as a value."""
        self.send(encode(args))
        return self.read()

    def raw(self, *args):
        """One command, its reply as bytes."""
        self.send(encode(args))
        return self.read_raw()

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"the connection was closed after {line[:100]!r}")
        return line

    def read_raw(self):
        """The bytes of one reply."""
        parts = []
        left = 1
        while left:
            left -= 1
            line = self._line()
            parts.append(line)
            kind, count = line[:1], line[1:-2]
            if kind in b"$=!" and count != b"-1":
                body = self.file.read(int(count) + 2)
                if len(body) != int(count) + 2:
                    raise ConnectionError("the connection was closed within a reply")
                parts.append(body)
            elif kind in b"*~>" and count != b"-1":
                left += int(count)
            elif kind == b"%":
                left += 2 * int(count)
            elif kind not in b"+-:$_,#(*":
                raise ValueError(f"no reply starts with {line[:100]!r}")
        return b"".join(parts)

    def read(self):
        return decode(self.read_raw())


def decode(raw):
    value, rest = _decode(raw, 0)
    assert rest == len(raw)
    return value


def _decode(raw, at):
    end = raw.index(b"\r\n", at)
    kind, text, at = raw[at : at + 1], raw[at + 1 : end], end + 2
    if kind == b"+":
        return text, at
    if kind == b"-":
        return Error(text.decode(errors="replace")), at
    if kind == b":":
        return int(text), at
    if kind == b"_" or text == b"-1" and kind in b"$*":
        return None, at
    if kind == b",":
        return float(text), at
    if kind == b"#":
        return text == b"t", at
    if kind in b"$=":
        size = int(text)
        return raw[at : at + size], at + size + 2
    items = []
    for _ in range(int(text) * (2 if kind == b"%" else 1)):
        item, at = _decode(raw, at)
        items.append(item)
    if kind == b"%":
        return list(zip(items[::2], items[1::2])), at
    return items, at
