"""The recipe values of the filter. Their checks are in `tasks/filters/checks.py`.

All of them hold for Chinese: characters are counted, white space left out, never words between spaces. "ChatLM" marks a value taken from that
system's cleaning, "Gopher" one of Rae et al. 2021, table A1, in characters instead of words.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.artifacts.stage import Identity
from tasks.text.quality import TRANSLATION

Language = Literal["zh", "ja", "ko", "en", "ru", "other"]
Personal = Literal["email", "id_number", "bank_card", "phone", "ip", "plate", "account"]
Mode = Literal["mask", "drop", "keep"]


class FilterRules(Identity):
    """Thresholds. Lengths are characters without white space; shares are 0 to 1."""

    # lengths
    min_document: int = Field(15, ge=0, le=1_000_000, description="Shortest document, in characters (ChatLM: content of 15)")
    max_document: int = Field(200_000, ge=1, le=100_000_000, description="Longest document, in characters")
    min_prompt: int = Field(
        2, ge=0, le=10_000, description="Shortest first question, in characters (ChatLM: 3, which loses 你好)"
    )
    max_prompt: int = Field(20_000, ge=1, le=10_000_000, description="Longest question, in characters (ChatLM: 320 to 512)")
    min_answer: int = Field(
        2,
        ge=0,
        le=10_000,
        description="Shortest last answer, in characters (ChatLM: 10 to 15, which loses short factual answers)",
    )
    max_answer: int = Field(
        20_000, ge=1, le=10_000_000, description="Longest answer, a rejected one too, in characters (ChatLM: 320 to 520)"
    )
    max_dialogue: int = Field(20_000, ge=1, le=10_000_000, description="Longest dialogue with all its turns, in characters")
    min_exchanges: int = Field(1, ge=1, le=1000, description="Fewest questions with an answer in a dialogue, in exchanges")
    max_exchanges: int = Field(1000, ge=1, le=100_000, description="Most questions with an answer in a dialogue, in exchanges")
    too_long: Literal["split", "drop", "cut"] = Field(
        "split",
        description="Beyond the limits. split: a document becomes several where it is read, a dialogue is dropped; drop: the row is dropped; cut: "
        "documents, questions and answers end where the last sentence within the limit does (ChatLM). A text file always becomes several",
    )
    # languages and scripts
    languages: list[Language] = Field(
        ["zh"],
        min_length=1,
        description="Languages, told by script, of rows that may stay; those in zh also need the shares of Chinese characters below",
    )
    min_han_document: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Least share of Chinese characters in a document; code-heavy articles have 0.2 to 0.5, prose 0.6 and more",
    )
    min_han_dialogue: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Least share of Chinese characters among a dialogue's letters; a question answered by code has 0.2",
    )
    max_kana: float = Field(
        0.5, ge=0, le=100, description="Most kana for each Chinese character; Japanese has 1.4, Chinese about Japan up to 0.3"
    )
    max_hangul: float = Field(0.5, ge=0, le=100, description="Most Hangul for each Chinese character")
    max_latin: float = Field(1.0, ge=0, le=1, description="Most Latin letters, as a share of the characters; 1: any")
    max_digits: float = Field(
        0.5, ge=0, le=1, description="Most digits in a document, as a share of the characters; tables of numbers have 0.6"
    )
    # repetition, in documents and in each answer by itself
    max_repeated_lines: float = Field(
        0.3, ge=0, le=1, description="Most of a text, as a share, in lines that stood in it before (Gopher: 0.3 of the lines)"
    )
    max_repeated_paragraphs: float = Field(
        0.3, ge=0, le=1, description="Most of a text, as a share, in paragraphs that stood in it before (Gopher: 0.3)"
    )
    max_repeated_ngrams: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Most of a text, as a share, in runs of 10 characters that stood in it before; statutes reach 0.5, loops 0.9",
    )
    max_commonest_ngram: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Most of a text of 50 characters or more, in its commonest run of 4 characters; lists of like lines have 0.35 (Gopher: 0.2)",
    )
    max_echo: float = Field(
        0.95,
        ge=0,
        le=1,
        description="Most likeness of a question and its answer, as the share of pairs of neighbouring characters that they have in common",
    )
    # signs and markup
    max_punctuation: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Most punctuation and signs in a document, as a share of the characters; prose has 0.1, code-heavy articles 0.3",
    )
    max_ellipsis_lines: float = Field(
        0.3, ge=0, le=1, description="Most lines of a document that end in …, as a share: teasers of longer texts (Gopher: 0.3)"
    )
    max_list_lines: float = Field(
        1.0, ge=0, le=1, description="Most lines of a document that are items of a list, as a share; 1: any (Gopher: 0.9)"
    )
    max_markup: float = Field(
        0.03, ge=0, le=1, description="Most HTML tags and entities outside of code, as a share of the characters"
    )
    max_mojibake: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Most of a text in signs of a wrong encoding (�, 锟斤拷, Ã¤, 鐨勬), as a share of the characters",
    )
    # what it is about
    boilerplate: Literal["cut", "drop", "keep"] = Field(
        "cut",
        description="Calls to a page's readers (扫码领取…) and notices of its site (转载请注明…): cut these sentences, drop the row, or keep it",
    )
    max_boilerplate: float = Field(
        0.3, ge=0, le=1, description="Most of a text that may be cut as boilerplate, as a share; beyond it the row goes"
    )
    translations: Literal["drop", "keep"] = Field(
        "keep", description="Dialogues that ask for a translation (ChatLM drops them: a small model has no second language)"
    )
    translation_words: list[str] = Field(
        list(TRANSLATION), description="Words of a question that ask for a translation; case does not matter (ChatLM's and more)"
    )
    tables: Literal["drop", "keep"] = Field(
        "keep", description="Dialogues that ask for a table or draw one in characters (ChatLM drops them)"
    )
    table_words: list[str] = Field(["表格"], description="Words of a question that ask for a table (ChatLM's)")
    refusals: Literal["drop", "keep"] = Field("drop", description="Answers that speak as another model (作为一个AI语言模型 …)")
    blocked: list[str] = Field(
        [], description="Words that drop the row they stand in, question or answer (ChatLM: ----- for drawn tables)"
    )
    blocked_prompts: list[str] = Field([], description="Words of a question that drop its row")
    min_votes: int = Field(
        0,
        ge=0,
        le=10**9,
        description="Fewest up-votes: star of webtext2019zh, upvotes of Zhihu, score; rows that know none stay (ChatLM: 5 stars)",
    )
    # personal data and evaluation questions
    privacy: Mode = Field(
        "mask",
        description="Phone, identity, card and plate numbers, e-mail and IP addresses, QQ and WeChat accounts: mask, drop the row, keep",
    )
    privacy_kinds: dict[Personal, Mode] = Field(
        {}, description="Kind (email, id_number, bank_card, phone, ip, plate, account) → another way with it, such as ip: keep"
    )
    decontaminate: Literal["drop", "keep"] = Field(
        "drop", description="Rows with an evaluation question: drop them, or only count them"
    )
    decontaminate_share: float = Field(
        0.8, ge=0.5, le=1, description="Share of an evaluation question's characters from which a row counts as contaminated"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for what in ("document", "prompt", "answer", "exchanges"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least > most:
                raise ValueError(
                    f"min_{what} is {least} and max_{what} is {most}, so no row could stay; raise one or lower the other"
                )
        return self
