"""Words that hardly ever end what somebody says: after one of them the caller only pauses.

Articles, prepositions, conjunctions, possessives, auxiliaries and the sounds of thinking, by language (the first part
of the BCP 47 tag).
"""

from __future__ import annotations

import re

_WORDS = {
    "en": """
        a an the my your his her its our their every each
        and or but nor because if when while until unless although since whether whereas than as
        to of for with from at by into onto between during without through against
        i'm you're he's she's it's we're they're i've we've they've i'd we'd i'll we'll you'll that's there's
        i we he she they who whose which quite very um uh er erm well
        """,
    "de": """
        der dem des eine einen einem einer eines mein meine meinen meinem meiner dein deine seine
        ihre ihren ihrem unser unsere euer eure keinen jede dieser
        und oder aber denn sondern weil dass wenn ob während bevor nachdem obwohl damit
        im am beim vom von zum zur für hinter neben zwischen gegen ohne bis wegen
        ich wir wer sehr äh ähm hm tja
        """,
    "fr": """
        le la les un une des du de mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette ces
        chaque quelques
        et ou mais donc car parce que si quand comme lorsque puisque pendant
        à au aux en dans sur sous avec sans pour par chez entre vers depuis contre
        je tu il qui dont ne très euh ben alors
        """,
    "es": """
        el la los las un una unos unas mi mis tu tus su sus nuestro nuestra cada algún
        y e o u pero porque que si cuando como aunque mientras donde pues
        a al de del en con por para sin sobre entre hasta desde hacia según contra
        yo cual cuyo muy eh em
        """,
    "it": """
        il lo la i gli le un uno una mio mia miei mie tuo tua suo sua nostro nostra vostro vostra ogni qualche
        e ed o oppure ma però perché che se quando come mentre dove quindi
        a ad al allo alla ai alle di del dello della dei delle da dal dalla in nel nella con su sul sulla per tra fra
        io chi cui molto ehm eh allora
        """,
    "nl": """
        de het een mijn jouw zijn haar onze jullie hun deze elke ieder geen
        en of maar want omdat dat als wanneer terwijl hoewel dus zodat
        van voor met bij naar onder tussen tegen zonder tot om te sinds
        ik jij wij we ze wie heel zeer eh uh uhm nou
        """,
    "tr": """
        bir ve veya ya ama fakat çünkü eğer ki en benim senin onun bizim ıı şey her hem ne
        """,
}
OPEN_ENDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
#: After these most sentences go on, but an answer may end: "yes, I do", "come in", "I want that".
OFTEN_OPEN = {
    "en": frozenset(
        """
        these those some any another not just also only currently please
        is are was were be am been being will would can could should shall may might must does did do have has had
        in on about over under after before so like that this what where why how you it
        """.split()  # noqa: SIM905
    ),
}

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
#: Digits as English recognisers write them out; others mostly write figures.
_DIGITS = frozenset(["oh", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def words_of(text: str) -> list[str]:
    """The words of ``text`` in lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def digits_in(text: str) -> int:
    """How many digits ``text`` has, in figures or (English) in words."""
    return sum(each.isdigit() for each in text) + sum(word in _DIGITS for word in words_of(text))
