"""The laws of turn taking, as properties: whatever the world does, and however late, they hold."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import BargeInSettings, CascadeSettings, LimitSettings, Phrases
from tests.pure.world import QUIET, RATE, VOICED, World, sound

STEPS = (
    "voice",
    "quiet",
    "tick",
    "words",
    "no_words",
    "text",
    "text_end",
    "text_goodbye",
    "sound",
    "began",
    "heard",
    "cut",
    "stt_fails",
    "llm_fails",
    "tts_fails",
    "digit",
    "media_lost",
    "media_back",
    "drain",
    "old",
)

#: Half of the steps do what a healthy world would do next, so that schedules get deep into a call.
steps = st.one_of(st.just("go"), st.just("go"), st.sampled_from(STEPS))
worlds = st.lists(st.tuples(steps, st.integers(0, 7), st.floats(0.0, 3.0)), max_size=80)
configs = st.builds(
    CascadeSettings,
    phrases=st.sampled_from([Phrases(), Phrases(greeting=""), Phrases(still_there=())]),
    barge_in=st.builds(BargeInSettings, enabled=st.booleans(), greeting=st.booleans()),
    limits=st.builds(LimitSettings, retries=st.integers(0, 2), failures=st.integers(1, 3), call=st.just(60.0)),
)


class Chaos(World):
    """Carries out a generated schedule and keeps the facts the laws speak of."""

    def __init__(self, config: CascadeSettings) -> None:
        super().__init__(config)
        self.written: dict[tuple[int, int], str] = {}
        self.abandoned: set[int] = set()
        self.plays: list[tuple[int, int]] = []
        self.heard: dict[tuple[int, int], float] = {}
        self.past: list[ev.Event] = []
        self.sounds: dict[tuple[int, int], Sound] = {}
        self.answered: set[act.Action] = set()
        self.on_action = self.watch

    def watch(self, action: act.Action) -> None:
        if isinstance(action, act.AbandonTurn):
            self.abandoned.add(action.turn)
        if isinstance(action, act.Play | act.Synthesise | act.AskModel):
            assert action.turn not in self.abandoned, f"an abandoned turn goes on: {action}"
        if isinstance(action, act.Synthesise):
            owner = re.search(r"model (\d+)", action.text)
            assert owner is None or int(owner[1]) == action.turn, f"words of another turn: {action}"
            self.written[action.turn, action.clip] = action.text
        if isinstance(action, act.Play):
            key = (action.turn, action.clip)
            assert action.audio is self.sounds[key], f"not the first sound made for {key}"
            assert key not in self.plays, f"a clip plays twice: {key}"
            previous = [clip for turn, clip in self.plays if turn == action.turn]
            assert action.clip == len(previous), f"clips out of order: {key} after {previous}"
            self.plays.append(key)
        if isinstance(action, act.HangUp):
            self.hung_up()

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
        else:
            assert self.dialogue.next_deadline is not None

    def send(self, event: ev.Event) -> None:
        self.past.append(event)
        if isinstance(event, ev.Synthesised):
            self.sounds.setdefault((event.turn, event.clip), event.audio)
        if isinstance(event, ev.Played) and (event.turn, event.clip) in self.plays:
            self.heard.setdefault((event.turn, event.clip), event.heard)
        self.post(event)

    def go(self, pick: int) -> None:
        """The oldest order that nobody has answered gets its answer; with none open, the caller speaks."""
        for _, order in list(self.log):
            if isinstance(order, act.Measured | act.SendAudio) or order in self.answered:
                continue
            self.answered.add(order)
            match order:
                case act.CloseUtterance(number):
                    return self.send(ev.Transcribed(number, "words" if pick else ""))
                case act.AskModel(turn):
                    self.send(ev.ReplyText(turn, f"One of model {turn}. Two of model {turn}. Three"))
                    self.send(ev.ReplyText(turn, f" of model {turn}. "))
                    return self.send(ev.ReplyEnded(turn, hang_up=pick == 1))
                case act.Synthesise(turn, clip):
                    return self.send(ev.Synthesised(turn, clip, sound(0.2 + pick / 4)))
                case act.Play(turn, clip, audio):
                    self.send(ev.PlaybackBegan(turn, clip))
                    self.now += audio.seconds
                    return self.send(ev.Played(turn, clip, audio.seconds))
        self.frames(VOICED, 0.3)
        self.frames(QUIET, 0.8)
        return None

    def step(self, step: str, pick: int, seconds: float) -> None:
        def choose(kind: type):
            orders = self.all(kind)
            return orders[-1 - pick % min(len(orders), 3)] if orders else None

        utterance = choose(act.OpenUtterance)
        ask = choose(act.AskModel)
        clause = choose(act.Synthesise)
        play = choose(act.Play)
        match step:
            case "go":
                self.go(pick)
            case "voice":
                self.frames(VOICED, seconds / 3)
            case "quiet":
                self.frames(QUIET, seconds)
            case "tick" if self.dialogue.next_deadline is not None:
                self.tick()
            case "words" if utterance:
                self.send(ev.Transcribed(utterance.utterance, f"words {pick}"))
            case "no_words" if utterance:
                self.send(ev.Transcribed(utterance.utterance, ""))
            case "text" if ask:
                self.send(ev.ReplyText(ask.turn, f"Sentence {pick} of model {ask.turn}. And "))
            case "text_end" if ask:
                self.send(ev.ReplyEnded(ask.turn))
            case "text_goodbye" if ask:
                self.send(ev.ReplyEnded(ask.turn, hang_up=True))
            case "sound" if clause:
                self.send(ev.Synthesised(clause.turn, clause.clip, sound(0.2 + seconds)))
            case "began" if play:
                self.send(ev.PlaybackBegan(play.turn, play.clip))
            case "heard" if play:
                self.send(ev.Played(play.turn, play.clip, play.audio.seconds))
            case "cut" if play:
                self.send(ev.Played(play.turn, play.clip, min(seconds / 3, play.audio.seconds)))
            case "stt_fails" if utterance:
                self.send(ev.ProviderFailed("stt", utterance.utterance, "broken", bool(pick % 2)))
            case "llm_fails" if ask:
                self.send(ev.ProviderFailed("llm", ask.turn, "broken", bool(pick % 2)))
            case "tts_fails" if clause:
                self.send(ev.ProviderFailed("tts", clause.turn, "broken", bool(pick % 2), clip=clause.clip))
            case "digit":
                self.send(ev.DigitPressed(str(pick)))
            case "media_lost":
                self.send(ev.MediaLost("gone", final=pick == 7))
            case "media_back":
                self.send(ev.MediaStarted(RATE))
            case "drain" if pick == 7:
                self.send(ev.EndRequested("drain"))
            case "old" if self.past:
                self.post(self.past[pick % len(self.past)])


def chaos(config: CascadeSettings, schedule: list[tuple[str, int, float]]) -> Chaos:
    world = Chaos(config)
    world.answer()
    world.run(schedule)
    return world


@settings(max_examples=300, deadline=None)
@given(configs, worlds)
def test_an_abandoned_turn_never_plays_synthesises_or_asks_again(config, schedule):
    chaos(config, schedule)


@settings(max_examples=200, deadline=None)
@given(configs, worlds)
def test_at_most_one_turn_is_in_flight_and_clips_play_in_order_each_once(config, schedule):
    world = chaos(config, schedule)
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


@settings(max_examples=300, deadline=None)
@given(configs, worlds)
def test_every_phase_but_over_has_a_deadline_and_a_tick_at_it_moves_it(config, schedule):
    world = chaos(config, schedule)
    for _ in range(30):
        due = world.dialogue.next_deadline
        if due is None:
            assert world.phase is Phase.OVER
            return
        world.tick()
        after = world.dialogue.next_deadline
        assert after is None or after > world.now, "a tick at the deadline left it where it was"


@settings(max_examples=200, deadline=None)
@given(configs, worlds)
def test_history_holds_what_the_caller_heard_not_what_the_model_wrote(config, schedule):
    world = chaos(config, schedule)
    said = " ".join(m.content for m in world.dialogue.transcript.messages() if m.role == "assistant")
    unheard = [key for key in world.written if not world.heard.get(key)]
    limit = sum(len(text) + 1 for key, text in world.written.items() if key not in unheard)
    assert len(said) <= limit, "the history holds more than was heard"


@settings(max_examples=100, deadline=None)
@given(configs, st.lists(st.sampled_from(["voice", "quiet", "media_back", "old"]), max_size=20))
def test_the_greeting_never_precedes_answered(config, steps):
    world = Chaos(config)
    for step in steps:
        world.step(step, 0, 0.5)
    assert not world.all(act.Play)
    assert not world.all(act.Synthesise)
    assert not world.all(act.OpenUtterance)


@settings(max_examples=200, deadline=None)
@given(configs, worlds, worlds)
def test_after_hung_up_the_machine_returns_nothing_for_ever(config, before, after):
    world = chaos(config, before)
    world.post(ev.HungUp("NORMAL_CLEARING"))
    assert world.phase is Phase.OVER
    ordered = len(world.log)
    world.run(after)
    assert len(world.log) == ordered


@settings(max_examples=200, deadline=None)
@given(configs, worlds)
def test_a_silent_world_ends_in_over(config, schedule):
    world = chaos(config, schedule)
    for _ in range(200):
        if world.phase is Phase.OVER:
            break
        world.tick()
    assert world.phase is Phase.OVER
    assert len(world.all(act.HangUp)) == 1


@settings(max_examples=200, deadline=None)
@given(configs, worlds)
def test_a_call_is_hung_up_only_after_the_goodbye_was_heard_or_its_wait_ran_out(config, schedule):
    world = Chaos(config)

    def hung_up() -> None:
        last = max((turn for turn, _ in world.plays), default=None)
        playing = [key for key in world.plays if key[0] == last and key not in world.heard]
        if playing:
            began = next(t for t, a in world.log if isinstance(a, act.Play) and (a.turn, a.clip) == playing[0])
            waited = world.now - began
            bound = min(config.limits.playback, config.limits.goodbye)
            assert waited >= bound or playing[0][0] in world.abandoned, f"cut off after {waited:.2f} s"

    world.hung_up = hung_up  # type: ignore[method-assign]
    world.answer()
    world.run(schedule)
    for _ in range(100):
        if world.phase is Phase.OVER:
            break
        world.tick()
    assert world.phase is Phase.OVER
