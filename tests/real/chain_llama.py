"""A language model for llama.cpp that says what it is told to: a table of which token follows which, as a GGUF file.

The network is a real llama of one layer whose attention and feed-forward weights are zero. What is left is
``logits = output * norm(embedding)``: with an embedding of one hot row for each token, ``output`` is the table.
The chat template chooses the first token by what the last message says, so that a test can order an answer. Bytes of
characters that are no token of their own are tokens (SentencePiece's byte fallback), as in every llama.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

#: What is said to a last message with this word in it, piece by piece; "" to any other. No piece occurs twice.
ANSWERS = {
    "": ("Good", " day", ",", " this", " line", " is", " answered", " by", " a real", " server."),
    "price": ("That", " costs", " ☎5", " monthly."),
    "joke": ("<think>", " He", " wants", " one</", "think>", "No", " jokes", " here."),
    "count": (" one", " two", " three", " four", " five", " six", " seven", " eight"),
}
#: This one has no end.
ENDLESS = "count"
#: The same where the request offers tools: one call, and words with two calls. Pieces end at |.
CALLS = {
    "sales": '<tool_call>|\n{|"name": "transfer"|, "arguments": |{"to": |"sales"}|}\n|</tool_call>',
    "everybody": 'One| moment.|\n<tool_call>|\n{"name"|: "transfer"|, "arguments"|: {"to": "sales"}}|\n</tool_call>|'
    '\n<tool_call>\n|{"name": |"transfer"|, "arguments": {"to": |"support"}|}\n</tool_call>',
}

_CONTEXT = 65536
_HEAD = 32
#: Logits differ by this times the root of the width.
_SURE = 4.0

TEMPLATE = """
{%- if tools %}{{ '<|system|>Tools: ' }}
{%- for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|end|>' }}
{%- endif %}
{%- for message in messages %}
{{- '<|' + message.role + '|>' }}
{%- if message.reasoning_content %}{{ '<think>' + message.reasoning_content + '</think>' }}{% endif %}
{%- if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}' }}
{{- '\\n</tool_call>' }}
{%- endfor %}
{{- '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>' }}
{%- set last = messages[-1] %}
CHOICES
{%- endif %}
"""


class Vocabulary:
    """Pieces of text and what each is followed by."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.kinds: list[TokenType] = []
        self.next: dict[int, int] = {}

    def add(self, piece: str, kind: TokenType = TokenType.NORMAL) -> int:
        self.pieces.append(piece)
        self.kinds.append(kind)
        return len(self.pieces) - 1

    def chain(self, first: int, pieces: Sequence[str], last: int | None) -> None:
        """Own tokens for ``pieces``, said one after the other after ``first``; ``last`` None: again and again."""
        said = [self.add(piece.replace(" ", "▁")) for piece in pieces]
        for before, after in itertools.pairwise([first, *said]):
            self.next[before] = after
        self.next[said[-1]] = said[0] if last is None else last


def vocabulary() -> tuple[Vocabulary, str]:
    """The tokens and the chat template."""
    known = Vocabulary()
    known.add("<unk>", TokenType.UNKNOWN)
    known.add("<s>", TokenType.CONTROL)
    end = known.add("</s>", TokenType.CONTROL)
    octets = [known.add(f"<0x{octet:02X}>", TokenType.BYTE) for octet in range(256)]
    for name in ("system", "user", "end"):
        known.add(f"<|{name}|>", TokenType.CONTROL)
    known.add("▁")
    choices = []
    for word, calls in CALLS.items():
        first = known.add(f"<|{word}|>", TokenType.CONTROL)
        known.chain(first, calls.split("|"), end)
        choices.append((f"tools and last.role == 'user' and '{word}' in last.content", f"<|{word}|>"))
    for word, answer in ANSWERS.items():
        first = known.add(f"<|{word or 'assistant'}|>", TokenType.CONTROL)
        known.chain(first, answer, None if word == ENDLESS else end)
        if word:
            choices.append((f"'{word}' in (last.content | string)", f"<|{word}|>"))
    _as_octets(known, octets)
    chosen = "".join(
        f"{{%- {'elif' if number else 'if'} {condition} %}}{{{{ '{first}' }}}}\n"
        for number, (condition, first) in enumerate(choices)
    )
    return known, TEMPLATE.replace("CHOICES\n", f"{chosen}{{%- endif %}}\n")


def _as_octets(known: Vocabulary, octets: list[int]) -> None:
    """A piece beyond ASCII is said byte by byte, as a model says a character it has no token for."""
    for token, piece in enumerate(known.pieces):
        if known.kinds[token] == TokenType.NORMAL and not piece.replace("▁", "").isascii():
            path = [octets[octet] for octet in piece.replace("▁", " ").encode()]
            before = next(each for each, after in known.next.items() if after == token)
            for one, other in itertools.pairwise([before, *path, known.next.pop(token)]):
                known.next[one] = other


def write(path: Path) -> None:
    """A GGUF of about 2.5 MB."""
    known, template = vocabulary()
    count = len(known.pieces)
    width = -(-count // 64) * 64
    model = GGUFWriter(path, "llama")
    model.add_name("chain")
    model.add_context_length(_CONTEXT)
    model.add_embedding_length(width)
    model.add_block_count(1)
    model.add_feed_forward_length(_HEAD)
    model.add_head_count(width // _HEAD)
    model.add_head_count_kv(1)
    model.add_layer_norm_rms_eps(1e-5)
    model.add_rope_dimension_count(_HEAD)
    model.add_vocab_size(count)
    model.add_tokenizer_model("llama")
    model.add_token_list(known.pieces)
    model.add_token_scores([-float(len(known.pieces))] * count)
    model.add_token_types(known.kinds)
    model.add_bos_token_id(1)
    model.add_eos_token_id(2)
    model.add_unk_token_id(0)
    model.add_add_bos_token(True)
    model.add_add_space_prefix(False)
    model.add_chat_template(template)
    table = np.zeros((count, width), np.float32)
    for before, after in known.next.items():
        table[after, before] = _SURE
    model.add_tensor("token_embd.weight", np.eye(count, width, dtype=np.float32))
    model.add_tensor("output.weight", table)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        model.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    for name, rows, columns in (
        ("attn_q", width, width),
        ("attn_k", _HEAD, width),
        ("attn_v", _HEAD, width),
        ("attn_output", width, width),
        ("ffn_gate", _HEAD, width),
        ("ffn_up", _HEAD, width),
        ("ffn_down", width, _HEAD),
    ):
        model.add_tensor(f"blk.0.{name}.weight", np.zeros((rows, columns), np.float32))
    model.write_header_to_file()
    model.write_kv_data_to_file()
    model.write_tensors_to_file()
    model.close()
