"""What a language is called in an instruction: models know names better than codes.

Source: ISO 639-1, and of its languages those that speech models are trained on.
"""

import re

LONGEST = 40  # characters of a name
_NAME = re.compile(r"[^\W\d_]+(?:[-_ ][^\W_]+)*")
_NAMES = (
    "af Afrikaans, am Amharic, ar Arabic, as Assamese, az Azerbaijani, ba Bashkir, be Belarusian, bg Bulgarian, "
    "bn Bengali, bo Tibetan, br Breton, bs Bosnian, ca Catalan, cs Czech, cy Welsh, da Danish, de German, el Greek, "
    "en English, es Spanish, et Estonian, eu Basque, fa Persian, fi Finnish, fo Faroese, fr French, ga Irish, "
    "gl Galician, gu Gujarati, ha Hausa, haw Hawaiian, he Hebrew, hi Hindi, hr Croatian, ht Haitian Creole, "
    "hu Hungarian, hy Armenian, id Indonesian, is Icelandic, it Italian, ja Japanese, jw Javanese, jv Javanese, "
    "ka Georgian, kk Kazakh, km Khmer, kn Kannada, ko Korean, la Latin, lb Luxembourgish, ln Lingala, lo Lao, "
    "lt Lithuanian, lv Latvian, mg Malagasy, mi Maori, mk Macedonian, ml Malayalam, mn Mongolian, mr Marathi, "
    "ms Malay, mt Maltese, my Burmese, ne Nepali, nl Dutch, nn Nynorsk, no Norwegian, oc Occitan, pa Punjabi, "
    "pl Polish, ps Pashto, pt Portuguese, ro Romanian, ru Russian, sa Sanskrit, sd Sindhi, si Sinhala, sk Slovak, "
    "sl Slovenian, sn Shona, so Somali, sq Albanian, sr Serbian, su Sundanese, sv Swedish, sw Swahili, ta Tamil, "
    "te Telugu, tg Tajik, th Thai, tk Turkmen, tl Tagalog, tr Turkish, tt Tatar, uk Ukrainian, ur Urdu, uz Uzbek, "
    "vi Vietnamese, yi Yiddish, yo Yoruba, yue Cantonese, zh Chinese"
)
NAMES: dict[str, str] = dict(entry.split(" ", 1) for entry in _NAMES.split(", "))


def name(language: str) -> str | None:
    """The name of a language that a request gives by its code (`de`, `pt-BR`) or its name; None: it is neither."""
    given = language.strip()
    if len(given) > LONGEST or not _NAME.fullmatch(given):
        return None
    code, _, region = given.replace("_", "-").partition("-")
    known = NAMES.get(code.lower())
    if known is None:
        return given
    return f"{known} ({region})" if region else known
