"""Where a call may be handed over to. Deny by default: a name the operator wrote, or a number with an allowed prefix.

    policy = Policy(settings.destinations, settings.transfer)
    found = policy.resolve(asked)            Destination | Refusal; ``asked`` is the model's text, which is outside text
    Transfer(found.name, found.target, found.mode, briefing)

What reaches the switch (``Destination.target``) is the operator's own text; of the model's at most the digits of a
number that passed, put where the operator's template says ``{number}``. ``resolve(found.name)`` gives the same answer
again, so whoever performs the transfer can ask once more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.setting import STRICT, setting

#: Characters of the model's text that are looked at; no name or number is longer.
MAX_ASKED = 100
#: E.164 allows 15 digits; what is longer is no number.
MAX_DIGITS = 15
#: Shorter numbers reach nobody's telephone but a service's (emergency, directory): those are for names only.
MIN_DIGITS, MIN_DIGITS_INTERNATIONAL = 4, 8
#: Police, fire, ambulance, directories and their like, also behind the digits that fetch an outside line.
_EMERGENCY = re.compile(r"(?:0|00|9)?(?:1[0-9][0-9]|[2-9]11|000|061|066|912|933|988|99[0-9])")
#: Numbers at a premium, satellite telephones and shared-cost services: refused even below an allowed prefix.
PREMIUM = (
    "+1900", "+1976", "+31900", "+31906", "+31909", "+3278", "+3290", "+33899", "+3389", "+34803", "+34806", "+34807",
    "+34905", "+351760", "+39144", "+39166", "+39892", "+39899", "+4190", "+43900", "+43901", "+43930", "+43931",
    "+43939", "+44118", "+4487", "+449", "+4590", "+46900", "+46939", "+46944", "+4782", "+48700", "+48703",
    "+49118", "+49137", "+4918", "+49190", "+499001", "+499003", "+499005", "+49900", "+6119",
    "+870", "+878", "+881", "+882", "+883", "+979", "0900", "0137", "0118", "0190",
)  # fmt: skip
#: What may stand before a number on its way out: the digits for an outside line; and what ``+`` is dialled as.
OUTSIDE_LINES, INTERNATIONAL = ("", "0", "00", "9"), ("00", "011", "0011")
#: Fewer digits than this behind an outside line's are none: the whole is an extension.
MIN_DIGITS_OUTSIDE = 7
#: A country code (ITU E.164) and the zero that people write behind it and networks drop. In Italy it belongs there.
_SHORT_CODE = "1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
_COUNTRY_ZERO = re.compile(rf"^(\+(?!39)(?:{_SHORT_CODE}|(?!{_SHORT_CODE})[0-9]{{3}}))0+")

_NUMBER = re.compile(r"\+?[0-9]+")
#: As in +49 (0) 30: not dialled from abroad.
_TRUNK_ZERO = re.compile(r"(?<=[0-9 ])\(0\)(?=[0-9 ])")
_SEPARATORS = re.compile(r"[ ()./-]+")
_WORD = r"^[A-Za-z0-9_.-]{1,64}$"


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    """Somebody the agent may hand a call over to, by name."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    number: str = setting(
        "", "The number of the dialplan that a blind transfer goes to, such as 1000.", pattern=r"^([0-9*#+]{1,32})?$"
    )
    dial: str = setting(
        "",
        "What a warm transfer calls. FreeSWITCH: a dial string such as user/1000 or sofia/gateway/pstn/+4930123456; "
        "Asterisk: a telephone or a trunk of pjsip.conf, PJSIP/1002 or PJSIP/4930123456@trunk.",
    )
    mode: Literal["blind", "warm"] = setting(
        "blind",
        "blind: the call goes to number and the agent is out of it. warm: the agent calls dial while the caller "
        "waits; whoever answers hears the briefing and may decline, and then the agent has the caller back.",
    )
    say: str = setting("", "What the caller is told before it. Empty: nothing but what the model says.")
    briefing: str = setting(
        "There is a call for you. {summary} To take the call, press one. To leave it with me, press two.",
        "What is said to whoever answers a warm transfer; `{summary}` is what the model says the call is about. "
        "Empty: they are connected at once.",
    )
    timeout: float = setting(25.0, "Seconds a warm transfer may ring.", ge=1.0, le=300.0)
    description: str = setting("", "What the model is told about it: who it is, when to use it.")

    def __post_init__(self) -> None:
        _check_dial(self.dial)
        if self.mode == "blind" and not self.number:
            raise ValueError("a blind transfer needs number, the extension to send the call to")
        if self.mode == "warm" and not self.dial:
            raise ValueError("a warm transfer needs dial, such as user/1000 (FreeSWITCH) or PJSIP/1000 (Asterisk)")


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Numbers the agent may hand calls over to beside the named destinations, and how much of it is too much."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    allow: tuple[str, ...] = setting(
        (),
        "How numbers begin that the model may choose by itself, such as +4930. Empty: named destinations only. "
        "Emergency and premium numbers stay out of reach whatever is allowed.",
    )
    deny: tuple[str, ...] = setting((), "How numbers begin that are refused though allowed. The longer match wins.")
    mode: Literal["blind", "warm"] = setting("blind", "How calls are handed over to such a number.")
    context: str = setting("default", "The dialplan context of blind transfers.", pattern=_WORD)
    dial: str = setting("", "What a warm transfer to such a number calls; `{number}` is the number, digits only.")
    ringback: str = setting(
        "%(2000,4000,440,480)",
        "What the caller hears while a warm transfer rings: a tone, or a stream such as local_stream://moh, in whose "
        "place Asterisk's callers hear the usual tone. Empty: silence.",
        pattern=r"^[^\r\n${}\[\]]*$",
    )
    max_per_call: int = setting(3, "Transfers one caller may have tried.", ge=0, le=100)
    max_per_hour: int = setting(20, "Transfers within an hour, of all calls of this DID.", ge=0, le=100000)
    max_at_once: int = setting(10, "Transfers of this DID that are under way or connected at one time.", ge=0)
    max_cost_per_hour: float = setting(
        0.0, "What transfers of this DID may cost within an hour, in the currency of costs. 0: no limit.", ge=0.0
    )
    costs: dict[str, float] = setting(
        dict, "What a minute costs, by how the number begins: `+49: 0.02`. The longest match counts."
    )
    assumed_minutes: float = setting(
        5.0,
        "How long a transferred call counts as connected, and for its cost, as long as its real length is not known: a "
        "blind transfer's never is.",
        ge=0.0,
    )

    def __post_init__(self) -> None:
        _check_dial(self.dial)
        for prefix in (*self.allow, *self.deny, *self.costs):
            if not re.fullmatch(r"\+?[0-9]{1,15}", prefix):
                raise ValueError(f"expected how a number begins, such as '+4930' or '10', got {prefix!r}")
        if self.allow and self.mode == "warm" and "{number}" not in self.dial:
            raise ValueError("warm transfers to allowed numbers need dial with {number} in it")
        if any(cost < 0 for cost in self.costs.values()):
            raise ValueError("a minute costs 0 or more")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a call may go. ``target`` is for the leg: ``1000 XML default`` (blind) or a dial string (warm)."""

    name: str
    target: str
    mode: Literal["blind", "warm"]
    say: str = ""
    briefing: str = ""
    cost_per_minute: float = 0.0
    rings: float = 0.0
    """Seconds a warm transfer may ring."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not there, for ``reason``: a sentence for the model, without what it asked."""

    reason: str


def _check_dial(dial: str) -> None:
    """The operator's dial string is one line, with nothing that FreeSWITCH would expand."""
    if found := re.search(r"[\r\n\x00$\\]", dial):
        raise ValueError(f"dial: expected a dial string without {found[0]!r}, which FreeSWITCH does not take there")


def check_names(named: Mapping[str, DestinationSettings]) -> None:
    """Raises ValueError for names that nobody could say, or that are the same when said."""
    seen: dict[str, str] = {}
    for name in named:
        words = normalised(name)
        if not words or len(name) > MAX_ASKED:
            raise ValueError(f"destinations: expected a name such as 'reception', got {name[:40]!r}")
        if words in seen:
            raise ValueError(f"destinations: {name!r} and {seen[words]!r} are one name; keep one of the two")
        seen[words] = name


class Policy:
    """The destinations of one DID. Never changes; shared by its calls."""

    def __init__(self, named: Mapping[str, DestinationSettings], transfer: TransferSettings) -> None:
        self._transfer = transfer
        self._named = {normalised(name): (name, settings) for name, settings in named.items()}
        self.names = tuple(named)
        self.allows_numbers = bool(transfer.allow)

    def describe(self, name: str) -> str:
        """What the operator says about a named destination."""
        return self._named[normalised(name)][1].description

    def resolve(self, asked: str) -> Destination | Refusal:
        """Where ``asked`` (outside text) leads. Never raises."""
        if len(asked) > MAX_ASKED:
            return Refusal("that is no destination")
        if found := self._named.get(normalised(asked)):
            return self._by_name(*found)
        number = _without_zero(_SEPARATORS.sub("", _TRUNK_ZERO.sub("", asked.strip())))
        if not _NUMBER.fullmatch(number) or not number.isascii():
            return Refusal(f"there is no such destination; {self._known()}")
        if not self.allows_numbers:
            return Refusal(f"numbers cannot be chosen freely; {self._known()}")
        if reason := self._objection(number):
            return Refusal(reason)
        return self._by_number(number)

    def _known(self) -> str:
        return f"known are: {', '.join(self.names)}" if self.names else "none is known"

    def _by_name(self, name: str, settings: DestinationSettings) -> Destination:
        is_warm = settings.mode == "warm"
        target = f"{settings.number} XML {self._transfer.context}"
        if is_warm:
            target = f"{_rings(settings.timeout)}{settings.dial}"
        number = settings.number or _trailing_number(settings.dial)
        return Destination(
            name,
            target,
            settings.mode,
            settings.say,
            settings.briefing if is_warm else "",
            self._cost(number),
            settings.timeout if is_warm else 0.0,
        )

    def _by_number(self, number: str) -> Destination:
        transfer = self._transfer
        if transfer.mode == "warm":
            like = DestinationSettings(dial="-", mode="warm")
            target = f"{_rings(like.timeout)}{transfer.dial.replace('{number}', number)}"
            cost = self._cost(number)
            return Destination(number, target, "warm", briefing=like.briefing, cost_per_minute=cost, rings=like.timeout)
        return Destination(number, f"{number} XML {transfer.context}", "blind", cost_per_minute=self._cost(number))

    def _objection(self, number: str) -> str:
        """Why a number is not dialled; empty if it may be."""
        digits = number.lstrip("+")
        least = MIN_DIGITS_INTERNATIONAL if number.startswith("+") else MIN_DIGITS
        if not least <= len(digits) <= MAX_DIGITS:
            return "that number has too few or too many digits to be called"
        if is_emergency(number):
            return "emergency and service numbers are not called"
        allowed = _longest(number, self._transfer.allow)
        if not allowed:
            return "calls to that number are not allowed"
        if any(reading.startswith(PREMIUM) for reading in _readings(number)):
            return "premium numbers are not called"
        if len(_longest(number, self._transfer.deny, anyhow=True)) >= len(allowed):
            return "calls to that number are not allowed"
        return ""

    def _cost(self, number: str) -> float:
        prefix = _longest(number, self._transfer.costs, anyhow=True)
        return self._transfer.costs[prefix] if prefix else 0.0


def fixed_briefing(briefing: str) -> str:
    """A briefing without what the model would say: it is known before the call, and can be spoken before it."""
    return " ".join(briefing.replace("{summary}", "").split())


def is_emergency(number: str) -> bool:
    """Whether dialling ``number`` may reach an emergency or short service number."""
    return _EMERGENCY.fullmatch(number.lstrip("+")) is not None


def _readings(number: str) -> Iterator[str]:
    """What networks may make of ``number``: as it is, behind an outside line's digits, and each with ``+`` if it is
    international."""
    for line in OUTSIDE_LINES:
        dialled = number.removeprefix(line)
        if line and (dialled == number or len(dialled) < MIN_DIGITS_OUTSIDE):
            continue
        yield dialled
        for prefix in INTERNATIONAL:
            if dialled.startswith(prefix):
                yield _without_zero(f"+{dialled[len(prefix) :]}")
        if len(dialled) == 11 and dialled[0] == "1":  # North America
            yield f"+{dialled}"


def _without_zero(number: str) -> str:
    return _COUNTRY_ZERO.sub(r"\1", number)


def _rings(seconds: float) -> str:
    """How long a leg may ring, as a dial string says it."""
    return f"{{leg_timeout={max(1, round(seconds))}}}"


def normalised(name: str) -> str:
    """A destination's name as it is compared: lower case, words by one space, without punctuation; an accent is part
    of its letter, however it was typed."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name).casefold()))


def _longest(number: str, prefixes: Mapping[str, float] | tuple[str, ...], *, anyhow: bool = False) -> str:
    """The longest of ``prefixes`` that ``number`` begins with; ``anyhow``: or would, were it written with ``+``."""
    readings = [number, *(each for each in _readings(number) if anyhow and each.startswith("+"))]
    return max(
        (prefix for prefix in prefixes if any(each.startswith(prefix) for each in readings)), key=len, default=""
    )


def _trailing_number(dial: str) -> str:
    """The number an operator's dial string calls, as far as it can be seen: ``sofia/gateway/pstn/+4930`` -> +4930."""
    found = re.search(r"(\+?[0-9]+)(?:@[^/]*)?$", dial)
    return found[1] if found else ""
