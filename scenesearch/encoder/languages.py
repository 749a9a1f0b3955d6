"""The languages of NLLB-CLIP: the code that people know -> the token that its texts begin with.

The tokens are those of FLORES-200 (NLLB Team (2022), No Language Left Behind).
"""

from scenesearch.encoder.base import EncoderError
from scenesearch.errors import did_you_mean

FLORES = {
    "af": "afr_Latn",
    "ar": "arb_Arab",
    "az": "azj_Latn",
    "be": "bel_Cyrl",
    "bg": "bul_Cyrl",
    "bn": "ben_Beng",
    "ca": "cat_Latn",
    "cs": "ces_Latn",
    "da": "dan_Latn",
    "de": "deu_Latn",
    "el": "ell_Grek",
    "en": "eng_Latn",
    "es": "spa_Latn",
    "et": "est_Latn",
    "fa": "pes_Arab",
    "fi": "fin_Latn",
    "fil": "tgl_Latn",
    "fr": "fra_Latn",
    "he": "heb_Hebr",
    "hi": "hin_Deva",
    "hr": "hrv_Latn",
    "hu": "hun_Latn",
    "hy": "hye_Armn",
    "id": "ind_Latn",
    "it": "ita_Latn",
    "ja": "jpn_Jpan",
    "ko": "kor_Hang",
    "ku": "kmr_Latn",
    "lb": "ltz_Latn",
    "lt": "lit_Latn",
    "lv": "lvs_Latn",
    "mi": "mri_Latn",
    "mk": "mkd_Cyrl",
    "mn": "khk_Cyrl",
    "mr": "mar_Deva",
    "ms": "zsm_Latn",
    "nb": "nob_Latn",
    "nl": "nld_Latn",
    "nn": "nno_Latn",
    "pl": "pol_Latn",
    "pt": "por_Latn",
    "qu": "quy_Latn",
    "ro": "ron_Latn",
    "ru": "rus_Cyrl",
    "sk": "slk_Latn",
    "sl": "slv_Latn",
    "sr": "srp_Cyrl",
    "sv": "swe_Latn",
    "sw": "swh_Latn",
    "ta": "tam_Taml",
    "te": "tel_Telu",
    "th": "tha_Thai",
    "tr": "tur_Latn",
    "uk": "ukr_Cyrl",
    "ur": "urd_Arab",
    "vi": "vie_Latn",
    "zh": "zho_Hans",
    "zh-hant": "zho_Hant",
    "zh-tw": "zho_Hant",
}


def flores_code(language: str) -> str:
    """The token of a language, given as `de`, `de-AT` or `deu_Latn`; raises EncoderError."""
    if language in FLORES.values():
        return language
    wanted = language.lower().replace("_", "-")
    code = FLORES.get(wanted) or FLORES.get(wanted.partition("-")[0])
    if code is None:
        raise EncoderError(
            f"language {language!r} is not known{did_you_mean(language, FLORES)}; known are "
            f"{', '.join(FLORES)}"
        )
    return code
