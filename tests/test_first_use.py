"""Nothing is loaded from the disk while callers wait."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import esl_agent.server
from esl_agent.audio import first_use
from esl_agent.audio.echo import Echo
from esl_agent.audio.pcm import Sound
from esl_agent.audio.playout import Playout
from esl_agent.audio.tones import tonal

first_use.warm()
known = set(sys.modules)
sound = Sound(bytes(range(256)) * 125, 16000)
echo = Echo()
echo.playing(sound, 0.0, 0.0)
echo.explains([sound.pcm[at : at + 320] for at in range(0, 3520, 320)], 8000, 0.5)
tonal([sound.pcm[:320]] * 11, [True] * 11, 8000)
playout = Playout(8000)
playout.add(0, sound, 0.2)
playout.next_frame()
playout.clear()
print(sorted(set(sys.modules) - known))
"""


def test_the_first_callers_first_word_over_the_agent_loads_nothing():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
