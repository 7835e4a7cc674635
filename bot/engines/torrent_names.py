"""The names of the files in the state directory of the torrent engine, for both its processes."""

#: A torrent file as it came.
TORRENT_SUFFIX = ".torrent"
#: What peers gave for a magnet link, as resume data of libtorrent.
METADATA_SUFFIX = ".metadata"
#: How far a job is: a line of JSON, then resume data of libtorrent.
RESUME_SUFFIX = ".resume"
#: The directory, one entry a job, for the pieces that wanted files share with others.
PARTS = "parts"
#: What the DHT knew when the worker ended last.
DHT_STATE = "dht"
