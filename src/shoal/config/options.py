"""The one table of options.

Each row gives an option its flag on the command line, its variable `SHOAL_…`, its key
in `config.toml`, its keyword in the Python API and the text that describes it. To add
an option, add a row. If the Python API should have it, also add a field to the struct
that the row names (`Settings`, `ShareOptions` or `FetchOptions`).
"""

from typing import NamedTuple

from shoal.config.kinds import (
    ADDRESSES,
    COLOR,
    FLAG,
    NAMES,
    ORIGINS,
    PATH,
    PATTERNS,
    PORT,
    RATE,
    SECONDS,
    SIZE,
    TEXT,
    Kind,
)

__all__ = ["EVERY", "OPTIONS", "Option", "options_of"]

EVERY = ("every command",)
"""The commands of an option that every command takes."""


class Option(NamedTuple):
    """Describe one option."""

    name: str
    """The name of its flag without dashes, and its key in `config.toml`."""
    kind: Kind
    """The values it takes."""
    commands: tuple[str, ...]
    """The commands that take it; without any, it has no flag."""
    help: str
    """What it does, as a sentence."""
    metavar: str = ""
    """The word for its value in `--help`; empty for that of its kind.

    In brackets, the value may be left out.
    """
    short: str = ""
    """Its short flag."""
    structs: tuple[str, ...] = ()
    """The structs of the Python API that have it as a field."""
    field: str = ""
    """The name of that field; empty if it is the option's name."""

    @property
    def flag(self) -> str:
        """Return its flag: `--limit-up`."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """Return its variable: `SHOAL_LIMIT_UP`."""
        return "SHOAL_" + self.name.upper().replace("-", "_")

    @property
    def keyword(self) -> str:
        """Return its name in Python: `limit_up`."""
        return self.field or self.name.replace("-", "_")


OPTIONS = (
    Option(
        "open",
        TEXT,
        ("share",),
        "Share over an open channel, which Node programs understand and which is not "
        "encrypted: channel NAME or, without NAME, a channel named by the hash of the "
        "chunks. Write PATH first.",
        "[NAME]",
    ),
    Option(
        "chunk-size",
        SIZE,
        ("share",),
        "Size of a chunk in bytes, e.g. 64K (default: depends on the size of the "
        "share; 1024 in an open channel).",
        structs=("ShareOptions",),
    ),
    Option(
        "name",
        TEXT,
        ("share",),
        "Name shown to receivers (default: the file name).",
        structs=("ShareOptions",),
    ),
    Option("out", PATH, ("get",), "Write to OUT; - is standard output.", "OUT", "-o"),
    Option(
        "folder",
        PATH,
        ("get", "doctor"),
        "Folder to download into; doctor checks its disk (default: the current one).",
        "DIR",
        "-C",
        structs=("FetchOptions",),
    ),
    Option(
        "force",
        FLAG,
        ("get",),
        "Overwrite an existing file.",
        short="-f",
        structs=("FetchOptions",),
        field="overwrite",
    ),
    Option(
        "include",
        PATTERNS,
        ("share", "get"),
        "Include only files matching GLOB (repeatable).",
        structs=("ShareOptions", "FetchOptions"),
    ),
    Option(
        "exclude",
        PATTERNS,
        ("share", "get"),
        "Skip files matching GLOB (repeatable).",
        structs=("ShareOptions", "FetchOptions"),
    ),
    Option(
        "keep-exec",
        FLAG,
        ("get",),
        "Make files executable that were executable when they were shared.",
        structs=("FetchOptions",),
    ),
    Option(
        "seed",
        FLAG,
        ("get",),
        "Keep sharing when complete; verify and share a target that exists already.",
        structs=("FetchOptions",),
    ),
    Option(
        "seed-for",
        SECONDS,
        ("get",),
        "Keep sharing for this long, e.g. 90, 10m or 2h.",
    ),
    Option(
        "public",
        FLAG,
        ("share",),
        "Create the same link as everyone who shares the same bytes; it can be "
        "guessed.",
        structs=("ShareOptions",),
    ),
    Option(
        "new-link",
        FLAG,
        ("share",),
        "Create a new link, for example because the old one leaked.",
        structs=("ShareOptions",),
    ),
    Option("once", FLAG, ("share",), "Stop when one peer has the whole share."),
    Option("qr", FLAG, ("share",), "Also show the link as a QR code."),
    Option(
        "range",
        TEXT,
        ("cat",),
        "Write only these bytes, LAST included, as in HTTP: 0-99, 100-, -500.",
        "FIRST-LAST",
        "-r",
    ),
    Option(
        "http",
        TEXT,
        ("serve",),
        "Address to listen on (default: a free port that only this machine reaches).",
        "HOST:PORT",
    ),
    Option(
        "use-hints", FLAG, ("serve",), "Also connect to the addresses in the links."
    ),
    Option(
        "metrics",
        FLAG,
        ("serve",),
        "Serve metrics for Prometheus at /metrics, without a token.",
    ),
    Option(
        "timeout",
        SECONDS,
        ("get", "cat", "ls", "info", "serve", "verify", "chunk"),
        "Give up after this long without progress, e.g. 90 or 10m (default: never).",
        structs=("Settings",),
    ),
    Option(
        "limit-down",
        RATE,
        ("get", "serve"),
        "Download at most this many bytes per second, e.g. 10M.",
        structs=("Settings",),
    ),
    Option(
        "limit-up",
        RATE,
        ("share", "get"),
        "Upload at most this many bytes per second, e.g. 10M.",
        structs=("Settings",),
    ),
    Option(
        "peer",
        ADDRESSES,
        EVERY,
        "Also connect to this address (repeatable).",
        structs=("Settings",),
        field="peers",
    ),
    Option(
        "port",
        PORT,
        EVERY,
        "TCP port to listen on (default: a free one).",
        structs=("Settings",),
    ),
    Option(
        "lan-only",
        FLAG,
        EVERY,
        "Find peers on the LAN only; do not use the DHT.",
        structs=("Settings",),
    ),
    Option(
        "no-lan",
        FLAG,
        EVERY,
        "Do not send multicast to find peers on the LAN.",
        structs=("Settings",),
    ),
    Option(
        "dht-bootstrap",
        ADDRESSES,
        EVERY,
        "Join the DHT through this node instead of the public ones (repeatable).",
        structs=("Settings",),
    ),
    Option(
        "origin",
        ORIGINS,
        EVERY,
        "Web server or object store that has the same bytes, e.g. https://host/file or "
        "s3://bucket/ (repeatable).",
        structs=("Settings", "ShareOptions"),
        field="origins",
    ),
    Option(
        "interfaces",
        NAMES,
        (),
        "Network interfaces or addresses to use, e.g. lo,eth0 (default: all).",
        structs=("Settings",),
    ),
    Option(
        "quiet",
        FLAG,
        EVERY,
        "Print only results, warnings and errors.",
        short="-q",
    ),
    Option(
        "verbose",
        FLAG,
        EVERY,
        "Also report each peer that connects or leaves.",
        short="-v",
    ),
    Option("json", FLAG, EVERY, "Print events as JSON lines."),
    Option("no-progress", FLAG, EVERY, "Do not show progress."),
    Option("color", COLOR, EVERY, "When to use colours: auto, always or never."),
)
"""Every option, in the order in which `--help` shows them."""


def options_of(command: str) -> tuple[Option, ...]:
    """Return the options that a command takes, with those that have no flag."""
    return tuple(
        option
        for option in OPTIONS
        if option.commands in (EVERY, ()) or command in option.commands
    )
