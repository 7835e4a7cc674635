"""HTTP headers put on top of a route's own, among them the file names that servers make up."""

from dataclasses import dataclass

from tests.servers.message import Request, Response, Route


@dataclass(frozen=True)
class WithHeaders:
    """Adds or replaces headers; a value of None takes one away."""

    inner: Route
    headers: dict[str, str | None]

    def __call__(self, request: Request) -> Response:
        response = self.inner(request)
        for name, value in self.headers.items():
            response.set(name, value)
        return response


def named(inner: Route, disposition: str) -> Route:
    """The route with this Content-Disposition, word for word; see `HOSTILE_NAMES`."""
    return WithHeaders(inner, {"Content-Disposition": disposition})


#: Content-Disposition values of servers that mean harm, or only mean well.
HOSTILE_NAMES = {
    "plain": 'attachment; filename="report.pdf"',
    "unquoted": "attachment; filename=report.pdf",
    "parent": 'attachment; filename="../../etc/passwd"',
    "backslash": 'attachment; filename="..\\\\..\\\\windows\\\\win.ini"',
    "absolute": 'attachment; filename="/etc/passwd"',
    "slashes": 'attachment; filename="a/b/c.txt"',
    "long": f'attachment; filename="{"n" * 296}.bin"',
    "long_utf8": "attachment; filename*=UTF-8''" + "%E2%82%AC" * 100 + ".bin",
    "utf8": "attachment; filename=\"naive.txt\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt",
    "utf8_parent": "attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd",
    "raw_utf8": 'attachment; filename="na\u00c3\u00afve.txt"',
    "nul": 'attachment; filename="a\x00b.txt"',
    "nul_encoded": "attachment; filename*=UTF-8''a%00b.txt",
    "newline_encoded": "attachment; filename*=UTF-8''a%0D%0AX-Evil%3A%201.txt",
    "reserved": 'attachment; filename="CON.txt"',
    "dot": 'attachment; filename="."',
    "dotdot": 'attachment; filename=".."',
    "hidden": 'attachment; filename=".bashrc"',
    "dash": 'attachment; filename="-rf"',
    "spaces": 'attachment; filename="  trailing. . "',
    "bidi": "attachment; filename*=UTF-8''photo%E2%80%AEgpj.exe",
    "empty": 'attachment; filename=""',
    "missing": "attachment",
    "broken": 'attachment; filename="unclosed',
}
