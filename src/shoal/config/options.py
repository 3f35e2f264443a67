"""The one table of options.

Each row gives an option its flag on the command line, its variable `SHOAL_…`, its key
in `config.toml`, its keyword in the Python API and the text that describes it. To add
an option, add a row. If the Python API should have it, also add its keyword to one of
`SettingsFields`, `ShareFields` and `FetchFields`, and a field to the struct.
"""

from typing import NamedTuple

from shoal.config.kinds import (
    ADDRESSES,
    COLOR,
    COUNT,
    ENDPOINT,
    FLAG,
    NAMES,
    ORIGINS,
    PATH,
    PATTERNS,
    PORT,
    RATE,
    SCHEDULE,
    SECONDS,
    SIZE,
    TEXT,
    Kind,
)

__all__ = ["EVERY", "NETWORK", "OPTIONS", "Option", "options_of"]

EVERY = ("every command",)
"""The commands of an option that every command takes."""
NETWORK = (
    *("share", "get", "cat", "ls", "info", "serve", "verify", "chunk", "seed"),
    "doctor",
)
"""The commands that use the network."""
_SOURCES = ("share", "link", "get", "cat", "serve", "chunk")


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
    field: str = ""
    """Its name in Python; empty if it is the option's name."""

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


# fmt: off
OPTIONS = (
    Option("open", TEXT, ("share",), metavar="[NAME]",
        help="Share over an open channel, which Node.js programs understand and which "
        "is not encrypted: channel NAME or, without NAME, a channel named by the "
        "hash of the chunks. Write PATH first."),
    Option("chunk-size", SIZE, ("share", "link"),
        help="Size of a chunk: a power of two from 16K to 16M (default: by the size of "
        "the share); in an open channel, any number of bytes (default: 1024)."),
    Option("name", TEXT, ("share", "link"),
        help="Name shown to receivers (default: the file name)."),
    Option("out", PATH, ("get",), short="-o", metavar="OUT",
        help="Write to OUT; - is standard output."),
    Option("input-file", PATH, ("get",), short="-i", metavar="FILE",
        help="Download every link in FILE, which has one per line; - is standard "
        "input."),
    Option("folder", PATH, ("get", "doctor"), short="-C", metavar="DIR",
        help="Folder to download into, which get creates; doctor checks its disk "
        "(default: the current one)."),
    Option("force", FLAG, ("get",), short="-f", field="overwrite",
        help="Overwrite an existing file."),
    Option("include", PATTERNS, ("share", "link", "get"),
        help="Include only files matching GLOB (repeatable)."),
    Option("exclude", PATTERNS, ("share", "link", "get"),
        help="Skip files matching GLOB (repeatable)."),
    Option("follow-symlinks", FLAG, ("share", "link", "verify"),
        help="Share, or verify, the files that symbolic links lead to; links to "
        "folders are left out."),
    Option("keep-exec", FLAG, ("get",),
        help="Make files executable that were executable when they were shared."),
    Option("seed", FLAG, ("get",),
        help="Keep sharing when complete; verify and share a target that exists "
        "already."),
    Option("seed-for", SECONDS, ("get",),
        help="Keep sharing for this long, e.g. 90, 10m, 2h or 1d."),
    Option("public", FLAG, ("share", "link"),
        help="Create the same link as everyone who shares the same bytes; it can be "
        "guessed."),
    Option("new-link", FLAG, ("share",),
        help="Create a new link, for example because the old one leaked."),
    Option("once", COUNT, ("share",), metavar="[N]",
        help="Stop when N peers have the whole share (default: 1)."),
    Option("link-file", PATH, ("share",), metavar="FILE",
        help="Also write the link to FILE, which only you can read."),
    Option("background", FLAG, ("share",),
        help="Return once the link is served, and keep sharing until shoal stop."),
    Option("code", FLAG, ("share",),
        help="Also print a code that shoal get takes in place of the link, such as "
        "4821-purity-carbon-olympic: once, or as often as --once says."),
    Option("code-for", SECONDS, ("share",),
        help="Accept the code of --code for this long, e.g. 90 or 1h (default: 10m)."),
    Option("qr", FLAG, ("share",),
        help="Also show the link as a QR code (needs shoal[qr])."),
    Option("install", FLAG, ("seed",),
        help="Share from now on whenever you are logged in: install a service of your "
        "user that has the other options given, and start it."),
    Option("uninstall", FLAG, ("seed",), help="Stop and remove that service."),
    Option("watch", FLAG, ("list",), help="List again whenever something changes."),
    Option("remove", FLAG, ("clean",), help="Remove the downloads that clean lists."),
    Option("range", TEXT, ("cat",), short="-r", metavar="FIRST-LAST",
        help="Write only these bytes, LAST included, as in HTTP: 0-99, 100-, -500."),
    Option("http", ENDPOINT, ("serve", "share", "get", "seed"),
        help="Serve a page about what is shared or downloaded at this address; port 0 "
        "is a free one (default: no page; with serve, a free port that only this "
        "machine reaches)."),
    Option("use-hints", FLAG, ("serve",),
        help="Also connect to the addresses in the links."),
    Option("metrics", FLAG, ("serve", "share", "get", "seed"),
        help="Serve metrics for Prometheus at /metrics of the page, without a token "
        "(needs shoal[metrics])."),
    Option("timeout", SECONDS, ("get", "cat", "ls", "info", "serve", "verify", "chunk"),
        help="Give up after this long without progress, e.g. 90 or 10m (default: "
        "never)."),
    Option("limit-down", RATE, ("get", "serve"),
        help="Download at most this many bytes per second, e.g. 10M."),
    Option("limit-up", RATE, ("share", "get", "seed"),
        help="Upload at most this many bytes per second, e.g. 10M."),
    Option("schedule", SCHEDULE, ("share", "get", "seed"),
        help="Use other rate limits at some hours, for example "
        "mon-fri,08:00-18:00,up=1M,down=none "
        "(repeatable; the first that applies counts)."),
    Option("peer", ADDRESSES, NETWORK, field="peers",
        help="Also connect to this address, e.g. 192.168.1.7:4001 or [fd00::7]:4001 "
        "(repeatable)."),
    Option("port", PORT, NETWORK,
        help="TCP port to listen on (default: a free one)."),
    Option("lan-only", FLAG, NETWORK,
        help="Find peers on the LAN only; use neither the DHT nor the router."),
    Option("no-lan", FLAG, NETWORK,
        help="Do not send multicast to find peers on the LAN."),
    Option("no-map", FLAG, NETWORK,
        help="Do not ask the router to pass connections from the internet on to this "
        "machine."),
    Option("dht-bootstrap", ADDRESSES, NETWORK,
        help="Join the DHT through this node instead of the public ones (repeatable)."),
    Option("relay", ADDRESSES, ("link", *NETWORK), field="relays",
        help="Meet peers that cannot be reached at this transit relay of "
        "magic-wormhole, which sees only encrypted data; share also puts it into the "
        "link, but a receiver with a code has to name it, too (repeatable)."),
    Option("origin", ORIGINS, _SOURCES, field="origins",
        help="Web server or object store that has the same bytes, e.g. "
        "https://host/file or s3://bucket/ (repeatable)."),
    Option("interfaces", NAMES, (),
        help="Network interfaces or addresses to use, e.g. lo,eth0 (default: all)."),
    Option("quiet", FLAG, EVERY, short="-q",
        help="Print only results, warnings and errors."),
    Option("verbose", FLAG, EVERY, short="-v",
        help="Also report each peer that connects or leaves."),
    Option("json", FLAG, EVERY, help="Print events as JSON lines."),
    Option("no-progress", FLAG, EVERY, help="Do not show progress."),
    Option("color", COLOR, EVERY, help="When to use colours: auto, always or never."),
)
"""Every option, in the order in which `--help` shows them."""
# fmt: on


def options_of(command: str) -> tuple[Option, ...]:
    """Return the options that a command takes, with those that have no flag."""
    return tuple(
        option
        for option in OPTIONS
        if option.commands in (EVERY, ()) or command in option.commands
    )
