"""redis-cli, as people use it: one command, a script, RESP3, `--pipe`, and its built-in modes."""

import subprocess
import uuid

import case as t
import outage
from case import PORT, REDIS_PORT, THROUGH, case, fresh, held, same

TOKEN = t.WORKER_TOKEN.decode()


def cli(*words, text=None, port=PORT):
    """What redis-cli prints for one command."""
    done = subprocess.run(
        ["redis-cli", "-p", str(port), *words],
        input=text, capture_output=True, text=True, timeout=t.DEADLINE,
    )  # fmt: skip
    return (done.stdout + done.stderr).strip()


@case
def the_life_of_a_lock():
    key = fresh()
    same(cli("SET", key, TOKEN, "NX", "EX", "20"), "OK", "acquire")
    held(key, TOKEN)
    same(cli("SET", key, "94:other", "NX", "EX", "20"), "", "second acquire")
    same(cli("GET", key), TOKEN, "GET")
    same(cli("EXPIRE", key, "30"), "1", "EXPIRE")
    same(cli("TTL", key), "-1" if THROUGH else "30", "TTL")
    same(cli("DEL", key), "1", "DEL")
    t.free(key)


@case
def the_same_in_resp3():
    key = fresh()
    same(cli("-3", "SET", key, TOKEN, "NX", "PX", "20000"), "OK", "acquire")
    held(key, TOKEN)
    same(cli("-3", "--no-raw", "SET", key, "94:other", "NX"), "(nil)", "second acquire")
    same(cli("-3", "--json", "MGET", key, "absent:key"), f'["{TOKEN}",null]', "MGET")


@case
def the_same_command_again_by_a_new_connection():
    key, other = fresh(), fresh()
    words = ["SET", key, TOKEN, "NX", "EX", "20"]
    same(cli(*words), "OK", "acquire by a connection that ends at once")
    # SPEC 3: nothing shows that the OK arrived, so the same unique token again is the same grant.
    # Not so with a token that is not unique, nor once another byte came from the connection.
    if THROUGH:
        # It is the same grant from the moment on that Lockside has seen the connection end.
        t.until(lambda: cli(*words) == "OK", "the same token is granted again")
    else:
        same(cli(*words), "", "the same token again")
    held(key, TOKEN)
    words = ["SET", other, "1", "NX", "EX", "20"]
    same([cli(*words), cli(*words)], ["OK", ""], "a constant token twice")
    key = fresh()
    out = cli(text=f"SET {key} {TOKEN} NX EX 20\nPING\n")
    same(out.splitlines(), ["OK", "PONG"], "acquire, and a sign of life")
    same(cli("SET", key, TOKEN, "NX", "EX", "20"), "", "the same token after that")


@case
def a_script_from_a_file_of_the_caller():
    key = fresh()
    cli("SET", key, TOKEN, "NX", "EX", "20")
    script = (
        "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0"
    )
    same(cli("EVAL", script, "1", key, "94:other"), "0", "a stranger's token")
    held(key, TOKEN)
    same(cli("EVAL", script, "1", key, TOKEN), "1", "the owner's token")
    t.free(key)


@case
def inline_commands_on_standard_input():
    key = fresh()
    out = cli(text=f"SET {key} {TOKEN} NX EX 20\nGET {key}\nMULTI\nDEL {key}\nEXEC\n")
    same(out.splitlines(), ["OK", TOKEN, "OK", "QUEUED", "1"], "replies")


@case
def pipe_mode():
    keys = [fresh() for _ in range(50)]
    words = [["SET", key, TOKEN, "NX", "EX", "20"] for key in keys]
    body = "".join(f"*{len(w)}\r\n" + "".join(f"${len(x)}\r\n{x}\r\n" for x in w) for w in words)
    out = cli("--pipe", text=body)
    same(out.splitlines()[-1], "errors: 0, replies: 50", "--pipe")
    for key in keys:
        held(key, TOKEN)


@case
def built_in_modes():
    for mode in (
        ["--scan", "--pattern", "none:*"],
        ["--bigkeys"],
        ["--memkeys"],
        ["INFO", "server"],
    ):
        text, direct = cli(*mode), cli(*mode, port=REDIS_PORT)
        same("error" in text.lower(), "error" in direct.lower(), " ".join(mode))
    same(cli("--raw", "--no-auth-warning", "PING"), "PONG", "PING")
    same(cli("-n", "3", "SET", "plain:key", "v"), "OK", "another database")
    same(cli("-n", "3", "GET", "plain:key"), "v", "another database")


class Session:
    """A redis-cli that stays, reads commands from its standard input, and answers in one line."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["redis-cli", "-p", str(PORT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        same(self("PING"), "PONG", "PING")

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")


class Outage(outage.Library):
    """A person at a redis-cli: `SET NX`, `GET`, `EXPIRE`, and the usual script for the release."""

    RELEASE = (
        "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0"
    )

    def client(self):
        return Session()

    def take(self, session, name):
        token = str(uuid.uuid4())
        answer = session(f"SET {name} {token} NX EX 20")
        same(answer in ("OK", ""), True, f"the answer to SET NX ({answer})")
        return (session, name, token) if answer else None

    def owns(self, lock):
        session, name, token = lock
        return session(f"GET {name}") == token

    def extend(self, lock):
        session, name, _ = lock
        return session(f"EXPIRE {name} 30") == "1"

    def release(self, lock):
        session, name, token = lock
        same(session(f'EVAL "{self.RELEASE}" 1 {name} {token}'), "1", "release")

    def token(self, lock):
        return lock[2]


outage.stories(Outage())


t.run()
