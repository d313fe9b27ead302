"""What kind of answer the agent's last words ask for: yes or no, something dictated, or anything."""

from __future__ import annotations

import re

from esl_agent.dialogue.endpointing import Mode


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Verbs that begin a question which yes or no answers, by language (the first part of the BCP 47 tag).
AUXILIARIES: dict[str, frozenset[str]] = {
    "en": _words(
        "is isn't are aren't was were am do don't does doesn't did didn't can can't could couldn't may might must "
        "shall should shouldn't will won't would wouldn't have haven't has hasn't had"
    ),
    "de": _words(
        "ist sind war waren bin bist seid hat habe haben hast hatte hatten kann können könnte könnten darf dürfen "
        "dürfte soll sollen sollte sollten muss müssen will wollen wollt willst wird werden würde würden möchte "
        "möchten möchtest mag passt stimmt geht gibt brauchen"
    ),
}
#: What is dictated, in pieces and with pauses, by language.
DICTATED: dict[str, frozenset[str]] = {
    "en": _words("number numbers digits email e-mail mail address spell spelling postcode zip iban code"),
    "de": _words(
        "nummer telefonnummer rufnummer kundennummer handynummer ziffern email e-mail mailadresse e-mail-adresse mail "
        "adresse anschrift buchstabieren postleitzahl iban code"
    ),
}
#: A sentence with one of these asks for something, with or without a question mark.
_REQUESTS = _words("please tell give spell bitte nennen sagen geben buchstabieren")
#: Words before the verb that do not change what is asked.
_OPENINGS = _words("and but so okay ok well then und aber also gut dann")
#: With these in it, a question offers a choice.
_CHOICES = frozenset(["or", "oder"])

_SENTENCE = re.compile(r"[.!?]+(?=\s|$)")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def expected(text: str, language: str = "en") -> Mode:
    """How the caller will answer ``text``, as far as its last sentence tells."""
    language = language.partition("-")[0].lower()
    sentences = [sentence for sentence in _SENTENCE.split(text) if _WORD.search(sentence)]
    if not sentences:
        return Mode.NORMAL
    words = [word.replace("\u2019", "'") for word in _WORD.findall(sentences[-1].lower())]
    is_question = text.rstrip().endswith("?")
    if DICTATED.get(language, frozenset()).intersection(words) and (is_question or _REQUESTS.intersection(words)):
        return Mode.DICTATION
    if not is_question or _CHOICES.intersection(words):
        return Mode.NORMAL
    verb = next((word for word in words if word not in _OPENINGS), "")
    return Mode.SHORT if verb in AUXILIARIES.get(language, frozenset()) else Mode.NORMAL
