"""Who may use Redis, and how it is reached: passwords, ACL users, TLS, database numbers."""

import subprocess

from lab import free_port, orderly
from redis_server import MEMORY, Redis, running
from runner import case
from tools import APPENDED, START

TABLE = "acme/shop/t"
# What a gateway needs; the keys of the library and its own.
ACL = "~supertable:* ~mountable:* +@all -@dangerous +info"


def settings(lab, **redis):
    """Writes the settings of Redis into the configuration that the lab's binary reads."""
    head = lab.config.read_text().split("[redis]")[0]
    lines = "".join(f'{name} = "{value}"\n' for name, value in redis.items())
    lab.config.write_text(f"{head}[redis]\n{lines}")
    lab.extra = {"MOUNTABLE_CONFIG": str(lab.config)}


def works(env, lab):
    """One append through the mount, read by the engine."""
    lab.init()
    lab.load(TABLE, START, "id")
    lab.start()
    env.guest.check(f"echo 6,fay,60 >> {lab.mount()}/acme/shop/t.csv")
    lab.expect(TABLE, APPENDED)
    lab.unmount()
    lab.stop()


def refused_quickly(lab, word):
    """The engine refuses, says why, and does not wait for what cannot come."""
    done = lab.refused("cat", TABLE)
    assert word in done.err and done.seconds < 20, done
    return done


@case(group="redis")
def a_password_and_a_database_number(env):
    redis = Redis(env.work / "labs" / "redis_auth-redis", MEMORY,
                  ("--requirepass", "s3cret"), "s3cret").start()  # fmt: skip
    with running(redis):
        lab = env.own_lab("redis_auth", catalog=f"redis://127.0.0.1:{redis.port}/5")
        settings(lab, password="s3cret")
        works(env, lab)
        assert b"db5:" in redis.ask("INFO", "keyspace"), redis.ask("INFO", "keyspace")
        assert b"db0:" not in redis.ask("INFO", "keyspace")
        settings(lab, password="wrong")
        done = refused_quickly(lab, b"credentials")
        assert b"wrong" not in done.err.replace(b"wrong number", b""), done
        settings(lab)
        refused_quickly(lab, b"credentials")


@case(group="redis")
def an_acl_user_with_the_rights_that_the_docs_name(env):
    redis = Redis(env.work / "labs" / "redis_acl-redis", MEMORY,
                  ("--user", "lake", "on", ">pa55", *ACL.split(),
                   "--user", "default", "off")).start()  # fmt: skip
    with running(redis):
        lab = env.own_lab("redis_acl", catalog=redis.url)
        settings(lab, username="lake", password="pa55")
        works(env, lab)
        settings(lab, username="nobody", password="pa55")
        refused_quickly(lab, b"credentials")


def certificates(directory):
    """A certificate authority of our own, a server certificate and a client certificate."""
    script = """
        set -e
        curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        openssl req -x509 $curve -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt
        for who in server client; do
            openssl req $curve -subj /CN=$who -keyout $who.key -out $who.csr
            printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' > $who.ext
            openssl x509 -req -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                -extfile $who.ext -out $who.crt
        done
    """
    done = subprocess.run(["bash", "-c", script], cwd=directory, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@case(group="redis")
def tls_with_a_certificate_authority_of_our_own(env):
    base = env.work / "labs" / "redis_tls-redis"
    base.mkdir(parents=True)
    certificates(base)
    tls = free_port()
    redis = Redis(base, MEMORY,
                  ("--tls-port", str(tls), "--tls-cert-file", str(base / "server.crt"),
                   "--tls-key-file", str(base / "server.key"), "--tls-ca-cert-file",
                   str(base / "ca.crt"), "--tls-auth-clients", "yes")).start()  # fmt: skip
    with running(redis):
        lab = env.own_lab("redis_tls", catalog=f"rediss://127.0.0.1:{tls}/0")
        ours = {"certificate_file": base / "client.crt", "key_file": base / "client.key"}
        settings(lab, ca_file=base / "ca.crt", **ours)
        works(env, lab)
        # Without our authority the server is a stranger, without our certificate we are.
        settings(lab, **ours)
        orderly(lab.refused("cat", TABLE), "a server that nobody vouches for")
        settings(lab, ca_file=base / "ca.crt")
        orderly(lab.refused("cat", TABLE), "no client certificate")
        settings(lab, ca_file=base / "ca.crt", certificate_file=base / "client.crt")
        assert b"belong together" in lab.refused("cat", TABLE).err
        settings(lab, ca_file=base / "missing.crt", **ours)
        assert b"missing.crt" in lab.refused("cat", TABLE).err
