"""Formulas as docstrings write them, in Unicode, become LaTeX; the words between them stay words.

`L = Σ_c p_c · log q̂_c, one value per sample.` → `$L=\\sum_{c}p_{c}\\cdot\\log\\hat{q}_{c}$, one value per sample.`
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

SIGNS = {
    "·": r"\cdot ", "×": r"\times ", "−": "-", "∓": r"\mp ", "±": r"\pm ", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ",
    "∈": r"\in ", "∉": r"\notin ", "∝": r"\propto ", "≈": r"\approx ", "~": r"\sim ", "←": r"\leftarrow ",
    "→": r"\rightarrow ", "↓": r"\downarrow ", "↑": r"\uparrow ", "∞": r"\infty ", "∇": r"\nabla ", "∂": r"\partial ",
    "∘": r"\circ ", "∠": r"\angle ", "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
    "∪": r"\cup ", "∩": r"\cap ", "⊙": r"\odot ", "|": r"\vert ", "…": r"\ldots ", "½": r"\tfrac{1}{2}", "%": r"\%",
    "Σ": r"\sum ", "Π": r"\prod ", "{": r"\{", "}": r"\}", "'": r"^{\prime}", "&": r"\&", "#": r"\#", "⊕": r"\oplus ",
}  # fmt: skip
ACCENTS = {"\u0302": "hat", "\u0304": "bar", "\u0303": "tilde", "\u0307": "dot"}
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀᵏⁿⁱᵖᵗˢ", "0123456789+-Tknipts", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₖₙₘₛₜ", "0123456789+-aeknmst", strict=True))
NAMED = {"exp", "log", "max", "min", "cos"}
FUNCTIONS = NAMED | {
    "softmax", "softplus", "sigmoid", "argmax", "argmin", "mean", "std", "clip", "unit", "norm", "pool", "flatten",
    "sort", "huber", "tanh", "relu", "decode", "var", "sg", "rank", "sign", "erf", "diag", "BN", "LN", "CE", "KL", "JS",
    "MLP", "CAM", "MMD", "HCL", "ABF", "IoU",
}  # fmt: skip
MATHEMATICAL = re.compile(
    f"[=+*/^_<>Α-Ωα-ω‖√ℓ\u0302-\u0307{re.escape(''.join({*SIGNS, *RAISED, *LOWERED} - set('%…')))}]"
)
PROSE = re.compile(r"""[("“]*[A-Za-z][A-Za-z'’-]*[a-z]['’]?[)"”]*[,.;:]*""")
CODE = re.compile(
    r"""[(]*("[a-z_0-9]+"|(?!(?:mean|softmax|std|pool)_)(?:[a-z]{3,}(?:_[a-z0-9]+)*_[a-z]{3,}|[a-z]{4,}_[a-z]{2,}|by_[a-z]{3,})|[a-z_]+=(?:"[^"]*"|False|True|None))[)]*[,.;:]*"""
)
OPERATORS = "=+−·×/≤≥<>∝∈≠~|‖←→"
NUMBER = re.compile(r"\(?[\d.,]+[),.;:]*")


def statements(text: str) -> Iterator[str]:
    """The parts that stand on lines of their own: what two spaces divide, and what a line that ends like one ends."""
    for paragraph in text.split("\n\n"):
        said = ""
        for line in re.split(r"\n|(?<=[;,.:])  +", paragraph.strip()):
            ends = said.endswith((";", ".", ":")) and not opened(said)
            if said and (ends or re.match(r"L =|[\"“]\w+[\"”]:", line.strip())):
                yield said
                said = ""
            said = f"{said} {line.strip()}".strip()
        yield said


def markdown(text: str) -> str:
    """A statement as Markdown with its mathematics between dollars."""
    found = ""
    for mathematical, part in parts(text):
        apart = found and not found.endswith(("(", "[")) and part[0] not in ",.;:)]"
        found += " " * bool(apart) + (f"${latex(part)}$" if mathematical else escape(part))
    return found


def escape(text: str) -> str:
    """Words in which Markdown finds nothing; what is a name of code is set as such."""
    words = []
    for word in text.split(" "):
        code = None if "`" in word else CODE.fullmatch(word)
        words.append(
            word
            if "`" in word
            else word.replace(code[1], f"`{code[1]}`")
            if code
            else re.sub(r"([\\*_<>\[\]|$])", r"\\\1", word)
        )
    return " ".join(words)


def parts(text: str) -> list[tuple[bool, str]]:
    """The statement's runs as (mathematics?, text)."""
    words = split("".join(map(decomposed, text)))
    kinds = [kind(word) for word in words]
    runs: list[tuple[bool, str]] = []
    for i, (sort, word) in enumerate(zip(kinds, words, strict=True)):
        before, inside = runs[-1] if runs else (False, "")
        within = before and opened(inside)
        if sort is None:  # it is mathematics between signs, in an open bracket, or before what it is applied to
            applied = word.strip("([") in FUNCTIONS and i + 1 < len(words) and kinds[i + 1] is True
            follows = before and inside[-1] in OPERATORS
            leads = i + 1 < len(words) and words[i + 1][0] in OPERATORS and word[-1] not in ",.;:"
            sort = bool(within or applied or follows or leads)
        sort = sort or bool(within and word.endswith(")") and CODE.fullmatch(word) is None)
        if runs and before == sort and (not sort or within or inside[-1] not in ",.;:"):
            runs[-1] = (sort, f"{inside} {word}")
        else:
            runs.append((sort, word))
    return [piece for sort, run in runs for piece in (trimmed(run) if sort else [(False, run)])]


def decomposed(character: str) -> str:
    """A letter and its accent apart."""
    pair = unicodedata.normalize("NFD", character)
    return pair if pair[-1] in ACCENTS else character


def opened(text: str) -> bool:
    """Whether a bracket is still open."""
    return any(text.count(left) > text.count(right) for left, right in ("()", "[]", "⟨⟩"))


def trimmed(run: str) -> list[tuple[bool, str]]:
    """Mathematics without what belongs to the sentence: the stop after it, and brackets that are closed elsewhere."""
    body, head, tail = run, "", ""
    while body.endswith((",", ".", ";", ":")) or (body.endswith(")") and body.count(")") > body.count("(")):
        body, tail = body[:-1], body[-1] + tail
    while body.startswith("(") and body.count("(") > body.count(")"):
        body, head = body[1:], head + "("
    return [(sort, piece) for sort, piece in ((False, head), (True, body), (False, tail)) if piece]


def split(text: str) -> list[str]:
    """Words; what stands in braces is one."""
    return re.findall(r"(?:\{[^}]*\}|\S)+", text)


def kind(word: str) -> bool | None:
    """True for mathematics, False for words, None for what may be either."""
    core = word.strip("()[],.;:!")
    if CODE.fullmatch(word) or "`" in word or re.fullmatch(r"[A-Za-z]{3,}\d+", core):
        return False
    if core in FUNCTIONS or NUMBER.fullmatch(word) or core in ("a", "A", "I", "or", "if", ""):
        return None
    if PROSE.fullmatch(word) or re.fullmatch(r"[A-Z]{2,}(-[A-Z]+)*s?", core):
        return False
    return bool(MATHEMATICAL.search(word) or len(core) == 1 or re.search(r"\w[(\[]\w|\d", word))


def latex(text: str) -> str:
    """A run of mathematics as LaTeX."""
    found, rest = "", text
    while rest:
        piece, rest = atom(rest, spaced=found.endswith(" "))
        found += piece
    return found.strip()


def atom(text: str, spaced: bool) -> tuple[str, str]:
    """The LaTeX of what the text begins with, and the text after it."""
    if match := re.match(r"(?!mean_|softmax_|std_)[a-z]{3,}_[a-z]{3,}", text):  # an option's name
        return f"\\operatorname{{{match[0].replace('_', chr(92) + '_')}}}", text[match.end() :]
    if match := re.match(r"([A-Za-z]+|[Α-Ωα-ωℓ])([\u0302-\u0307]?)", text):
        letters, accent = match.groups()
        if accent and len(letters) > 1:  # it is over the last letter
            return letter(letters[:-1]), text[len(letters) - 1 :]
        said = letter(letters)
        return (f"\\{ACCENTS[accent]}{{{said}}}" if accent else said), text[match.end() :]
    if match := re.match(f"[{''.join(RAISED)}]+", text):
        return f"^{{{''.join(RAISED[c] for c in match[0])}}}", text[match.end() :]
    if match := re.match(f"[{''.join(LOWERED)}]+", text):
        return f"_{{{''.join(LOWERED[c] for c in match[0])}}}", text[match.end() :]
    if re.match(r"'s\b", text):
        return r"\text{'s}", text[2:]
    if text[0] == "^" and text[1:2] in RAISED:
        return "", text[1:]
    if text[0] in "_^" and len(text) > 1:
        inside, after = index(text[1:])
        letters = re.fullmatch(r"[A-Za-z]{2,3}", inside) and inside not in FUNCTIONS
        return f"{text[0]}{{{inside if letters else latex(inside)}}}", after
    if text[0] == "√":
        inside, after = index(text[1:])
        return f"\\sqrt{{{latex(inside)}}}", after
    if text[0] == "‖":
        return (r"\parallel " if spaced and text[1:2] == " " else r"\Vert "), text[1:]
    if text[0] in "↓↑":
        return f"^{{{SIGNS[text[0]]}}}", text[1:]
    return SIGNS.get(text[0], text[0]), text[1:]


def letter(letters: str) -> str:
    """One letter is a quantity, several are a name."""
    if letters == "Σ" or letters == "Π" or len(letters) == 1:
        return SIGNS.get(letters, letters)
    return f"\\{letters} " if letters in NAMED else f"\\operatorname{{{letters}}}"


def index(text: str) -> tuple[str, str]:
    """What a sub- or superscript or a root takes: a bracket's inside, or the letters and digits; and what follows."""
    if text[0] in "{(":
        depth = 0
        for i, c in enumerate(text):
            depth += (c in "{(") - (c in "})")
            if not depth:
                return text[1:i], text[i + 1 :]
    match = re.match(r"[−-]?[·*]?[A-Za-zΑ-Ωα-ωℓ0-9\u0302-\u0307]+'*", text)
    inside, after = (match[0], text[match.end() :]) if match else (text[0], text[1:])
    if after.startswith("_"):  # an index of the index
        deeper, after = index(after[1:])
        inside += f"_{{{deeper}}}"
    return inside, after
