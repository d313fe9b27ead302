"""The pretend SIP telephone, by itself."""

from __future__ import annotations

import socket

from esl_agent.testing.sip_phone import SipPhone

OPTIONS = (
    b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:x@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def test_what_is_no_sip_is_passed_over():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as switch:
        switch.bind(("127.0.0.1", 0))
        switch.settimeout(10.0)
        phone = SipPhone("127.0.0.1", switch.getsockname())
        for data in (b"\x80\xc9\x00\x0cEU", b"\r\n\r\n", b"", OPTIONS):
            switch.sendto(data, phone._sock.getsockname())
        assert switch.recv(2000).startswith(b"SIP/2.0 200 ")
        phone.close()
