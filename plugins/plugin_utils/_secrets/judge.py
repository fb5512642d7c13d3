# SPDX-License-Identifier: GPL-3.0-or-later
"""Find values that are not secret: published in a tutorial, too short, or following a pattern."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.greenlight.flask.plugins.module_utils._base.forms import SHORTEST

#: Required by OWASP ASVS 5.0, 11.2.3. Flask advises twice that: ``python -c 'import secrets;
#: print(secrets.token_hex())'`` (https://flask.palletsprojects.com/en/stable/config/#SECRET_KEY).
KEY_BITS = 128
#: KEY_BITS in hexadecimal digits.
KEY_CHARACTERS = 32
#: A random key of that length practically always has at least this many different characters.
DIFFERENT_CHARACTERS = 6

#: Names whose values are not credentials, although they may be among the secrets.
_PUBLIC_NAME = re.compile(
    r"(^|_)(USER|USERNAME|LOGIN|ID|HOST|HOSTNAME|PORT|SERVER|SCHEME|REGION|BUCKET|EMAIL|SENDER|FROM|DOMAIN|NAME|DB"
    r"|DATABASE|MODE|LEVEL|ENV|ENVIRONMENT|CONFIG|SENTRY_DSN)\Z",
    re.IGNORECASE,
)
_CREDENTIAL_NAME = re.compile(r"(KEY|SECRET|TOKEN|PASS|PASSWORD|PASSWD|PWD|SALT|CREDENTIALS?)\Z", re.IGNORECASE)

#: Keys printed in documentation and well-known tutorials.
_PUBLISHED = {
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",  # Flask's documentation
    '_5#y2l"f4q8z\\n\\xec]/',
    '_5#y2l"f4q8z\n\xec]/',
    "a0zr98j/3yx r~xhh!jmn]lwx/,?rt",
    "5791628bb0b13ce0c676dfde280ba245",
    "9olwxnd4o83j4k4iuopo",
    "you-will-never-guess",
}
#: A value that consists only of these words is meant to be replaced.
_FILLER = (
    "this|is|a|an|my|our|the|very|super|ultra|top|really|so|some|your|flask|app|application|web|development|dev|test"
    "|testing|demo|dummy|sample|example|default|insecure|not|random|secure|strong|long|string|secret|secrets|key|keys"
    "|password|passwd|passw0rd|pssw0rd|pass|token|value|here|for|to|guess|hard|change|changeme|changethis|changeit"
    "|replace|replaceme|me|it|please|in|on|prod|production|staging|local|only|placeholder|todo|fixme|tbd|foo|bar|baz"
    "|foobar|none|null|undefined|admin|root|letmein|qwerty|abc|unsafe|use|with|something|else|jwt|api|db|session"
)
_CORE = (
    "secret|key|pass|pssw|token|change|replace|example|sample|dummy|demo|placeholder|default|dev|test|guess|todo|fixme|tbd"
    "|foo|none|null|undefined|admin|root|letmein|qwerty|abc|your"
)
_PLACEHOLDERS = re.compile(
    rf"""
    (?=.*({_CORE})) ({_FILLER})+ [0-9]{{0,4}}
    | x{{3,}} | (.)\3{{2,}}                     # one character again and again
    | (0?1234567?8?9?0?)
    """,
    re.VERBOSE,
)
#: An instruction, or an unfilled template.
_INSTRUCTIONS = re.compile(
    r"""
    (please[^a-z0-9]*)? (change|replace)[^a-z0-9]*(me|this|it)\b .*
    | (.*[^a-z0-9])? (change|replace)[_ -]?(me|this) ([^a-z].*)?
    | (your|insert|enter|put|set|add|generate)[_ -][a-z0-9_ .-]*
    | <.*> | \[[a-z _-]+\] | \$\{\w+\} | %\(?\w+\)?s | \{\{.*\}\} | __\w+__
    """,
    re.VERBOSE,
)
#: Words in a signing key, which must not contain any.
_KEY_WORDS = re.compile(r"secret[^a-z0-9]?key|change[^a-z0-9]?me|super[^a-z0-9]?secret|password|development|production")
_KEYBOARD = "1234567890qwertyuiopasdfghjklzxcvbnm"
#: Common words of at least three letters, none of them hexadecimal. Other words, such as names, are not recognised.
_WORDS = frozenset(
    """
about above account admin after again air all almost along also always amazing america and angel animal another
answer any anybody anything api app apple application apps april are around ask august autumn away awesome baby back
backup banana baseball battery beach bear because been beer before began begin being below berlin best better
between bicycle big bike bird black blog blue boat book both boy brown business but butter cache call came can car
carry cart cat cats center change changed chat cheese cherry children chocolate city client close cloud coffee come
company computer config control cookie cookies cool corp corporation correct could country cow crazy crypto customer
cut dance dashboard data database day december default demo deploy deployment development did different django
docker doctor does dog dogs down dragon driver each eagle earth eat eight email encrypt encryption end england
enough europe even ever every everybody everything example eye family far fast father february feet few find fire
first fish five flask flower fly follow food football for forest forever form forum found four fox france friday
friend friends frog from funny game games garden germany get girl give global gold golden good got great green grey
group grow guess guessing guitar had hand happy hard has hash hate have head hear hello help her here hidden high
him his hockey home horse house how hundred idea important internal internet into invoice its january july jump
jumping jumps june just keep key keys kind king know land large last late lazy learn leave left lemon let letter
life light like line linux lion list little live local login london long look love lover lucky made magic mail main
make man manager many march master may mean mega men might mile million miss mobile monday monkey moon more most
mother mountain mouse move movie much music must name near need network never new news next nice night nine nobody
not nothing november now number ocean october off office often oil old once one online only open orange order orders
other our out over own page paper paris part party pass passphrase password payment people phone piano picture pig
pink pizza place plane plant play please point portal power prince princess private prod product production products
project protect public purple put python queen quick rabbit rain random read really red release right river rotate
rotated run running runs safe said salt same sample saturday saw say school sea second secret secrets secure
security see seem sentence september server service services session sessions set setting settings seven she sheep
ship shop shopping shops should show side sign signature signed signing silver simple sing site six sky slow small
snake snow soccer some something sometimes song soon sound spell spring staging staple star stars start state still
stop store story street string strong student study such summer sun sunday sunshine super sweet system take talk
teacher team tell ten test testing tests than thanks that the their them then there these they thing think this
those thought thousand three through thursday tiger time today together token tokens tomorrow too took town train
tree try tuesday turn two ultra under until use user users value version very walk want was watch water way web
website wednesday welcome well went were what when where which while white who why will wind windows wine winter
with without wolf word work world would write year yellow yesterday york you young your
""".split()  # noqa: SIM905  # a list of words, not of literals
)
#: Bits to encode a word: which one of the list, and that a word follows, not a letter (one in four).
_WORD_BITS = math.log2(len(_WORDS)) + math.log2(4)
_LETTER_BITS = math.log2(26)
_LONGEST = max(map(len, _WORDS))
#: Bits that encoding with words must save over encoding with letters. At most one random key in 2 ** 17 saves that
#: much, because no code shortens more than one text in 2 ** n by n bits.
_GAIN_BITS = 17
#: A repeated part of this length shows that a key was pieced together: 1 in a million random hexadecimal keys has one.
_AGAIN = 8
_HEX_WORDS = re.compile(r"deadbeef|cafebabe|deadc0de|badc0ffee|feedface|baadf00d|c0ffee00|8badf00d|defec8ed|facefeed")


def is_public(name: str) -> bool:
    """Return whether a variable of this name holds no credential, but for example a user or host name."""
    return bool(_PUBLIC_NAME.search(name)) and not _CREDENTIAL_NAME.search(name)


def is_credential(name: str) -> bool:
    return bool(_CREDENTIAL_NAME.search(name))


def password_in(value: str) -> str:
    """Return the password inside a URL, or nothing."""
    try:
        return unquote(urlsplit(value).password or "") if "://" in value else ""
    except ValueError:
        return ""


def is_placeholder(value: str) -> bool:
    """Return whether a value, or the password in a URL, is meant to be replaced."""
    text = (password_in(value) if "://" in value else value).strip().strip("\"'").lower()
    if not text or text in ("true", "false", "yes", "no"):
        return False
    if text in _PUBLISHED:
        return True
    words = re.sub(r"[\W_]+", "", text, flags=re.ASCII) or text
    # No random key this short consists of words. Longer ones are skipped to keep this fast.
    return len(text) <= 120 and bool(_INSTRUCTIONS.fullmatch(text) or _PLACEHOLDERS.fullmatch(words))  # noqa: PLR2004


def is_short(key: str) -> bool:
    """Return whether a signing key has too few characters for :data:`KEY_BITS`."""
    if len(key) >= KEY_CHARACTERS:
        return False
    classes = [set(string.ascii_lowercase), set(string.ascii_uppercase), set(string.digits)]
    seen = [kind for kind in classes if kind & set(key)]
    if len(seen) < len(classes):  # words, or too few of whatever it is
        return True
    alphabet = sum(map(len, seen)) + 2 * bool(set(key) - set().union(*classes))
    return len(key) * math.log2(alphabet) < KEY_BITS


def is_unmaskable(value: str) -> bool:
    """Return whether no line of a value is long enough to be masked in a message."""
    return bool(value) and max((len(line.strip()) for line in value.splitlines()), default=0) < SHORTEST


def weakness(key: str) -> str:
    """Return in a few words why a signing key is easy to guess, or an empty text."""
    text = key.lower()
    if len(set(text)) < DIFFERENT_CHARACTERS:
        return f"it has only {len(set(text))} different characters"
    if _period(text) <= len(text) / 2 or _again(text):
        return "it repeats itself"
    if _in_sequence(text) > 0.6:  # noqa: PLR2004  # random keys have about 0.2, and 0.5 once in 10,000
        return "its characters are in the order of the alphabet, of numbers or of a keyboard"
    if _KEY_WORDS.search(text) or _HEX_WORDS.search(text) or _of_words(key):
        return "it is made of words"
    return ""


def _again(text: str) -> bool:
    """Return whether a part of ``text`` occurs twice."""
    parts = [text[at : at + _AGAIN] for at in range(len(text) - _AGAIN + 1)]
    return len(set(parts)) < len(parts)


def _of_words(key: str) -> bool:
    """Return whether words encode a key in fewer bits than its letters do, and the rest is too short without them."""
    places = [at for at, character in enumerate(key) if character in string.ascii_letters]
    text = "".join(key[at] for at in places).lower()
    if set(text) <= set("abcdef"):  # hexadecimal, where these few words are more likely
        return False
    # The best way to read the letters up to each place: the bits gained, and where its last word begins.
    gains, begins = [0.0], [0]
    for end in range(1, len(text) + 1):
        gain, begin = gains[end - 1] - math.log2(4 / 3), end
        for size in range(3, min(end, _LONGEST) + 1):
            more = gains[end - size] + size * _LETTER_BITS - _WORD_BITS
            if more > gain and text[end - size : end] in _WORDS:
                gain, begin = more, end - size
        gains.append(gain)
        begins.append(begin)
    if gains[-1] < _GAIN_BITS:
        return False
    left, end = list(key), len(text)
    while end:
        for at in places[begins[end] : end]:
            left[at] = ""
        end = min(begins[end], end - 1)
    return is_short("".join(left))


def _period(text: str) -> int:
    """Return the length of the part that ``text`` repeats; its own length if it repeats nothing."""
    border = [0] * len(text)
    for end in range(1, len(text)):
        length = border[end - 1]
        while length and text[end] != text[length]:
            length = border[length - 1]
        border[end] = length + (text[end] == text[length])
    return len(text) - border[-1]


def _in_sequence(text: str) -> float:
    """Return the share of steps from one character to the next that go nowhere or to a neighbour."""
    steps = list(pairwise(text))

    def near(one: str, other: str) -> bool:
        if abs(ord(one) - ord(other)) <= 1:
            return True
        places = _KEYBOARD.find(one), _KEYBOARD.find(other)
        return min(places) >= 0 and abs(places[0] - places[1]) == 1

    # In hexadecimal, a follows 9.
    return sum(near(*step) or step == ("9", "a") for step in steps) / len(steps)


def credentials(values: Mapping[str, Any], secret: bool) -> dict[str, str]:
    """Return the credentials among an app's variables: all secrets except mere names.

    Args:
        values: variables of the process.
        secret: whether they are flask_app_secrets. In flask_app_env, only variables named like a credential count.
    """
    texts = {
        name: str(value)
        for name, value in values.items()
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
    }
    return {
        name: value
        for name, value in texts.items()
        if (not is_public(name) if secret else is_credential(name) or password_in(value))
    }
