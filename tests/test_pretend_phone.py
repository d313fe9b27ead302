"""The pretend telephone: its SIP, and its sound over a loopback socket."""

from __future__ import annotations

import struct

import pytest
from gevent import socket

from esl_agent.testing.caller import PretendCaller
from esl_agent.testing.rtp_sound import RtpSound
from esl_agent.testing.sip_words import KEYS, media_address, parse, response, sdp

#: As a real Asterisk (22.10.1) sends it, with a compact header.
INVITE = (
    b"INVITE sip:3183@127.0.0.2:5070 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKPj7f\r\n"
    b'From: "A" <sip:4930123@127.0.0.1>;tag=55\r\n'
    b"To: <sip:3183@127.0.0.2>\r\n"
    b"i: abc\r\n"
    b"CSeq: 21 INVITE\r\n"
    b"Content-Length:   4\r\n\r\nv=0\n"
)


def test_a_request_is_read_and_answered_as_its_own():
    invite = parse(INVITE)
    assert (invite.method, invite.user, invite.status, invite.body) == ("INVITE", "3183", 0, "v=0\n")
    busy = parse(response(invite, 486, "ours").encode())
    assert (busy.status, busy.method, busy.get("call-id")) == (486, "INVITE", "abc")
    assert busy.get("To") == "<sip:3183@127.0.0.2>;tag=ours"
    assert busy.all("Via") == invite.all("Via")


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"SIP/2.0 abc Odd\r\n\r\n", INVITE[:40]])
def test_what_is_no_sip_is_refused(data):
    with pytest.raises(ValueError, match="no SIP message"):
        parse(data)


def test_an_offer_says_where_the_sound_goes():
    assert media_address(sdp("127.0.0.2", 4000)) == ("127.0.0.2", 4000)
    with pytest.raises(ValueError, match="no sound"):
        media_address("v=0\r\nm=video 9 RTP/AVP 96\r\n")


def test_a_key_is_pressed_as_rfc_4733_has_it_and_noise_is_no_packet():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        sound = RtpSound("127.0.0.1", PretendCaller([], noise=None), lambda: None)
        try:
            sound.press("#")
            sound.start(peer.getsockname())
            packets = [peer.recv(1000) for _ in range(12)]
            peer.sendto(b"noise", ("127.0.0.1", sound.port))
            peer.sendto(packets[-1], ("127.0.0.1", sound.port))
            while not sound.packets:
                peer.recv(1000)
        finally:
            sound.close()
    kinds = [packet[1] & 0x7F for packet in packets]
    assert kinds == [KEYS] * 11 + [0]
    events = [struct.unpack("!BBH", packet[12:]) for packet in packets[:11]]
    assert {event for event, _, _ in events} == {11}
    assert [bool(flags & 0x80) for _, flags, _ in events] == [False] * 8 + [True] * 3
    assert [duration for _, _, duration in events[:8]] == [160 * n for n in range(1, 9)]
    assert len({packet[4:8] for packet in packets[:11]}) == 1, "a key has one timestamp"
    assert packets[0][1] & 0x80, "and begins with the marker"
    assert [packet.kind for packet in sound.packets] == [0]
