"""Every setting with its default: a config.py to begin with (made by `make docs`)."""

# Whether there is a page for browsers, and live metrics for it.
ENABLE_ADVANCED_DASHBOARD = True

# Whether one has to log in; else anybody may look at the page and at what it shows, and
# change nothing.
DASHBOARD_AUTH = True

# How requests are let in.
DASHBOARD_SECURITY = {
    # Whether plain HTTP is refused (but /healthz and /readyz); a proxy that ends HTTPS has to
    # be in TRUSTED_PROXIES.
    "require_https": False,
    # Whether max_requests_per_second holds.
    "rate_limit": True,
    # Requests of one address in the long run, of one network of 64 bits with IPv6; those of ten
    # seconds may come at once.
    "max_requests_per_second": 100.0,
    # Seconds without a request after which a session is over.
    "session_idle": 86400.0,
    # Seconds after which a session is over in any case.
    "session_lifetime": 604800.0,
}

# Addresses and CIDRs, comma separated, of proxies whose X-Forwarded-For, -Proto and -Host
# are believed; of all others they are not looked at.
TRUSTED_PROXIES = []

# Origins, comma separated, whose pages may read answers, with a token: such as
# https://example.org.
CORS_ORIGINS = []

# Days that the record of every write is kept.
AUDIT_RETENTION = 365

# Whether there is /graphql.
ENABLE_GRAPHQL_API = True

# Whether the schema can be asked for, and GraphiQL is there.
GRAPHQL_INTROSPECTION = True

# What a query may be, and who may ask.
GRAPHQL_SECURITY = {
    # Whether a token is needed; else anybody may look, as nobody's user.
    "require_authentication": True,
    # Whether max_queries_per_minute holds.
    "rate_limit_queries": True,
    # Requests of one caller in a minute.
    "max_queries_per_minute": 100,
    # Whether max_depth holds.
    "block_deeply_nested_queries": True,
    # Fields within fields.
    "max_depth": 10,
    # Bytes of a request.
    "max_body": 262144,
    # Characters of a document.
    "max_length": 32768,
    # Words and signs of a document.
    "max_tokens": 2000,
    # Fields under another name.
    "max_aliases": 30,
    # Directives.
    "max_directives": 50,
    # Fields, with those of fragments in each place.
    "max_fields": 500,
    # Fields that an answer may have: those of lists times their size.
    "max_cost": 20000,
    # Subscriptions of one connection.
    "max_subscriptions": 20,
    # WebSockets and event streams of one caller at a time.
    "max_connections": 20,
    # Whether errors say what an unknown name may have meant.
    "suggestions": False,
}

# Seconds that one operation may take.
GRAPHQL_TIMEOUT = 30.0

# A directory of documents (`mltb graphql trust`); given, no other is taken.
GRAPHQL_TRUSTED_DOCUMENTS = None

# Whether answers are kept.
QUERY_CACHE_ENABLED = True

# Seconds that an answer is kept at most; a change drops it before.
QUERY_CACHE_TTL = 300.0

# Where answers are kept; redis needs REDIS_URL.
QUERY_CACHE_BACKEND = "memory"

# MB of answers in memory; the least used go first.
QUERY_CACHE_SIZE = 32

# Before each key in Redis.
CACHE_KEY_PREFIX = "mltb_graphql_"

# Whether a document that was asked before is not read and checked again.
ENABLE_QUERY_OPTIMIZATION = True

# Whether answers that are asked often are made anew before they expire.
INDEX_HOT_QUERIES = True

# Whether plugins are run at all.
ENABLE_PLUGIN_SYSTEM = True

# Where the operator's plugins lie; a file each, or a folder.
PLUGINS_DIR = "plugins"

# Start at once what is new in PLUGINS_DIR; else it waits until it is enabled.
AUTO_LOAD_PLUGINS = True

# Load what changes in PLUGINS_DIR at once: what is new starts, what is gone ends, and a
# version that does not come up leaves the one before it.
PLUGIN_HOT_RELOAD = True

# What is made sure of before a plugin runs.
PLUGIN_SECURITY = {
    # When a plugin is loaded, compare the copy that runs with the files it is made of, and
    # those with a plugin.files that nobody signed. What is signed is always compared.
    "verify_checksum": True,
    # Run only what a key has signed that the operator trusts.
    "require_signature": False,
}

# Whether plugins run behind walls; off, each may do whatever this service may.
PLUGIN_SANDBOX = True

# Plugins that run without walls all the same, comma separated.
PLUGIN_FULL_TRUST = []

# Modules that plugins may import, comma separated; empty: all that are there. Advice for
# authors: the sandbox is what holds.
PLUGIN_ALLOWED_IMPORTS = []

# MB of memory that one plugin may have, Python itself included.
PLUGIN_MEMORY_LIMIT = 256

# Seconds that one call of a plugin may take; then it is killed.
PLUGIN_TIMEOUT = 300.0

# Seconds that a task waits for one question to all plugins; then it goes on.
PLUGIN_HOOK_TIMEOUT = 2.0

# How much of the machine the plugins may have.
PLUGIN_THRESHOLDS = {
    # Calls of plugins at the same time.
    "max_concurrent": 10,
    # Per cent of one core that one plugin may use over time.
    "cpu_share": 100,
    # MB that one plugin may keep in its directory.
    "disk_quota": 64,
    # KB of values that one plugin may keep in the store.
    "state_quota": 1024,
}

# The least level of the log lines that are written.
LOG_LEVEL = "info"

# Keep the log of `mltb serve` in files too, as JSON lines; `mltb logs` reads them.
LOG_TO_FILE = True

# Where the files of the log are. Empty means `logs` in DATA_DIR.
LOG_DIR = None

# Bytes after which a new file of the log begins.
LOG_MAX_SIZE = "10M"

# Seconds after which a new file of the log begins.
LOG_MAX_AGE = 86400.0

# Bytes of all files of the log together; the oldest go first.
LOG_TOTAL_SIZE = "200M"

# Count by engine, stage, error, route and more for /metrics, and export what is counted.
# Without it /metrics shows the stored tasks and the readings alone.
ENABLE_ADVANCED_METRICS = True

# Seconds between two exports of all metrics.
METRICS_BATCH_INTERVAL = 60.0

# Points in one request of an export, at most.
METRICS_BATCH_SIZE = 500

# Points that wait for an endpoint that is down; the oldest make room.
METRICS_BUFFER_SIZE = 20000

# Where metrics are sent as JSON, by POST (http or https).
EXTERNAL_METRICS_URL = None

# Sent there as bearer token.
EXTERNAL_METRICS_TOKEN = None

# Where metrics are sent by OTLP over HTTP, such as http://collector:4318/v1/metrics; needs
# the extra otlp.
OTLP_URL = None

# Sent there as bearer token.
OTLP_TOKEN = None

# Send metrics to a DogStatsD agent; needs the extra datadog.
DATADOG_ENABLED = False

# The host of that agent.
DOGSTATSD_HOST = "127.0.0.1"

# Its UDP port.
DOGSTATSD_PORT = 8125

# Seconds between two samples of the history of metrics.
METRICS_SAMPLE_INTERVAL = 10

# Days that the history of metrics is kept, in buckets of a minute and of 15 minutes; the
# samples themselves are kept for two.
METRICS_RETENTION = 30

# Whether /api/v3/ws/live-metrics and /api/v3/sse/live-metrics are there.
ENABLE_LIVE_METRICS = True

# Seconds between two live messages, unless a client chooses others.
DASHBOARD_REFRESH = 5

# Clients of the live metrics at the same time.
MAX_DASHBOARD_CONNECTIONS = 1000

# What the dashboard shows at most.
DASHBOARD_THRESHOLDS = {
    # Points of a series of the history in one answer.
    "max_historical_points": 1000,
    # Compress live messages for clients that can read that.
    "data_compression": True,
}

# Keep figures of how long operations take (about 2 µs a run).
ENABLE_PROFILER = True

# Seconds from which on a run of an operation counts as slow.
PROFILER_SLOW_THRESHOLD = 1.0

# Rules, and changes of built-in ones, as a list of dictionaries (JSON in the environment),
# such as [{"name": "disk_low", "threshold": 0.1}]; see alerts.md.
ALERT_RULES = []

# Use the built-in rules (`mltb alerts rules`).
ALERT_BUILT_IN = True

# Where alerts are told, as a list of dictionaries (JSON in the environment), such as
# [{"name": "ops", "url": "json://host/path", "min_severity": "high"}]; the URLs are those
# of apprise.
ALERT_CHANNELS = []

# Seconds between two looks at the readings.
ALERT_INTERVAL = 10.0

# Seconds from the first alert of a rule to its notification; those that come meanwhile are
# told with it.
ALERT_GROUP_WAIT = 5.0

# The least seconds between two notifications of one rule.
ALERT_GROUP_INTERVAL = 60.0

# Seconds for which a notification is tried before it counts as failed.
ALERT_RETRY_FOR = 86400.0

# Seconds that alerts which are over are kept.
ALERT_KEEP = 2592000.0

# PEM files, colon separated, whose certificates are watched for their end.
ALERT_CERTIFICATES = []

# Where backups of the state lie. Empty means backups in DATA_DIR.
BACKUP_DIR = None

# Places remote:path, comma separated, that get a copy of each backup.
BACKUP_DESTINATIONS = []

# Seconds from one backup to the next; 0: only when asked for.
BACKUP_INTERVAL = 86400.0

# Restore each new backup into a scratch place and open it, right after it was made (of an
# encrypted one, where BACKUP_PASSPHRASE or BACKUP_AGE_IDENTITY opens it).
BACKUP_VERIFY = True

# The newest backups that are kept.
BACKUP_KEEP_LAST = 7

# Days (UTC) of which the newest backup is kept.
BACKUP_KEEP_DAILY = 7

# Weeks of which the newest is kept.
BACKUP_KEEP_WEEKLY = 4

# Months of which the newest is kept.
BACKUP_KEEP_MONTHLY = 6

# States that a restore replaced which are kept, the newest ones.
BACKUP_KEEP_REPLACED = 3

# age recipients (age1...), comma separated, to whom backups are encrypted.
BACKUP_AGE_RECIPIENTS = []

# Backups are encrypted with this; it opens them, too.
BACKUP_PASSPHRASE = None

# File of age identities (AGE-SECRET-KEY-...) that open encrypted backups.
BACKUP_AGE_IDENTITY = None

# pg_dump program, for backups of PostgreSQL; empty: the one found.
PG_DUMP_PATH = None

# pg_restore program; empty: the one found.
PG_RESTORE_PATH = None

# Seconds between two checks of delivered files against their receipts; 0: only on demand,
# as a file that was moved on purpose is reported by every check.
INTEGRITY_INTERVAL = 0.0

# Receipts that one check on schedule looks at; the next goes on after them.
INTEGRITY_BATCH = 1000

# Bytes a second that a check reads, such as 64M; off: no limit.
INTEGRITY_RATE = "64M"

# Checks, and starts of the service, that are remembered.
INTEGRITY_HISTORY = 200

# Where the service keeps its state: database, tokens, sockets.
DATA_DIR = "data"

# Where files go when a submission names no destination.
DOWNLOAD_DIR = "downloads"

# Directories, colon separated, under which a local destination may lie. Empty means
# DOWNLOAD_DIR alone.
LOCAL_ROOTS = []

# SQLite or PostgreSQL, such as postgresql://user:password@host/name. Empty means SQLite in
# DATA_DIR.
DATABASE_URL = None

# Redis or Valkey for the cache. Empty means memory.
REDIS_URL = None

# The address that the service listens on.
WEB_HOST = "127.0.0.1"

# The port; 0 takes a free one.
WEB_PORT = 8000

# Tasks that run at the same time.
MAX_ACTIVE = 8

# Tasks of one user that run at the same time; empty: no limit.
MAX_ACTIVE_PER_USER = None

# Unfinished tasks that one user may have; empty: no limit.
MAX_QUEUED_PER_USER = None

# Bytes that one user may have delivered in 24 hours; empty: no limit.
USER_DAILY_BYTES = None

# Tries of one stage before its task fails.
RETRY_ATTEMPTS = 5

# Seconds before the second try; then doubled.
RETRY_BASE = 2.0

# The longest wait between two tries, seconds; a server may ask for a longer one, of up to a
# day.
RETRY_MAX = 300.0

# Bytes that always stay free on each filesystem.
DISK_RESERVE = "256M"

# Seconds that a task waits for room before it fails with the figures.
DISK_WAIT = 3600.0

# Up to this size a file that needs no step goes straight to its remote, without a copy on
# disk (and starts over when it is interrupted); larger ones do so when the disk has no room
# for them.
STREAM_MAX_SIZE = "64M"

# Bytes a second for all transfers together, such as 10M; empty: none.
BANDWIDTH_LIMIT = None

# Other limits by local time, such as 'Mon-Fri 08:00-18:00 2M; Sat,Sun 00:00-24:00 off'. The
# first that fits wins.
BANDWIDTH_TIMETABLE = ""

# Addresses, CIDRs and hosts, comma separated, that transfers may reach although they are
# private, loopback, link-local or otherwise refused.
EGRESS_ALLOW = []

# Connections for one file, where segments pay.
HTTP_MAX_CONNECTIONS = 16

# Seconds to connect.
HTTP_CONNECT_TIMEOUT = 20.0

# Seconds without a byte after which a connection is given up.
HTTP_STALL_TIMEOUT = 60.0

# Redirects that are followed.
HTTP_MAX_REDIRECTS = 10

# The User-Agent that servers see.
HTTP_USER_AGENT = "mltb"

# PEM file of more certificate authorities to trust.
HTTP_CA_FILE = None

# OpenSSH known_hosts file; an SFTP host that is not in it is refused.
SFTP_KNOWN_HOSTS = None

# Port for peers; 0 takes a free one.
TORRENT_PORT = 0

# Find peers through the DHT.
TORRENT_DHT = True

# Seconds without metadata or a piece after which a torrent fails.
TORRENT_STALL_TIMEOUT = 600.0

# Seed until this ratio unless a submission says otherwise; 0: never.
TORRENT_SEED_RATIO = 0.0

# Seed at most for these seconds; 0: never.
TORRENT_SEED_TIME = 0.0

# Peers over all torrents.
TORRENT_MAX_CONNECTIONS = 200

# Format that yt-dlp picks by default.
YTDLP_FORMAT = "bv*+ba/b"

# Netscape cookie file for yt-dlp.
YTDLP_COOKIES = None

# Items that are taken of a playlist.
YTDLP_MAX_ITEMS = 200

# rclone.conf with the remotes. Empty means rclone's usual places.
RCLONE_CONFIG = None

# Files that rclone moves at once.
RCLONE_TRANSFERS = 4

# Bytes that an archive may unpack to.
ARCHIVE_MAX_SIZE = "200G"

# Files that an archive may hold.
ARCHIVE_MAX_FILES = 100000

# How many times its size an archive may unpack to.
ARCHIVE_MAX_RATIO = 200.0

# Archives within archives.
ARCHIVE_MAX_DEPTH = 3

# Seconds that one step may run.
STEP_TIMEOUT = 21600.0

# 7-Zip program; empty: the one found.
SEVENZIP_PATH = None

# ffmpeg program; empty: the one found.
FFMPEG_PATH = None

# Seconds that the files of a failed task are kept, so that a retry goes on from them.
KEEP_PARTIAL = 604800.0

# Finished tasks that are kept; the oldest go first.
KEEP_FINISHED = 1000000
