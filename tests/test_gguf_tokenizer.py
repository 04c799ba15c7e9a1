"""The tokenizer made from a GGUF's metadata gives what llama.cpp gives, which reads the same file."""

import itertools
import random
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import llama_cpp.llama_cpp as lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import write_gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from nitro.engines.backends.llama import library
from nitro.engines.backends.llama.tokenizer import LlamaTokenizer
from nitro.engines.backends.mlx.tokenizer import BYTES, FastTokenizer, byte_level, converter, sentence_piece
from nitro.gguf import header, tokenizer
from nitro.gguf.header import Header, UnreadableGGUF
from nitro.gguf.tokenizer import CONTROL, ENDS, NORMAL, PRE_TOKENIZERS, UNKNOWN, UNUSED, USER_DEFINED

quick = settings(deadline=None, database=None)

SCRIPTS = {
    "albanian": "Dhëmbi i çuditshëm, në shtëpi",
    "amharic": "ውሃው ቀዝቃዛ ነው። አስር ብር፤",
    "arabic": "الماءُ باردٌ جدًّا، والبيتُ دافئ؟",
    "armenian": "Ջուրը սառն է։ Տունը՝ տաք",
    "bengali": "জলটা খুব ঠান্ডা, ঘরটা গরম।",
    "braille": "⠺⠁⠞⠑⠗ ⠊⠎ ⠉⠕⠇⠙",
    "burmese": "ရေက အေးတယ်၊ အိမ်က နွေးတယ်။",
    "cherokee": "ᎠᎹ ᎤᏴᏜ ᏱᎩ",
    "chinese": "水很冷，房子很暖和。一共三百二十元！",
    "chinese beyond the BMP": "𠮷野家的𠀀𪚥字，㐀䶵",
    "coptic": "Ⲡⲓⲙⲱⲟⲩ ϥϩⲟⲣϣ",
    "cuneiform": "𒀀𒈗𒂍𒃲",
    "czech": "Žluťásek má v říjnu šest ďolíků a tři ňoumy",
    "devanagari": "पानी बहुत ठंडा है, क्षमा कीजिए। ₹१२",
    "georgian": "წყალი ცივია, სახლი კი თბილი",
    "german": "Die Größe der Straße, Übermut & ẞ",
    "gothic": "𐍅𐌰𐍄𐍉 𐌺𐌰𐌻𐌳",
    "greek": "Το νερό είναι κρύο· ἀρχὴ ὕδωρ ΌΧΙ",
    "gujarati": "પાણી ઠંડું છે, ઘર ગરમ",
    "gurmukhi": "ਪਾਣੀ ਠੰਢਾ ਹੈ, ਘਰ ਗਰਮ",
    "hangul": "물이 차갑고 집은 따뜻하다",
    "hangul jamo": "ㅁㅜㄹㅋㅋ \u1106\u116e\u11af",
    "hebrew": "המים קרים, הבַּיִת חם״ 5₪",
    "inuktitut": "ᐃᒥᖅ ᓂᒡᓚᓱᒃᑐᖅ",
    "japanese": "水がつめたい、ガラスは「あつい」ゎ。カフェー",
    "half-width kana": "ﾐｽﾞｶﾞ ﾂﾒﾀｲ｡",
    "kannada": "ನೀರು ತಣ್ಣಗಿದೆ, ಮನೆ ಬೆಚ್ಚಗಿದೆ",
    "khmer": "ទឹកត្រជាក់ណាស់ ផ្ទះក្តៅ។",
    "lao": "ນ້ຳເຢັນ ເຮືອນອຸ່ນ",
    "malayalam": "വെള്ളം തണുത്തതാണ്, വീട് ചൂട്",
    "maltese": "L-ilma kiesaħ, id-dar sħuna, ġebla u żraben",
    "math letters": "𝐀𝒃𝔠𝕕 = 𝟙𝟐𝟯 ∑ℝ∞≠∅",
    "mongolian": "ᠤᠰᠤ ᠬᠦᠢᠲᠡᠨ᠂ ᠭᠡᠷ᠃",
    "n'ko": "ߖߌ߫ ߞߍ߫ ߛߎߡߊ߲߫",
    "ogham": "\u169b\u1691\u1680\u1692\u169c",
    "oriya": "ପାଣି ଥଣ୍ଡା, ଘର ଗରମ",
    "persian": "آب سرد است و خانه‌ها گرم‌اند؛ ۱۲٬۵۰۰",
    "polish": "Żółw łyka wodę, źdźbło i pięć gąsek",
    "runes": "ᚹᚨᛏᚨᚾ ᛫ ᚲᚨᛚᛞᚨ",
    "russian": "Вода холодная, ёж под ёлкой — №7",
    "serbian": "Вода је хладна, џеп и љуљашка",
    "sinhala": "වතුර සීතලයි, ගෙය උණුසුම්",
    "syriac": "ܡܝܐ ܩܪܝܪܐ ܐܢܘܢ",
    "tamil": "தண்ணீர் குளிர்ந்தது, வீடு சூடானது",
    "telugu": "నీరు చల్లగా ఉంది, ఇల్లు వెచ్చగా",
    "thai": "น้ำเย็นมาก บ้านอุ่นๆ ราคา ๑๒ บาท",
    "thaana": "ފެން ފިނި، ގެ ހޫނު",
    "tibetan": "ཆུ་གྲང་མོ་རེད། ཁང་པ་དྲོ།",
    "tifinagh": "ⴰⵎⴰⵏ ⵙⵎⵎⵉⴹⵏ",
    "turkish": "İri ılık ığdır, çöğür ve şişe",
    "ukrainian": "Її ґанок, п'ять їжаків",
    "urdu": "پانی ٹھنڈا ہے، گھر گرم۔",
    "vietnamese": "Nước lạnh quá, nhà ấm; Đường Nguyễn",
    "yoruba": "Omi tútù, ilé gbóná; ẹ̀kọ́ ọ̀sán",
    "zalgo": "".join(c + "\u0310\u0334\u0361\u0489" for c in "cold water"),
}

CODE = [
    "def f(x: int) -> None:\n    return x ** 2  # squared\n\n\nclass A:\n\tpass\n",
    'fn main() {\n    let v: Vec<&\'a str> = vec!["a"; 3];\n    println!("{:?}", v);\n}\n',
    '#include <stdio.h>\r\nint main(void) { printf("%d\\n", 0x1F | ~7u); return 0; }\r\n',
    "const f = async ({a, b = 1}) => await a?.b ?? `t ${b}`;\n",
    "SELECT t.id, COUNT(*) FROM t WHERE n <> 'it''s' GROUP BY 1 HAVING COUNT(*) >= 10;",
    "<div class='a'>\n  <br/>&nbsp;<!-- x -->\n</div>",
    "for i in *.txt; do echo \"$i\" | sed -e 's/^a/b/g' >> ~/out 2>&1; done",
    "main :: IO ()\nmain = mapM_ print $ filter ((== 0) . (`mod` 3)) [1 .. 20]",
    "all: a.o\n\t$(CC) -o $@ $^\n.PHONY: all\n",
    '{"a": [1, -2.5e10, null, true], "b\\u00e9": {}}',
    "\\frac{\\partial f}{\\partial x_1} = \\sum_{i=0}^{n} x_i^2",
    "lambda s: s[::-1] if s else ''.join(['\\\\', \"\\t\"])",
    "https://example.org:8080/a_b/c-d?e=f%20g&h=1#i user@example.org",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case HTTPServer2XMLv3",
    "                deep\n            less\n\t\t  mixed\n \n  \n",
]

NUMBERS = [
    *("0", "7", "42", "123", "1234", "1234567890", "3.14159", "-1e-10", "1,234,567.89", "0xDEADbeef", "1st 2nd 3rd"),
    *(
        "½ ¼ ⅞ 1½",
        "x² y³ ¹⁰ H₂O",
        "٠١٢٣٤٥٦٧٨٩",
        "۰۱۲۳",
        "०१२३४",
        "๐๑๒",
        "Ⅷ ⅻ ⅯⅮ",
        "①②⑳ ㊿ 🄂",
        "〇一二三 萬",
        "１２３４",
    ),
    *("𝟘𝟙𝟚 𝟭𝟮𝟯", "𐄇𐄈 𒐕", "１2٣४", "a1b22c333d4444e", "1 2  3   4", "12:30:59", "2024-02-29T00:00Z", "5'5\" 5′5″"),
]

EMOJI = [
    *("😀", "😀😃😄", "a😀b", " 😀 ", "👨‍👩‍👧‍👦", "👩🏽‍🚀👨🏿‍🦱", "🏳️‍🌈🏴‍☠️", "🇨🇿🇺🇳🇯", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "1️⃣2️⃣#️⃣*️⃣"),
    *("👍🏻👍🏿", "❤️❤", "☎︎☎️", "🫠🫨🪿", "😀\u200d", "\u200d😀", "👁️‍🗨️!", "✅✔️❌ ➜ ★☆", "┌─┐│└┘█▓", "🂡🀄♟️"),
]

SPACES = (
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)

CONTRACTIONS = [
    *("it's don't we're I've I'm you'll he'd", "IT'S DON'T WE'RE I'VE I'M YOU'LL HE'D", "It'S doN'T we'Re I'vE I'lL"),
    *(
        "'s 't 're 've 'm 'll 'd",
        "'sa 'ta 'rea",
        "''s '''",
        "it’s don’t we’re",
        "o'clock 'tis rock'n'roll",
        "'r 'v 'l '",
        "x'",
    ),
    *("'ſ 'ſt", "1's 2'LL 3'D", " 's  'll", "'\u0308s", "l'été d'où aujourd'hui", "'s\n'S\r\n'M"),
]

ODDITIES = [
    *("", "\ud800", "a\udfffb", "\ud83d\ude00", "\udcff" * 3),
    *("\x00", "a\x00b", "\x00\x00\x00", "\x7f\x80\x9f", "\x01\x02\x03", "".join(map(chr, range(128)))),
    *("!\x04!", "=\x1d=\x13=", "((\U00060000((", "a\U000b1234a\U00042345b"),  # bytes that SmolLM2 has no token for
    *("\ufeffabc", "a\ufeff", "\u200fאב\u200e ab\u202ecd\u202c", "\u2066x\u2069", "a\u00adb", "a\u034fb"),
    *("\ue000\uf8ff", "\U000f0000\U0010fffd", "\U0010ffff", "\ufffe\uffff\ufdd0", "\ufffd", "\u0378\u0379 \u0380"),
    *("\U00030000\U000323af", "\U000e0001\U000e0041", "\U0001fffe", "e\u0301 é", "\u0301", " \u0301a", "\u0e33\u0eb3"),
    *(
        "ﬁﬂ ǅ ǈ ŉ ĳ",
        "ªº ʰ ᵃ ⁿ",
        "éAb ÉaB aéB AÉb éABé aÉé Éb",
        "ⓐⓑ Ⓒ",
        "İıſK Å",
        "...…!!?¿¡‽",
        "$€£¥₿ %‰ §¶ ©®™",
        "<<>>«»‹›",
        "a/b\\c|d",
        "__--==++~~``",
    ),
    *(
        "\n",
        "\r\n",
        "\n\n\n",
        "a\n",
        "a\n\nb",
        "a \n b",
        "a\r\rb",
        "a\n\r\nb",
        " a",
        "  a",
        "   a  b   ",
        "a  ",
        "\t\ta\t",
    ),
    *("!\n\n!", "! \r\n", "a!\n/b", "//\n//"),
    *(c * 10_000 for c in "a é中😀\n\t1'=\x00\u0301"),
    "ab" * 5_000,
    " a" * 5_000,
    "\u00e9\u4e2d 1" * 2_500,
]

# The ids of the tokens that SmolLM2 finds in a text are 0 to 16.
MARKS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<file_sep>",
    "<jupyter_output>",
    "<empty_output>",
]
MARKED = [
    *MARKS,
    *("".join(pair) for pair in itertools.permutations(MARKS[:4], 2)),
    *(f"a {mark} b\n{mark}{mark}\n{mark}x" for mark in MARKS),
    *(f"{mark[:-1]} {mark[1:]} {mark[:3]}{mark} <{mark}> {mark.upper()} {mark[:-2]}\n{mark[-2:]}" for mark in MARKS),
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
    "<|im_<|im_start|>start|>",
    "<|im_start|><|im_start|> <|im_start|>\u00a0<|im_end|>\u0301",
    "<|im_start|><|im_end|>" * 500,
    "<|im_start|\u200b>",
    "＜|im_start|＞",
    "<|eot_id|></s><s>[INST]<unk>",
]

CORPUS = {
    **SCRIPTS,
    **{f"{name}, decomposed": unicodedata.normalize("NFD", text) for name, text in SCRIPTS.items()},
    **{
        f"{name}, as in a file": f"\ufeff \t{text}\r\n\n‘{text.upper()}’…{text[::-1]}" for name, text in SCRIPTS.items()
    },
    **{f"code {i}": text for i, text in enumerate(CODE)},
    **{f"number {i}": text for i, text in enumerate(NUMBERS)},
    **{f"emoji {i}": text for i, text in enumerate(EMOJI)},
    **{f"space U+{ord(c):04X}": f"a{c}b{c}{c}C {c}1 {c} !{c}.{c}{c}{c}é\n{c}{c}" for c in SPACES},
    **{f"contraction {i}": text for i, text in enumerate(CONTRACTIONS)},
    **{f"oddity {i}": text for i, text in enumerate(ODDITIES)},
    **{f"mark {i}": text for i, text in enumerate(MARKED)},
}

# Every kind of character that an expression of PRE_TOKENIZERS tells from another one. Not among them: letters new in
# Unicode 16, which `tokenizers` knows and llama.cpp takes for unassigned.
TELLING = [
    *" \n\r\t\x0b\x1c\x85\xa0\u1680\u180e\u2028\u200b\u3000\x00\x7f",
    *"aAzZéÉßǅʰªא中あ가𝐀ſKst",
    *"05²½٣०Ⅷ𝟘〇",
    *"'.!/-_$+=<^`|~€«…\\\u0301\u0903\u20dd\u200d\ufeff\ufffd😀\u0378\ue000\U00060000\U0010ffff",
    *("'s", "'T", "'re", "'VE", "'lL", "  ", "\r\n", "\n/", "123", "Ab", "bA", "aB", "hello", " hello"),
]
SHORT = [
    *SCRIPTS.values(),
    *(text for text in (*CODE, *NUMBERS, *EMOJI, *CONTRACTIONS, *ODDITIES) if len(text) < 500),
    *(CORPUS[f"space U+{ord(c):04X}"] for c in SPACES),
    *(first + second + third for first, second, third in zip(TELLING, TELLING[1:], TELLING[2:], strict=False)),
]


@pytest.fixture(scope="module")
def vocab_of() -> Iterator[Callable[[Path], Any]]:
    """llama.cpp's vocabulary of a file."""
    log = library.capture_log()
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.vocab_only = True
    with ExitStack() as stack:

        def load(path: Path) -> Any:
            model = lib.llama_model_load_from_file(str(path).encode(), parameters)
            assert model, log.last_error
            stack.callback(lib.llama_model_free, model)
            return lib.llama_model_get_vocab(model)

        yield load


@pytest.fixture(scope="module")
def smollm_head(smollm: Path) -> Header:
    return header.read(smollm)


@pytest.fixture(scope="module")
def ours(smollm_head: Header) -> FastTokenizer:
    return fast(smollm_head)


@pytest.fixture(scope="module")
def smollm_vocab(smollm: Path, vocab_of: Callable[[Path], Any]) -> Any:
    return vocab_of(smollm)


@pytest.fixture(scope="module")
def theirs(smollm_vocab: Any) -> LlamaTokenizer:
    return LlamaTokenizer(smollm_vocab)


@pytest.fixture(scope="module")
def pairs(
    tmp_path_factory: pytest.TempPathFactory, vocab_of: Callable[[Path], Any]
) -> Callable[[str], tuple[FastTokenizer, LlamaTokenizer]]:
    """Both tokenizers, for the name of a pre-tokenizer, of a vocabulary that shows where text is cut: it merges the
    last byte of any telling character with the first of any other, and has words that no merge makes."""
    folder, made = tmp_path_factory.mktemp("pairs"), {}
    letters = {byte: letter for letter, (byte,) in BYTES.items()}
    characters = [character.encode() for character in sorted(set("".join(TELLING)))]
    first, last = sorted({c[0] for c in characters}), sorted({c[-1] for c in characters})
    merges = [f"{letters[a]} {letters[b]}" for a, b in itertools.product(last, first)]
    random.Random(0).shuffle(merges)  # or a merge of letters would always win over one that shows a cut before them
    tokens = [*BYTES, *(merge.replace(" ", "") for merge in merges), "hello", "Ġhello"]
    head = header.read(write_vocabulary(folder / "gpt-2.gguf", tokens, merges))

    def of(name: str) -> tuple[FastTokenizer, LlamaTokenizer]:
        if name not in made:
            file = write_vocabulary(folder / f"{name}.gguf", tokens, merges, name)
            named = replace(head, metadata={**head.metadata, "tokenizer.ggml.pre": name})
            made[name] = fast(named), LlamaTokenizer(vocab_of(file))
        return made[name]

    return of


def write_vocabulary(
    path: Path,
    tokens: list[str],
    merges: list[str] | None = None,
    pre: str = "gpt-2",
    types: dict[str, int] | None = None,
    scores: list[float] | None = None,
    add_space_prefix: bool = True,
    model: str | None = None,
    **ids: int,
) -> Path:
    """A GGUF without weights. `types`: of the tokens that are not normal ones. `scores`: makes it SentencePiece's.
    `model`: in place of GPT-2's or SentencePiece's. `ids`: more keys of the tokenizer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(model or ("gpt2" if scores is None else "llama"))
    writer.add_token_list(tokens)
    writer.add_token_types([(types or {}).get(token, NORMAL) for token in tokens])
    if scores is None:
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(merges or ["a b"])
    else:
        writer.add_token_scores(scores)
        writer.add_add_space_prefix(add_space_prefix)
    for key, value in {"eos_token_id": 0, **ids}.items():
        writer.add_uint32(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def fast(head: Header) -> FastTokenizer:
    """As open_gguf makes it."""
    words, controls = tokenizer.build(head), tokenizer.controls(head)
    specials = frozenset(words.get_added_tokens_decoder())
    to_bytes = sentence_piece if tokenizer.is_sentence_piece(head) else byte_level
    return FastTokenizer(words, to_bytes, hidden=controls, literal=specials - controls)


def eog_of(vocab: Any) -> set[int]:
    return {id for id in range(lib.llama_vocab_n_tokens(vocab)) if lib.llama_vocab_is_eog(vocab, id)}


def pieces_of(words: FastTokenizer | LlamaTokenizer, count: int) -> dict[int, bytes]:
    return {id: words.token_bytes(id) for id in range(count)}


def shown(text: str) -> str:
    return ascii(text[:200])


# Ids of a text


@pytest.mark.parametrize("group", sorted({name.split()[0] for name in CORPUS if name[-1].isdigit()}))
def test_groups_of_texts(group: str, ours: FastTokenizer, theirs: LlamaTokenizer) -> None:
    for name, text in CORPUS.items():
        if name.split()[0] == group:
            assert ours.encode(text) == theirs.encode(text), shown(text)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts(script: str, ours: FastTokenizer, theirs: LlamaTokenizer) -> None:
    for name, text in CORPUS.items():
        if name.split(",")[0] == script:
            assert ours.encode(text) == theirs.encode(text), name


@quick
@given(st.text())
def test_any_text(ours: FastTokenizer, theirs: LlamaTokenizer, text: str) -> None:
    assert ours.encode(text) == theirs.encode(text)


@quick
@given(st.lists(st.one_of(st.sampled_from([*MARKS, *"<|im_end>x ", "<|", "|>", "<|im_"]), st.text(max_size=3))))
def test_any_text_with_tokens_in_it(ours: FastTokenizer, theirs: LlamaTokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    assert ours.encode(text) == theirs.encode(text)


def test_the_ids_make_the_text(ours: FastTokenizer) -> None:
    for text in (*SCRIPTS.values(), *CODE, *EMOJI):
        assert b"".join(map(ours.token_bytes, ours.encode(text))).decode() == text


def test_marks_are_tokens_wherever_they_stand(ours: FastTokenizer, smollm_head: Header) -> None:
    id = smollm_head.need("tokenizer.ggml.tokens").index
    start, end = id("<|im_start|>"), id("<|im_end|>")
    assert ours.encode("a<|im_start|><|im_end|>") == [id("a"), start, end]
    assert not {start, end} & set(ours.encode("<|im_start| ><|im_END|>"))


# What the ids are


def test_every_piece(ours: FastTokenizer, theirs: LlamaTokenizer, smollm_head: Header) -> None:
    count = len(smollm_head.need("tokenizer.ggml.tokens"))
    assert pieces_of(ours, count) == pieces_of(theirs, count)


def test_ends_and_texts(smollm_head: Header, smollm_vocab: Any, theirs: LlamaTokenizer) -> None:
    assert tokenizer.ends(smollm_head) == eog_of(smollm_vocab)
    assert tokenizer.text(smollm_head, "bos") == theirs.text(lib.llama_vocab_bos(smollm_vocab))
    assert tokenizer.text(smollm_head, "eos") == theirs.text(lib.llama_vocab_eos(smollm_vocab))
    assert tokenizer.text(smollm_head, "eot") == ""


def test_a_text_for_an_id_beyond_the_vocabulary_is_empty(smollm_head: Header) -> None:
    count = len(smollm_head.need("tokenizer.ggml.tokens"))
    metadata = {**smollm_head.metadata, "tokenizer.ggml.eos_token_id": count}
    assert tokenizer.text(replace(smollm_head, metadata=metadata), "eos") == ""


@pytest.mark.parametrize("name", sorted(ENDS))
def test_a_name_that_ends_a_generation(name: str, tmp_path: Path, vocab_of: Callable[[Path], Any]) -> None:
    """Even if the file has it for a normal token."""
    tokens = [*BYTES, name]
    file = write_vocabulary(tmp_path / "ends.gguf", tokens)
    head, vocab = header.read(file), vocab_of(file)
    ours, theirs = fast(head), LlamaTokenizer(vocab)
    assert tokenizer.ends(head) == eog_of(vocab) == {0, len(BYTES)}
    assert ours.encode(f"a{name} {name}") == theirs.encode(f"a{name} {name}")
    assert pieces_of(ours, len(tokens)) == pieces_of(theirs, len(tokens))


@pytest.mark.parametrize("key", tokenizer.END_KEYS)
def test_a_key_that_ends_a_generation(key: str, tmp_path: Path, vocab_of: Callable[[Path], Any]) -> None:
    file = write_vocabulary(tmp_path / "ends.gguf", [*BYTES, "the end"], **{"eos_token_id": 0, key: len(BYTES)})
    assert tokenizer.ends(header.read(file)) == eog_of(vocab_of(file))
    assert len(BYTES) in tokenizer.ends(header.read(file))


@pytest.mark.parametrize("other", sorted({"<|call|>", "<|calls|>", "<|flush|>", "<|return|>", "<|tool_response>"}))
def test_names_that_take_each_others_meaning(other: str, tmp_path: Path, vocab_of: Callable[[Path], Any]) -> None:
    """Some names end a generation only where certain others are missing."""
    for third in ("<|call|>", "<|calls|>", "<|end_of_turn|>"):
        tokens = [*BYTES, *dict.fromkeys(["<|end|>", "</s>", other, third])]
        file = write_vocabulary(tmp_path / "ends.gguf", tokens, types=dict.fromkeys(tokens[len(BYTES) :], CONTROL))
        assert tokenizer.ends(header.read(file)) == eog_of(vocab_of(file)), tokens[len(BYTES) :]


def test_tokens_of_every_type(tmp_path: Path, vocab_of: Callable[[Path], Any]) -> None:
    types = {"<normal>": NORMAL, "<unknown>": UNKNOWN, "<control>": CONTROL, "<user>": USER_DEFINED, "<unused>": UNUSED}
    tokens = [*BYTES, *types]
    file = write_vocabulary(tmp_path / "types.gguf", tokens, types=types)
    ours, theirs = fast(header.read(file)), LlamaTokenizer(vocab_of(file))
    assert pieces_of(ours, len(tokens)) == pieces_of(theirs, len(tokens))
    text = "a".join([*types, *types])
    assert ours.encode(text) == theirs.encode(text)
    assert len(BYTES) + 3 in ours.encode(text)
    assert ours.token_bytes(len(BYTES) + 3) == b"<user>"


def test_a_byte_that_is_no_token_is_lost_and_parts_what_is_around_it(
    tmp_path: Path, vocab_of: Callable[[Path], Any]
) -> None:
    tokens = [letter for letter in BYTES if letter not in r"-[]\^&"] + ["ab", "!!", "((", "<u>"]
    file = write_vocabulary(tmp_path / "few.gguf", tokens, ["a b", "! !", "( ("], types={"<u>": USER_DEFINED})
    ours, theirs = fast(header.read(file)), LlamaTokenizer(vocab_of(file))
    for text in ("ab", "a-b", "!-!", "(\\(", "!^![!]!&!&&!", "--", "-", "(<u>(", "!!-!!"):
        assert ours.encode(text) == theirs.encode(text), text
    assert ours.encode("!-!!-") == [tokens.index("!"), tokens.index("!!")]


# Pre-tokenizers


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_pre_tokenizer(name: str, pairs: Callable[[str], tuple[FastTokenizer, LlamaTokenizer]]) -> None:
    ours, theirs = pairs(name)
    for text in SHORT:
        assert ours.encode(text) == theirs.encode(text), shown(text)


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"])
def test_any_telling_text(name: str, pairs: Callable[[str], tuple[FastTokenizer, LlamaTokenizer]]) -> None:
    ours, theirs = pairs(name)

    @quick
    @given(st.lists(st.sampled_from(TELLING)).map("".join))
    def check(text: str) -> None:
        assert ours.encode(text) == theirs.encode(text)

    check()


def test_the_texts_tell_the_pre_tokenizers_apart(
    pairs: Callable[[str], tuple[FastTokenizer, LlamaTokenizer]],
) -> None:
    names = list({cut: name for name, cut in PRE_TOKENIZERS.items()}.values())
    seen = {tuple(tuple(pairs(name)[0].encode(text)) for text in SHORT) for name in names}
    assert len(seen) == len(names) == 11


@pytest.mark.parametrize("name", ["smollm", "tekken"])
def test_the_pre_tokenizer_of_a_model_file(name: str, tmp_path: Path, vocab_of: Callable[[Path], Any]) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", pre=name)
    ours, theirs = fast(header.read(file)), LlamaTokenizer(vocab_of(file))
    for text in SHORT:
        assert ours.encode(text) == theirs.encode(text), shown(text)


# SentencePiece


@pytest.mark.parametrize("add_space_prefix", [True, False])
def test_sentence_piece(add_space_prefix: bool, gemma: Path, tmp_path: Path, vocab_of: Callable[[Path], Any]) -> None:
    """Gemma's best pieces, put together as Llama 2, Mistral and Phi-3 have theirs: scores, bytes and a leading space.
    Also as it is read back from tokenizer.json."""
    whole = header.read(gemma)
    kinds = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, "<tag>": USER_DEFINED, "  ": USER_DEFINED}
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    typed = zip(whole.need("tokenizer.ggml.tokens"), whole.need("tokenizer.ggml.token_type"), strict=True)
    pieces = [text for text, type in typed if type == NORMAL]
    best = [*pieces[:20_000], *(piece for piece in pieces[20_000:] if len(piece) == 1)]  # every letter is a piece
    tokens = [*kinds, *byte_tokens, *(piece for piece in best if piece not in kinds)]
    types = {**kinds, **dict.fromkeys(byte_tokens, 6)}
    scores = [0.0 if token in types else -float(rank) for rank, token in enumerate(tokens)]
    file = write_vocabulary(
        tmp_path / "spm.gguf", tokens, None, "default", types, scores, add_space_prefix, bos_token_id=1, eos_token_id=2
    )
    head, theirs = header.read(file), LlamaTokenizer(vocab_of(file))
    ours = fast(head)
    again = Tokenizer.from_str(tokenizer.build(head).to_str())
    texts = [*CORPUS.values(), "a<s>b </s> c<tag>  d<tag><tag>", " <s> ", "<0x0A>", "▁", " ▁ a", "x"]
    for text in texts:
        assert ours.encode(text) == theirs.encode(text), shown(text)
        assert again.encode(clean(text), add_special_tokens=False).ids == theirs.encode(text), shown(text)
    assert pieces_of(ours, len(tokens)) == pieces_of(theirs, len(tokens))
    assert (ours.token_bytes(ours.encode("a")[0]) == b" a") == add_space_prefix
    assert again.decode(again.encode("a é 中 😀 b", add_special_tokens=False).ids) == "a é 中 😀 b"


def test_gemma4(gemma: Path, tmp_path: Path, vocab_of: Callable[[Path], Any]) -> None:
    """Gemma's best pieces again, joined by merges instead of scores: every way to make a piece, the best piece first.
    Also as it is read back from tokenizer.json."""
    whole = header.read(gemma)
    kinds = {"<pad>": CONTROL, "<eos>": CONTROL, "<bos>": CONTROL, "<unk>": UNKNOWN, "<tag>": USER_DEFINED}
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    typed = zip(whole.need("tokenizer.ggml.tokens"), whole.need("tokenizer.ggml.token_type"), strict=True)
    pieces = [text for text, type in typed if type == NORMAL and "\n" not in text]
    lines = ["\n", "\n\n", "\n\n\n", "\n\n\n\n"]
    best = [*lines, *pieces[:20_000], *(piece for piece in pieces[20_000:] if len(piece) == 1)]
    tokens = [*kinds, *byte_tokens, *(piece for piece in best if piece not in kinds)]
    known = set(tokens)
    cuts = ((piece[:cut], piece[cut:]) for piece in best for cut in range(1, len(piece)))
    merges = [f"{left} {right}" for left, right in cuts if left in known and right in known]
    types = {**kinds, **dict.fromkeys(byte_tokens, 6)}
    ids = {"bos_token_id": 2, "eos_token_id": 1, "unknown_token_id": 3}
    file = write_vocabulary(tmp_path / "g4.gguf", tokens, merges, "gemma4", types, model="gemma4", **ids)
    head, theirs = header.read(file), LlamaTokenizer(vocab_of(file))
    ours = fast(head)
    again = Tokenizer.from_str(tokenizer.build(head).to_str())
    extra = ["a<bos>b <eos> c<tag>  d", "\n", "a\n\nb\n \n\n\n\nc", "<0x0A>", "▁", " ▁ a", "  x "]
    for text in [*CORPUS.values(), *extra]:
        assert ours.encode(text) == theirs.encode(text), shown(text)
        assert again.encode(clean(text), add_special_tokens=False).ids == theirs.encode(text), shown(text)
    assert pieces_of(ours, len(tokens)) == pieces_of(theirs, len(tokens))
    assert tokenizer.adds_bos(head) and lib.llama_vocab_get_add_bos(vocab_of(file))


def clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


# Refusals


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "bert"}, "a tokenizer of the kind 'bert'; supported are 'gpt2', 'llama', 'gemma4'"),
        ({"model": None}, "no tokenizer.ggml.model"),
        ({"pre": "deepseek-llm"}, "the pre-tokenizer 'deepseek-llm'; supported are codeshell, command-r, "),
        ({"pre": "default"}, "the pre-tokenizer 'default'"),
        ({"pre": None}, "the pre-tokenizer 'default'"),
        ({"merges": None}, "no tokenizer.ggml.merges"),
        ({"tokens": None}, "no tokenizer.ggml.tokens"),
    ],
)
def test_what_is_refused(changes: dict[str, str | None], says: str, smollm_head: Header) -> None:
    changed = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    metadata = {key: value for key, value in {**smollm_head.metadata, **changed}.items() if value is not None}
    with pytest.raises(UnreadableGGUF) as refusal:
        tokenizer.build(replace(smollm_head, metadata=metadata))
    assert str(refusal.value).startswith(f"{smollm_head.path} has {says}")


def test_merges_that_can_never_apply_are_left_out(smollm_head: Header) -> None:
    merges = ["<|im_start| >", "< |im_start|>", "z <|im_start|>", *smollm_head.need("tokenizer.ggml.merges")]
    metadata = {**smollm_head.metadata, "tokenizer.ggml.merges": merges}
    assert fast(replace(smollm_head, metadata=metadata)).encode(CODE[0]) == fast(smollm_head).encode(CODE[0])


# Tokenizers that are not from a GGUF


WORDS = {"a": 0, "▁a": 1, "<0x0A>": 2, "<0xC5>": 3, "Ġa": 4, "[UNK]": 5}


def made_of(pre_tokenizer: Any = None, decoder: Any = None) -> Tokenizer:
    words = Tokenizer(models.BPE(WORDS, []))
    if pre_tokenizer is not None:
        words.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        words.decoder = decoder
    return words


@pytest.mark.parametrize(
    ("words", "to_bytes"),
    [
        (made_of(pre_tokenizers.ByteLevel()), byte_level),
        (made_of(decoder=decoders.ByteLevel()), byte_level),
        (made_of(pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()])), byte_level),
        (made_of(pre_tokenizers.Metaspace(), decoders.Metaspace()), sentence_piece),
        (made_of(decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])), sentence_piece),
        (made_of(pre_tokenizers.Metaspace(), decoders.ByteLevel()), byte_level),
        (made_of(), None),
        (made_of(pre_tokenizers.Whitespace(), decoders.WordPiece()), None),
        (Tokenizer(models.WordPiece(WORDS, unk_token="[UNK]")), None),
    ],
)
def test_how_a_tokenizer_writes_bytes(words: Tokenizer, to_bytes: Callable[[str], bytes] | None) -> None:
    assert converter(words) is to_bytes


def test_sentence_piece_bytes() -> None:
    assert sentence_piece("<0x0A>") == b"\n"
    assert sentence_piece("<0xC5>") + sentence_piece("<0x99>") == "ř".encode()
    assert sentence_piece("▁▁ř▁<0x0A>") == "  ř <0x0A>".encode()
    assert sentence_piece("<0x0A") == b"<0x0A"


def test_byte_level_bytes() -> None:
    assert sorted(BYTES.values()) == [bytes([byte]) for byte in range(256)]
    assert byte_level("ĠaĊÅĻ") == " a\nř".encode()
    assert byte_level("a▁中") == "a▁中".encode(), "not of the scheme: as it stands"


def test_literal_and_silent_tokens() -> None:
    words = made_of()
    words.add_tokens([AddedToken("Ġliteral▁", normalized=False)])
    words.add_special_tokens([AddedToken("<silent>", normalized=False)])
    literal, silent = words.token_to_id("Ġliteral▁"), words.token_to_id("<silent>")
    fast = FastTokenizer(words, byte_level, hidden=frozenset([silent]), literal=frozenset([literal]))
    assert fast.encode("aĠliteral▁<silent>") == [0, literal, silent]
    assert [fast.token_bytes(id) for id in (WORDS["Ġa"], literal, silent)] == [b" a", "Ġliteral▁".encode(), b""]
    assert fast.token_bytes(literal) == "Ġliteral▁".encode(), "the second time, too"


def test_an_id_beyond_the_vocabulary_adds_nothing(ours: FastTokenizer, smollm_head: Header) -> None:
    count = len(smollm_head.need("tokenizer.ggml.tokens"))
    assert ours.token_bytes(count - 1) != b""
    assert ours.token_bytes(count) == ours.token_bytes(10**6) == b""
