"""Texts and pictures on which encoders and the libraries that define them may differ.

TEXTS are 200 strings; `write_pictures` writes the files, `awkward_pictures` opens them as an
ingest does.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scenesearch.pictures.opening import open_image

_PLAIN = [
    "a dog",
    "boats",
    "a photo of a cat",
    "two children playing on a beach at sunset with a red kite",
    "a man in a red jacket riding a bicycle down a street",
    "mountains under a cloudy sky",
    "an old woman reading a newspaper on a bench in the park while pigeons gather around her feet",
    "photograph",
    "antidisestablishmentarianism",
    "x",
]
_CAPITALS = [
    "A Dog",
    "A DOG",
    "a dOG",
    "NEW YORK CITY AT NIGHT",
    "Two Children Playing On A Beach",
    "iPhone and McDonald's",
    "USA vs. UK",
    "ÉCOLE ÉLÉMENTAIRE",
    "STRASSE straße STRAẞE",
    "İstanbul ISTANBUL ıI",
    "ΑΘΗΝΑ Σοφός ΣΟΦΌΣ",
    "МОСКВА Москва",
    "DŽ Dž dž",
    "CamelCaseWord",
]
_PUNCTUATION = [
    "a dog.",
    "a dog!",
    "a dog?!",
    "a dog, a cat; a bird: three animals",
    "dog-friendly café",
    "it's the dog's bone",
    "it is 'quoted' and \"quoted\"",
    "“curly” quotes and ‘single’ ones",
    "rock’n’roll",
    "an em dash — and an en dash – here",
    "ellipsis… and dots...",
    "(in brackets) [square] {curly} <angle>",
    "50% off, $5.99, £3, €7, ¥100",
    "a/b and c\\d",
    "snake_case_word and __init__",
    "#hashtag @mention",
    "a+b=c*d^e",
    "a~b|c`d",
    "...",
    "!",
    "?",
    "'",
    '"',
    "-",
    "_",
    "., ., .,",
    "a , b , c",
    "¿qué? ¡hola!",
    "«guillemets» and „low“ quotes",
    "1,234,567.89",
    "3rd of May 1808",
    "12:30 pm",
    "C++ and C#",
    "don't can't won't I'll we've they're I'd I'm",
    "DON'T CAN'T",
    "e.g. this, i.e. that, etc.",
    "www.example.org/path?query=1&other=2",
    "someone@example.org",
]
_BLANKS = [
    "",
    " ",
    "   ",
    "\n",
    "\t",
    " a dog",
    "a dog ",
    "  a dog  ",
    "a  dog",
    "a   red    dog",
    "a\ndog",
    "a\n\ndog",
    "a\tdog",
    "a \n dog",
    "a\r\ndog",
    "a\u00a0dog",
    "a\u2003dog",
    "a\u3000dog",
    "a\u200bdog",
    "a\u2028dog",
    "a\ufeffdog",
    "\ufeffa dog",
    "a\x0bdog",
    "a\x0cdog",
    "\n a dog \n",
    " .  , ",
]
_ENTITIES = [
    "cats &amp; dogs",
    "cats &amp;amp; dogs",
    "&lt;b&gt;bold&lt;/b&gt;",
    "<b>bold</b>",
    "caf&eacute;",
    "a&nbsp;dog",
    "&#39;quoted&#39;",
    "&#x1F600;",
    "cats & dogs",
    "&unknown; entity",
    "schÃ¶n",
    "Itâ€™s a dog",
    "cafÃ©",
    "â€œquotedâ€\x9d",
]
_ACCENTS = [
    "café",
    "cafe\u0301",
    "naïve façade",
    "nai\u0308ve",
    "Ångström",
    "A\u030angstro\u0308m",
    "Zürich",
    "Ærøskøbing",
    "œuvre",
    "ﬁsh and ﬂowers",
    "½ a pizza, 10² m, H₂O",
    "Ⅷ ① ㎏ ™ ®",
    "ａ ｄｏｇ",
    "Ａ ＤＯＧ！",
    "１２３",
    "a\u0301\u0302\u0303\u0304",
    "\u0301",
    "ñandú n\u0303andu\u0301",
    "Việt Nam",
    "Đà Nẵng",
    "Łódź",
    "Čeština",
    "ß",
    "soft\u00adhyphen",
    "𝒶 𝕕𝕠𝕘",
]
_SCRIPTS = [
    "собака на пляже",
    "Две собаки играют в снегу.",
    "Київ вночі",
    "一只狗在沙滩上奔跑",
    "一隻狗",
    "夕阳下的两个孩子，拿着红色的风筝。",
    "山",
    "ビーチを走る犬",
    "ビーチ",
    "ﾋﾞｰﾁ",
    "犬とネコ",
    "해변을 달리는 개",
    "개",
    "हिन्दी में एक कुत्ता",
    "நாய்",
    "หมาวิ่งบนชายหาด",
    "כלב על החוף",
    "كلب على الشاطئ",
    "كَلْبٌ",
    "سگ روی ساحل",
    "a dog כלב a dog",
    "\u202ea dog\u202c",
    "σκύλος στην παραλία",
    "ձագ շուն",
    "ძაღლი",
    "ውሻ",
    "ང",
    "mixed 狗 dog собака",
    "ein Hund läuft über den Strand",
    "un chien court sur la plage",
    "bir köpek sahilde koşuyor",
    "con chó chạy trên bãi biển",
]
_EMOJI = [
    "🐶",
    "a 🐶 dog",
    "🐶🐱🐭",
    "👨‍👩‍👧‍👦 family",
    "👍🏽",
    "❤️",
    "❤",
    "🇩🇪",
    "☃ snow ☀ sun",
    "dog🐶cat🐱",
    "1️⃣",
    "→ ← ↑",
]
_ODD = [
    "<|endoftext|>",
    "<|startoftext|>a dog<|endoftext|>",
    "<pad> a dog",
    "</s>",
    "<s>a dog</s>",
    "[PAD] [CLS] [SEP] [UNK]",
    "<unk>",
    "<bos>a dog<eos>",
    "▁a▁dog",
    "aĠdog",
    "eng_Latn a dog",
    "deu_Latn",
    "null\x00byte",
    "\x01\x02",
    "\x7f",
    "\ufffd",
    "\U0010ffff",
    "\ue000",
    "0",
    "0123456789",
    "true",
    "None",
    "3.14159",
]
_LONG = [
    " ".join(["dog"] * 300),
    " ".join(_PLAIN[3:7] * 6),
    ", ".join(["a red kite", "a beach", "two children"] * 20) + ".",
    "a" * 400,
    "狗" * 200,
    "🐶" * 60,
]
TEXTS = [
    *_PLAIN,
    *_CAPITALS,
    *_PUNCTUATION,
    *_BLANKS,
    *_ENTITIES,
    *_ACCENTS,
    *_SCRIPTS,
    *_EMOJI,
    *_ODD,
    *_LONG,
]


def write_pictures(folder: Path) -> list[Path]:
    """20 picture files of odd shapes and modes: smooth and noisy parts, edges, transparency."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "one_pixel": (1, 1),
        "column": (1, 300),
        "row": (300, 1),
        "two_by_three": (2, 3),
        "square_odd": (223, 223),
        "square_even": (224, 224),
        "just_larger": (225, 226),
        "landscape_odd": (501, 333),
        "portrait_odd": (333, 501),
        "landscape": (640, 480),
        "wide": (999, 101),
        "tall": (101, 999),
    }
    written: list[Path] = []

    def write(name: str, image: Image.Image, kind: str = "png", **options: Any) -> None:
        written.append(folder / f"{len(written):02}_{name}.{kind}")
        image.save(written[-1], **options)

    for name, size in sizes.items():
        write(name, _scene(*size))
    scene = _scene(317, 211)
    write("grey", scene.convert("L"))
    faded = scene.copy()
    faded.putalpha(Image.linear_gradient("L").resize(scene.size))
    write("grey_transparent", faded.convert("LA"))
    write("transparent", faded)
    write("palette", scene.quantize(17))
    write("cmyk", scene.convert("CMYK"), "jpg", quality=95)
    levels = np.asarray(scene.convert("L"), np.uint16) * 257
    write("sixteen_bits", Image.fromarray(levels))
    write("one_bit", scene.convert("1"))
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: to be turned by a quarter
    write("on_its_side", scene, "jpg", quality=95, exif=turned)
    return written


def awkward_pictures(folder: Path) -> list[Image.Image]:
    """The same pictures, upright and in RGB."""
    return [open_image(path).image for path in write_pictures(folder)]


def _scene(width: int, height: int) -> Image.Image:
    """Gradients, noise, stripes and a bright disc: every frequency that resizing may change."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    noise = np.random.default_rng([width, height]).normal(0, 25, (height, width, 3))
    picture = np.stack(
        [
            255 * columns / max(1, width - 1),
            255 * rows / max(1, height - 1),
            128 + 100 * np.sin(columns / 3) * np.cos(rows / 5),
        ],
        axis=-1,
    )
    disc = (columns - width * 0.7) ** 2 + (rows - height * 0.3) ** 2 < (min(width, height) / 4) ** 2
    picture[disc] = (250, 240, 30)
    return Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8))
