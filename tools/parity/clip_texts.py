"""Captions for CLIP's tokenizer: plain ones, and every kind of text that it cleans or splits."""

SUBJECTS = ["a red circle", "Two Blue Squares", "an old lighthouse", "the neighbour's cat", "3 green apples",
            "a woman in a yellow raincoat", "children playing football", "an ICE train at platform 12b"]
PLACES = ["on a white background", "in the rain", "under a bridge at night", "beside the Eiffel Tower",
          "in Zürich, 1998", "on a table (wooden, round)", "seen from above"]
STYLES = ["a photo of {}.", "a blurry photo of {} ", "A PAINTING OF {}!", "{}; close-up", "“{}”"]

WORDS = """antidisestablishmentarianism supercalifragilisticexpialidocious Donaudampfschifffahrtsgesellschaft
floccinaucinihilipilification pneumonoultramicroscopicsilicovolcanoconiosis xkcd qwertyuiop aaaaaaaaaaaaaaaa
McDonald's rock'n'roll e-mail co-operate naïve façade jalapeño Ångström Łódź Škoda smørrebrød Straße ẞ Œuvre
İstanbul ΟΔΥΣΣΕΥΣ Ελλάδα Москва Україна עברית العربية हिन्दी ไทย 한국어 日本語 中文 ქართული Հայերեն አማርኛ""".split()

CONTRACTIONS = ["I'm sure they're here", "it's what we've said she'll do", "he'd've", "can't won't shan't", "DON'T",
                "o'clock 'tis the '90s", "y'all'd", "the dogs' bowls", "'s't're've'm'll'd", "rock ' n ' roll",
                "It’s Anna’s", "‘single’ “double” ‟low‟", "5'10\"", "it`s", "''", "s'", "'"]

NUMBERS = ["0", "7", "42", "2024", "1,234,567.89", "3.14159", "12:30", "50%", "$9.99", "№ 5", "½ cup", "x² + y³", "①②③",
           "Ⅷ", "٣٤٥", "१२३", "1e-5", "0x1F", "3rd 21st", "4K", "mp3", "covid19", "a1b2c3", "１２３", "10⁻⁶ m", "5 × 4 = 20"]

PUNCTUATION = ["", " ", "!", "...", "…", "wait...what?!", "--", "—", "a/b\\c", "[brackets] {braces} (parens)", "#hashtag @user",
               "C++ & C#", "a_b_c", "~tilde~ ^caret^", "http://example.com/a?b=c&d=e", "x@y.z", "<>", "<b>bold</b>",
               "a < b > c", "¿qué? ¡sí!", "«guillemets»", "“”", "„unten“", "•bullet", "© ® ™", "§ ¶ †", "→ ← ↔", "\\n", "a|b",
               "100 %", ";)", ":-D", "<3", "?!?!?!", "=====", "* * *", "€ £ ¥ ₿", "°C", "a\u00adb", "‽"]

EMOJI = ["😀", "a 🐕 and a 🐈", "👍🏽 ok", "👨‍👩‍👧‍👦 family", "🇩🇪🇫🇷", "❤️ ♥", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "😂😂😂😂😂😂😂😂", "🎉party🎉time🎉", "1️⃣ #️⃣",
         "☀️🌧⛄", "✔ done ✗", "🧑🏿‍🚀", "♻️", "(╯°□°)╯︵ ┻━┻", "¯\\_(ツ)_/¯", "🫠", "🏳️‍🌈 flag"]

CJK = ["一只猫坐在桌子上。", "東京タワーの写真", "안녕하세요 세계", "漢字とかな、ﾊﾝｶｸ　ゼンカク", "ＦＵＬＬ　ＷＩＤＴＨ！", "ﾀﾞｶﾞﾊﾟ", "「引用」と『題』",
       "你好,world!", "𠮷野家", "㍿㌔", "한글 자모 ㄱㄴㄷ", "ｶﾞ行", "￥１００"]

ACCENTS = ["café", "cafe\u0301", "CAFÉ", "Ça va? Déjà vu à l’hôtel", "Müller & Söhne GmbH", "Größe: groß", "El Niño está aquí",
           "Žluťoučký kůň", "Đặng Thị Ngọc", "Zażółć gęślą jaźń", "Ålesund, Tromsø", "Ĳsselmeer ĳs", "ﬁne ﬂuﬀy aﬃne oﬄine ﬅ ﬆ",
           "ǅ Ǉ Ǌ", "ŉ", "ȘȚ", "z\u0335a\u0336l\u0337g\u0338o", "e\u0301\u0323", "Ϊΐ ΰ", "ſtraße", "ß ẞ SS", "ı İ i I", "Kelvin K Å Å",
           "ﷺ ﷲ", "ﬗ ﬖ", "नमस्ते दुनिया", "สวัสดีชาวโลก", "שלום עולם", "مرحبا بالعالم", "Привет, мир! Ёлка", "Καλημέρα κόσμε"]

HTML = ["Tom &amp; Jerry", "&lt;b&gt;bold&lt;/b&gt;", "&quot;quoted&quot;", "it&#39;s", "it&#x27;s", "caf&eacute;", "CAF&EACUTE;",
        "&amp;amp; &amp;lt;", "&amp;amp;amp;", "fish &chips", "&copy 2020", "AT&T", "R&D", "a&b;c", "&nbsp;x&nbsp;y", "&hellip;",
        "&notit; &notin;", "&#8217;", "&#x1F600;", "&#0; &#128; &#xD800;", "&rsquo;<br>&rsquo;", "a &lt; b\n<i>&EACUTE;</i>",
        "&frac12; &frac12", "&szlig; &SZLIG;", "&CounterClockwiseContourIntegral;", "&unknown; &;", "&#; &#x;", "5 &gt 3", "&sup2;"]

SPACES = ["  leading and trailing  ", "tabs\tand\nnew\r\nlines", "a\u00a0b", "a\u3000b", "a\u2009b\u200ab", "a\u200bb", "a\u2028b\u2029c",
          "a\x0bb\x0cc", "a\x1cb\x1fc", "\ufeffbom", "nul\x00l", "\x1b[31mred\x1b[0m", "a\x7fb", "\ufff9\ufffc", "\u2060joined",
          "many     spaces", "\n\n\n", "a\u0085b", "\x93smart\x94 \x96 quotes", "\u200fright\u200e left"]

SPECIAL = ["<start_of_text>", "<end_of_text>", "<start_of_text>hi<end_of_text>", "<START_OF_TEXT>", "hi!<end_of_text>",
           "<|startoftext|>a<|endoftext|>", "<start_of_text", "x <end_of_text> y", "</w>", "a</w>b", "<unk> [PAD] [CLS]"]

LONG = [" ".join(["word"] * 100), "word " * 73 + "last one two", "word " * 74 + "last", "word " * 75, "word " * 76,
        "a" * 300, "ab" * 200, "漢" * 120, "😀" * 90, "é" * 200, "1234567890" * 12, "!" * 150, "a.b," * 60,
        "In the beginning of a very long caption nobody stops to think whether it still fits, " * 4]


def captions():
    """All of them, without repeats, in one order."""
    plain = [style.format(f"{subject} {place}") for i, subject in enumerate(SUBJECTS) for place in PLACES[i % 2::2]
             for style in STYLES[i % 3:i % 3 + 2]]
    groups = [plain, WORDS, CONTRACTIONS, NUMBERS, PUNCTUATION, EMOJI, CJK, ACCENTS, HTML, SPACES, SPECIAL, LONG]
    return list(dict.fromkeys(text for group in groups for text in group))
