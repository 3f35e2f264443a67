"""Tell what may be meant as a code from other texts, and find its parts; pure.

A text that is like a code is a code or refused, never the name of an open channel:
the name of a channel is announced, and the words of a code are a secret.
docs/protocol.md, "Codes".
"""

import re
from typing import NamedTuple

from shoal.core.names.link_text import bare_link, folded

__all__ = [
    "WORDS",
    "Parts",
    "full_word",
    "has_code_form",
    "looks_like_code",
    "parts_of",
]

DIGITS = 4  # of the number in a code
COUNT = 3  # words in a code
PREFIX = 4  # letters that belong to one word only
# The 2,048 English words of BIP 39, as the package mnemonic 0.21 has them, in its order
# (copyright 2013-2016 Pavol Rusnak; MIT licence, as in LICENSE). They have three to
# eight letters, and the first four of them belong to one word only.
WORDS = tuple(
    """
abandon ability able about above absent absorb abstract absurd abuse access accident
account accuse achieve acid acoustic acquire across act action actor actress actual
adapt add addict address adjust admit adult advance advice aerobic affair afford afraid
again age agent agree ahead aim air airport aisle alarm album alcohol alert alien all
alley allow almost alone alpha already also alter always amateur amazing among amount
amused analyst anchor ancient anger angle angry animal ankle announce annual another
answer antenna antique anxiety any apart apology appear apple approve april arch arctic
area arena argue arm armed armor army around arrange arrest arrive arrow art artefact
artist artwork ask aspect assault asset assist assume asthma athlete atom attack attend
attitude attract auction audit august aunt author auto autumn average avocado avoid
awake aware away awesome awful awkward axis baby bachelor bacon badge bag balance
balcony ball bamboo banana banner bar barely bargain barrel base basic basket battle
beach bean beauty because become beef before begin behave behind believe below belt
bench benefit best betray better between beyond bicycle bid bike bind biology bird birth
bitter black blade blame blanket blast bleak bless blind blood blossom blouse blue blur
blush board boat body boil bomb bone bonus book boost border boring borrow boss bottom
bounce box boy bracket brain brand brass brave bread breeze brick bridge brief bright
bring brisk broccoli broken bronze broom brother brown brush bubble buddy budget buffalo
build bulb bulk bullet bundle bunker burden burger burst bus business busy butter buyer
buzz cabbage cabin cable cactus cage cake call calm camera camp can canal cancel candy
cannon canoe canvas canyon capable capital captain car carbon card cargo carpet carry
cart case cash casino castle casual cat catalog catch category cattle caught cause
caution cave ceiling celery cement census century cereal certain chair chalk champion
change chaos chapter charge chase chat cheap check cheese chef cherry chest chicken
chief child chimney choice choose chronic chuckle chunk churn cigar cinnamon circle
citizen city civil claim clap clarify claw clay clean clerk clever click client cliff
climb clinic clip clock clog close cloth cloud clown club clump cluster clutch coach
coast coconut code coffee coil coin collect color column combine come comfort comic
common company concert conduct confirm congress connect consider control convince cook
cool copper copy coral core corn correct cost cotton couch country couple course cousin
cover coyote crack cradle craft cram crane crash crater crawl crazy cream credit creek
crew cricket crime crisp critic crop cross crouch crowd crucial cruel cruise crumble
crunch crush cry crystal cube culture cup cupboard curious current curtain curve cushion
custom cute cycle dad damage damp dance danger daring dash daughter dawn day deal debate
debris decade december decide decline decorate decrease deer defense define defy degree
delay deliver demand demise denial dentist deny depart depend deposit depth deputy
derive describe desert design desk despair destroy detail detect develop device devote
diagram dial diamond diary dice diesel diet differ digital dignity dilemma dinner
dinosaur direct dirt disagree discover disease dish dismiss disorder display distance
divert divide divorce dizzy doctor document dog doll dolphin domain donate donkey donor
door dose double dove draft dragon drama drastic draw dream dress drift drill drink drip
drive drop drum dry duck dumb dune during dust dutch duty dwarf dynamic eager eagle
early earn earth easily east easy echo ecology economy edge edit educate effort egg
eight either elbow elder electric elegant element elephant elevator elite else embark
embody embrace emerge emotion employ empower empty enable enact end endless endorse
enemy energy enforce engage engine enhance enjoy enlist enough enrich enroll ensure
enter entire entry envelope episode equal equip era erase erode erosion error erupt
escape essay essence estate eternal ethics evidence evil evoke evolve exact example
excess exchange excite exclude excuse execute exercise exhaust exhibit exile exist exit
exotic expand expect expire explain expose express extend extra eye eyebrow fabric face
faculty fade faint faith fall false fame family famous fan fancy fantasy farm fashion
fat fatal father fatigue fault favorite feature february federal fee feed feel female
fence festival fetch fever few fiber fiction field figure file film filter final find
fine finger finish fire firm first fiscal fish fit fitness fix flag flame flash flat
flavor flee flight flip float flock floor flower fluid flush fly foam focus fog foil
fold follow food foot force forest forget fork fortune forum forward fossil foster found
fox fragile frame frequent fresh friend fringe frog front frost frown frozen fruit fuel
fun funny furnace fury future gadget gain galaxy gallery game gap garage garbage garden
garlic garment gas gasp gate gather gauge gaze general genius genre gentle genuine
gesture ghost giant gift giggle ginger giraffe girl give glad glance glare glass glide
glimpse globe gloom glory glove glow glue goat goddess gold good goose gorilla gospel
gossip govern gown grab grace grain grant grape grass gravity great green grid grief
grit grocery group grow grunt guard guess guide guilt guitar gun gym habit hair half
hammer hamster hand happy harbor hard harsh harvest hat have hawk hazard head health
heart heavy hedgehog height hello helmet help hen hero hidden high hill hint hip hire
history hobby hockey hold hole holiday hollow home honey hood hope horn horror horse
hospital host hotel hour hover hub huge human humble humor hundred hungry hunt hurdle
hurry hurt husband hybrid ice icon idea identify idle ignore ill illegal illness image
imitate immense immune impact impose improve impulse inch include income increase index
indicate indoor industry infant inflict inform inhale inherit initial inject injury
inmate inner innocent input inquiry insane insect inside inspire install intact interest
into invest invite involve iron island isolate issue item ivory jacket jaguar jar jazz
jealous jeans jelly jewel job join joke journey joy judge juice jump jungle junior junk
just kangaroo keen keep ketchup key kick kid kidney kind kingdom kiss kit kitchen kite
kitten kiwi knee knife knock know lab label labor ladder lady lake lamp language laptop
large later latin laugh laundry lava law lawn lawsuit layer lazy leader leaf learn leave
lecture left leg legal legend leisure lemon lend length lens leopard lesson letter level
liar liberty library license life lift light like limb limit link lion liquid list
little live lizard load loan lobster local lock logic lonely long loop lottery loud
lounge love loyal lucky luggage lumber lunar lunch luxury lyrics machine mad magic
magnet maid mail main major make mammal man manage mandate mango mansion manual maple
marble march margin marine market marriage mask mass master match material math matrix
matter maximum maze meadow mean measure meat mechanic medal media melody melt member
memory mention menu mercy merge merit merry mesh message metal method middle midnight
milk million mimic mind minimum minor minute miracle mirror misery miss mistake mix
mixed mixture mobile model modify mom moment monitor monkey monster month moon moral
more morning mosquito mother motion motor mountain mouse move movie much muffin mule
multiply muscle museum mushroom music must mutual myself mystery myth naive name napkin
narrow nasty nation nature near neck need negative neglect neither nephew nerve nest net
network neutral never news next nice night noble noise nominee noodle normal north nose
notable note nothing notice novel now nuclear number nurse nut oak obey object oblige
obscure observe obtain obvious occur ocean october odor off offer office often oil okay
old olive olympic omit once one onion online only open opera opinion oppose option
orange orbit orchard order ordinary organ orient original orphan ostrich other outdoor
outer output outside oval oven over own owner oxygen oyster ozone pact paddle page pair
palace palm panda panel panic panther paper parade parent park parrot party pass patch
path patient patrol pattern pause pave payment peace peanut pear peasant pelican pen
penalty pencil people pepper perfect permit person pet phone photo phrase physical piano
picnic picture piece pig pigeon pill pilot pink pioneer pipe pistol pitch pizza place
planet plastic plate play please pledge pluck plug plunge poem poet point polar pole
police pond pony pool popular portion position possible post potato pottery poverty
powder power practice praise predict prefer prepare present pretty prevent price pride
primary print priority prison private prize problem process produce profit program
project promote proof property prosper protect proud provide public pudding pull pulp
pulse pumpkin punch pupil puppy purchase purity purpose purse push put puzzle pyramid
quality quantum quarter question quick quit quiz quote rabbit raccoon race rack radar
radio rail rain raise rally ramp ranch random range rapid rare rate rather raven raw
razor ready real reason rebel rebuild recall receive recipe record recycle reduce
reflect reform refuse region regret regular reject relax release relief rely remain
remember remind remove render renew rent reopen repair repeat replace report require
rescue resemble resist resource response result retire retreat return reunion reveal
review reward rhythm rib ribbon rice rich ride ridge rifle right rigid ring riot ripple
risk ritual rival river road roast robot robust rocket romance roof rookie room rose
rotate rough round route royal rubber rude rug rule run runway rural sad saddle sadness
safe sail salad salmon salon salt salute same sample sand satisfy satoshi sauce sausage
save say scale scan scare scatter scene scheme school science scissors scorpion scout
scrap screen script scrub sea search season seat second secret section security seed
seek segment select sell seminar senior sense sentence series service session settle
setup seven shadow shaft shallow share shed shell sheriff shield shift shine ship shiver
shock shoe shoot shop short shoulder shove shrimp shrug shuffle shy sibling sick side
siege sight sign silent silk silly silver similar simple since sing siren sister situate
six size skate sketch ski skill skin skirt skull slab slam sleep slender slice slide
slight slim slogan slot slow slush small smart smile smoke smooth snack snake snap sniff
snow soap soccer social sock soda soft solar soldier solid solution solve someone song
soon sorry sort soul sound soup source south space spare spatial spawn speak special
speed spell spend sphere spice spider spike spin spirit split spoil sponsor spoon sport
spot spray spread spring spy square squeeze squirrel stable stadium staff stage stairs
stamp stand start state stay steak steel stem step stereo stick still sting stock
stomach stone stool story stove strategy street strike strong struggle student stuff
stumble style subject submit subway success such sudden suffer sugar suggest suit summer
sun sunny sunset super supply supreme sure surface surge surprise surround survey
suspect sustain swallow swamp swap swarm swear sweet swift swim swing switch sword
symbol symptom syrup system table tackle tag tail talent talk tank tape target task
taste tattoo taxi teach team tell ten tenant tennis tent term test text thank that theme
then theory there they thing this thought three thrive throw thumb thunder ticket tide
tiger tilt timber time tiny tip tired tissue title toast tobacco today toddler toe
together toilet token tomato tomorrow tone tongue tonight tool tooth top topic topple
torch tornado tortoise toss total tourist toward tower town toy track trade traffic
tragic train transfer trap trash travel tray treat tree trend trial tribe trick trigger
trim trip trophy trouble truck true truly trumpet trust truth try tube tuition tumble
tuna tunnel turkey turn turtle twelve twenty twice twin twist two type typical ugly
umbrella unable unaware uncle uncover under undo unfair unfold unhappy uniform unique
unit universe unknown unlock until unusual unveil update upgrade uphold upon upper upset
urban urge usage use used useful useless usual utility vacant vacuum vague valid valley
valve van vanish vapor various vast vault vehicle velvet vendor venture venue verb
verify version very vessel veteran viable vibrant vicious victory video view village
vintage violin virtual virus visa visit visual vital vivid vocal voice void volcano
volume vote voyage wage wagon wait walk wall walnut want warfare warm warrior wash wasp
waste water wave way wealth weapon wear weasel weather web wedding weekend weird welcome
west wet whale what wheat wheel when where whip whisper wide width wife wild will win
window wine wing wink winner winter wire wisdom wise wish witness wolf woman wonder wood
wool word work world worry worth wrap wreck wrestle wrist write wrong yard year yellow
you young youth zebra zero zone zoo
""".split()
)
"""All words, in alphabetical order."""
_KNOWN = frozenset(WORDS)
_BEGINNINGS = {word[:PREFIX]: word for word in WORDS if len(word) >= PREFIX}
_LENGTHS = sorted({len(word) for word in WORDS})
_LONGEST = (COUNT - 1) * _LENGTHS[-1]  # letters of the last two words without a gap

# Any spaces and hyphens, also those that a phone replaces them with, and what else is
# put between words.
_GAP = r"[\s\-._,+/\u00a0\u2010-\u2015\u2212]"
_GAPS = re.compile(f"{_GAP}+")
_LETTERS = re.compile(r"[^\W\d_]+")
_FOUR_DIGITS = re.compile(r"(?:[\W_]*\d){4}(?![\W_]*\d)")
_START = re.compile(rf"((?:\d{_GAP}*)*)([^\W\d_].*)", re.DOTALL)


class Parts(NamedTuple):
    """What a text has of a code."""

    digits: str
    runs: tuple[str, ...]
    """What stands between gaps, in lower case: words, or several without gaps."""

    @property
    def readings(self) -> set[tuple[str, ...]]:
        """Return all ways to read the runs as three words of the list.

        A run is a word, the first four letters of one or more, or whole words without
        gaps.
        """
        if len(self.runs) > COUNT:
            return set()
        found: set[tuple[str, ...]] = {()}
        for run in self.runs:
            found = {
                (*before, *words)
                for before in found
                for words in _read_run(run, COUNT - len(before))
            }
        return {words for words in found if len(words) == COUNT}


def _read_run(run: str, most: int) -> set[tuple[str, ...]]:
    """Return all ways to read a run as at most `most` words."""
    word = full_word(run)
    return _split(run, most) | ({(word,)} if word and most else set())


def _split(run: str, most: int) -> set[tuple[str, ...]]:
    """Return all ways to read a run as at most `most` whole words without gaps."""
    if most < 1:
        return set()
    found: set[tuple[str, ...]] = {(run,)} if run in _KNOWN else set()
    for length in _LENGTHS:
        head, rest = run[:length], run[length:]
        if rest and head in _KNOWN:
            found |= {(head, *words) for words in _split(rest, most - 1)}
    return found


def full_word(begun: str) -> str | None:
    """Return the word that begins with these four or more letters, if there is one."""
    word = _BEGINNINGS.get(begun[:PREFIX], "")
    return word if word.startswith(begun) and len(begun) >= PREFIX else None


def parts_of(text: str) -> Parts | None:
    """Return the parts of a text that has a letter behind digits, or behind nothing."""
    found = _START.fullmatch(folded(bare_link(text)))
    if found is None:
        return None
    digits = _GAPS.sub("", found[1])
    return Parts(digits, tuple(filter(None, _GAPS.split(found[2]))))


def has_code_form(text: str) -> bool:
    """Return True if `text` is a number of four digits and three words."""
    parts = parts_of(text)
    if parts is None or len(parts.digits) != DIGITS:
        return False
    is_three = len(parts.runs) == COUNT and all(map(str.isalpha, parts.runs))
    return is_three or bool(parts.readings)


def looks_like_code(text: str) -> bool:
    """Return True if `text` is never read as a channel: it is a code or mistyped.

    It has three words of the list in sequence and a digit, or only these words; or it
    begins with four digits, and has a word of the list, or any three words.
    """
    plain = folded(bare_link(text))
    runs = _LETTERS.findall(plain)
    has_digit = any(map(str.isdigit, plain))
    if _has_three_words(runs) and (has_digit or len(runs) in (1, COUNT)):
        return True
    if _FOUR_DIGITS.match(plain) is None:
        return has_digit and _has_readings(text)
    return has_code_form(text) or _begins_a_word(runs) or any(map(_is_listed, runs))


def _has_readings(text: str) -> bool:
    """Return True if `text` is a number of any length and three words."""
    parts = parts_of(text)
    return parts is not None and bool(parts.digits) and bool(parts.readings)


def _has_three_words(runs: list[str]) -> bool:
    """Return True if three runs of letters in sequence, or one of them, are words."""
    known = [run in _KNOWN for run in runs]
    if any(map(all, zip(known, known[1:], known[2:], strict=False))):
        return True
    return any(len(words) == COUNT for run in runs for words in _split(run, COUNT))


def _begins_a_word(runs: list[str]) -> bool:
    """Return True if the first run of letters begins with a word or as one does."""
    # The shortest words are shorter than the beginning that belongs to one word only.
    first = runs[0] if runs else ""
    return first[:PREFIX] in _BEGINNINGS or first[: _LENGTHS[0]] in _KNOWN


def _is_listed(run: str) -> bool:
    """Return True if a run of letters is a word, or ends with two of them."""
    tails = (run[start:] for start in range(max(0, len(run) - _LONGEST), len(run)))
    return run in _KNOWN or any(
        len(words) > 1 for tail in tails for words in _split(tail, COUNT - 1)
    )
