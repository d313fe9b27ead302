"""Words that hardly ever end what somebody says: after one of them the caller only pauses.

Articles, prepositions, conjunctions, possessives, auxiliaries and the sounds of thinking, by language (the first part
of the BCP 47 tag).
"""

from __future__ import annotations

import re

_WORDS = {
    "en": """
        a an the this these my your his her its our their every each some any no another
        and or but nor so because if when while until unless although though since whether whereas than as like
        to of for with from at in on by into onto about between under over after before during without through against
        is are was were be am been being will would can could should shall may might must do does did have has had
        i'm you're he's she's it's we're they're i've we've they've i'd we'd i'll we'll you'll that's there's
        i we he she they who which whose what where why how
        not very really just also only quite currently please um uh er erm well
        """,
    "de": """
        der die das den dem des ein eine einen einem einer eines mein meine meinen meinem meiner dein deine sein seine
        ihr ihre ihren ihrem unser unsere euer eure kein keine keinen jeder jede jedes dieser diese dieses
        und oder aber denn sondern weil dass wenn ob als wie während bevor nachdem obwohl damit also
        in im an am auf aus bei beim mit von vom zu zum zur für nach über unter vor hinter neben zwischen durch gegen
        ohne um bis seit wegen
        ist sind war waren wird werden kann können möchte muss müssen soll sollen darf hat haben hatte bin habe wäre
        ich wir er sie es wer was wo wann warum der welche welcher nicht sehr nur auch noch ähm äh hm tja
        """,
    "fr": """
        le la les l' un une des du de d' mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette
        ces chaque quelques
        et ou mais donc car parce que qu' si quand comme lorsque puisque pendant avant après
        à au aux en dans sur sous avec sans pour par chez entre vers depuis contre
        est sont était suis es sommes êtes ai as a avons avez ont peux peut voudrais veux veut dois doit vais va
        je j' tu il elle on nous vous ils elles qui dont où ne pas très aussi euh ben alors
        """,
    "es": """
        el la los las un una unos unas mi mis tu tus su sus nuestro nuestra este esta estos estas ese esa cada algún
        y e o u pero porque que si cuando como aunque mientras donde pues
        a al de del en con por para sin sobre entre hasta desde hacia según contra
        es son era está están soy estoy ha he han puede puedo quiero quisiera debe tengo tiene voy va
        yo él ella nosotros ellos quien cual cuyo no muy también solo eh este em bueno
        """,
    "it": """
        il lo la i gli le l' un uno una un' mio mia miei mie tuo tua suo sua nostro nostra vostro vostra questo questa
        ogni qualche
        e ed o oppure ma però perché che se quando come mentre anche se dove quindi
        a ad al allo alla ai alle di del dello della dei delle da dal dalla in nel nella con su sul sulla per tra fra
        è sono era sei siamo ho ha hanno può posso vorrei voglio devo deve vado va
        io lui lei noi loro chi cui non molto anche solo ehm eh allora
        """,
    "nl": """
        de het een mijn jouw zijn haar ons onze jullie hun deze dit die elke ieder geen
        en of maar want omdat dat als wanneer terwijl hoewel toen dus zodat
        in op aan van voor met bij naar uit over onder tussen door tegen zonder tot om te sinds na
        is was waren ben bent wordt worden kan kunnen wil wilt zou zal moet mag heb heeft hebben had
        ik jij hij zij wij we ze wie wat waar waarom niet heel zeer ook nog eh uh uhm nou
        """,
    "tr": """
        bir bu şu o her ve veya ya ama fakat çünkü eğer ki için ile gibi kadar en çok daha benim senin onun bizim ıı şey
        """,
}
OPEN_ENDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
#: Digits as English recognisers write them out; others mostly write figures.
_DIGITS = frozenset(["oh", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def words_of(text: str) -> list[str]:
    """The words of ``text`` in lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def digits_in(text: str) -> int:
    """How many digits ``text`` has, in figures or (English) in words."""
    return sum(each.isdigit() for each in text) + sum(word in _DIGITS for word in words_of(text))
