"""Fakes that ship with the product. Nobody gets one unasked.

freeswitch.PretendFreeSwitch    calls an agent over a real event socket and audio fork; PretendCall is one call
caller.PretendCaller            a person with recordings and a script, at the other end of such a call
providers                       canned recogniser, model and voice, with faults to order
fs_machine.Machine              the FreeSWITCH side alone, pure, at virtual time; fs_*.py are its parts
speech/                         the recordings, under their own licence
"""
