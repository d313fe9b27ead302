"""Channel variables as an inbound SIP call has them, in FreeSWITCH's order. Pure. Source: captures.

They make events as long as real ones (5-9 kB), which is what reading them costs.
"""

from __future__ import annotations

from datetime import datetime, timezone

_SDP = (
    "v=0\r\no=FreeSWITCH 1795169353 1795169354 IN IP4 127.0.0.1\r\ns=FreeSWITCH\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0 101 13\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-15\r\na=rtpmap:13 CN/8000\r\na=ptime:20\r\n"
)

#: ``name=value`` in order; ``{...}`` are filled in per call.
_INBOUND = """\
direction=inbound
uuid={uuid}
session_id=4
sip_from_user={caller}
sip_from_uri={caller}@127.0.0.1
sip_from_host=127.0.0.1
video_media_flow=disabled
text_media_flow=disabled
channel_name=sofia/agents/{caller}@127.0.0.1
sip_call_id={uuid}-sip
sip_local_network_addr=127.0.0.1
sip_network_ip=127.0.0.1
sip_network_port=5080
sip_invite_stamp={micros}
sip_received_ip=127.0.0.1
sip_received_port=5080
sip_via_protocol=udp
sip_from_user_stripped={caller}
sip_from_tag=U2BFKt6HNvSgF
sofia_profile_name=agents
sofia_profile_url=sip:mod_sofia@127.0.0.1:5080
recovery_profile_name=agents
sip_Remote-Party-ID=<sip:{caller}@127.0.0.1>;party=calling;screen=yes;privacy=off
sip_cid_type=rpid
sip_full_via=SIP/2.0/UDP 127.0.0.1:5080;rport=5080;branch=z9hG4bKUj0p783Xejjrp
sip_full_from=<sip:{caller}@127.0.0.1>;tag=U2BFKt6HNvSgF
sip_full_to=<sip:{did}@127.0.0.1:5080>
sip_allow=INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY
sip_req_user={did}
sip_req_port=5080
sip_req_uri={did}@127.0.0.1:5080
sip_req_host=127.0.0.1
sip_to_user={did}
sip_to_port=5080
sip_to_uri={did}@127.0.0.1:5080
sip_to_host=127.0.0.1
sip_contact_user=mod_sofia
sip_contact_port=5080
sip_contact_uri=mod_sofia@127.0.0.1:5080
sip_contact_host=127.0.0.1
sip_user_agent=FreeSWITCH
sip_via_host=127.0.0.1
sip_via_port=5080
sip_via_rport=5080
max_forwards=70
switch_r_sdp={sdp}
ep_codec_string=CORE_PCM_MODULE.{codec}@{rate}h@20i@64000b
rtp_use_codec_string=PCMU,PCMA,OPUS,G722,L16
remote_video_media_flow=inactive
remote_text_media_flow=inactive
remote_audio_media_flow=sendrecv
audio_media_flow=sendrecv
remote_media_ip=127.0.0.1
remote_media_port=27770
rtp_audio_recv_pt=0
rtp_use_codec_name={codec}
rtp_use_codec_rate={rate}
rtp_use_codec_ptime=20
rtp_use_codec_channels=1
rtp_last_audio_codec_string={codec}@{rate}h@20i@1c
read_codec={codec}
original_read_codec={codec}
read_rate={rate}
original_read_rate={rate}
write_codec={codec}
write_rate={rate}
dtmf_type=rfc2833
endpoint_disposition=RECEIVED
call_uuid={uuid}
current_application_data=127.0.0.1:8084 async full
current_application=socket
socket_host=127.0.0.1"""

_RTP_STATISTICS = (
    "raw_bytes media_bytes packet_count media_packet_count skip_packet_count jitter_packet_count dtmf_packet_count "
    "cng_packet_count flush_packet_count largest_jb_size jitter_min_variance jitter_max_variance jitter_loss_rate "
    "jitter_burst_rate mean_interval flaw_total"
)


def codec_name(rate: int) -> str:
    """What a channel of ``rate`` samples a second would have negotiated."""
    return {8000: "PCMU", 16000: "L16"}.get(rate, "opus")


def inbound(uuid: str, did: str, caller: str, rate: int, epoch: float) -> dict[str, str]:
    """Before the answer."""
    values = {
        "uuid": uuid,
        "did": did,
        "caller": caller,
        "rate": str(rate),
        "codec": codec_name(rate),
        "micros": str(int(epoch * 1_000_000)),
        "sdp": _SDP.format(port=27770),
    }
    pairs = (line.partition("=") for line in _INBOUND.split("\n"))
    return {name: text.format(**values) for name, _, text in pairs}


def answered() -> dict[str, str]:
    """What the answer adds."""
    return {
        "rtp_local_sdp_str": _SDP.format(port=29934) + "a=sendrecv\r\n",
        "local_media_ip": "127.0.0.1",
        "local_media_port": "29934",
        "advertised_media_ip": "127.0.0.1",
        "rtp_use_timer_name": "soft",
        "rtp_use_pt": "0",
        "rtp_use_ssrc": "3339358160",
        "rtp_2833_send_payload": "101",
        "rtp_2833_recv_payload": "101",
        "endpoint_disposition": "ANSWER",
    }


def reported(began: float, answer: float, end: float) -> dict[str, str]:
    """What CHANNEL_HANGUP_COMPLETE adds. Times are wall clock; ``answer`` 0: never answered."""
    variables = {"digits_dialed": "none"}
    for name, moment in (("start", began), ("profile_start", began), ("answer", answer), ("end", end)):
        if moment:
            stamp = datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
            variables[f"{name}_stamp"] = stamp
        variables[f"{name}_epoch"] = str(int(moment))
        variables[f"{name}_uepoch"] = str(int(moment * 1_000_000))
    lasted, billed = end - began, end - answer if answer else 0.0
    waited = answer - began if answer else 0.0
    for unit, factor in (("sec", 1), ("msec", 1000), ("usec", 1_000_000)):
        duration = {"sec": "duration", "msec": "mduration", "usec": "uduration"}[unit]
        variables[duration] = str(int(lasted * factor))
        variables[f"bill{unit}"] = str(int(billed * factor))
        variables[f"answer{unit}"] = str(int(waited * factor))
        variables[f"wait{unit}"] = "0"
        variables[f"flow_bill{unit}"] = str(int(lasted * factor))
    variables |= {f"rtp_audio_in_{name}": "0" for name in _RTP_STATISTICS.split()}
    variables |= {"rtp_audio_in_quality_percentage": "100.00", "rtp_audio_in_mos": "4.50"}
    return variables
