"""The laws of turn taking, as properties: whatever the world does, and however late, they hold."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.destinations import DestinationSettings
from esl_agent.dialogue.digits import DtmfSettings
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.settings import (
    BargeInSettings,
    CascadeSettings,
    EarlyReplySettings,
    FillerSettings,
    HistorySettings,
    LastResortSettings,
    LimitSettings,
    Phrases,
)
from esl_agent.dialogue.tool_settings import BUILTINS, HttpToolSettings, ToolsSettings
from esl_agent.dialogue.turn import REST, SETTLE
from esl_agent.dialogue.waiting import MAX_FILLERS, MAX_TOLD
from tests.pure.world import QUIET, RATE, VOICED, World, sound

STEPS = (
    "voice",
    "quiet",
    "cough",
    "tick",
    "words",
    "no_words",
    "mhm",
    "partial",
    "partial_mhm",
    "text",
    "text_end",
    "text_goodbye",
    "sound",
    "stream",
    "grow",
    "stream_end",
    "began",
    "heard",
    "cut",
    "hang_up_wanted",
    "stt_fails",
    "llm_fails",
    "llm_fails_midway",
    "tts_fails",
    "tool",
    "tool_back",
    "taken",
    "not_taken",
    "digit",
    "media_lost",
    "media_back",
    "drain",
    "spent",
    "old",
)

PEOPLE = {
    "desk": DestinationSettings(number="1000", say="To the desk."),
    "sales": DestinationSettings(dial="user/1010", mode="warm", briefing="A call."),
}
TOOLS = ToolsSettings(
    builtin=BUILTINS,
    http={"order": HttpToolSettings("x", "https://a.example/", say_meanwhile="I look.")},
    max_per_turn=3,
)
#: What a model may call, some of it nonsense.
CALLS = (
    ToolCall("1", "order"),
    ToolCall("2", "transfer", {"to": "sales"}),
    ToolCall("3", "transfer", {"to": "desk"}),
    ToolCall("4", "collect_digits", {"prompt": "Press it now.", "max_digits": 2}),
    ToolCall("5", "hold", {"seconds": 20}),
    ToolCall("6", "set_variable", {"name": "n", "value": "v"}),
    ToolCall("7", "hang_up"),
    ToolCall("8", "transfer", {"to": "nobody"}),
)
#: More than half of the steps do what a healthy world would do next, so that schedules get deep into a call.
steps = st.one_of(
    st.just("go"), st.just("go"), st.just("go"), st.sampled_from(["cough", "voice"]), st.sampled_from(STEPS)
)
moves = st.tuples(steps, st.integers(0, 7), st.floats(0.0, 3.0))
worlds = st.one_of(st.lists(moves, max_size=20), st.lists(moves, min_size=20, max_size=60))
#: Much is said over the agent, and little of it matters.
OVER = ("go", "go", "go", "cough", "cough", "voice", "no_words", "mhm", "cut", "tick", "stream_end", "text", "partial")
talked_over = st.lists(
    st.tuples(st.sampled_from(OVER), st.integers(0, 7), st.floats(0.0, 1.0)), min_size=10, max_size=40
)
#: The engines fail, mostly in the middle of something.
FAILURES = (
    "go", "go", "go", "go", "text", "llm_fails_midway", "llm_fails_midway", "llm_fails", "tts_fails", "stt_fails",
    "tick", "stream", "grow", "stream_end", "tool", "hang_up_wanted", "cough", "voice", "partial", "old", "summary",
)  # fmt: skip
failing = st.lists(
    st.tuples(st.sampled_from(FAILURES), st.integers(0, 7), st.floats(0.0, 2.0)), min_size=8, max_size=40
)
#: The model has much to do beside talking.
DUTIES = ("go", "go", "go", "tool", "tool", "text_end", "tool_back", "taken", "not_taken", "digit", "voice", "tick")
at_work = st.lists(st.tuples(st.sampled_from(DUTIES), st.integers(0, 7), st.floats(0.0, 2.0)), min_size=8, max_size=40)
barge_ins = st.builds(
    BargeInSettings,
    enabled=st.sampled_from([True, True, True, False]),
    greeting=st.booleans(),
    hesitate=st.sampled_from(["pause", "pause", "duck", "keep"]),
    sure=st.sampled_from([0.1, 0.7]),
    resume=st.sampled_from([True, True, True, False]),
    resume_after=st.sampled_from([0.3, 1.2, 5.0]),
    uninterruptible=st.sampled_from([(), ("greeting", "apology")]),
)
patient = st.builds(
    CascadeSettings,
    barge_in=st.builds(BargeInSettings, resume_after=st.sampled_from([0.3, 1.2]), greeting=st.booleans()),
)
configs = st.builds(
    CascadeSettings,
    phrases=st.sampled_from([Phrases(), Phrases(greeting=""), Phrases(still_there=())]),
    barge_in=barge_ins,
    early_reply=st.builds(EarlyReplySettings, enabled=st.booleans()),
    filler=st.builds(FillerSettings, after=st.sampled_from([0.0, 0.8, 1.5]), again=st.sampled_from([0.0, 3.0])),
    history=st.builds(HistorySettings, summarise_after=st.sampled_from([0, 1, 50]), keep=st.sampled_from([2, 4])),
    dtmf=st.builds(DtmfSettings, barge_in=st.booleans()),
    destinations=st.just(PEOPLE),
    tools=st.sampled_from([TOOLS, TOOLS, ToolsSettings(builtin=())]),
    last_resort=st.sampled_from([LastResortSettings(), LastResortSettings(transfer="sales")]),
    limits=st.builds(
        LimitSettings,
        retries=st.integers(0, 2),
        failures=st.integers(1, 3),
        call=st.just(60.0),
        warn=st.sampled_from([0.0, 55.0]),
    ),
)
lines = st.tuples(st.booleans(), st.sampled_from([0, 2, 6, 6, 7, 8, 9]))
"""Whether the leg streams, and how many steps go well before the schedule begins: with 6, a reply is spoken."""

_Key = tuple[int, int]

#: What may be ordered when the call is handed over, and after it.
QUIET_ORDERS = (
    act.AbandonTurn,
    act.AbandonUtterance,
    act.AbandonSummary,
    act.StopPlayback,
    act.SetVolume,
    act.Measured,
)


@dataclass
class OnTheLeg:
    """A clip that was given to the leg and not reported yet."""

    play: act.Play
    since: float
    stopped_at: float | None = None


class Chaos(World):
    """Carries out a generated schedule and keeps the facts the laws speak of."""

    def __init__(self, config: CascadeSettings, *, streams: bool = False) -> None:
        super().__init__(config, streams=streams)
        self.config = config
        self.streams = streams
        self.hesitate = "keep" if config.barge_in.hesitate == "duck" and not streams else config.barge_in.hesitate
        self.written: dict[_Key, str] = {}
        self.abandoned: set[int] = set()
        self.plays: list[_Key] = []
        self.heard: dict[_Key, float] = {}
        self.on_leg: dict[_Key, OnTheLeg] = {}
        self.to_go_on: dict[_Key, float] = {}
        """Clips that were stopped, and where they go on."""
        self.may_be_skipped: set[_Key] = set()
        """Clips of which nothing is left, or whose report came too late to be waited for."""
        self.past: list[ev.Event] = []
        self.sounds: dict[_Key, Sound | SoundStream] = {}
        self.making: list[_Key] = []
        """Clips whose stream is still being made."""
        self.broken: set[_Key] = set()
        """Clips whose voice failed in the middle."""
        self.summary: int | None = None
        """The one that is being made."""
        self.answered: set[int] = set()
        self.volume = 1.0
        self.was = self.phase
        """The phase before the event that is being received."""
        self.on_action = self.watch

    def post(self, event: ev.Event) -> list[act.Action]:
        self.was = self.phase
        return super().post(event)

    def watch(self, action: act.Action) -> None:
        match action:
            case act.AbandonTurn(turn):
                self.abandoned.add(turn)
            case act.StopPlayback():
                for clip in self.on_leg.values():
                    clip.stopped_at = self.now if clip.stopped_at is None else clip.stopped_at
            case act.SetVolume(gain):
                self.volume = gain
            case act.HangUp() | act.Transfer():
                self.hung_up()
            case act.Play():
                self.play(action)
            case act.Summarise(number):
                assert self.summary is None, "two summaries at a time"
                assert self.phase in (Phase.LISTENING, Phase.HOLDING), f"a summary is made in {self.phase}"
                self.summary = number
            case act.AbandonSummary(number):
                assert number == self.summary
                self.summary = None
            case act.AskModel():
                assert self.summary is None, "a summary keeps the model from answering"
        if isinstance(action, act.Play | act.AskModel | act.RunTool | act.OpenUtterance | act.SendAudio):
            is_away = self.phase in AWAY and self.was in AWAY
            assert not is_away, f"{type(action)} while somebody else has the call"
        if self.phase is Phase.HANDED_OVER:
            assert isinstance(action, QUIET_ORDERS), f"{action} after the call was handed over"
        if isinstance(action, act.Play | act.Synthesise | act.AskModel | act.RunTool):
            assert action.turn not in self.abandoned, f"an abandoned turn goes on: {action}"
        if isinstance(action, act.Synthesise):
            assert "fragment" not in action.text, f"half a sentence of a model that failed: {action}"
            owner = re.search(r"model (\d+)", action.text)
            assert owner is None or int(owner[1]) == action.turn, f"words of another turn: {action}"
            self.written[action.turn, action.clip] = action.text

    def play(self, action: act.Play) -> None:
        key = (action.turn, action.clip)
        assert action.audio is self.sounds[key], f"not the first sound made for {key}"
        assert key not in self.on_leg, f"a clip that is with the leg plays again: {key}"
        assert not (self.phase is Phase.YIELDING and self.hesitate == "pause"), "a suspended turn makes sound"
        assert self.phase is not Phase.HEARING, "the agent speaks while the caller has the floor"
        waiting = [each for each in self.to_go_on.keys() - self.may_be_skipped if each[0] == action.turn]
        assert key == min(waiting, default=key, key=self.place), f"a clip is skipped: {waiting} wait, {key} plays"
        if key in self.plays:
            assert key in self.to_go_on, f"a clip that was not cut plays again: {key}"
            assert action.start == self.to_go_on.pop(key), f"{key} does not go on where it was cut"
            self.may_be_skipped.discard(key)
        else:
            assert action.start == 0.0
            others = [each for each in self.written if each[0] == action.turn and each != key]
            if self.is_filler(key):
                asks = sum(ask.turn == action.turn for ask in self.all(act.AskModel))
                retries = sum(clause.turn == action.turn for clause in self.all(act.Synthesise)) - len(others) - 1
                told = sum(map(self.is_filler, others))
                assert told < MAX_FILLERS * MAX_TOLD * (asks + retries), f"too many fillers in a turn: {key}"
            else:
                early = [each for each in others if each > key and each in self.plays and not self.is_filler(each)]
                late = [each for each in others if each < key and each not in self.plays and not self.is_filler(each)]
                assert not early + late, f"clips out of order: {key}, early {early}, late {late}"
        self.plays.append(key)
        self.on_leg[key] = OnTheLeg(action, self.now)

    def is_filler(self, key: _Key) -> bool:
        asked = {ask.turn for ask in self.all(act.AskModel)}
        return key[0] in asked and self.written[key] in self.config.phrases.filler

    def place(self, key: _Key) -> tuple[bool, _Key]:
        """Clips in the order in which they are heard: the filler comes before the answer."""
        return not self.is_filler(key), key

    def hung_up(self) -> None:
        pass

    def run(self, schedule: list[tuple[str, int, float]]) -> None:
        for step, pick, seconds in schedule:
            self.now += seconds / 10
            self.step(step, pick, seconds)
            self.check()

    def check(self) -> None:
        if self.phase is Phase.OVER:
            assert self.dialogue.next_deadline is None
            return
        assert self.dialogue.next_deadline is not None
        self.check_waits()
        is_yielding = self.phase is Phase.YIELDING
        if is_yielding and self.hesitate == "pause":
            turn = self.dialogue.turn_number
            sounding = [key for key, clip in self.on_leg.items() if key[0] == turn and clip.stopped_at is None]
            assert all(self.is_given_up(self.on_leg[key]) for key in sounding), f"a suspended turn sounds: {sounding}"
        loud = self.config.barge_in.duck if is_yielding and self.hesitate == "duck" else 1.0
        assert self.volume == loud, f"{self.phase} at {self.volume}"

    def check_waits(self) -> None:
        """Nobody waits for nothing, and no words are left unanswered."""
        it = self.dialogue
        awaits, speaks = it._utterances.is_busy, it._turn is not None
        match self.phase:
            case Phase.LISTENING | Phase.HOLDING:
                assert not awaits, "words are awaited in silence"
                assert not speaks, "a turn is forgotten"
                assert not it.transcript.owes_reply or it._keys_due() < math.inf, "what was said is not answered"
            case Phase.HEARING:
                assert it._utterances.open_number is not None, "nobody is heard"
            case Phase.THINKING:
                assert awaits or speaks or it._settling.is_busy, "nothing is thought about"
            case Phase.SPEAKING:
                assert speaks, "nobody speaks"
            case Phase.YIELDING:
                assert awaits, "the agent yields to nobody"
                assert speaks, "nobody yields"

    def is_given_up(self, clip: OnTheLeg) -> bool:
        """Whether the report of a clip may have taken too long to be waited for."""
        rest = clip.play.audio.seconds - clip.play.start
        until = self.now if clip.stopped_at is None else clip.stopped_at
        is_late = until - clip.since >= rest + self.config.limits.playback
        return is_late or (clip.stopped_at is not None and self.now - clip.stopped_at >= SETTLE)

    def send(self, event: ev.Event) -> None:
        self.past.append(event)
        self.tell(event)

    def tell(self, event: ev.Event) -> None:
        """Post an event, maybe not for the first time."""
        match event:
            case ev.Summarised():
                return self.tell_summary(event)
            case ev.Synthesised(turn, clip, audio):
                self.sounds.setdefault((turn, clip), audio)
            case ev.Played(turn, clip, heard) if (turn, clip) in self.plays:
                key = (turn, clip)
                self.heard[key] = max(self.heard.get(key, 0.0), heard)
                reported = self.on_leg.pop(key, None)
                if reported and reported.stopped_at is not None:
                    self.to_go_on[key] = max(reported.play.start, heard)
                    is_heard = key not in self.making and reported.play.audio.seconds - heard < REST
                    if is_heard or self.is_given_up(reported):
                        self.may_be_skipped.add(key)
        self.post(event)

    def tell_summary(self, event: ev.Summarised) -> None:
        """It is heard by nobody, and changes nothing that was said."""
        transcript = self.dialogue.transcript
        before, was_owed = transcript.summary, transcript.owes_reply
        kept = [m for m in transcript.messages() if m.role != "system"]
        due = self.dialogue.next_deadline
        actions = self.post(event)
        assert not actions or (due is not None and self.now >= due), f"a summary leads to {actions}"
        if actions:
            return
        assert transcript.owes_reply == was_owed
        after = [m for m in transcript.messages() if m.role != "system"]
        is_new = event.number == self.summary and event.text.strip() != "" and self.phase is not Phase.OVER
        assert transcript.summary == (event.text if is_new else before)
        assert after == kept[len(kept) - len(after) :], "a summary changes the newest words"
        assert is_new or after == kept
        calls = [call.id for m in after for call in m.tool_calls]
        assert calls == [m.tool_call_id for m in after if m.role == "tool"], "a call without its answer"
        if event.number == self.summary:
            self.summary = None

    def go(self, pick: int) -> None:
        """The oldest order that nobody has answered gets its answer; with none open, the caller speaks."""
        for number, (_, order) in enumerate(self.log):
            if isinstance(order, act.Measured | act.SendAudio) or number in self.answered:
                continue
            self.answered.add(number)
            match order:
                case act.CloseUtterance(utterance):
                    words = ("", "Mm-hm.", "words")[min(pick, 2)]
                    return self.send(ev.Transcribed(utterance, words))
                case act.AskModel(turn, _, tools, ask) if tools and (turn + pick) % 3 == 0:
                    self.send(ev.ReplyText(turn, f"One of model {turn}. ", ask))
                    self.send(ev.ToolCalled(turn, CALLS[(turn + len(self.log)) % len(CALLS)], ask))
                    return self.send(ev.ReplyEnded(turn, ask=ask))
                case act.RunTool(turn, call):
                    return self.send(ev.ToolReturned(turn, call.id, "it is so", failed=pick == 0))
                case act.Transfer(name):
                    news = ev.Transferred(name) if pick < 2 else ev.TransferFailed(name, "busy")
                    return self.send(news)
                case act.AskModel(turn, ask=ask):
                    self.send(ev.ReplyText(turn, f"One of model {turn}. Two of model {turn}. Three", ask))
                    self.send(ev.ReplyText(turn, f" of model {turn}. ", ask))
                    return self.send(ev.ReplyEnded(turn, hang_up=pick == 1, ask=ask))
                case act.Synthesise(turn, clip) if self.streams and pick % 2:
                    return self.stream(turn, clip)
                case act.Synthesise(turn, clip):
                    return self.send(ev.Synthesised(turn, clip, sound(0.2 + pick / 4)))
                case act.Play(turn, clip) if (turn, clip) in self.on_leg:
                    return self.report(turn, clip, pick)
        self.frames(VOICED, 0.3)
        if pick > 3 and self.dialogue.phase is Phase.HEARING:
            self.send(ev.Transcribed(self.last(act.OpenUtterance).utterance, "words", final=False))
        self.frames(QUIET, 0.8)
        return None

    def stream(self, turn: int, clip: int) -> None:
        begun = SoundStream(RATE)
        begun.append(bytes(RATE // 5 * 2))
        if (turn, clip) not in self.sounds:
            self.making.append((turn, clip))
        self.send(ev.Synthesised(turn, clip, begun))

    def end_stream(self, key: _Key) -> None:
        self.making.remove(key)
        stream = self.sounds[key]
        assert isinstance(stream, SoundStream)
        stream.append(bytes(RATE * 2))
        stream.end()
        self.send(ev.SynthesisEnded(*key))

    def break_stream(self, key: _Key) -> None:
        """There will be no more of it, and the leg knows."""
        self.making.remove(key)
        self.broken.add(key)
        stream = self.sounds[key]
        assert isinstance(stream, SoundStream)
        stream.end()

    def last_ask(self) -> act.AskModel | None:
        asks = self.all(act.AskModel)
        return asks[-1] if asks else None

    def report(self, turn: int, clip: int, pick: int) -> None:
        """What the leg says of a clip in the end."""
        out = self.on_leg[turn, clip]
        if out.stopped_at is None:
            if (turn, clip) in self.making:
                self.end_stream((turn, clip))
            self.send(ev.PlaybackBegan(turn, clip))
            self.now += out.play.audio.seconds - out.play.start
            return self.send(ev.Played(turn, clip, out.play.audio.seconds))
        rest = out.play.audio.seconds - out.play.start
        return self.send(ev.Played(turn, clip, out.play.start + rest * pick / 8))

    def step(self, step: str, pick: int, seconds: float) -> None:
        def choose(kind: type):
            orders = self.all(kind)
            return orders[-1 - pick % min(len(orders), 3)] if orders else None

        utterance = choose(act.OpenUtterance)
        ask = choose(act.AskModel)
        clause = choose(act.Synthesise)
        play = choose(act.Play)
        tool = choose(act.RunTool)
        transfer = choose(act.Transfer)
        making = self.making[pick % len(self.making)] if self.making else None
        match step:
            case "go":
                self.go(pick)
            case "voice":
                self.frames(VOICED, seconds / 3)
            case "quiet":
                self.frames(QUIET, seconds)
            case "cough":
                self.frames(VOICED, 0.14)
                self.frames(QUIET, 0.8 if pick % 2 else 1.3)
            case "tick" if self.dialogue.next_deadline is not None:
                self.tick()
            case "words" if utterance:
                self.send(ev.Transcribed(utterance.utterance, f"words {pick}"))
            case "no_words" if utterance:
                self.send(ev.Transcribed(utterance.utterance, ""))
            case "mhm" if utterance:
                self.send(ev.Transcribed(utterance.utterance, "mhm"))
            case "partial" if utterance:
                self.send(ev.Transcribed(utterance.utterance, f"words {pick % 2}", final=False))
            case "partial_mhm" if utterance:
                self.send(ev.Transcribed(utterance.utterance, "mhm", final=False))
            case "text" if ask:
                self.send(ev.ReplyText(ask.turn, f"Sentence {pick} of model {ask.turn}. And ", ask.ask))
            case "text_end" if ask:
                self.send(ev.ReplyEnded(ask.turn, ask=ask.ask))
            case "text_goodbye" if ask:
                self.send(ev.ReplyEnded(ask.turn, hang_up=True, ask=ask.ask))
            case "hang_up_wanted" if ask:
                self.send(ev.HangUpWanted(ask.turn, ask.ask))
            case "sound" if clause:
                self.send(ev.Synthesised(clause.turn, clause.clip, sound(0.2 + seconds)))
            case "stream" if clause and self.streams:
                self.stream(clause.turn, clause.clip)
            case "grow" if making:
                self.sounds[making].append(bytes(1600))  # type: ignore[union-attr]
            case "stream_end" if making:
                self.end_stream(making)
            case "began" if play:
                self.send(ev.PlaybackBegan(play.turn, play.clip))
            case "heard" if play and (play.turn, play.clip) not in self.making:
                self.send(ev.Played(play.turn, play.clip, play.audio.seconds))
            case "cut" if play:
                self.send(ev.Played(play.turn, play.clip, min(play.start + seconds / 3, play.audio.seconds)))
            case "stt_fails" if utterance:
                self.send(ev.ProviderFailed("stt", utterance.utterance, "broken", bool(pick % 2)))
            case "llm_fails" if ask:
                self.send(ev.ProviderFailed("llm", ask.turn, "broken", bool(pick % 2), ask=ask.ask))
            case "llm_fails_midway" if (newest := self.last_ask()) is not None:
                text = f"Sentence {pick} of model {newest.turn}. Half a fragment of model {newest.turn}"
                self.send(ev.ReplyText(newest.turn, text, newest.ask))
                self.send(ev.ProviderFailed("llm", newest.turn, "broken", bool(pick % 2), ask=newest.ask))
            case "tts_fails" if clause:
                if (clause.turn, clause.clip) in self.making:
                    self.break_stream((clause.turn, clause.clip))
                self.send(ev.ProviderFailed("tts", clause.turn, "broken", bool(pick % 2), clip=clause.clip))
            case "tool" if ask:
                self.send(ev.ToolCalled(ask.turn, CALLS[pick], ask.ask))
            case "tool_back" if tool:
                self.send(ev.ToolReturned(tool.turn, tool.call.id, "it is so", failed=bool(pick % 2)))
            case "taken" if transfer:
                self.send(ev.Transferred(transfer.name))
            case "not_taken" if transfer:
                self.send(ev.TransferFailed(transfer.name, "busy"))
            case "digit":
                self.send(ev.DigitPressed(str(pick)))
            case "media_lost":
                self.send(ev.MediaLost("gone", final=pick == 7))
            case "media_back":
                self.send(ev.MediaStarted(RATE))
            case "drain" if pick == 7:
                self.send(ev.EndRequested("drain"))
            case "spent" if pick >= 6:
                self.send(ev.BudgetSpent("day" if pick == 7 else "call"))
            case "summary" | "no_summary" if summaries := self.all(act.Summarise):
                number = summaries[-1 - pick % min(len(summaries), 2)].number
                self.send(ev.Summarised(number, f"Notes {pick}." if step == "summary" else " "))
            case "old" if self.past:
                self.tell(self.past[pick % len(self.past)])


def begin(world: Chaos, opening: int) -> None:
    world.answer()
    for _ in range(opening):
        world.go(6)
        world.check()


def chaos(config: CascadeSettings, schedule: list[tuple[str, int, float]], line: tuple[bool, int]) -> Chaos:
    streams, opening = line
    world = Chaos(config, streams=streams)
    begin(world, opening)
    world.run(schedule)
    return world


@settings(max_examples=300)
@given(configs, st.one_of(worlds, failing), lines)
def test_an_abandoned_turn_never_plays_synthesises_or_asks_again(config, schedule, line):
    chaos(config, schedule, line)


@settings(max_examples=200)
@given(configs, st.one_of(worlds, failing), lines)
def test_at_most_one_turn_is_in_flight_and_clips_play_in_order_each_moment_once(config, schedule, line):
    world = chaos(config, schedule, line)
    measured: set[int] = set()
    live: list[int] = []
    for _, action in world.log:
        if isinstance(action, act.AskModel | act.Synthesise | act.Play):
            if action.turn not in live:
                live.append(action.turn)
            assert action.turn == max(live), f"an older turn speaks: {action}"
            assert not measured & {action.turn}, f"a measured turn speaks: {action}"
        if isinstance(action, act.Measured):
            assert action.turn not in measured, "measured twice"
            measured.add(action.turn)


@settings(max_examples=300)
@given(configs, st.one_of(worlds, at_work, failing), lines)
def test_every_phase_but_over_has_a_deadline_and_a_tick_at_it_moves_it(config, schedule, line):
    world = chaos(config, schedule, line)
    for _ in range(30):
        due = world.dialogue.next_deadline
        if due is None:
            assert world.phase is Phase.OVER
            return
        world.tick()
        after = world.dialogue.next_deadline
        assert after is None or after > world.now, "a tick at the deadline left it where it was"


@settings(max_examples=200)
@given(configs, st.one_of(worlds, failing), lines)
def test_history_holds_what_the_caller_heard_not_what_the_model_wrote(config, schedule, line):
    world = chaos(config, schedule, line)
    said = " ".join(m.content for m in world.dialogue.transcript.messages() if m.role == "assistant" and m.content)
    unheard = [key for key in world.written if not world.heard.get(key)]
    limit = sum(len(text) + 1 for key, text in world.written.items() if key not in unheard)
    assert len(said) <= limit, "the history holds more than was heard"


@settings(max_examples=100)
@given(configs, st.lists(st.sampled_from(["voice", "quiet", "media_back", "old"]), max_size=20))
def test_the_greeting_never_precedes_answered(config, steps):
    world = Chaos(config)
    for step in steps:
        world.step(step, 0, 0.5)
    assert not world.all(act.Play)
    assert not world.all(act.Synthesise)
    assert not world.all(act.OpenUtterance)


@settings(max_examples=200)
@given(configs, worlds, worlds, lines)
def test_after_hung_up_the_machine_returns_nothing_for_ever(config, before, after, line):
    world = chaos(config, before, line)
    world.post(ev.HungUp("NORMAL_CLEARING"))
    assert world.phase is Phase.OVER
    ordered = len(world.log)
    world.run(after)
    assert len(world.log) == ordered


@settings(max_examples=200)
@given(configs, st.one_of(worlds, at_work, failing), lines)
def test_a_silent_world_ends_in_over(config, schedule, line):
    world = chaos(config, schedule, line)
    for _ in range(200):
        if world.phase is Phase.OVER:
            break
        world.tick()
    assert world.phase is Phase.OVER
    assert len(world.all(act.HangUp)) == 1


@settings(max_examples=200)
@given(configs, st.one_of(worlds, at_work, failing), lines)
def test_a_call_is_hung_up_only_after_the_goodbye_was_heard_or_its_wait_ran_out(config, schedule, line):
    world = Chaos(config, streams=line[0])

    def hung_up() -> None:
        last = max((turn for turn, _ in world.plays), default=None)
        playing = [clip for key, clip in world.on_leg.items() if key[0] == last]
        if playing:
            waited = world.now - playing[0].since
            bound = min(config.limits.playback, config.limits.goodbye, SETTLE)
            assert waited >= bound or last in world.abandoned, f"cut off after {waited:.2f} s"

    world.hung_up = hung_up  # type: ignore[method-assign]
    begin(world, line[1])
    world.run(schedule)
    for _ in range(200):
        if world.phase is Phase.OVER:
            break
        world.tick()
    assert world.phase is Phase.OVER


@settings(max_examples=300)
@given(configs, at_work, lines)
def test_whoever_was_handed_over_is_not_spoken_to_and_tools_run_in_live_turns_only(config, schedule, line):
    chaos(config, schedule, line)


@settings(max_examples=300)
@given(st.one_of(patient, configs), st.one_of(talked_over, worlds), lines)
def test_a_suspended_turn_is_silent_until_it_is_resumed_and_goes_on_where_it_was_cut(config, schedule, line):
    world = chaos(config, schedule, line)
    for _ in range(20):  # and in what follows of it, with a caller who says no more
        if world.phase in (Phase.OVER, Phase.LISTENING):
            break
        world.go(7)
        world.check()


@settings(max_examples=200)
@given(configs, st.one_of(worlds, failing), lines, st.sampled_from(["", "Half a fragm", "A sentence. Half a fragm"]))
def test_whoever_fails_is_asked_a_bounded_number_of_times_and_the_call_ends_in_words(config, schedule, line, text):
    config = dataclasses.replace(config, early_reply=EarlyReplySettings(), tools=ToolsSettings(builtin=()))
    world = chaos(config, schedule, line)
    before = len(world.all(act.AskModel))
    bound = before + (config.limits.failures + 1) * (config.limits.retries + 1)
    for _ in range(300):
        for number, (_, order) in enumerate(world.log):
            if isinstance(order, act.AskModel) and number not in world.answered:
                assert len(world.all(act.AskModel)) <= bound
                world.answered.add(number)
                if text:
                    world.send(ev.ReplyText(order.turn, text, order.ask))
                world.send(ev.ProviderFailed("llm", order.turn, "gone", len(world.log) % 2 == 0, ask=order.ask))
        if world.phase in (Phase.OVER, Phase.HANDED_OVER):
            return
        world.go(6)
        world.check()
    raise AssertionError("the call does not end")
