"""What is masked in free text by its form, and what is not: prose, code, configurations."""

import json
import string
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import untraced
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.run.secrets import SecretMask, mask_text, mask_values

_ALNUM = string.ascii_letters + string.digits
_NO_NUMBER = "x"  # a value of digits alone is no secret


def _of(letters, low, high=None):
    return st.text(letters, min_size=low, max_size=high or low)


SHAPES = st.one_of(
    _of(_ALNUM, 34).map("hf_".__add__),
    _of(_ALNUM + "_-", 40).map("sk-proj-".__add__),
    _of(_ALNUM, 48).map("sk-".__add__),
    st.tuples(st.sampled_from(["ghp_", "gho_", "ghs_", "github_pat_"]), _of(_ALNUM, 36)).map("".join),
    _of(_ALNUM + "_-", 20).map("glpat-".__add__),
    _of(string.ascii_uppercase + string.digits, 16).map("AKIA".__add__),
    _of(_ALNUM + "_-", 35).map("AIza".__add__),
    _of(_ALNUM, 24).map("sk_live_".__add__),
    _of(_ALNUM, 24).map("xoxb-123456789012-".__add__),
    _of(_ALNUM, 36).map("npm_".__add__),
    _of(_ALNUM + "_-", 40).map("wandb_v1_".__add__),
    _of(_ALNUM + "_-", 35).map("1234567890:AA".__add__),
    st.tuples(_of(_ALNUM, 20), _of(_ALNUM + "_-", 40), _of(_ALNUM + "_-", 43)).map(lambda p: "eyJ" + ".".join(p)),
    st.tuples(_of(_ALNUM, 22), _of(_ALNUM, 43)).map(lambda p: "SG." + ".".join(p)),
)
_BEFORE = st.sampled_from(
    ["", " ", "(", "[", "'", '"', "=", ": ", "https://h/x?y=", "토큰은 ", "a\n", "\\n", "%3D", "<", "`", "/"]
)
_AFTER = st.sampled_from(["", " ", ")", "]", "'", '"', ",", ";", "입니다", "\n", "&z=1", ">", "`"])


@pytest.mark.no_cover
@settings(max_examples=500, deadline=None)
@given(secret=SHAPES, before=_BEFORE, after=_AFTER)
def test_shapes_are_masked_between_any_delimiters(secret, before, after):
    text = before + secret + after
    assert secret not in mask_text(text)
    mask = SecretMask()
    assert secret not in mask.data(text)
    assert mask.may_change(orjson.dumps({"prediction": text}))  # or predictions would be written unmasked


def test_a_token_in_the_middle_of_an_address():
    text = "https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage"
    mask = SecretMask()
    assert mask.data(text) == "https://api.telegram.org/bot***/sendMessage"
    assert mask.may_change(orjson.dumps({"prediction": text}))


# `api_key=other_key` in code is a variable: what reads as one is not drawn
_BARE = _of(_ALNUM + "!#$%*+-./<>?@^_|~:", 8, 30).filter(
    lambda value: value[-1] not in ":," and value.strip("*.-+_" + string.ascii_lowercase)
)
_QUOTED = _of(_ALNUM + " !#$%&()*+,-./:;<=>?@[]^_{|}~가", 8, 30).filter(lambda v: v.strip() and v.strip("* "))
_LEADS = st.sampled_from(["", "env: ", "\n", "\\n", "%26"])
_NAMES = st.sampled_from(["api_key", "hub_token", "password", "client_secret", "db_pass", "accessToken", "PGPASSWORD"])
_FORMS = [
    ("{name}={value}", _BARE),
    ("--{name}={value} --lr 1", _BARE),
    ("--{name} {value} --lr 1", _BARE.filter(lambda v: v[0] != "-")),
    ("{name} = '{value}'", _QUOTED),
    ('{name}: "{value}"', _QUOTED),
    ('{{"{name}": "{value}", "lr": 1}}', _QUOTED),
    ("{{'{name}': '{value}'}}", _QUOTED),
    ("f({name}='{value}', lr=1)", _QUOTED),
    ("GET https://h/x?{name}={value}&page=2", _of(_ALNUM + "-_.~%", 8, 30)),
    ("os.environ['{name}'] = '{value}'", _QUOTED),
    ("  - {name}: {value}", _of(_ALNUM, 8, 30)),
]


@pytest.mark.no_cover
@settings(max_examples=500, deadline=None)
@given(
    data=st.data(), form=st.sampled_from(_FORMS), name=_NAMES, before=st.sampled_from(["", "env: ", "\n", "\\n", "%26"])
)
def test_assigned_values_are_masked(data, form, name, before):
    pattern, values = form
    value = data.draw(values)
    text = before + pattern.format(name=name, value=_NO_NUMBER + value)
    assert value not in mask_text(text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("PASSWORD=ab,c;d)efgh next", "PASSWORD=*** next"),
        ("password: my secret pass", "password: ***"),
        ("  db_pass: my secret pass\nlr: 1", "  db_pass: ***\nlr: 1"),
        ('password = "my secret pass", lr = 1', 'password = "***", lr = 1'),
        (r"{'api_key': 'it\'s a key 99'}", "{'api_key': '***'}"),
        (r'{"outer": "{\"token\": \"abcdefgh12345\"}"}', r'{"outer": "{\"token\": \"***\"}"}'),
        ("HF_TOKEN=my_secret_token", "HF_TOKEN=***"),
        ("TOKEN: aB3aB3aB3aB3", "TOKEN: ***"),
        ("Api key: aB3aB3aB3aB3.", "Api key: ***"),
        ("wandb.login(key='0123456789abcdef0123456789abcdef01234567')", "wandb.login(key='***')"),
        (
            "AccountName=x;AccountKey=abcdEF12345==;Suffix=a.b",
            "AccountName=x;AccountKey=***;Suffix=a.b",
        ),
        ("DRIVER=x;UID=sa;PWD=Str0ng!Passw0rd;Timeout=5", "DRIVER=x;UID=sa;PWD=***;Timeout=5"),
        ("https://h/x?access_token=abcdefgh&y=1", "https://h/x?access_token=***&y=1"),
        ("https://s3/x?X-Amz-Signature=abcdef0123&x=1", "https://s3/x?X-Amz-Signature=***&x=1"),
        ("postgres://u:p@ss@word@h/db", "postgres://***@h/db"),
        ("https://hooks.slack.com/services/T0/B0/abcdefgh", "https://hooks.slack.com/services/***"),
        ("Authorization: Token abcdefgh", "Authorization: Token ***"),
        ("{'Cookie': 'session=abcdefghij; x=y', 'a': 1}", "{'Cookie': '***', 'a': 1}"),
        ("got Bearer abcdefgh12 and Basic bWU6cGFzc3dvcmQx", "got Bearer *** and Basic ***"),
        ("('x-api-key', 'abc123def456')", "('x-api-key', '***')"),
        ('if password == "hunter2hunter2":', 'if password == "***":'),
        ('password="unterminated-secret', 'password="***'),
        (r"a=1\ntoken=abcdefgh12 b", r"a=1\ntoken=*** b"),
        ("u=https%3A%2F%2Fh%2F%3Ftoken%3Dabcdefgh12&x", "u=https%3A%2F%2Fh%2F%3Ftoken%3D***&x"),
        ("api_key=abcdefghij, x", "api_key=***, x"),
        ("-token abcdefgh12 -x 1", "-token *** -x 1"),
        ("no such file: 'abc', api_key='abcdefgh'", "no such file: 'abc', api_key='***'"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----", None),
    ],
)
def test_assignments_leave_what_is_around_them(text, masked):
    found = mask_text(text)
    assert found == masked if masked else "MII" not in found


ORDINARY = """\
Sort key: published_date
primary key: customer_id
the token: something-long
special token: <extra_id_0>
Best key: eval_rouge1_fmeasure
cache key: 2024-05-01T10:00:00
The following key is missing: encoder.block.0.layer.0.SelfAttention.q.weight
Unexpected key: decoder.embed_tokens.weight
missing keys: ['encoder.embed_tokens.weight', 'lm_head.weight']
Some weights of T5ForConditionalGeneration were not initialized: ['decoder.final_layer_norm.weight']
Special tokens have been added in the vocabulary, make sure the associated word embeddings are fine-tuned
special tokens: {'eos_token': '</s_of_a_longer_name>', 'additional_special_tokens': ['<extra_id_0>']}
{'token': 'published', 'score': 0.98, 'start': 0}
tokens per second: 12345.678, total tokens: 123456789
Token indices sequence length is longer than the specified maximum sequence length (612 > 512)
mask_token: <mask_longer_name>, sep_token: [SEPARATOR], lang_token: __korean__
num_key_value_heads=8, max_new_tokens=128, pad_token_id=0
key=lambda row: row["score"]
key='summary_text'
KeyError: 'summary_text'
KeyError: "key 'dialogue_text' not in columns"
first pass: validation, forward_pass=checkpointed, second pass = verification
the secret is out: nobody knows
basic tokenization is done, Basic tokenizer loaded
bearer certificates are not asked for
no authorization required for localhost
Cookies: off
passing key words on
loading file tokenizer.json, tokenizer_config.json
http://localhost:8080/path@v1
http://example.com:6006/#scalars
git@github.com:user/repository.git
Loading opus-mt-sk-translation-corpus and sk-learn-pipeline-version
commit 0123456789abcdef0123456789abcdef01234567
fingerprint: 5a8f3c0e9b7d2416
Saving model checkpoint to outputs/checkpoint-500
{'loss': 2.345, 'grad_norm': 1.25, 'learning_rate': 4.9e-05, 'epoch': 0.5}
key-value cache: enabled, key/value heads: 8
a keyed list, the keyboard, a monkey: bananas, turkey=delicious
Using a slow tokenizer=sentencepiece for tokenization=whitespace
author: somebody-else, authentic=certainly
secretary: somebody-else, passage: something-long
compass=northwest, bypass: everything
#Person1#: What is the key? #Person2#: The key: patience and practice.
열쇠는 key: 인내심입니다, token: 안녕하세요여러분
    tokenizer.pad_token = tokenizer.eos_token
    model.config.eos_token_id = tokenizer.eos_token_id
    rows = sorted(rows, key=lambda r: r["score"])
    rows = sorted(rows, key=itemgetter("published_date"), reverse=True)
    best = max(scores, key=scores.__getitem__)
    raise KeyError(f"unknown key: {key!r}")
    token = self.tokens.next_token(
    auth = _find_or_prompt_for_key(
    token = candidates[index]
    next_token = torch.argmax(logits, dim=-1)
    next_tokens = next_tokens * unfinished_sequences
    def f(self, token: Optional[str] = None, key: Callable = None):
    def login(user: str, password: str | None = None) -> None:
    password=os.environ["DB_PASSWORD"],
    token=os.environ.get("HF_TOKEN"),
    token = os.getenv("HUGGING_FACE_TOKEN")
    api_key=self.api_key,
    use_auth_token=use_auth_token,
    hub_token=args.hub_token,
    token=token_or_path,
    access_token=response.get("access_token"),
    token = token_or_path if token is None else token
    if key == "attention_mask":
    if key == "model-index" or key != value.name:
    if token == tokenizer.eos_token:
    assert key in ("input_ids", "attention_mask")
    for key, value in self.named_parameters():
    key = f"{prefix}_{name}"
    key = (self.endpoint, self.token, bucket_id)
    encoded[key] = [self.pad_token_type_id] * difference
    merged[key] = {**earlier, **row}
    return tokenizer(text, key=config.text_key)
    past_key_values = outputs.past_key_values
    key_states = self.key_proj(hidden_states)
    key_states = key_states.transpose(1, 2)
    key: torch.Tensor,
    query, key, value = map(split_heads, (query, key, value))
    "key": self.key_value_projection,
    def encode(text, add_special_tokens=True, skip_special_tokens=False):
    os.environ["TOKENIZERS_PARALLELISM"] = "something"
TOKENIZERS_PARALLELISM=something
PWD=/home/someone/project
""".splitlines()


@pytest.mark.parametrize("text", ORDINARY)
def test_prose_and_code_stay_as_they_are(text):
    assert mask_text(text) == text


def test_so_does_what_a_traceback_through_the_libraries_may_show():
    """Their code, line by line: 20 000 lines, all but three that tell where a token would stand."""
    import accelerate
    import transformers

    folder, other = Path(transformers.__file__).parent, Path(accelerate.__file__).parent
    files = [folder / "trainer.py", folder / "trainer_seq2seq.py", folder / "tokenization_utils_base.py"]
    files += [folder / "generation" / "utils.py", folder / "training_args.py", folder / "modeling_utils.py"]
    files += [*(folder / "models" / "t5").glob("*.py"), other / "accelerator.py", other / "data_loader.py"]
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 20_000
    changed = [line for line in lines if mask_text(line) != line]
    assert len(changed) <= 3, changed


def _dumps(tmp_path):
    from transformers import BartConfig, GenerationConfig, LlamaConfig, MBartConfig, Seq2SeqTrainingArguments, T5Config

    arguments = Seq2SeqTrainingArguments(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, run_name="key-words", label_names=["labels"]
    )
    given = {k: v for k, v in arguments.to_dict().items() if v != f"<{k.upper()}>"}
    yield given, str({name: value for name, value in vars(arguments).items() if name != "distributed_state"})
    for config in (T5Config(), BartConfig(), MBartConfig(), LlamaConfig(), GenerationConfig(eos_token_id=[1, 2])):
        yield config.to_dict(), str(config)


def _tokenizers():
    from transformers import LlamaTokenizer, MBartTokenizer, RobertaTokenizer, T5Tokenizer

    for kind in (T5Tokenizer, MBartTokenizer, LlamaTokenizer, RobertaTokenizer):
        made = kind()
        yield made.init_kwargs, repr(made)


@pytest.mark.no_cover
def test_arguments_configurations_and_tokenizers_lose_nothing(tmp_path):
    import yaml

    from hf_monitor.run.rows import plain

    for values, shown in [*_dumps(tmp_path), *_tokenizers()]:
        values = plain(values)
        assert mask_values(values) == values
        options = [f"--{name}={value}" for name, value in values.items()]
        pairs = [text for name, value in values.items() for text in (f"--{name}", str(value))]
        shapes = [json.dumps(values), json.dumps(values, indent=2), repr(values), yaml.safe_dump(values)]
        for text in (*shapes, shown, " ".join(options), " ".join(pairs), json.dumps(json.dumps(values))):
            assert mask_text(text) == text
        assert mask_values(options) == options
        assert mask_values(pairs) == pairs
        mask = SecretMask()
        mask.learn(values)  # nor is any of their values taken for a secret
        assert mask._values == frozenset()


_LONG = ["key=", "a=a=", "://a:", "eyJaaaaa-", "token: ", "key=a(", "password='", 'key="\\"', "--token ", "'key', '"]
_LONG += [
    "Authorization: a ",
    "Cookie: a=",
    "-----BEGIN PRIVATE KEY-----",
    "hf_",
    "sk-",
    "x.key=x.y",
    "?sig=",
    "key = ",
]
_LONG += ["a", "_", "A", "1", "Bearer ", "eyJ.", "SG.", "password: ", "a@://", "\\", "((", "key=f'{"]


@pytest.mark.slow
def test_a_long_text_is_read_once():
    """A megabyte takes 2 seconds at most on a slow core; a search that goes back would take hours for these."""
    code = (
        "from hf_monitor.run.secret_names import looks_random\n"
        "import time\n"
        "from hf_monitor.run.secrets import mask_text, SecretMask\n"
        f"for part in {_LONG!r}:\n"
        "    text = part * (100_000 // len(part))\n"
        "    mask_text(text + ' https://a@b'); SecretMask(['correct-horse']).values({'token': [text, {text: text}]})\n"
        "    looks_random(text)\n"
        "print(time.process_time())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, env=untraced.ENVIRONMENT, timeout=120
    )
    assert float(done.stdout) < 16  # of a core, whatever else runs; 4 are usual
