"""The extension modules; everything else about the project is in pyproject.toml.

Three kinds: the shared cache (plain C with one Cython file in front), small native modules (.pyx), and the
modules of the hit path, which are ordinary typed Python. Those are compiled too: a `.pxd` beside
each says which of its classes become C structs. Without the compiled files they run just the same, slower.
"""

import platform
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = [
    "segment", "lock", "slab", "ghost", "evict", "table", "room", "read", "fill", "repair", "adopt", "audit",
    "lease", "bucket", "window", "score", "presence", "counter", "purge", "sum", "follow", "crawl", "walk",
]  # fmt: skip

NATIVE = [
    "worker.fields", "worker.protocol.handshake", "worker.protocol.stream", "worker.protocol.quic.udp",
    "worker.protocol.request_id", "worker.cache.plain_hit", "worker.observe.plain_line",
    "worker.security.leaks.digits",
]  # fmt: skip

SESSIONS = ["worker.protocol.h2.session", "worker.origin.h2.session"]  # libnghttp2 behind them

HIT_PATH = [
    "worker.message",
    "worker.context",
    "worker.pipeline",
    "worker.tunnel",
    "worker.routing",
    "worker.protocol.server",
    "worker.protocol.tunnel",
    "worker.protocol.answer",
    "worker.protocol.h1",
    "worker.protocol.stream_end",
    "worker.protocol.exchange",
    "worker.protocol.stream_connection",
    "worker.protocol.h2.connection",
    "worker.security.normalize",
    "worker.security.access",
    "worker.security.bans",
    "worker.security.ratelimit",
    "worker.security.challenge",
    "worker.security.prefilter",
    "worker.security.waf.percent",
    "worker.security.waf.kinds",
    "worker.security.waf.pcre",
    "worker.security.waf.operators",
    "worker.security.waf.json_body",
    "worker.security.waf.targets",
    "worker.security.waf.state",
    "worker.security.waf.transformations",
    "worker.security.waf.triggers",
    "worker.security.waf.forms",
    "worker.security.waf.plan",
    "worker.security.waf.probes",
    "worker.security.waf.transaction",
    "worker.security.waf.engine",
    "worker.security.waf.memory",
    "worker.security.waf.judge",
    "worker.security.waf.gate",
    "worker.cache.negotiation",
    "worker.cache.key",
    "worker.cache.validate",
    "worker.cache.byte_range",
    "worker.cache.lookup",
    "worker.cache.control",
    "worker.cache.storable",
    "worker.cache.store",
    "worker.cache.fill",
    "worker.origin.hop_by_hop",
    "worker.origin.response_head",
    "worker.origin.request_head",
    "worker.origin.tunnel",
    "worker.origin.connection",
    "worker.origin.pool",
    "worker.origin.h2.exchange",
    "worker.origin.h2.connection",
    "worker.origin.h2.pool",
    "worker.origin.fetch",
    "worker.origin.group",
    "worker.origin.balance",
    "worker.origin.recent",
    "worker.origin.standing",
    "worker.origin.breaker",
    "worker.origin.budget",
    "worker.origin.health",
    "worker.response.hop_by_hop",
    "worker.response.compress",
    "worker.response.fields",
    "worker.response.header_rules",
    "worker.response.redirect",
    "worker.response.scheme",
    "worker.observe.access_log",
    "worker.observe.log_line",
    "worker.observe.metrics",
]

FLAGS = ["-O2", "-g0", "-std=gnu11", "-fno-strict-aliasing"]

# Where a module says `X | None` as it is imported, Cython 3.3 inlines what two ints would need, behind a look
# at both types. gcc 12 does not see that None is no int, and warns that None is too small for one.
COMPILED_PYTHON = [*FLAGS, "-Wno-array-bounds"]


# The 16-byte compare-and-swap of the rate decisions; on arm64 it needs no flag.
MACHINE = ["-mcx16"] if platform.machine() == "x86_64" else []


def extension(module: str, suffix: str, *libraries: str) -> Extension:
    """One module of our own, from the file of its name."""
    source = module.replace(".", "/") + suffix
    flags = COMPILED_PYTHON if suffix == ".py" else FLAGS
    return Extension(module, [source], extra_compile_args=flags, libraries=list(libraries))


setup(
    ext_modules=cythonize(
        [
            Extension(
                "shmcache.core",
                ["shmcache/core.pyx", *(f"shmcache/{name}.c" for name in CORE)],
                depends=glob("shmcache/*.h"),
                extra_compile_args=[*FLAGS, "-Wall", "-Wextra", *MACHINE],
                libraries=["pthread"],
            ),
            *(extension(module, ".pyx") for module in NATIVE),
            *(extension(module, ".pyx", "nghttp2") for module in SESSIONS),
            Extension(
                "worker.networks",
                ["worker/networks.pyx", "worker/network_table.c"],
                depends=["worker/network_table.h"],
                extra_compile_args=[*FLAGS, "-Wall", "-Wextra"],
            ),
            *(extension(module, ".py") for module in HIT_PATH),
        ],
        build_dir="build/cython",
        compiler_directives={"language_level": "3"},
        quiet=True,
    )
)
