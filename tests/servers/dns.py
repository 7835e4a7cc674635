"""Names that change their mind: a DNS server on loopback, and a resolver to hand to an engine.

resolver = RebindingResolver({"evil.test": [["93.184.215.14"], ["127.0.0.1"]]})
resolver("evil.test", 80)      # the first answer; the second time the second, then for ever
"""

import ipaddress
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from dnslib import AAAA, QTYPE, RCODE, RR, A
from dnslib.server import DNSLogger, DNSServer

Answers = Mapping[str, Sequence[Sequence[str]]]


class RebindingResolver:
    """Each question for a name gets its next list of addresses; the last one stays.

    `asked` counts the questions by name. An unknown name has no addresses.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = {name.lower().rstrip("."): list(lists) for name, lists in answers.items()}
        self._lock = threading.Lock()
        self.asked: Counter[str] = Counter()

    def __call__(self, host: str, port: int) -> list[str]:
        name = host.lower().rstrip(".")
        with self._lock:
            turn = self.asked[name]
            self.asked[name] += 1
        lists = self._answers.get(name, [[]])
        return list(lists[min(turn, len(lists) - 1)])

    async def resolve(self, host: str, port: int) -> list[str]:
        """The same, for who awaits its resolver."""
        return self(host, port)


class DnsServer:
    """Answers A and AAAA questions over UDP, each kind with turns of its own."""

    def __init__(self, answers: Answers) -> None:
        self._turns = {"A": RebindingResolver(answers), "AAAA": RebindingResolver(answers)}
        self.host = "127.0.0.1"
        self.port = 0
        self._server: Any = None

    @property
    def asked(self) -> Counter[str]:
        """How often each name was asked for, A and AAAA together."""
        return self._turns["A"].asked + self._turns["AAAA"].asked

    def resolve(self, request: Any, handler: Any) -> Any:
        """Called by dnslib for each question."""
        reply = request.reply()
        kind = QTYPE[request.q.qtype]
        name = str(request.q.qname)
        turns = self._turns.get(kind)
        found = turns(name, 53) if turns else []
        for address in map(ipaddress.ip_address, found):
            if address.version == (4 if kind == "A" else 6):
                data = (A if kind == "A" else AAAA)(str(address))
                # No second may pass in which an answer is kept.
                reply.add_answer(RR(name, request.q.qtype, rdata=data, ttl=0))
        if not found:
            reply.header.rcode = RCODE.NXDOMAIN
        return reply

    def __enter__(self) -> Self:
        quiet = DNSLogger(log="-recv,-send,-request,-reply,-truncated,-error", prefix=False)
        self._server = DNSServer(self, address=self.host, port=0, logger=quiet)
        self.port = self._server.server.server_address[1]
        serve = self._server.server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.02,), name="dns", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        self._thread.join(10)
        self._server.server.server_close()
